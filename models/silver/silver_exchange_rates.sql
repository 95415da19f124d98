-- A rate for every currency and every month that an accepted invoice can have: the ECB's monthly average where there is
-- one, else the latest earlier month's, flagged. That is so after the seed's last month, and for ever after the ECB
-- stopped quoting a currency.
with

quoted as (

    select
        currency_code,
        rate_month,
        units_per_eur,
        lead(rate_month) over (partition by currency_code order by rate_month) as next_rate_month
    from {{ ref("ecb_exchange_rates") }}

),

filled as (

    select
        currency_code,
        rate_month,
        units_per_eur,
        explode(
            sequence(
                rate_month, coalesce(add_months(next_rate_month, -1), {{ last_rate_month() }}), interval 1 month
            )
        ) as invoice_month
    from quoted

),

reporting as (

    select * from filled
    where currency_code = '{{ var("reporting_currency") }}'

)

select
    filled.currency_code,
    filled.invoice_month,
    reporting.currency_code as reporting_currency,
    least(filled.rate_month, reporting.rate_month) as rate_month,
    least(filled.rate_month, reporting.rate_month) < filled.invoice_month as is_rate_carried_forward,
    cast(reporting.units_per_eur / filled.units_per_eur as decimal(20, 10)) as exchange_rate
from filled
inner join reporting on filled.invoice_month = reporting.invoice_month
