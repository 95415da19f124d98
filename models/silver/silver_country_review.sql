{{
    config(
        materialized="incremental",
        incremental_strategy="insert_overwrite",
        on_schema_change="append_new_columns",
    )
}}

with

invoices as (

    select * from {{ ref("silver_invoices") }}
    where not is_deleted

),

uncertain as (

    select * from {{ ref("silver_country_matches") }}
    where
        method in ('fuzzy', 'unknown')
        -- Unspecified and the like state nothing, so there is nothing to decide
        or (method = 'no_country' and no_country_kind <> 'not_stated')

),

rates as (

    select * from {{ ref("silver_exchange_rates") }}

),

typed as (

    select
        invoices.country_text,
        count(*) as invoice_count,
        count_if(rates.exchange_rate is null) as without_rate_count,
        cast(
            coalesce(sum({{ in_reporting_currency("invoices.total_amount", "rates") }}), 0) as decimal(34, 2)
        ) as total_amount_reporting,
        min(invoices.invoice_date) as first_invoice_date,
        max(invoices.invoice_date) as last_invoice_date
    from invoices
    left join rates
        on
            invoices.currency_code = rates.currency_code
            and invoices.invoice_month = rates.invoice_month
    group by invoices.country_text

),

advised as (

    select
        typed.*,
        uncertain.method,
        uncertain.no_country_kind,
        uncertain.country_code,
        uncertain.nearest_code as proposed_code,
        uncertain.nearest_spelling as proposed_spelling,
        uncertain.score,
        case uncertain.method
            when 'fuzzy' then 'confirm_guess'
            when 'unknown' then 'name_country'
            else 'ask_source'
        end as to_do
    from typed
    inner join uncertain on typed.country_text = uncertain.country_text

)

select
    country_text,
    method,
    no_country_kind,
    country_code,
    proposed_code,
    proposed_spelling,
    score,
    invoice_count,
    '{{ var("reporting_currency") }}' as reporting_currency,
    total_amount_reporting,
    without_rate_count,
    first_invoice_date,
    last_invoice_date,
    to_do,
    case
        when to_do <> 'ask_source' and country_text not like '%"%'
            then concat('"', country_text, '",', coalesce(country_code, '??'), ',country,steward')
    end as alias_line
from advised
