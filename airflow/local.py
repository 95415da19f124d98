"""Airflow on this machine, over the local target: `make airflow` (all of it) and `make dag-run` (the chain, headless).

    python airflow/local.py standalone            the UI, the scheduler and the rest, until Ctrl-C
    python airflow/local.py run [--full-refresh] [DAG ...]
                                                  ingest, transform and publish in this process, one task after the other

Both start the local endpoint and the demo source, and give Airflow their addresses as the connections that the DAGs know.
A connection or variable that is set already (AIRFLOW_CONN_…, AIRFLOW_VAR_INVOICES_COUNTRIES) stays as it is. Settings:
AIRFLOW_PORT (8080); state is in LAKEHOUSE_HOME/airflow.
"""

import argparse
import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

import psutil
from pluggy import HookimplMarker

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from local_databricks import lifecycle, packages  # noqa: E402
from local_databricks.settings import LocalDatabricksError, Settings, write_private  # noqa: E402

hookimpl = HookimplMarker("airflow")  # as airflow.listeners has it; Airflow is imported once its variables are set
CHAIN = ("ingest", "transform", "publish")
POOLS = {"dbt": (4, "dbt tasks in the warehouse at a time"), "source": (1, "loads from the source at a time")}


def environment(settings: Settings) -> dict[str, str]:
    """The variables that make Airflow this project's: its folders, its connections, and nothing phoned home."""
    from ingestion.demo_source import Server

    home, port = settings.home / "airflow", os.environ.get("AIRFLOW_PORT") or "8080"
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise LocalDatabricksError(f"AIRFLOW_PORT must be a whole number from 1 to 65535, and is {port!r}.")
    key = home / "jwt_secret"
    if not key.exists():
        write_private(key, secrets.token_hex(32))
    ours = {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(REPOSITORY / "airflow" / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(REPOSITORY / "airflow" / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PARALLELISM": "8",
        "AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG": "8",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home / "passwords.json"),
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": port,
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}",
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API_AUTH__JWT_SECRET": key.read_text(),
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "30",
        # a laptop that is busy with something else takes longer than Airflow's 5 s and 30 s
        "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "60",
        "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "120",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "AIRFLOW__COSMOS__CACHE_DIR": str(home / "cosmos"),
        "AIRFLOW__COSMOS__ENABLE_TELEMETRY": "False",
        # else Cosmos hashes this machine's environment and lakehouse at each parsing
        "AIRFLOW__COSMOS__PROJECT_HASH_EXCLUDED_DIRS": ".venv,.lakehouse,node_modules,__pycache__",
        "AIRFLOW__COSMOS__DBT_DOCS_DIR": str(settings.home / "docs"),
        "LAKEHOUSE_HOME": str(settings.home),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(REPOSITORY / "airflow" / "config"), os.environ.get("PYTHONPATH")])),
        # forked tasks load no system proxies and no Objective-C libraries (macOS)
        "NO_PROXY": "*",
        "OBJC_DISABLE_INITIALIZE_FORK_SAFETY": "YES",
    }
    client = settings.client_environment()
    host, _, endpoint_port = client["LOCAL_DATABRICKS_HOST"].rpartition(":")
    source = Server()
    connections = {
        "INVOICES_SOURCE": {
            "conn_type": "postgres",
            "login": "postgres",
            "schema": "postgres",
            "extra": {"host": str(source.socket_folder)},
        },
        "INVOICES_DATABRICKS": {
            "conn_type": "databricks",
            "host": host,
            "port": int(endpoint_port),
            "password": client["LOCAL_DATABRICKS_TOKEN"],
            "extra": {
                "http_path": client["LOCAL_DATABRICKS_HTTP_PATH"],
                "ca_file": client["LOCAL_DATABRICKS_CA_FILE"],
                "ca_bundle": client["REQUESTS_CA_BUNDLE"],
            },
        },
    }
    for name, value in connections.items():
        ours.setdefault(f"AIRFLOW_CONN_{name}", os.environ.get(f"AIRFLOW_CONN_{name}") or json.dumps(value))
    if not os.environ.get("AIRFLOW_VAR_INVOICES_COUNTRIES"):
        ours["AIRFLOW_VAR_INVOICES_COUNTRIES"] = json.dumps({"source": {"compare_keys": True}})
    return ours


