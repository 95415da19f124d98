"""Load new files of a drop folder or bucket into append-only bronze tables with dlt: `python -m ingestion.files`.

Each run lists the folder, reads the files that it does not know, and appends their rows to bronze_files.invoices and
bronze_files.countries. A file is known by its name, size and time of change, or else by its content: the same content under
another name is not landed again, and the same name with new content is a new file. Files are never moved or removed.

What happened to each file stands in two tables beside them:

    loaded_files     one row for each file that was landed or repeats another one: what it is, its hashes, how many rows
    rejected_files   one row for each file that cannot be read: the reason, and the file itself up to FILES_REJECTED_BYTES

A run that is killed loses nothing: the next one finishes what was read, or reads it again; rows may repeat, with the same
_dlt_id (the content's hash and the row's place in it), and silver keeps one of each.
"""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

import dlt
import pyarrow as pa
import pyarrow.compute as pc
from dlt.common.schema.typing import TColumnSchema
from dlt.extract import DltResource

from ingestion import warehouse
from ingestion.files.delimited import read_csv
from ingestion.files.documents import read_json, read_parquet
from ingestion.files.rows import PLACE, Columns, landed
from ingestion.files.settings import FilesSettings, file_format, is_ignored
from ingestion.files.staging import Copy, File, Unavailable, Unreadable, as_utf8, fetch, listed, unpack
from ingestion.pipeline import Bronze, in_one_sentence, open_pipeline, set_defaults
from ingestion.settings import first_line, in_environment, lakehouse_home, run_lock
from ingestion.values import DELETED, RESCUED, arrow_type

PIPELINE = "files"
LAYER = "bronze_files"
LOADED, REJECTED = "loaded_files", "rejected_files"
#: What one package of dlt takes at most: it bounds the disk that a run needs, and what a kill costs.
GROUP_BYTES, GROUP_FILES = 1 << 30, 1000
_SETTINGS = {
    # rows bring an id of their own; dlt would add a random one beside it
    "NORMALIZE__PARQUET_NORMALIZER__ADD_DLT_ID": "false",
    # each batch is written at once: rejected files are large
    "DATA_WRITER__BUFFER_MAX_ITEMS": "1",
    # dlt hands Delta several files at once, which Arrow reads ahead: memory grows with their size
    "DATA_WRITER__FILE_MAX_ITEMS": "200000",
}


def _columns(**types: str) -> dict[str, TColumnSchema]:
    return {name: {"name": name, "data_type": kind, "nullable": True} for name, kind in types.items()}


_ROW_COLUMNS = _columns(
    **{
        RESCUED: "text",
        DELETED: "bool",
        PLACE: "bigint",
        "_dlt_id": "text",
        "_file_name": "text",
        "_file_modified_at": "timestamp",
    }
)
_FILE_COLUMNS = {
    "file_name": "text",
    "table_name": "text",
    "file_size": "bigint",
    "file_modified_at": "timestamp",
    "file_hash": "text",
}
_FILES_TABLES = {
    LOADED: _columns(
        **_FILE_COLUMNS, content_hash="text", repeats="text", row_count="bigint", misfit_count="bigint", recorded_at="timestamp"
    ),
    REJECTED: _columns(
        **_FILE_COLUMNS, reason="text", settings="text", content="binary", is_content_whole="bool", recorded_at="timestamp"
    ),
}


@dataclass
class FilesResult:
    """What one run did.

    Attributes: rows, misfits: per table, rows landed, and those of them with values that did not fit; loaded: files landed;
    known: files that earlier runs dealt with; repeated: file -> the file whose content it has; rejected: file -> the reason;
    waiting: file -> why the next run shall have it; unmatched: files that no pattern names; load_ids: dlt's.
    """

    rows: dict[str, int] = field(default_factory=dict)
    misfits: dict[str, int] = field(default_factory=dict)
    loaded: list[str] = field(default_factory=list)
    known: int = 0
    repeated: dict[str, str] = field(default_factory=dict)
    rejected: dict[str, str] = field(default_factory=dict)
    waiting: dict[str, str] = field(default_factory=dict)
    unmatched: list[str] = field(default_factory=list)
    load_ids: list[str] = field(default_factory=list)
    seconds: float = 0.0


