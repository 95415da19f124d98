{#- dbt's check of a contract, and of what it leaves out: the precision and scale of decimals. It takes types from a result's
    metadata, where every decimal is just one, and the table is made with the contract's types: amounts of a model that suddenly
    has six decimals would be rounded into it without a word. For where a table is made; process_schema_changes has the rest.

    sql: the model's query. -#}
{% macro databricks__get_assert_columns_equivalent(sql) -%}
    {%- do assert_columns_equivalent(sql) -%}
    {%- set relation = make_temp_relation(this, "__contract") -%}
    {%- do run_query(create_temporary_view(relation, sql)) -%}
    {%- do assert_contract(relation) -%}
{%- endmacro %}
