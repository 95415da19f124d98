"""Databricks SQL's wire protocol: the server half of TCLIService (Thrift), answered by Spark Connect.

The Thrift types come with databricks-sql-connector (databricks/sql/thrift_api), as does the client that this was
written against. What a client may ask is in its thrift_backend.py; calls that no client of ours makes are left out and
answer with Thrift's own "unknown method".
"""

import logging
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator

import pyarrow as pa
from databricks.sql.thrift_api.TCLIService import TCLIService
from databricks.sql.thrift_api.TCLIService import ttypes as T
from pyspark.errors import PySparkException
from pyspark.sql.connect.client.core import SparkConnectClient
from pyspark.sql.connect.plan import SQL, CachedRelation
from thrift.Thrift import TApplicationException

from local_databricks.dialect import from_spark, not_null_as_check, to_spark
from local_databricks.settings import CATALOG, SPARK_CATALOG, LocalDatabricksError
from local_databricks.spark import Spark

LOG = logging.getLogger(__name__)

#: How long a call waits for a statement before it says "still running", in seconds. Clients ask again without a pause.
POLL_WAIT = 5.0
#: The same for the call that starts a statement. Short, because a client can cancel only what it has the handle of.
DIRECT_WAIT = 0.5
#: A session whose client closed its last connection this many seconds ago is closed and its statements are cancelled.
ABANDONED_AFTER = 10.0
#: One answer's size: the connector asks for 10 MB; smaller ones keep many concurrent readers flat.
MAX_ROWS, MAX_BYTES = 100_000, 8 << 20

OK = T.TStatus(T.TStatusCode.SUCCESS_STATUS)

_TYPES = [
    (pa.types.is_boolean, "BOOLEAN"), (pa.types.is_int8, "TINYINT"), (pa.types.is_int16, "SMALLINT"),
    (pa.types.is_int32, "INT"), (pa.types.is_int64, "BIGINT"), (pa.types.is_float32, "FLOAT"),
    (pa.types.is_float64, "DOUBLE"), (pa.types.is_date, "DATE"), (pa.types.is_timestamp, "TIMESTAMP"),
    (pa.types.is_binary, "BINARY"), (pa.types.is_large_binary, "BINARY"), (pa.types.is_decimal, "DECIMAL"),
    (pa.types.is_map, "MAP"), (pa.types.is_list, "ARRAY"), (pa.types.is_struct, "STRUCT"), (pa.types.is_null, "NULL"),
    (pa.types.is_duration, "INTERVAL_DAY_TIME"),
]  # fmt: skip


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


class Result:
    """A schema and its Arrow batches, drawn from Spark only as fast as the client fetches them."""

    def __init__(self, schema: pa.Schema, batches: Iterator[pa.RecordBatch]):
        self.schema, self._batches, self._offset = schema.remove_metadata(), batches, 0
        self._next: pa.RecordBatch | None = None
        self._advance()

    @classmethod
    def of(cls, table: pa.Table) -> "Result":
        return cls(table.schema, iter(table.to_batches()))

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

    def fetch(self, max_rows: int, max_bytes: int) -> T.TRowSet:
        """The next rows: at least one batch, and no more than the limits where a batch can be cut."""
        start, rows, size, parts = self._offset, 0, 0, []
        while self._next is not None and rows < max_rows and (not parts or size + self._next.nbytes <= max_bytes):
            batch, room = self._next, max_rows - rows
            if batch.num_rows > room:
                batch, self._next = batch.slice(0, room), batch.slice(room)
            else:
                self._advance()
            rows, size = rows + batch.num_rows, size + batch.nbytes
            plain = pa.RecordBatch.from_arrays(batch.columns, schema=self.schema)
            parts.append(T.TSparkArrowBatch(plain.serialize().to_pybytes(), batch.num_rows))
        self._offset += rows
        return T.TRowSet(start, [], arrowBatches=parts)

    def metadata(self) -> T.TGetResultSetMetadataResp:
        columns = [_column(i + 1, field) for i, field in enumerate(self.schema)]
        return T.TGetResultSetMetadataResp(
            OK, T.TTableSchema(columns), T.TSparkRowSetType.ARROW_BASED_SET, False,
            self.schema.serialize().to_pybytes(), isStagingOperation=False,
        )  # fmt: skip


