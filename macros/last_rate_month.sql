{#- The last month that an exchange rate is made for, as a SQL date: an invoice may be dated up to 366 days after its load. -#}
{% macro last_rate_month() -%}
    add_months(cast(date_trunc('month', current_date()) as date), 13)
{%- endmacro %}
