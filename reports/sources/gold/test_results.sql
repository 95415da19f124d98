-- The newest result of each test that ran in the last 30 days before the newest one, as Elementary keeps them.
with

results as (

    select
        test_name,
        lower(table_name) as table_name,
        status,
        failures,
        detected_at,
        row_number() over (partition by test_unique_id order by detected_at desc) as newest_rank,
        max(detected_at) over () as newest
    from ${elementary}.elementary_test_results

)

select
    test_name,
    table_name,
    status,
    failures,
    detected_at as ran_at
from results
where newest_rank = 1 and detected_at > newest - interval 30 days
order by test_name, table_name
