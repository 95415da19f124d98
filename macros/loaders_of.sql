{#- The loaders that fill a table of bronze, as a list, from var loaders: a name, a list of names, or either by table.

    rows: "appended" leaves out the loaders that may replace a row where it is, "replaced" keeps only those. Airbyte's mode
    append is among the latter: nothing in the table tells the mode. -#}
{% macro loaders_of(table, rows=none) -%}
    {%- set known = ["dlt", "files", "kafka", "airbyte", "fivetran", "azure_data_factory"] -%}
    {%- set replacing = ["airbyte", "fivetran"] -%}
    {%- set setting = var("loaders") -%}
    {%- set named = setting.get(table) if setting is mapping else setting -%}
    {%- set loaders = [named] if named is string else named -%}
    {%- if not loaders or loaders is mapping or loaders is not sequence -%}
        {{ exceptions.raise_compiler_error(
            "var loaders names no loader for " ~ table ~ ": it must be one or a list of " ~ known | join(", ") ~ ", or that by table."
        ) }}
    {%- endif -%}
    {%- for loader in loaders if loader not in known -%}
        {{ exceptions.raise_compiler_error("var loaders names '" ~ loader ~ "': it must be one of " ~ known | join(", ") ~ ".") }}
    {%- endfor -%}
    {%- for other in setting if setting is mapping and other not in ["invoices", "countries"] -%}
        {{ exceptions.raise_compiler_error("var loaders names the table '" ~ other ~ "': the tables are invoices and countries.") }}
    {%- endfor -%}
    {%- set chosen = [] -%}
    {%- for loader in loaders | unique if rows is none or (loader in replacing) == (rows == "replaced") -%}
        {%- do chosen.append(loader) -%}
    {%- endfor -%}
    {{ return(chosen) }}
{%- endmacro %}
