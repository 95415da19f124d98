-- The ten countries with most net revenue in the last 12 complete months.
with

as_of as (

    select max(invoice_month) filter (where add_months(invoice_month, 1) <= as_of_date) as complete_month
    from ${gold}.fct_invoices

),

countries as (

    select
        months.country_name,
        sum(months.net_revenue_reporting) as net_revenue
    from ${gold}.agg_invoices_country_month as months
    cross join as_of
    where
        months.invoice_month > add_months(as_of.complete_month, -12)
        and months.invoice_month <= as_of.complete_month
    group by months.country_name

)

select
    country_name,
    net_revenue
from countries
order by net_revenue desc, country_name
limit 10
