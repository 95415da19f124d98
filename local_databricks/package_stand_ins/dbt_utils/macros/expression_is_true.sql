{#- Rows for which a SQL expression is false, whole where they are stored; null counts as true. On a column, the expression
    follows its name. -#}
{% test expression_is_true(model, expression, column_name=none) %}
    select {{ "*" if should_store_failures() else "1 as failing_row" }}
    from {{ model }}
    where not ({{ column_name ~ " " if column_name }}{{ expression }})
{% endtest %}
