{#- What the rows of the query's `landed` tell: the contract's columns, the row as it landed, as JSON, and landed's other
    columns. A deletion tells a key and a time. Some loaders leave in its other columns what they were before, some do not. -#}
{% macro told(table) -%}
    {%- set contract = bronze_contract(table) -%}
    select
        {%- for column in contract["columns"] %}
        {{ column if column in contract["deletion_needs"] else "case when not _is_deleted then " ~ column ~ " end as " ~ column }},
        {%- endfor %}
        to_json(struct({{ contract["columns"] | join(", ") }}, _rescued_data)) as landed_row,
        _rescued_data,
        _loader,
        _load_id,
        _loaded_at,
        _is_deleted,
        _row_id
    from landed
{%- endmacro %}
