"""Runs Airbyte's connector by PyAirbyte and hands its records over as Parquet. Executed by PyAirbyte's own Python, as a file.

    python runner.py JOB     JOB: a JSON file with executable, home, sync_id and sources (table -> configuration of source-file)

PyAirbyte's cache, a DuckDB file, stays between runs and with it the state of connectors that have one (source-file has none).
Rows leave the cache when they have been handed over: `home/handover/<sync_id>/<table>.parquet`, a folder that appears whole.
What a killed run left in the cache goes with the next one, under its sync_id.
"""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import sys
import threading
import time
import traceback
from pathlib import Path

# A connector's records in the columns of Airbyte's Databricks destination 4, in its order (DatabricksSqlGenerator.metaColumns,
# https://github.com/airbytehq/airbyte/tree/master/airbyte-integrations/connectors/destination-databricks). PyAirbyte's cache
# has no sync id and no generation; a generation counts refreshes, of which there are none here
# (https://docs.airbyte.com/understanding-airbyte/airbyte-metadata-fields).
_HANDOVER = """
copy (
    select
        _airbyte_raw_id, _airbyte_extracted_at, '{meta}' as _airbyte_meta, 0::bigint as _airbyte_generation_id,
        * exclude (_airbyte_raw_id, _airbyte_extracted_at, _airbyte_meta)
    from "{schema}"."{table}"
) to '{file}' (format parquet)
"""
SCHEMA = "bronze_airbyte"


def main(job: dict) -> None:
    """Read each source into the cache and hand over what the cache then holds."""
    home = Path(job["home"])
    home.mkdir(parents=True, exist_ok=True)
    threading.Thread(target=_die_with, args=(os.getppid(),), daemon=True).start()
    with (home / "runner.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a killed run's runner may need a moment to notice
        _read(job, home)
        _hand_over(job["sync_id"], home)


def _die_with(parent: int) -> None:
    """End this process and its connector when the process that started them is gone."""
    while os.getppid() == parent:
        time.sleep(0.2)
    os.killpg(0, signal.SIGKILL)


def _read(job: dict, home: Path) -> None:
    import airbyte
    from airbyte.caches import DuckDBCache

    cache = DuckDBCache(db_path=str(home / "cache.duckdb"), schema_name=SCHEMA, cache_dir=str(home / "files"))
    for table, configuration in job["sources"].items():
        source = airbyte.get_source(
            "source-file", config={"dataset_name": table, **configuration}, local_executable=job["executable"], streams=[table]
        )
        # the connector itself checks its configuration; PyAirbyte would start it once more for that
        source.read(cache, write_strategy="append", skip_validation=True)
    cache.get_sql_engine().dispose()


def _hand_over(sync_id: int, home: Path) -> None:
    import duckdb

    draft, done = home / f".handover-{sync_id}", home / "handover" / str(sync_id)
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    done.parent.mkdir(exist_ok=True)
    meta = json.dumps({"sync_id": sync_id, "changes": []})
    with duckdb.connect(str(home / "cache.duckdb")) as connection:
        found = connection.execute("select table_name from duckdb_tables() where schema_name = ?", [SCHEMA]).fetchall()
        # PyAirbyte's own tables, such as its state, begin with an underscore
        tables = [name for (name,) in found if not name.startswith("_")]
        for table in tables:
            file = str(draft / f"{table}.parquet").replace("'", "''")
            connection.execute(_HANDOVER.format(meta=meta, schema=SCHEMA, table=table, file=file))
        draft.rename(done)
        # Killed before this, the rows come a second time, with the same raw ids.
        for table in tables:
            connection.execute(f'delete from "{SCHEMA}"."{table}"')


def _complaint(error: Exception) -> str:
    """What the connector said of its failure: the protocol's TRACE message, in the log that PyAirbyte keeps; else PyAirbyte."""
    log = getattr(error, "log_file", None)
    for line in reversed(log.read_text(errors="replace").splitlines() if log and log.exists() else []):
        with contextlib.suppress(ValueError, KeyError, TypeError):
            told = json.loads(line[line.index('{"type"') :])["trace"]["error"]
            return told["internal_message"] or told["message"]
    return error.get_message() if hasattr(error, "get_message") else str(error)


if __name__ == "__main__":
    try:
        main(json.loads(Path(sys.argv[1]).read_text()))
    except Exception as error:
        traceback.print_exc()
        print(" ".join(_complaint(error).split()), file=sys.stderr)  # the last line, which the user sees
        sys.exit(1)
