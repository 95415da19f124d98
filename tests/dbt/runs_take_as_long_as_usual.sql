-- Models whose newest run took far longer than usual: beyond 3.5 by the modified z-score of Iglewicz and Hoaglin (as in
-- country_revenue_anomalies) over the runs of the last 30 days, and at least twice the median and half a minute more.
-- Elementary's own anomaly test has no smallest number of runs to learn from (0.25.1 ignores min_training_set_size).
{{ config(enabled=elementary_is_on(), severity="warn", tags=["watch"], meta={"owner": "data-platform@example.com"}) }}

with

runs as (

    select
        *,
        row_number() over (partition by unique_id order by started_at desc) as age
    from {{ ref("observability_run_history") }}
    where status = 'success' and not is_full_refresh and started_at >= current_timestamp() - interval 30 days

),

usual as (

    select
        unique_id,
        percentile(seconds, 0.5) as median_seconds
    from runs
    where age > 1
    group by unique_id
    having count(*) >= 7

),

deviations as (

    select
        runs.unique_id,
        percentile(abs(runs.seconds - usual.median_seconds), 0.5) as median_absolute_deviation
    from runs
    inner join usual on runs.unique_id = usual.unique_id
    where runs.age > 1
    group by runs.unique_id

)

select
    runs.unique_id,
    runs.invocation_id,
    runs.started_at,
    runs.seconds,
    usual.median_seconds
from runs
inner join usual on runs.unique_id = usual.unique_id
inner join deviations on runs.unique_id = deviations.unique_id
where
    runs.age = 1
    and runs.seconds >= greatest(2 * usual.median_seconds, usual.median_seconds + 30)
    and 0.6745 * (runs.seconds - usual.median_seconds) > 3.5 * deviations.median_absolute_deviation
