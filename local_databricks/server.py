"""The HTTPS front: checks the bearer token, hands Thrift to `sql_service` and REST to `commands`."""

import base64
import gc
import hmac
import itertools
import json
import logging
import socket
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

from databricks.sql.thrift_api.TCLIService import TCLIService
from thrift.protocol.TBinaryProtocol import TBinaryProtocolAcceleratedFactory
from thrift.Thrift import TApplicationException
from thrift.transport.TTransport import TMemoryBuffer

from local_databricks.catalog import Catalog
from local_databricks.commands import CommandService
from local_databricks.engine import Engine
from local_databricks.settings import CLUSTER_ID, RUNTIME_VERSION, USER, LocalDatabricksError, Settings
from local_databricks.sql_service import SqlService
from local_databricks.tls import ensure_certificates

LOG = logging.getLogger(__name__)

HANDSHAKE_TIMEOUT = 60.0
#: So many more objects than at the last collection are worth the next one, which `lifecycle.serve` leaves to the sweep.
GARBAGE = 10_000
_PROTOCOL = TBinaryProtocolAcceleratedFactory()
_connections = itertools.count(1)


class Server(ThreadingHTTPServer):
    """The endpoint: one thread a connection, on loopback only.

    Raises LocalDatabricksError where the port is taken.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, settings: Settings, engine: Engine):
        self.settings, self.engine = settings, engine
        # the ODBC driver and JDBC drivers before version 3 send the token as the password of the user `token`
        basic = base64.b64encode(f"token:{settings.token()}".encode())
        self.credentials = (f"Bearer {settings.token()}".encode(), b"Basic " + basic)
        catalog = Catalog(settings.catalog_file, settings.warehouse)
        self.sql, self.commands = SqlService(engine, catalog), CommandService(engine, catalog)
        self.processor = TCLIService.Processor(self.sql)
        certificate, key = ensure_certificates(settings)
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(certificate, key)
        try:
            super().__init__(("127.0.0.1", settings.port), Handler)
        except OSError as error:
            raise LocalDatabricksError(
                f"Port {settings.port} is taken by another program ({error.strerror});"
                " set LOCAL_DATABRICKS_PORT to a free port."
            ) from error
        threading.Thread(target=self._sweep, name="sweep", daemon=True).start()

    def get_request(self):
        connection, address = super().get_request()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # the handshake is left to the connection's thread, so that a client that stalls in it holds up nobody else
        return self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), address

    def handle_error(self, request, client_address):
        LOG.debug("connection from %s failed", client_address, exc_info=True)

    def _sweep(self) -> None:
        while True:
            time.sleep(2)
            self.sql.close_abandoned()
            self.commands.close_abandoned()
            if gc.get_count()[0] > GARBAGE:
                gc.collect()

    def close(self) -> None:
        self.commands.close()
        self.sql.close()
        self.server_close()

    def rest(self, method: str, path: str, query: dict, body: dict) -> dict | None:
        """Answer a REST call; None where there is no such call here."""
        match method, path.strip("/"):
            case "GET", ".well-known/databricks-config":
                return {"host_type": "workspace"}
            case "GET", "health":
                return {"ready": self.engine.ready, "problem": "" if self.engine.ready else self.engine.problem,
                        "engine": self.engine.title, "engine_pid": self.engine.pid,
                        "sessions": len(self.sql.sessions)}  # fmt: skip
            case "GET", "api/2.0/preview/scim/v2/Me":
                return {"id": "1", "userName": USER, "active": True}
            case "GET", "api/2.1/clusters/get" if query.get("cluster_id") == CLUSTER_ID:
                state = "RUNNING" if self.engine.ready else "RESTARTING"
                return {"cluster_id": CLUSTER_ID, "state": state, "spark_version": RUNTIME_VERSION}
            case "GET", "api/2.0/libraries/cluster-status":
                return {"cluster_id": query["cluster_id"], "library_statuses": []}
            case "POST", "api/1.2/contexts/create":
                return self.commands.create()
            case "GET", "api/1.2/contexts/status":
                return self.commands.context_status(query["contextId"])
            case "POST", "api/1.2/contexts/destroy":
                return self.commands.destroy(body["contextId"])
            case "POST", "api/1.2/commands/execute":
                return self.commands.execute(body["contextId"], body["command"])
            case "GET", "api/1.2/commands/status":
                return self.commands.status(query["contextId"], query["commandId"])
            case "POST", "api/1.2/commands/cancel":
                return self.commands.cancel(body["contextId"], body["commandId"])
        return None


class Handler(BaseHTTPRequestHandler):
    """One connection of a client."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # an answer leaves in one piece
    server: Server

    def setup(self) -> None:
        self.number = next(_connections)
        self.request.settimeout(HANDSHAKE_TIMEOUT)
        self.request.do_handshake()
        self.request.settimeout(None)  # idle clients keep their connection: its end is how we know that they are gone
        super().setup()
        self.server.sql.current.connection = self.number

    def finish(self) -> None:
        try:
            super().finish()
        finally:
            self.server.sql.connection_closed(self.number)

    def _answer(self, code: int, body: bytes, kind: str, reason: str = "") -> None:
        self.send_response(code)
        if reason:  # where databricks-sql-connector looks for it
            self.send_header("x-databricks-error-or-redirect-message", reason)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def _json(self, code: int, content: dict) -> None:
        self._answer(code, json.dumps(content).encode(), "application/json", content.get("message", "")[:200])

    def _serve(self) -> None:
        url = urlsplit(self.path)
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if not url.path.startswith("/.well-known/"):
            sent = (self.headers.get("Authorization") or "").encode()
            if not any(hmac.compare_digest(sent, allowed) for allowed in self.server.credentials):
                return self._json(401, {"error_code": "UNAUTHENTICATED", "message": "Invalid access token."})
        try:
            if url.path.startswith("/sql/") and self.command == "POST":
                return self._thrift(data)
            query, body = dict(parse_qsl(url.query)), json.loads(data) if data else {}
            content = self.server.rest(self.command, url.path, query, body)
            if content is not None:
                return self._json(200, content)
            message = f"{self.command} {url.path} is not served by local_databricks."
            self._json(404, {"error_code": "ENDPOINT_NOT_FOUND", "message": message})
        except KeyError as error:
            self._json(404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": str(error.args[0])})
        except json.JSONDecodeError:
            self._json(400, {"error_code": "MALFORMED_REQUEST", "message": "The body is not JSON."})
        except LocalDatabricksError as error:  # the engine cannot be had
            self._json(503, {"error_code": "TEMPORARILY_UNAVAILABLE", "message": str(error)})

    do_GET = do_POST = _serve

    def _thrift(self, data: bytes) -> None:
        answer = TMemoryBuffer()
        try:
            self.server.processor.process(_PROTOCOL.getProtocol(TMemoryBuffer(data)), _PROTOCOL.getProtocol(answer))
        except (EOFError, TApplicationException) as error:
            return self._json(400, {"error_code": "MALFORMED_REQUEST", "message": f"Not a Thrift call: {error}"})
        self._answer(200, answer.getvalue(), "application/x-thrift")

    def log_message(self, format: str, *args) -> None:
        LOG.debug(format, *args)
