"""The project works with the packages of the hub and with the stand-ins."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from invoices_countries.dbt import is_watched
from local_databricks.packages import resolve
from tests.fixtures_dbt import NOWHERE, copy_of_the_project


@pytest.fixture
def project(tmp_path) -> Path:
    """A copy of the dbt project without packages."""
    root = tmp_path / "project"
    root.mkdir()
    return copy_of_the_project(root)


def parse(project: Path) -> dict:
    """The manifest, parsed in a process of its own and without a connection."""
    target = project / "target"
    command = [sys.executable, "-m", "dbt.cli.main", "parse", "--profiles-dir", str(project)]
    paths = {"DBT_TARGET_PATH": str(target), "DBT_LOG_PATH": str(target), "PATH": "/usr/bin:/bin", "HOME": str(project)}
    done = subprocess.run(command, cwd=project, env=NOWHERE | paths, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((target / "manifest.json").read_text())


def own_nodes(manifest: dict) -> set[str]:
    """The project's own nodes, without those that are there with Elementary only: what the selector `watch` has."""
    nodes = manifest["nodes"] | manifest["unit_tests"]
    return {name for name, node in nodes.items() if node["package_name"] == "invoices_countries" and not is_watched(node)}


def test_the_project_parses_with_the_stand_ins(project, monkeypatch, tmp_path):
    monkeypatch.setenv("DBT_PACKAGE_HUB_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert resolve(project) is False
    assert own_nodes(parse(project))


def test_the_project_has_the_same_nodes_with_the_packages(project, monkeypatch, tmp_path):
    if not resolve(project):
        pytest.skip("the package hub cannot be reached and the packages are not in the cache")
    with_packages = own_nodes(parse(project))
    shutil.rmtree(project / "dbt_packages")
    monkeypatch.setenv("DBT_PACKAGE_HUB_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert resolve(project) is False
    assert own_nodes(parse(project)) == with_packages
