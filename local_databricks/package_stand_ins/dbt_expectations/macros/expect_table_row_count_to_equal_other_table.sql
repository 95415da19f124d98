{#- One row with both counts where they differ. -#}
{% test expect_table_row_count_to_equal_other_table(model, compare_model, row_condition=none, compare_row_condition=none) %}
    select here.row_count, there.row_count as other_row_count
    from (select count(*) as row_count from {{ model }}{{ " where " ~ row_condition if row_condition }}) as here
    cross join
        (
            select count(*) as row_count from {{ compare_model }}{{ " where " ~ compare_row_condition if compare_row_condition }}
        ) as there
    where here.row_count <> there.row_count
{% endtest %}
