"""Elementary in the DAGs: its own tables, what it watches once a day's data is there, its alerts, its report.

There are no such tasks where stand-ins take the place of its dbt package, because the package hub was out of reach when the
manifest was made.
"""

import json
from typing import Any

from airflow.sdk import BaseOperator, task
from cosmos.constants import InvocationMode
from cosmos.operators.local import DbtBuildLocalOperator, DbtRunLocalOperator

from invoices_countries.dbt import dbt_arguments, manifest_path, profile
from invoices_countries.evidence import lay
from invoices_countries.settings import (
    REPOSITORY,
    VARIABLE,
    Settings,
    SettingsError,
    connection,
    in_environment,
    source_environment,
    warehouse_environment,
)

KEYS = ("channel", "connection", "filters", "group_by")


def is_on() -> bool:
    """Whether the manifest has Elementary's own models."""
    nodes = json.loads(manifest_path().read_text())["nodes"]
    return any(node["package_name"] == "elementary" and node["resource_type"] == "model" for node in nodes.values())


class ElementaryTablesOperator(DbtRunLocalOperator):
    """`dbt run --select package:elementary` where the warehouse lacks its tables, which change with its version only."""

    def __init__(self, *, target: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._target_name = target

    def execute(self, context: Any) -> None:
        """Make the tables, or do nothing."""
        from observability.watch import tables_are_missing

        with in_environment(warehouse_environment(self._target_name)):
            missing = tables_are_missing()
        if missing:
            super().execute(context)


class WatchOperator(DbtBuildLocalOperator):
    """`dbt build --selector watch`, as of the business day of the demo source where that is the source."""

    def __init__(self, *, settings: Settings, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._settings = settings

    def execute(self, context: Any) -> None:
        """Run it."""
        from observability.watch import demo_day, end_of

        if self._settings.target == "local":
            with in_environment(source_environment(self._settings)):
                if day := demo_day():
                    self.vars = {**(self.vars or {}), "custom_run_started_at": end_of(day).isoformat()}
        super().execute(context)


def elementary_tables(settings: Settings) -> BaseOperator:
    """The task that has to come before dbt's others, for what Elementary records of them."""
    return ElementaryTablesOperator(
        task_id="elementary_tables",
        target=settings.target,
        select="package:elementary",
        project_dir=str(REPOSITORY),
        profile_config=profile(settings),
        invocation_mode=InvocationMode.DBT_RUNNER,
        **dbt_arguments(settings),
    )


def watch(settings: Settings) -> BaseOperator:
    """The task that runs dbt's selector `watch`: also after a failure, since what was built may be unusual all the same."""
    return WatchOperator(
        task_id="watch",
        settings=settings,
        selector="watch",
        trigger_rule="all_done",
        project_dir=str(REPOSITORY),
        profile_config=profile(settings),
        invocation_mode=InvocationMode.DBT_RUNNER,
        **dbt_arguments(settings),
    )


def alert_routes(settings: Settings, addresses: bool = False) -> list[Any]:
    """The routes of `settings.data_alerts`, as observability.alerts has them.

    addresses: read the connections, which tasks may and DAG files should not; without them every address is a placeholder.
    Raises SettingsError, one sentence naming the key or the connection.
    """
    from ingestion.settings import IngestionError
    from invoices_countries.notices import webhook_address
    from observability.alerts import Route

    found = []
    for number, given in enumerate(settings.data_alerts):
        where = f"{VARIABLE}.data_alerts[{number}]"
        if not isinstance(given, dict) or not {"channel", "connection"} <= given.keys() <= set(KEYS):
            raise SettingsError(f"{where} must be an object with channel and connection; it knows {', '.join(KEYS)}.")
        url, headers = webhook_address(connection(given["connection"])) if addresses else ("https://address.invalid", {})
        filters = list(given.get("filters", ()))
        if not any(str(each).startswith("statuses:") for each in filters):
            filters.append("statuses:warn")  # failures are told by notices already
        values = {key: given[key] for key in ("channel", "group_by") if key in given}
        try:
            found.append(Route.of({**values, "url": url, "headers": headers, "filters": filters}, where))
        except IngestionError as error:
            raise SettingsError(str(error)) from None
    return found


def data_alerts(settings: Settings) -> Any:
    """The task that sends Elementary's new alerts by the routes of `settings.data_alerts`."""

    @task(trigger_rule="all_done")
    def data_alerts() -> dict[str, Any]:
        """Send Elementary's new alerts to whom they concern; returns what was told. Fails where a channel did not take it."""
        from ingestion.settings import IngestionError
        from observability.alerts import send

        with in_environment(warehouse_environment(settings.target)):
            sent = send(alert_routes(settings, addresses=True), report_url=settings.report_url or None)
        print(sent.described())
        if sent.failures:
            raise IngestionError("; ".join(sent.failures))  # it has been tried more than once
        return {"told": [summary for summary, channels in sent.alerts if channels]}

    return data_alerts()


def elementary_report(settings: Settings) -> Any:
    """The task that makes Elementary's report and the page of runs, and puts them where settings.reports says."""

    @task
    def elementary_report() -> list[str]:
        """Make the two pages; returns where they are."""
        import tempfile
        from pathlib import Path

        from local_databricks.settings import lakehouse_home
        from observability.report import write

        with tempfile.TemporaryDirectory() as temporary, in_environment(warehouse_environment(settings.target)):
            pages = write(Path(temporary))
            there = lay(Path(temporary), settings.reports or (lakehouse_home() / "reports").as_uri())
        return [f"{there}/{page.name}" for page in pages]

    return elementary_report()
