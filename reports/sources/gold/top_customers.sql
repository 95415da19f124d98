-- The ten customers of each country with most net revenue, credit notes taken off, drafts and cancelled invoices left out.
with

customers as (

    select
        country_key,
        customer_key,
        count_if(not is_credit_note) as invoice_count,
        sum(net_amount_reporting) as net_revenue,
        max(invoice_date) as last_invoice_date
    from ${gold}.fct_invoices
    where customer_key <> 'unknown' and status not in ('draft', 'cancelled')
    group by country_key, customer_key

),

ranked as (

    select
        *,
        row_number() over (partition by country_key order by net_revenue desc, customer_key) as country_rank
    from customers
    where net_revenue > 0

)

select
    ranked.country_key,
    ranked.country_rank,
    ranked.customer_key,
    ranked.invoice_count,
    cast(ranked.net_revenue as decimal(18, 2)) as net_revenue,
    ranked.last_invoice_date,
    customers.is_active
from ranked
inner join ${gold}.dim_customers as customers on ranked.customer_key = customers.customer_key
where ranked.country_rank <= 10
order by ranked.country_key, ranked.country_rank
