"""Starting, stopping and looking at the endpoint, which runs as a process of its own in the background."""

import contextlib
import fcntl
import gc
import http.client
import json
import logging
import logging.handlers
import os
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import psutil

from local_databricks.settings import ROOT, LocalDatabricksError, Settings, write_private

START_TIMEOUT = 900.0  # a first start downloads 90 MB
STOP_TIMEOUT = 20.0


@dataclass(frozen=True)
class Status:
    """What `status` found: the endpoint's process and, where it answers, the engine's."""

    pid: int | None = None
    engine: str = ""
    engine_pid: int | None = None
    ready: bool = False
    problem: str = ""
    sessions: int = 0


def status(settings: Settings) -> Status:
    """Look whether this lakehouse's endpoint runs and whether its engine takes statements."""
    process = _process(settings)
    if process is None:
        return Status()
    try:
        health = _health(settings)
    except OSError:
        return Status(pid=process.pid, problem="the endpoint's process runs but does not answer yet")
    return Status(process.pid, health["engine"], health["engine_pid"], health["ready"], health["problem"], health["sessions"])


def up(settings: Settings, say: Callable[[str], None]) -> bool:
    """Start the endpoint where it does not run, and wait until it takes statements.

    say: told a line at each step. Returns whether it had to be started. Raises LocalDatabricksError with the reason
    where it cannot be started.
    """
    settings.state.mkdir(parents=True, exist_ok=True)
    with _lock(settings):
        now = status(settings)
        process = None
        if now.pid is None:
            _steps_file(settings).unlink(missing_ok=True)
            with (settings.state / "endpoint.out").open("wb") as output:
                process = subprocess.Popen(
                    [sys.executable, "-m", "local_databricks", "serve"], cwd=ROOT, stdin=subprocess.DEVNULL,
                    stdout=output, stderr=output, start_new_session=True,
                    env={**os.environ, "LAKEHOUSE_HOME": str(settings.home), "LOCAL_DATABRICKS_PORT": str(settings.port)},
                )  # fmt: skip
            # by this process, and not only by that one when it has imported all it needs: if this one is killed now, the next
            # start waits for that endpoint, and does not start another one on the same port
            _write_pid(settings, process.pid)
        elif now.pid and _port(settings) != settings.port:
            raise LocalDatabricksError(
                f"The endpoint of {settings.home} runs on port {_port(settings)}, and LOCAL_DATABRICKS_PORT says"
                f" {settings.port}; stop it with `python -m local_databricks down` first."
            )
        elif now.ready and os.environ.get("ENGINE") and now.engine.lower() != settings.engine:
            raise LocalDatabricksError(
                f"The endpoint of {settings.home} runs {now.engine}, and ENGINE says {settings.engine}; stop it with"
                " `python -m local_databricks down` first."
            )
        end, told = time.monotonic() + START_TIMEOUT, 0
        while not now.ready:
            steps = _steps(settings) if process else []
            for step in steps[told:]:
                say(step)
            told = len(steps)
            if process and process.poll() is not None:
                raise LocalDatabricksError(_last_line(settings))
            if time.monotonic() > end:
                raise LocalDatabricksError(f"The endpoint did not become ready; its log is {_log_file(settings)}.")
            time.sleep(0.1)
            now = status(settings)
            if now.pid is None and process is None:
                raise LocalDatabricksError(f"The endpoint ended; its log is {_log_file(settings)}.")
        return process is not None


def down(settings: Settings) -> bool:
    """Stop the endpoint and its engine; returns whether there was one. Committed tables stay."""
    with _lock(settings):
        process = _process(settings)
        if process is not None:
            children = process.children(recursive=True)
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT)
            except psutil.TimeoutExpired:
                process.kill()
            for child in psutil.wait_procs(children, timeout=5)[1]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()
        _pid_file(settings).unlink(missing_ok=True)
        return process is not None


