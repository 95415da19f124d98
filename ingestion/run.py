"""The whole job: `python -m ingestion.run` (what `make run` calls) takes the source to tested gold and tells what came of it.

Stages: dbt's packages, the local endpoint, the source, the load into bronze, `dbt build` of silver and gold with their
tests, the summary. Each can be killed and the job run again: loads repeat rows that silver drops, tables change by commits.
Without SOURCES__SQL_DATABASE__CREDENTIALS the source is the embedded demo (`ingestion.demo_source`); with
DBT_TARGET=databricks nothing local is started, and the same stages run against the workspace.
"""

import argparse
import contextlib
import dataclasses
import hashlib
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ingestion import summary, warehouse
from ingestion.dbt_command import DbtFailed, counts, dbt_command
from ingestion.settings import REPOSITORY, IngestionError, lakehouse_home, run_lock, write_whole
from local_databricks import lifecycle, packages
from local_databricks.settings import LocalDatabricksError, Settings

SOURCE_URL = "SOURCES__SQL_DATABASE__CREDENTIALS"
COMPARE_KEYS = "SOURCES__SQL_DATABASE__COMPARE_KEYS"


class Stages:
    """Prints each stage as it begins and keeps how long each took, in seconds, and what came of dbt's nodes."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.statuses: dict[str, int] = {}

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        print(f"\n== {name}", flush=True)
        began = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - began


@dataclass(frozen=True)
class LastRun:
    """How a run went: when it began (ISO 8601, UTC), on which target, the seconds of each stage that was done, how many nodes
    of dbt ended with which status, and the sentence with which it failed (None: it did not)."""

    began_at: str
    target: str
    seconds: dict[str, float]
    statuses: dict[str, int]
    error: str | None


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
    stages, began = Stages(), datetime.now(UTC)
    with run_lock(lakehouse_home() / "run.lock", "run"):
        try:
            _run(stages, full_refresh, brief)
        except (IngestionError, LocalDatabricksError) as error:
            _record(began, stages, str(error))
            raise
        _record(began, stages, None)


def _run(stages: Stages, full_refresh: bool, brief: bool) -> None:
    endpoint = None
    if warehouse.target() == "local":
        # Spark needs seconds to start and the load needs it last of all: they go side by side
        settings = Settings.from_environment()
        endpoint = Background(lambda: lifecycle.up(settings, lambda step: print(f"  endpoint: {step}", flush=True)))
    with stages.stage("Packages of dbt"):
        elementary = packages.resolve()
    with stages.stage("Source -> bronze"):
        _load(endpoint)
    with stages.stage("Bronze -> silver -> gold, and tests"):
        _build(full_refresh, elementary, brief, stages)
    if brief:
        return
    with stages.stage("Summary"):
        print(summary.text(summary.read()))
        print(_where_to_look(elementary))
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


def _build(full_refresh: bool, elementary: bool, quiet: bool, stages: Stages) -> None:
    command = ["--quiet"] * quiet + ["build"] + ["--full-refresh"] * full_refresh
    missing = _missing_tables(elementary)
    command += ["--selector", "pipeline_with_elementary" if "dbt_run_results" in missing else "pipeline"]
    # Seeds are files of this repository: loading them anew at every run would cost a fifth of it and change nothing.
    marker = lakehouse_home() / "dbt" / f"seeds-{warehouse.target()}-{warehouse.schema('silver')}"
    seeds = hashlib.sha256(b"".join(path.read_bytes() for path in _seed_files())).hexdigest()
    if not full_refresh and missing <= {"dbt_run_results"} and marker.exists() and marker.read_text() == seeds:
        command += ["--exclude-resource-type", "seed"]
    try:
        stages.statuses = counts(dbt_command(*command))
    except DbtFailed as error:
        stages.statuses = error.statuses
        raise
    marker.write_text(seeds)


def _seed_files() -> list[Path]:
    return sorted((REPOSITORY / "seeds").glob("*.csv")) + [REPOSITORY / "seeds" / "seeds.yml"]


def _missing_tables(elementary: bool) -> set[str]:
    """Which of the seeds' tables, and of Elementary's if it is there at all, the warehouse lacks."""
    wanted = {"silver": {path.stem for path in _seed_files() if path.suffix == ".csv"}}
    if elementary:
        wanted["elementary"] = {"dbt_run_results"}
    with contextlib.closing(warehouse.connect()) as connection:
        for layer, names in wanted.items():
            names -= warehouse.tables(connection, layer)
    return set().union(*wanted.values())


def _where_to_look(elementary: bool) -> str:
    schemas = ", ".join(warehouse.schema(layer) for layer in ("bronze", "silver", "gold"))
    lines = ["", f"  Tables: catalog {warehouse.catalog()}, schemas {schemas}"]
    if warehouse.target() == "local":
        lines += [
            '          make shell, then: python -m local_databricks sql "select * from gold.fct_invoices limit 10"',
            f"          files under {lakehouse_home()}",
        ]
    if elementary:
        lines.append("  Watch:  make watch looks for what is unusual, make alerts tells it, make report shows it")
    return "\n".join([*lines, "  Look:   make serve puts revenue pages, dbt docs and reports at one address of this machine"])


def _record(began: datetime, stages: Stages, error: str | None) -> None:
    """Write how the run went for those who look later (`LastRun`)."""
    run = LastRun(began.isoformat(timespec="seconds"), warehouse.target(), stages.seconds, stages.statuses, error)
    write_whole(last_run_file(), json.dumps(dataclasses.asdict(run)))


def last_run_file() -> Path:
    """Where the newest run tells how it went."""
    return lakehouse_home() / "last_run.json"


def last_run() -> "LastRun | None":
    """The newest run of this lakehouse; None before the first one has ended."""
    file = last_run_file()
    return LastRun(**json.loads(file.read_text())) if file.exists() else None


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
