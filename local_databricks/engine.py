"""An engine behind the endpoint: a server that speaks Spark Connect, as a process that this one owns.

Which one is the setting ENGINE: Apache Spark (`spark.py`) or Sail (`sail.py`).
"""

import atexit
import ctypes
import logging
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import psutil
from pyspark.sql.connect.client.core import DefaultChannelBuilder, SparkConnectClient

from local_databricks.catalog import Known
from local_databricks.settings import CATALOG, USER, LocalDatabricksError, Settings, free_port
from local_databricks.words import Words

LOG = logging.getLogger(__name__)

START_TIMEOUT = 600.0  # a busy machine may need minutes; an engine that ends instead is told at once
#: After this many deaths in a row, each within RESTART_WINDOW seconds of its start, something is wrong for good.
RESTARTS, RESTART_WINDOW = 3, 60.0


def _die_with_parent() -> None:
    """Linux: have the kernel kill this child when its parent dies, even by kill -9 (PR_SET_PDEATHSIG = 1, prctl(2))."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


#: What stands before a catalog's name where no dot follows it.
_BEFORE_A_CATALOG = {"CATALOG", "IN", "FROM", "USE", "NAMESPACE", "SCHEMAS", "DATABASES"}


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


class Engine(ABC):
    """Starts the engine, watches it, starts it again when it dies.

    `title` is its name for people, `catalog` the name that its catalog has in its own statements. Where `is_shared`, its
    sessions share one catalog, and `known` is what they were told; else each session must be told by itself.
    `generation` counts the starts; who holds a client of an older generation must take a new one. `on_death` is called
    with the text that clients of running statements should see.
    """

    title: str
    catalog: str
    is_shared: bool
    #: Whether `settings_for` tells anything, so that it is worth knowing how large tables are.
    heeds_size: ClassVar[bool] = False
    #: What this engine's statements need of the endpoint beyond `statements.HANDLERS`, in whose form.
    handlers: ClassVar[dict] = {}

    def __init__(self, settings: Settings, on_death: Callable[[str], None] = lambda text: None):
        self.settings, self.on_death = settings, on_death
        self.generation, self.problem = 0, f"{self.title} has not started yet"
        self.known = Known()
        self._process: subprocess.Popen | None = None
        self._ready, self._stopping = threading.Event(), threading.Event()
        self._builder: SharedChannelBuilder | None = None
        self.remote, self.token = "", secrets.token_hex(16)

    # ---- the process

    def run(self, say: Callable[[str], None] = LOG.info) -> None:
        """Start the engine and keep it running until `stop`; returns when it cannot be kept running (see `problem`).

        Blocks: give it a thread of its own, which must live as long as the engine, since the kernel ties the two.
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
            self.problem = f"{self.title} ended unexpectedly ({reason}) and is being started again"
            LOG.error(self.problem)
            self.on_death(self.problem)
            deaths = deaths + 1 if time.monotonic() - began < RESTART_WINDOW else 1
            if deaths >= RESTARTS:
                self.problem = f"{self.title} ended {deaths} times soon after its start: {self._last_words()}"
                return

    @abstractmethod
    def command(self, port: int, say: Callable[[str], None]) -> list[str]:
        """The command line that serves Spark Connect on this port of loopback; makes what it needs first.

        say: told one line before something long. Raises LocalDatabricksError where the engine cannot be had.
        """

    def _start(self, say: Callable[[str], None]) -> None:
        port = free_port()
        self.settings.warehouse.mkdir(parents=True, exist_ok=True)
        command = self.command(port, say)
        say(f"Starting {self.title}")
        self.kill_stray()
        # Spark Connect's port is open to every user of this machine: the token keeps it to this process and its children
        environment = {**os.environ, "SPARK_CONNECT_AUTHENTICATE_TOKEN": self.token, "SPARK_LOCAL_IP": "127.0.0.1"}
        environment["PYSPARK_PYTHON"] = sys.executable  # what runs the Python functions of statements; else any python3 would
        with self.log_file.open("wb") as log:
            self._process = subprocess.Popen(
                command, cwd=self.settings.state, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, preexec_fn=_die_with_parent,
            )  # fmt: skip
        self._pid_file.write_text(str(self._process.pid))
        self._command_file.write_text("\0".join(command))
        self.remote = f"sc://localhost:{port}/;user_id=local"
        self._builder = SharedChannelBuilder(f"{self.remote};token={self.token}")
        self._await_ready(port)
        self.known = Known()
        self.generation += 1
        self._ready.set()
        say(f"{self.title} is ready")

    def _await_ready(self, port: int) -> None:
        end = time.monotonic() + START_TIMEOUT
        while True:
            if self._process.poll() is not None:
                raise LocalDatabricksError(f"{self.title} did not start: {self._last_words()}")
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            if time.monotonic() > end:
                raise LocalDatabricksError(
                    f"{self.title} did not start within {START_TIMEOUT:.0f} seconds; its log is {self.log_file}."
                )
            time.sleep(0.1)

    def stop(self) -> None:
        """End the engine; running statements are lost, committed tables are not."""
        self._stopping.set()
        self._ready.clear()  # nobody shall ask it for anything any more
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
        return self.settings.state / "engine.log"

    @property
    def _pid_file(self) -> Path:
        return self.settings.state / "engine.pid"

    @property
    def _command_file(self) -> Path:
        return self.settings.state / "engine.command"

    def kill_stray(self) -> None:
        """Kill an engine that an endpoint killed by `kill -9` left behind (only where the kernel could not do it)."""
        try:
            process = psutil.Process(int(self._pid_file.read_text()))
            if process.cmdline() == self._command_file.read_text().split("\0"):
                process.kill()
                process.wait(10)
        except (FileNotFoundError, ValueError, psutil.Error):
            return

    def _last_words(self) -> str:
        """The line of the engine's log that tells most about its end."""
        lines = [x.strip() for x in self.log_file.read_text(errors="replace").splitlines() if x.strip()]
        telling = [x for x in lines if re.search(r"Exception|Error|No space|OutOfMemory", x) and not x.startswith("at ")]
        return f"{(telling or lines or ['it said nothing'])[-1][:300]} (log: {self.log_file})"

    # ---- clients

    def await_ready(self, seconds: float = START_TIMEOUT) -> None:
        """Wait until the engine takes statements. Raises LocalDatabricksError with the reason where it does not."""
        if not self._ready.wait(seconds):
            raise LocalDatabricksError(self.problem)

    @property
    def ready(self) -> bool:
        return self._ready.is_set()

    def client(self, session_id: str) -> SparkConnectClient:
        """A new session, or one more client of a session. Waits while the engine starts.

        Raises LocalDatabricksError where it does not start.
        """
        self.await_ready()
        # pyspark would retry for minutes what a dead server does not answer; `run` tells the clients sooner and better
        client = SparkConnectClient(self._builder, user_id=USER, retry_policy={"max_retries": 2})
        client._session_id = session_id  # the builder could give it too, but the builder is shared
        # at exit pyspark would ask an engine that is stopped by then, for each client that ever was, which it keeps for that
        atexit.unregister(client._cleanup_ml_cache)
        return client

    def settings_for(self, volume: int) -> dict[str, str]:
        """The settings with which the engine's session does best where its tables have at most `volume` bytes each."""
        return {}

    # ---- the dialect

    def quoted(self, *parts: str) -> str:
        """A schema's or relation's full name in a statement for this engine."""
        return ".".join(f"`{part}`" for part in (self.catalog, *parts))

    @abstractmethod
    def adapt(self, words: Words, analyze: Callable[[str], list[tuple[str, str]]]) -> str:
        """A Databricks statement as this engine wants it.

        analyze: from a query, in the engine's words, to the names and SQL types of its columns.
        """

    def rename_catalog(self, words: Words) -> str:
        """The statement with the catalog's name as this engine has it."""
        changes = {}
        for first, _, parts in words.names():
            before = words.tokens[first - 1].text.upper() if first else ""
            if parts[0].lower() == CATALOG and (len(parts) > 1 or before in _BEFORE_A_CATALOG):
                changes[first, first + 1] = f"`{self.catalog}`"
            elif parts[0].lower() == "current_catalog" and [t.text for t in words.tokens[first + 1 : first + 3]] == ["(", ")"]:
                changes[first, first + 3] = f"'{CATALOG}'"
        return words.replaced(changes)
