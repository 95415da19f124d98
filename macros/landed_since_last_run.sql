{#- The condition under which a bronze row may be new to this incremental model: it was loaded no earlier than the newest row
    here of the same loader. "No earlier", because a load can become visible in parts; the merges below make seeing a row
    twice harmless. The watermark goes into the SQL as a literal, so that Delta can skip the files of older loads: for that,
    dlt's loads are also compared by their id, which is the column that bronze stores.

    Needs a connection only on an incremental run; a first run, a full refresh and a parse see `true`. -#}
{% macro landed_since_last_run() -%}
    {%- if not is_incremental() -%}
        true
    {%- else -%}
        {%- set query -%}
            select _loader, unix_micros(max(_loaded_at)) as loaded_at, max(_load_id) as load_id from {{ this }} group by _loader
        {%- endset -%}
        true
        {%- for loader, loaded_at, load_id in run_query(query).rows %}
        and (
            _loader <> '{{ loader }}'
            or (
                _loaded_at >= timestamp_micros({{ loaded_at }})
                {%- if loader == "dlt" %} and _load_id >= '{{ load_id }}'{% endif -%}
            )
        )
        {%- endfor -%}
    {%- endif -%}
{%- endmacro %}
