{#- dbt's own, which asks the database whether the table exists; but not where dbt was told not to ask (--no-introspect), so that
    `dbt compile --no-introspect --no-populate-cache` works without a connection and compiles what a first run would do. -#}
{% macro is_incremental() -%}
    {{ return(execute and flags.INTROSPECT and dbt.is_incremental()) }}
{%- endmacro %}
