"""Load the source database into append-only bronze Delta tables with dlt: `python -m ingestion.load`.

Each run lands what changed since the last one: rows whose updated_at is not before the newest one loaded, less a lag window
for transactions that commit late. Rows that bronze holds already are not landed again, so a second run changes nothing.
Rows dated in the future, or not at all, are landed once and never move the cursor. Nothing is cleaned or dropped here.

Settings (environment variables; equally dlt's config.toml and secrets.toml, section [sources.sql_database]):

    SOURCES__SQL_DATABASE__CREDENTIALS          SQLAlchemy URL of the source, e.g. postgresql://user:password@host/database
    SOURCES__SQL_DATABASE__SCHEMA               its schema (default: the database's own default)
    SOURCES__SQL_DATABASE__CHUNK_SIZE           rows fetched at a time (50000): memory grows with it
    SOURCES__SQL_DATABASE__LAG_SECONDS          lag window in seconds (86400)
    SOURCES__SQL_DATABASE__COMPARE_KEYS         true: compare all invoice ids, and land a tombstone for each that vanished
    SOURCES__SQL_DATABASE__MAX_DELETED_SHARE    refuse when more than this share of the ids vanished (0.2)
    SOURCES__SQL_DATABASE__INVOICES__TABLE_NAME        name of the table, also as schema.table (default: invoices)
    SOURCES__SQL_DATABASE__INVOICES__COLUMN_NAMES      JSON object {"column of bronze": "column of the source", ...}
    SOURCES__SQL_DATABASE__COUNTRIES__TABLE_NAME, …__COLUMN_NAMES     the same for countries

Required columns: invoice_id, country, currency_code, invoice_date, total_amount, updated_at; country_code, country_name,
updated_at. The others of the contract are null when the source lacks them, and further columns of the source land too.

The destination follows DBT_TARGET: `local` writes Delta folders $LAKEHOUSE_HOME/bronze/<table> and registers them through
the local endpoint; `databricks` loads into the workspace of the DATABRICKS_* variables.

Columns of countries' keys are not compared: a corrected code would otherwise delete its country. A run that is killed loses
nothing: the next one finishes what was extracted and reads the rest again; rows may repeat, and silver keeps one of each.
"""

import argparse
import contextlib
import fcntl
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import dlt
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from dlt.common.schema.typing import TColumnSchema
from dlt.sources.sql_database import sql_table

from ingestion import source as sources
from ingestion import warehouse
from ingestion.bronze import LocalBronze, WarehouseBronze
from ingestion.settings import IngestionError, first_line, lakehouse_home
from ingestion.values import DELETED, RESCUED, conform, contained, key_codes, row_hashes

PIPELINE = "invoices_countries"
# dlt's own settings; each can be overridden from outside, as all of dlt's configuration.
DLT_SETTINGS = {
    "RUNTIME__DLTHUB_TELEMETRY": "false",
    "RUNTIME__LOG_LEVEL": "ERROR",
    "NORMALIZE__PARQUET_NORMALIZER__ADD_DLT_LOAD_ID": "true",
    "NORMALIZE__PARQUET_NORMALIZER__ADD_DLT_ID": "true",
    "DATA_WRITER__FILE_MAX_ITEMS": "1000000",
    "LOAD__DELETE_COMPLETED_JOBS": "true",
}


@dataclass
class LoadResult:
    """What one run did: rows landed and rows skipped because bronze held them, per table; tombstones; dlt's load ids."""

    rows: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)
    tombstones: int = 0
    load_ids: list[str] = field(default_factory=list)
    resumed: bool = False
    seconds: float = 0.0


