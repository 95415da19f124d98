"""A real Kafka broker on loopback and a producer for it, for the demo and the tests: Apache's own jars, no container.

One node that is broker and controller at once (KRaft, https://kafka.apache.org/documentation/#kraft). It listens on loopback
without a password: on a machine with other users they can write to it.
"""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from py4j.java_gateway import GatewayParameters, JavaGateway, launch_gateway

from ingestion.settings import IngestionError
from local_databricks.spark import SPARK_JARS, find_java, maven_jars

KAFKA = ("org.apache.kafka", "kafka_2.13", "4.1.1")
START_SECONDS = 300
_CLUSTER_ID = "aW52b2ljZXNjb3VudHJpZQ"  # any 16 bytes in base64; one cluster is as good as another here
_SMALL = ["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]


class Broker:
    """A broker whose data are in `home`; start() and stop() may be called again and again, and its messages stay.

    Attributes: address: host:port for clients; process: of the running broker, or None.
    """

    def __init__(self, home: Path, port: int, controller_port: int, say: Callable[[str], None] = lambda line: None):
        self.home, self.address, self._controller = home, f"127.0.0.1:{port}", f"127.0.0.1:{controller_port}"
        self.process: subprocess.Popen | None = None
        self._java = find_java()
        self._classes = f"{maven_jars(self._java, KAFKA, 'Apache Kafka', say)}{os.sep}*"

    def start(self) -> None:
        """Start it and wait until it takes connections; raises IngestionError where it does not."""
        self.home.mkdir(parents=True, exist_ok=True)
        properties, log = self.home / "server.properties", self.home / "broker.log"
        properties.write_text(self._properties())
        if not (self.home / "data" / "meta.properties").exists():
            run = self._run("kafka.tools.StorageTool", "format", "--standalone", "-t", _CLUSTER_ID, "-c", str(properties))
            if run.wait(START_SECONDS):
                raise IngestionError(f"Kafka's folder {self.home / 'data'} could not be made; see {log}")
        self.process = self._run("kafka.Kafka", str(properties))
        host, port = self.address.split(":")
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                socket.create_connection((host, int(port)), timeout=1).close()
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.stop()
                    raise IngestionError(f"the Kafka broker did not start on {self.address}; see {log}") from None
                time.sleep(0.1)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Stop it in good order, or with SIGKILL; it is not there any more when this returns."""
        if self.process:
            self.process.send_signal(how)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None

    def producer(self) -> "Producer":
        """Return a producer for this broker."""
        return Producer(self.address, self._java, self._classes)

    def _run(self, *arguments: str) -> subprocess.Popen:
        with (self.home / "broker.log").open("ab") as log:
            return subprocess.Popen(
                [str(self._java), *_SMALL, "-cp", self._classes, *arguments],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.home,
            )  # fmt: skip

    def _properties(self) -> str:
        return "\n".join(
            f"{name}={value}"
            for name, value in {
                "process.roles": "broker,controller",
                "node.id": 1,
                "controller.quorum.bootstrap.servers": self._controller,
                "listeners": f"PLAINTEXT://{self.address},CONTROLLER://{self._controller}",
                "advertised.listeners": f"PLAINTEXT://{self.address},CONTROLLER://{self._controller}",
                "controller.listener.names": "CONTROLLER",
                "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
                "log.dirs": self.home / "data",
                "num.partitions": 2,
                # the defaults want three brokers
                "offsets.topic.replication.factor": 1,
                "transaction.state.log.replication.factor": 1,
                "transaction.state.log.min.isr": 1,
            }.items()
        )


class Producer:
    """Kafka's own Java producer, in a small JVM that ends with this process; acks of all replicas, each message once."""

    def __init__(self, servers: str, java: Path, classes: str):
        port, self._jvm_process = launch_gateway(
            jarpath=str(next(SPARK_JARS.glob("py4j-*.jar"))), classpath=classes, javaopts=_SMALL, java_path=str(java),
            die_on_exit=True, return_proc=True,
        )  # fmt: skip
        self._gateway = JavaGateway(gateway_parameters=GatewayParameters(port=port, auto_convert=True))
        kafka = self._gateway.jvm.org.apache.kafka.clients
        self._record = kafka.producer.ProducerRecord
        serializer = "org.apache.kafka.common.serialization.ByteArraySerializer"
        self._admin = kafka.admin.Admin.create({"bootstrap.servers": servers})
        self._new_topic, self._sent = kafka.admin.NewTopic, []
        # Without recovery of metadata: it forgets the topics of a broker that is down, and each send() then waits a minute.
        self._producer = kafka.producer.KafkaProducer(
            {
                "bootstrap.servers": servers, "acks": "all", "linger.ms": "5", "delivery.timeout.ms": "300000",
                "request.timeout.ms": "5000", "metadata.recovery.strategy": "none",
                "key.serializer": serializer, "value.serializer": serializer,
            }
        )  # fmt: skip

    def create_topic(self, name: str, partitions: int = 2) -> None:
        """Make a topic, which must not exist."""
        self._admin.createTopics([self._new_topic(name, partitions, 1)]).all().get()

    def delete_topic(self, name: str) -> None:
        """Delete a topic with its messages."""
        self._admin.deleteTopics([name]).all().get()

    def send(self, topic: str, messages: Iterable[tuple[bytes | None, bytes | None]]) -> None:
        """Hand over messages (key, value); they are with the broker when flush() has returned."""
        self._sent += [self._producer.send(self._record(topic, key, value)) for key, value in messages]

    def flush(self) -> None:
        """Wait until the broker has every message; raises py4j's error if it did not take one."""
        self._producer.flush()
        sent, self._sent = self._sent, []
        for future in sent:
            future.get()

    def close(self) -> None:
        """End the JVM; what was not sent yet is dropped."""
        self._gateway.shutdown()
        self._jvm_process.stdin.close()
        self._jvm_process.wait(20)


def message(table_key: str, op: str, row: Mapping[str, object], ts: str | None = None) -> tuple[bytes, bytes]:
    """Return key and value of an event in this project's JSON envelope; table_key: the row's key column."""
    import json

    event = {"op": op, "row": row} | ({"ts": ts} if ts else {})
    return str(row[table_key]).encode(), json.dumps(event, ensure_ascii=False, default=str).encode()
