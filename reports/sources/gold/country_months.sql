-- A country's months. Documents without an exchange rate add nothing to net_revenue.
select
    country_key,
    country_name,
    region,
    invoice_month,
    invoice_count,
    credit_note_count,
    without_rate_count,
    cast(net_revenue_reporting as decimal(18, 2)) as net_revenue
from ${gold}.agg_invoices_country_month
order by country_key, invoice_month
