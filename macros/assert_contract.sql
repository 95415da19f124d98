{#- Raises dbt's error of a broken contract where a relation has other columns or types than the model's contract, the precision
    and scale of decimals included. -#}
{% macro assert_contract(relation) -%}
    {%- set found, agreed = {}, {} -%}
    {%- for column in adapter.get_columns_in_relation(relation) -%}
        {%- do found.update({column.name | lower: column.dtype | lower | replace(" ", "")}) -%}
    {%- endfor -%}
    {%- for column in model.columns.values() -%}
        {%- do agreed.update({column.name | lower: column.data_type | lower | replace(" ", "")}) -%}
    {%- endfor -%}
    {%- if found != agreed -%}
        {%- set sides = [] -%}
        {%- for side in (agreed, found) -%}
            {%- set columns = [] -%}
            {%- for name, data_type in side.items() -%}
                {%- do columns.append({"name": name, "formatted": name ~ " " ~ data_type, "data_type": data_type}) -%}
            {%- endfor -%}
            {%- do sides.append(columns) -%}
        {%- endfor -%}
        {%- do exceptions.raise_contract_error(sides[0], sides[1]) -%}
    {%- endif -%}
{%- endmacro %}
