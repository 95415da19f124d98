with

invoices as (

    select * from {{ ref("fct_invoices") }}

),

countries as (

    select * from {{ ref("dim_countries") }}

),

by_country_month as (

    select
        country_key,
        invoice_month,
        reporting_currency,
        count_if(not is_credit_note) as invoice_count,
        count_if(is_credit_note) as credit_note_count,
        count_if(exchange_rate is null) as without_rate_count,
        cast(coalesce(sum(net_amount_reporting), 0) as decimal(34, 2)) as net_amount_reporting,
        cast(coalesce(sum(tax_amount_reporting), 0) as decimal(34, 2)) as tax_amount_reporting,
        cast(coalesce(sum(total_amount_reporting), 0) as decimal(34, 2)) as total_amount_reporting,
        cast(
            coalesce(sum(net_amount_reporting) filter (where status not in ('draft', 'cancelled')), 0) as decimal(34, 2)
        ) as net_revenue_reporting
    from invoices
    group by all

),

first_month as (

    select min(invoice_month) as first_month from by_country_month

),

revenue_of_months as (

    select
        invoice_month,
        cast(sum(net_revenue_reporting) as decimal(34, 2)) as net_revenue_of_month
    from by_country_month
    group by invoice_month

),

looking_back as (

    -- by the calendar, not by rows: a month without a row counts as zero, and nothing is compared across a gap
    select
        by_country_month.country_key,
        by_country_month.invoice_month,
        cast(
            coalesce(
                sum(past.net_revenue_reporting) filter (
                    where past.invoice_month = add_months(by_country_month.invoice_month, -1)
                ), 0
            ) as decimal(34, 2)
        ) as previous_month,
        cast(
            coalesce(
                sum(past.net_revenue_reporting) filter (
                    where past.invoice_month = add_months(by_country_month.invoice_month, -12)
                ), 0
            ) as decimal(34, 2)
        ) as previous_year,
        cast(
            coalesce(
                sum(past.net_revenue_reporting) filter (
                    where past.invoice_month > add_months(by_country_month.invoice_month, -12)
                ), 0
            ) as decimal(34, 2)
        ) as last_12_months
    from by_country_month
    inner join by_country_month as past
        on
            by_country_month.country_key = past.country_key
            and past.invoice_month between add_months(by_country_month.invoice_month, -12)
            and by_country_month.invoice_month
    group by by_country_month.country_key, by_country_month.invoice_month

),

compared as (

    -- before the first month of all invoices nothing is known, which is not zero
    select
        looking_back.country_key,
        looking_back.invoice_month,
        case
            when add_months(looking_back.invoice_month, -1) >= first_month.first_month then looking_back.previous_month
        end as previous_month,
        case
            when add_months(looking_back.invoice_month, -12) >= first_month.first_month then looking_back.previous_year
        end as previous_year,
        case
            when add_months(looking_back.invoice_month, -11) >= first_month.first_month then looking_back.last_12_months
        end as last_12_months
    from looking_back
    cross join first_month

)

select
    by_country_month.country_key,
    by_country_month.invoice_month,
    countries.country_code,
    countries.country_name,
    countries.region,
    countries.sub_region,
    by_country_month.invoice_count,
    by_country_month.credit_note_count,
    by_country_month.without_rate_count,
    by_country_month.reporting_currency,
    by_country_month.net_amount_reporting,
    by_country_month.tax_amount_reporting,
    by_country_month.total_amount_reporting,
    by_country_month.net_revenue_reporting,
    cast(
        by_country_month.net_revenue_reporting - compared.previous_month as decimal(34, 2)
    ) as net_revenue_month_change,
    -- a rate of growth from nothing, or from less, says nothing
    case
        when compared.previous_month > 0
            then
                100 * cast(by_country_month.net_revenue_reporting - compared.previous_month as double)
                / cast(compared.previous_month as double)
    end as net_revenue_month_change_percent,
    cast(
        by_country_month.net_revenue_reporting - compared.previous_year as decimal(34, 2)
    ) as net_revenue_year_change,
    case
        when compared.previous_year > 0
            then
                100 * cast(by_country_month.net_revenue_reporting - compared.previous_year as double)
                / cast(compared.previous_year as double)
    end as net_revenue_year_change_percent,
    compared.last_12_months as net_revenue_rolling_12_months,
    case
        when revenue_of_months.net_revenue_of_month > 0
            then
                100 * cast(by_country_month.net_revenue_reporting as double)
                / cast(revenue_of_months.net_revenue_of_month as double)
    end as net_revenue_share_percent
from by_country_month
inner join countries on by_country_month.country_key = countries.country_key
inner join revenue_of_months on by_country_month.invoice_month = revenue_of_months.invoice_month
inner join compared
    on
        by_country_month.country_key = compared.country_key
        and by_country_month.invoice_month = compared.invoice_month
