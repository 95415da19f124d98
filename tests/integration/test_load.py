"""The load from a real PostgreSQL through dlt into real Delta tables."""

import json
import shutil
import sqlite3
from datetime import UTC, datetime
from decimal import Decimal

import deltalake
import pytest

from ingestion.load import load, main
from ingestion.settings import IngestionError, run_lock
from tests.fixtures_ingestion import NOW, bronze_rows, later, version

PREFIX = "SOURCES__SQL_DATABASE__"


def bring(**options) -> dict[str, int]:
    """Load once, and return the rows landed per table, tombstones included as `deleted`."""
    result = load(register=False, **options)
    return {**result.rows, "deleted": result.tombstones}


def refused(**options) -> str:
    with pytest.raises(IngestionError) as caught:
        bring(**options)
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


def landed(home, *columns: str, table: str = "invoices") -> list:
    rows = [tuple(row[column] for column in columns) for row in bronze_rows(home, table)]
    return [row[0] for row in rows] if len(columns) == 1 else rows


# ---- what lands -----------------------------------------------------------------------------------------------------


def test_every_row_lands_as_it_is_duplicates_and_nulls_included(source, home):
    source.add(1, at=later(microseconds=1), total_amount="-9999999999999999.99", country="  dE ", status="")
    source.add(2)
    source.add(2)
    source.run("insert into invoices default values")
    assert bring() == {"countries": 1, "invoices": 4, "deleted": 0}
    rows = bronze_rows(home)
    assert [row["invoice_id"] for row in rows] == [1, 2, 2, None]
    assert (rows[0]["total_amount"], rows[0]["country"], rows[0]["status"]) == (
        Decimal("-9999999999999999.99"),
        "  dE ",
        "",
    )
    assert rows[0]["updated_at"] == later(microseconds=1)
    assert all(rows[3][column] is None for column in rows[3] if not column.startswith("_dlt"))
    assert len({row["_dlt_id"] for row in rows}) == 4 and len({row["_dlt_load_id"] for row in rows}) == 1
    assert float(rows[0]["_dlt_load_id"]) > 1.7e9


def test_bronze_has_the_contracts_columns_and_a_protocol_that_spark_reads(source, home):
    source.add(1)
    bring()
    table = deltalake.DeltaTable(str(home / "bronze" / "invoices"))
    assert {field.name: field.type.to_json().strip('"') for field in table.schema().fields} == {
        "invoice_id": "long",
        "invoice_number": "string",
        "customer_id": "string",
        "country": "string",
        "invoice_date": "date",
        "due_date": "date",
        "currency_code": "string",
        "net_amount": "decimal(18,2)",
        "tax_amount": "decimal(18,2)",
        "total_amount": "decimal(18,2)",
        "status": "string",
        "created_at": "timestamp",
        "updated_at": "timestamp",
        "_rescued_data": "string",
        "_is_deleted": "boolean",
        "_dlt_load_id": "string",
        "_dlt_id": "string",
    }
    assert (table.protocol().min_reader_version, table.protocol().min_writer_version) == (1, 2)


def test_an_empty_source_still_makes_both_tables(source, home):
    source.run("delete from countries")
    assert bring() == {"countries": 0, "invoices": 0, "deleted": 0}
    assert bronze_rows(home) == [] and bronze_rows(home, "countries") == []
    source.add(1)
    assert bring()["invoices"] == 1


def test_timestamps_without_a_zone_land_as_utc_and_are_incremental(source, home):
    source.run("alter table invoices alter updated_at type timestamp using updated_at at time zone 'UTC'")
    source.add(1, at=NOW.replace(tzinfo=None))
    bring()
    source.add(2, at=later(hours=1).replace(tzinfo=None))
    source.add(3, at=datetime(2099, 1, 1))
    assert bring()["invoices"] == 2 and bring()["invoices"] == 0
    assert landed(home, "updated_at") == [NOW, later(hours=1), datetime(2099, 1, 1, tzinfo=UTC)]


