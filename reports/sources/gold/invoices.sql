-- The newest invoices and credit notes, at most ${invoices} of them; the page tells where there are more.
select
    invoice_id,
    invoice_number,
    customer_key,
    country_key,
    country_text,
    country_match_method,
    invoice_date,
    due_date,
    status,
    credited_invoice_id,
    overdue_days,
    currency_code,
    net_amount,
    tax_amount,
    total_amount,
    exchange_rate,
    rate_month,
    cast(total_amount_reporting as decimal(18, 2)) as total_amount_reporting
from ${gold}.fct_invoices
order by invoice_date desc, invoice_id desc
limit ${invoices}
