"""Load the source database into append-only bronze Delta tables with dlt: `python -m ingestion.load`.

Each run lands what changed since the last one: rows whose updated_at is not before the newest one loaded, less a lag
window for transactions that commit late. Rows that bronze holds already are not landed again, so a second run changes
nothing; the price is that a row which returns to exactly what it was, without a new updated_at, is not seen. Rows dated
in the future, or not at all, are landed once and never move the cursor. Nothing is cleaned or dropped here.

Settings (environment variables; equally dlt's config.toml and secrets.toml, section [sources.sql_database]):

    SOURCES__SQL_DATABASE__CREDENTIALS          SQLAlchemy URL of the source, e.g. postgresql://user:password@host/database
    SOURCES__SQL_DATABASE__SCHEMA               its schema (default: the database's own default)
    SOURCES__SQL_DATABASE__CHUNK_SIZE           rows fetched at a time (50000): memory grows with it
    SOURCES__SQL_DATABASE__LAG_SECONDS          lag window in seconds (86400)
    SOURCES__SQL_DATABASE__COMPARE_KEYS         true: compare all invoice ids, land a tombstone for each that is gone
    SOURCES__SQL_DATABASE__MAX_DELETED_SHARE    refuse to load when more than this share of the ids is gone (0.2)
    SOURCES__SQL_DATABASE__INVOICES__TABLE_NAME        name of the table, also as schema.table (default: invoices)
    SOURCES__SQL_DATABASE__INVOICES__COLUMN_NAMES      JSON object {"column of bronze": "column of the source", ...}
    SOURCES__SQL_DATABASE__COUNTRIES__TABLE_NAME, …__COLUMN_NAMES     the same for countries

Required columns: invoice_id, country, currency_code, invoice_date, total_amount, updated_at; of countries country_code,
country_name, updated_at. Other columns of the contract are null when the source lacks them, and further columns of
the source land too. Keys of countries are not compared: a corrected code would delete its country.

The destination follows DBT_TARGET: `local` writes Delta folders $LAKEHOUSE_HOME/bronze/<table> and registers them
through the local endpoint; `databricks` loads into the workspace of the DATABRICKS_* variables.

A run that is killed loses nothing: the next one finishes what was extracted and reads the rest again; rows may repeat,
with the same _dlt_id, and silver keeps one of each.
"""

import argparse
import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import dlt
import numpy as np
import pyarrow as pa
import sqlalchemy as sa
from dlt.common.schema.typing import TColumnSchema
from dlt.extract import DltResource
from dlt.sources.sql_database import sql_table

from ingestion import source as sources
from ingestion import warehouse
from ingestion.pipeline import Bronze, in_one_sentence, open_pipeline, set_defaults
from ingestion.settings import IngestionError, lakehouse_home, run_lock
from ingestion.values import DELETED, RESCUED, arrow_type, conform, contained, exact, key_codes, row_hashes

Columns = dict[str, TColumnSchema]

PIPELINE = "invoices_countries"


@dataclass
class LoadResult:
    """What one run did: rows landed, and rows that bronze held already, per table; tombstones; dlt's load ids."""

    rows: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)
    tombstones: int = 0
    load_ids: list[str] = field(default_factory=list)
    seconds: float = 0.0


def load(full: bool = False, register: bool = True, report: Callable[[str], None] = lambda line: None) -> LoadResult:
    """Load what changed in the source into bronze, and return what was done.

    Args: full: read the whole source instead of the changes, and land what bronze lacks; register: afterwards make the
    tables known to the local endpoint's catalog; report: receives progress, a line at a time.
    Raises: IngestionError, one sentence: configuration, source, a run in progress, a suspicious number of deletes, or
    the destination. Nothing is lost then; the next run goes on.
    """
    begin = time.monotonic()
    target, home = warehouse.target(), lakehouse_home()
    set_defaults(home)
    result = LoadResult()
    with run_lock(home / "load.lock"), in_one_sentence(), contextlib.ExitStack() as closing:
        configured = sources.settings()
        engine = sources.engine(configured)
        closing.callback(engine.dispose)
        tables = [sources.SourceTable(engine, configured.schema, contract) for contract in sources.CONTRACTS]
        pipeline, bronze = open_pipeline(PIPELINE, "bronze", target, home)
        pipeline.sync_destination()
        if pipeline.has_pending_data:
            report("finishing what an earlier run left behind")
            result.load_ids += pipeline.run().loads_ids
        there = {table.contract.name: bronze.exists(table.contract.name) for table in tables}
        _forget_cursors(pipeline, [name for name, exists in there.items() if full or not exists])
        now = datetime.now(UTC)
        landings = {
            name: _Landing(table, _columns(pipeline, table), bronze if there[name] else None, report)
            for name, table in ((table.contract.name, table) for table in tables)
        }
        invoices = landings[sources.INVOICES.name]
        if configured.compare_keys and invoices.bronze:
            invoices.tombstones = _tombstones(bronze, invoices.table, invoices.columns, configured, now)
            result.tombstones = invoices.tombstones.num_rows
        resources = [resource for landing in landings.values() for resource in landing.resources(configured, now)]
        source = dlt.source(lambda: resources, name=PIPELINE)()
        result.load_ids += pipeline.run(source, loader_file_format="parquet").loads_ids
        result.rows = {name: landing.rows for name, landing in landings.items()}
        result.skipped = {name: landing.skipped for name, landing in landings.items()}
        if register:
            bronze.register(list(landings))
    result.seconds = time.monotonic() - begin
    return result


