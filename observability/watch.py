"""What Elementary looks at once a day's data is there: the selector `watch`; its own tables are made if they are missing."""

import contextlib
import json
import os
from datetime import UTC, date, datetime, time, timedelta
from urllib.parse import unquote

from ingestion import warehouse
from ingestion.dbt_command import dbt_command
from observability.edr import refuse_stand_ins

#: Written when Elementary's tables are made; its models change with its version only.
VERSION_TABLE = "metadata"


def tables_are_missing() -> bool:
    """Whether the warehouse lacks Elementary's own tables. Raises WarehouseError where it cannot be asked."""
    with contextlib.closing(warehouse.connect()) as connection:
        return VERSION_TABLE not in warehouse.tables(connection, "elementary")


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
    Raises ElementaryIsOff without Elementary, and DbtFailed where dbt stops or a test of severity error fails.
    """
    refuse_stand_ins()
    if tables_are_missing():
        dbt_command("run", "--select", "package:elementary")
    command, parsed = ["--quiet"] * quiet + ["build", "--selector", "watch"], None
    if as_of:
        # parsed without the variable, because another variable makes dbt parse all anew
        parsed = dbt_command("--quiet", "parse")
        command += ["--vars", json.dumps({"custom_run_started_at": as_of.isoformat()})]
    result = dbt_command(*command, manifest=parsed)
    return [each.node.name for each in result.results if each.status == "warn"]


def end_of(day: date) -> datetime:
    """Half past midnight (UTC) after a business day: all of it is there."""
    return datetime.combine(day + timedelta(days=1), time(0, 30), UTC)
