"""Silver on an endpoint with Sail: a random history of loads, compared with a reference written in plain Python."""

import json
import random
import shutil
from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from tests.conftest import connect
from tests.fixtures_dbt import ROOT, WATCHED, copy_of_the_project, dbt, environment_of

SEED = 7
BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Row:
    """One landed row. Times are UTC; `load` is the load's number, one a day from BEGIN on."""

    row_id: str
    load: int
    invoice_id: int | None
    updated_at: datetime | None
    deleted: bool = False
    total: str = "12.00"
    rescued: str | None = None
    month_number: int = 1

    @property
    def loaded_at(self) -> datetime:
        return BEGIN + self.load * DAY

    @property
    def month(self) -> date | None:
        return None if self.deleted else date(2025, self.month_number, 1)

    def has_true_time(self) -> bool:
        return self.updated_at is not None and (self.deleted or self.updated_at <= self.loaded_at + DAY)

    def is_usable(self) -> bool:
        if self.invoice_id is None or not self.has_true_time():
            return False
        return self.deleted or (self.total == "12.00" and self.rescued is None)

    def version(self) -> tuple:
        updated_at = min(self.updated_at, self.loaded_at + DAY) if self.deleted else self.updated_at
        return updated_at, self.loaded_at, self.deleted, self.row_id

    def is_older_than(self, kept: "Row | None") -> bool:
        """True where `kept`, the usable row of the same invoice, is newer; a time that cannot be true is not compared."""
        if kept is None:
            return False
        return self.version() < kept.version() if self.has_true_time() else self.loaded_at < kept.loaded_at

    def as_sql(self) -> str:
        def text(value: object) -> str:
            return "null" if value is None else f"'{value}'"

        time = "null" if self.updated_at is None else f"timestamp'{self.updated_at:%Y-%m-%d %H:%M:%S}+00:00'"
        amounts = "null, null, null" if self.deleted else f"10.00, 2.00, {'null' if self.rescued else self.total}"
        day = "null" if self.deleted else f"date'{self.month:%Y-%m-15}'"
        return (
            f"({'null' if self.invoice_id is None else self.invoice_id}, null, null, 'DE', {day}, null,"
            f" {'null' if self.deleted else text('EUR')}, {amounts}, 'paid', null, {time}, {text(self.rescued)},"
            f" {'true' if self.deleted else 'null'}, '{self.loaded_at.timestamp()}', '{self.row_id}')"
        )


def history(loads: int, rows: int) -> list[list[Row]]:
    """What lands before each run: inserts, updates (to other months too), late and equal times, deletions, revivals, faults,
    repeats, and rows of a load that become visible only after that load was processed."""
    random_ = random.Random(SEED)
    outdone = {
        1: Row("no time", 1, 100, None),
        2: Row("its correction", 2, 100, BEGIN + timedelta(hours=10)),
        3: Row("newer than the correction, loaded before the row without a time", 0, 100, BEGIN + timedelta(hours=20)),
    }
    landed: list[list[Row]] = []
    for load in range(loads):
        batch: list[Row] = []
        for number in range(rows):
            row = Row(
                row_id=f"r{load}-{random_.randrange(10**6):06d}-{number}",
                load=load,
                invoice_id=random_.randrange(40),
                updated_at=BEGIN + load * DAY - timedelta(hours=random_.choice([0, 1, 5, 5, 5, 24, 40, 70])),
                deleted=random_.random() < 0.15,
                month_number=random_.randint(1, 6),
            )
            fault = random_.random()
            if fault < 0.03:
                row = replace(row, invoice_id=None)
            elif fault < 0.06:
                row = replace(row, updated_at=None)
            elif fault < 0.10:  # also on a deletion, which takes the time of the invoice that it deletes
                row = replace(row, updated_at=datetime(2099, 1, 1, tzinfo=UTC))
            elif fault < 0.14:
                row = replace(row, total="13.00")
            elif fault < 0.17:
                row = replace(row, rescued=json.dumps({"total_amount": "NaN"}))
            batch.append(row)
        batch += random_.sample(batch, 4)  # the same file landed twice
        if landed:
            # the rest of the load before, its file once more, and some of it replayed by this load, as Kafka may
            batch += [replace(row, row_id=f"{row.row_id}-late", load=load - 1) for row in batch[:6]]
            batch += random_.sample(landed[-1], 3)
            batch += [replace(row, load=load) for row in random_.sample(landed[-1], 6)]
        if len(landed) > 1:
            # rows of the load before that one, whose time that load could not have known where they changed since
            batch += [replace(row, row_id=f"{row.row_id}-later", load=load - 2) for row in batch[6:24]]
        batch += [outdone[load]] if load in outdone else []
        landed.append(batch)
    return landed


