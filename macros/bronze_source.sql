{#- The source of a loader's table: each loader has a schema of its own, dlt's is bronze. -#}
{% macro bronze_source(loader, table) -%}
    {{ return(source("bronze" if loader == "dlt" else "bronze_" ~ loader, table)) }}
{%- endmacro %}
