{{ config(materialized="incremental", incremental_strategy="insert_overwrite", on_schema_change="append_new_columns") }}

{%- set columns = [
    "country_code", "country_name", "region", "sub_region", "currency_code", "updated_at", "is_deleted", "_loader", "_load_id",
    "_loaded_at", "_row_id",
] %}

with

usable as (

    select {{ columns | join(", ") }}
    from {{ ref("stg_countries") }}
    where size(reasons) = 0
    {%- if is_incremental() %}
    union all
    -- a version that bronze holds no more, because the loader put another row in its place, or is another one today
    select {{ columns_or_null(this, columns) }}
    from {{ this }}
    where _row_id not in (select _row_id from {{ ref("stg_countries") }})
    {%- endif %}

),

numbered as (

    select
        usable.*,
        row_number() over (partition by country_code order by {{ row_version("usable") }} desc) as version_rank
    from usable

)

select {{ columns | join(", ") }} from numbered
where version_rank = 1
