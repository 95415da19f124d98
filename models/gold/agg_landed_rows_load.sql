with

outcomes as (

    select * from {{ ref("silver_row_accounting") }}

)

select
    table_name,
    loader,
    load_id,
    max(loaded_at) as loaded_at,
    sum(row_count) as landed_count,
    coalesce(sum(row_count) filter (where outcome = 'accepted'), 0) as accepted_count,
    coalesce(sum(row_count) filter (where outcome = 'superseded'), 0) as superseded_count,
    coalesce(sum(row_count) filter (where outcome = 'rejected'), 0) as rejected_count,
    coalesce(sum(row_count) filter (where outcome = 'unaccounted'), 0) as unaccounted_count
from outcomes
group by table_name, loader, load_id
