"""Databricks SQL's wire protocol: the server half of TCLIService (Thrift), answered by the engine.

The Thrift types come with databricks-sql-connector (databricks/sql/thrift_api). What clients ask is in its
thrift_backend.py, in DatabricksThriftServiceClient.java of the JDBC driver and in ThriftSessionBackend.ts of the Node driver.
"""

import logging
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator

import pyarrow as pa
import pyspark
from databricks.sql.thrift_api.TCLIService import TCLIService
from databricks.sql.thrift_api.TCLIService import ttypes as T
from thrift.Thrift import TApplicationException

from local_databricks import metadata
from local_databricks.catalog import Catalog, Relation
from local_databricks.engine import Engine
from local_databricks.parameters import bind
from local_databricks.results import NOTHING, OK, Encoding, Result, describe
from local_databricks.session import Session
from local_databricks.settings import CATALOG, LocalDatabricksError
from local_databricks.statements import columns, comment, execute

LOG = logging.getLogger(__name__)

#: How long a call waits for a statement before it says "still running", in seconds. Clients ask again without a pause.
POLL_WAIT = 5.0
#: The same for the call that starts a statement. Short, because a client can cancel only what it has the handle of.
DIRECT_WAIT = 0.5
#: A session whose client closed its last connection this many seconds ago is closed and its statements are cancelled.
ABANDONED_AFTER = 10.0
#: The newest version of the protocol that is spoken here: from it on, clients send parameters beside a statement. The next
#: ones are not: V9 lets metadata calls go on in the background.
VERSION = T.TProtocolVersion.SPARK_CLI_SERVICE_PROTOCOL_V8
#: One answer's size: the connector asks for 10 MB; smaller ones keep many concurrent readers flat.
MAX_ROWS, MAX_BYTES = 100_000, 8 << 20


class Operation:
    """One statement: runs in a thread of its own until its first rows are there, then hands them out on demand."""

    def __init__(self, session: "_Session", work: Callable[[], Result], kind: str, text: str, encoding: Encoding):
        self.id, self.kind, self.text, self.session, self.encoding = uuid.uuid4(), kind, text, session, encoding
        self.tag = f"local-databricks-{self.id.hex}"
        self.state, self.error, self.result = T.TOperationState.RUNNING_STATE, None, None
        self.done, self._lock = threading.Event(), threading.Lock()
        threading.Thread(target=self._run, args=(work,), name=f"statement-{self.id.hex[:8]}", daemon=True).start()

    def _run(self, work: Callable[[], Result]) -> None:
        began = time.monotonic()
        result, error = None, None
        try:
            self.session.thread.tag = self.tag
            result = work()
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
        """End the statement as failed; used when the engine died under it."""
        self._end(None, LocalDatabricksError(text))

    def cancel(self) -> None:
        """Stop the statement in the engine and mark it cancelled; rows that were not fetched are given up."""
        with self._lock:
            running = not self.done.is_set()
            if running:
                self.state = T.TOperationState.CANCELED_STATE
                self.done.set()
        if running or (self.result and not self.result.exhausted):
            self.session.interrupt(self.tag)

    def handle(self) -> T.TOperationHandle:
        kind = getattr(T.TOperationType, self.kind)
        return T.TOperationHandle(T.THandleIdentifier(self.id.bytes, self.id.bytes), kind, hasResultSet=True)

    def status(self) -> T.TGetOperationStatusResp:
        # also of a failed statement: the Node driver takes one without a result for done, and tells no error
        response = T.TGetOperationStatusResp(OK, self.state, hasResultSet=True)
        if self.error is not None:
            response.sqlState, text = describe(self.error)
            # the call succeeded, the statement did not; the JDBC driver looks for the words here
            response.status = T.TStatus(T.TStatusCode.SUCCESS_STATUS, sqlState=response.sqlState, errorMessage=text)
            response.errorCode, response.errorMessage, response.displayMessage = 0, text, text
            response.diagnosticInfo = str(self.error)
        elif self.result is not None:
            response.numModifiedRows = self.result.first_value("num_affected_rows")
        return response

    def metadata(self) -> T.TGetResultSetMetadataResp:
        return (self.result or Result.of(NOTHING)).metadata(self.encoding)

    def fetch(self, max_rows: int, max_bytes: int) -> T.TFetchResultsResp:
        result = self.result or Result.of(NOTHING)
        with self._lock:  # a client may ask twice at once; rows go out once and in order
            try:
                rows = result.fetch(min(max_rows or MAX_ROWS, MAX_ROWS), min(max_bytes or MAX_BYTES, MAX_BYTES), self.encoding)
            except Exception as error:  # the engine failed, or was cancelled, in the middle of the rows
                state, text = describe(error)
                return T.TFetchResultsResp(T.TStatus(T.TStatusCode.ERROR_STATUS, sqlState=state, errorMessage=text))
        return T.TFetchResultsResp(OK, not result.exhausted, rows, result.metadata(self.encoding))


