-- Landed = accepted + superseded + rejected, for each bronze table; and accepted and rejected are what silver holds.
-- Of a loader that replaces rows, or is not among var loaders any more, silver may have what bronze holds no longer.
{%- set tables = ["invoices", "countries"] %}

with

{% for table in tables -%}
{{ table }} as (

    {{ landed(table, columns=[]) }}

),

{{ table }}_ids as (

    select distinct _row_id from {{ table }}

),

{% endfor -%}

counted as (

    {% for table in tables -%}
    select '{{ table }}' as bronze_table, 'landed' as outcome, count(*) as row_count from {{ table }}
    union all
    select '{{ table }}' as bronze_table, 'accepted' as outcome, count(*) as row_count
    from {{ ref("silver_" ~ table) }} as kept
    left join {{ table }}_ids as held on kept._row_id = held._row_id
    where held._row_id is not null or kept._loader in ('{{ loaders_of(table, rows="appended") | join("', '") }}')
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
