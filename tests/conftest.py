"""Fixtures that the whole suite shares: a lakehouse of its own, with a running endpoint, far from the developer's."""

import atexit
import contextlib
import functools
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest

from local_databricks.settings import free_port

ROOT = Path(__file__).resolve().parent.parent
#: Variables of the developer's shell that would lead a test to the developer's lakehouse, source or workspace.
LEADING_ASTRAY = (
    "AIRFLOW", "LAKEHOUSE_HOME", "LOCAL_DATABRICKS_", "DATABRICKS_", "DBT_", "SOURCES__", "DESTINATION__", "DLT_", "KAFKA_",
    "REPORTS_", "AIRBYTE_", "FILES_",
)  # fmt: skip


def pytest_configure() -> None:
    for name in list(os.environ):
        if name.startswith(LEADING_ASTRAY) and name != "DBT_PACKAGE_HUB_URL":
            del os.environ[name]
    # Airflow makes its home when it is imported, which tests of the DAGs' helpers do in this process.
    home = tempfile.TemporaryDirectory(prefix="airflow")
    atexit.register(home.cleanup)
    os.environ["AIRFLOW_HOME"] = home.name


#: Files of minutes by their share of the suite: those of one share have a lakehouse in common. All others share the session's
#: endpoints and are the share REST. The longest share is the first.
SHARES = {
    **dict.fromkeys(
        ("test_power_bi_measures.py", "test_reports.py", "test_run.py", "test_serve.py", "test_sql_clients.py"), "run"
    ),
    "test_airflow_scheduler.py": "scheduler",
    "test_loaders.py": "loaders",
    "test_kafka.py": "kafka",
    "test_mutations.py": "mutations",
    "test_observability.py": "elementary",
}
REST = "rest"
LONGEST_FIRST = list(dict.fromkeys([REST, *SHARES.values()]))


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Three workers for the whole suite, which waits a good deal; none, and so no time to start them, for a part of it."""
    option = config.option
    places = {(config.invocation_params.dir / name).resolve() for name in config.args}
    is_whole = places <= {ROOT, ROOT / "tests"} and not (option.keyword or option.markexpr or config.getoption("lf", False))
    return 3 if is_whole else 0


def pytest_xdist_make_scheduler(config: pytest.Config, log):
    """Hands out whole shares; xdist's own --dist loadgroup groups nothing under pytest 9.2, and does not say so."""
    from xdist.scheduler import LoadScopeScheduling

    class ByShare(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return SHARES.get(nodeid.partition("::")[0].rpartition("/")[2], REST)

        def _assign_work_unit(self, node) -> None:  # not the share of most tests first, as it would be
            self.workqueue.move_to_end(min(self.workqueue, key=LONGEST_FIRST.index), last=False)
            super()._assign_work_unit(node)

    return ByShare(config, log)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop what workers left running: one that is interrupted has but seconds to end what its fixtures have started."""
    if config.option.dist == "no" or hasattr(config, "workerinput"):
        return
    folder, left = f"{config._tmp_path_factory.getbasetemp()}{os.sep}", []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if any(folder in text for text in (*process.cmdline(), process.environ().get("LAKEHOUSE_HOME", ""))):
                process.terminate()
                left.append(process)
    for process in psutil.wait_procs(left, timeout=10)[1]:
        with contextlib.suppress(psutil.Error):
            process.kill()


def run(*command: str, env: dict[str, str] | None = None, timeout: float = 900, **options) -> subprocess.CompletedProcess:
    """Run a command in the project's root; `env` is added to this process's. The output is captured as text.

    timeout: in seconds, against a command that hangs; long, because a busy machine may need ten times what another one does.
    """
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, **(env or {})}, capture_output=True, text=True, timeout=timeout, **options
    )


def python(*arguments: str, **options) -> subprocess.CompletedProcess:
    return run(sys.executable, *arguments, **options)


def clients(environment: dict[str, str]) -> dict[str, str]:
    """The environment with what the endpoint's clients need besides."""
    return environment | _printed(tuple(sorted(environment.items())))


@functools.cache
def _printed(environment: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """What `env` prints, for which a process has to start."""
    printed = python("-m", "local_databricks", "env", env=dict(environment)).stdout
    return dict(line.removeprefix("export ").split("=", 1) for line in printed.splitlines())


def connect(environment: dict[str, str], token: str | None = None, **options):
    """A connection of databricks-sql-connector to the endpoint whose clients' variables these are."""
    from databricks import sql  # takes two seconds, which many tests need not pay

    host, path = environment["LOCAL_DATABRICKS_HOST"], environment["LOCAL_DATABRICKS_HTTP_PATH"]
    return sql.connect(
        server_hostname=host, http_path=path, access_token=token or environment["LOCAL_DATABRICKS_TOKEN"],
        _connection_uri=f"https://{host}/{path}", _tls_trusted_ca_file=environment["LOCAL_DATABRICKS_CA_FILE"],
        enable_telemetry=False, _retry_stop_after_attempts_count=3, _retry_delay_max=1, **options,
    )  # fmt: skip


@contextmanager
def running_endpoint(home: Path, **variables: str) -> Iterator[dict[str, str]]:
    """A started endpoint over `home`; gives the environment that its clients need and stops it at the end."""
    base = {"LAKEHOUSE_HOME": str(home), "LOCAL_DATABRICKS_PORT": str(free_port()), **variables}
    started = python("-m", "local_databricks", "up", env=base, timeout=900)
    assert started.returncode == 0, started.stderr + started.stdout
    try:
        yield clients(base)
    finally:
        python("-m", "local_databricks", "down", env=base)


@pytest.fixture(scope="session")
def endpoint_of(tmp_path_factory) -> Iterator[Callable[[str], dict[str, str]]]:
    """A function from an engine, spark or sail, to the variables of the clients of its endpoint, which is one for the session.

    A suite that uses it drops what it makes, or names it so that no other one meets it.
    """
    with ExitStack() as running:

        @functools.cache
        def start(engine: str) -> dict[str, str]:
            return running.enter_context(running_endpoint(tmp_path_factory.mktemp(f"lakehouse_{engine}"), ENGINE=engine))

        yield start


@pytest.fixture(scope="session")
def endpoint(endpoint_of) -> dict[str, str]:
    """The endpoint with the engine that ENGINE names, Spark where it names none, as the variables of its clients."""
    return endpoint_of((os.environ.get("ENGINE") or "spark").lower())


@pytest.fixture(scope="session")
def fast_endpoint(endpoint_of) -> dict[str, str]:
    """The same with Sail, for tests of dbt's SQL with many small statements; what they build, others build on Spark."""
    return endpoint_of("sail")
