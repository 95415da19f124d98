-- Invoices of one customer that carry the same number: perhaps the same invoice, entered twice. The facts keep both,
-- as the source does; the stored rows are what a person must look at.
{{ config(severity="warn", store_failures=true) }}

select
    customer_key,
    invoice_number,
    count(*) as invoice_count,
    min(invoice_id) as first_invoice_id,
    max(invoice_id) as last_invoice_id
from {{ ref("fct_invoices") }}
where not is_credit_note and status <> 'cancelled' and invoice_number is not null
group by customer_key, invoice_number
having count(*) > 1
