{#- Delete what Elementary recorded more than `days` ago, counted from its newest record: results of runs, tests and freshness checks,
    alerts, columns that tables had. Its metrics are kept for at least 120 days: anomaly tests learn from up to 70. Nothing happens
    where the package is not installed. -#}
{% macro forget_elementary_results(days=90) -%}
    {%- set days = days | int -%} {#- Airflow's templates are text -#}
    {%- set dated = {
        "alerts_v2": "detected_at",
        "data_monitoring_metrics": "bucket_end",
        "dbt_invocations": "generated_at",
        "dbt_run_results": "generated_at",
        "dbt_source_freshness_results": "generated_at",
        "elementary_test_results": "detected_at",
        "schema_columns_snapshot": "detected_at",
        "test_result_rows": "detected_at",
    } -%}
    {%- set home = graph.nodes.values() | selectattr("unique_id", "equalto", "model.elementary.dbt_run_results") | first -%}
    {%- if home is defined -%}
        {%- for name, column in dated.items() -%}
            {%- set found = adapter.get_relation(home.database, home.schema, name) -%}
            {%- if found is not none -%}
                {%- set kept = [days, 120] | max if name == "data_monitoring_metrics" else days -%}
                {%- set when = "try_cast(" ~ column ~ " as timestamp)" -%}
                {%- set before = run_query("select cast(max(" ~ when ~ ") - interval " ~ kept ~ " days as string) from " ~ found)[0][0] -%}
                {%- if before -%}
                    {%- do run_query("delete from " ~ found ~ " where " ~ when ~ " < timestamp '" ~ before ~ "'") -%}
                    {%- do log("forgot what " ~ name ~ " had from before " ~ before, info=true) -%}
                {%- endif -%}
            {%- endif -%}
        {%- endfor -%}
    {%- endif -%}
{%- endmacro %}
