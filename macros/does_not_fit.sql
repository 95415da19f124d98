{#- True where a column's value does not fit silver's type: the loader could not land it in bronze's type (its text is in
    _rescued_data then), or bronze has the source's own wider type, such as text dates or amounts with four decimals, and the
    cast to silver's would change the value. Rounding or dropping it silently would be worse than rejecting the row. -#}
{% macro does_not_fit(column, data_type) -%}
    (
        (_rescued_data is not null and get_json_object(_rescued_data, '$.{{ column }}') is not null)
        {%- if data_type != "string" %}
        or ({{ column }} is not null and try_cast({{ column }} as {{ data_type }}) is null)
        {%- endif %}
        {%- if data_type.startswith("decimal") %}
        or try_cast({{ column }} as {{ data_type }}) <> try_cast({{ column }} as decimal(38, 12))
        {%- endif %}
    )
{%- endmacro %}