def prepare() -> None:
    """Have packages, endpoint, source and manifest; then this process has Airflow's environment."""
    from ingestion import demo_source

    settings = Settings.from_environment()
    settings.home.mkdir(parents=True, exist_ok=True)
    packages.resolve()
    if not os.environ.get("AIRFLOW_CONN_INVOICES_DATABRICKS"):
        lifecycle.up(settings, lambda step: print(f"  endpoint: {step}", flush=True))
    if not os.environ.get("AIRFLOW_CONN_INVOICES_SOURCE"):
        state = demo_source.up()
        print(f"  the demo source (day {state.day}, {state.invoices:,} invoices)", flush=True)
    folder = settings.home / "airflow"
    folder.mkdir(exist_ok=True)
    draft = folder / "parse"
    command = [str(Path(sys.executable).parent / "dbt"), "--quiet", "parse", "--target-path", str(draft)]
    # all that Cosmos says too, or dbt would not take what is parsed here for the same project
    command += ["--profile", "invoices_countries", "--target", "local", "--no-static-parser"]
    with contextlib.suppress(ValueError, AttributeError):  # what is no JSON object, the DAGs will tell
        loader = json.loads(os.environ.get("AIRFLOW_VAR_INVOICES_COUNTRIES") or "{}").get("loader", "dlt")
        command += [] if loader == "dlt" else ["--vars", json.dumps({"loaders": loader})]
    paths = ["--project-dir", str(REPOSITORY), "--profiles-dir", str(REPOSITORY)]
    done = subprocess.run([*command, *paths], env={**os.environ, **settings.client_environment()}, cwd=REPOSITORY)
    if done.returncode:
        raise LocalDatabricksError("dbt cannot parse the project (see above); the DAGs are drawn from what it parses.")
    # what is parsed already need not be parsed by the first tasks again: this is where Cosmos keeps it between tasks
    parsed = folder / "cosmos" / "transform__dbt" / "target"
    parsed.mkdir(parents=True, exist_ok=True)
    for name in ("manifest.json", "partial_parse.msgpack"):
        (parsed / name).write_bytes((draft / name).read_bytes())
    (draft / "manifest.json").replace(folder / "manifest.json")
    os.environ.update(environment(settings))


def migrate() -> None:
    """Bring Airflow's database to this version, and have the pools that the tasks name."""
    pools = Path(os.environ["AIRFLOW_HOME"]) / "pools.json"
    pools.write_text(json.dumps({name: {"slots": n, "description": about} for name, (n, about) in POOLS.items()}))
    for command in (["db", "migrate"], ["pools", "import", str(pools)]):
        done = subprocess.run([sys.executable, "-m", "airflow", *command], capture_output=True, text=True)
        if done.returncode:
            raise LocalDatabricksError(f"`airflow {' '.join(command[:2])}` failed: {done.stderr.strip()[-500:]}")


#: Airflow's parts. Logs are read from the disk: the servers of logs, which would listen on every address, are not started.
PARTS = {
    "api-server": ["api-server"],
    "scheduler": ["scheduler", "--skip-serve-logs"],
    "dag-processor": ["dag-processor"],
    "triggerer": ["triggerer", "--skip-serve-logs"],
}


def standalone() -> int:
    """Run all of Airflow until a signal; prints where it is and the admin's password, and starts a part that died again.

    Each part writes into LAKEHOUSE_HOME/airflow/<part>.log.
    """
    home, port = Path(os.environ["AIRFLOW_HOME"]), int(os.environ["AIRFLOW__API__PORT"])
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise LocalDatabricksError(f"Port {port} is taken; AIRFLOW_PORT names another.")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    running: dict[str, subprocess.Popen] = {}

    def start(part: str) -> None:
        with (home / f"{part}.log").open("a") as log:
            command = [sys.executable, "-m", "airflow", *PARTS[part]]
            running[part] = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)

    told = False
    try:
        for part in PARTS:
            start(part)
        while True:
            time.sleep(1)
            for part, process in list(running.items()):
                if process.poll() is not None:
                    print(f"  {part} ended ({process.returncode}) and is started again; {home / f'{part}.log'}", flush=True)
                    time.sleep(2)
                    start(part)
            if not told and _is_healthy(port):
                told = True
                password = json.loads((home / "passwords.json").read_text())["admin"]
                print(f"\nAirflow is at http://127.0.0.1:{port}, user admin, password {password}; Ctrl-C stops it.", flush=True)
    finally:
        for process in running.values():
            process.terminate()
        end = time.monotonic() + 20
        for process in running.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.1, end - time.monotonic()))
        # Tasks, in process groups of their own, would go on; the scheduler that is started next tries them again.
        sessions = {process.pid for process in running.values()}
        for process in psutil.process_iter():
            with contextlib.suppress(OSError, psutil.Error):
                if os.getsid(process.pid) in sessions:
                    process.kill()


