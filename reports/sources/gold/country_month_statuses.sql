-- A country's months by status.
select
    country_key,
    invoice_month,
    status,
    invoice_count,
    credit_note_count,
    overdue_count,
    cast(overdue_amount_reporting as decimal(18, 2)) as overdue_amount
from ${gold}.agg_invoices_country_month_status
order by country_key, invoice_month, status
