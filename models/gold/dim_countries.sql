with

iso as (

    select * from {{ ref("iso_countries") }}

),

company as (

    select * from {{ ref("silver_countries") }}
    where not is_deleted

),

known as (

    select
        {{ country_facts("iso", "company") }}
    from iso
    left join company on iso.country_code = company.country_code

),

unknown_member as (

    select
        {{ unknown_country() }}

)

select * from known
union all
select * from unknown_member
