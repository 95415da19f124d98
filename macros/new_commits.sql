{#- The commits to this project's tables that table_commits does not have yet, as rows of VALUES: what each wrote, as Delta's own
    history tells it (https://docs.delta.io/latest/delta-utility.html#retrieve-delta-table-history; operationMetrics), and the size of
    the table where it is the newest. One statement a table, and one more for a table that has changed. -#}
{% macro new_commits() -%}
    {%- set known = {} -%}
    {%- set is_run = execute and flags.WHICH in ("build", "run") -%} {#- not where the docs are made, say -#}
    {%- if is_run and is_incremental() -%}
        {%- for row in run_query("select unique_id, max(version) as version from " ~ this ~ " group by unique_id") -%}
            {%- do known.update({row[0]: row[1] | int}) -%}
        {%- endfor -%}
    {%- endif -%}
    {%- set rows = [] -%}
    {%- if is_run -%}
        {%- for node in graph.nodes.values()
            if node.package_name == project_name and node.resource_type in ("model", "seed", "snapshot")
            and node.config.enabled and node.config.materialized not in ("view", "ephemeral") -%}
            {%- set relation = adapter.get_relation(node.database, node.schema, node.alias) -%}
            {%- if relation is not none and relation.render() != this.render() -%}
                {%- set fresh = [] -%}
                {%- for row in run_query("describe history " ~ relation ~ " limit 20")
                    if row["version"] | int > known.get(node.unique_id, -1) -%}
                    {%- do fresh.append(row) -%}
                {%- endfor -%}
                {%- if fresh -%}
                    {%- set size = run_query("describe detail " ~ relation)[0]["sizeInBytes"] -%}
                    {%- for row in fresh -%}
                        {%- set metrics = {} -%}
                        {%- set given = row["operationMetrics"] or {} -%}
                        {%- set given = fromjson(given) if given is string else given -%}
                        {%- do metrics.update(given) -%}
                        {%- do rows.append([
                            node.unique_id, row["version"] | int, row["timestamp"], row["operation"],
                            metrics.get("numOutputRows", metrics.get("num_output_rows", metrics.get("num_added_rows"))),
                            metrics.get("numOutputBytes", metrics.get("numTargetBytesAdded")),
                            size if loop.first else none,
                        ]) -%}
                    {%- endfor -%}
                {%- endif -%}
            {%- endif -%}
        {%- endfor -%}
    {%- endif -%}
    {%- for row in rows %}
        (
            '{{ row[0] }}', {{ row[1] }}, timestamp '{{ row[2] }}', '{{ row[3] }}',
            {{ row[4] or 'null' }}, {{ row[5] or 'null' }}, {{ row[6] or 'null' }}
        ){{ "," if not loop.last }}
    {%- else %}
        (null, null, null, null, null, null, null)
    {%- endfor -%}
{%- endmacro %}
