{#- The select list of these columns from a table that may lack some: a model that reads its own table meets that where a column
    is new. -#}
{% macro columns_or_null(relation, columns) -%}
    {%- set found = adapter.get_columns_in_relation(relation) | map(attribute="name") | list -%}
    {%- for column in columns -%}
        {{ "" if column in found else "null as " }}{{ column }}{{ ", " if not loop.last }}
    {%- endfor -%}
{%- endmacro %}
