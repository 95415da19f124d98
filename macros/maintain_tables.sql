{#- Compact the files of a layer's tables, delete those that no version within the retention needs, and on Databricks gather
    statistics for its optimizer; Airflow's DAG `maintenance` calls it, a layer a task.

    layer: bronze, silver or gold; retention_hours: at least a week, or a reader, a stream or a time travel that began before
    would miss files (https://docs.delta.io/latest/delta-utility.html#remove-files-no-longer-referenced-by-a-delta-table). -#}
{% macro maintain_tables(layer, retention_hours=168) -%}
    {%- set retention_hours = retention_hours | int -%} {#- Airflow's templates are text -#}
    {%- if retention_hours < 168 -%}
        {{ exceptions.raise_compiler_error("retention_hours must be at least 168 (a week), and is " ~ retention_hours ~ ".") }}
    {%- endif -%}
    {%- if layer not in ("bronze", "silver", "gold") -%}
        {{ exceptions.raise_compiler_error("layer must be bronze, silver or gold, and is " ~ layer ~ ".") }}
    {%- endif -%}
    {%- set tables = [] -%}
    {%- if layer == "bronze" -%}
        {%- for node in graph.sources.values() if node.package_name == project_name -%}
            {%- do tables.append(node.relation_name) -%}
        {%- endfor -%}
    {%- else -%}
        {%- for node in graph.nodes.values()
            if node.package_name == project_name and node.resource_type in ("model", "seed", "snapshot")
            and node.config.materialized not in ("view", "ephemeral") and node.config.schema == layer -%}
            {%- do tables.append(node.relation_name) -%}
        {%- endfor -%}
    {%- endif -%}
    {%- for table in tables | sort -%}
        {%- do log("maintaining " ~ table ~ " (" ~ loop.index ~ " of " ~ tables | length ~ ")", info=true) -%}
        {%- do run_query("optimize " ~ table) -%}
        {%- do run_query("vacuum " ~ table ~ " retain " ~ retention_hours ~ " hours") -%}
        {%- if target.name != "local" -%} {#- open-source Spark has no ANALYZE for Delta's tables -#}
            {%- do run_query("analyze table " ~ table ~ " compute delta statistics") -%}
            {%- do run_query("analyze table " ~ table ~ " compute statistics for all columns") -%}
        {%- endif -%}
    {%- endfor -%}
{%- endmacro %}
