-- The newest loads of each table, at most 30.
with

loads as (

    select
        table_name,
        load_id,
        max(loaded_at) as loaded_at,
        sum(row_count) as row_count,
        coalesce(sum(row_count) filter (where outcome = 'rejected'), 0) as rejected_count
    from ${silver}.row_accounting
    group by table_name, loader, load_id

),

ranked as (

    select
        *,
        row_number() over (partition by table_name order by loaded_at desc, load_id desc) as newest_rank
    from loads

)

select
    table_name,
    loaded_at,
    row_count,
    rejected_count,
    newest_rank
from ranked
where newest_rank <= 30
order by table_name, newest_rank
