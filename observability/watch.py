"""What Elementary looks at once a day's data is there: the selector `watch`; its own tables are made if they are missing."""

import contextlib
import json
import os
from datetime import UTC, date, datetime, time, timedelta
from urllib.parse import unquote

from ingestion import warehouse
from ingestion.settings import REPOSITORY, IngestionError, lakehouse_home
from observability.edr import refuse_stand_ins

#: Written when Elementary's tables are made; its models change with its version only.
VERSION_TABLE = "metadata"


def tables_are_missing() -> bool:
    """Whether the warehouse lacks Elementary's own tables. Raises WarehouseError where it cannot be asked."""
    with contextlib.closing(warehouse.connect()) as connection, connection.cursor() as cursor:
        cursor.tables(catalog_name=warehouse.catalog(), schema_name=warehouse.schema("elementary"), table_name=VERSION_TABLE)
        return not cursor.fetchall()


def demo_day() -> date | None:
    """The demo source's business day, where it is the source, or None: then the day is today."""
    from ingestion import demo_data, demo_source
    from ingestion.run import SOURCE_URL

    server, url = demo_source.Server(), os.environ.get(SOURCE_URL)
    if warehouse.target() != "local" or (url and str(server.socket_folder) not in unquote(url)):
        return None
    state = demo_source.state(server)
    return state and demo_data.day_after(state.day)


def watch(as_of: datetime | None = None, quiet: bool = False) -> list[str]:
    """Run the selector `watch`; returns the names of the tests that warn.

    as_of: when "now" is for the anomaly tests, where that is not the clock's. quiet: of dbt print errors only.
    Raises ElementaryIsOff without Elementary, and IngestionError where dbt stops or a test of severity error fails.
    """
    from dbt.cli.main import dbtRunner

    refuse_stand_ins()
    paths = ["--project-dir", str(REPOSITORY), "--profiles-dir", str(REPOSITORY)]
    if tables_are_missing():
        _checked(dbtRunner().invoke(["run", "--select", "package:elementary", *paths]))
    command = ["--quiet"] * quiet + ["build", "--selector", "watch", *paths]
    parsed = None
    if as_of:
        # parsed without the variable, because another variable makes dbt parse all anew
        parsing = dbtRunner().invoke(["--quiet", "parse", *paths])
        _checked(parsing)
        parsed = parsing.result
        command += ["--vars", json.dumps({"custom_run_started_at": as_of.isoformat()})]
    result = dbtRunner(manifest=parsed).invoke(command)
    _checked(result)
    return [each.node.name for each in result.result.results if each.status == "warn"]


def _checked(result) -> None:
    if result.exception:
        raise IngestionError(f"dbt stopped: {' '.join(str(result.exception).split())[:500]}")
    if not result.success:
        failed = [r.node.name for r in result.result.results if r.status in ("error", "fail")]
        raise IngestionError(
            f"watching failed at {', '.join(failed[:10])}; its log is {lakehouse_home() / 'dbt' / 'logs' / 'dbt.log'}"
        )


def end_of(day: date) -> datetime:
    """Half past midnight (UTC) after a business day: all of it is there."""
    return datetime.combine(day + timedelta(days=1), time(0, 30), UTC)
