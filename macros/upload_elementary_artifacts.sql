{#- At the end of a run of the selector `watch`: tell Elementary what the project has (models, tests, owners) where that has changed.
    Its own hook would look at every run (vars: disable_dbt_artifacts_autoupload). -#}
{% macro upload_elementary_artifacts() -%}
    {%- if execute and elementary_is_on() and invocation_args_dict.selector == "watch" -%}
        {%- do elementary.upload_dbt_artifacts() -%}
    {%- endif -%}
{%- endmacro %}
