-- Texts on invoices that name no country anybody knows: their invoices count for the unknown member until a person
-- decides, for which silver_country_review is the list of work.
{{ config(severity="warn") }}

select
    country_text,
    invoice_count,
    alias_line
from {{ ref("silver_country_review") }}
where method = 'unknown'
