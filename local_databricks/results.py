"""What comes of a statement: rows in Arrow, drawn from the engine as they are fetched, or an error as Databricks words it."""

import datetime
import decimal
import functools
import json
import re
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyspark
from databricks.sql.thrift_api.TCLIService import ttypes as T
from pyspark.errors import PySparkException
from pyspark.sql.connect.client.core import SparkConnectClient
from pyspark.sql.connect.plan import SQL, CachedRelation

from local_databricks.settings import CATALOG, SPARK_CATALOG

OK = T.TStatus(T.TStatusCode.SUCCESS_STATUS)

_TYPES = [
    (pa.types.is_boolean, "BOOLEAN"), (pa.types.is_int8, "TINYINT"), (pa.types.is_int16, "SMALLINT"),
    (pa.types.is_int32, "INT"), (pa.types.is_int64, "BIGINT"), (pa.types.is_float32, "FLOAT"),
    (pa.types.is_float64, "DOUBLE"), (pa.types.is_date, "DATE"), (pa.types.is_timestamp, "TIMESTAMP"),
    (pa.types.is_binary, "BINARY"), (pa.types.is_large_binary, "BINARY"), (pa.types.is_decimal, "DECIMAL"),
    (pa.types.is_map, "MAP"), (pa.types.is_list, "ARRAY"), (pa.types.is_struct, "STRUCT"), (pa.types.is_null, "NULL"),
    (pa.types.is_duration, "INTERVAL_DAY_TIME"),
]  # fmt: skip


#: What Sail says instead of a condition.
_SAIL_SAYS = {
    r"[Dd]ivi\w+ by zero": "DIVIDE_BY_ZERO",
    r"Remainder by zero": "REMAINDER_BY_ZERO",
    r"too large to store in a Decimal": "NUMERIC_VALUE_OUT_OF_RANGE",
    r"Cannot cast string '.*' to value of": "CAST_INVALID_INPUT",
    r"Can't cast value|is out of range": "CAST_OVERFLOW",
    r"Table not found|Table or view not found": "TABLE_OR_VIEW_NOT_FOUND",
    r"cannot resolve attribute|is missing from the schema|ambiguous attribute": "UNRESOLVED_COLUMN.WITH_SUGGESTION",
    r"^invalid argument: found .* expected": "PARSE_SYNTAX_ERROR",
    r"Scalar subquery returned more than one row": "SCALAR_SUBQUERY_TOO_MANY_ROWS",
    r"element_at: the index is out of bounds": "INVALID_ARRAY_INDEX_IN_ELEMENT_AT",
}


class SqlError(Exception):
    """A statement's fault, found by the endpoint itself: one of Spark's error conditions and a sentence."""

    def __init__(self, condition: str, text: str):
        self.condition, self.state = condition, _states().get(condition.split(".")[0], "HY000")
        super().__init__(f"[{condition}] {text} SQLSTATE: {self.state}")


#: Delta's own conditions are in a jar that Sail needs not download.
_DELTA_STATES = {
    "DELTA_VIOLATE_CONSTRAINT_WITH_VALUES": "23001",
    "DELTA_NEW_CHECK_CONSTRAINT_VIOLATION": "23512",
    "DELTA_MULTIPLE_SOURCE_ROW_MATCHING_TARGET_ROW_IN_MERGE": "21506",
    "DELTA_MERGE_UNRESOLVED_EXPRESSION": "42601",
    "DELTA_VACUUM_RETENTION_PERIOD_TOO_SHORT": "22003",
    "DELTA_TABLE_NOT_FOUND": "42P01",
    "DELTA_CONCURRENT_WRITE": "2D521",
}


@functools.cache
def _states() -> dict[str, str]:
    """The SQLSTATE of each of Spark's error conditions, from the list that Spark's own jar carries."""
    jar = next((Path(pyspark.__file__).parent / "jars").glob("spark-common-utils_*.jar"))
    with zipfile.ZipFile(jar) as archive:
        conditions = json.loads(archive.read("error/error-conditions.json"))
    return _DELTA_STATES | {name: condition["sqlState"] for name, condition in conditions.items() if "sqlState" in condition}


