{#- At the start of a run on Databricks with masked customers (DATABRICKS_MASKS): a principal that the masks apply to would read
    pseudonyms or nulls from silver and write them into gold, for good. -#}
{% macro assert_sees_customers() -%}
    {%- if execute and target.name == "databricks" and env_var("DATABRICKS_MASKS", "") -%}
        {%- set sees = run_query("select is_account_group_member('customer_data_readers')").columns[0].values()[0] -%}
        {%- if not sees -%}
            {{ exceptions.raise_compiler_error(
                "DATABRICKS_MASKS is set, and the principal that dbt runs as is no member of the account group customer_data_readers:"
                ~ " it would write pseudonyms into the tables. Add it to the group, see deploy/unity_catalog/README.md."
            ) }}
        {%- endif -%}
    {%- endif -%}
{%- endmacro %}
