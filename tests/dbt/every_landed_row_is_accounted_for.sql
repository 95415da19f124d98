-- Landed = accepted + superseded + rejected, for each bronze table; and accepted and rejected are what silver holds.
{%- set tables = ["invoices", "countries"] %}

with

accounted as (

    select
        table_name,
        sum(row_count) as landed,
        coalesce(sum(row_count) filter (where outcome = 'accepted'), 0) as accepted,
        coalesce(sum(row_count) filter (where outcome = 'rejected'), 0) as rejected,
        coalesce(sum(row_count) filter (where outcome = 'unaccounted'), 0) as unaccounted
    from {{ ref("silver_row_accounting") }}
    group by table_name

),

counted as (

    {% for table in tables -%}
    select
        '{{ table }}' as table_name,
        (select count(*) from {{ source("bronze", table) }}) as landed,
        (select count(*) from {{ ref("silver_" ~ table) }}) as accepted,
        (select count(*) from {{ ref("silver_rejected_" ~ table) }}) as rejected
    {%- if not loop.last %}
    union all
    {% endif %}
    {%- endfor %}

)

select
    counted.*,
    accounted.landed as accounted_landed,
    accounted.accepted as accounted_accepted,
    accounted.rejected as accounted_rejected,
    accounted.unaccounted
from counted
left join accounted on counted.table_name = accounted.table_name
where
    coalesce(accounted.landed, 0) <> counted.landed
    or coalesce(accounted.accepted, 0) <> counted.accepted
    or coalesce(accounted.rejected, 0) <> counted.rejected
    or accounted.unaccounted > 0
