"""One sync: the connector's run, and its records appended to the Delta tables of the schema bronze_airbyte."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import deltalake
import pyarrow as pa
import pyarrow.parquet as pq

from ingestion.airbyte.environment import environment
from ingestion.settings import IngestionError, first_line, lakehouse_home, run_lock
from ingestion.source import CONTRACTS

SCHEMA = "bronze_airbyte"
CONFIG = "AIRBYTE_CONFIG"
#: The identity under which Delta remembers which sync a table has had last.
_APPLICATION = "ingestion.airbyte"
#: What keeps pandas, with which source-file reads, from guessing: 007 stays 007, NA stays Namibia, and 0.10 is no float.
_EXACT = {"dtype": "str", "keep_default_na": False, "na_values": [""]}
#: The type's number in PostgreSQL's catalog, and its values as every SQL engine reads them; PostgreSQL's own end in +00.
_TIMESTAMPTZ = 1184
_ISO = """to_char({0} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as {0}"""
#: No telemetry and no connector registry: https://github.com/airbytehq/PyAirbyte (airbyte/constants.py, _util/telemetry.py).
_QUIET = {
    "AIRBYTE_OFFLINE_MODE": "1",
    "AIRBYTE_LOCAL_REGISTRY": "0",
    "DO_NOT_TRACK": "1",
    "PYTHONWARNINGS": "ignore",
    "TZ": "UTC",
}


@dataclass(frozen=True)
class Synced:
    """Rows that landed, by table, and how long the sync took, in seconds."""

    rows: dict[str, int]
    seconds: float


def read_config(path: Path) -> dict[str, dict]:
    """Read a configuration file: a JSON object from table of bronze to the configuration of Airbyte's source-file.

    Its keys: https://docs.airbyte.com/integrations/sources/file, but for dataset_name, which is the table. Left out, format is
    csv, provider is local, and reader_options makes every column of CSV and Excel files text, exactly as it stands there.
    Raises IngestionError naming what is wrong.
    """
    try:
        found = json.loads(path.read_text())
    except OSError as error:
        raise IngestionError(f"{CONFIG} names {path}, which cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise IngestionError(f"{CONFIG} names {path}, which is no JSON: {first_line(error)}") from None
    tables = [contract.name for contract in CONTRACTS]
    if not isinstance(found, dict) or not found or not set(found) <= set(tables):
        raise IngestionError(f"{path} must be a JSON object whose keys are tables of bronze ({', '.join(tables)})")
    return {table: _completed(table, options, path) for table, options in found.items()}


def _completed(table: str, options: object, path: Path) -> dict:
    if not isinstance(options, dict) or not isinstance(options.get("url"), str):
        raise IngestionError(f"{path} must have for {table} an object with url, and what else source-file takes")
    result = {"format": "csv", "provider": {"storage": "local"}, **options}
    if result["format"] in ("csv", "excel", "fwf"):
        result.setdefault("reader_options", _EXACT)
    if isinstance(result.get("reader_options"), dict):
        result["reader_options"] = json.dumps(result["reader_options"])  # source-file takes it as text
    if result["provider"] == {"storage": "local"} and not urlsplit(result["url"]).scheme:
        file = (path.parent / result["url"]).resolve()
        if not file.is_file():
            raise IngestionError(f"{path} names for {table} the file {file}, which does not exist")
        result["url"] = str(file)
    return result


def export(connection, folder: Path) -> Path:
    """Write the tables of a PostgreSQL database, by a psycopg2 connection, to CSV files; return a configuration of them.

    Airbyte's PostgreSQL connector runs in Docker only, so this is how the demo's source reaches a connector at all.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = {}
    with connection.cursor() as cursor:
        for contract in CONTRACTS:
            cursor.execute(f"select * from {contract.name} limit 0")
            columns = ", ".join(
                _ISO.format(each.name) if each.type_code == _TIMESTAMPTZ else each.name for each in cursor.description
            )
            with (folder / f"{contract.name}.csv").open("w") as file:
                cursor.copy_expert(f"copy (select {columns} from {contract.name}) to stdout (format csv, header)", file)
            config[contract.name] = {"url": f"{contract.name}.csv"}
    path = folder / "config.json"
    path.write_text(json.dumps(config, indent=2))
    return path


def sync(sources: dict[str, dict], say: Callable[[str], None] = lambda line: None) -> Synced:
    """Run the connector for each source (see read_config) and append its records to bronze.

    Killed at any point and run again, it loses nothing; rows that the connector had delivered may come a second time. Raises
    IngestionError with what the connector complained of, and naming a column whose type has changed.
    """
    began, home = time.monotonic(), lakehouse_home() / "airbyte"
    with run_lock(home / "sync.lock", "sync of Airbyte"):
        found = environment(say)
        landed = _land_all(home)  # of a run that was killed after its hand-over
        sync_id = time.time_ns() // 1_000_000
        job = {"executable": str(found.connector), "home": str(home), "sync_id": sync_id, "sources": sources}
        _run(found.python, job, home)
        for table, rows in _land_all(home).items():
            landed[table] = landed.get(table, 0) + rows
    return Synced(landed, time.monotonic() - began)


def _run(python: Path, job: dict, home: Path) -> None:
    file, log = home / "job.json", home / "sync.log"
    file.touch(mode=0o600)  # a configuration may hold keys of a storage
    file.write_text(json.dumps(job))
    folders = {"AIRBYTE_PROJECT_DIR": "project", "AIRBYTE_TEMP_DIR": "tmp", "AIRBYTE_LOGGING_ROOT": "logs"}
    for name in folders.values():
        (home / name).mkdir(exist_ok=True)
    variables = {**os.environ, **_QUIET, **{key: str(home / name) for key, name in folders.items()}}
    variables.pop("PYTHONPATH", None)
    try:
        with log.open("w") as output:
            process = subprocess.Popen(
                [str(python), str(Path(__file__).with_name("runner.py")), str(file)], cwd=home, env=variables,
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
        try:
            code = process.wait()
        except BaseException:  # Ctrl-C: the connector must not go on by itself
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
    finally:
        file.unlink(missing_ok=True)
    if code:
        lines = log.read_text(errors="replace").strip().splitlines()
        raise IngestionError(f"Airbyte's connector failed: {lines[-1].rstrip('.') if lines else 'it was killed'}; see {log}")


def _land_all(home: Path) -> dict[str, int]:
    """Append every hand-over to bronze, oldest first, each table in one commit; returns the rows by table."""
    rows: dict[str, int] = {}
    for folder in sorted((home / "handover").glob("*"), key=lambda path: int(path.name)):
        for file in sorted(folder.glob("*.parquet")):
            rows[file.stem] = rows.get(file.stem, 0) + _land(file, int(folder.name))
        shutil.rmtree(folder)
    return rows


def _land(file: Path, sync_id: int) -> int:
    location = str(lakehouse_home() / SCHEMA / file.stem)
    exists = deltalake.DeltaTable.is_deltatable(location)
    # Killed after the commit and before the folder was removed: the table has these rows.
    if exists and deltalake.DeltaTable(location).transaction_version(_APPLICATION) == sync_id:
        return 0
    parquet = pq.ParquetFile(file)
    schema = _in_utc(parquet.schema_arrow)
    if not parquet.metadata.num_rows:
        return 0
    if exists:
        _refuse_new_types(schema, pa.schema(deltalake.DeltaTable(location).schema()), file.stem)
    deltalake.write_deltalake(
        location,
        pa.RecordBatchReader.from_batches(schema, (batch.cast(schema) for batch in parquet.iter_batches())),
        mode="append",
        schema_mode="merge",
        commit_properties=deltalake.CommitProperties(app_transactions=[deltalake.Transaction(_APPLICATION, sync_id)]),
    )
    return parquet.metadata.num_rows


def _in_utc(schema: pa.Schema) -> pa.Schema:
    """DuckDB's timestamps, which PyAirbyte writes in UTC, with that zone: Delta has another type for those without."""
    return pa.schema(
        [pa.field(each.name, pa.timestamp("us", "UTC") if pa.types.is_timestamp(each.type) else each.type) for each in schema]
    )


def _refuse_new_types(new: pa.Schema, old: pa.Schema, table: str) -> None:
    for field in new:
        if field.name in old.names and old.field(field.name).type not in (field.type, pa.large_string(), pa.string_view()):
            raise IngestionError(
                f"column {field.name} of {SCHEMA}.{table} is {old.field(field.name).type} and arrives as {field.type}: give "
                f"reader_options in {CONFIG} a dtype for it"
            )
