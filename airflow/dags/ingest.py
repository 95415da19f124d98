"""Airflow DAG `ingest`: the source's changes land in bronze, a task for each loader that the settings name."""

from datetime import UTC, datetime

from airflow.sdk import DAG, Param, task

from invoices_countries.defaults import cron, dag_arguments
from invoices_countries.settings import BRONZE, Settings, files_environment

settings = Settings.read()

with DAG(
    "ingest",
    schedule=cron(settings.ingest_schedule, settings.timezone) if settings.ingest_schedule else None,
    tags=["invoices", "bronze"],
    params={
        "since": Param(None, type=["null", "string"], format="date", description="dlt: read again what changed since this day"),
        "full": Param(False, type="boolean", description="dlt: read the whole source again, and land what bronze lacks"),
    },
    **dag_arguments(settings, __doc__),
):

    @task
    def load_with_dlt(params: dict) -> dict:
        """Land what changed with dlt; returns the rows by table."""
        from ingestion.load import load
        from ingestion.source import MAX_LAG_SECONDS
        from invoices_countries.settings import in_environment, source_environment, warehouse_environment

        environment = {**warehouse_environment(settings.target), **source_environment(settings)}
        full = params["full"]
        if params["since"]:
            lag = (datetime.now(UTC) - datetime.fromisoformat(params["since"]).replace(tzinfo=UTC)).total_seconds()
            full = full or lag > MAX_LAG_SECONDS  # before that, everything is read
            # dlt reads from the newest row that it knows, less the lag; and no row is landed a second time
            environment["SOURCES__SQL_DATABASE__LAG_SECONDS"] = str(min(max(lag, 0.0), MAX_LAG_SECONDS))
        with in_environment(environment):
            result = load(full=full, report=print)
        return {"landed": result.rows, "already there": result.skipped, "deletions": result.tombstones}

    @task
    def load_new_files() -> dict:
        """Land the new files of the drop folder or bucket; returns the rows by table, and what became of files."""
        from ingestion.files.load import load_files
        from invoices_countries.settings import in_environment, warehouse_environment

        with in_environment({**warehouse_environment(settings.target), **files_environment(settings)}):
            result = load_files(report=print)
        files = {"loaded": len(result.loaded), "rejected": result.rejected, "left for the next run": result.waiting}
        return {"landed": result.rows, "do not fit": result.misfits, "files": files}

    @task
    def tell_of_stream() -> None:
        """The stream lands by itself; at this schedule, its rows go on to silver."""

    for loader in settings.loaders:
        # each tells that bronze has something new: one that fails does not hold up what another has landed
        task_id = "load_bronze" if len(settings.loaders) == 1 else f"load_bronze_with_{loader}"
        if loader == "dlt":
            load_with_dlt.override(task_id=task_id, outlets=[BRONZE], pool="source")()
            continue
        if loader == "files":
            files_environment(settings)  # a missing one is told when the DAG is read
            load_new_files.override(task_id=task_id, outlets=[BRONZE], pool="source")()
            continue
        from invoices_countries.loaders import goes_on_by_itself, load_bronze

        if goes_on_by_itself(settings, loader):
            tell_of_stream.override(task_id=task_id, outlets=[BRONZE])()
        else:
            load_bronze(settings, loader, task_id=task_id, outlets=[BRONZE], pool="source")
