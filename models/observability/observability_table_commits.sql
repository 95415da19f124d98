{{
    config(
        enabled=elementary_is_on(),
        materialized="incremental",
        incremental_strategy="append",
        on_schema_change="append_new_columns",
    )
}}

with

commits as (

    select
        cast(unique_id as string) as unique_id,
        cast(version as bigint) as version,
        cast(committed_at as timestamp) as committed_at,
        cast(operation as string) as operation,
        cast(rows_written as bigint) as rows_written,
        cast(bytes_written as bigint) as bytes_written,
        cast(table_bytes as bigint) as table_bytes
    from
        values
        {{ new_commits() }}
            as found (unique_id, version, committed_at, operation, rows_written, bytes_written, table_bytes)

),

final as (

    select * from commits
    where unique_id is not null

)

select * from final
