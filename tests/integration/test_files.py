"""Files of a drop folder, through dlt, into real Delta tables."""

import gzip
import json
import multiprocessing
import os
import random
import secrets
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from unittest import mock

import deltalake
import fsspec
import jinja2
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ingestion import warehouse
from ingestion.bronze import WarehouseBronze
from ingestion.files.__main__ import main
from ingestion.files.load import FilesResult, load_files
from ingestion.settings import IngestionError
from tests.conftest import ROOT, connect
from tests.fixtures_ingestion import Impatient, killed_at

HEADER = "invoice_id,country,invoice_date,currency_code,total_amount,updated_at"
COUNTRIES = "country_code,country_name,updated_at\nDE,Germany,2026-03-01T12:00:00Z\n"
# A fork server has the slow imports done once, and no threads of this process in its children.
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(
    ["ingestion.files.load", "deltalake", "dlt.common.libs.deltalake", "dlt.destinations.filesystem"]
)


def csv(first: int, last: int | None = None, **values: str) -> str:
    """A CSV with the invoices first..last; `values` replace single values."""
    row = {"country": "DE", "invoice_date": "2026-02-01", "currency_code": "EUR", "total_amount": "11.90",
           "updated_at": "2026-03-01T12:00:00Z"} | values  # fmt: skip
    rows = [",".join([str(number), *row.values()]) for number in range(first, (last or first) + 1)]
    return "\n".join([HEADER, *rows, ""])


