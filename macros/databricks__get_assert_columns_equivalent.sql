{#- dbt's check of a contract, and of what it leaves out: the precision and scale of decimals. It takes types from a result's
    metadata, where every decimal is just one, and the table is made with the contract's types: amounts of a model that suddenly
    has six decimals would be rounded into it without a word. Like dbt's own, it looks where the table is made.

    sql: the model's query. -#}
{% macro databricks__get_assert_columns_equivalent(sql) -%}
    {%- do assert_columns_equivalent(sql) -%}
    {%- set relation = make_temp_relation(this, "__contract") -%}
    {%- do run_query(create_temporary_view(relation, sql)) -%}
    {%- set found, agreed = [], [] -%}
    {%- for column in adapter.get_columns_in_relation(relation) if column.dtype.startswith("decimal") -%}
        {%- set data_type = model.columns[column.name].data_type | lower | replace(" ", "") -%}
        {%- if column.dtype != data_type -%}
            {%- do found.append({"name": column.name, "formatted": column.name ~ " " ~ column.dtype, "data_type": column.dtype}) -%}
            {%- do agreed.append({"name": column.name, "formatted": column.name ~ " " ~ data_type, "data_type": data_type}) -%}
        {%- endif -%}
    {%- endfor -%}
    {%- if found -%}
        {%- do exceptions.raise_contract_error(agreed, found) -%}
    {%- endif -%}
{%- endmacro %}