def describe(error: Exception) -> tuple[str, str]:
    """(SQLSTATE, message) of an error as Databricks words it: `[CONDITION] text`, without plan and JVM stack."""
    condition, state = None, "HY000"
    if isinstance(error, SqlError):
        return error.state, str(error)
    if "StatusCode.UNAVAILABLE" in str(error):  # this thread met the engine's death before the one that waits for it
        return "08006", "[LOCAL_ENGINE_STOPPED] The engine ended unexpectedly; run the statement again."
    if isinstance(error, PySparkException):
        condition, state = error.getCondition(), error.getSqlState() or state
    text = from_engine(str(error))
    if condition is None:
        for pattern, found in _SAIL_SAYS.items():
            if re.search(pattern, text):
                condition, state = found, _states().get(found.split(".")[0], state)
                break
        else:
            if isinstance(error, PySparkException) and "[" not in text[:2]:
                text = f"{text} (These are Sail's words; if the statement is right, ENGINE=spark takes it.)"
    # the plan that follows may take pages, in which nobody finds the sentence above it
    text = re.sub(r"(SQLSTATE: \w{5}(?:; line \d+,? pos \d+)?);\n.*", r"\1", text, flags=re.S)
    if condition is None and (own := re.match(r"\[([A-Z_]+)(\.[A-Z_]+)*\]", text)):  # Sail words some errors as Spark does
        state = _states().get(own[1], state)
    if condition and f"[{condition}" not in text:
        text = f"[{condition}] {text}"
    if "SQLSTATE" not in text and state != "HY000":
        text = f"{text} SQLSTATE: {state}"
    return state, text


def from_engine(message: str) -> str:
    """An error's text without the JVM's stack, and with the catalog under the name that the client used."""
    return message.split("\n\nJVM stacktrace:")[0].strip().replace(SPARK_CATALOG, CATALOG)


class Result:
    """A schema and its Arrow batches, drawn from the engine only as fast as the client fetches them."""

    def __init__(self, schema: pa.Schema, batches: Iterator[pa.RecordBatch]):
        self.schema, self._batches, self._offset = schema.remove_metadata(), batches, 0
        self._next: pa.RecordBatch | None = None
        self._advance()

    @classmethod
    def of(cls, table: pa.Table) -> "Result":
        return cls(table.schema, iter(table.to_batches()))

    @classmethod
    def rows(cls, columns: str | dict[str, pa.DataType], rows: Iterable[Sequence]) -> "Result":
        """A small result; columns: their names, of type string if no types are given, in one text."""
        if isinstance(columns, str):
            columns = dict.fromkeys(columns.split(), pa.string())
        values = list(zip(*rows, strict=True)) or [()] * len(columns)
        arrays = [pa.array(column, kind) for column, kind in zip(values, columns.values(), strict=True)]
        return cls.of(pa.table(arrays, names=list(columns)))

    def _advance(self) -> None:
        self._next = next((batch for batch in self._batches if batch.num_rows), None)

    @property
    def exhausted(self) -> bool:
        return self._next is None

    def first_value(self, column: str) -> int | None:
        """The value of a column in the first row, None where there is no such column or row."""
        if self._next is None or column not in self.schema.names:
            return None
        return self._next.column(self.schema.names.index(column))[0].as_py()

    def table(self) -> pa.Table:
        """All rows that were not fetched yet."""
        batches = []
        while self._next is not None:
            batches.append(pa.RecordBatch.from_arrays(self._next.columns, schema=self.schema))
            self._advance()
        return pa.Table.from_batches(batches, self.schema)

    def fetch(self, max_rows: int, max_bytes: int, encoding: "Encoding") -> T.TRowSet:
        """The next rows: at least one batch, and no more than the limits where a batch can be cut."""
        start, rows, size, parts = self._offset, 0, 0, []
        while self._next is not None and rows < max_rows and (not parts or size + self._next.nbytes <= max_bytes):
            batch, room = self._next, max_rows - rows
            if batch.num_rows > room:
                batch, self._next = batch.slice(0, room), batch.slice(room)
            else:
                self._advance()
            rows, size = rows + batch.num_rows, size + batch.nbytes
            parts.append(pa.RecordBatch.from_arrays(batch.columns, schema=self.schema))
        self._offset += rows
        return encoding.rows(start, pa.Table.from_batches(parts, self.schema))

    def metadata(self, encoding: "Encoding") -> T.TGetResultSetMetadataResp:
        columns = [_column(i + 1, field) for i, field in enumerate(self.schema)]
        kind = T.TSparkRowSetType.ARROW_BASED_SET if encoding.arrow else T.TSparkRowSetType.COLUMN_BASED_SET
        schema = encoding.schema(self.schema).serialize().to_pybytes() if encoding.arrow else None
        return T.TGetResultSetMetadataResp(OK, T.TTableSchema(columns), kind, False, schema, isStagingOperation=False)


