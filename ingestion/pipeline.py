"""What every pipeline of dlt here has in common: its settings, where it lands, and one-sentence errors."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import dlt

from ingestion import warehouse
from ingestion.bronze import LocalBronze, WarehouseBronze
from ingestion.settings import IngestionError, PassingError, first_line

Bronze = LocalBronze | WarehouseBronze

# dlt's own settings; each can be overridden from outside, as all of dlt's configuration.
DLT_SETTINGS = {
    "RUNTIME__DLTHUB_TELEMETRY": "false",
    # else each load imports all of Airflow, which is installed beside it, to look for secrets there
    "PROVIDERS__ENABLE_AIRFLOW_SECRETS": "false",
    "RUNTIME__LOG_LEVEL": "ERROR",
    "NORMALIZE__PARQUET_NORMALIZER__ADD_DLT_LOAD_ID": "true",
    "NORMALIZE__PARQUET_NORMALIZER__ADD_DLT_ID": "true",
    "DATA_WRITER__FILE_MAX_ITEMS": "1000000",
    "LOAD__DELETE_COMPLETED_JOBS": "true",
}


def set_defaults(home: Path) -> None:
    """Set dlt's settings, and its folder within the lakehouse's, for this process wherever the environment has none."""
    os.environ.setdefault("DLT_DATA_DIR", str(home / "dlt"))
    for name, value in DLT_SETTINGS.items():
        os.environ.setdefault(name, value)


def open_pipeline(name: str, layer: str, target: str, home: Path) -> tuple[dlt.Pipeline, Bronze]:
    """Return the pipeline that lands in a schema of bronze, and what reads that schema.

    Args: name: the pipeline's; layer: `bronze` or `bronze_<loader>`; target: `local` (Delta folders `<home>/<layer>/<table>`)
    or `databricks` (the workspace of the DATABRICKS_* variables); home: the lakehouse's folder, which keeps dlt's state.
    """
    if target == "local":
        destination, bronze = dlt.destinations.filesystem(bucket_url=home.as_uri()), LocalBronze(home / layer)
    else:
        destination = dlt.destinations.databricks(credentials=warehouse.databricks_credentials())
        bronze = WarehouseBronze(layer)
    progress = dlt.progress.tqdm(colour="green") if sys.stderr.isatty() else None
    pipeline = dlt.pipeline(
        name,
        pipelines_dir=str(home / "dlt" / target),
        destination=destination,
        progress=progress,
        dataset_name=warehouse.schema(layer, target),
    )
    return pipeline, bronze


@contextlib.contextmanager
def in_one_sentence() -> Iterator[None]:
    """Turn whatever fails within the block into an IngestionError of one sentence; one that is raised there stays as it is."""
    try:
        yield
    except IngestionError:
        raise
    except Exception as error:
        cause: BaseException = error
        while cause.__cause__ is not None and not isinstance(cause, IngestionError):
            cause = cause.__cause__
        if isinstance(cause, IngestionError):
            raise cause from error
        raise PassingError(f"the load stopped and can be run again: {first_line(cause)}") from error