def load_files(
    again: str | None = None, register: bool = True, report: Callable[[str], None] = lambda line: None
) -> FilesResult:
    """Load the new files of FILES_URL into bronze_files, and return what was done.

    Args: again: a glob; files whose path or name matches it are read although they were loaded or rejected before; register:
    afterwards make the tables known to the local endpoint's catalog; report: receives what happened, a line at a time.
    Raises: IngestionError, one sentence: a setting, the folder, a run in progress, or the destination. A file that cannot be
    read is no error.
    """
    begin = time.monotonic()
    target, home = warehouse.target(), lakehouse_home()
    settings = FilesSettings.from_environment()
    set_defaults(home)
    with run_lock(home / "files.lock", "load of files"), in_one_sentence(), in_environment(_SETTINGS):
        run = _Run(settings, *open_pipeline(PIPELINE, LAYER, target, home), home / "files", report)
        run.everything(again)
        if register:
            run.bronze.register([*settings.tables, *_FILES_TABLES])
    run.result.seconds = time.monotonic() - begin
    return run.result


@dataclass
class _Read:
    """A file that was read: its rows in an Arrow file, to be landed; or none, and the row of one of the files' tables."""

    table: str
    rows: Path | None
    record: dict[str, object]
    kind: str = LOADED


class _Run:
    def __init__(
        self, settings: FilesSettings, pipeline: dlt.Pipeline, bronze: Bronze, folder: Path, report: Callable[[str], None]
    ):
        self.settings, self.pipeline, self.bronze, self.folder, self.report = settings, pipeline, bronze, folder, report
        self.result = FilesResult(rows=dict.fromkeys(settings.tables, 0), misfits=dict.fromkeys(settings.tables, 0))

    def everything(self, again: str | None) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)  # what a killed run left
        self.folder.mkdir(parents=True)
        try:
            self.pipeline.sync_destination()
            if self.pipeline.has_pending_data:
                self.report("finishing what an earlier run left behind")
                self.result.load_ids += self.pipeline.run().loads_ids
            self.ledger = _Ledger(self.bronze, list(self.settings.tables))
            missing = [name for name in (*self.settings.tables, *_FILES_TABLES) if not self.bronze.exists(name)]
            for group in _groups(self._new(again)):
                self._land([read for file, table in group if (read := self._read(file, table, again))], missing)
                missing = []
            if missing:
                self._land([], missing)
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _new(self, again: str | None) -> Iterator[tuple[File, str]]:
        """Yield the files to read and their tables, oldest first."""
        for file in listed(self.settings):
            if is_ignored(file.path):
                continue
            tables = [name for name, files in self.settings.tables.items() if files.matches(file.path)]
            age = time.time() - file.modified.timestamp()
            if not tables:
                self.result.unmatched.append(file.path)
            elif len(tables) > 1:
                self._wait(file, "FILES_INVOICES and FILES_COUNTRIES both match it")
            elif not _named(file, again) and self.ledger.knows(file, tables[0], self.settings.reading(tables[0])):
                self.result.known += 1
            elif 0 <= age < self.settings.settle_seconds:  # a clock that is ahead makes nobody wait
                self._wait(
                    file, f"it was modified {age:.0f} s ago, less than FILES_SETTLE_SECONDS={self.settings.settle_seconds:g}"
                )
            else:
                yield file, tables[0]

    def _wait(self, file: File, why: str) -> None:
        self.result.waiting[file.path] = why
        self.report(f"{file.path}: left for the next run: {why}")

    def _read(self, file: File, table: str, again: str | None) -> _Read | None:
        number = len(self.result.loaded) + len(self.result.rejected)
        place = self.folder / str(number)
        try:
            copy = fetch(file, place.with_suffix(".file"))
        except Unavailable as reason:
            self._wait(file, str(reason))
            return None
        record = {
            "file_name": file.url,
            "table_name": table,
            "file_size": copy.size,
            "file_modified_at": file.modified,
            "file_hash": copy.hash,
            "recorded_at": datetime.now(UTC),
        }
        try:
            content = unpack(copy, file.path.lower().endswith(".gz"), place.with_suffix(".content"))
            record["content_hash"] = content.hash
            earlier = None if _named(file, again) else self.ledger.has(table, content.hash)
            if earlier:
                self.result.repeated[file.path] = earlier
                self.report(f"{file.path}: skipped: it has the same content as {earlier}")
                return _Read(table, None, record | {"repeats": earlier, "row_count": 0, "misfit_count": 0})
            rows = place.with_suffix(".arrow")
            count, misfits = self._write(file, table, content, rows)
        except Unreadable as reason:
            self.result.rejected[file.path] = str(reason)
            self.report(f"{file.path}: rejected: {reason}")
            with copy.path.open("rb") as whole:
                kept = whole.read(self.settings.rejected_bytes)
            record.pop("content_hash", None)
            reading = self.settings.reading(table)
            rejected = {"reason": str(reason), "settings": reading, "content": kept, "is_content_whole": len(kept) == copy.size}
            return _Read(table, None, record | rejected, REJECTED)
        finally:
            for suffix in (".file", ".content", ".text"):
                place.with_suffix(suffix).unlink(missing_ok=True)
        self.ledger.add(table, content.hash, file.url)
        self.result.loaded.append(file.path)
        self.result.rows[table] += count
        self.result.misfits[table] += misfits
        odd = f", {misfits:,} with values that do not fit" if misfits else ""
        self.report(f"{file.path}: {count:,} rows of {table}{odd}")
        return _Read(table, rows, record | {"row_count": count, "misfit_count": misfits})

    def _write(self, file: File, table: str, content: Copy, place: Path) -> tuple[int, int]:
        """Write a file's rows, in bronze's columns, to an Arrow file; returns how many, and how many have misfits."""
        contract = self.settings.tables[table].contract
        kind, columns = file_format(file.path), Columns(self.settings.tables[table])
        if not kind:
            raise Unreadable("its extension is none of .csv, .tsv, .txt, .json, .jsonl, .ndjson and .parquet")
        if not content.size:
            raise Unreadable("the file is empty")
        decimal, is_ended = ".", True
        if kind == "parquet":
            batches = read_parquet(content.path, columns)
        else:
            text = content.path.with_suffix(".text")
            _, is_ended = as_utf8(content, self.settings.encoding, text)
            if kind == "csv":
                batches, decimal = read_csv(text, is_ended, columns, self.settings.delimiter), self.settings.decimal
            else:
                is_lines = not file.path.lower().removesuffix(".gz").endswith(".json")
                batches = read_json(text, is_ended, columns, is_lines)
        writer, count, misfits, last = None, 0, 0, (0, None)
        try:
            for batch in batches:
                rows, odd = landed(batch, contract, decimal)
                count, misfits = count + rows.num_rows, misfits + odd
                if kind == "csv" and not is_ended and rows.num_rows:
                    last = max(last, (rows[PLACE][-1].as_py(), rows[RESCUED][-1].as_py()), key=lambda found: found[0])
                line = pc.utf8_lpad(rows[PLACE].cast(pa.string()), 10, "0")
                rows = rows.append_column("_dlt_id", pc.binary_join_element_wise(content.hash[:32], line, "-"))
                for name, value in (("_file_name", file.url), ("_file_modified_at", file.modified)):
                    rows = rows.append_column(name, pa.repeat(pa.scalar(value, arrow_type(_ROW_COLUMNS[name])), len(rows)))
                writer = writer or pa.ipc.new_stream(str(place), rows.schema, options=pa.ipc.IpcWriteOptions(compression="lz4"))
                writer.write_table(rows)
        except pa.ArrowException as error:  # such as a Parquet type that has no text
            raise Unreadable(f"the file cannot be read: {first_line(error)}") from None
        finally:
            if writer:
                writer.close()
        if columns.last in json.loads(last[1] or "{}"):
            raise Unreadable(f"the file breaks off: its last line, {last[0]}, ends within {columns.last}")
        return count, misfits

    def _land(self, reads: list[_Read], missing: list[str]) -> None:
        """Append what was read to bronze in one package of dlt; tables that are missing are made, with no row if need be."""
        tables = {}
        for name, files in self.settings.tables.items():
            paths = [read.rows for read in reads if read.table == name and read.rows and read.rows.exists()]
            tables[name] = files.contract.columns | _ROW_COLUMNS, [partial(_stored, path) for path in paths]
        for name, columns in _FILES_TABLES.items():
            records = [read.record for read in reads if read.kind == name]
            tables[name] = columns, [partial(_recorded, columns, record) for record in records]
        resources = [
            _resource(name, columns, batches, name in missing)
            for name, (columns, batches) in tables.items()
            if batches or name in missing
        ]
        if resources:
            source = dlt.source(lambda: resources, name=PIPELINE)()
            self.result.load_ids += self.pipeline.run(source, loader_file_format="parquet").loads_ids
        for read in reads:
            if read.rows:
                read.rows.unlink(missing_ok=True)