def reference(rows: list[Row]) -> tuple[dict[int, Row], dict[str, Row], Counter]:
    """Silver's invoices by key, its rejected rows by row id, and the number of landed rows by load and outcome."""
    kept: dict[int, Row] = {}
    for row in rows:
        if row.is_usable() and (row.invoice_id not in kept or row.version() > kept[row.invoice_id].version()):
            kept[row.invoice_id] = row
    last = {row.row_id: row for row in sorted(rows, key=lambda row: row.load)}
    rejected = {
        number: row for number, row in last.items() if not row.is_usable() and not row.is_older_than(kept.get(row.invoice_id))
    }
    accepted = {row.row_id for row in kept.values()}
    outcomes = Counter((row.load, "superseded") for row in rows)
    for number, row in last.items():
        if number in accepted | set(rejected):
            outcomes[row.load, "accepted" if number in accepted else "rejected"] += 1
            outcomes[row.load, "superseded"] -= 1
    return kept, rejected, +outcomes


@pytest.fixture(scope="module")
def lakehouse(fast_endpoint, tmp_path_factory):
    """Bronze tables and seeds under schemas of their own; gives a function to query and one to run dbt."""
    prefix = "history_"
    environment = environment_of(fast_endpoint, Path(tmp_path_factory.mktemp("dbt")))
    connection = connect(fast_endpoint)

    def query(statement: str) -> list[tuple]:
        with connection.cursor() as cursor:
            cursor.execute(statement.replace("{p}", prefix))
            rows = cursor.fetchall() if cursor.description else []
            return [tuple(v.tolist() if hasattr(v, "tolist") else v for v in row) for row in rows]  # arrays come as numpy's

    def run(*arguments: str, project: Path = ROOT) -> None:
        dbt(*arguments, "--vars", json.dumps({"schema_prefix": prefix}), env=environment, project=project)

    query("create schema if not exists {p}bronze")
    query(
        "create table {p}bronze.invoices (invoice_id bigint, invoice_number string, customer_id string, country string,"
        " invoice_date date, due_date date, currency_code string, net_amount decimal(18,2), tax_amount decimal(18,2),"
        " total_amount decimal(18,2), status string, created_at timestamp, updated_at timestamp, _rescued_data string,"
        " _is_deleted boolean, _dlt_load_id string, _dlt_id string) using delta"
    )
    query(
        "create table {p}bronze.countries using delta as select 'DE' as country_code, 'Germany' as country_name,"
        " cast(null as string) as region, cast(null as string) as sub_region, 'EUR' as currency_code,"
        " timestamp'2026-01-01' as updated_at, cast(null as string) as _rescued_data,"
        f" cast(null as boolean) as _is_deleted, '{BEGIN.timestamp()}' as _dlt_load_id, 'c1' as _dlt_id"
    )
    run("seed", "--select", "package:invoices_countries")
    yield query, run
    for layer in ("bronze", "silver", "gold", "elementary", "test_failures"):
        query(f"drop schema if exists {prefix}{layer} cascade")
    connection.close()


SILVER = "select * from {p}silver.invoices order by invoice_id"
REJECTED = "select * from {p}silver.rejected_invoices order by _row_id"
FACTS = "select * from {p}gold.fct_invoices order by invoice_id"
ACCOUNTING = (
    "select table_name, load_id, loaded_at, outcome, row_count from {p}silver.row_accounting"
    " order by table_name, load_id, outcome"
)
SELECT = ("--select", "+silver_row_accounting", "--exclude", "resource_type:seed", *WATCHED)


@pytest.fixture(scope="module")
def after_each_load(lakehouse):
    """The tables after every incremental run over the history, which the runs share."""
    query, run = lakehouse
    landed, states = [], []
    for batch in history(loads=4, rows=40):
        query("insert into {p}bronze.invoices values " + ", ".join(row.as_sql() for row in batch))
        landed += batch
        if len(states) == 2:  # as if the run before had been killed at its end
            query("drop table {p}silver.row_accounting")
        run("run", *SELECT)
        states.append((list(landed), query(SILVER), query(REJECTED), query(ACCOUNTING)))
    return states


def test_the_history_has_what_the_test_is_about(after_each_load):
    rows = after_each_load[-1][0]
    kept, rejected, _ = reference(rows)
    assert any(row.deleted for row in kept.values()) and rejected
    deleted = {row.invoice_id for row in rows if row.deleted and row.is_usable()}
    assert deleted & {number for number, row in kept.items() if not row.deleted}, "an invoice comes back"
    assert len({row.row_id for row in rows}) < len(rows), "a delivery is repeated"
    states = [reference(rows)[0] for rows, *_ in after_each_load]
    moves = [(b[n].month, a[n].month) for b, a in zip(states, states[1:], strict=False) for n in b if b[n].month != a[n].month]
    assert any(all(move) for move in moves), "an invoice moves to another month"
    assert any(before is None for before, _ in moves) and any(after is None for _, after in moves), "and to none, and back"


def test_the_history_has_rejected_rows_that_leave_for_every_cause(after_each_load):
    states = [reference(rows)[1] for rows, *_ in after_each_load]
    left = [row for i, state in enumerate(states[:-1]) for number, row in state.items() if number not in states[i + 1]]
    assert {"no time", "future", "true time"} == {
        "true time" if row.has_true_time() else "future" if row.updated_at else "no time" for row in left
    }
    assert any(row.deleted for row in left)
    assert ["no time" in state for state in states] == [False, True, False, True], "one comes back: its correction was outdone"
    without_key = {number for number, row in states[1].items() if row.invoice_id is None}
    assert without_key and without_key <= set(states[-1])


