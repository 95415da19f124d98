-- Bronze countries, typed and checked but not yet deduplicated: see stg_invoices.
{%- set contract = bronze_contract("countries") %}

with

landed as (

    {{ landed("countries") }}

),

told as (

    {{ told("countries") }}

),

typed as (

    select
        nullif(upper(trim(country_code)), '') as country_code,
        nullif(trim(country_name), '') as country_name,
        nullif(trim(region), '') as region,
        nullif(trim(sub_region), '') as sub_region,
        nullif(upper(trim(currency_code)), '') as currency_code,
        try_cast(updated_at as timestamp) as updated_at,
        _is_deleted as is_deleted,
        {{ is_missing("updated_at") }} as has_no_time,
        (
            false
            {%- for column, type in contract["columns"].items() %}
            or {{ "not _is_deleted and " if column not in contract["deletion_needs"] }}{{ does_not_fit(column, type) }}
            {%- endfor %}
        ) as has_misfit,
        {{ line_does_not_fit() }} as is_no_row,
        landed_row,
        _loader,
        _load_id,
        _loaded_at,
        _row_id
    from told

),

iso as (

    select country_code from {{ ref("iso_countries") }}

),

joined as (

    select
        typed.*,
        iso.country_code is not null as is_known_country
    from typed
    left join iso on typed.country_code = iso.country_code

),

checked as (

    select
        * except (has_no_time, has_misfit, is_no_row, is_known_country),
        array_compact(if(is_no_row, array('line_does_not_fit'), array(
            case when country_code is null then 'missing_country_code' end,
            case when country_code is not null and not is_known_country then 'unknown_country_code' end,
            case when not is_deleted and country_name is null then 'missing_country_name' end,
            case when has_no_time then 'missing_updated_at' end,
            case when has_misfit then 'value_does_not_fit_type' end,
            case when updated_at > _loaded_at + interval 1 day then 'updated_at_in_future' end
        ))) as reasons
    from joined

)

select * from checked
