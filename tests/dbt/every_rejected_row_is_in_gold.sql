-- Each rejected row of silver is counted once in gold, by its load and by its first reason.
{%- set tables = ["invoices", "countries"] %}

with

counted as (

    {% for table in tables -%}
    select 'silver' as place, '{{ table }}' as bronze_table, count(*) as row_count
    from {{ ref("silver_rejected_" ~ table) }}
    union all
    {% endfor -%}
    select
        'loads' as place,
        table_name as bronze_table,
        sum(rejected_count) as row_count
    from {{ ref("agg_landed_rows_load") }}
    group by all
    union all
    select
        'reasons' as place,
        table_name as bronze_table,
        sum(first_reason_count) as row_count
    from {{ ref("agg_rejected_rows_reason_day") }}
    group by all

),

compared as (

    select
        bronze_table,
        coalesce(sum(row_count) filter (where place = 'silver'), 0) as in_silver,
        coalesce(sum(row_count) filter (where place = 'loads'), 0) as by_load,
        coalesce(sum(row_count) filter (where place = 'reasons'), 0) as by_reason
    from counted
    group by bronze_table

)

select * from compared
where in_silver <> by_load or in_silver <> by_reason
