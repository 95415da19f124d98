{#- True where tables live in Unity Catalog, whose information schema an incremental run reads to apply changed constraints. dbt
    raises an error for them on the Hive metastore that target `local` has: there, a change of gold's contract needs a full
    refresh. -#}
{% macro on_unity_catalog() -%}
    {{ return(target.name != "local") }}
{%- endmacro %}
