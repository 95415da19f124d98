{#- Delete what Elementary recorded more than `days` ago: results of runs, tests and freshness checks. Its metrics stay: anomaly
    tests compare with them. Nothing happens where the package is not installed. -#}
{% macro forget_elementary_results(days=90) -%}
    {%- set days = days | int -%} {#- Airflow's templates are text -#}
    {%- set dated = {
        "dbt_invocations": "generated_at",
        "dbt_run_results": "generated_at",
        "dbt_source_freshness_results": "generated_at",
        "elementary_test_results": "detected_at",
        "test_result_rows": "detected_at",
    } -%}
    {%- for node in graph.nodes.values() if node.package_name == "elementary" and node.name in dated -%}
        {%- set found = adapter.get_relation(node.database, node.schema, node.alias) -%}
        {%- if found is not none -%}
            {%- do log("forgetting results of " ~ node.name ~ " older than " ~ days ~ " days", info=true) -%}
            {%- do run_query("delete from " ~ found ~ " where try_cast(" ~ dated[node.name] ~ " as timestamp) < current_timestamp() - interval " ~ days ~ " days") -%}
        {%- endif -%}
    {%- endfor -%}
{%- endmacro %}