class _Ledger:
    """What earlier runs, and this one so far, did with which files.

    A row of loaded_files counts if its load is complete, and its table still there: only then its rows are in bronze.
    """

    def __init__(self, bronze: Bronze, tables: list[str]):
        there = {table for table in tables if bronze.exists(table)}
        self._known: set[tuple] = set()
        self._contents: dict[tuple[str, str], str] = {}
        columns = ["table_name", "file_name", "file_size", "file_modified_at"]
        complete = bronze.complete_loads()
        for batch in bronze.scan(LOADED, [*columns, "content_hash", "repeats", "_dlt_load_id"]):
            for row in batch.to_pylist():
                if row["table_name"] in there and row["_dlt_load_id"] in complete:
                    self._known.add(tuple(row[name] for name in columns))
                    self._contents.setdefault((row["table_name"], row["content_hash"]), row["repeats"] or row["file_name"])
        for batch in bronze.scan(REJECTED, [*columns, "settings"]):
            self._known.update(tuple(row[name] for name in (*columns, "settings")) for row in batch.to_pylist())

    def knows(self, file: File, table: str, reading: str) -> bool:
        """Tell whether the file was loaded as it is, or rejected when it was read with the same settings."""
        key = table, file.url, file.size, file.modified
        return key in self._known or (*key, reading) in self._known

    def has(self, table: str, content_hash: str) -> str | None:
        """Return the file by which this content came into the table, or None."""
        return self._contents.get((table, content_hash))

    def add(self, table: str, content_hash: str, url: str) -> None:
        """Have content in the table that came by this file."""
        self._contents.setdefault((table, content_hash), url)


