-- One row: how far the data goes. "Last month" is the newest month that had ended when the newest load came; the clock of
-- who reads has no part in it.
with

invoices as (

    select
        count(*) as document_count,
        max(as_of_date) as as_of_date,
        max(reporting_currency) as reporting_currency,
        max(invoice_date) filter (where invoice_date <= as_of_date) as last_invoice_date,
        max(invoice_month) filter (where add_months(invoice_month, 1) <= as_of_date) as complete_month
    from ${gold}.fct_invoices

)

select
    document_count,
    as_of_date,
    reporting_currency,
    last_invoice_date,
    complete_month,
    cast(add_months(complete_month, -1) as date) as month_before
from invoices
