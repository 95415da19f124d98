-- The statuses of a country's month add up to the month: every document is in both aggregates, once.
with

months as (

    select * from {{ ref("agg_invoices_country_month") }}

),

statuses as (

    select
        country_key,
        invoice_month,
        sum(invoice_count) as invoice_count,
        sum(credit_note_count) as credit_note_count,
        cast(sum(total_amount_reporting) as decimal(34, 2)) as total_amount_reporting
    from {{ ref("agg_invoices_country_month_status") }}
    group by country_key, invoice_month

)

select
    coalesce(months.country_key, statuses.country_key) as country_key,
    coalesce(months.invoice_month, statuses.invoice_month) as invoice_month,
    months.invoice_count,
    statuses.invoice_count as invoice_count_of_statuses,
    months.credit_note_count,
    statuses.credit_note_count as credit_note_count_of_statuses,
    months.total_amount_reporting,
    statuses.total_amount_reporting as total_amount_of_statuses
from months
full outer join statuses
    on
        months.country_key = statuses.country_key
        and months.invoice_month = statuses.invoice_month
where
    not (months.invoice_count <=> statuses.invoice_count)
    or not (months.credit_note_count <=> statuses.credit_note_count)
    or not (months.total_amount_reporting <=> statuses.total_amount_reporting)
