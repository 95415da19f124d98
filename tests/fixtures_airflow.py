"""All of Airflow over a lakehouse of its own: a copy of the repository, the scheduler and the rest on loopback, its API."""

import contextlib
import functools
import json
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import requests

from tests.conftest import free_port, python
from tests.fixtures_notices import UNHURRIED, answered, patient_database

STATES = ("success", "failed")
#: How long a test waits for something that comes within a minute on a machine with nothing else to do.
SECONDS = 900


class Webhook:
    """Receives the notices of the generic webhook; `messages` are their bodies."""

    def __init__(self) -> None:
        self.messages: list[dict] = []
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                hook.messages.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def of(self, run: str) -> list[dict]:
        """What was told of one run: another run's recovery may well arrive after the next has begun."""
        return [message for message in self.messages if message["run_id"] == run]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Airflow:
    """A running Airflow.

    clone: the copy of the repository that it runs; home: its lakehouse; environment: the variables of everything in it.
    """

    def __init__(self, clone: Path, environment: dict[str, str], settings: dict) -> None:
        self.clone, self.home = clone, Path(environment["LAKEHOUSE_HOME"])
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = self.home / "standalone.txt"
        self.environment = {
            **os.environ,
            **environment,
            **UNHURRIED,
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": patient_database(self.home / "airflow"),
            "AIRFLOW_PORT": str(self.port),
            "AIRFLOW_VAR_INVOICES_COUNTRIES": json.dumps(settings),
            # A scheduler whose last heartbeat is older than the threshold is taken for dead, and its tasks are done again: by
            # the next one after a kill, which the tests wait for, but also by itself, if a busy machine held it up for as long.
            # Tasks that run are left alone for longer: a try that is lost by chance is one too many for these tests.
            "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "5",
            "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "40",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "300",
        }
        self._token = ""
        self._process: subprocess.Popen | None = None

    def start(self) -> None:
        """Start it and wait until the scheduler has read the DAGs."""
        with self.log.open("w") as output:
            self._process = subprocess.Popen(
                [sys.executable, "airflow/local.py", "standalone"], cwd=self.clone, env=self.environment,
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
        self.until(lambda: self._is_ready(), SECONDS, "Airflow does not start")

    def _is_ready(self) -> bool:
        assert self._process and self._process.poll() is None, self.log.read_text()[-3000:]
        try:
            health = requests.get(f"{self.url}/api/v2/monitor/health", timeout=30).json()
            if health["scheduler"]["status"] != "healthy" or not self.password():
                return False
            return len(self.get("dags")["dags"]) == 4
        except (requests.RequestException, ValueError):
            return False

    def password(self) -> str:
        """The admin's password, as `make airflow` prints it."""
        file = self.home / "airflow" / "passwords.json"
        return json.loads(file.read_text())["admin"] if file.exists() else ""

    def call(self, method: str, path: str, body: dict | None = None) -> dict:
        """One call of Airflow's REST API (https://airflow.apache.org/docs/apache-airflow/stable/stable-rest-api-ref.html)."""
        for _ in range(2):
            if not self._token:
                login = {"username": "admin", "password": self.password()}
                self._token = requests.post(f"{self.url}/auth/token", json=login, timeout=300).json()["access_token"]
            url, headers = f"{self.url}/api/v2/{path}", {"Authorization": f"Bearer {self._token}"}
            answer = answered(functools.partial(requests.request, method, url, json=body, headers=headers, timeout=300))
            if answer.status_code != 401:
                break
            self._token = ""
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text[:500]}"
        return answer.json()

    def get(self, path: str) -> dict:
        """What a GET of the API answers."""
        return self.call("GET", path)

    def trigger(self, dag: str, **conf: object) -> str:
        """Start a run by hand; returns its id."""
        run = f"manual__{uuid.uuid4()}"  # of its own, so that asking twice starts it once
        self.call("POST", f"dags/{dag}/dagRuns", {"dag_run_id": run, "logical_date": None, "conf": conf})
        return run

    def runs(self, dag: str) -> dict[str, str]:
        """State of each run by its id, oldest first."""
        found = self.get(f"dags/{dag}/dagRuns?order_by=id&limit=100")["dag_runs"]
        return {run["dag_run_id"]: run["state"] for run in found}

    def tasks(self, dag: str, run: str) -> dict[str, dict]:
        """Task instances of a run by their id."""
        found = self.get(f"dags/{dag}/dagRuns/{run}/taskInstances?limit=200")["task_instances"]
        return {each["task_id"]: each for each in found}

    def tries(self, dag: str, run: str, task: str) -> list[str]:
        """The state in which each try of a task ended."""
        found = self.get(f"dags/{dag}/dagRuns/{run}/taskInstances/{task}/tries")["task_instances"]
        return [each["state"] for each in found]

    def returned(self, dag: str, run: str, task: str, key: str = "return_value") -> object:
        """What a task returned, or pushed under another key."""
        return self.get(f"dags/{dag}/dagRuns/{run}/taskInstances/{task}/xcomEntries/{key}?stringify=false")["value"]

    def new_run(self, dag: str, known: set[str], seconds: float = SECONDS) -> str:
        """The id of a run that was not known, once there is one."""
        self.until(lambda: set(self.runs(dag)) - known, seconds, f"no run of {dag} begins")
        return (set(self.runs(dag)) - known).pop()

    def finished(self, dag: str, run: str, seconds: float = 2 * SECONDS) -> str:
        """The state of a run, once it has ended."""
        self.until(lambda: self.runs(dag)[run] in STATES, seconds, f"{dag} {run} does not end")
        return self.runs(dag)[run]

    def until(self, condition: Callable[[], object], seconds: float, complaint: str) -> None:
        """Wait for a condition; fails with the end of Airflow's output."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"{complaint}; {self.log.read_text()[-3000:]}"
            time.sleep(0.5)

    def component(self, name: str) -> psutil.Process:
        """The process of one of Airflow's parts, such as `scheduler`."""
        for child in psutil.Process(self._process.pid).children():
            with contextlib.suppress(psutil.Error):  # one that is just being started again
                if name in child.cmdline():
                    return child
        raise AssertionError(f"there is no {name}")

    def stop(self) -> None:
        """Stop all of its processes."""
        if self._process is None:
            return
        processes = [psutil.Process(self._process.pid)]
        with contextlib.suppress(psutil.Error):
            processes += processes[0].children(recursive=True)
        self._process.terminate()
        try:
            self._process.wait(40)  # it ends after its parts; not to be awaited is the endpoint, which is a child of it too
        except subprocess.TimeoutExpired:
            for process in processes:
                with contextlib.suppress(psutil.Error):
                    process.kill()
            self._process.wait()
        self._process = None


@contextlib.contextmanager
def airflow_over(clone: Path, environment: dict[str, str], settings: dict) -> Iterator[Airflow]:
    """A started Airflow; it, the endpoint and the demo source are stopped at the end."""
    airflow = Airflow(clone, environment, settings)
    try:
        airflow.start()
        yield airflow
    finally:
        airflow.stop()
        python("-m", "local_databricks", "down", env=environment)
        python("-m", "ingestion.demo_source", "down", env=environment)