NOTHING = pa.table({})


class Operation:
    """One statement: runs in a thread of its own until its first rows are there, then hands them out on demand."""

    def __init__(self, session: "Session", work: Callable[[SparkConnectClient], Result], kind: str, text: str):
        self.id, self.kind, self.text, self.session = uuid.uuid4(), kind, text, session
        self.tag = f"local-databricks-{self.id.hex}"
        self.state, self.error, self.result = T.TOperationState.RUNNING_STATE, None, None
        self.done, self._lock, self._client = threading.Event(), threading.Lock(), None
        threading.Thread(target=self._run, args=(work,), name=f"statement-{self.id.hex[:8]}", daemon=True).start()

    def _run(self, work: Callable[[SparkConnectClient], Result]) -> None:
        began = time.monotonic()
        result, error = None, None
        try:
            client = self._client = self.session.client()
            client.add_tag(self.tag)
            try:
                result = work(client)
            finally:
                client.remove_tag(self.tag)
        except Exception as e:  # everything that happens to a statement is told to its client
            error = e
        self._end(result, error)
        LOG.info(
            "%7.2f s  %s%s",
            time.monotonic() - began,
            " ".join(self.text.split())[:200],
            f"  !! {error!r:.200}" if error else "",
        )

    def _end(self, result: Result | None, error: Exception | None) -> None:
        with self._lock:
            if self.done.is_set():
                return
            self.result, self.error = result, error
            self.state = T.TOperationState.ERROR_STATE if error else T.TOperationState.FINISHED_STATE
            self.done.set()

    def fail(self, text: str) -> None:
        """End the statement as failed; used when Spark died under it."""
        self._end(None, LocalDatabricksError(text))

    def cancel(self) -> None:
        """Stop the statement in Spark and mark it cancelled; rows that were not fetched are given up."""
        with self._lock:
            running = not self.done.is_set()
            if running:
                self.state = T.TOperationState.CANCELED_STATE
                self.done.set()
        if (running or (self.result and not self.result.exhausted)) and self._client:
            try:
                self._client.interrupt_tag(self.tag)
            except Exception as error:  # the session or Spark is gone, and with it the statement
                LOG.debug("cancel: %s", error)

    def handle(self) -> T.TOperationHandle:
        kind = getattr(T.TOperationType, self.kind)
        return T.TOperationHandle(T.THandleIdentifier(self.id.bytes, self.id.bytes), kind, self.error is None)

    def status(self) -> T.TGetOperationStatusResp:
        response = T.TGetOperationStatusResp(OK, self.state, hasResultSet=self.result is not None)
        if self.error is not None:
            response.sqlState, text = describe(self.error)
            response.errorCode, response.errorMessage, response.displayMessage = 0, text, text
            response.diagnosticInfo = str(self.error)
        elif self.result is not None:
            response.numModifiedRows = self.result.first_value("num_affected_rows")
        return response

    def metadata(self) -> T.TGetResultSetMetadataResp:
        return (self.result or Result.of(NOTHING)).metadata()

    def fetch(self, max_rows: int, max_bytes: int) -> T.TFetchResultsResp:
        result = self.result or Result.of(NOTHING)
        with self._lock:  # a client may ask twice at once; rows go out once and in order
            try:
                rows = result.fetch(min(max_rows or MAX_ROWS, MAX_ROWS), min(max_bytes or MAX_BYTES, MAX_BYTES))
            except Exception as error:  # Spark failed, or was cancelled, in the middle of the rows
                state, text = describe(error)
                return T.TFetchResultsResp(T.TStatus(T.TStatusCode.ERROR_STATUS, sqlState=state, errorMessage=text))
        return T.TFetchResultsResp(OK, not result.exhausted, rows, result.metadata())


