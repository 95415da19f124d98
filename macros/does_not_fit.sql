{#- True where a landed value would not survive the cast to silver's type unchanged. Bronze keeps the source's own types, so a
    real source may land text dates or amounts with four decimals; rounding or dropping them silently would be worse than
    rejecting the row. Decimals are compared with more digits than any amount has, everything else only has to parse. -#}
{% macro does_not_fit(column, data_type) -%}
    {{ column }} is not null
    and (
        try_cast({{ column }} as {{ data_type }}) is null
        {%- if data_type.startswith("decimal") %}
        or try_cast({{ column }} as {{ data_type }}) <> try_cast({{ column }} as decimal(38, 12))
        {%- endif %}
    )
{%- endmacro %}