def _forget_cursors(pipeline: dlt.Pipeline, tables: list[str]) -> None:
    """Make dlt read these tables from the start: asked for, or because the table that its cursor speaks of is gone."""
    if not tables:
        return
    with pipeline.managed_state() as state:
        resources = state.get("sources", {}).get(PIPELINE, {}).get("resources", {})
        for table in tables:
            resources.pop(f"{table}_changed", None)


def _columns(pipeline: dlt.Pipeline, table: sources.SourceTable) -> Columns:
    """Return the columns to land and their types: as bronze has them, else as the source, else as the contract."""
    known: Columns = {}
    if pipeline.default_schema_name:
        schema = pipeline.default_schema
        known = schema.get_table_columns(table.contract.name) if table.contract.name in schema.tables else {}
    columns = {**table.contract.columns, **table.pinned}
    for name in columns.keys() & known.keys():
        kept = {key: known[name][key] for key in ("name", "data_type", "precision", "scale") if key in known[name]}
        columns[name] = {**kept, "nullable": True}
    return columns


class _Landing:
    """Brings the rows of one table, in bronze's types, that bronze does not hold yet.

    Attributes: rows, skipped: how many landed, and how many bronze held already; tombstones: more to land, or None.
    """

    def __init__(self, table: sources.SourceTable, columns: Columns, bronze: Bronze | None, report: Callable[[str], None]):
        self.table, self.columns, self.bronze, self.report = table, columns, bronze, report
        self.rows = self.skipped = 0
        self.tombstones: pa.Table | None = None
        # Only what the source has now is compared: a dropped column is no reason to land its rows again.
        self._compared = [*table.columns, RESCUED]
        self._since: datetime | None = None
        self._held: np.ndarray | None = None
        self._reported = time.monotonic()

    def resources(self, configured: sources.SourceSettings, now: datetime) -> list[DltResource]:
        """Return dlt resources that append to the bronze table: changes since the cursor, rows dated in the future, and
        tombstones; for a new table also an empty one, so that it exists even if the source has no rows.
        """
        name, cursor = self.table.contract.name, self.table.selection.c[sources.CURSOR]
        # A source without time zones is taken to mean UTC; its driver compares naive timestamps only.
        moment = now if getattr(cursor.type, "timezone", False) else now.replace(tzinfo=None)

        def changed(query: sa.Select, _, incremental: dlt.sources.incremental, __) -> sa.Select:
            self._since = incremental.last_value
            return query.where(sa.or_(cursor <= moment, cursor.is_(None)))

        def dated_in_future(query: sa.Select, _) -> sa.Select:
            return query.where(cursor > moment)

        incremental = dlt.sources.incremental(
            sources.CURSOR,
            lag=configured.lag_seconds,
            on_cursor_value_missing="include",
            primary_key=(),
            allow_external_schedulers=False,
        )
        found = [
            self._resource(name, self.new_rows, self._read(changed, f"{name}_changed", configured, incremental)),
            self._resource(f"{name}_future", self.new_rows, self._read(dated_in_future, f"{name}_dated", configured)),
        ]
        if self.tombstones:
            found.append(self._resource(f"{name}_deleted", lambda: [self.tombstones]))
        if self.bronze is None:
            found.append(self._resource(f"{name}_empty", lambda: [conform(pa.table({}), self.columns)]))
        return found

    def new_rows(self, batch: pa.Table) -> Iterator[pa.Table]:
        """Yield the rows of a batch of the source that bronze lacks."""
        batch = conform(batch, self.columns)
        held = self._held_hashes()
        new = batch
        if len(held):
            new = batch.filter(pa.array(~contained(row_hashes(batch.select(self._compared)), held)))
        self.rows += new.num_rows
        self.skipped += batch.num_rows - new.num_rows
        if time.monotonic() - self._reported > 10:
            self._reported = time.monotonic()
            self.report(f"{self.table.contract.name}: {self.rows:,} rows so far")
        if new.num_rows:
            yield new

    def _held_hashes(self) -> np.ndarray:
        # Eight bytes a row of the lag window, whatever the size of the table; read once, when the first rows arrive.
        if self._held is None:
            hashes = []
            if self.bronze:
                since = self._since.replace(tzinfo=UTC) if self._since and not self._since.tzinfo else self._since
                batches = self.bronze.scan(self.table.contract.name, self._compared, since)
                hashes = [row_hashes(batch) for batch in batches]
            self._held = np.unique(np.concatenate(hashes)) if hashes else np.zeros(0, np.uint64)
        return self._held

    def _read(
        self,
        adapt: Callable[..., sa.Select],
        name: str,
        configured: sources.SourceSettings,
        incremental: dlt.sources.incremental | None = None,
    ) -> DltResource:
        table = self.table.table
        return sql_table(
            credentials=self.table.engine,
            table=table.name,
            schema=table.schema,
            metadata=table.metadata,
            backend="pyarrow",
            reflection_level="full_with_precision",
            chunk_size=configured.chunk_size,
            table_adapter_callback=lambda _: self.table.selection,
            query_adapter_callback=adapt,
            incremental=incremental,
        ).with_name(name)

    def _resource(self, name: str, function: Callable, rows: DltResource | None = None) -> DltResource:
        hints = {
            "name": name,
            "table_name": self.table.contract.name,
            "write_disposition": "append",
            "table_format": "delta",
            "columns": [*self.columns.values(), *_OWN_COLUMNS],
        }
        # dlt writes an attribute onto the function that it gets, which a bound method refuses.
        if rows is None:
            return dlt.resource(lambda: function(), **hints)
        return dlt.transformer(lambda batch: function(batch), data_from=rows, **hints)