def describe(error: Exception) -> tuple[str, str]:
    """(SQLSTATE, message) of an error as Databricks words it: `[CONDITION] text`, without plan and JVM stack."""
    condition, state = None, "HY000"
    if "StatusCode.UNAVAILABLE" in str(error):  # this thread met Spark's death before the one that waits for it
        return "08006", "[LOCAL_SPARK_STOPPED] Spark ended unexpectedly; run the statement again."
    if isinstance(error, PySparkException):
        condition, state = error.getCondition(), error.getSqlState() or state
    text = from_spark(str(error).split("\n\nJVM stacktrace:")[0].strip())
    # the plan that follows may take pages, in which nobody finds the sentence above it
    text = re.sub(r"(SQLSTATE: \w{5}(?:; line \d+,? pos \d+)?);\n.*", r"\1", text, flags=re.S)
    if condition and f"[{condition}" not in text:
        text = f"[{condition}] {text}"
    if "SQLSTATE" not in text and state != "HY000":
        text = f"{text} SQLSTATE: {state}"
    return state, text


class Session:
    """A client's session: its own Spark session, taken at the first statement and anew after Spark was restarted."""

    def __init__(self, spark: Spark, schema: str | None, configuration: dict[str, str]):
        self.id, self.spark, self.schema = uuid.uuid4(), spark, schema
        self.configuration = {k: v for k, v in configuration.items() if k.startswith("spark.sql.")}
        self.operations: dict[uuid.UUID, Operation] = {}
        self.connections: set[int] = set()
        self.lonely_since = time.monotonic()
        self._client: SparkConnectClient | None = None
        self._generation, self._lock = 0, threading.Lock()

    def client(self) -> SparkConnectClient:
        self.spark.await_ready()  # while Spark is started again, statements wait instead of failing
        with self._lock:
            if self._client is None or self._generation != self.spark.generation:
                client = self.spark.client()
                self._generation = self.spark.generation
                for key, value in self.configuration.items():
                    _execute(client, f"SET {key} = {value}")
                if self.schema:
                    try:
                        _execute(client, f"USE {SPARK_CATALOG}.`{self.schema.strip('`')}`")
                    except PySparkException as error:
                        # Databricks lets a session start in a schema that does not exist yet
                        if error.getCondition() != "SCHEMA_NOT_FOUND":
                            raise
                self._client = client
            return self._client

    def close(self) -> None:
        for operation in list(self.operations.values()):
            operation.cancel()
        with self._lock:
            client, self._client = self._client, None
        if client is not None and self._generation == self.spark.generation and self.spark.ready:
            try:
                client.release_session()
            except Exception as error:
                LOG.debug("release: %s", error)


def _execute(client: SparkConnectClient, sql: str) -> Result:
    """Run one statement: commands give their small result at once, queries give rows as they are drawn."""
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


def execute(client: SparkConnectClient, statement: str) -> Result:
    """Run a Databricks statement on Spark."""
    sql = to_spark(statement)
    try:
        return _execute(client, sql)
    except PySparkException as error:
        check = not_null_as_check(sql) if "annot change nullable column" in str(error) else None
        if check is None:
            raise
        return _execute(client, check)


def _invalid(what: str) -> TApplicationException:
    return TApplicationException(TApplicationException.INTERNAL_ERROR, f"Invalid {what}.")


def _like(pattern: str | None, name: str) -> bool:
    """SQL LIKE, as the metadata calls' patterns mean it: % any text, _ one character, a backslash before a plain one."""
    parts = re.findall(r"\\.|.", pattern or "%", re.S)
    regex = "".join({"%": ".*", "_": "."}.get(part, re.escape(part[-1])) for part in parts)
    return re.fullmatch(regex, name, re.I | re.S) is not None


