with

iso as (

    select * from {{ ref("iso_countries") }}

),

seen as (

    select
        *,
        dbt_valid_from = min(dbt_valid_from) over () as is_of_first_run
    from {{ ref("snap_countries") }}

),

begun as (

    -- without the company's table, ISO's facts hold
    select
        country_code,
        cast(null as string) as dbt_scd_id,
        cast('{{ var("first_date") }}' as timestamp) as seen_at,
        cast('{{ var("first_date") }}' as timestamp) as valid_from
    from iso
    union all
    -- what was there at the first run had been there before, nobody knows since when
    select
        country_code,
        dbt_scd_id,
        dbt_valid_from as seen_at,
        case when is_of_first_run then cast('{{ var("first_date") }}' as timestamp) else updated_at end as valid_from
    from seen

),

bounded as (

    select
        *,
        min(valid_from) over (
            partition by country_code order by seen_at rows between 1 following and unbounded following
        ) as valid_to
    from begun

),

versions as (

    -- a version that begins no earlier than one that was seen after it was corrected in place, and never held
    select * from bounded
    where valid_to is null or valid_from < valid_to

),

known as (

    select
        {{ country_facts("iso", "company") }},
        versions.valid_from,
        versions.valid_to,
        versions.valid_to is null as is_current
    from versions
    inner join iso on versions.country_code = iso.country_code
    left join seen as company
        on
            versions.dbt_scd_id = company.dbt_scd_id
            and not company.is_deleted

),

unknown_member as (

    select
        {{ unknown_country() }},
        cast('{{ var("first_date") }}' as timestamp) as valid_from,
        cast(null as timestamp) as valid_to,
        true as is_current

)

select * from known
union all
select * from unknown_member
