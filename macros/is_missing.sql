{#- True where the source had no value at all. A value that did not fit the column's type also lands as null, but its text stands
    in _rescued_data: such a row is not missing anything. -#}
{% macro is_missing(column) -%}
    ({{ column }} is null and get_json_object(_rescued_data, '$.{{ column }}') is null)
{%- endmacro %}