NOTHING = pa.table({})


def _column(position: int, field: pa.Field) -> T.TColumnDesc:
    name = next((name for test, name in _TYPES if test(field.type)), "STRING")
    qualifiers = None
    if name == "DECIMAL":
        qualifiers = T.TTypeQualifiers(
            {
                "precision": T.TTypeQualifierValue(i32Value=field.type.precision),
                "scale": T.TTypeQualifierValue(i32Value=field.type.scale),
            }
        )
    primitive = T.TPrimitiveTypeEntry(getattr(T.TTypeId, f"{name}_TYPE"), qualifiers)
    return T.TColumnDesc(field.name, T.TTypeDesc([T.TTypeEntry(primitiveEntry=primitive)]), position)


def _sql_type(kind: pa.DataType) -> str:
    """An Arrow type in Databricks' words, with what is in it."""
    if pa.types.is_decimal(kind):
        return f"DECIMAL({kind.precision},{kind.scale})"
    if pa.types.is_map(kind):
        return f"MAP<{_sql_type(kind.key_type)}, {_sql_type(kind.item_type)}>"
    if pa.types.is_list(kind):
        return f"ARRAY<{_sql_type(kind.value_type)}>"
    if pa.types.is_struct(kind):
        return "STRUCT<" + ", ".join(f"{field.name}: {_sql_type(field.type)}" for field in kind) + ">"
    if pa.types.is_timestamp(kind) and kind.tz is None:
        return "TIMESTAMP_NTZ"
    return next((name for test, name in _TYPES if test(kind)), "STRING")


@dataclass(frozen=True)
class Encoding:
    """How a client reads rows: as Arrow, or as the protocol's own columns; and whether decimals, times, intervals and nested
    values come to it as themselves or, in Arrow too, as text."""

    arrow: bool = True
    decimals: bool = True
    times: bool = True
    nested: bool = True
    intervals: bool = True

    @classmethod
    def of(cls, request: T.TExecuteStatementReq) -> "Encoding":
        """What the client of a statement says; one that says nothing of a kind of Arrow's types reads it as text."""
        native = request.useArrowNativeTypes or T.TSparkArrowTypes()
        flags = native.decimalAsArrow, native.timestampAsArrow, native.complexTypesAsArrow, native.intervalTypesAsArrow
        return cls(bool(request.canReadArrowResult), *map(bool, flags))

    def _is_text(self, kind: pa.DataType) -> bool:
        return (
            (pa.types.is_decimal(kind) and not self.decimals)
            or (pa.types.is_timestamp(kind) and not self.times)
            or (pa.types.is_nested(kind) and not self.nested)
            or (pa.types.is_duration(kind) and not self.intervals)
        )

    def schema(self, schema: pa.Schema) -> pa.Schema:
        """The Arrow schema that is sent. Each field has its SQL type beside it, where the JDBC driver looks for what an array
        holds (its constant ARROW_METADATA_KEY)."""
        fields = (field.with_type(pa.string()) if self._is_text(field.type) else field for field in schema)
        return pa.schema(
            [
                new.with_metadata({"Spark:DataType:SqlName": _sql_type(old.type)})
                for old, new in zip(schema, fields, strict=True)
            ]
        )

    def rows(self, start: int, table: pa.Table) -> T.TRowSet:
        """The rows of a table as an answer; start: the place of its first row in the result."""
        if not self.arrow:
            return T.TRowSet(start, [], columns=[_thrift_column(column) for column in table.columns])
        columns = [
            pa.array([None if value is None else _text(value) for value in _values(column)], pa.string())
            if self._is_text(column.type) else column
            for column in table.columns
        ]  # fmt: skip
        sent = pa.Table.from_arrays(columns, schema=self.schema(table.schema))
        batches = [T.TSparkArrowBatch(batch.serialize().to_pybytes(), batch.num_rows) for batch in sent.to_batches()]
        return T.TRowSet(start, [], arrowBatches=batches)


