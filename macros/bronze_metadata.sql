{#- The six columns that every model above bronze relies on, as expressions by name, from the columns that a loader adds:

    _rescued_data  string     JSON: by column, the text of a value that did not fit it, or what is known of that value
    _load_id       string     the load (run, sync, batch) that delivered the row
    _loaded_at     timestamp  when the row was loaded, not when the source changed
    _is_deleted    boolean    true: the source deleted this row
    _row_id        string     one delivery of one row; a repeated delivery of the same file repeats it
    updated_at     as landed  but of a deletion, which changes no row's updated_at: the later one of that and its own time

    dlt, files: ingestion.values. A file's row keeps its _dlt_id under another name and in another load.

    kafka: ingestion.kafka.events. Its _row_id sorts as the offsets do (19 digits each), which decides where an invoice has two
    events of one time; and it has the message's time in seconds, because the offsets of a topic that is made anew begin at 0.

    airbyte (https://docs.airbyte.com/understanding-airbyte/airbyte-metadata-fields): _airbyte_meta is JSON with the sync's id and
    `changes`, the fields that were nulled or truncated, whose text is lost. Older versions of the Databricks destination do not
    have it: a load is an hour then. The columns of change data capture are there only
    with it (https://docs.airbyte.com/understanding-airbyte/cdc). _ab_cdc_deleted_at is the time as a text from PostgreSQL; other
    databases' connectors write a number of milliseconds, for which the time of extraction stands in.

    fivetran (https://fivetran.com/docs/core-concepts/system-columns-and-tables): _fivetran_synced is the row's own time, so a load
    is the hour of it. It stays as it is where a re-sync or TRUNCATE marks rows as deleted, and in history mode
    (https://fivetran.com/docs/core-concepts/sync-modes/history-mode), where a deleted row is one whose last version is not
    active; hence the mark is a part of _row_id.

    azure_data_factory has none of its own; its copy activity adds what deploy/azure_data_factory tells it to
    (https://learn.microsoft.com/azure/data-factory/copy-activity-overview#add-additional-columns-during-copy).

    found: what bronze_columns gives. Where that is none, Airbyte's table is taken for one of change data capture and Fivetran's
    for one of soft deletes. -#}
{% macro bronze_metadata(loader, table, found=none) -%}
    {%- set contract = bronze_contract(table) -%}
    {%- set key = contract["key"] -%}
    {%- if loader in ("dlt", "files") -%}
        {{ return({
            "_rescued_data": "_rescued_data",
            "_load_id": "_dlt_load_id",
            "_loaded_at": "timestamp_seconds(cast(_dlt_load_id as decimal(20, 6)))",
            "_is_deleted": "coalesce(_is_deleted, false)",
            "_row_id": "_dlt_id",
            "updated_at": "updated_at",
        }) }}
    {%- elif loader == "kafka" -%}
        {{ return({
            "_rescued_data": "_rescued_data",
            "_load_id": "cast(_kafka_batch_id as string)",
            "_loaded_at": "_kafka_ingested_at",
            "_is_deleted": "coalesce(_is_deleted, false)",
            "_row_id": "concat(_kafka_topic, '-', cast(_kafka_partition as string), '-', cast(_kafka_offset + 1000000000000000000 as string), '-', cast(cast(_kafka_timestamp as bigint) as string))",
            "updated_at": "updated_at",
        }) }}
    {%- elif loader == "azure_data_factory" -%}
        {{ return({
            "_rescued_data": "cast(null as string)",
            "_load_id": "_adf_run_id",
            "_loaded_at": "_adf_loaded_at",
            "_is_deleted": "coalesce(_is_deleted, false)",
            "_row_id": "md5(concat(_adf_run_id, '|', coalesce(cast(" ~ key ~ " as string), to_json(struct(" ~ contract["columns"] | join(", ") ~ "))), '|', coalesce(cast(updated_at as string), '')))",
            "updated_at": "updated_at",
        }) }}
    {%- elif loader == "airbyte" -%}
        {%- set meta = "cast(" ~ ("_airbyte_meta" if found is none or "_airbyte_meta" in found else "null") ~ " as string)" -%}
        {%- set changed = [] -%}
        {%- for column in contract["columns"] -%}
            {%- do changed.append("case when " ~ meta ~ " rlike '\"field\" *: *\"" ~ column ~ "\"' then 'nulled or truncated' end as " ~ column) -%}
        {%- endfor -%}
        {%- set has_deletions = found is none or "_ab_cdc_deleted_at" in found -%}
        {%- set deleted = "_ab_cdc_deleted_at is not null" if has_deletions else "false" -%}
        {%- set deleted_at = "coalesce(try_cast(cast(_ab_cdc_deleted_at as string) as timestamp), _airbyte_extracted_at)" if has_deletions else none -%}
        {%- set metadata = {
            "_rescued_data": "case when " ~ meta ~ " rlike '\"field\" *:' then to_json(struct(" ~ changed | join(", ") ~ ", " ~ meta ~ " as _airbyte_meta)) end",
            "_load_id": "coalesce(get_json_object(" ~ meta ~ ", '$.sync_id'), cast(date_trunc('HOUR', _airbyte_extracted_at) as string))",
            "_loaded_at": "_airbyte_extracted_at",
            "_is_deleted": deleted,
            "_row_id": "_airbyte_raw_id",
        } -%}
    {%- elif loader == "fivetran" -%}
        {%- set has_history = found is not none and "_fivetran_active" in found -%}
        {%- set has_deletions = found is none or "_fivetran_deleted" in found -%}
        {%- set next_version = "lead(_fivetran_start) over (partition by " ~ key ~ " order by _fivetran_start)" -%}
        {%- if has_history -%}
            {%- set deleted = "(not _fivetran_active and " ~ next_version ~ " is null)" -%}
        {%- else -%}
            {%- set deleted = "coalesce(_fivetran_deleted, false)" if has_deletions else "false" -%}
        {%- endif -%}
        {%- set deleted_at = "_fivetran_end" if has_history else "_fivetran_synced" -%}
        {%- set parts = [key, "_fivetran_synced", deleted] -%}
        {%- do parts.append("_fivetran_start") if has_history -%}
        {%- do parts.append("_fivetran_id") if found is not none and "_fivetran_id" in found -%}
        {%- set texts = [] -%}
        {%- for part in parts -%}
            {%- do texts.append("coalesce(cast(" ~ part ~ " as string), '')") -%}
        {%- endfor -%}
        {%- set metadata = {
            "_rescued_data": "cast(null as string)",
            "_load_id": "cast(date_trunc('HOUR', _fivetran_synced) as string)",
            "_loaded_at": "_fivetran_synced",
            "_is_deleted": deleted,
            "_row_id": "md5(concat(" ~ texts | join(", '|', ") ~ "))",
        } -%}
    {%- endif -%}
    {%- if deleted == "false" -%}
        {%- do metadata.update({"updated_at": "updated_at"}) -%}
    {%- else -%}
        {%- set later = "greatest(try_cast(updated_at as timestamp), " ~ deleted_at ~ ")" -%}
        {%- set is_text = found is not none and found.get("updated_at") == "string" -%}
        {%- do metadata.update({
            "updated_at": "case when " ~ deleted ~ " then " ~ ("cast(" ~ later ~ " as string)" if is_text else later) ~ " else updated_at end"
        }) -%}
    {%- endif -%}
    {{ return(metadata) }}
{%- endmacro %}
