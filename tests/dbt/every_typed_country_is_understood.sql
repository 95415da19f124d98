-- Texts on invoices that name no country anybody knows: their invoices count for the unknown member until a person adds
-- an alias to seeds/country_aliases.csv, or corrects the source. The stored rows are the list of work.
{{ config(severity="warn", store_failures=true) }}

select
    country_text,
    count(*) as invoice_count,
    max(country_match_score) as best_score
from {{ ref("fct_invoices") }}
where country_match_method = 'unknown'
group by country_text