#: How the protocol's own columns carry a type; all others are text.
_THRIFT_COLUMNS = {
    "BOOLEAN": ("boolVal", T.TBoolColumn, False), "TINYINT": ("byteVal", T.TByteColumn, 0),
    "SMALLINT": ("i16Val", T.TI16Column, 0), "INT": ("i32Val", T.TI32Column, 0), "BIGINT": ("i64Val", T.TI64Column, 0),
    "FLOAT": ("doubleVal", T.TDoubleColumn, 0.0), "DOUBLE": ("doubleVal", T.TDoubleColumn, 0.0),
    "BINARY": ("binaryVal", T.TBinaryColumn, b""),
}  # fmt: skip


def _values(column: pa.ChunkedArray) -> list:
    return column.to_pylist(maps_as_pydicts="lossy")


def _thrift_column(column: pa.ChunkedArray) -> T.TColumn:
    """A column of values with a bit mask of its nulls, whose first value is the lowest bit of the first byte."""
    field, kind, empty = _THRIFT_COLUMNS.get(_sql_type(column.type), ("stringVal", T.TStringColumn, ""))
    values = _values(column)
    nulls = bytearray((len(values) + 7) // 8)
    for i, value in enumerate(values):
        if value is None:
            nulls[i // 8] |= 1 << (i % 8)
            values[i] = empty
        elif field == "stringVal":
            values[i] = _text(value)
    return T.TColumn(**{field: kind(values, bytes(nulls))})


def _text(value: object) -> str:
    """A value as Databricks writes it where text stands for it: a nested one as JSON, an interval as days and time."""
    match value:
        case str():
            return value
        case datetime.datetime():
            return f"{value:%Y-%m-%d %H:%M:%S.%f}".rstrip("0").rstrip(".")
        case datetime.timedelta():
            hours, rest = divmod(abs(value) // datetime.timedelta(microseconds=1), 3_600_000_000)
            minutes, micros = divmod(rest, 60_000_000)
            sign = "-" if value < datetime.timedelta() else ""
            return f"{sign}{hours // 24} {hours % 24:02}:{minutes:02}:{micros // 1_000_000:02}.{micros % 1_000_000 * 1000:09}"
        case decimal.Decimal():
            return f"{value:f}"
        case list() | dict():
            return json.dumps(value, default=_text, ensure_ascii=False, separators=(",", ":"))
    return str(value)


def run(client: SparkConnectClient, sql: str) -> Result:
    """Run one statement on the engine: commands give their small result at once, queries give rows as they are drawn."""
    _, properties, _ = client.execute_command(SQL(sql, [], {}, []).command(client))
    relation = properties["sql_command_result"]
    if relation.HasField("local_relation"):
        return Result.of(pa.ipc.open_stream(relation.local_relation.data).read_all())
    stream = client.to_table_as_iterator(CachedRelation(relation).to_proto(client), {})
    tables = (item for item in stream if isinstance(item, pa.Table))
    first = next(tables, None)  # Spark sends a batch, empty if need be, for every query
    if first is None:
        return Result.of(NOTHING)
    return Result(first.schema, (batch for table in _chain(first, tables) for batch in table.to_batches()))


def _chain(first: pa.Table, rest: Iterator[pa.Table]) -> Iterator[pa.Table]:
    yield first
    yield from rest
