"""Fixtures of the dbt tests: the parsed project, a package hub on loopback, dbt in this process."""

import csv
import io
import json
import os
import shutil
import tarfile
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ingestion.dbt_command import spare_stack_walks
from local_databricks import packages
from local_databricks.packages import resolve
from tests.conftest import python

ROOT = Path(__file__).resolve().parent.parent
#: What needs Elementary's own tables, which most tests do not make: the selector `watch`.
WATCHED = ("tag:elementary-tests", "tag:watch", "path:models/observability")
#: A workspace that does not exist: whatever works with these variables works without a connection.
NOWHERE = {
    "DBT_TARGET": "databricks",
    "DATABRICKS_HOST": "workspace.invalid",
    "DATABRICKS_HTTP_PATH": "/sql/1.0/warehouses/none",
    "DATABRICKS_CATALOG": "a_catalog",
    "DATABRICKS_SCHEMA": "dev_tester",
    "DATABRICKS_TOKEN": "none",
    "DATABRICKS_CLUSTER_ID": "0000-000000-none",
}


def copy_of_the_project(folder: Path) -> Path:
    """The dbt project, without its packages, in a folder where it may be changed."""
    for name in ("dbt_project.yml", "profiles.yml", "packages.yml", "package-lock.yml", "selectors.yml"):
        shutil.copy(ROOT / name, folder / name)
    for name in ("models", "python_models", "macros", "seeds", "snapshots", "tests/dbt"):
        shutil.copytree(ROOT / name, folder / name)
    return folder


def dbt(*arguments: str, env: dict[str, str], project: Path = ROOT, may_fail: bool = False) -> object:
    """Run one dbt command in this process, with `env` added to its environment; returns dbt's result, which succeeded unless
    it may fail.

    In this process, because a new one takes seconds to import dbt. A clean checkout has no packages before the first call.
    """
    from dbt.cli.main import dbtRunner

    spare_stack_walks()
    resolve()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in env.items():
            patch.setenv(name, value)
        done = dbtRunner().invoke(["--quiet", *arguments, "--project-dir", str(project), "--profiles-dir", str(ROOT)])
    if may_fail and done.exception is None:
        return done.result
    assert done.success, done.exception or [f"{r.node.name}: {r.message}" for r in done.result if r.status in ("error", "fail")]
    return done.result


#: A process of its own for several commands of MetricFlow, because starting one takes seconds.
_METRICFLOW = """
import json, sys
from ingestion.metrics import answer
for arguments in json.loads(sys.argv[1]):
    try:
        answer(arguments)
    except SystemExit as done:
        if done.code:
            raise
"""


def metricflow(*commands: list[str], env: dict[str, str]) -> str:
    """Run commands of MetricFlow's `mf` over what dbt parsed last in the folder that `env` names; returns what they print."""
    done = python("-c", _METRICFLOW, json.dumps(commands), env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def answers_of_metricflow(*queries: tuple[str, ...], env: dict[str, str], folder: Path) -> dict[tuple, list[dict[str, str]]]:
    """The rows of queries of MetricFlow, as texts by column; `folder` is for their files."""
    files = [folder / f"{number}.csv" for number in range(len(queries))]
    metricflow(*(["query", "--quiet", "--csv", str(f), *query] for f, query in zip(files, queries, strict=True)), env=env)
    return {query: list(csv.DictReader(file.open())) for file, query in zip(files, queries, strict=True)}


@pytest.fixture(scope="session")
def parsed(tmp_path_factory) -> Callable[..., dict]:
    """A function that parses the project for the target databricks, with more variables if given, into its manifest."""
    target = tmp_path_factory.mktemp("parsed")
    manifests: dict[tuple, dict] = {}

    def parse(**variables: str) -> dict:
        key = tuple(sorted(variables.items()))
        if key not in manifests:
            paths = {"DBT_TARGET_PATH": str(target), "DBT_LOG_PATH": str(target / "logs")}
            dbt("parse", "--no-partial-parse", env=NOWHERE | paths | variables)
            manifests[key] = json.loads((target / "manifest.json").read_text())
        return manifests[key]

    return parse


class PackageHub:
    """A package hub on loopback with the one package acme/widgets 1.0.0. `requests` are the paths that were asked for;
    `serves` False makes it answer 404 to everything but its index, `is_up` False 503 to everything."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.serves = self.is_up = True
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hub.requests.append(self.path)
                body = hub._answer(self.path) if hub.is_up else None
                self.send_response(503 if not hub.is_up else 404 if body is None else 200)
                self.end_headers()
                self.wfile.write(body or b"")

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def _answer(self, path: str) -> bytes | None:
        if path == "/api/v1/index.json":
            return json.dumps(["acme/widgets"] if self.serves else []).encode()
        if path == "/api/v1/acme/widgets.json" and self.serves:
            version = {
                "name": "widgets",
                "version": "1.0.0",
                "packages": [],
                "require_dbt_version": [],
                "downloads": {"tarball": f"{self.url}/widgets.tar.gz"},
            }
            return json.dumps({"name": "widgets", "namespace": "acme", "versions": {"1.0.0": version}}).encode()
        if path == "/widgets.tar.gz":
            content, archive = b"name: widgets\nversion: 1.0.0\n", io.BytesIO()
            with tarfile.open(fileobj=archive, mode="w:gz") as tar:
                folder = tarfile.TarInfo("widgets-1.0.0")
                folder.type, folder.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(folder)
                entry = tarfile.TarInfo("widgets-1.0.0/dbt_project.yml")
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
            return archive.getvalue()
        return None

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def package_hub(monkeypatch, tmp_path) -> Iterator[PackageHub]:
    """A hub that DBT_PACKAGE_HUB_URL names, and an empty cache."""
    hub = PackageHub()
    # it answers from a thread of this process, which a busy machine may hold up for longer than the usual three seconds
    monkeypatch.setattr(packages, "PROBE_SECONDS", 120.0)
    monkeypatch.setenv("DBT_PACKAGE_HUB_URL", hub.url)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield hub
    hub.close()


def environment_of(endpoint: dict[str, str], folder: Path) -> dict[str, str]:
    """The endpoint's variables, with dbt's own files in `folder`."""
    return {**os.environ, **endpoint, "DBT_TARGET_PATH": str(folder), "DBT_LOG_PATH": str(folder / "logs")}
