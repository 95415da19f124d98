{#- True where a row of the loader `files` is a line that is no row: too few or too many fields for the header, or no JSON
    object. The loader knows, and lands the line whole, without values, as _line in _rescued_data (ingestion/files/rows.py).
    Any other loader may have a column of that name there. -#}
{% macro line_does_not_fit() -%}
    (_loader = 'files' and get_json_object(_rescued_data, '$._line') is not null)
{%- endmacro %}
