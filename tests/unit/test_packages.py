"""The ladder that fills dbt_packages: marker, cache, hub, stand-ins."""

import json
import shutil
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from local_databricks import packages
from local_databricks.settings import LocalDatabricksError

PACKAGES = "packages:\n  - package: acme/widgets\n    version: 1.0.0\n"
LOCK = "packages:\n  - name: widgets\n    package: acme/widgets\n    version: 1.0.0\nsha1_hash: none\n"


@pytest.fixture
def project(tmp_path) -> Path:
    root = tmp_path / "project"
    root.mkdir()
    (root / "packages.yml").write_text(PACKAGES)
    (root / "package-lock.yml").write_text(LOCK)
    return root


def has_packages(project: Path) -> bool:
    return (project / "dbt_packages" / "widgets" / "dbt_project.yml").is_file()


def has_stand_ins(project: Path) -> bool:
    names = {path.name for path in (project / "dbt_packages").iterdir() if path.is_dir()}
    return names == {"dbt_utils", "dbt_expectations", "elementary"}


def leftovers(project: Path) -> list[Path]:
    return [path for path in project.iterdir() if path.name.startswith(".dbt_packages")]


def test_the_hub_fills_the_folder_and_the_cache(project, package_hub, capsys):
    assert packages.resolve(project) is True
    assert has_packages(project) and not leftovers(project)
    asked = len(package_hub.requests)
    assert packages.resolve(project) is True, "the folder matches the lock"
    shutil.rmtree(project / "dbt_packages")
    assert packages.resolve(project) is True, "the cache matches the lock"
    assert has_packages(project) and len(package_hub.requests) == asked
    assert "Elementary" not in capsys.readouterr().out


def test_a_dead_hub_means_stand_ins_and_one_notice(project, package_hub, monkeypatch, capsys):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("DBT_PACKAGE_HUB_URL", f"http://127.0.0.1:{unused.getsockname()[1]}")
        assert packages.resolve(project) is False
    assert has_stand_ins(project) and not leftovers(project)
    notice = capsys.readouterr().out
    assert notice.count("\n") == 1 and "Elementary" in notice and "cannot be reached" in notice
    assert packages.resolve(project) is False
    assert capsys.readouterr().out == ""


def test_a_hub_that_never_answers_is_unreachable():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        assert packages._is_reachable(f"http://127.0.0.1:{silent.getsockname()[1]}/") is False


def test_a_hub_without_the_package_means_stand_ins_with_the_reason(project, package_hub, capsys):
    package_hub.serves = False
    assert packages.resolve(project) is False
    assert has_stand_ins(project)
    assert "did not deliver" in capsys.readouterr().out


def test_stand_ins_give_way_when_the_hub_is_back_but_it_is_not_asked_every_time(project, package_hub):
    package_hub.is_up = False
    assert packages.resolve(project) is False
    package_hub.is_up, asked = True, len(package_hub.requests)
    assert packages.resolve(project) is False and len(package_hub.requests) == asked
    assert packages.resolve(project, retry=True) is True
    assert has_packages(project)


def test_an_hour_later_the_hub_is_asked_again(project, package_hub):
    package_hub.is_up = False
    packages.resolve(project)
    package_hub.is_up = True
    marker = project / "dbt_packages" / packages.MARKER
    marker.write_text(json.dumps(json.loads(marker.read_text()) | {"tried_at": 0}))
    assert packages.resolve(project) is True


def test_an_hour_later_stand_ins_stay_in_place_where_the_hub_is_still_down(project, package_hub):
    package_hub.is_up = False
    packages.resolve(project)
    folder = project / "dbt_packages"
    marker, place, asked = folder / packages.MARKER, folder.stat().st_ino, len(package_hub.requests)
    marker.write_text(json.dumps(json.loads(marker.read_text()) | {"tried_at": 0}))
    assert packages.resolve(project) is False and len(package_hub.requests) > asked
    assert folder.stat().st_ino == place and has_stand_ins(project), "another run may be reading it"
    asked = len(package_hub.requests)
    assert packages.resolve(project) is False and len(package_hub.requests) == asked


def test_many_who_fill_the_folder_at_once_do_not_meet(project, package_hub):
    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(packages.resolve, [project] * 6))
    assert has_packages(project) and not leftovers(project)
    assert len([path for path in package_hub.requests if path == "/widgets.tar.gz"]) == 1


def test_another_hub_is_asked_at_once(project, package_hub, monkeypatch):
    monkeypatch.setenv("DBT_PACKAGE_HUB_URL", package_hub.url + "/elsewhere")
    assert packages.resolve(project) is False
    monkeypatch.setenv("DBT_PACKAGE_HUB_URL", package_hub.url)
    assert packages.resolve(project) is True


def test_changed_stand_ins_replace_the_old_ones(project, package_hub, monkeypatch, tmp_path):
    package_hub.is_up = False
    packages.resolve(project)
    changed = tmp_path / "stand_ins"
    shutil.copytree(packages.STAND_INS, changed)
    (changed / "dbt_utils" / "macros" / "another.sql").write_text("{% macro another() %}{% endmacro %}")
    monkeypatch.setattr(packages, "STAND_INS", changed)
    assert packages.resolve(project) is False
    assert (project / "dbt_packages" / "dbt_utils" / "macros" / "another.sql").is_file()


def test_a_changed_lock_is_resolved_again(project, package_hub):
    packages.resolve(project)
    asked = len(package_hub.requests)
    with (project / "package-lock.yml").open("a") as lock:
        lock.write("# changed\n")
    packages.resolve(project)
    assert len(package_hub.requests) > asked


def test_a_folder_that_somebody_else_filled_is_not_trusted(project, package_hub):
    (project / "dbt_packages" / "widgets").mkdir(parents=True)
    assert packages.resolve(project) is True
    assert has_packages(project)


def test_a_lock_that_does_not_match_is_named(project, package_hub):
    (project / "package-lock.yml").write_text(LOCK.replace("1.0.0", "0.9.0"))
    with pytest.raises(LocalDatabricksError, match="package-lock.yml does not match packages.yml"):
        packages.resolve(project)


def test_a_missing_lock_is_one_sentence(project, package_hub, monkeypatch, capsys):
    (project / "package-lock.yml").unlink()
    with pytest.raises(LocalDatabricksError, match="package-lock.yml is missing"):
        packages.resolve(project)


def test_the_command_line_tells_errors_in_one_sentence(monkeypatch, capsys):
    def fail(retry: bool) -> bool:
        raise LocalDatabricksError("something is wrong.")

    monkeypatch.setattr(packages, "resolve", fail)
    assert packages.main([]) == 1
    assert capsys.readouterr().err == "error: something is wrong.\n"
