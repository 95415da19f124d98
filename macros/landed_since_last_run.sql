{#- The condition under which a landed row may be new to this incremental model: it was loaded no earlier than the newest row
    here of the same loader, and is not that row's own load come by again. "No earlier" and not "later", because a load can
    become visible in parts. A superseded row of the newest load, which is not here, does come by again; the merge ignores it.

    The watermark goes into the SQL as a literal, so that Delta can skip the files of older loads; for that, dlt's loads are also
    compared by their id, which is the column that bronze stores. Needs a connection only on an incremental run: a first run,
    a full refresh and a parse see `true`.

    relation_alias: the relation that has _loader, _loaded_at, _load_id and _row_id. -#}
{% macro landed_since_last_run(relation_alias) -%}
    {%- if not is_incremental() -%}
        true
    {%- else -%}
        {%- set query -%}
            select _loader, unix_micros(max(_loaded_at)) as loaded_at, max(_load_id) as load_id from {{ this }} group by _loader
        {%- endset -%}
        true
        {%- for loader, loaded_at, load_id in run_query(query).rows %}
        and (
            {{ relation_alias }}._loader <> '{{ loader }}'
            or (
                {{ relation_alias }}._loaded_at >= timestamp_micros({{ loaded_at }})
                {%- if loader == "dlt" %} and {{ relation_alias }}._load_id >= '{{ load_id }}'{% endif -%}
            )
        )
        and not exists (
            select 1 from {{ this }} as seen
            where seen._row_id = {{ relation_alias }}._row_id and seen._loaded_at = timestamp_micros({{ loaded_at }})
        )
        {%- endfor -%}
    {%- endif -%}
{%- endmacro %}
