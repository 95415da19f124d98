-- Made anew at each run, as all of gold: a corrected row leaves silver's table, on whichever day it landed. Silver
-- wrote all of its rejected rows a moment ago; to read five columns of them costs less than that did.
with

rates as (

    select * from {{ ref("silver_exchange_rates") }}

),

invoices as (

    select
        'invoices' as table_name,
        rejected._loader as loader,
        rejected._loaded_at as loaded_at,
        rejected.reasons,
        {{ in_reporting_currency("rejected.total_amount", "rates") }} as total_amount_reporting
    from {{ ref("silver_rejected_invoices") }} as rejected
    left join rates
        on
            rejected.currency_code = rates.currency_code
            and cast(date_trunc('month', rejected.invoice_date) as date) = rates.invoice_month

),

countries as (

    select
        'countries' as table_name,
        _loader as loader,
        _loaded_at as loaded_at,
        reasons,
        cast(null as decimal(24, 2)) as total_amount_reporting
    from {{ ref("silver_rejected_countries") }}

),

rejected_rows as (

    select * from invoices
    union all
    select * from countries

),

by_reason as (

    select
        table_name,
        loader,
        loaded_at,
        reasons[0] as first_reason,
        explode(reasons) as reason,
        total_amount_reporting
    from rejected_rows

)

select
    table_name,
    loader,
    reason,
    to_date(loaded_at) as landed_date,
    max(loaded_at) as last_loaded_at,
    count(*) as row_count,
    count_if(reason = first_reason) as first_reason_count,
    '{{ var("reporting_currency") }}' as reporting_currency,
    cast(coalesce(sum(total_amount_reporting), 0) as decimal(34, 2)) as total_amount_reporting,
    cast(
        coalesce(sum(total_amount_reporting) filter (where reason = first_reason), 0) as decimal(34, 2)
    ) as first_reason_amount_reporting,
    count_if(total_amount_reporting is null) as without_amount_count
from by_reason
group by table_name, loader, reason, to_date(loaded_at)
