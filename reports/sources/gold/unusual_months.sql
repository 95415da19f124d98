-- Months whose net revenue is far from what is usual in the country.
select
    country_key,
    invoice_month,
    direction,
    cast(net_revenue_reporting as decimal(18, 2)) as net_revenue,
    median_net_revenue
from ${gold}.country_revenue_anomalies
where is_anomaly
order by country_key, invoice_month
