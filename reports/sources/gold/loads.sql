-- The newest loads of each table, at most 30.
with

ranked as (

    select
        *,
        row_number() over (partition by table_name order by loaded_at desc, load_id desc, loader) as newest_rank
    from ${gold}.agg_landed_rows_load

)

select
    table_name,
    loaded_at,
    landed_count as row_count,
    rejected_count,
    newest_rank
from ranked
where newest_rank <= 30
order by table_name, newest_rank
