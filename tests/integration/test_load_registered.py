"""Bronze as Spark sees it through the endpoint: registered Delta folders, and the reading of bronze by SQL."""

import contextlib
import secrets
from datetime import timedelta

import pytest

from ingestion import warehouse
from ingestion.bronze import LocalBronze, WarehouseBronze
from ingestion.load import load
from tests.fixtures_ingestion import NOW, later


@pytest.fixture
def registered(endpoint, source, home, monkeypatch):
    """Names a copy of bronze.invoices in the session's endpoint, which other tests use too; gone afterwards."""
    for name, value in endpoint.items():
        if name != "LAKEHOUSE_HOME":
            monkeypatch.setenv(name, value)
    source.add(1, 3)
    source.add(4, at=None, total_amount="NaN")
    load(register=False)
    name = f"invoices_{secrets.token_hex(4)}"
    (home / "bronze" / name).symlink_to(home / "bronze" / "invoices")
    yield name
    rows(f"drop table if exists bronze.{name}")


def rows(statement: str) -> list[tuple]:
    with contextlib.closing(warehouse.connect("local")) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return [tuple(row) for row in cursor.fetchall()] if cursor.description else []


def test_spark_reads_what_the_load_wrote_also_after_a_new_column(registered, source, home):
    bronze = LocalBronze(home / "bronze")
    bronze.register([registered])
    found = rows(f"select invoice_id, total_amount, _rescued_data from bronze.{registered} order by 1")
    assert [row[0] for row in found] == [1, 2, 3, 4] and str(found[0][1]) == "11.90"
    assert found[3][1:] == (None, '{"total_amount": "NaN"}')
    source.run("alter table invoices add channel text default 'web'")
    source.add(5, at=later(hours=1))
    load(register=False)
    bronze.register([registered])
    assert rows(f"select channel from bronze.{registered} where invoice_id = 5") == [("web",)]


def test_reading_bronze_by_sql_gives_the_same_rows_as_reading_its_files(registered, home, monkeypatch):
    files = LocalBronze(home / "bronze")
    files.register([registered])
    for name, value in {"DATABRICKS_CATALOG": "hive_metastore", "DATABRICKS_ENVIRONMENT": "production"}.items():
        monkeypatch.setenv(name, value)
    connect = warehouse.connect
    monkeypatch.setattr(warehouse, "connect", lambda _: connect("local"))
    by_sql = WarehouseBronze()
    assert by_sql.exists(registered) and not by_sql.exists("no_such_table")
    for since in (None, NOW, NOW + timedelta(seconds=1)):
        for columns in (None, ["invoice_id", "updated_at", "_is_deleted"]):
            expected = [batch.to_pylist() for batch in files.scan("invoices", columns, since)]
            found = [batch.to_pylist() for batch in by_sql.scan(registered, columns, since)]
            assert sorted(map(repr, sum(found, []))) == sorted(map(repr, sum(expected, [])))
    assert len(sum(found, [])) == 1  # the row without a date is always among them
