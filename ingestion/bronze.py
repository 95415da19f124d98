"""Reading what bronze holds, and registering it: Delta folders locally, SQL on a Databricks workspace."""

import contextlib
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

import deltalake
import pyarrow as pa
import pyarrow.dataset as ds

from ingestion import warehouse

BATCH_ROWS = 131_072


class LocalBronze:
    """Bronze as Delta folders `<folder>/<table>`, read with delta-rs: no Spark and no endpoint needed.

    The folder has its schema's name: `bronze` for the load of the source database, `bronze_<loader>` for another loader.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def exists(self, table: str) -> bool:
        """Tell whether the table holds at least one commit."""
        return deltalake.DeltaTable.is_deltatable(str(self.folder / table))

    def scan(self, table: str, columns: Sequence[str] | None = None, since: datetime | None = None) -> Iterator[pa.Table]:
        """Yield the table in batches; with `since`, only rows whose updated_at is not before it, or is null.

        Args: columns: names to read, all by default; names that the table lacks are left out.
        """
        if not self.exists(table):
            return
        dataset = deltalake.DeltaTable(str(self.folder / table)).to_pyarrow_dataset()
        names = [name for name in columns or dataset.schema.names if name in dataset.schema.names]
        rows = None
        if since is not None:
            rows = (ds.field("updated_at") >= pa.scalar(since, pa.timestamp("us", "UTC"))) | ds.field("updated_at").is_null()
        for batch in dataset.to_batches(columns=names, filter=rows, batch_size=BATCH_ROWS, fragment_readahead=1):
            if batch.num_rows:
                yield _plain(pa.Table.from_batches([batch]))

    def complete_loads(self) -> set[str]:
        """Return the ids of dlt's loads into this schema that are complete: all of their tables are written.

        dlt tells it in _dlt_loads, here a file for each load: https://dlthub.com/docs/general-usage/destination-tables
        """
        return {path.stem.rpartition("__")[2] for path in (self.folder / "_dlt_loads").glob("*.jsonl")}

    def register(self, tables: Sequence[str]) -> None:
        """Make the tables known to the catalog of the local endpoint, in the folder's schema; safe to repeat.

        Raises: WarehouseError when the endpoint is not configured or does not answer.
        """
        with contextlib.closing(warehouse.connect("local")) as connection, connection.cursor() as cursor:
            schema = self.folder.name
            cursor.execute(f"create schema if not exists {schema}")
            for table in tables:
                location = (self.folder / table).as_uri().replace("'", "''")
                cursor.execute(f"create table if not exists {schema}.{table} using delta location '{location}'")


class WarehouseBronze:
    """Bronze as tables of a Databricks workspace, read by SQL; dlt creates and registers them itself.

    layer: `bronze` for the load of the source database, `bronze_<loader>` for another loader.
    """

    def __init__(self, layer: str = "bronze") -> None:
        self.catalog, self.schema = warehouse.catalog("databricks"), warehouse.schema(layer, "databricks")

    def exists(self, table: str) -> bool:
        """Tell whether the table exists."""
        with contextlib.closing(warehouse.connect("databricks")) as connection, connection.cursor() as cursor:
            cursor.tables(catalog_name=self.catalog, schema_name=self.schema, table_name=table)
            return bool(cursor.fetchall())

    def scan(self, table: str, columns: Sequence[str] | None = None, since: datetime | None = None) -> Iterator[pa.Table]:
        """Yield the table in batches; arguments as LocalBronze.scan."""
        if not self.exists(table):
            return
        with contextlib.closing(warehouse.connect("databricks")) as connection, connection.cursor() as cursor:
            selected = ", ".join(f"`{name}`" for name in columns or ()) or "*"
            rows = f" where updated_at >= timestamp'{since.isoformat()}' or updated_at is null" if since else ""
            cursor.execute(f"select {selected} from `{self.catalog}`.`{self.schema}`.`{table}`{rows}")
            while (batch := cursor.fetchmany_arrow(BATCH_ROWS)).num_rows:
                yield _plain(batch)

    def complete_loads(self) -> set[str]:
        """Return the ids of dlt's loads that are complete, as LocalBronze.complete_loads."""
        if not self.exists("_dlt_loads"):
            return set()
        with contextlib.closing(warehouse.connect("databricks")) as connection, connection.cursor() as cursor:
            cursor.execute(f"select load_id from `{self.catalog}`.`{self.schema}`.`_dlt_loads` where status = 0")
            return {row[0] for row in cursor.fetchall()}

    def register(self, tables: Sequence[str]) -> None:
        """Nothing to do: tables that dlt loads into Unity Catalog are registered already."""


def _plain(table: pa.Table) -> pa.Table:
    """Bring the types of a reader back to those that were written: plain strings, and microseconds in UTC."""
    fields = []
    for field in table.schema:
        kind = field.type
        if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
            kind = pa.string()
        elif pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
            kind = pa.binary()
        elif pa.types.is_timestamp(kind):
            kind = pa.timestamp("us", "UTC")
        fields.append(pa.field(field.name, kind))
    return table.cast(pa.schema(fields))
