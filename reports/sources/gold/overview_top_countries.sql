-- The ten countries with most net revenue in the last 12 complete months.
select
    months.country_name,
    sum(months.net_revenue_reporting) as net_revenue
from ${gold}.agg_invoices_country_month as months
cross join (
    select max(invoice_month) filter (where add_months(invoice_month, 1) <= as_of_date) as complete_month
    from ${gold}.fct_invoices
) as as_of
where
    months.invoice_month > add_months(as_of.complete_month, -12)
    and months.invoice_month <= as_of.complete_month
group by months.country_key, months.country_name
order by net_revenue desc, months.country_key
limit 10
