"""What a Delta table's log says, read by delta-rs: no engine is asked, and the answer is the newest commit's."""

import json
import os
from dataclasses import dataclass
from urllib.parse import unquote

import deltalake
import pyarrow as pa
from deltalake.exceptions import TableNotFoundError

from local_databricks.results import SqlError

_SPARK = {"long": "bigint", "integer": "int", "short": "smallint", "byte": "tinyint"}
#: Delta's words for the SQL types that it calls by another name.
OF_SQL = {sql: name for name, sql in _SPARK.items()}


@dataclass(frozen=True)
class Column:
    """A column as DESCRIBE tells it; `tree` is its type in Spark's printed schemas, which use other words."""

    name: str
    type: str
    comment: str | None
    nullable: bool = True
    tree: str = ""


def open_table(location: str) -> deltalake.DeltaTable:
    """Raises SqlError where there is no Delta table at this place (any more)."""
    try:
        return deltalake.DeltaTable(location)
    except TableNotFoundError:
        raise SqlError("DELTA_TABLE_NOT_FOUND", f"{location} is not a Delta table.") from None


def spark_type(kind: str | dict) -> str:
    """A type of Delta's schema JSON in Spark's SQL words.

    https://github.com/delta-io/delta/blob/master/PROTOCOL.md#schema-serialization-format
    """
    if isinstance(kind, str):
        return _SPARK.get(kind, kind)
    match kind["type"]:
        case "array":
            return f"array<{spark_type(kind['elementType'])}>"
        case "map":
            return f"map<{spark_type(kind['keyType'])},{spark_type(kind['valueType'])}>"
    return "struct<" + ",".join(f"{field['name']}:{spark_type(field['type'])}" for field in kind["fields"]) + ">"


def tree(kind: str) -> str:
    """A type as Spark's printed schemas name it, from its SQL words."""
    return OF_SQL.get(kind, kind.split("<")[0])


def columns(table: deltalake.DeltaTable) -> list[Column]:
    found = []
    for field in json.loads(table.schema().to_json())["fields"]:
        kind = field["type"]
        tree = kind if isinstance(kind, str) else kind["type"]
        comment = field["metadata"].get("comment")
        # Spark keeps char(n) and varchar(n) as strings with this beside them
        text = field["metadata"].get("__CHAR_VARCHAR_TYPE_STRING") or spark_type(kind)
        found.append(Column(field["name"], text, comment, field["nullable"], tree))
    return found


def properties(table: deltalake.DeltaTable) -> dict[str, str]:
    """The table's properties as SHOW TBLPROPERTIES shows them: the set ones, and the protocol's."""
    protocol = table.protocol()
    found = dict(table.metadata().configuration)
    found["delta.minReaderVersion"] = str(protocol.min_reader_version)
    found["delta.minWriterVersion"] = str(protocol.min_writer_version)
    for feature in {*(protocol.reader_features or ()), *(protocol.writer_features or ())}:
        found.setdefault(f"delta.feature.{feature}", "supported")
    return dict(sorted(found.items()))


def size_in_bytes(table: deltalake.DeltaTable) -> int:
    """The size of the newest version's files, as the log tells it."""
    return sum(pa.table(table.get_add_actions())["size_bytes"].to_pylist())


_sizes: dict[str, tuple[int, int]] = {}


def newest_size(location: str) -> int:
    """`size_in_bytes` of a local table, and 0 of none; its log is read again when a commit came to it."""
    try:
        changed = os.stat(os.path.join(unquote(location.removeprefix("file://")), "_delta_log")).st_mtime_ns
    except OSError:
        return 0
    known = _sizes.get(location)
    if known is None or known[0] != changed:
        _sizes[location] = known = (changed, size_in_bytes(open_table(location)))
    return known[1]


def write_rows(location: str, rows: pa.Table, mode: str, partition_by: list[str] | None = None) -> None:
    """Save rows as a table: mode is "append", "overwrite" (the schema too), "ignore" or "error" (if it exists)."""
    plain = pa.schema([field.with_nullable(True) for field in rows.schema])
    deltalake.write_deltalake(
        location, rows.cast(plain), mode=mode, partition_by=partition_by or None,
        schema_mode="overwrite" if mode == "overwrite" else None,
    )  # fmt: skip