def test_any_sqlalchemy_url_is_a_source(home, tmp_path, monkeypatch):
    with sqlite3.connect(tmp_path / "source.db") as database:
        database.executescript("""
            create table countries (country_code text, country_name text, updated_at timestamp);
            create table invoices (invoice_id integer, country text, invoice_date date, currency_code text,
                                   total_amount numeric(18,2), updated_at timestamp, payload json);
            insert into countries values ('DE', 'Germany', '2026-01-01 00:00:00.000000');
            insert into invoices values (1, 'DE', '2026-01-31', 'EUR', 11.9, '2026-01-31 10:00:00.000000', '{"a": 1}');
        """)
    monkeypatch.setenv(PREFIX + "CREDENTIALS", f"sqlite:///{tmp_path / 'source.db'}")
    assert bring() == {"countries": 1, "invoices": 1, "deleted": 0}
    assert bring() == {"countries": 0, "invoices": 0, "deleted": 0}
    assert landed(home, "total_amount", "updated_at", "payload", "customer_id") == [
        (Decimal("11.90"), datetime(2026, 1, 31, 10, tzinfo=UTC), '{"a": 1}', None)
    ]


# ---- what is incremental --------------------------------------------------------------------------------------------


def test_a_second_run_changes_nothing(source, home):
    source.add(1, 50)
    source.add(51, at=None)
    source.add(52, at=datetime(2099, 1, 1, tzinfo=UTC))
    bring()
    assert bring() == {"countries": 0, "invoices": 0, "deleted": 0}
    assert version(home) == 0 and version(home, "countries") == 0


def test_a_changed_row_lands_again_and_its_old_version_stays(source, home):
    source.add(1, 3)
    bring()
    source.run("update invoices set status = 'paid', updated_at = %s where invoice_id = 2", later(hours=1))
    assert bring()["invoices"] == 1
    assert landed(home, "invoice_id", "status") == [(1, "open"), (2, "open"), (2, "paid"), (3, "open")]


def test_a_row_changed_without_a_new_date_inside_the_lag_window_lands_again(source, home):
    source.add(1)
    bring()
    source.run("update invoices set total_amount = 12.00 where invoice_id = 1")
    assert bring()["invoices"] == 1


def test_a_row_committed_late_lands_if_it_is_inside_the_lag_window(source, home, monkeypatch):
    monkeypatch.setenv(PREFIX + "LAG_SECONDS", "3600")
    source.add(1)
    bring()
    source.add(2, at=later(minutes=-59))
    source.add(3, at=later(minutes=-61))
    assert bring()["invoices"] == 1
    assert landed(home, "invoice_id") == [1, 2]


def test_a_full_run_lands_what_the_cursor_has_passed_and_nothing_twice(source, home):
    source.add(1, 5)
    bring()
    source.add(6, at=later(days=-400))
    assert bring()["invoices"] == 0
    assert bring(full=True) == {"countries": 0, "invoices": 1, "deleted": 0}
    source.add(7, at=later(days=1))
    assert bring()["invoices"] == 1


def test_without_a_lag_window_rows_of_the_last_moment_still_arrive(source, monkeypatch):
    monkeypatch.setenv(PREFIX + "LAG_SECONDS", "0")
    source.add(1)
    bring()
    source.add(2)
    assert bring()["invoices"] == 1


def test_a_row_dated_in_the_future_lands_once_and_does_not_stop_the_load(source, home):
    source.add(1)
    source.add(2, at=datetime(2099, 1, 1, tzinfo=UTC))
    assert bring()["invoices"] == 2
    source.add(3, at=later(hours=2))
    assert bring()["invoices"] == 1
    source.run("update invoices set status = 'paid' where invoice_id = 2")
    assert bring()["invoices"] == 1
    assert landed(home, "invoice_id") == [1, 2, 2, 3]


def test_a_row_without_a_date_lands_once_and_again_when_it_changes(source, home):
    source.add(1, at=None)
    bring()
    source.add(2)
    source.run("update invoices set status = 'paid' where invoice_id = 1")
    assert bring()["invoices"] == 2
    assert bring()["invoices"] == 0


def test_a_new_machine_goes_on_where_the_destination_is(source, home):
    source.add(1, 5)
    bring()
    shutil.rmtree(home / "dlt")
    source.add(6, at=later(hours=1))
    source.add(7, at=later(days=-400))
    assert bring()["invoices"] == 1


def test_a_bronze_table_that_is_gone_is_loaded_from_the_start(source, home):
    source.add(1, 5, at=later(days=-30))
    source.add(6)
    bring()
    shutil.rmtree(home / "bronze" / "invoices")
    assert bring()["invoices"] == 6


# ---- how the source may change --------------------------------------------------------------------------------------


