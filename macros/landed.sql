{#- The rows that the loaders of a table have landed, as one query with the same columns for all: the contract's, _rescued_data,
    _loader, _load_id, _loaded_at, _is_deleted, _row_id (macro bronze_metadata).

    A column that one loader lands as text and another does not is text for all of them: Spark would cast the text, and fail
    at the first one that is no date or number. Other types find a common one that loses nothing. So are numbers with more than
    six decimals, as all of Airbyte's are (DECIMAL(38, 10)): to_json would write 0E-10 for a zero.

    columns: which of the contract's columns, all by default. -#}
{% macro landed(table, columns=none) -%}
    {%- set contract = bronze_contract(table) -%}
    {%- set columns = contract["columns"] | list if columns is none else columns -%}
    {%- set loaders = loaders_of(table) -%}
    {%- set found = {} -%}
    {#- One loader that always has the same columns is not asked for them: that is a statement to the warehouse. -#}
    {%- for loader in loaders if loaders | length > 1 or loader in loaders_of(table, rows="replaced") -%}
        {%- do found.update({loader: bronze_columns(loader, table)}) -%}
    {%- endfor -%}
    {%- set texts = [] -%}
    {%- for column in columns -%}
        {%- set types = [] -%}
        {%- for known in found.values() if known is not none and column in known -%}
            {%- set type = known[column] -%}
            {%- set has_long_decimals = type.startswith("decimal") and type.split(",")[-1].rstrip(")") | int > 6 -%}
            {%- do types.append("string" if has_long_decimals else type) -%}
            {%- do texts.append(column) if has_long_decimals -%}
        {%- endfor -%}
        {%- do texts.append(column) if "string" in types and types | unique | list | length > 1 -%}
    {%- endfor -%}
    {%- for loader in loaders -%}
        {%- set metadata = bronze_metadata(loader, table, found.get(loader)) -%}
        {%- if not loop.first %}
    union all
    {% endif -%}
    select
        {%- for column in columns %}
        {%- if found.get(loader) is not none and column not in found[loader] -%}
            {%- set expression = "cast(null as " ~ ("string" if column in texts else contract["columns"][column]) ~ ")" -%}
        {%- else -%}
            {%- set expression = metadata["updated_at"] if column == "updated_at" else column -%}
            {%- set expression = "cast(" ~ expression ~ " as string)" if column in texts else expression -%}
        {%- endif %}
        {{ expression }}{{ " as " ~ column if expression != column }},
        {%- endfor %}
        {{ metadata["_rescued_data"] }}{{ " as _rescued_data" if metadata["_rescued_data"] != "_rescued_data" }},
        '{{ loader }}' as _loader,
        {%- for name in ["_load_id", "_loaded_at", "_is_deleted", "_row_id"] %}
        {{ metadata[name] }} as {{ name }}{{ "," if not loop.last }}
        {%- endfor %}
    from {{ bronze_source(loader, table) }}
    {%- endfor -%}
{%- endmacro %}