class SqlService(TCLIService.Iface):
    """The calls of the protocol. `connection` is told by the HTTPS front: which connection the current thread serves."""

    def __init__(self, spark: Spark):
        self.spark = spark
        self.sessions: dict[uuid.UUID, Session] = {}
        self.operations: dict[uuid.UUID, Operation] = {}
        self.current = threading.local()
        spark.on_death = self._spark_died

    # ---- sessions and their connections

    def connection_closed(self, connection: int) -> None:
        """A client's TCP connection ended; sessions that nobody else holds start to count as lonely."""
        for session in list(self.sessions.values()):
            if connection in session.connections:
                session.connections.discard(connection)
                session.lonely_since = time.monotonic()

    def close_abandoned(self) -> None:
        """Close the sessions whose clients are gone (killed, say), so that their statements do not run on unseen."""
        now = time.monotonic()
        for session in list(self.sessions.values()):
            if not session.connections and now - session.lonely_since > ABANDONED_AFTER:
                LOG.info("session %s was abandoned by its client and is closed", session.id)
                self._close(session.id)

    def _spark_died(self, text: str) -> None:
        for operation in list(self.operations.values()):
            operation.fail(f"[LOCAL_SPARK_STOPPED] {text}; run the statement again.")

    def _close(self, session_id: uuid.UUID) -> None:
        session = self.sessions.pop(session_id, None)
        if session:
            for operation in session.operations:
                self.operations.pop(operation, None)
            session.close()

    def close(self) -> None:
        for session_id in list(self.sessions):
            self._close(session_id)

    def _session(self, handle: T.TSessionHandle) -> Session:
        session = self.sessions.get(uuid.UUID(bytes=handle.sessionId.guid))
        if session is None:
            raise _invalid("SessionHandle: the session is closed or the endpoint was started anew")
        session.connections.add(getattr(self.current, "connection", 0))
        return session

    def _operation(self, handle: T.TOperationHandle) -> Operation:
        operation = self.operations.get(uuid.UUID(bytes=handle.operationId.guid))
        if operation is None:
            raise _invalid("OperationHandle: the statement is closed or the endpoint was started anew")
        operation.session.connections.add(getattr(self.current, "connection", 0))
        return operation

    def OpenSession(self, req):
        namespace = req.initialNamespace
        session = Session(self.spark, namespace.schemaName if namespace else None, req.configuration or {})
        session.connections.add(getattr(self.current, "connection", 0))
        self.sessions[session.id] = session
        handle = T.TSessionHandle(T.THandleIdentifier(session.id.bytes, session.id.bytes))
        version = T.TProtocolVersion.SPARK_CLI_SERVICE_PROTOCOL_V7
        return T.TOpenSessionResp(OK, version, handle, {}, namespace, True)

    def CloseSession(self, req):
        self._close(uuid.UUID(bytes=req.sessionHandle.sessionId.guid))
        return T.TCloseSessionResp(OK)

    # ---- statements

    def _start(self, req, work, kind: str, response: type, text: str):
        session = self._session(req.sessionHandle)
        operation = Operation(session, work, kind, text)
        self.operations[operation.id] = session.operations[operation.id] = operation
        limits, direct = req.getDirectResults, None
        if limits and operation.done.wait(DIRECT_WAIT):
            direct = T.TSparkDirectResults(operation.status())
            if operation.result is not None:
                direct.resultSetMetadata = operation.metadata()
                direct.resultSet = operation.fetch(limits.maxRows, limits.maxBytes)
                if operation.result.exhausted:
                    direct.closeOperation = T.TCloseOperationResp(OK)
                    self._forget(operation)
        return response(OK, operation.handle(), direct)

    def _forget(self, operation: Operation) -> None:
        self.operations.pop(operation.id, None)
        operation.session.operations.pop(operation.id, None)

    def ExecuteStatement(self, req):
        text = re.sub(r"\A\s*/\*.*?\*/", "", req.statement, flags=re.S)  # dbt's own comment says nothing in a log
        return self._start(
            req, lambda client: execute(client, req.statement), "EXECUTE_STATEMENT", T.TExecuteStatementResp, text
        )

    def GetOperationStatus(self, req):
        operation = self._operation(req.operationHandle)
        operation.done.wait(POLL_WAIT)
        return operation.status()

    def GetResultSetMetadata(self, req):
        return self._operation(req.operationHandle).metadata()

    def FetchResults(self, req):
        operation = self._operation(req.operationHandle)
        operation.done.wait()
        return operation.fetch(req.maxRows, req.maxBytes)

    def CloseOperation(self, req):
        operation = self.operations.get(uuid.UUID(bytes=req.operationHandle.operationId.guid))
        if operation:
            operation.cancel()
            self._forget(operation)
        return T.TCloseOperationResp(OK)

    def CancelOperation(self, req):
        self._operation(req.operationHandle).cancel()
        return T.TCancelOperationResp(OK)

    # ---- metadata

    def _metadata(self, req, kind: str, response: type, columns: dict[str, pa.DataType], rows):
        def work(client: SparkConnectClient) -> Result:
            table = list(zip(*rows(client), strict=True)) or [()] * len(columns)
            arrays = [pa.array(values, t) for values, t in zip(table, columns.values(), strict=True)]
            return Result.of(pa.table(arrays, names=list(columns)))

        return self._start(req, work, kind, response, kind)

    @staticmethod
    def _rows(client: SparkConnectClient, sql: str) -> list[dict]:
        result = _execute(client, sql)
        parts = []
        while not result.exhausted:
            for part in result.fetch(MAX_ROWS, MAX_BYTES).arrowBatches:
                parts.append(pa.ipc.read_record_batch(pa.py_buffer(part.batch), result.schema))
        return pa.Table.from_batches(parts, result.schema).to_pylist()

    def _schemas(self, client: SparkConnectClient, pattern: str | None) -> list[str]:
        rows = self._rows(client, f"SHOW SCHEMAS IN {SPARK_CATALOG}")
        return [row["namespace"] for row in rows if _like(pattern, row["namespace"])]

    def _tables(self, client: SparkConnectClient, schemas: str | None, tables: str | None) -> Iterator[tuple[str, str, str]]:
        for schema in self._schemas(client, schemas):
            views = {row["viewName"] for row in self._rows(client, f"SHOW VIEWS IN {SPARK_CATALOG}.`{schema}`")}
            for row in self._rows(client, f"SHOW TABLES IN {SPARK_CATALOG}.`{schema}`"):
                if not row["isTemporary"] and _like(tables, row["tableName"]):
                    yield schema, row["tableName"], "VIEW" if row["tableName"] in views else "TABLE"

    def GetCatalogs(self, req):
        text = {"TABLE_CAT": pa.string()}
        return self._metadata(req, "GET_CATALOGS", T.TGetCatalogsResp, text, lambda client: [(CATALOG,)])

    def GetSchemas(self, req):
        columns = {"TABLE_SCHEM": pa.string(), "TABLE_CATALOG": pa.string()}
        return self._metadata(
            req, "GET_SCHEMAS", T.TGetSchemasResp, columns,
            lambda client: [(schema, CATALOG) for schema in self._schemas(client, req.schemaName)],
        )  # fmt: skip

    def GetTables(self, req):
        columns = dict.fromkeys(["TABLE_CAT", "TABLE_SCHEM", "TABLE_NAME", "TABLE_TYPE", "REMARKS"], pa.string())

        def rows(client):
            for schema, table, kind in self._tables(client, req.schemaName, req.tableName):
                if not req.tableTypes or kind in req.tableTypes:
                    yield CATALOG, schema, table, kind, ""

        return self._metadata(req, "GET_TABLES", T.TGetTablesResp, columns, rows)

    def GetColumns(self, req):
        names = ["TABLE_CAT", "TABLE_SCHEM", "TABLE_NAME", "COLUMN_NAME", "TYPE_NAME"]
        columns = {**dict.fromkeys(names, pa.string()), "ORDINAL_POSITION": pa.int32()}

        def rows(client):
            for schema, table, _ in self._tables(client, req.schemaName, req.tableName):
                described = self._rows(client, f"DESCRIBE TABLE {SPARK_CATALOG}.`{schema}`.`{table}`")
                for position, row in enumerate(described, start=1):
                    if row["col_name"].startswith("#") or not row["col_name"]:
                        break  # what follows describes partitions, not columns
                    if _like(req.columnName, row["col_name"]):
                        yield CATALOG, schema, table, row["col_name"], row["data_type"].upper(), position

        return self._metadata(req, "GET_COLUMNS", T.TGetColumnsResp, columns, rows)