def test_silver_equals_the_reference_after_every_load(after_each_load):
    for rows, silver, rejected, accounting in after_each_load:
        kept, unusable, outcomes = reference(rows)
        names = [row[0] for row in silver]
        assert names == sorted(kept), "one row an invoice"
        assert [(row[6], row[-2], row[-1]) for row in silver] == [
            (row.month, row.loaded_at, row.row_id) for _, row in sorted(kept.items())
        ]
        assert [(row[-1], row[-2]) for row in rejected] == [(n, row.loaded_at) for n, row in sorted(unusable.items())]
        counted = {(loaded_at, outcome): n for table, _, loaded_at, outcome, n in accounting if table == "invoices"}
        assert counted == {(BEGIN + load * DAY, outcome): n for (load, outcome), n in outcomes.items()}


def test_running_again_changes_nothing(lakehouse, after_each_load):
    query, run = lakehouse
    run("run", *SELECT)
    assert (query(SILVER), query(REJECTED), query(ACCOUNTING)) == after_each_load[-1][1:]


def test_a_full_refresh_equals_the_incremental_runs_row_by_row(lakehouse, after_each_load):
    query, run = lakehouse
    run("run", "--full-refresh", *SELECT)
    assert (query(SILVER), query(REJECTED), query(ACCOUNTING)) == after_each_load[-1][1:]


def test_the_whole_project_builds_and_passes_its_tests_over_the_history(lakehouse, after_each_load):
    query, run = lakehouse
    run("build", "--select", "package:invoices_countries", "--exclude", "resource_type:seed", *WATCHED)
    live = query("select count(*) from {p}silver.invoices where not is_deleted")
    assert query("select count(*) from {p}gold.fct_invoices") == live
    assert query("select distinct country_key, country_match_method from {p}gold.fct_invoices") == [("DE", "code")]


def test_a_run_heals_a_lost_row(lakehouse, after_each_load):
    query, run = lakehouse
    query(f"delete from {{p}}silver.invoices where invoice_id = {query(SILVER)[0][0]}")
    run("run", "--select", "silver_row_accounting")  # finds it
    run("run", *SELECT)
    assert query(SILVER) == after_each_load[-1][1]


def test_the_tests_of_accounting_and_totals_catch_lost_and_doubled_rows(lakehouse, after_each_load):
    query, run = lakehouse
    query(f"delete from {{p}}silver.rejected_invoices where _row_id = '{query(REJECTED)[0][-1]}'")
    query(f"update {{p}}gold.fct_invoices set total_amount = 13 where invoice_id = {query(FACTS)[0][0]}")
    run("run", "--select", "silver_row_accounting")
    for test in ("every_landed_row_is_accounted_for", "totals_reconcile_from_bronze_to_gold"):
        with pytest.raises(AssertionError, match=test):
            run("test", "--select", test)


def test_an_update_that_moves_an_invoice_to_another_month_leaves_no_second_copy(lakehouse, after_each_load):
    query, run = lakehouse
    for load, month in ((10, 1), (11, 2)):
        row = Row(f"month {month}", load, 5000, BEGIN + load * DAY, month_number=month)
        query(f"insert into {{p}}bronze.invoices values {row.as_sql()}")
        run("run", "--select", "silver_invoices")
        found = query("select invoice_month, _row_id from {p}silver.invoices where invoice_id = 5000")
        assert found == [(row.month, f"month {month}")]


def test_a_new_column_arrives_in_the_tables_that_exist(lakehouse, after_each_load, tmp_path):
    query, run = lakehouse
    run("run", *SELECT)
    before = query(SILVER), query(REJECTED)
    copy_of_the_project(tmp_path)
    shutil.copytree(ROOT / "dbt_packages", tmp_path / "dbt_packages")
    for name, old, new in (
        ("stg_invoices", " country as country_text,", " country as country_text, concat('to ', country) as note,"),
        ("silver_invoices", " country_text,", " country_text, note,"),
        ("silver_rejected_invoices", '"country_text",', '"country_text", "note",'),
    ):
        model = tmp_path / f"models/silver/{name}.sql"
        assert model.read_text().count(old) == 1, name
        model.write_text(model.read_text().replace(old, new))
    usable, unusable = (
        Row(f"new {i}", 12, i, BEGIN + 12 * DAY, total=total) for i, total in ((6000, "12.00"), (6001, "13.00"))
    )
    query(f"insert into {{p}}bronze.invoices values {usable.as_sql()}, {unusable.as_sql()}")
    run("run", "--no-partial-parse", *SELECT, project=tmp_path)
    for table, key, old_rows in (("invoices", "invoice_id", before[0]), ("rejected_invoices", "_row_id", before[1])):
        rows = query(f"select * from {{p}}silver.{table} order by _load_id = '{usable.loaded_at.timestamp()}', {key}")
        assert [row[:-1] for row in rows[:-1]] == old_rows
        assert [row[-1] for row in rows] == [None] * len(old_rows) + ["to DE"]
