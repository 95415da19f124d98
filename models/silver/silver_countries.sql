{{ config(materialized="incremental", incremental_strategy="insert_overwrite", on_schema_change="append_new_columns") }}

with

usable as (

    select * from {{ ref("stg_countries") }}
    where size(reasons) = 0

),

numbered as (

    select
        usable.*,
        row_number() over (partition by country_code order by {{ row_version("usable") }} desc) as version_rank
    from usable

)

select
    country_code,
    country_name,
    region,
    sub_region,
    currency_code,
    updated_at,
    is_deleted,
    _loader,
    _load_id,
    _loaded_at,
    _row_id
from numbered
where version_rank = 1