def _named(file: File, pattern: str | None) -> bool:
    return pattern is not None and (fnmatchcase(file.path, pattern) or fnmatchcase(file.path.rpartition("/")[2], pattern))


def _groups(files: Iterator[tuple[File, str]]) -> Iterator[list[tuple[File, str]]]:
    group, size = [], 0
    for file, table in files:
        if group and (size + file.size > GROUP_BYTES or len(group) == GROUP_FILES):
            yield group
            group, size = [], 0
        group.append((file, table))
        size += file.size
    if group:
        yield group


def _resource(name: str, columns: dict[str, TColumnSchema], batches: list[Callable], is_new: bool) -> DltResource:
    def rows() -> Iterator[pa.Table]:
        if is_new:
            yield pa.schema([(column, arrow_type(hint)) for column, hint in columns.items()]).empty_table()
        for batch in batches:
            yield from batch()

    return dlt.resource(rows, name=name, write_disposition="append", table_format="delta", columns=list(columns.values()))


def _stored(path: Path) -> Iterator[pa.Table]:
    with pa.OSFile(str(path)) as file, pa.ipc.open_stream(file) as batches:
        for batch in batches:
            yield pa.Table.from_batches([batch])


def _recorded(columns: dict[str, TColumnSchema], record: dict[str, object]) -> Iterator[pa.Table]:
    yield pa.table({name: pa.array([record.get(name)], arrow_type(hint)) for name, hint in columns.items()})
