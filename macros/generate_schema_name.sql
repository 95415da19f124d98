{#- Where a node is written.

    local:                     its own schema (silver, gold, ...), behind var schema_prefix.
    databricks, production:    its own schema; only where DATABRICKS_ENVIRONMENT=production, which the deployed job sets.
    databricks, anything else: <DATABRICKS_SCHEMA>_<its own schema>, so a laptop cannot reach the production schemas: even a
                               node without a schema of its own is refused where DATABRICKS_SCHEMA names one of them.
-#}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {%- set own = custom_schema_name | trim if custom_schema_name else none -%}
    {%- if target.name == "local" -%}
        {{ var("schema_prefix") ~ (own or target.schema) }}
    {%- elif env_var("DATABRICKS_ENVIRONMENT", "") == "production" -%}
        {{ own or target.schema }}
    {%- elif target.schema | lower in ["bronze", "silver", "gold", "observability", "elementary"] -%}
        {{ exceptions.raise_compiler_error(
            "DATABRICKS_SCHEMA is '" ~ target.schema ~ "', a production schema: set it to a name of your own, such as dev_yourname."
        ) }}
    {%- else -%}
        {{ target.schema ~ ("_" ~ own if own else "") }}
    {%- endif -%}
{%- endmacro %}