def load(full: bool = False, register: bool = True, report: Callable[[str], None] = lambda line: None) -> LoadResult:
    """Load what changed in the source into bronze, and return what was done.

    Args: full: read the whole source instead of the changes, and land what bronze lacks; register: make the tables known to
    the local endpoint's catalog afterwards; report: receives progress, a line at a time.
    Raises: IngestionError, one sentence: configuration, source, a run in progress, a suspicious number of deletes, or
    the destination. Nothing is lost then; the next run goes on.
    """
    begin = time.monotonic()
    target = warehouse.target()
    home = lakehouse_home()
    os.environ.setdefault("DLT_DATA_DIR", str(home / "dlt"))
    for name, value in DLT_SETTINGS.items():
        os.environ.setdefault(name, value)
    result = LoadResult()
    with run_lock(home / "load.lock"):
        configured = sources.settings()
        engine = sources.engine(configured)
        try:
            tables = [sources.SourceTable(engine, configured.schema, contract) for contract in sources.CONTRACTS]
            pipeline, bronze = _destination(target, home)
            with _in_one_sentence():
                pipeline.sync_destination()
                if pipeline.has_pending_data:
                    report("finishing what an earlier run left behind")
                    result.resumed = True
                    result.load_ids += pipeline.run().loads_ids
            present = {table.contract.name: bronze.exists(table.contract.name) for table in tables}
            _forget_cursors(pipeline, [name for name, there in present.items() if full or not there])
            now = datetime.now(UTC)
            parts = [
                part
                for table in tables
                for part in _table_parts(
                    pipeline, bronze if present[table.contract.name] else None, table, configured, now, result, report
                )
            ]
            if configured.compare_keys and present[sources.INVOICES.name]:
                invoices = next(table for table in tables if table.contract is sources.INVOICES)
                gone = _tombstones(bronze, invoices, configured, now)
                result.tombstones = gone.num_rows
                if gone.num_rows:
                    parts.append(_landing(pipeline, "invoices_deleted", invoices, lambda: iter([gone])))
            with _in_one_sentence():
                info = pipeline.run(dlt.source(lambda: parts, name=PIPELINE)(), loader_file_format="parquet")
            result.load_ids += info.loads_ids
        finally:
            engine.dispose()
        if register:
            bronze.register([contract.name for contract in sources.CONTRACTS])
    result.seconds = time.monotonic() - begin
    return result


