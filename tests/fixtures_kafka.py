"""Kafka for tests: one real broker a module, a Spark session, and a schema registry that speaks the real one's protocol."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import deltalake
import pytest

from ingestion.kafka.broker import Broker, Producer
from ingestion.kafka.settings import SCHEMA, StreamSettings
from tests.conftest import ROOT, free_port


@pytest.fixture(scope="module")
def broker(tmp_path_factory) -> Iterator[Broker]:
    """A running broker, one KRaft node."""
    running = Broker(tmp_path_factory.mktemp("kafka"), free_port(), free_port())
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def producer(broker) -> Iterator[Producer]:
    """Kafka's own producer for that broker."""
    made = broker.producer()
    yield made
    made.close()


@pytest.fixture(scope="module")
def spark(tmp_path_factory):
    """The session of a stream in this process."""
    from ingestion.kafka.session import session

    made = session(tmp_path_factory.mktemp("spark"), print)
    yield made
    made.stop()


class SchemaRegistry:
    """`GET /schemas/ids/{id}` of Confluent's schema registry for the schemas that `schemas` has by id; asks for key:secret.

    `answered` are the schemas that were asked for and told, by id; `is_up` False answers 503.
    """

    def __init__(self) -> None:
        self.schemas: dict[int, dict] = {}
        self.answered: list[int] = []
        self.is_up = True
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                number = int(self.path.removeprefix("/schemas/ids/"))
                status, answer = 200, {"schema": json.dumps(registry.schemas.get(number))}
                if self.headers.get("Authorization") != "Basic a2V5OnNlY3JldA==":  # key:secret
                    status, answer = 401, {"error_code": 401, "message": "Unauthorized"}
                elif not registry.is_up:
                    status, answer = 503, {"error_code": 50302, "message": "no leader"}
                elif number not in registry.schemas:
                    status, answer = 404, {"error_code": 40403, "message": f"Schema {number} not found"}
                if status == 200:
                    registry.answered.append(number)
                self.send_response(status)
                self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
                self.end_headers()
                self.wfile.write(json.dumps(answer).encode())

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def registry() -> Iterator[SchemaRegistry]:
    made = SchemaRegistry()
    yield made
    made.close()


def stream_settings(broker: Broker, home: Path, **changes: object) -> StreamSettings:
    """The settings of a stream that reads the topic `invoices` of the broker, unless changed."""
    values = {
        "servers": broker.address, "topics": {"invoices": "invoices"}, "value_format": "json", "registry_url": None,
        "registry_user_info": None, "starting_offsets": "earliest", "max_offsets": 100_000, "trigger_seconds": 0.0,
        "options": {}, "checkpoint": str(home / "kafka" / "checkpoint"),
    } | changes  # fmt: skip
    return StreamSettings(**values)


def start_stream(broker: Broker, home: Path, *arguments: str, **variables: str) -> subprocess.Popen:
    """`python -m ingestion.kafka stream` in a process of its own, its lines to be read from its standard output."""
    environment = {**os.environ, "LAKEHOUSE_HOME": str(home), "KAFKA_BOOTSTRAP_SERVERS": broker.address, **variables}
    return subprocess.Popen(
        [sys.executable, "-m", "ingestion.kafka", "stream", "--no-register", *arguments],
        cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def landed(home: Path, table: str) -> list[dict]:
    """The rows of a bronze table in the order of topic, partition and offset."""
    rows = deltalake.DeltaTable(str(home / SCHEMA / table)).to_pyarrow_table().to_pylist()
    return sorted(rows, key=lambda row: (row["_kafka_topic"], row["_kafka_partition"], row["_kafka_offset"]))