def _is_healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v2/monitor/health", timeout=5) as answer:
            found = json.load(answer)
    except (OSError, ValueError):
        return False
    return all(
        (found[part] or {}).get("status") == "healthy" for part in ("metadatabase", "scheduler", "triggerer", "dag_processor")
    )


class Progress:
    """Prints a line when a task ends, while everything else that is printed goes to a file."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self._screen = os.fdopen(os.dup(1), "w")
        self._log = log.open("w")
        sys.stdout.flush()
        for descriptor in (1, 2):
            os.dup2(self._log.fileno(), descriptor)

    def say(self, line: str) -> None:
        print(line, file=self._screen, flush=True)

    def _ended(self, task_instance, state: str) -> None:
        begin = task_instance.start_date
        seconds = (datetime.now(UTC) - begin).total_seconds() if begin else 0.0
        self.say(f"  {task_instance.task_id:<88.88} {state:<9}{task_instance.try_number:>3}{seconds:>9.1f} s")

    @hookimpl
    def on_task_instance_success(self, previous_state, task_instance) -> None:
        self._ended(task_instance, "success")

    @hookimpl
    def on_task_instance_failed(self, previous_state, task_instance, error) -> None:
        self._ended(task_instance, "failed")
        self.say(f"    {' '.join(str(error).split())[:500]}")

    @hookimpl
    def on_task_instance_skipped(self, previous_state, task_instance) -> None:
        self._ended(task_instance, "skipped")


def run(dags: list[str], full_refresh: bool) -> int:
    """Run DAGs one after the other in this process, with a line for each task; returns 1 where one failed."""
    from airflow.dag_processing.dagbag import BundleDagBag
    from airflow.sdk.listener import get_listener_manager

    progress = Progress(Path(os.environ["AIRFLOW_HOME"]) / "dag_run.log")
    get_listener_manager().add_listener(progress)
    bag = BundleDagBag(bundle_path=Path(os.environ["AIRFLOW__CORE__DAGS_FOLDER"]), bundle_name="dags-folder")
    if bag.import_errors:
        raise LocalDatabricksError("; ".join(text.strip().splitlines()[-1] for text in bag.import_errors.values()))
    if unknown := [name for name in dags if name not in bag.dags]:
        raise LocalDatabricksError(f"There is no DAG {unknown[0]!r}; there are {', '.join(sorted(bag.dags))}.")
    for name in dags:
        dag = bag.dags[name]
        dag.deadline = None  # dag.test() of Airflow 3.3.2 cannot: it asks the database for a deadline that it did not write
        progress.say(f"\n{name:<90} {'state':<9}{'try':>3}{'time':>9}")
        begin = time.monotonic()
        done = dag.test(run_conf={"full_refresh": True} if full_refresh and name == "transform" else None)
        never = [each.task_id for each in done.get_task_instances() if each.start_date is None]
        progress.say(
            f"  {done.state} after {time.monotonic() - begin:.1f} s" + (f"; not run: {', '.join(never)}" if never else "")
        )
        if done.state != "success":
            progress.say(f"\nAirflow's own words are in {progress.log}")
            return 1
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code (1 after one sentence on standard error)."""
    parser = argparse.ArgumentParser(prog="python airflow/local.py", description="Airflow over the local target.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("standalone", help="all of Airflow on loopback, until Ctrl-C")
    chain = verbs.add_parser("run", help="DAGs in this process, one task after the other, and a table of the tasks")
    chain.add_argument("dags", nargs="*", default=list(CHAIN), metavar="DAG", help=" ".join(CHAIN))
    chain.add_argument("--full-refresh", action="store_true", help="build silver and gold anew from all of bronze")
    options = parser.parse_args(arguments)
    try:
        prepare()
        if options.verb == "run":
            # a database of its own: a scheduler would take the assets of this run for its cue to run everything once more
            os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = f"sqlite:///{os.environ['AIRFLOW_HOME']}/dag_run.db"
        migrate()
        return standalone() if options.verb == "standalone" else run(options.dags, options.full_refresh)
    except LocalDatabricksError as error:
        print(f"\nerror: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
