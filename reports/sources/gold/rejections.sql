-- Landed rows that cannot be used, by reason; a row with two reasons counts under both.
with

rejected as (

    select
        'invoices' as table_name,
        reasons,
        _loaded_at
    from ${silver}.rejected_invoices
    union all
    select
        'countries' as table_name,
        reasons,
        _loaded_at
    from ${silver}.rejected_countries

),

by_reason as (

    select
        table_name,
        explode(reasons) as reason,
        _loaded_at
    from rejected

)

select
    table_name,
    reason,
    count(*) as row_count,
    max(_loaded_at) as newest_loaded_at
from by_reason
group by table_name, reason
order by table_name, row_count desc, reason
