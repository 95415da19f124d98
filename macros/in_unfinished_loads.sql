{#- The condition that keeps the landed rows which an incremental model has to look at: those of loads that silver_row_accounting
    does not show as finished, meaning that it found all rows of the load, and bronze has no more of them now, no newer one and the
    same deletions. So a load that became visible in parts, arrived out of order or was being processed
    when a run was killed is looked at again, and after an undisturbed run there is nothing to do. Looking at a row twice does no
    harm. Fewer rows than were counted are no reason: a loader that replaces rows took them away, and what took their place is
    in another load, or newer, or the same row marked as deleted.

    The loads go into the SQL as literals, so that Delta can skip the files of all others. The accounting is built after the
    models that use this macro, hence looked up by name: a ref would be a cycle.

    table: the bronze table; and_later: keep also the loads after the oldest unfinished one. They are the same, but where a load
    arrives late. -#}
{% macro in_unfinished_loads(table, and_later=false) -%}
    {%- if not is_incremental() -%}
        {{ return("true") }}
    {%- endif -%}
    {%- set accounting = adapter.get_relation(this.database, this.schema, "row_accounting") -%}
    {%- if accounting is none
        or "deletion_checksum" not in adapter.get_columns_in_relation(accounting) | map(attribute="name") -%} {#- an older one -#}
        {{ return("true") }}
    {%- endif -%}
    {%- set query -%}
        with
        landed as ({{ landed(table, columns=[]) }}),
        bronze as (
            select
                _loader, _load_id, count(*) as row_count, min(_loaded_at) as first_loaded_at,
                max(_loaded_at) as last_loaded_at,
                coalesce(sum(case when _is_deleted then cast(_loaded_at as decimal(20, 6)) end), 0) as deletion_checksum
            from landed group by _loader, _load_id
        ),
        finished as (
            select
                loader, load_id, sum(row_count) as row_count, max(loaded_at) as last_loaded_at,
                sum(deletion_checksum) as deletion_checksum
            from {{ accounting }}
            where table_name = '{{ table }}'
            group by loader, load_id
            having count_if(outcome = 'unaccounted') = 0
        ),
        unfinished as (
            select bronze.* from bronze
            left join finished
                on bronze._loader = finished.loader and bronze._load_id = finished.load_id
                and bronze.row_count <= finished.row_count and bronze.last_loaded_at <= finished.last_loaded_at
                and bronze.deletion_checksum = finished.deletion_checksum
            where finished.load_id is null
        )
        {%- if and_later %}
        select bronze._loader, bronze._load_id from bronze
        inner join (select min(first_loaded_at) as first_loaded_at from unfinished) as oldest
        on bronze.last_loaded_at >= oldest.first_loaded_at
        {%- else %}
        select _loader, _load_id from unfinished
        {%- endif %}
    {%- endset -%}
    {%- set loads = {} -%}
    {%- for row in run_query(query) -%}
        {%- do loads.setdefault(row[0], []).append(row[1]) -%}
    {%- endfor -%}
    {%- set conditions = [] -%}
    {%- for loader, names in loads.items() -%}
        {%- do conditions.append("_loader = '" ~ loader ~ "' and _load_id in ('" ~ names | join("', '") ~ "')") -%}
    {%- endfor -%}
    {{ return("(" ~ conditions | join(" or ") ~ ")" if conditions else "false") }}
{%- endmacro %}
