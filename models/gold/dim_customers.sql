with

invoices as (

    select * from {{ ref("fct_invoices") }}

),

newest as (

    -- an invoice that is dated ahead must not make everybody else look idle
    select max(invoice_date) as newest_invoice_date from invoices
    where not is_credit_note and invoice_date <= as_of_date

),

customers as (

    select
        customer_key,
        max(customer_id) as customer_id,
        min(invoice_date) filter (where not is_credit_note) as first_invoice_date,
        max(invoice_date) filter (where not is_credit_note) as last_invoice_date,
        count_if(not is_credit_note) as invoice_count,
        count_if(is_credit_note) as credit_note_count
    from invoices
    group by customer_key
    union all
    -- the unknown member exists without invoices too
    select
        'unknown' as customer_key,
        cast(null as string) as customer_id,
        cast(null as date) as first_invoice_date,
        cast(null as date) as last_invoice_date,
        cast(0 as bigint) as invoice_count,
        cast(0 as bigint) as credit_note_count
    where
        not exists (
            select 1 from invoices
            where customer_key = 'unknown'
        )

),

customer_countries as (

    select
        customer_key,
        country_key,
        row_number() over (
            partition by customer_key order by count(*) desc, max(invoice_date) desc, country_key
        ) as country_rank
    from invoices
    group by customer_key, country_key

)

select
    customers.customer_key,
    customers.customer_id,
    customers.first_invoice_date,
    customers.last_invoice_date,
    customers.invoice_count,
    customers.credit_note_count,
    coalesce(main.country_key, 'ZZ') as main_country_key,
    customers.customer_key <> 'unknown'
    and coalesce(customers.last_invoice_date > add_months(newest.newest_invoice_date, -12), false) as is_active
from customers
cross join newest
left join customer_countries as main
    on
        customers.customer_key = main.customer_key
        and main.country_rank = 1
