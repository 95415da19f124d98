-- Countries whose newest complete month is unusual: the data is right, but a person should know why.
{{ config(severity="warn", store_failures=true) }}

with

scored as (

    select * from {{ ref("country_revenue_anomalies") }}

),

newest as (

    select max(invoice_month) as newest_month from scored

)

select
    scored.country_key,
    scored.invoice_month,
    scored.net_revenue_reporting,
    scored.median_net_revenue,
    scored.robust_z_score,
    scored.direction
from scored
inner join newest on scored.invoice_month = newest.newest_month
where scored.is_anomaly
