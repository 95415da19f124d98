with

newest_load as (

    -- the facts' "today": the same data gives the same answer whenever it is asked
    select cast(max(_loaded_at) as date) as as_of_date from {{ ref("silver_invoices") }}

),

invoices as (

    select
        *,
        coalesce(customer_id, 'unknown') as customer_key,
        status = 'credit_note' or total_amount < 0 as is_credit_note
    from {{ ref("silver_invoices") }}
    where not is_deleted

),

matches as (

    select * from {{ ref("silver_country_matches") }}

),

rates as (

    select * from {{ ref("silver_exchange_rates") }}

),

creditable as (

    -- what a credit note for the invoice is called, or ends with
    select
        invoice_id,
        customer_key,
        explode(
            array(concat('CN-', invoice_number), concat('C', invoice_number), concat('/', invoice_number))
        ) as reference
    from invoices
    where not is_credit_note and invoice_number is not null

),

credit_notes as (

    select
        invoice_id,
        customer_key,
        invoice_number as reference
    from invoices
    where is_credit_note
    union all
    -- CN-12/INV-7 takes INV-7 back: what is left without the note's own number
    select
        invoice_id,
        customer_key,
        trim(leading 'CN-0123456789' from invoice_number) as reference
    from invoices
    where is_credit_note and invoice_number like 'CN-%/%'

),

links as (

    -- a number that fits several of the customer's invoices names none of them
    select
        credit_notes.invoice_id,
        max(creditable.invoice_id) as credited_invoice_id
    from credit_notes
    inner join creditable
        on
            credit_notes.customer_key = creditable.customer_key
            and credit_notes.reference = creditable.reference
    group by credit_notes.invoice_id
    having min(creditable.invoice_id) = max(creditable.invoice_id)

),

joined as (

    select
        invoices.*,
        links.credited_invoice_id,
        newest_load.as_of_date,
        coalesce(matches.country_code, 'ZZ') as country_key,
        coalesce(matches.method, 'missing') as country_match_method,
        matches.score as country_match_score,
        rates.exchange_rate,
        rates.rate_month,
        coalesce(rates.is_rate_carried_forward, false) as is_rate_carried_forward,
        {{ in_reporting_currency("invoices.tax_amount", "rates") }} as tax_amount_reporting,
        {{ in_reporting_currency("invoices.total_amount", "rates") }} as total_amount_reporting
    from invoices
    cross join newest_load
    left join links on invoices.invoice_id = links.invoice_id
    left join matches on invoices.country_text = matches.country_text
    left join rates
        on
            invoices.currency_code = rates.currency_code
            and invoices.invoice_month = rates.invoice_month

),

final as (

    select
        *,
        case
            when status in ('open', 'overdue') and not is_credit_note and due_date < as_of_date
                then datediff(as_of_date, due_date)
        end as overdue_days
    from joined

)

select
    invoice_id,
    invoice_number,
    customer_key,
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
    is_credit_note,
    credited_invoice_id,
    as_of_date,
    overdue_days,
    overdue_days is not null as is_overdue,
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
from final
