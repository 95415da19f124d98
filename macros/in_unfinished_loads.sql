{#- The condition that keeps the landed rows which an incremental model has to look at: those of loads that silver_row_accounting
    does not show as finished, meaning that it counted as many rows of the load as bronze has now and found all of them. So a
    load that became visible in parts, arrived out of order or was being processed when a run was killed is looked at again,
    and after an undisturbed run there is nothing to do. Looking at a row twice does no harm.

    The loads go into the SQL as literals, so that Delta can skip the files of all others. The accounting is built after the
    models that use this macro, hence looked up by name: a ref would be a cycle.

    table: the bronze table; key: its key column; and_later: keep also the loads after the oldest unfinished one. They are the
    same, but where a load arrives late. -#}
{% macro in_unfinished_loads(table, key, and_later=false) -%}
    {%- if not is_incremental() -%}
        {{ return("true") }}
    {%- endif -%}
    {%- set accounting = adapter.get_relation(this.database, this.schema, "row_accounting") -%}
    {%- if accounting is none -%}
        {{ return("true") }}
    {%- endif -%}
    {%- set query -%}
        with
        landed as (select {{ bronze_metadata(var("loaders")[table], key) }} from {{ source("bronze", table) }}),
        bronze as (
            select _load_id, count(*) as row_count, min(_loaded_at) as first_loaded_at, max(_loaded_at) as last_loaded_at
            from landed group by _load_id
        ),
        finished as (
            select load_id, sum(row_count) as row_count from {{ accounting }}
            where table_name = '{{ table }}'
            group by load_id
            having count_if(outcome = 'unaccounted') = 0
        ),
        unfinished as (
            select bronze.* from bronze
            left join finished on bronze._load_id = finished.load_id and bronze.row_count = finished.row_count
            where finished.load_id is null
        )
        {%- if and_later %}
        select bronze._load_id from bronze
        inner join (select min(first_loaded_at) as first_loaded_at from unfinished) as oldest
        on bronze.last_loaded_at >= oldest.first_loaded_at
        {%- else %}
        select _load_id from unfinished
        {%- endif %}
    {%- endset -%}
    {%- set loads = run_query(query).columns[0].values() -%}
    {{ return("_load_id in ('" ~ loads | join("', '") ~ "')" if loads else "false") }}
{%- endmacro %}
