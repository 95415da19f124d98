{#- dbt's own, after a look at the contract. dbt enforces a contract where a table is made; an incremental run would append a new
    column and leave a lost one null, and readers of gold would learn of it from empty figures. -#}
{% macro process_schema_changes(on_schema_change, source_relation, target_relation) -%}
    {%- set contract = config.get("contract") -%}
    {%- if contract and contract.enforced -%}
        {%- do assert_contract(source_relation) -%}
    {%- endif -%}
    {{- return(dbt.process_schema_changes(on_schema_change, source_relation, target_relation)) -}}
{%- endmacro %}
