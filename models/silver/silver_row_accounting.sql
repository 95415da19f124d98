{{ config(materialized="incremental", incremental_strategy="insert_overwrite") }}

-- Where every landed row went. Nothing is found by subtraction: each row is looked up, by its id among the rejected
-- rows and by its key among the accepted ones, and a row that is found nowhere, or twice, counts as unaccounted.
{%- set tables = {"invoices": "invoice_id", "countries": "country_code"} %}

with

{% for table, key in tables.items() -%}
{{ table }} as (

    select
        '{{ table }}' as table_name,
        landed._load_id as load_id,
        landed._loaded_at as loaded_at,
        case
            when landed.delivery > 1 then 'superseded' -- the same delivery of the same row, landed again
            when kept._row_id = landed._row_id and rejected._row_id is not null then 'unaccounted'
            when kept._row_id = landed._row_id then 'accepted'
            when rejected._row_id is not null then 'rejected'
            when {{ row_version("kept") }} > {{ row_version("landed") }} then 'superseded'
            else 'unaccounted'
        end as outcome
    from (
        select
            {{ key }},
            updated_at,
            is_deleted,
            _load_id,
            _loaded_at,
            _row_id,
            row_number() over (partition by _row_id order by _loaded_at) as delivery
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

)

select
    table_name,
    load_id,
    loaded_at,
    outcome,
    count(*) as row_count
from landed_rows
group by all
