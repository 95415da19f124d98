{#- The same columns of the unknown member, to which invoices belong whose country nobody knows. -#}
{% macro unknown_country() -%}
    'ZZ' as country_key,
    cast(null as string) as country_code,
    cast(null as string) as country_code3,
    'Unknown' as country_name,
    'Unknown' as official_name,
    'Unknown' as region,
    'Unknown' as sub_region,
    cast(null as string) as currency_code,
    false as is_company_country
{%- endmacro %}
