-- One row: the figures at the top of the overview, of the newest complete month and of the month before (as_of.sql).
with

as_of as (

    select
        max(as_of_date) as as_of_date,
        max(reporting_currency) as reporting_currency,
        max(invoice_month) filter (where add_months(invoice_month, 1) <= as_of_date) as complete_month
    from ${gold}.fct_invoices

),

months as (

    select
        months.invoice_month = as_of.complete_month as is_last,
        sum(months.net_revenue_reporting) as net_revenue,
        sum(months.invoice_count) as invoices,
        sum(months.credit_note_count) as credit_notes,
        sum(months.without_rate_count) as without_rate
    from ${gold}.agg_invoices_country_month as months
    cross join as_of
    where months.invoice_month in (as_of.complete_month, cast(add_months(as_of.complete_month, -1) as date))
    group by months.invoice_month = as_of.complete_month

),

overdue as (

    select
        sum(overdue_amount_reporting) as overdue_amount,
        sum(overdue_count) as overdue_count
    from ${gold}.agg_invoices_country_month_status

)

select
    as_of.as_of_date,
    as_of.reporting_currency,
    as_of.complete_month,
    cast(add_months(as_of.complete_month, -1) as date) as month_before,
    cast(last.net_revenue as double) as net_revenue,
    -- growth from nothing, or from less, says nothing
    case when before.net_revenue > 0 then cast(last.net_revenue as double) / before.net_revenue - 1 end as net_revenue_change,
    last.invoices,
    case when before.invoices > 0 then cast(last.invoices as double) / before.invoices - 1 end as invoices_change,
    case when last.invoices > 0 then cast(last.net_revenue as double) / last.invoices end as revenue_per_invoice,
    case
        when last.invoices > 0 and before.invoices > 0 and before.net_revenue > 0
            then (cast(last.net_revenue as double) / last.invoices) / (cast(before.net_revenue as double) / before.invoices) - 1
    end as revenue_per_invoice_change,
    last.credit_notes,
    case when before.credit_notes > 0 then cast(last.credit_notes as double) / before.credit_notes - 1 end as credit_notes_change,
    last.without_rate,
    cast(overdue.overdue_amount as double) as overdue_amount,
    overdue.overdue_count
from as_of
cross join overdue
left join months as last on last.is_last
left join months as before on not before.is_last
