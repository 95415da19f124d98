with

days as (

    select
        explode(
            sequence(
                date '{{ var("first_date") }}', date '{{ var("last_date") }}', interval 1 day
            )
        ) as calendar_date

)

select
    cast(date_format(calendar_date, 'yyyyMMdd') as int) as date_key,
    calendar_date,
    year(calendar_date) as calendar_year,
    quarter(calendar_date) as quarter_of_year,
    month(calendar_date) as month_of_year,
    date_format(calendar_date, 'MMMM') as month_name,
    cast(date_trunc('month', calendar_date) as date) as month_start,
    concat(year(calendar_date), '-Q', quarter(calendar_date)) as year_quarter,
    date_format(calendar_date, 'yyyy-MM') as year_month,
    extract(yearofweek from calendar_date) as iso_year,
    weekofyear(calendar_date) as iso_week,
    weekday(calendar_date) + 1 as iso_day_of_week,
    date_format(calendar_date, 'EEEE') as day_name,
    weekday(calendar_date) >= 5 as is_weekend
from days
