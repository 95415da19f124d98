-- Months whose net revenue is far from what is usual in the country.
select
    country_key,
    invoice_month,
    direction,
    cast(net_revenue_reporting as decimal(18, 2)) as net_revenue,
    median_net_revenue
from ${gold}.country_revenue_anomalies
where
    is_anomaly
    -- months after the newest invoice are empty for every country
    and invoice_month <= (select max(invoice_month) from ${gold}.agg_invoices_country_month)
order by country_key, invoice_month
