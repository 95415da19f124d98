-- Each country's versions follow each other from var first_date on, without gap or overlap; exactly one is current, and
-- it says what dim_countries says.
with

history as (

    select
        *,
        lag(valid_to) over (partition by country_key order by valid_from) as previous_valid_to
    from {{ ref("dim_countries_history") }}

),

current_rows as (

    select
        country_key,
        count_if(is_current) as row_count
    from history
    group by country_key

),

said as (

    select
        country_key,
        to_json(struct(
            country_name, official_name, region, sub_region, currency_code, is_company_country
        )) as facts
    from history
    where is_current

),

told as (

    select
        country_key,
        to_json(struct(
            country_name, official_name, region, sub_region, currency_code, is_company_country
        )) as facts
    from {{ ref("dim_countries") }}

)

select
    country_key,
    concat('a gap or an overlap before ', cast(valid_from as string)) as fault
from history
where valid_from <> coalesce(previous_valid_to, timestamp '{{ var("first_date") }} 00:00:00')
union all
select
    country_key,
    concat(cast(row_count as string), ' current rows') as fault
from current_rows
where row_count <> 1
union all
select
    coalesce(said.country_key, told.country_key) as country_key,
    concat('current: ', coalesce(said.facts, 'none'), '; dim_countries: ', coalesce(told.facts, 'none')) as fault
from said
full outer join told on said.country_key = told.country_key
where not (said.facts <=> told.facts)
