{{ config(materialized="incremental", incremental_strategy="insert_overwrite", on_schema_change="append_new_columns") }}

-- Where every landed row went. Nothing is found by subtraction: each row is looked up, by its id among the rejected
-- rows and by its key among the accepted ones. A row in none of its places, or in two, counts as unaccounted.
{%- set tables = {"invoices": "invoice_id", "countries": "country_code"} %}

with

{% for table, key in tables.items() -%}
{{ table }} as (

    select
        '{{ table }}' as table_name,
        landed._loader as loader,
        landed._load_id as load_id,
        landed._loaded_at as loaded_at,
        case when landed.is_deleted then cast(landed._loaded_at as decimal(20, 6)) end as deleted_seconds,
        landed.delivery > 1 as is_delivered_again,
        coalesce(kept._row_id = landed._row_id, false) as is_accepted,
        rejected._row_id is not null as is_rejected,
        coalesce({{ is_outdone("landed", "kept") }}, false) as is_outdone
    from (
        select
            {{ key }},
            updated_at,
            is_deleted,
            reasons,
            _loader,
            _load_id,
            _loaded_at,
            _row_id,
            row_number() over (partition by _row_id order by _loaded_at desc) as delivery
        from {{ ref("stg_" ~ table) }}
    ) as landed
    left join {{ ref("silver_" ~ table) }} as kept on landed.{{ key }} = kept.{{ key }}
    left join {{ ref("silver_rejected_" ~ table) }} as rejected on landed._row_id = rejected._row_id

),

{% endfor -%}

landed_rows as (

    {% for table in tables -%}
    select * from {{ table }}
    {%- if not loop.last %}
    union all
    {% endif %}
    {%- endfor %}

),

found as (

    select
        table_name,
        loader,
        load_id,
        loaded_at,
        deleted_seconds,
        case
            when is_delivered_again then 'superseded'
            when is_accepted and not is_rejected and not is_outdone then 'accepted'
            when is_rejected and not is_accepted and not is_outdone then 'rejected'
            when is_outdone and not is_accepted and not is_rejected then 'superseded'
            else 'unaccounted'
        end as outcome
    from landed_rows

)

select
    table_name,
    load_id,
    max(loaded_at) as loaded_at,
    outcome,
    count(*) as row_count,
    loader,
    coalesce(sum(deleted_seconds), 0) as deletion_checksum
from found
group by table_name, loader, load_id, outcome