def serve(settings: Settings) -> None:
    """Be the endpoint, in the foreground, until a signal ends it.

    Raises LocalDatabricksError where the port is taken or the engine does not start.
    """
    # imported here so that `status` and `down` need not load the engine's client
    from local_databricks.sail import Sail
    from local_databricks.server import Server
    from local_databricks.spark import Spark

    settings.state.mkdir(parents=True, exist_ok=True)
    handler = logging.handlers.RotatingFileHandler(_log_file(settings), maxBytes=5 << 20, backupCount=1)
    logging.basicConfig(level=logging.INFO, handlers=[handler], format="%(asctime)s %(levelname).1s %(message)s")
    for noisy in ("pyspark", "py4j"):  # every failing statement, with its stack; its client is told
        logging.getLogger(noisy).setLevel(logging.CRITICAL)

    def say(step: str) -> None:
        logging.info(step)
        with _steps_file(settings).open("a") as steps:
            steps.write(step + "\n")

    engine = {"spark": Spark, "sail": Sail}[settings.engine](settings)
    server = Server(settings, engine)
    # Garbage is collected by the server's thread `sweep` alone. An abandoned call of gRPC takes locks when it is collected;
    # where that happens in a thread that gRPC just starts, holding its channel's lock, everybody waits for everybody.
    gc.disable()
    gc.freeze()
    _write_pid(settings, os.getpid())
    failed = threading.Event()

    def supervise() -> None:
        engine.run(say)
        if not stopping.is_set():
            failed.set()
            server.shutdown()

    stopping = threading.Event()

    def stop(*_) -> None:
        stopping.set()
        threading.Thread(target=server.shutdown, daemon=True).start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    threading.Thread(target=supervise, name="engine", daemon=True).start()
    server.serve_forever(poll_interval=0.2)
    engine.stop()  # first: what its sessions hold then need not be given up one by one
    server.close()
    _pid_file(settings).unlink(missing_ok=True)
    if failed.is_set():
        raise LocalDatabricksError(engine.problem)


# ---- state


def _pid_file(settings: Settings):
    return settings.state / "endpoint.pid"


def _write_pid(settings: Settings, pid: int) -> None:
    write_private(_pid_file(settings), json.dumps({"pid": pid, "port": settings.port}))


def _log_file(settings: Settings):
    return settings.state / "endpoint.log"


def _steps_file(settings: Settings):
    return settings.state / "steps"


def _steps(settings: Settings) -> list[str]:
    try:
        return _steps_file(settings).read_text().splitlines()
    except FileNotFoundError:
        return []


def _last_line(settings: Settings) -> str:
    lines = (settings.state / "endpoint.out").read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"The endpoint ended at its start; its log is {_log_file(settings)}."


def _process(settings: Settings) -> psutil.Process | None:
    """This lakehouse's endpoint: the process of the pid file, if it still is one of ours."""
    try:
        process = psutil.Process(json.loads(_pid_file(settings).read_text())["pid"])
        if process.status() != psutil.STATUS_ZOMBIE and "local_databricks" in process.cmdline():
            return process
    except (FileNotFoundError, ValueError, KeyError, psutil.Error):
        pass
    return None


def _port(settings: Settings) -> int:
    return json.loads(_pid_file(settings).read_text())["port"]


def _health(settings: Settings) -> dict:
    context = ssl.create_default_context(cafile=settings.ca_file)
    connection = http.client.HTTPSConnection("127.0.0.1", _port(settings), timeout=60, context=context)
    try:
        connection.request("GET", "/health", headers={"Authorization": f"Bearer {settings.token()}"})
        return json.loads(connection.getresponse().read())
    except (http.client.HTTPException, ValueError) as error:
        raise OSError(str(error)) from error
    finally:
        connection.close()


@contextlib.contextmanager
def _lock(settings: Settings) -> Iterator[None]:
    """Two starts, or a start and a stop, at the same time: the second waits for the first."""
    settings.state.mkdir(parents=True, exist_ok=True)
    with (settings.state / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
