{#- An amount of an invoice in the reporting currency, to two decimals; null where there is no rate.

    rates: the name of silver_exchange_rates in the query. -#}
{% macro in_reporting_currency(amount, rates) -%}
    cast(round({{ amount }} * {{ rates }}.exchange_rate, 2) as decimal(24, 2))
{%- endmacro %}