_OWN_COLUMNS: tuple[TColumnSchema, ...] = (
    {"name": RESCUED, "data_type": "text", "nullable": True},
    {"name": DELETED, "data_type": "bool", "nullable": True},
)
_NEVER = datetime.min.replace(tzinfo=UTC)


def _tombstones(
    bronze: Bronze, table: sources.SourceTable, columns: Columns, configured: sources.SourceSettings, now: datetime
) -> pa.Table:
    """Return one tombstone for each key that lives in bronze and is no longer in the source.

    Memory: eight bytes a key of the source, and the rows of the keys that are gone.
    Raises: IngestionError when the source is empty, or more keys vanished than configured.
    """
    name, key = table.contract.name, table.contract.key
    codes = [
        key_codes(exact(keys, columns[key])[0].drop_null())  # in bronze's type, whatever the source's is by now
        for keys in table.keys(configured.chunk_size)
    ]
    present = np.unique(np.concatenate(codes)) if codes else np.zeros(0, np.uint64)
    rows: dict[object, datetime] = {}
    tombstones: dict[object, datetime] = {}
    for batch in bronze.scan(name, columns=[key, sources.CURSOR, DELETED]):
        batch = batch.filter(batch[key].is_valid())
        gone = batch.filter(pa.array(~contained(key_codes(batch[key].combine_chunks()), present)))
        for value, at, deleted in zip(*(gone[column].to_pylist() for column in (key, sources.CURSOR, DELETED)), strict=True):
            newest = tombstones if deleted else rows
            newest[value] = max(at or _NEVER, newest.get(value, _NEVER))
    vanished = {value: at for value, at in rows.items() if value not in tombstones or at > tombstones[value]}
    total, limit = len(vanished) + len(present), configured.max_deleted_share
    if len(vanished) > limit * total:
        raise IngestionError(
            f"{len(vanished):,} of {total:,} invoices vanished from {table.name}, more than "
            f"{sources.PREFIX}MAX_DELETED_SHARE={limit:g} allows; nothing was loaded"
        )
    found = conform(
        pa.table(
            {
                key: pa.array(vanished, arrow_type(columns[key])),
                # A row dated in the future would outlive its deletion, so its tombstone carries the same date.
                sources.CURSOR: pa.array((max(at, now) for at in vanished.values()), arrow_type(columns[sources.CURSOR])),
            }
        ),
        {column: columns[column] for column in (key, sources.CURSOR)},
    )
    return found.set_column(found.schema.get_field_index(DELETED), DELETED, pa.repeat(True, found.num_rows))


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code (0, or 1 after one sentence on stderr)."""
    parser = argparse.ArgumentParser(prog="python -m ingestion.load", description="Load the source into bronze.")
    parser.add_argument("--full", action="store_true", help="read the whole source, and land what bronze lacks")
    parser.add_argument("--no-register", action="store_true", help="leave the local endpoint's catalog alone")
    options = parser.parse_args(arguments)
    try:
        result = load(
            full=options.full, register=not options.no_register, report=lambda line: print(f"load: {line}", flush=True)
        )
    except IngestionError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("error: interrupted; the next load goes on", file=sys.stderr)
        return 130
    for table, rows in result.rows.items():
        print(f"load: {table}: {rows:,} rows landed, {result.skipped[table]:,} already there")
    print(f"load: {result.tombstones:,} deletions, {result.seconds:.1f} s, loads {', '.join(result.load_ids) or 'none'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
