-- silver.country_review is the steward's, who may be the only one granted it; this is what readers of gold see of it.
with

review as (

    select * from {{ ref("silver_country_review") }}

)

select
    country_text,
    method,
    country_code,
    proposed_code,
    score,
    invoice_count,
    reporting_currency,
    total_amount_reporting,
    without_rate_count,
    last_invoice_date,
    to_do
from review