def test_a_new_column_arrives(source, home):
    source.add(1)
    bring()
    source.run('alter table invoices add "Sales Channel" text, add extra jsonb, add tags text[]')
    source.run(
        "insert into invoices (invoice_id, updated_at, \"Sales Channel\", extra, tags) values (2, %s, 'web', %s, %s)",
        later(hours=1),
        '{"a": [1, 2]}',
        ["x"],
    )
    assert bring()["invoices"] == 1
    assert landed(home, "sales_channel", "extra", "tags") == [(None, None, None), ("web", '{"a": [1, 2]}', "{x}")]
    assert bring()["invoices"] == 0


def test_a_dropped_optional_column_becomes_null(source, home):
    source.add(1)
    bring()
    source.run("alter table invoices drop customer_id")
    source.run("insert into invoices (invoice_id, updated_at) values (2, %s)", later(days=2))
    bring()
    assert landed(home, "customer_id") == ["C1", None]


def test_a_widened_number_lands_exactly_or_as_text(source, home):
    source.add(1)
    bring()
    source.run("alter table invoices alter total_amount type numeric(20,4)")
    source.add(2, at=later(days=2), total_amount="12.3400")
    source.add(3, at=later(days=2), total_amount="12.3456")
    source.add(4, at=later(days=2), total_amount="1234567890123456.7800")
    bring()
    rows = landed(home, "total_amount", "_rescued_data")
    assert rows[1] == (Decimal("12.34"), None)
    assert rows[2][0] is None and json.loads(rows[2][1]) == {"total_amount": "12.3456"}
    assert rows[3] == (Decimal("1234567890123456.78"), None)


def test_a_date_that_becomes_text_lands_as_date_or_as_text(source, home):
    source.add(1)
    bring()
    source.run("alter table invoices alter invoice_date type text")
    source.add(2, at=later(days=2), invoice_date="2026-05-31")
    source.add(3, at=later(days=2), invoice_date="31/05/2026")
    bring()
    rows = landed(home, "invoice_date", "_rescued_data")
    assert (str(rows[1][0]), rows[1][1]) == ("2026-05-31", None)
    assert rows[2][0] is None and json.loads(rows[2][1]) == {"invoice_date": "31/05/2026"}


def test_nan_oversized_numbers_and_impossible_dates_land_with_the_rest(source, home):
    source.add(1)
    bring()
    source.run("alter table invoices alter total_amount type numeric")
    for number, total in enumerate(("NaN", "1e30", "-Infinity", "5"), start=2):
        source.add(number, at=later(days=2), total_amount=total)
    source.add(6, at=later(days=2), invoice_date="infinity", due_date="20000-01-01")
    assert bring()["invoices"] == 5
    rows = landed(home, "total_amount", "_rescued_data")
    assert [json.loads(text)["total_amount"] for total, text in rows[1:4]] == ["NaN", "1" + "0" * 30, "-Infinity"]
    assert rows[4] == (Decimal("5.00"), None)
    assert json.loads(rows[5][1]) == {"invoice_date": "infinity", "due_date": "20000-01-01"}


def test_a_first_load_pins_the_types_of_the_source(source, home):
    source.run("alter table invoices alter total_amount type numeric(20,4), alter due_date type text")
    source.add(1, total_amount="12.3456", due_date="soon")
    bring()
    assert landed(home, "total_amount", "due_date", "_rescued_data") == [(Decimal("12.3456"), "soon", None)]


# ---- other names ----------------------------------------------------------------------------------------------------


def test_other_names_of_tables_and_columns_are_mapped(source, home, monkeypatch):
    source.run(
        "alter table invoices rename to bill; alter table bill rename invoice_id to id; alter table bill "
        "rename updated_at to changed; alter table bill drop customer_id; alter table bill add customer_id_2 int"
    )
    source.run("insert into bill (id, changed, total_amount, country) values (1, %s, 5, 'DE')", NOW)
    monkeypatch.delenv(PREFIX + "SCHEMA")
    monkeypatch.setenv(PREFIX + "COUNTRIES__TABLE_NAME", f"{source.name}.countries")
    monkeypatch.setenv(PREFIX + "INVOICES__TABLE_NAME", f"{source.name}.bill")
    monkeypatch.setenv(PREFIX + "INVOICES__COLUMN_NAMES", '{"invoice_id": "id", "updated_at": "changed"}')
    monkeypatch.setenv(PREFIX + "COMPARE_KEYS", "true")
    assert bring()["invoices"] == 1
    assert landed(home, "invoice_id", "updated_at", "customer_id", "customer_id_2") == [(1, NOW, None, None)]
    source.run("insert into bill (id, changed) values (2, %s)", later(hours=1))
    assert bring() == {"countries": 0, "invoices": 1, "deleted": 0}