@contextlib.contextmanager
def run_lock(path: Path) -> Iterator[None]:
    """Hold the run lock at `path`; raises IngestionError saying who holds it. The system frees it when a process dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise IngestionError(f"another load is running: {file.read().strip() or 'it is just starting'}") from None
        file.truncate(0)
        file.write(f"process {os.getpid()}, started at {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC\n")
        file.flush()
        yield


def _destination(target: str, home: Path) -> tuple[dlt.Pipeline, LocalBronze | WarehouseBronze]:
    if target == "local":
        destination, bronze = dlt.destinations.filesystem(bucket_url=home.as_uri()), LocalBronze(home / "bronze")
    else:
        destination = dlt.destinations.databricks(credentials=warehouse.databricks_credentials())
        bronze = WarehouseBronze()
    progress = dlt.progress.tqdm(colour="green", leave=False) if sys.stderr.isatty() else None
    pipeline = dlt.pipeline(
        PIPELINE, pipelines_dir=str(home / "dlt" / target), destination=destination, progress=progress,
        dataset_name=warehouse.schema("bronze", target),
    )
    return pipeline, bronze


def _forget_cursors(pipeline: dlt.Pipeline, tables: list[str]) -> None:
    """Make dlt read these tables from the start: asked for, or because the table that its cursor speaks of is gone."""
    if not tables:
        return
    with pipeline.managed_state() as state:
        resources = state.get("sources", {}).get(PIPELINE, {}).get("resources", {})
        for table in tables:
            resources.pop(f"{table}_changed", None)


def _table_parts(pipeline, bronze, table: sources.SourceTable, configured, now: datetime, result: LoadResult, report):
    """Return the dlt resources of one table: its changes since the cursor, and its rows dated in the future."""
    cursor = table.selection.c[sources.CURSOR]
    # A source without time zones is taken to mean UTC; its driver compares naive timestamps only.
    moment = now if getattr(cursor.type, "timezone", False) else now.replace(tzinfo=None)
    landed = _Landed(bronze, table, _columns(pipeline, table), result, report)

    def changed(query, _, incremental, __):
        landed.since = incremental.last_value
        return query.where(sa.or_(cursor <= moment, cursor.is_(None)))

    def rows(name: str, adapt: Callable, incremental=None):
        return sql_table(
            credentials=table.engine, table=table.table.name, schema=table.table.schema, metadata=table.table.metadata,
            backend="pyarrow", reflection_level="full_with_precision", chunk_size=configured.chunk_size,
            table_adapter_callback=lambda _: table.selection, query_adapter_callback=adapt, incremental=incremental,
        ).with_name(f"{table.contract.name}_{name}")

    cursor_state = dlt.sources.incremental(
        sources.CURSOR, lag=configured.lag_seconds, on_cursor_value_missing="include", primary_key=(),
        allow_external_schedulers=False,
    )
    return [
        _landing(pipeline, table.contract.name, table, landed.new_rows, rows("changed", changed, cursor_state)),
        _landing(
            pipeline, f"{table.contract.name}_future", table, landed.new_rows,
            rows("dated_in_future", lambda query, _: query.where(cursor > moment)),
        ),
        *([] if bronze else [_landing(pipeline, f"{table.contract.name}_empty", table, landed.nothing)]),
    ]


def _landing(pipeline, name: str, table: sources.SourceTable, function: Callable, rows=None):
    """Return a dlt resource (or a transformer of `rows`) that appends Arrow tables to the bronze table."""
    hints = {
        "name": name, "table_name": table.contract.name, "write_disposition": "append", "table_format": "delta",
        "columns": [*_columns(pipeline, table).values(), *_OWN_COLUMNS],
    }
    # dlt writes an attribute onto the function that it gets, which a bound method refuses.
    if rows is None:
        return dlt.resource(lambda: function(), **hints)
    return dlt.transformer(lambda batch: function(batch), data_from=rows, **hints)


_OWN_COLUMNS: tuple[TColumnSchema, ...] = (
    {"name": RESCUED, "data_type": "text", "nullable": True}, {"name": DELETED, "data_type": "bool", "nullable": True},
)


def _columns(pipeline: dlt.Pipeline, table: sources.SourceTable) -> dict[str, TColumnSchema]:
    """Return the columns to land and their types: as bronze has them, else as the source, else as the contract."""
    known = {}
    if pipeline.default_schema_name and table.contract.name in pipeline.default_schema.tables:
        known = pipeline.default_schema.get_table_columns(table.contract.name)
    columns = {**table.contract.columns, **table.pinned}
    for name in columns.keys() & known.keys():
        columns[name] = {
            key: value for key, value in known[name].items() if key in ("name", "data_type", "precision", "scale")
        } | {"nullable": True}
    return columns


class _Landed:
    """Lets the rows of one table through that bronze does not hold yet, in bronze's types."""

    def __init__(self, bronze, table: sources.SourceTable, columns, result: LoadResult, report):
        self.bronze, self.table, self.columns, self.result, self.report = bronze, table, columns, result, report
        self.since: datetime | None = None
        self._known: np.ndarray | None = None
        # Only what the source has now is compared: a dropped column is no reason to land its rows again.
        self._compared = [*table.columns, RESCUED]
        self._reported = time.monotonic()
        name = table.contract.name
        result.rows[name] = result.skipped[name] = 0

    def new_rows(self, batch: pa.Table) -> Iterator[pa.Table]:
        """Yield the rows of a batch of the source that bronze lacks (a transformer of dlt)."""
        name = self.table.contract.name
        rows = conform(batch, self.columns)
        known = self._known_hashes()
        if len(known):
            new = rows.filter(pa.array(~contained(row_hashes(rows.select(self._compared)), known)))
            self.result.skipped[name] += rows.num_rows - new.num_rows
            rows = new
        self.result.rows[name] += rows.num_rows
        if time.monotonic() - self._reported > 10:
            self._reported = time.monotonic()
            self.report(f"{name}: {self.result.rows[name]:,} rows read")
        if rows.num_rows:
            yield rows

    def nothing(self) -> Iterator[pa.Table]:
        """Yield an empty table, so that bronze has the table even if the source has no rows yet."""
        yield conform(pa.table({}), self.columns)

    def _known_hashes(self) -> np.ndarray:
        # Eight bytes a row of the lag window, whatever the size of the table; read once, when the first rows arrive.
        if self._known is None:
            hashes = []
            if self.bronze:
                since = self.since and _utc(self.since)
                batches = self.bronze.scan(self.table.contract.name, self._compared, since)
                hashes = [row_hashes(batch) for batch in batches]
            self._known = np.unique(np.concatenate(hashes)) if hashes else np.zeros(0, np.uint64)
        return self._known


