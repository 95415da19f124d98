{#- Rows for which a SQL expression is false; null counts as true. On a column, the expression follows its name. -#}
{% test expression_is_true(model, expression, column_name=none) %}
    select 1 as failing_row
    from {{ model }}
    where not ({{ column_name ~ " " if column_name }}{{ expression }})
{% endtest %}
