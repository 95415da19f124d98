{#- What makes one row of a key newer than another: the source's time, then the load, then a deletion, then the row's id, so that
    no two rows tie. Deduplication, merge and row accounting all compare by this one expression. -#}
{% macro row_version(relation_alias) -%}
    struct(
        {{- relation_alias }}.updated_at, {{ relation_alias }}._loaded_at, {{ relation_alias }}.is_deleted, {{ relation_alias }}._row_id)
{%- endmacro %}
