-- Net revenue of the complete months, the newest first.
select
    invoice_month,
    sum(net_revenue_reporting) as net_revenue,
    sum(invoice_count) as invoices
from ${gold}.agg_invoices_country_month
where add_months(invoice_month, 1) <= (select max(as_of_date) from ${gold}.fct_invoices)
group by invoice_month
order by invoice_month desc
