{#- The columns of a country: the company's facts where it states them, else ISO's.

    iso, company: the names of iso_countries and of silver_countries, or of a history of it, in the query. -#}
{% macro country_facts(iso, company) -%}
    {{ iso }}.country_code as country_key,
    {{ iso }}.country_code,
    {{ iso }}.country_code3,
    coalesce({{ company }}.country_name, {{ iso }}.country_name) as country_name,
    {{ iso }}.official_name,
    coalesce({{ company }}.region, {{ iso }}.region) as region,
    coalesce({{ company }}.sub_region, {{ iso }}.sub_region) as sub_region,
    coalesce({{ company }}.currency_code, {{ iso }}.currency_code) as currency_code,
    {{ company }}.country_code is not null as is_company_country
{%- endmacro %}
