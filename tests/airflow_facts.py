"""Prints what Airflow makes of the DAG files, as JSON: `python -m tests.airflow_facts`, with Airflow's variables set.

In a process of its own, because Airflow reads its configuration when it is imported, and keeps it.
"""

import contextlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path


def uris_of(condition: object) -> Iterator[str]:
    """The assets of a DAG's schedule, whatever their combination."""
    if hasattr(condition, "uri"):
        yield condition.uri
    for each in getattr(condition, "objects", ()):
        yield from uris_of(each)


def facts() -> dict:
    """DAGs by id, with their tasks; errors by file; seconds that the import of each file took."""
    from airflow.configuration import conf
    from airflow.dag_processing.dagbag import BundleDagBag
    from airflow.sdk import BaseOperator
    from airflow.serialization.serialized_objects import DagSerialization

    bag = BundleDagBag(bundle_path=Path(conf.get("core", "dags_folder")), bundle_name="dags-folder")
    dags = {}
    for name, dag in bag.dags.items():
        dag.check_cycle()
        DagSerialization.serialize_dag(dag)  # raises for what the scheduler could not read
        tasks = {}
        for task in dag.tasks:
            node = (getattr(task, "extra_context", None) or {}).get("dbt_node_config") or {}
            tasks[task.task_id] = {
                "owner": task.owner,
                "retries": task.retries,
                "policy": type(task.retry_policy).__name__,
                "exponential": bool(task.retry_exponential_backoff),
                "execution_timeout": task.execution_timeout and task.execution_timeout.total_seconds(),
                "tells": [kind for kind in ("on_failure_callback", "on_retry_callback") if getattr(task, kind)],
                "pool": task.pool,
                "upstream": sorted(task.upstream_task_ids),
                "outlets": [each.uri for each in task.outlets if hasattr(each, "uri")],
                "node": node.get("unique_id"),
                "described": bool(task.doc_md) or not isinstance(task, BaseOperator),
            }
        condition = getattr(dag.timetable, "asset_condition", None)
        dags[name] = {
            "tags": sorted(dag.tags),
            "max_active_runs": dag.max_active_runs,
            "catchup": dag.catchup,
            "dagrun_timeout": dag.dagrun_timeout and dag.dagrun_timeout.total_seconds(),
            "deadline": bool(dag.deadline),
            "tells": [kind for kind in ("on_failure_callback", "on_success_callback") if getattr(dag, kind)],
            "scheduled_by": sorted(uris_of(condition)),
            "cron": getattr(dag.timetable, "expression", None) if not condition else None,
            "params": sorted(dag.params),
            "described": bool(dag.doc_md),
            "tasks": tasks,
        }
    return {
        "errors": {str(file): text for file, text in bag.import_errors.items()},
        "files": {str(each.file): each.duration.total_seconds() for each in bag.dagbag_stats},
        "dags": dags,
    }


if __name__ == "__main__":
    began = time.monotonic()
    with contextlib.redirect_stdout(sys.stderr):
        found = facts()
    print(json.dumps(found | {"seconds": time.monotonic() - began}))
