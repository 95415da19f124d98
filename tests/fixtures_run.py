"""A lakehouse of its own as `make run` leaves it, and what it holds; whatever only reads it shares the first one."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from tests.conftest import ROOT, clients, connect, free_port, python, run

INVOICES = 5_000


def copy_of_the_repository(folder: Path) -> Path:
    """What a clone would hold, with this environment instead of a new one."""
    files = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").stdout.split("\0")
    for name in filter(None, files):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    assert (ROOT / ".venv" / ".installed").exists(), "the environment was not made by make"
    (folder / ".venv").symlink_to(Path(sys.executable).parent.parent)
    # older than the environment, or make would clear this one, through the link, to make it anew
    os.utime(folder / "requirements.lock", (0, 0))
    return folder


@contextmanager
def lakehouse(home: Path) -> Iterator[dict[str, str]]:
    """The variables of a lakehouse of its own; what runs there is stopped at the end."""
    environment = {"LAKEHOUSE_HOME": str(home), "LOCAL_DATABRICKS_PORT": str(free_port())}
    try:
        yield environment
    finally:
        python("-m", "local_databricks", "down", env=environment)
        python("-m", "ingestion.demo_source", "down", env=environment)


def rows_of(environment: dict[str, str], *statements: str) -> list[list[tuple]]:
    """The rows of each statement, by one connection."""
    with closing(connect(clients(environment))) as connection, connection.cursor() as cursor:
        found = []
        for statement in statements:
            cursor.execute(statement)
            found.append([tuple(row) for row in cursor.fetchall()])
        return found


def query(environment: dict[str, str], statement: str) -> list[tuple]:
    return rows_of(environment, statement)[0]


def contents(environment: dict[str, str], *tables: str) -> dict[str, list[tuple]]:
    """Every row of the tables, sorted."""
    found = rows_of(environment, *(f"select * from {table}" for table in tables))
    return {table: sorted(rows, key=repr) for table, rows in zip(tables, found, strict=True)}


#: Silver's tables, with the view that reads the source's exchange rates, and gold's.
SILVER = [
    f"silver.{name}"
    for name in (
        "invoices countries rejected_invoices rejected_countries country_matches row_accounting exchange_rates".split()
    )
]
GOLD = [
    f"gold.{name}"
    for name in (
        "dim_countries dim_countries_history dim_customers dim_dates fct_invoices agg_invoices_country_month"
        " agg_invoices_country_month_status agg_country_review country_revenue_anomalies"
    ).split()
]
#: Gold's tables that tell of loads, whose times and ids are no other lakehouse's.
LOADS = ["gold.agg_landed_rows_load", "gold.agg_rejected_rows_reason_day"]


@dataclass(frozen=True)
class FirstRun:
    """A first run that nothing disturbed: where, with which variables, what it printed, and gold as it left it."""

    clone: Path
    environment: dict[str, str]
    output: str
    gold: dict[str, list[tuple]]
    day: date  # in UTC; as_of_date and the days overdue are those of the load


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory) -> Iterator[FirstRun]:
    """make run in a copy of the repository, on small demo data."""
    folder = copy_of_the_repository(tmp_path_factory.mktemp("clone"))
    with lakehouse(folder / ".lakehouse") as environment:
        assert python("-m", "ingestion.demo_source", "up", "--invoices", str(INVOICES), env=environment).returncode == 0
        done = subprocess.run(
            ["make", "run"], cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, timeout=1800
        )
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
        yield FirstRun(folder, environment, done.stdout, contents(environment, *GOLD), datetime.now(UTC).date())