def test_a_column_with_a_reserved_name_keeps_its_values_under_another(source, home, monkeypatch):
    source.run("alter table invoices rename status to state; alter table invoices add status int, add _is_deleted text")
    source.run("insert into invoices (invoice_id, state, status, _is_deleted, updated_at) values (1, 'paid', 7, 'x', %s)", NOW)
    monkeypatch.setenv(PREFIX + "INVOICES__COLUMN_NAMES", '{"status": "state"}')
    bring()
    assert landed(home, "status", "source_status", "source_is_deleted", "_is_deleted") == [("paid", 7, "x", None)]


# ---- deletes --------------------------------------------------------------------------------------------------------


@pytest.fixture
def compared(source, monkeypatch):
    """The source, with the comparison of keys switched on and 20 invoices loaded."""
    monkeypatch.setenv(PREFIX + "COMPARE_KEYS", "true")
    source.add(1, 20)
    source.run("insert into invoices (updated_at) values (%s)", NOW)
    assert bring() == {"countries": 1, "invoices": 21, "deleted": 0}
    return source


def test_a_deleted_invoice_gets_one_tombstone(compared, home):
    compared.run("delete from invoices where invoice_id = 7")
    before = datetime.now(UTC)
    assert bring()["deleted"] == 1
    assert bring()["deleted"] == 0
    rows = [row for row in bronze_rows(home) if row["_is_deleted"]]
    assert [row["invoice_id"] for row in rows] == [7]
    assert before <= rows[0]["updated_at"] <= datetime.now(UTC)
    filled = {column for column, value in rows[0].items() if value is not None}
    assert filled == {"invoice_id", "updated_at", "_is_deleted", "_dlt_load_id", "_dlt_id"}


def test_an_invoice_that_comes_back_later_and_goes_again_gets_a_second_tombstone(compared, home):
    compared.run("delete from invoices where invoice_id = 7")
    bring()
    compared.add(7, at=datetime.now(UTC))
    assert bring() == {"countries": 0, "invoices": 1, "deleted": 0}
    compared.run("delete from invoices where invoice_id = 7")
    assert bring()["deleted"] == 1


def test_the_tombstone_of_an_invoice_dated_in_the_future_is_not_older_than_it(compared, home):
    future = datetime(2099, 1, 1, tzinfo=UTC)
    compared.add(21, at=future)
    bring()
    compared.run("delete from invoices where invoice_id = 21")
    assert bring()["deleted"] == 1 and bring()["deleted"] == 0
    assert [row["updated_at"] for row in bronze_rows(home) if row["_is_deleted"]] == [future]


@pytest.mark.parametrize("which", ["true", "invoice_id > 15 or invoice_id is null"])
def test_too_many_deletes_at_once_are_refused_and_nothing_lands(compared, home, which):
    compared.run(f"delete from invoices where {which}")
    compared.add(100, at=later(hours=1))
    sentence = refused()
    assert "vanished" in sentence and PREFIX + "MAX_DELETED_SHARE" in sentence
    assert version(home) == 0


def test_a_larger_share_of_deletes_can_be_allowed(compared, monkeypatch):
    compared.run("delete from invoices")
    monkeypatch.setenv(PREFIX + "MAX_DELETED_SHARE", "1")
    assert bring()["deleted"] == 20


def test_keys_of_text_are_compared_too(source, home, monkeypatch):
    monkeypatch.setenv(PREFIX + "COMPARE_KEYS", "true")
    source.run("alter table invoices alter invoice_id type text")
    source.run("insert into invoices (invoice_id, updated_at) select 'R/' || n, %s from generate_series(1, 9) n", NOW)
    bring()
    source.run("delete from invoices where invoice_id = 'R/3'")
    assert bring()["deleted"] == 1 and bring()["deleted"] == 0
    assert [row["invoice_id"] for row in bronze_rows(home) if row["_is_deleted"]] == ["R/3"]


def test_keys_that_change_their_type_are_still_the_same_keys(compared, home):
    compared.run("alter table invoices alter invoice_id type numeric(20,2)")
    assert bring() == {"countries": 0, "invoices": 0, "deleted": 0}
    compared.run("alter table invoices alter invoice_id type text; delete from invoices where invoice_id = '7.00'")
    assert bring() == {"countries": 0, "invoices": 0, "deleted": 1}


