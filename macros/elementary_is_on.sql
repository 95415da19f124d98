{#- Whether Elementary's dbt package is installed, and not the stand-in that takes its place where the package hub is out of
    reach (local_databricks/packages.py). -#}
{% macro elementary_is_on() -%}
    {{ return(elementary.this_is_the_stand_in is not defined) }}
{%- endmacro %}
