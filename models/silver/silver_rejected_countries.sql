{{ config(materialized="incremental", incremental_strategy="insert_overwrite", on_schema_change="append_new_columns") }}

with

unusable as (

    select * from {{ ref("stg_countries") }}
    where size(reasons) > 0

),

kept as (

    select * from {{ ref("silver_countries") }}

),

numbered as (

    -- the same row may be delivered again, even by another load; its last delivery counts, as in silver_countries
    select
        unusable.*,
        row_number() over (partition by _row_id order by _loaded_at desc) as delivery
    from unusable

),

standing as (

    select numbered.*
    from numbered
    left join kept on numbered.country_code = kept.country_code
    where numbered.delivery = 1 and not coalesce({{ is_outdone("numbered", "kept") }}, false)

)

select
    country_code,
    country_name,
    region,
    sub_region,
    currency_code,
    updated_at,
    is_deleted,
    reasons,
    landed_row,
    _loader,
    _load_id,
    _loaded_at,
    _row_id
from standing
