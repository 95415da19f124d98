{{ config(incremental_apply_config_changes=on_unity_catalog()) }}

with

invoices as (

    select * from {{ ref("silver_invoices") }}
    where not is_deleted

),

matches as (

    select * from {{ ref("silver_country_matches") }}

),

rates as (

    select * from {{ ref("silver_exchange_rates") }}

),

joined as (

    select
        invoices.*,
        coalesce(matches.country_code, 'ZZ') as country_key,
        coalesce(matches.method, 'missing') as country_match_method,
        matches.score as country_match_score,
        rates.exchange_rate,
        rates.rate_month,
        coalesce(rates.is_rate_carried_forward, false) as is_rate_carried_forward,
        cast(round(invoices.tax_amount * rates.exchange_rate, 2) as decimal(24, 2)) as tax_amount_reporting,
        cast(round(invoices.total_amount * rates.exchange_rate, 2) as decimal(24, 2)) as total_amount_reporting
    from invoices
    left join matches on invoices.country_text = matches.country_text
    left join rates
        on
            invoices.currency_code = rates.currency_code
            and invoices.invoice_month = rates.invoice_month

)

select
    invoice_id,
    invoice_number,
    customer_id,
    country_key,
    country_text,
    country_match_method,
    country_match_score,
    invoice_date,
    cast(date_format(invoice_date, 'yyyyMMdd') as int) as invoice_date_key,
    due_date,
    case
        when due_date between date '{{ var("first_date") }}' and date '{{ var("last_date") }}'
            then cast(date_format(due_date, 'yyyyMMdd') as int)
    end as due_date_key,
    invoice_month,
    status,
    status = 'credit_note' or total_amount < 0 as is_credit_note,
    currency_code,
    net_amount,
    tax_amount,
    total_amount,
    '{{ var("reporting_currency") }}' as reporting_currency,
    exchange_rate,
    rate_month,
    is_rate_carried_forward,
    -- the difference, not a third rounding: net and tax always add up to the total
    cast(total_amount_reporting - tax_amount_reporting as decimal(24, 2)) as net_amount_reporting,
    tax_amount_reporting,
    total_amount_reporting,
    created_at,
    updated_at
from joined
