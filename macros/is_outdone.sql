{#- True where silver's row of the same key is newer than a landed row, so that the landed one, usable or not, is history. Null where
    silver has no row of the key.

    Newer means row_version. But a time that is missing or lies in the future says nothing about the row, and the repair may well
    have set it back: such a row is outdone by whatever was loaded after it.

    landed, kept: aliases of relations, the one of staging's columns, the other of silver's. -#}
{% macro is_outdone(landed, kept) -%}
    case
        when {{ landed }}.updated_at is null or array_contains({{ landed }}.reasons, 'updated_at_in_future')
            then {{ kept }}._loaded_at > {{ landed }}._loaded_at
        else {{ row_version(kept) }} > {{ row_version(landed) }}
    end
{%- endmacro %}
