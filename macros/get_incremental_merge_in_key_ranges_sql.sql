{#- Incremental strategy merge_in_key_ranges: dbt's merge, which reads only the files that can hold a key of the batch.

    From the join alone Delta cannot tell which files to leave out. From literals it can: it keeps the least and the greatest key
    of every file. So the batch is asked for its keys first, as a hundred ranges at most. A range is of the key itself, hence right
    wherever the older row lies: in another partition, or in none. How much is left out depends on how keys lie in files; keys
    that grow with time are nearly sorted in a table that is partitioned by month.

    More rows of the batch may land between the two statements. Those outside of the ranges wait for the next run: merged now,
    they would become second copies.

    arg_dict: dbt's, with one numeric column as unique_key. -#}
{% macro get_incremental_merge_in_key_ranges_sql(arg_dict) -%}
    {%- set batch, key = arg_dict["temp_relation"], arg_dict["unique_key"] -%}
    {%- set query -%}
        with
        keys as (
            select
                {{ key }} as key,
                cast(min({{ key }}) over () as double) as lowest,
                cast(max({{ key }}) over () as double) as highest
            from {{ batch }}
        )
        select min(key), max(key) from keys
        group by floor(100 * ((cast(key as double) - lowest) / (highest - lowest + 1)))
    {%- endset -%}
    {%- set ranges = [] -%}
    {%- for row in run_query(query).rows -%}
        {%- do ranges.append("{0}." ~ key ~ " between " ~ row[0] ~ " and " ~ row[1]) -%}
    {%- endfor -%}
    {%- set condition = "(" ~ (ranges | join(" or ") or "false") ~ ")" -%}
    {%- set within = make_temp_relation(arg_dict["target_relation"], "__in_ranges") -%}
    {%- do run_query(create_temporary_view(within, "select * from " ~ batch ~ " as batch where " ~ condition.format("batch"))) -%}
    {%- do arg_dict.update(temp_relation=within, incremental_predicates=[condition.format("DBT_INTERNAL_DEST")]) -%}
    {{- return(get_incremental_merge_sql(arg_dict)) -}}
{%- endmacro %}