def test_deletes_are_not_looked_for_unless_asked(source, home):
    source.add(1, 3)
    bring()
    source.run("delete from invoices where invoice_id = 1")
    assert bring()["deleted"] == 0


# ---- one clear sentence ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "value", "expected"),
    [
        ("CREDENTIALS", "", "SOURCES__SQL_DATABASE__CREDENTIALS is not set to a SQLAlchemy URL"),
        ("CREDENTIALS", "postgresql://u:secret@127.0.0.1:1/x", "cannot reach the source database postgresql"),
        ("CREDENTIALS", "quantumdb://u@h/x", "unknown kind of database 'quantumdb'"),
        ("CREDENTIALS", "mysql+pymysql://u@h/x", "driver 'pymysql'"),
        ("CREDENTIALS", "no secret url", "SOURCES__SQL_DATABASE__CREDENTIALS is not set to a SQLAlchemy URL"),
        ("SCHEMA", "nowhere", "the source has no table nowhere.countries"),
        ("INVOICES__TABLE_NAME", "bills", ".bills (SOURCES__SQL_DATABASE__INVOICES__TABLE_NAME"),
        ("INVOICES__COLUMN_NAMES", '{"total_amount": "gross"}', "has no column 'gross'; it has invoice_id"),
        ("INVOICES__COLUMN_NAMES", '{"total": "gross"}', "must be a JSON object"),
        ("INVOICES__COLUMN_NAMES", "total=gross", "INVOICES__COLUMN_NAMES must be a JSON object"),
        ("INVOICES__COLUMN_NAMES", '{"updated_at": "status"}', "needs a timestamp"),
        ("LAG_SECONDS", "a day", "SOURCES__SQL_DATABASE__LAG_SECONDS must be a number, not 'a day'"),
        ("LAG_SECONDS", "-1", "LAG_SECONDS must be between 0"),
        ("CHUNK_SIZE", "0", "CHUNK_SIZE must be at least 1"),
        ("MAX_DELETED_SHARE", "20", "MAX_DELETED_SHARE must be between"),
        ("CHUNK_SIZE", "1.5", "CHUNK_SIZE must be a whole number"),
        ("COMPARE_KEYS", "perhaps", "COMPARE_KEYS must be true or false, not 'perhaps'"),
    ],
)
def test_a_wrong_setting_is_named_in_one_sentence(source, home, monkeypatch, setting, value, expected):
    source.add(1)
    monkeypatch.setenv(PREFIX + setting, value)
    sentence = refused()
    assert expected in sentence and "secret" not in sentence
    assert not (home / "bronze").exists()


def test_a_missing_required_column_is_named(source):
    source.run("alter table invoices drop total_amount")
    assert "has no column 'total_amount'" in refused()


def test_an_unknown_target_is_named(source, monkeypatch):
    monkeypatch.setenv("DBT_TARGET", "prod")
    assert refused() == "DBT_TARGET must be local or databricks, not 'prod'"


def test_a_missing_variable_of_the_workspace_is_named(source, monkeypatch):
    monkeypatch.setenv("DBT_TARGET", "databricks")
    assert "DATABRICKS_HOST" in refused()


def test_a_source_that_fails_midway_loses_nothing(source, home):
    source.add(1, 5)
    bring()
    source.run("alter table invoices rename to real; create view invoices as select *, 1 / (invoice_id - 6) as x from real")
    source.run("insert into real (invoice_id, updated_at) values (6, %s)", later(hours=1))
    assert "division by zero" in refused()
    source.run(
        "delete from real where invoice_id = 6; insert into real (invoice_id, updated_at) values (7, %s)",
        later(hours=2),
    )
    assert bring()["invoices"] >= 1
    assert set(landed(home, "invoice_id")) == {1, 2, 3, 4, 5, 7}


def test_a_second_load_at_once_says_who_holds_the_lock(source, home):
    with run_lock(home / "load.lock"):
        assert refused().startswith("another load is running: process ")
    source.add(1)
    assert bring()["invoices"] == 1


def test_the_command_line_prints_a_summary_or_one_sentence(source, monkeypatch, capsys):
    source.add(1, 3)
    assert main(["--no-register"]) == 0
    assert "invoices: 3 rows landed" in capsys.readouterr().out
    monkeypatch.setenv(PREFIX + "INVOICES__TABLE_NAME", "bills")
    assert main(["--no-register"]) == 1
    output = capsys.readouterr()
    assert output.err.startswith("error: the source has no table") and output.err.count("\n") == 1