@pytest.fixture
def drop(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The drop folder of this test, whose files are loaded as soon as they are there."""
    for name in [name for name in os.environ if name.startswith("FILES_")]:
        monkeypatch.delenv(name)
    folder = tmp_path / "drop zone"
    folder.mkdir()
    monkeypatch.setenv("FILES_URL", str(folder))
    monkeypatch.setenv("FILES_SETTLE_SECONDS", "0")
    return folder


def bring(**options) -> FilesResult:
    return load_files(register=False, **options)


def landed(home: Path, table: str = "invoices") -> list[dict]:
    """All rows of a table of bronze_files, without nulls."""
    rows = deltalake.DeltaTable(str(home / "bronze_files" / table)).to_pyarrow_table().to_pylist()
    return [{name: value for name, value in row.items() if value is not None} for row in rows]


def ids(home: Path) -> list[int]:
    return sorted(row["invoice_id"] for row in landed(home) if "invoice_id" in row)


def test_bronze_has_the_contracts_columns_and_where_each_row_comes_from(drop, home):
    (drop / "2026").mkdir()
    path = drop / "2026" / "Invoices Österreich #1.csv"
    path.write_text(csv(1, 2) + "3,AT\n")
    os.utime(path, (1_770_000_000, 1_770_000_000.5))
    assert bring().rows == {"countries": 0, "invoices": 3}
    table = deltalake.DeltaTable(str(home / "bronze_files" / "invoices"))
    assert {field.name: field.type.to_json().strip('"') for field in table.schema().fields} == {
        **dict.fromkeys(("invoice_number", "customer_id", "country", "currency_code", "status"), "string"),
        **dict.fromkeys(("net_amount", "tax_amount", "total_amount"), "decimal(18,2)"),
        **dict.fromkeys(("created_at", "updated_at", "_file_modified_at"), "timestamp"),
        **dict.fromkeys(("invoice_date", "due_date"), "date"),
        **dict.fromkeys(("_rescued_data", "_dlt_load_id", "_dlt_id", "_file_name"), "string"),
        **{"invoice_id": "long", "_file_line": "long", "_is_deleted": "boolean"},
    }
    # what Spark reads: DESIGN.md, a naive timestamp beside a column that is not null would raise it
    assert (table.protocol().min_reader_version, table.protocol().min_writer_version) == (1, 2)
    first, second, third = sorted(landed(home), key=lambda row: row["_file_line"])
    assert first["_file_name"] == path.as_uri() and first["_file_modified_at"] == datetime.fromtimestamp(1_770_000_000.5, UTC)
    assert (first["total_amount"], first["_file_line"]) == (Decimal("11.90"), 2)
    assert json.loads(third["_rescued_data"]) == {"_line": "3,AT"} and third["_file_line"] == 4
    assert len({row["_dlt_id"] for row in (first, second, third)}) == 3
    (record,) = landed(home, "loaded_files")
    assert (record["row_count"], record["misfit_count"], record["file_size"]) == (3, 1, path.stat().st_size)
    assert landed(home, "countries") == landed(home, "rejected_files") == []


def test_what_cannot_be_read_is_kept_with_its_reason_and_loaded_once_it_can_be(drop, home, capsys, monkeypatch):
    nothing = dict.fromkeys(HEADER.split(","))
    whole = {
        "invoices 1.csv": csv(1, 3).encode(),
        "invoices2.csv.gz": gzip.compress(csv(4, 400).encode()),
        "invoices3.jsonl": "".join(json.dumps(nothing | {"invoice_id": n}) + "\n" for n in (401, 402)).encode(),
        "invoices4.json": json.dumps([nothing | {"invoice_id": n} for n in (403, 404)]).encode(),
        "countries.csv": COUNTRIES.replace("Germany", "Österreich").encode("cp1252"),
    }  # fmt: skip
    pq.write_table(
        pa.table({name: [None if i else 405] for i, name in enumerate(HEADER.split(","))}), drop / "invoices5.parquet"
    )
    whole["invoices5.parquet"] = (drop / "invoices5.parquet").read_bytes()
    for name, content in whole.items():
        (drop / name).write_bytes(content[:-12] if name != "countries.csv" else content)
    (drop / "invoices empty.csv").touch()
    (drop / "invoices header.csv").write_text(HEADER)
    (drop / "invoices.xlsx").write_bytes(b"PK")
    (drop / "invoices.csv.part").write_text("x")
    (drop / "readme.md").write_text("x")
    (drop / "invoices link.csv").symlink_to(drop / "nowhere")
    assert main(["--no-register"]) == 0
    told = capsys.readouterr().out
    assert "files: 1 files loaded, 0 known, 0 repeated, 8 rejected, 0 left for the next run" in told
    rejected = {row["file_name"].rpartition("/")[2].replace("%20", " "): row for row in landed(home, "rejected_files")}
    for name, reason in {
        "invoices 1.csv": "the file breaks off: its last line, 4, ends within updated_at",
        "invoices2.csv.gz": "the file breaks off: its gzip has no end",
        "invoices3.jsonl": "the file breaks off: its last line, 2, is no whole JSON object",
        "invoices4.json": "the file breaks off: its JSON has no end",
        "invoices5.parquet": "the file is no whole Parquet: ",
        "countries.csv": "line 2 is not utf-8: byte 0xd6; FILES_ENCODING names the encoding, such as windows-1252",
        "invoices empty.csv": "the file is empty",
        "invoices.xlsx": "its extension is none of .csv",
    }.items():
        assert rejected[name]["reason"].startswith(reason)
        assert f"files: {name}: rejected: {reason}" in told
        content = (drop / name).read_bytes()
        assert (rejected[name]["content"], rejected[name]["is_content_whole"]) == (content, True)
    assert ids(home) == []

    assert bring().known == 9  # they are not tried, or kept, once more as long as nothing has changed
    for name, content in whole.items():
        (drop / name).write_bytes(content)
    monkeypatch.setenv("FILES_ENCODING", "windows-1252")
    monkeypatch.setenv("FILES_REJECTED_BYTES", "1")
    result = bring()
    assert sorted(result.loaded) == sorted(whole) and sorted(result.rejected) == ["invoices empty.csv", "invoices.xlsx"]
    assert ids(home) == list(range(1, 406))
    assert [row["country_name"] for row in landed(home, "countries")] == ["Österreich"]
    kept = Counter((row["content"], row["is_content_whole"]) for row in landed(home, "rejected_files") if row["file_size"] == 2)
    assert kept == {(b"PK", True): 1, (b"P", False): 1}


def test_the_same_content_is_landed_once_and_new_content_under_a_name_again(drop, home):
    content = csv(1, 2).replace("2,DE", "1,DE")  # two equal rows are two deliveries
    (drop / "invoices_a.csv").write_text(content)
    bring()
    shutil.copy(drop / "invoices_a.csv", drop / "invoices_b.csv")
    (drop / "invoices_c.csv.gz").write_bytes(gzip.compress(content.encode()))
    said = []
    result = bring(report=said.append)
    first = (drop / "invoices_a.csv").as_uri()
    assert result.repeated == {"invoices_b.csv": first, "invoices_c.csv.gz": first} and result.known == 1
    assert f"invoices_b.csv: skipped: it has the same content as {first}" in said
    assert bring().known == 3 and ids(home) == [1, 1] and len({row["_dlt_id"] for row in landed(home)}) == 2
    (drop / "invoices_b.csv").write_text(csv(3))
    assert bring().loaded == ["invoices_b.csv"] and ids(home) == [1, 1, 3]
    # asked for, it is delivered again with the same ids, so that silver keeps one of each
    assert bring(again="*_A.csv").loaded == [] and bring(again="*_a.csv").loaded == ["invoices_a.csv"]
    assert ids(home) == [1, 1, 1, 1, 3] and len({row["_dlt_id"] for row in landed(home)}) == 3
    # what is known of a table goes with the table
    shutil.rmtree(home / "bronze_files" / "invoices")
    assert bring().rows["invoices"] == 3 and ids(home) == [1, 1, 3]


def test_files_that_are_written_or_removed_meanwhile_are_left(drop, home, monkeypatch):
    for number in range(1, 5):
        (drop / f"invoices_{number}.csv").write_text(csv(number))
    os.utime(drop / "invoices_1.csv", (1, 1))  # the oldest is first
    monkeypatch.setenv("FILES_SETTLE_SECONDS", "7200")  # far more than a slow machine needs to come to the file
    soon = time.time() - 3600
    os.utime(drop / "invoices_2.csv", (soon, soon))
    ahead = time.time() + 7200  # a clock that is wrong
    os.utime(drop / "invoices_4.csv", (ahead, ahead))
    result = bring()
    assert result.loaded == ["invoices_1.csv", "invoices_4.csv"]
    assert set(result.waiting) == {"invoices_2.csv", "invoices_3.csv"}
    assert "less than FILES_SETTLE_SECONDS=7200" in result.waiting["invoices_2.csv"]

    monkeypatch.setenv("FILES_SETTLE_SECONDS", "0")
    for number in (5, 6):
        (drop / f"invoices_{number}.csv").write_text(csv(number))

    def meddle(line: str) -> None:  # at the first file that is read
        (drop / "invoices_5.csv").unlink(missing_ok=True)
        with (drop / "invoices_6.csv").open("a") as file:
            file.write("60,DE")

    result = bring(report=meddle)
    assert result.waiting["invoices_5.csv"] == "it is gone"
    assert result.waiting["invoices_6.csv"].startswith("it changed while it was read, from ")
    assert ids(home) == [1, 2, 3, 4]


def test_settings_of_columns_and_amounts_and_a_bucket(drop, home, monkeypatch):
    bucket = fsspec.filesystem("memory")
    bucket.pipe(
        "/bucket/in/a/Rechnung 1.csv", "Nr;Land;Datum;Währung;Betrag;Stand\n7;DE;2026-02-01;EUR;1.234,56;2026-03-01\n".encode()
    )
    bucket.pipe("/bucket/in/_temporary/Rechnung 2.csv", b"x")
    for name, value in {
        "URL": "memory://bucket/in",
        "INVOICES": "rechnung*",
        "COUNTRIES": "",
        "DECIMAL": ",",
        "INVOICES_COLUMN_NAMES": json.dumps(
            dict(zip(HEADER.split(","), "Nr Land Datum Währung Betrag Stand".split(), strict=True))
        ),
    }.items():
        monkeypatch.setenv(f"FILES_{name}", value)
    assert bring().rows["invoices"] == 1 and bring().known == 1
    (row,) = landed(home)
    assert (row["total_amount"], row["_file_name"]) == (Decimal("1234.56"), "memory:///bucket/in/a/Rechnung 1.csv")
    bucket.rm("/bucket", recursive=True)


def test_a_fault_is_told_in_one_sentence(drop, capsys, monkeypatch):
    monkeypatch.setenv("FILES_URL", str(drop / "nowhere"))
    assert main([]) == 1
    assert capsys.readouterr().err == f"error: FILES_URL names no folder: {drop / 'nowhere'}\n"
    monkeypatch.setenv("FILES_URL", "s3://bucket")
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    nowhere = {name: str(drop / "nowhere") for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE")}
    for name, value in (nowhere | {"AWS_EC2_METADATA_DISABLED": "true"}).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(IngestionError, match=r"^there are no credentials for FILES_URL=s3://bucket; dlt's SOURCES__FILESYSTEM"):
        bring()


# ---- a run that is killed -------------------------------------------------------------------------------------------


def settings() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith(("FILES_", "LAKEHOUSE_HOME", "DLT_DATA_DIR"))}


def run_and_die(environment: dict[str, str], place: str, after: bool, calls: int) -> None:
    """Load in this process, and kill it at the n-th call of the function at `place`, before or after its work."""
    os.environ.update(environment)
    with killed_at(place, after, calls):
        bring()


def run(environment: dict[str, str]) -> None:
    os.environ.update(environment)
    with mock.patch("dlt.load.load.BoundedSemaphore", Impatient):
        bring()


def killed(target: Callable, *arguments: object, after_seconds: float | None = None) -> bool:
    """Run a function in a process of its own that is killed, by itself or after so many seconds; tell whether it was."""
    child = processes.Process(target=target, args=(settings(), *arguments))
    child.start()
    child.join(after_seconds if after_seconds is not None else 300)
    child.kill()
    child.join()
    return child.exitcode == -signal.SIGKILL


def fill(drop: Path) -> set[int]:
    for number in range(4):
        (drop / f"invoices_{number}.csv").write_text(csv(number * 100, number * 100 + 99))
    (drop / "countries.csv").write_text(COUNTRIES)
    (drop / "invoices_bad.csv").write_text("x")
    return set(range(400))


def check(home: Path, expected: set[int]) -> None:
    """Nothing is lost, and what is there twice has the same id, so that silver can tell."""
    rows = landed(home)
    assert {row["invoice_id"] for row in rows} == expected
    assert len({row["_dlt_id"] for row in rows}) == len(expected)
    assert {row["file_name"] for row in landed(home, "rejected_files")} == {
        row["file_name"] for row in landed(home, "rejected_files")
    }
    settled = bring()
    assert (settled.rows, settled.known) == ({"countries": 0, "invoices": 0}, 6)


@pytest.mark.parametrize(
    ("place", "after", "calls", "forget"),
    [
        pytest.param("ingestion.files.load.landed", True, 3, False, id="while reading"),
        pytest.param("dlt.load.load.Load.run", False, 1, False, id="before the load"),
        pytest.param("dlt.common.libs.deltalake.write_delta_table", True, 2, False, id="between the commits of two tables"),
        pytest.param("dlt.common.libs.deltalake.write_delta_table", True, 3, True, id="and the machine is lost with it"),
    ],
)
def test_a_killed_load_loses_nothing(drop, home, place, after, calls, forget):
    expected = fill(drop)
    assert killed(run_and_die, place, after, calls)
    if forget:  # a container that is gone: dlt's own folder with it, but not the lakehouse
        shutil.rmtree(home / "dlt")
    bring()
    check(home, expected)


def test_a_load_that_is_killed_at_any_moment_loses_nothing(drop, home):
    expected = fill(drop)
    begin = time.monotonic()
    assert not killed(run)
    kills = [random.uniform(0, 0.8) * (time.monotonic() - begin) for _ in range(4)]
    shutil.rmtree(home)
    for number, seconds in enumerate(kills):
        (drop / f"invoices_{number}.csv").write_text(csv(number * 100, number * 100 + 99, total_amount=f"{number}.00"))
        killed(run, after_seconds=seconds)
    bring()
    landed_now = {(row["invoice_id"], row["total_amount"]) for row in landed(home)}
    assert {(number, Decimal(number // 100)) for number in expected} <= landed_now, kills
    rows = Counter((row["invoice_id"], row["total_amount"]) for row in landed(home))
    assert len({row["_dlt_id"] for row in landed(home)}) == len(rows), kills
    # what was committed before a kill may be committed again, rows and these tables alike
    assert len({row["recorded_at"] for row in landed(home, "rejected_files")}) == 1 and bring().known == 6


# ---- what silver makes of it ----------------------------------------------------------------------------------------


def test_silver_has_a_reason_for_each_row_that_does_not_fit(drop, home, fast_endpoint):
    (drop / "invoices.csv").write_text(
        f"{HEADER},_is_deleted\n1,DE,2026-02-01,EUR,1.00,2026-03-01,\n2,DE\n3,DE,01.02.2026,EUR,1.00,2026-03-01,\n"
        "4,DE,2026-02-01,EUR,1.00,2026-03-01,maybe\n5,DE,2026-02-01,EUR,1,00,2026-03-01,\n"
    )
    (drop / "invoices.jsonl").write_text('["6"]\n')
    bring()
    names = ("is_missing", "does_not_fit", "line_does_not_fit")
    macros = "".join((ROOT / "macros" / f"{name}.sql").read_text() for name in names)
    types = {"invoice_id": "bigint", "invoice_date": "date", "updated_at": "timestamp"}
    question = jinja2.Template(
        macros
        + "select {{ line_does_not_fit() }} as is_no_row{% for column, type in types.items() %}, {{ is_missing(column) }} as "
        "is_missing_{{ column }}, {{ does_not_fit(column, type) }} as is_misfit_{{ column }}{% endfor %} "
        "from (select *, 'files' as _loader from delta.`{{ path }}`) order by _file_name, _file_line"
    ).render(types=types, path=home / "bronze_files" / "invoices")
    with closing(connect(fast_endpoint)) as connection, connection.cursor() as cursor:
        cursor.execute(question)
        answers = [(bool(row[0]), tuple(bool(value) for value in row[1:])) for row in cursor.fetchall()]
    missing, misfit, fine = (True, False), (False, True), (False, False)
    short, long, no_object = [(True, missing * 3)] * 3
    assert answers == [
        (False, fine * 3), short, (False, fine + misfit + fine), (False, misfit * 3), long, no_object
    ]  # fmt: skip


def test_on_databricks_a_load_is_complete_if_dlt_s_table_says_so(fast_endpoint, monkeypatch):
    schema = f"files_{secrets.token_hex(4)}"
    for name, value in {"DATABRICKS_CATALOG": "hive_metastore", "DATABRICKS_ENVIRONMENT": "production"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(warehouse, "connect", lambda _: connect(fast_endpoint))
    bronze = WarehouseBronze(schema)
    with closing(connect(fast_endpoint)) as connection, connection.cursor() as cursor:
        cursor.execute(f"create schema {schema}")
        assert bronze.complete_loads() == set()
        cursor.execute(
            f"create table {schema}._dlt_loads using delta as select '1.5' as load_id, 0 as status union all select '2', 1"
        )
        assert bronze.complete_loads() == {"1.5"}
        cursor.execute(f"drop schema {schema} cascade")
