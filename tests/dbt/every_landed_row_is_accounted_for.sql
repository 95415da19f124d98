-- Landed = accepted + superseded + rejected, for each bronze table; and accepted and rejected are what silver holds.
{%- set tables = ["invoices", "countries"] %}

with

counted as (

    {% for table in tables -%}
    select '{{ table }}' as bronze_table, 'landed' as outcome, count(*) as row_count from {{ source("bronze", table) }}
    union all
    select '{{ table }}' as bronze_table, 'accepted' as outcome, count(*) as row_count from {{ ref("silver_" ~ table) }}
    union all
    select '{{ table }}' as bronze_table, 'rejected' as outcome, count(*) as row_count
    from {{ ref("silver_rejected_" ~ table) }}
    {{ "union all" if not loop.last }}
    {% endfor %}

),

accounted as (

    select
        table_name as bronze_table,
        outcome,
        sum(row_count) as row_count
    from {{ ref("silver_row_accounting") }}
    group by all
    union all
    select
        table_name as bronze_table,
        'landed' as outcome,
        sum(row_count) as row_count
    from {{ ref("silver_row_accounting") }}
    group by all

)

select
    coalesce(counted.bronze_table, accounted.bronze_table) as bronze_table,
    coalesce(counted.outcome, accounted.outcome) as outcome,
    counted.row_count as counted,
    accounted.row_count as accounted
from counted
full outer join accounted
    on
        counted.bronze_table = accounted.bronze_table
        and counted.outcome = accounted.outcome
where
    coalesce(counted.row_count, 0) <> coalesce(accounted.row_count, 0)
    and coalesce(accounted.outcome, '') <> 'superseded'
