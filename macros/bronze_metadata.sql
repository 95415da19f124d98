{#- The five columns that every model above bronze relies on, from the columns that the table's loader adds:

    _loader      string     dlt, airbyte, fivetran, adf or kafka
    _load_id     string     the load (run, sync, batch) that delivered the row
    _loaded_at   timestamp  when that load happened, not when the source changed
    _is_deleted  boolean    true: the source deleted this row
    _row_id      string     one delivery of one row; a repeated delivery of the same file repeats it

    Kafka's _row_id sorts as the offsets do (19 digits each), which decides where an invoice has two events of one time; and it
    has the message's time in seconds, because the offsets of a topic that is made anew begin at 0 again.

    loader: the loader's name; key: the table's key column, used where a loader has no id for a row. -#}
{% macro bronze_metadata(loader, key) -%}
    {%- set columns = {
        "dlt": {
            "_load_id": "_dlt_load_id",
            "_loaded_at": "timestamp_seconds(cast(_dlt_load_id as decimal(20, 6)))",
            "_is_deleted": "coalesce(_is_deleted, false)",
            "_row_id": "_dlt_id",
        },
        "airbyte": {
            "_load_id": "coalesce(get_json_object(cast(_airbyte_meta as string), '$.sync_id'), cast(_airbyte_generation_id as string))",
            "_loaded_at": "_airbyte_extracted_at",
            "_is_deleted": "_ab_cdc_deleted_at is not null",
            "_row_id": "_airbyte_raw_id",
        },
        "fivetran": {
            "_load_id": "cast(_fivetran_synced as string)",
            "_loaded_at": "_fivetran_synced",
            "_is_deleted": "coalesce(_fivetran_deleted, false)",
            "_row_id": "md5(concat_ws('|', cast(" ~ key ~ " as string), cast(_fivetran_synced as string)))",
        },
        "adf": {
            "_load_id": "_adf_run_id",
            "_loaded_at": "_adf_loaded_at",
            "_is_deleted": "coalesce(_is_deleted, false)",
            "_row_id": "md5(concat_ws('|', _adf_run_id, cast(" ~ key ~ " as string), cast(updated_at as string)))",
        },
        "kafka": {
            "_load_id": "cast(_kafka_batch_id as string)",
            "_loaded_at": "_kafka_ingested_at",
            "_is_deleted": "coalesce(_is_deleted, false)",
            "_row_id": "concat(_kafka_topic, '-', cast(_kafka_partition as string), '-', cast(_kafka_offset + 1000000000000000000 as string), '-', cast(cast(_kafka_timestamp as bigint) as string))",
        },
    } -%}
    {%- if loader not in columns -%}
        {{ exceptions.raise_compiler_error("var loaders names '" ~ loader ~ "': it must be one of " ~ columns | join(", ") ~ ".") }}
    {%- endif -%}
    '{{ loader }}' as _loader
    {%- for name, expression in columns[loader].items() %},
    {{ expression }} as {{ name }}
    {%- endfor -%}
{%- endmacro %}
