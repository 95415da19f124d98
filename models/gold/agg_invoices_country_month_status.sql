with

invoices as (

    select * from {{ ref("fct_invoices") }}

),

countries as (

    select * from {{ ref("dim_countries") }}

),

by_country_month_status as (

    select
        country_key,
        invoice_month,
        status,
        reporting_currency,
        count_if(not is_credit_note) as invoice_count,
        count_if(is_credit_note) as credit_note_count,
        count_if(is_overdue) as overdue_count,
        count_if(exchange_rate is null) as without_rate_count,
        cast(coalesce(sum(net_amount_reporting), 0) as decimal(34, 2)) as net_amount_reporting,
        cast(coalesce(sum(tax_amount_reporting), 0) as decimal(34, 2)) as tax_amount_reporting,
        cast(coalesce(sum(total_amount_reporting), 0) as decimal(34, 2)) as total_amount_reporting,
        cast(
            coalesce(sum(total_amount_reporting) filter (where is_overdue), 0) as decimal(34, 2)
        ) as overdue_amount_reporting
    from invoices
    group by all

)

select
    by_country_month_status.country_key,
    by_country_month_status.invoice_month,
    by_country_month_status.status,
    countries.country_code,
    countries.country_name,
    countries.region,
    countries.sub_region,
    by_country_month_status.invoice_count,
    by_country_month_status.credit_note_count,
    by_country_month_status.overdue_count,
    by_country_month_status.without_rate_count,
    by_country_month_status.reporting_currency,
    by_country_month_status.net_amount_reporting,
    by_country_month_status.tax_amount_reporting,
    by_country_month_status.total_amount_reporting,
    by_country_month_status.overdue_amount_reporting
from by_country_month_status
inner join countries on by_country_month_status.country_key = countries.country_key
