{#- Incremental strategy merge_in_key_ranges: dbt's merge, which reads only the files that can hold a key of the batch.

    From the join alone Delta cannot tell which files to leave out. From literals it can: it keeps the least and the greatest key
    of every file. So the merge is told the batch's keys, as a hundred ranges at most. A range is of the key itself, hence right
    wherever the older row lies: in another partition, or in none. How much is left out depends on how keys lie in files; keys
    that grow with time are nearly sorted in a table that is partitioned by month.

    The batch is written to a table first, which costs little and is dropped at the end: it is worked out once instead of three
    times, and no row that lands meanwhile is merged without its range, which would make it a second copy.

    arg_dict: dbt's, with one numeric column as unique_key. -#}
{% macro get_incremental_merge_in_key_ranges_sql(arg_dict) -%}
    {%- set target, key = arg_dict["target_relation"], arg_dict["unique_key"] -%}
    {%- set batch = target.incorporate(path={"identifier": target.identifier ~ "__batch"}) -%}
    {%- do run_query("create or replace table " ~ batch ~ " using delta as select * from " ~ arg_dict["temp_relation"]) -%}
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
        {%- do ranges.append("DBT_INTERNAL_DEST." ~ key ~ " between " ~ row[0] ~ " and " ~ row[1]) -%}
    {%- endfor -%}
    {%- do arg_dict.update(temp_relation=batch, incremental_predicates=["(" ~ (ranges | join(" or ") or "false") ~ ")"]) -%}
    {{- return([get_incremental_merge_sql(arg_dict), "drop table " ~ batch]) -}}
{%- endmacro %}