class _Session(Session):
    """A client's session, its statements, and the connections on which they were asked for."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.operations: dict[uuid.UUID, Operation] = {}
        self.connections: set[int] = set()
        self.lonely_since = time.monotonic()

    def close(self) -> None:
        for operation in list(self.operations.values()):
            operation.cancel()
        super().close()


def _invalid(what: str) -> TApplicationException:
    return TApplicationException(TApplicationException.INTERNAL_ERROR, f"Invalid {what}.")


def _like(pattern: str | None, name: str) -> bool:
    """SQL LIKE, as the metadata calls' patterns mean it: % any text, _ one character, a backslash before a plain one."""
    parts = re.findall(r"\\.|.", pattern or "%", re.S)
    regex = "".join({"%": ".*", "_": "."}.get(part, re.escape(part[-1])) for part in parts)
    return re.fullmatch(regex, name, re.I | re.S) is not None


class SqlService(TCLIService.Iface):
    """The calls of the protocol. `connection` is told by the HTTPS front: which connection the current thread serves."""

    def __init__(self, engine: Engine, catalog: Catalog):
        self.engine, self.catalog = engine, catalog
        self.sessions: dict[uuid.UUID, Session] = {}
        self.operations: dict[uuid.UUID, Operation] = {}
        self.current = threading.local()
        engine.on_death = self._engine_died

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

    def _engine_died(self, text: str) -> None:
        for operation in list(self.operations.values()):
            operation.fail(f"[LOCAL_ENGINE_STOPPED] {text}; run the statement again.")

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
        session = _Session(self.engine, self.catalog, namespace.schemaName if namespace else None, req.configuration)
        session.connections.add(getattr(self.current, "connection", 0))
        self.sessions[session.id] = session
        handle = T.TSessionHandle(T.THandleIdentifier(session.id.bytes, session.id.bytes))
        version = min(req.client_protocol_i64 or VERSION, VERSION)
        return T.TOpenSessionResp(OK, version, handle, {}, namespace, True)

    def CloseSession(self, req):
        self._close(uuid.UUID(bytes=req.sessionHandle.sessionId.guid))
        return T.TCloseSessionResp(OK)

    def GetInfo(self, req):
        """What the server is; clients ask it for its name and version."""
        self._session(req.sessionHandle)
        names = {
            T.TGetInfoType.CLI_SERVER_NAME: "Spark SQL",
            T.TGetInfoType.CLI_DBMS_NAME: "Spark SQL",
            T.TGetInfoType.CLI_DBMS_VER: pyspark.__version__,
        }
        if req.infoType not in names:
            status = T.TStatus(
                T.TStatusCode.ERROR_STATUS, sqlState="0A000", errorMessage=f"GetInfo {req.infoType} is not known."
            )
            return T.TGetInfoResp(status, T.TGetInfoValue(stringValue=""))
        return T.TGetInfoResp(OK, T.TGetInfoValue(stringValue=names[req.infoType]))

    # ---- statements

    def _start(self, req, work, kind: str, response: type, text: str, encoding: Encoding):
        session = self._session(req.sessionHandle)
        operation = Operation(session, lambda: work(session), kind, text, encoding)
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

        def work(session: Session) -> Result:
            return execute(session, bind(req.statement, req.parameters) if req.parameters else req.statement)

        return self._start(req, work, "EXECUTE_STATEMENT", T.TExecuteStatementResp, text, Encoding.of(req))

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

    # ---- metadata, from the catalog

    def _metadata(self, req, kind: str, response: type, columns: dict[str, pa.DataType], rows: Callable):
        """`rows` gives rows as long as the columns, or shorter: what is missing is null. Never in Arrow: no client of these
        calls can say that it reads it."""

        def work(session: Session) -> Result:
            return Result.rows(columns, [(*row, *[None] * (len(columns) - len(row))) for row in rows(session)])

        return self._start(req, work, kind, response, kind, Encoding(arrow=False))

    def _schemas(self, req) -> list[str]:
        """Names of schemas that a call's patterns mean. An empty catalog means "without one", which nothing is."""
        if req.catalogName is not None and not _like(req.catalogName or "\\", CATALOG):
            return []
        return [name for name in self.catalog.schemas() if _like(req.schemaName, name)]

    def _relations(self, req) -> Iterator[Relation]:
        for schema in self._schemas(req):
            yield from (r for r in self.catalog.relations(schema) if _like(req.tableName, r.name))

    def GetCatalogs(self, req):
        return self._metadata(req, "GET_CATALOGS", T.TGetCatalogsResp, metadata.CATALOGS, lambda session: [(CATALOG,)])

    def GetSchemas(self, req):
        return self._metadata(
            req, "GET_SCHEMAS", T.TGetSchemasResp, metadata.SCHEMAS,
            lambda session: [(name, CATALOG) for name in self._schemas(req)],
        )  # fmt: skip

    def GetTables(self, req):
        return self._metadata(
            req, "GET_TABLES", T.TGetTablesResp, metadata.TABLES,
            lambda session: [
                (CATALOG, r.schema, r.name, r.kind, comment(r))
                for r in self._relations(req) if not req.tableTypes or r.kind in req.tableTypes
            ],
        )  # fmt: skip

    def GetTableTypes(self, req):
        rows = [("TABLE",), ("VIEW",)]
        return self._metadata(req, "GET_TABLE_TYPES", T.TGetTableTypesResp, metadata.TABLE_TYPES, lambda session: rows)

    def GetColumns(self, req):
        def rows(session: Session):
            for relation in self._relations(req):
                for position, column in enumerate(columns(session, relation)):
                    if _like(req.columnName, column.name):
                        yield metadata.column_row(*relation.key, column, position)

        return self._metadata(req, "GET_COLUMNS", T.TGetColumnsResp, metadata.COLUMNS, rows)

    def GetTypeInfo(self, req):
        return self._metadata(
            req, "GET_TYPE_INFO", T.TGetTypeInfoResp, metadata.TYPE_INFO, lambda session: metadata.type_rows()
        )

    # Functions of the user's own and keys: open-source Spark takes no PRIMARY KEY and the catalog keeps no functions, so there
    # are none; a client that asks gets the empty list, which is true.

    def GetFunctions(self, req):
        return self._metadata(req, "GET_FUNCTIONS", T.TGetFunctionsResp, metadata.FUNCTIONS, lambda session: [])

    def GetPrimaryKeys(self, req):
        return self._metadata(req, "GET_TABLES", T.TGetPrimaryKeysResp, metadata.PRIMARY_KEYS, lambda session: [])

    def GetCrossReference(self, req):
        return self._metadata(req, "GET_TABLES", T.TGetCrossReferenceResp, metadata.CROSS_REFERENCE, lambda session: [])
