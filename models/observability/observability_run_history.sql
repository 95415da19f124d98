{{ config(enabled=elementary_is_on(), materialized="view") }}

with

runs as (

    select * from {{ ref("elementary", "dbt_run_results") }}
    where resource_type in ('model', 'seed', 'snapshot')

),

invocations as (

    select * from {{ ref("elementary", "dbt_invocations") }}

),

commits as (

    select * from {{ ref("observability_table_commits") }}

),

timed as (

    select
        *,
        cast(execute_started_at as timestamp) as started_at,
        cast(execute_completed_at as timestamp) as ended_at
    from runs

),

written as (

    select
        timed.model_execution_id,
        sum(commits.rows_written) as rows_written,
        sum(commits.bytes_written) as bytes_written,
        max(commits.table_bytes) as table_bytes
    from timed
    inner join
        commits
        on
            timed.unique_id = commits.unique_id
            and commits.committed_at between timed.started_at and timed.ended_at
    group by timed.model_execution_id

),

final as (

    select
        timed.model_execution_id as run_key,
        timed.invocation_id,
        timed.unique_id,
        timed.name,
        timed.resource_type,
        split(timed.unique_id, '[.]')[1] as package_name,
        timed.group_name,
        timed.materialization,
        timed.status,
        timed.started_at,
        timed.ended_at,
        timed.execution_time as seconds,
        timed.full_refresh as is_full_refresh,
        written.rows_written,
        written.bytes_written,
        written.table_bytes,
        invocations.command,
        invocations.target_name,
        invocations.orchestrator,
        invocations.job_run_id
    from timed
    left join invocations on timed.invocation_id = invocations.invocation_id
    left join written on timed.model_execution_id = written.model_execution_id

)

select * from final
