{{ config(incremental_apply_config_changes=on_unity_catalog()) }}

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
        iso.country_code as country_key,
        iso.country_code,
        iso.country_code3,
        coalesce(company.country_name, iso.country_name) as country_name,
        iso.official_name,
        coalesce(company.region, iso.region) as region,
        coalesce(company.sub_region, iso.sub_region) as sub_region,
        coalesce(company.currency_code, iso.currency_code) as currency_code,
        company.country_code is not null as is_company_country
    from iso
    left join company on iso.country_code = company.country_code

),

unknown_member as (

    select
        'ZZ' as country_key,
        cast(null as string) as country_code,
        cast(null as string) as country_code3,
        'Unknown' as country_name,
        'Unknown' as official_name,
        'Unknown' as region,
        'Unknown' as sub_region,
        cast(null as string) as currency_code,
        false as is_company_country

)

select * from known
union all
select * from unknown_member
