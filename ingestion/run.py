"""The whole job: `python -m ingestion.run` (what `make run` calls) takes the source to tested gold and tells what came of it.

Stages: dbt's packages, the local endpoint, the source, the load into bronze, `dbt build` of silver and gold with their
tests, the summary. Each can be killed and the job run again: loads repeat rows that silver drops, tables change by commits.
Without SOURCES__SQL_DATABASE__CREDENTIALS the source is the embedded demo (`ingestion.demo_source`); with
DBT_TARGET=databricks nothing local is started, and the same stages run against the workspace.
"""

import argparse
import contextlib
import hashlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from ingestion import warehouse
from ingestion.settings import REPOSITORY, IngestionError, lakehouse_home
from local_databricks import lifecycle, packages
from local_databricks.settings import LocalDatabricksError, Settings

SOURCE_URL = "SOURCES__SQL_DATABASE__CREDENTIALS"
COMPARE_KEYS = "SOURCES__SQL_DATABASE__COMPARE_KEYS"
TOP_COUNTRIES = 10


class Stages:
    """Prints each stage as it begins and keeps how long each took, in seconds."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        print(f"\n== {name}", flush=True)
        began = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - began


class Background:
    """Runs a function in a thread; `join` waits for it and raises what it raised."""

    def __init__(self, work):
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, args=(work,), daemon=True)
        self._thread.start()

    def _run(self, work) -> None:
        try:
            work()
        except Exception as error:
            self._error = error

    def join(self) -> None:
        self._thread.join()
        if self._error:
            raise self._error


def run(full_refresh: bool = False, brief: bool = False) -> None:
    """Run the job; prints its progress and summary.

    full_refresh: rebuild silver and gold from all of bronze. brief: of dbt print errors only, and no summary. Raises
    IngestionError or LocalDatabricksError, one sentence each, where a stage cannot be done, and IngestionError where a model
    or test of dbt failed.
    """
    from ingestion.load import run_lock

    target, stages = warehouse.target(), Stages()
    with run_lock(lakehouse_home() / "run.lock", "run"):
        endpoint = None
        if target == "local":
            # Spark needs seconds to start and the load needs it last of all: they go side by side
            settings = Settings.from_environment()
            endpoint = Background(lambda: lifecycle.up(settings, lambda step: print(f"  endpoint: {step}", flush=True)))
        with stages.stage("Packages of dbt"):
            elementary = packages.resolve()
        with stages.stage("Source -> bronze"):
            _load(endpoint)
        with stages.stage("Bronze -> silver -> gold, and tests"):
            _build(full_refresh, elementary, brief)
        if brief:
            return
        with stages.stage("Summary"):
            _summary(elementary)
        print("\nTime per stage")
        for name, seconds in stages.seconds.items():
            print(f"  {name:<40}{seconds:7.1f} s")
        print(f"  {'All':<40}{sum(stages.seconds.values()):7.1f} s")


def _load(endpoint: Background | None) -> None:
    from ingestion import demo_source
    from ingestion.load import load
    from ingestion.source import CONTRACTS

    if not os.environ.get(SOURCE_URL):
        state = demo_source.up()
        os.environ[SOURCE_URL] = demo_source.Server().url
        os.environ.setdefault(COMPARE_KEYS, "true")
        print(f"  the demo source (day {state.day}, {state.invoices:,} invoices); set {SOURCE_URL} for your own")
    result = load(register=False, report=lambda line: print(f"  {line}", flush=True))
    for table, rows in result.rows.items():
        print(f"  {table}: {rows:,} rows landed, {result.skipped[table]:,} already there")
    print(f"  {result.tombstones:,} deletions found")
    if endpoint:
        endpoint.join()
        os.environ.update(Settings.from_environment().client_environment())
        from ingestion.bronze import LocalBronze

        LocalBronze(lakehouse_home() / "bronze").register([contract.name for contract in CONTRACTS])


def _build(full_refresh: bool, elementary: bool, quiet: bool) -> None:
    """dbt build in this process, so that killing the job kills it too."""
    from dbt.cli.main import dbtRunner

    command = ["--quiet"] * quiet + ["build", "--project-dir", str(REPOSITORY), "--profiles-dir", str(REPOSITORY)]
    command += ["--full-refresh"] * full_refresh
    missing = _missing_tables(elementary)
    command += ["--selector", "pipeline_with_elementary" if "dbt_run_results" in missing else "pipeline"]
    # Seeds are files of this repository: loading them anew at every run would cost a fifth of it and change nothing.
    marker = _dbt_folder() / f"seeds-{warehouse.target()}-{warehouse.schema('silver')}"
    seeds = hashlib.sha256(b"".join(path.read_bytes() for path in _seed_files())).hexdigest()
    if not full_refresh and missing <= {"dbt_run_results"} and marker.exists() and marker.read_text() == seeds:
        command += ["--exclude-resource-type", "seed"]
    result = dbtRunner().invoke(command)
    if result.exception:
        raise IngestionError(f"dbt stopped: {' '.join(str(result.exception).split())[:500]}")
    if not result.success:
        failed = [r.node.name for r in result.result.results if r.status in ("error", "fail")]
        raise IngestionError(f"dbt build failed at {', '.join(failed[:10])}; its log is {_dbt_folder() / 'logs' / 'dbt.log'}")
    marker.write_text(seeds)


def _dbt_folder() -> Path:
    return lakehouse_home() / "dbt"


def _query(cursor, sql: str) -> list:
    cursor.execute(sql)
    return cursor.fetchall()


def _seed_files() -> list[Path]:
    return sorted((REPOSITORY / "seeds").glob("*.csv")) + [REPOSITORY / "seeds" / "seeds.yml"]


def _missing_tables(elementary: bool) -> set[str]:
    """Which of the seeds' tables, and of Elementary's if it is there at all, the warehouse lacks."""
    wanted = {"silver": {path.stem for path in _seed_files() if path.suffix == ".csv"}}
    if elementary:
        wanted["elementary"] = {"dbt_run_results"}
    with contextlib.closing(warehouse.connect()) as connection, connection.cursor() as cursor:
        for layer, names in wanted.items():
            cursor.tables(catalog_name=warehouse.catalog(), schema_name=warehouse.schema(layer))
            names -= {row.TABLE_NAME for row in cursor.fetchall()}
    return set().union(*wanted.values())


def _summary(elementary: bool) -> None:
    catalog = warehouse.catalog()

    def table(layer: str, name: str) -> str:
        return f"`{catalog}`.`{warehouse.schema(layer)}`.`{name}`"

    with contextlib.closing(warehouse.connect()) as connection, connection.cursor() as cursor:
        accounting = _query(
            cursor,
            "select table_name, sum(row_count), sum(row_count) filter (where outcome = 'accepted'),"
            " sum(row_count) filter (where outcome = 'superseded'), sum(row_count) filter (where outcome = 'rejected')"
            f" from {table('silver', 'row_accounting')} group by table_name order by table_name desc",
        )
        reasons = _query(
            cursor,
            f"select reason, count(*) from {table('silver', 'rejected_invoices')} lateral view explode(reasons) as reason"
            " group by reason order by 2 desc, 1",
        )
        countries = _query(
            cursor,
            "select country_name, sum(invoice_count), sum(total_amount_reporting) from"
            f" {table('gold', 'agg_invoices_country_month')} group by country_name order by 3 desc limit {TOP_COUNTRIES}",
        )
        currency = _query(cursor, f"select max(reporting_currency) from {table('gold', 'fct_invoices')}")[0][0]
    print(f"  {'Rows':<12}{'landed':>12}{'accepted':>12}{'superseded':>12}{'rejected':>12}")
    for name, *counts in accounting:
        print(f"  {name:<12}" + "".join(f"{count or 0:>12,}" for count in counts))
    if reasons:
        print("\n  Rejected invoices, by reason (a row may have several)")
        for reason, count in reasons:
            print(f"  {reason:<36}{count:>12,}")
    print(f"\n  Revenue by country, top {TOP_COUNTRIES}{'invoices':>16}{currency + ' gross':>20}")
    for name, invoices, amount in countries:
        print(f"  {name or 'unknown':<28.28}{invoices:>12,}{amount:>20,.2f}")
    schemas = ", ".join(warehouse.schema(layer) for layer in ("bronze", "silver", "gold"))
    print(f"\n  Tables: catalog {catalog}, schemas {schemas}")
    if warehouse.target() == "local":
        print('          make shell, then: python -m local_databricks sql "select * from gold.fct_invoices limit 10"')
        print(f"          files under {lakehouse_home()}")
    if elementary:
        print("  Watch:  make watch looks for what is unusual, make alerts tells it, make report shows it")
    print(f"  Docs:   make docs writes {_dbt_folder() / 'target' / 'static_index.html'}")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code (0, or 1 after one sentence on standard error)."""
    parser = argparse.ArgumentParser(prog="python -m ingestion.run", description="Source to tested gold, with a summary.")
    parser.add_argument("--full-refresh", action="store_true", help="rebuild silver and gold from all of bronze")
    options = parser.parse_args(arguments)
    try:
        run(options.full_refresh)
    except (IngestionError, LocalDatabricksError) as error:
        print(f"\nerror: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
