{{ config(materialized="incremental", incremental_strategy="insert_overwrite", on_schema_change="append_new_columns") }}

with

unusable as (

    select * from {{ ref("stg_countries") }}
    where size(reasons) > 0

),

numbered as (

    -- the same delivery of a row can land twice; the two are equal
    select
        unusable.*,
        row_number() over (partition by _row_id order by _loaded_at) as delivery
    from unusable

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
from numbered
where delivery = 1
