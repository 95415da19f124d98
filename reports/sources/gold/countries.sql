-- Every country that has an invoice or credit note, with the unknown member.
select
    country_key,
    country_name,
    region,
    sub_region
from ${gold}.dim_countries
where country_key in (select country_key from ${gold}.agg_invoices_country_month)
order by country_name
