{#- Rows whose value lies outside the limits; a null value is no failure. -#}
{% test expect_column_values_to_be_between(
    model, column_name, min_value=none, max_value=none, row_condition=none, strictly=false
) %}
    {%- set equal = "" if strictly else "=" %}
    select {{ column_name }}
    from {{ model }}
    where
        not (
            true
            {%- if min_value is not none %} and {{ column_name }} >{{ equal }} {{ min_value }}{% endif %}
            {%- if max_value is not none %} and {{ column_name }} <{{ equal }} {{ max_value }}{% endif %}
        )
        {%- if row_condition %} and {{ row_condition }}{% endif %}
{% endtest %}
