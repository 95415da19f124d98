"""What Airflow costs around dbt: `python -m benchmarks.airflow_overhead`.

Runs the chain of DAGs under a real scheduler, on the fast engine and little data, with dbt imported before tasks are forked and
without, in one run. Prints a Markdown table: of the tasks of `transform` the median wait between queued and started,
the median time, and what of it was not dbt's nodes; and how long the whole run took.
"""

import argparse
import json
import sys
import tempfile
from datetime import datetime
from pathlib import Path
from statistics import median

from tests.conftest import free_port, python
from tests.fixtures_airflow import airflow_over
from tests.fixtures_run import copy_of_the_repository


def measure(folder: Path, invoices: int, is_preloaded: bool) -> dict[str, float]:
    """Seconds by name, of one lakehouse: its second run of transform, when nothing is parsed or created for the first time."""
    clone = copy_of_the_repository(folder)
    if not is_preloaded:
        (clone / "airflow" / "config" / "airflow_local_settings.py").unlink()
    environment = {"LAKEHOUSE_HOME": str(clone / ".lakehouse"), "LOCAL_DATABRICKS_PORT": str(free_port()), "ENGINE": "sail"}
    python("-m", "ingestion.demo_source", "up", "--invoices", str(invoices), env=environment)
    settings = {"ingest_schedule": None, "retries": 0}
    with airflow_over(clone, environment, settings) as airflow:
        known: set[str] = set()
        for _ in range(2):
            ingested = airflow.trigger("ingest")
            airflow.finished("ingest", ingested)
            run = airflow.new_run("transform", known)
            if airflow.finished("transform", run) != "success":
                sys.exit(f"transform failed: {airflow.tasks('transform', run)}")
            known.add(run)
        tasks = [
            task
            for name, task in airflow.tasks("transform", run).items()
            if name.startswith("dbt.") and "freshness" not in name
        ]
        outside = []
        for task in tasks:
            results = airflow.returned("transform", run, task["task_id"], "dbt_results")
            outside.append(task["duration"] - sum(node["seconds"] for node in results))

        def moment(task: dict, name: str) -> datetime:
            return datetime.fromisoformat(task[name])

        waits = [(moment(task, "start_date") - moment(task, "queued_when")).total_seconds() for task in tasks]
        begin, end = min(moment(t, "start_date") for t in tasks), max(moment(t, "end_date") for t in tasks)
        return {
            "wait of a task, median": median(waits),
            "a task, median": median(task["duration"] for task in tasks),
            "of it outside dbt's nodes, median": median(outside),
            f"transform, {len(tasks)} tasks": (end - begin).total_seconds(),
        }


def main() -> None:
    """Measure both ways and print the table."""
    parser = argparse.ArgumentParser(description="What Airflow costs around dbt.")
    parser.add_argument("--invoices", type=int, default=2_000)
    options = parser.parse_args()
    ways = {"dbt imported by the scheduler": True, "by each task": False}
    found = {}
    for name, is_preloaded in ways.items():
        with tempfile.TemporaryDirectory(prefix="overhead") as folder:
            found[name] = measure(Path(folder), options.invoices, is_preloaded)
        print(f"{name}: {json.dumps(found[name])}", file=sys.stderr, flush=True)
    print("| | " + " | ".join(found) + " |\n|---" + "|---" * len(found) + "|")
    for line in next(iter(found.values())):
        print(f"| {line} | " + " | ".join(f"{seconds[line]:.1f} s" for seconds in found.values()) + " |")


if __name__ == "__main__":
    main()
