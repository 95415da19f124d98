-- The ten customers of each country who owe most that is overdue.
with

customers as (

    select
        country_key,
        customer_key,
        count(*) as overdue_count,
        sum(total_amount_reporting) as overdue_amount,
        max(overdue_days) as longest_overdue_days,
        min(due_date) as oldest_due_date
    from ${gold}.fct_invoices
    where is_overdue and customer_key <> 'unknown'
    group by country_key, customer_key

),

ranked as (

    select
        *,
        row_number() over (
            partition by country_key order by overdue_amount desc nulls last, customer_key
        ) as country_rank
    from customers

)

select
    country_key,
    country_rank,
    customer_key,
    overdue_count,
    cast(overdue_amount as decimal(18, 2)) as overdue_amount,
    longest_overdue_days,
    oldest_due_date
from ranked
where country_rank <= 10
order by country_key, country_rank
