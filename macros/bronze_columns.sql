{#- The columns that a loader's table has now, type by name in lower case; none where nobody can be asked: while dbt parses,
    with --no-introspect, in a unit test, before the first load. A unit test may state them by overriding this macro. -#}
{% macro bronze_columns(loader, table) -%}
    {%- if not execute or not flags.INTROSPECT -%}
        {{ return(none) }}
    {%- endif -%}
    {%- set named = bronze_source(loader, table) -%}
    {%- set relation = none if named.is_cte else adapter.get_relation(named.database, named.schema, named.identifier) -%}
    {%- if relation is none -%}
        {{ return(none) }}
    {%- endif -%}
    {%- set found = {} -%}
    {%- for column in adapter.get_columns_in_relation(relation) -%}
        {%- do found.update({column.name | lower: column.dtype | lower}) -%}
    {%- endfor -%}
    {{ return(found) }}
{%- endmacro %}
