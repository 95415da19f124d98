-- The countries' last 12 complete months, with the newest and the one before.
with

as_of as (

    select max(invoice_month) filter (where add_months(invoice_month, 1) <= as_of_date) as complete_month
    from ${gold}.fct_invoices

),

countries as (

    select
        months.country_key,
        months.country_name,
        months.region,
        sum(months.net_revenue_reporting) as net_revenue,
        sum(months.invoice_count) as invoices,
        sum(months.net_revenue_reporting) filter (where months.invoice_month = as_of.complete_month) as last_month,
        sum(months.net_revenue_reporting) filter (
            where months.invoice_month = cast(add_months(as_of.complete_month, -1) as date)
        ) as month_before
    from ${gold}.agg_invoices_country_month as months
    cross join as_of
    where
        months.invoice_month > add_months(as_of.complete_month, -12)
        and months.invoice_month <= as_of.complete_month
    group by months.country_key, months.country_name, months.region

)

select
    country_key,
    country_name,
    region,
    concat('/countries/', country_key, '/') as link,
    net_revenue,
    invoices,
    last_month,
    month_before,
    case when month_before > 0 then cast(coalesce(last_month, 0) as double) / month_before - 1 end as change
from countries
order by net_revenue desc, country_key
