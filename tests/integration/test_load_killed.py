"""A load that is killed with SIGKILL at any moment, and run again: nothing is lost, and nothing waits for ever."""

import multiprocessing
import os
import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from ingestion.load import load
from ingestion.settings import IngestionError
from tests.fixtures_ingestion import SourceSchema, bronze_rows, killed_at, later

# A fork server has the slow imports done once, and no threads of this process in its children.
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["ingestion.load", "deltalake", "dlt.common.libs.deltalake", "dlt.destinations.filesystem"])


def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)


def run_and_die(environment: dict[str, str], place: str, after: bool, calls: int) -> None:
    """Load in this process, and kill it at the n-th call of the function at `place`, before or after its work."""
    os.environ.update(environment)
    with killed_at(place, after, calls):
        load(register=False)


def settings() -> dict[str, str]:
    names = ("SOURCES__", "LAKEHOUSE_HOME", "DLT_DATA_DIR")
    return {name: value for name, value in os.environ.items() if name.startswith(names)}


@pytest.fixture(scope="module")
def changed_since_a_load(postgres, tmp_path_factory) -> Iterator[tuple[dict[str, str], Path]]:
    """The settings of a source that was loaded and has changed since, and the lakehouse of that load, to be copied."""
    home, source = tmp_path_factory.mktemp("loaded"), SourceSchema(postgres)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "LAKEHOUSE_HOME": str(home),
            "DLT_DATA_DIR": str(home / "dlt"),
            "SOURCES__SQL_DATABASE__CREDENTIALS": source.url,
            "SOURCES__SQL_DATABASE__SCHEMA": source.name,
            "SOURCES__SQL_DATABASE__CHUNK_SIZE": "10",
            "SOURCES__SQL_DATABASE__COMPARE_KEYS": "true",
        }.items():
            patch.setenv(name, value)
        source.add(1, 40)
        load(register=False)
        source.add(41, 80, at=later(hours=1))
        source.run("update countries set country_name = 'Deutschland', updated_at = %s", later(hours=1))
        source.run("update invoices set status = 'paid', updated_at = %s where invoice_id <= 20", later(hours=1))
        source.run("delete from invoices where invoice_id = 30")
        found = settings()
    yield found, home
    source.close()


@pytest.mark.parametrize(
    ("place", "after", "calls"),
    [
        pytest.param("ingestion.load.conform", False, 3, id="while extracting"),
        pytest.param("dlt.normalize.normalize.Normalize.run", False, 1, id="between extract and normalize"),
        pytest.param("dlt.load.load.Load.run", False, 1, id="between normalize and load"),
        pytest.param("dlt.common.libs.deltalake.write_delta_table", False, 1, id="before the first commit"),
        pytest.param("dlt.common.libs.deltalake.write_delta_table", True, 1, id="between the commits of two tables"),
        pytest.param("dlt.common.libs.deltalake.write_delta_table", True, 2, id="after the commits, before the state"),
        pytest.param("dlt.load.load.Load.complete_package", True, 1, id="after the state"),
    ],
)
def test_a_killed_load_loses_nothing(changed_since_a_load, home, monkeypatch, place, after, calls):
    environment, template = changed_since_a_load
    shutil.copytree(template, home)
    for name, value in (environment | settings()).items():
        monkeypatch.setenv(name, value)

    child = processes.Process(target=run_and_die, args=(settings(), place, after, calls))
    child.start()
    child.join(300)
    assert child.exitcode == -signal.SIGKILL

    load(register=False)
    seen = Counter((row["invoice_id"], row["status"], bool(row["_is_deleted"])) for row in bronze_rows(home))
    opened, paid = {(number, "open", False) for number in range(1, 81)}, {(n, "paid", False) for n in range(1, 21)}
    assert set(seen) == opened | paid | {(30, None, True)}
    assert {row["country_name"] for row in bronze_rows(home, "countries")} == {"Germany", "Deutschland"}
    # What landed twice is the same file committed twice, with the same ids, so that silver can tell.
    assert len({row["_dlt_id"] for row in bronze_rows(home)}) == len(seen)
    settled = load(register=False)
    assert (settled.rows, settled.tombstones) == ({"countries": 0, "invoices": 0}, 0)


def hold(environment: dict[str, str], ready, done) -> None:
    os.environ.update(environment)
    with mock.patch("ingestion.load.sources.settings", side_effect=lambda: ready.set() or done.wait(300) and die()):
        load(register=False)


def test_two_loads_at_once_do_not_double_the_rows_and_the_lock_dies_with_its_holder(source, home):
    source.add(1, 5)
    ready, done = processes.Event(), processes.Event()
    child = processes.Process(target=hold, args=(settings(), ready, done))
    child.start()
    assert ready.wait(300)
    with pytest.raises(IngestionError, match=f"another load is running: process {child.pid}, started at "):
        load(register=False)
    done.set()
    child.join(300)
    assert load(register=False).rows["invoices"] == 5
    assert len(bronze_rows(home)) == 5
