"""Airbyte for real: its connector source-file, in an environment of its own, over CSV exports of a PostgreSQL."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import deltalake
import psutil
import psycopg2
import pyarrow as pa
import pytest

from ingestion.airbyte import sync as airbyte
from ingestion.airbyte.__main__ import main
from ingestion.airbyte.environment import Environment, environment, is_made
from ingestion.settings import IngestionError, PassingError
from tests.conftest import ROOT
from tests.fixtures_ingestion import SourceSchema, home, postgres, source  # noqa: F401

#: metaColumns of https://github.com/airbytehq/airbyte/blob/master/airbyte-integrations/connectors/destination-databricks/
#: src/main/kotlin/io/airbyte/integrations/destination/databricks/sql/DatabricksSqlGenerator.kt
METADATA = {
    "_airbyte_raw_id": pa.string(),
    "_airbyte_extracted_at": pa.timestamp("us", "UTC"),
    "_airbyte_meta": pa.string(),
    "_airbyte_generation_id": pa.int64(),
}


@pytest.fixture(scope="module")
def installed() -> Environment:
    """Airbyte's environment, in the user's cache. It is 1.2 GB, so it is made here only where somebody asks for it."""
    if not os.environ.get("WITH_AIRBYTE") and not is_made():
        pytest.skip("WITH_AIRBYTE=1 makes Airbyte's environment (1.2 GB in the cache, half a minute); it is not there")
    try:
        return environment()
    except PassingError as error:
        if re.search(r"request failed|fetch|connect|dns|timed? ?out", str(error), re.IGNORECASE):
            pytest.skip(str(error))
        raise


@pytest.fixture
def config(installed, source: SourceSchema, tmp_path: Path) -> Path:  # noqa: F811
    """A configuration of the source's export, with a row in it that is no good."""
    source.add(1, 3)
    source.run("insert into countries values ('NA', 'Namibia, ''Land of the Brave''', null, null, 'NAD', now())")
    connection = psycopg2.connect(source.url.replace("+psycopg2", ""), options=f"-c search_path={source.name}")
    path = airbyte.export(connection, tmp_path / "export")
    connection.close()
    with (tmp_path / "export" / "invoices.csv").open("a") as file:
        file.write("007,INV-7,C1,NA,2026-02-30,,EUR,0.10,NaN,twelve,open,,2026-03-01T12:00:00Z\n")
    return path


def rows(home: Path, table: str) -> list[dict]:  # noqa: F811
    return deltalake.DeltaTable(str(home / airbyte.SCHEMA / table)).to_pyarrow_table().to_pylist()


def test_records_land_as_airbytes_destination_lays_them_out_and_outlive_a_kill(home, config):  # noqa: F811
    done = airbyte.sync(airbyte.read_config(config))
    assert done.rows == {"countries": 2, "invoices": 4}
    schema = deltalake.DeltaTable(str(home / airbyte.SCHEMA / "invoices")).to_pyarrow_dataset().schema
    assert schema.names[:4] == list(METADATA)
    assert {name: schema.field(name).type for name in METADATA} == METADATA
    invoices = {row["invoice_id"]: row for row in rows(home, "invoices")}
    good, bad = invoices["1"], invoices["007"]
    assert (good["total_amount"], good["updated_at"]) == ("11.90", "2026-03-01T12:00:00.000000Z")
    # nothing is guessed, dropped or rounded: silver decides what to make of it
    assert (bad["invoice_date"], bad["tax_amount"], bad["total_amount"], bad["due_date"]) == (
        "2026-02-30",
        "NaN",
        "twelve",
        None,
    )
    assert bad["net_amount"] == "0.10" and bad["country"] == "NA"
    meta = json.loads(good["_airbyte_meta"])
    assert meta["sync_id"] > 0 and meta["changes"] == [] and good["_airbyte_generation_id"] == 0
    assert {row["country_name"] for row in rows(home, "countries")} == {"Germany", "Namibia, 'Land of the Brave'"}

    # killed in the middle of its read and run again, it loses nothing, and repeats rows with new ids
    config.write_text(json.dumps({"countries": {"url": "countries.csv"}}))
    command = [sys.executable, "-m", "ingestion.airbyte", "sync", "--config", str(config), "--no-register"]
    killed = subprocess.Popen(command, cwd=ROOT, env=dict(os.environ), stdout=subprocess.DEVNULL)
    reading = until(
        lambda: [p for p in psutil.Process(killed.pid).children(recursive=True) if "source-file read" in program(p)]
    )
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    until(lambda: not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in reading))
    assert len(rows(home, "countries")) == 2
    assert airbyte.sync(airbyte.read_config(config)).rows["countries"] >= 2
    found = rows(home, "countries")
    syncs = {json.loads(row["_airbyte_meta"])["sync_id"] for row in found}
    assert {row["country_code"] for row in found} == {"DE", "NA"}
    # the kill came before its records were in PyAirbyte's cache, or after that; or even after it had handed them over
    assert (len(found), len(syncs)) in ((4, 2), (6, 2), (6, 3))
    assert len({row["_airbyte_raw_id"] for row in found}) == len(found)


def test_a_hand_over_lands_once_however_often_it_is_found(home, tmp_path):  # noqa: F811
    state = home / "airbyte"
    folder = state / "handover" / "5"
    folder.mkdir(parents=True)
    table = pa.table({"_airbyte_raw_id": ["a"], "country_code": ["DE"], "updated_at": pa.array([0], pa.timestamp("us"))})
    pa.parquet.write_table(table, folder / "countries.parquet")
    shutil.copytree(state / "handover", tmp_path / "kept")
    assert airbyte._land_all(state) == {"countries": 1}
    shutil.copytree(tmp_path / "kept", state / "handover", dirs_exist_ok=True)  # killed between the commit and the removal
    assert airbyte._land_all(state) == {"countries": 0}
    assert len(rows(home, "countries")) == 1

    (state / "handover" / "6").mkdir()
    pa.parquet.write_table(
        pa.table({"_airbyte_raw_id": ["b"], "country_code": [1]}), state / "handover" / "6" / "countries.parquet"
    )
    with pytest.raises(IngestionError, match="column country_code of bronze_airbyte.countries is string and arrives as int64"):
        airbyte._land_all(state)
    assert (state / "handover" / "6" / "countries.parquet").exists()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{", "which is no JSON"),
        ('{"customers": {"url": "a.csv"}}', "whose keys are tables of bronze"),
        ('{"invoices": {}}', "must have for invoices an object with url"),
        ('{"invoices": {"url": "a.csv"}}', "a.csv, which does not exist"),
    ],
)
def test_a_wrong_configuration_is_one_sentence(tmp_path, content, sentence):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(IngestionError, match=re.escape(sentence)):
        airbyte.read_config(tmp_path / "config.json")


def test_a_workspace_is_left_to_airbytes_own_destination(home, monkeypatch, capsys):  # noqa: F811
    monkeypatch.setenv("DBT_TARGET", "databricks")
    assert main(["sync"]) == 1
    assert "there, Airbyte's Databricks destination is the loader" in capsys.readouterr().err


def test_what_the_connector_complains_of_is_the_sentence(home, config):  # noqa: F811
    config.write_text(json.dumps({"countries": {"url": "countries.csv", "format": "cvs"}}))
    with pytest.raises(IngestionError, match="Airbyte's connector failed: 'cvs' is not one of"):
        airbyte.sync(airbyte.read_config(config))


def program(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def until(condition, seconds: float = 600):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return found