def _tombstones(bronze, table: sources.SourceTable, configured: sources.SourceSettings, now: datetime) -> pa.Table:
    """Return one tombstone for each key that lives in bronze and is no longer in the source.

    Memory: eight bytes a key of the source, and the rows of the keys that are gone.
    Raises: IngestionError when the source is empty, or more keys vanished than configured.
    """
    name, key = table.contract.name, table.contract.key
    present = table.key_codes(configured.chunk_size)
    gone = []
    for batch in bronze.scan(name, columns=[key, sources.CURSOR, DELETED]):
        batch = batch.filter(batch[key].is_valid())
        gone.append(batch.filter(pa.array(~contained(key_codes(batch[key].combine_chunks()), present))))
    rows = pa.concat_tables(gone).to_pandas() if gone else pd.DataFrame(columns=[key, sources.CURSOR, DELETED])
    deleted = rows[DELETED].eq(True)
    newest = pd.DataFrame({
        "row": rows.loc[~deleted].groupby(key)[sources.CURSOR].max(),
        "tombstone": rows.loc[deleted].groupby(key)[sources.CURSOR].max(),
    })
    newest = newest[newest["tombstone"].isna() | (newest["row"] > newest["tombstone"])]
    vanished, limit = len(newest), configured.max_deleted_share
    if vanished and vanished > limit * (vanished + len(present)):
        raise IngestionError(
            f"{vanished:,} of {vanished + len(present):,} invoices vanished from {table.name}, more than "
            f"{sources.PREFIX}MAX_DELETED_SHARE={limit:g} allows; nothing was loaded"
        )
    columns = {column: {**hints} for column, hints in table.contract.columns.items()}
    # A row dated in the future would outlive its deletion, so its tombstone carries the same date.
    when = newest["row"].clip(lower=pd.Timestamp(now)).fillna(pd.Timestamp(now))
    found = conform(pa.table({
        key: pa.array(newest.index), sources.CURSOR: pa.array(when).cast(pa.timestamp("us", "UTC")),
    }), {name: columns[name] for name in (key, sources.CURSOR)})
    return found.set_column(found.schema.get_field_index(DELETED), DELETED, pa.repeat(True, found.num_rows))


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


@contextlib.contextmanager
def _in_one_sentence() -> Iterator[None]:
    try:
        yield
    except IngestionError:
        raise
    except Exception as error:
        causes = [error]
        while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None and cause not in causes:
            causes.append(cause)
        for cause in causes:
            if isinstance(cause, IngestionError):
                raise cause from error
        raise IngestionError(f"the load stopped and can be run again: {first_line(causes[-1])}") from error


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code (0, or 1 after one sentence on stderr)."""
    parser = argparse.ArgumentParser(prog="python -m ingestion.load", description="Load the source into bronze.")
    parser.add_argument("--full", action="store_true", help="read the whole source, and land what bronze lacks")
    parser.add_argument("--no-register", action="store_true", help="leave the local endpoint's catalog alone")
    options = parser.parse_args(arguments)
    try:
        result = load(full=options.full, register=not options.no_register, report=lambda line: print(f"load: {line}", flush=True))
    except IngestionError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for table, rows in result.rows.items():
        print(f"load: {table}: {rows:,} rows landed, {result.skipped[table]:,} already there")
    print(f"load: {result.tombstones:,} deletions, {result.seconds:.1f} s, loads {', '.join(result.load_ids) or 'none'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
