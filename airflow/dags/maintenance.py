"""Airflow DAG `maintenance`: once a week, files are compacted, old ones deleted, and old results and logs forgotten."""

from airflow.sdk import DAG, Param, chain, task

from invoices_countries.dbt import dbt_operation
from invoices_countries.defaults import cron, dag_arguments
from invoices_countries.settings import Settings

settings = Settings.read()

with DAG(
    "maintenance",
    schedule=cron("0 2 * * 0", settings.timezone),
    tags=["invoices", "maintenance"],
    params={
        "retention_hours": Param(
            168, type="integer", minimum=168, description="how long deleted versions of tables stay readable"
        ),
        "history_days": Param(90, type="integer", minimum=7, description="how long results, runs and logs are kept"),
    },
    **dag_arguments(settings, __doc__),
):

    @task
    def forget_airflow_history(params: dict) -> dict[str, int]:
        """Delete runs and log files older than history_days; returns the number of files.

        Runs are deleted by `airflow db clean`, which needs this machine to reach Airflow's database: where workers cannot,
        run it on the scheduler's. Logs that are kept elsewhere (remote logging) are its own life-cycle rule's.
        """
        import subprocess
        import sys
        import time
        from datetime import UTC, datetime, timedelta
        from pathlib import Path

        from airflow.sdk.configuration import conf

        before = datetime.now(UTC) - timedelta(days=params["history_days"])
        command = ["db", "clean", "--clean-before-timestamp", before.isoformat(), "--skip-archive", "--yes"]
        subprocess.run([sys.executable, "-m", "airflow", *command], check=True)
        deleted = 0
        for file in Path(conf.get("logging", "base_log_folder")).rglob("*.log"):
            if file.stat().st_mtime < time.time() - params["history_days"] * 86_400:
                file.unlink()
                deleted += 1
        return {"log files deleted": deleted}

    chain(
        *(
            dbt_operation(
                settings,
                f"maintain_{layer}",
                "maintain_tables",
                {"layer": layer, "retention_hours": "{{ params.retention_hours }}"},
            )
            for layer in ("bronze", "silver", "gold")
        ),
        dbt_operation(
            settings, "forget_elementary_results", "forget_elementary_results", {"days": "{{ params.history_days }}"}
        ),
    )
    forget_airflow_history()
