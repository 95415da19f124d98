{#- A model's name starts with its layer, so that it is unique and sorts well (silver_invoices); its table need not repeat
    the layer, which is its schema already (silver.invoices). -#}
{% macro generate_alias_name(custom_alias_name=none, node=none) -%}
    {%- if custom_alias_name -%}
        {{ custom_alias_name | trim }}
    {%- elif node.resource_type == "model" and node.package_name == "invoices_countries" -%}
        {%- set layer, _, rest = node.name.partition("_") -%}
        {{ rest if layer in ("silver", "observability") else node.name }}
    {%- else -%}
        {{ node.name }}
    {%- endif -%}
{%- endmacro %}
