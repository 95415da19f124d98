"""One history of 50,000 changes as each of the loaders lays it out in bronze: silver must be the same after every sync.

The history has creations, updates (to other months too), deletions, revivals, values that silver rejects, changes that are
delivered a sync late, and repeated deliveries. What silver must be is told by plain Python from the changes themselves.

Not all loaders can see all of it, and the history and the comparison allow for that:

- dlt, files and Azure Data Factory read the source's rows, Airbyte (deduped) and Fivetran keep the newest row alone: of two
  changes of an invoice between two syncs they have the last one. So a change that is rejected is the only one of its invoice in
  a sync; and of two rejected versions of an invoice the comparison takes the newest, which is all that a table whose rows are
  replaced still has.
- An invoice that is created and deleted between two syncs is unknown to those that read rows; they need not have it.
- The time of a deletion is the source's own for Kafka and Airbyte, and the sync's for all others; it is not compared.
- The text of a NaN: dlt, files and Kafka keep it in _rescued_data, Airbyte nulls the value and says so in _airbyte_meta,
  Fivetran's column is a text here, Azure Data Factory lands texts only. landed_row is compared without it, amounts as numbers.
- In _loader, _load_id, _loaded_at and _row_id each loader is itself.
"""

import json
import random
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from itertools import count
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from local_databricks.packages import STAND_INS
from tests.conftest import connect
from tests.fixtures_dbt import copy_of_the_project, dbt, environment_of

SEED = 11
BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
SYNCS = (1, 2, 3)
PREFIX = "loaders_"
FUTURE = datetime(2099, 1, 1, tzinfo=UTC)
#: What is wrong with a row, and the reasons that silver gives for it. A time that says nothing makes a row of no other change.
FAULTS = {
    "sum": ["amounts_do_not_add_up"],
    "currency": ["unknown_currency"],
    "no currency": ["missing_currency"],
    "date": ["invoice_date_out_of_range"],
    "NaN": ["value_does_not_fit_type"],
    "future": ["updated_at_in_future"],
    "no time": ["missing_updated_at"],
}
TIMELESS = ("future", "no time")
INVOICE = (
    "invoice_id", "invoice_number", "customer_id", "country", "invoice_date", "due_date", "currency_code", "net_amount",
    "tax_amount", "total_amount", "status", "created_at", "updated_at",
)  # fmt: skip
COUNTRY = ("country_code", "country_name", "region", "sub_region", "currency_code", "updated_at")
STRING, TIMESTAMP, AMOUNT = pa.string(), pa.timestamp("us", "UTC"), pa.decimal128(18, 2)
TYPES = {
    "invoice_id": pa.int64(), "invoice_date": pa.date32(), "due_date": pa.date32(), "net_amount": AMOUNT, "tax_amount": AMOUNT,
    "total_amount": AMOUNT, "created_at": TIMESTAMP, "updated_at": TIMESTAMP,
}  # fmt: skip


def sync_time(sync: int) -> datetime:
    return BEGIN + timedelta(days=sync)


@dataclass(frozen=True)
class Change:
    """A change of a row of the source. `at`: when it happened; `delivered`: the sync that brings it; `row`: the whole row."""

    table: str
    key: int | str
    at: datetime
    delivered: int
    row: dict | None  # None: deleted
    before: dict | None = None  # of a deletion
    fault: str | None = None


def history(share: int = 1) -> list[Change]:
    """The changes in the order in which they happened: 50,000, or their `share`-th part."""
    random_, changes, numbers = random.Random(SEED), [], count(1)
    rows: dict[int, dict] = {}  # the source's table
    gone: dict[int, int] = {}  # the sync that deleted it
    timeless: set[int] = set()

    def invoice(number: int, at: datetime) -> dict:
        net, day = Decimal(random_.randint(100, 500_000)) / 100, date(2025, random_.randint(1, 12), random_.randint(1, 28))
        net, tax = net.quantize(Decimal("0.01")), (net * Decimal("0.19")).quantize(Decimal("0.01"))
        return dict(zip(INVOICE, (
            number, f"INV-{number:06}", random_.choice(["C1", "C2", " C3", None]),
            random_.choice(["DE", "Holland", "EIRE", None]), day, day + timedelta(days=30),
            random_.choice(["EUR", "usd", " GBP"]), net, tax, net + tax,
            random_.choice(["open", "PAID ", "draft"]), at, at,
        ), strict=True))  # fmt: skip

    for sync, size in zip(SYNCS, (45_750, 2_000, 2_000), strict=True):
        size //= share
        known, touched, spoilt = [n for n in rows if n not in timeless], set(), set()
        deleted_before = [number for number, when in gone.items() if when < sync]
        begin, step = sync_time(sync) - timedelta(hours=20), timedelta(hours=19) / (size + 1)
        for position in range(size):
            at, kind = begin + position * step, random_.random()
            free = [n for n in (random_.choice(known) for _ in range(3)) if n in rows and n not in touched] if known else []
            if kind < 0.002 and deleted_before:
                number = deleted_before.pop()
                del gone[number]
                rows[number] = invoice(number, at)
                changes.append(Change("invoices", number, at, sync, rows[number]))
            elif kind < 0.006 and (wrong := sorted(timeless - touched)):  # its correction
                number = wrong[0]
                timeless.remove(number)
                rows[number] = invoice(number, at)
                touched.add(number)
                spoilt.add(number)
                changes.append(Change("invoices", number, at, sync, rows[number]))
            elif kind < 0.03:
                number = free[0] if free and random_.random() < 0.6 else next(numbers)
                fault = random_.choice(list(FAULTS))
                rows[number] = invoice(number, at) | faulty(fault)
                touched.add(number)
                spoilt.add(number)
                if fault in TIMELESS:
                    timeless.add(number)
                changes.append(Change("invoices", number, at, sync, rows[number], fault=fault))
            elif kind < 0.06 and free:
                gone[free[0]] = sync
                touched.add(free[0])
                changes.append(Change("invoices", free[0], at, sync, None, before=rows.pop(free[0])))
            elif 0.06 <= kind < 0.065:
                number = next(numbers)
                row = invoice(number, at)
                changes.append(Change("invoices", number, at, sync, row))
                changes.append(Change("invoices", number, at + step / 2, sync, None, before=row))
            elif kind < (0.6 if sync == 1 else 0.75) and rows:
                number = random_.choice(known) if known else random_.randrange(1, len(rows) + 1)
                if number not in rows or number in spoilt or number in timeless:
                    number = next(numbers)
                is_new = number not in rows
                rows[number] = invoice(number, at)
                is_late = not is_new and sync < SYNCS[-1] and random_.random() < 0.05
                changes.append(Change("invoices", number, at, sync + is_late, rows[number]))
                touched.add(number)
            else:
                number = next(numbers)
                rows[number] = invoice(number, at)
                changes.append(Change("invoices", number, at, sync, rows[number]))
        changes += countries(sync, sync_time(sync) - timedelta(minutes=30))
    # Late, but not where a row that is rejected or deleted came in between: those who read rows would not see the late one.
    special = {change.key for change in changes if change.fault or change.row is None}
    return [
        Change(**{**vars(c), "delivered": n}) if c.key in special and c.delivered != (n := own_sync(c.at)) else c
        for c in changes
    ]


def own_sync(at: datetime) -> int:
    return (at - BEGIN + timedelta(hours=20)).days


def faulty(fault: str) -> dict:
    return {
        "sum": {"tax_amount": Decimal("0.50"), "net_amount": Decimal("1.00"), "total_amount": Decimal("9.00")},
        "currency": {"currency_code": "EUX"},
        "no currency": {"currency_code": None},
        "date": {"invoice_date": date(1989, 12, 31)},
        "NaN": {"total_amount": Decimal("NaN")},
        "future": {"updated_at": FUTURE},
        "no time": {"updated_at": None},
    }[fault]


def countries(sync: int, at: datetime) -> list[Change]:
    """All countries first, one of them unknown to ISO; then one loses its name, and gets it back; another one is renamed."""

    def country(code: str, name: str | None, fault: str | None = None) -> Change:
        row = dict(zip(COUNTRY, (code, name, "Europe", None, "EUR", at), strict=True))
        return Change("countries", code, at, sync, row, fault=fault)

    if sync == 1:
        names = {"DE": "Germany", "FR": "France", "NL": "Netherlands", "IE": "Ireland", "ES": "Spain"}
        return [*(country(code, name) for code, name in names.items()), country("XX", "Nowhere", "unknown_country_code")]
    if sync == 2:
        return [
            country("DE", "Deutschland"),
            country("FR", None, "missing_country_name"),
            country("ES", " ", "missing_country_name"),
        ]
    return [country("FR", "France again"), country("XX", "Still nowhere", "unknown_country_code")]


@dataclass
class Reference:
    """What silver must hold after a sync: by key the change that is accepted, and the newest rejected one that stands."""

    accepted: dict[str, dict] = field(default_factory=lambda: {"invoices": {}, "countries": {}})
    rejected: dict[str, dict] = field(default_factory=lambda: {"invoices": {}, "countries": {}})


def reference(changes: list[Change], sync: int) -> Reference:
    found = Reference()
    for change in changes:  # in the order of time, so the last one is the newest
        if change.delivered <= sync:
            accepted, rejected = found.accepted[change.table], found.rejected[change.table]
            if change.fault:
                rejected[change.key] = change
            else:
                rejected.pop(change.key, None)
                accepted[change.key] = change
    return found


# -- the loaders ---------------------------------------------------------------------------------------------------------------


def states(changes: list[Change], sync: int) -> dict[tuple[str, int | str], Change]:
    """The newest change of every key that a sync knows: the source's table, and what is deleted."""
    return {(change.table, change.key): change for change in changes if change.delivered <= sync}


def known_before(changes: list[Change], sync: int) -> set:
    return set(states(changes, sync - 1))


def plain(change: Change) -> dict:
    """The row in the contract's types, with the NaN in _rescued_data: ingestion.values."""
    row = dict(change.row)
    if change.fault == "NaN":
        row |= {"total_amount": None, "_rescued_data": '{"total_amount":"NaN"}'}
    return row


def with_repeats(rows: list[dict], earlier: list[dict], again: Callable[[dict], dict]) -> list[dict]:
    """Some rows twice as they are, and some of an earlier sync once more, which `again` makes rows of this one."""
    random_ = random.Random(SEED)
    usable = [row for row in earlier if not str(row.get("updated_at")).startswith(("None", "2099"))]
    return [*rows, *random_.sample(rows, min(50, len(rows) // 10)), *map(again, random_.sample(usable, min(200, len(usable))))]


def read_as_rows(changes: list[Change], sync: int) -> Iterator[tuple[Change, dict]]:
    """What is new for those who read the source's rows and compare keys: the newest state, a deletion with the sync's time."""
    before = known_before(changes, sync)
    for key, change in states(changes, sync).items():
        if change.delivered != sync:
            continue
        if change.row is not None:
            yield change, plain(change) | {"_is_deleted": None}
        elif key in before:
            name = "invoice_id" if change.table == "invoices" else "country_code"
            yield change, {name: change.key, "updated_at": sync_time(sync), "_is_deleted": True}


def dlt_rows(changes: list[Change], sync: int) -> dict[str, list[dict]]:
    """ingestion.load; its deterministic _dlt_id is that of a row's content."""
    load_id = f"{sync_time(sync).timestamp():.6f}"
    landed: dict[str, list[dict]] = {"invoices": [], "countries": []}
    for change, row in read_as_rows(changes, sync):
        row_id = f"{change.key}-{change.at.isoformat()}-{sync}"
        landed[change.table].append(row | {"_dlt_load_id": load_id, "_dlt_id": row_id})
    return landed


def redelivered_by_dlt(sync: int) -> Callable[[dict], dict]:
    return lambda row: row | {"_dlt_load_id": f"{sync_time(sync).timestamp():.6f}"}


def files_rows(changes: list[Change], sync: int) -> dict[str, list[dict]]:
    """ingestion.files: dlt's layout, the file's name and the line."""
    return {
        table: [row | {"_file_name": f"{table}_{sync}.csv", "_file_line": line} for line, row in enumerate(rows, start=2)]
        for table, rows in dlt_rows(changes, sync).items()
    }


def kafka_rows(changes: list[Change], sync: int) -> dict[str, list[dict]]:
    """ingestion.kafka.events: each change is a message."""
    landed: dict[str, list[dict]] = {"invoices": [], "countries": []}
    for offset, change in enumerate(changes):
        if change.delivered == sync:
            key = "invoice_id" if change.table == "invoices" else "country_code"
            deleted = {key: change.key, "updated_at": change.at, "_is_deleted": True}
            landed[change.table].append({
                **(deleted if change.row is None else plain(change)), "_kafka_topic": change.table, "_kafka_partition": 0,
                "_kafka_offset": offset, "_kafka_timestamp": change.at,
                "_kafka_batch_id": f"query:{sync}", "_kafka_ingested_at": sync_time(sync),
            })  # fmt: skip
    return landed


def airbyte_row(change: Change, sync: int, extracted_at: datetime) -> dict:
    """Airbyte's Databricks destination after change data capture; a deletion has the key alone (REPLICA IDENTITY DEFAULT), or
    the whole row (FULL), here for odd keys."""
    key, problems = ("invoice_id" if change.table == "invoices" else "country_code"), []
    row = change.row
    if row is None:
        row = change.before if isinstance(change.key, int) and change.key % 2 else {key: change.key}
        row = {name: None if isinstance(value, Decimal) and value.is_nan() else value for name, value in row.items()}
    elif change.fault == "NaN":
        row = row | {"total_amount": None}
        problems = [{"field": "total_amount", "change": "NULLED", "reason": "SOURCE_SERIALIZATION_ERROR"}]
    return {
        **row, "_airbyte_raw_id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{change.key}{change.at}{extracted_at}")),
        "_airbyte_extracted_at": extracted_at, "_airbyte_generation_id": 0,
        "_airbyte_meta": json.dumps({"sync_id": sync, "changes": problems}, separators=(",", ":")),
        "_ab_cdc_lsn": Decimal(int(change.at.timestamp() * 1000)), "_ab_cdc_updated_at": change.at.isoformat(),
        "_ab_cdc_deleted_at": change.at.isoformat().replace("+00:00", "Z") if change.row is None else None,
    }  # fmt: skip


def airbyte_append_rows(changes: list[Change], sync: int) -> dict[str, list[dict]]:
    """Incremental | Append: every change is a row, with a time of its own."""
    landed: dict[str, list[dict]] = {"invoices": [], "countries": []}
    for position, change in enumerate(change for change in changes if change.delivered == sync):
        landed[change.table].append(airbyte_row(change, sync, sync_time(sync) + position * timedelta(milliseconds=1)))
    return landed


def airbyte_deduped_rows(changes: list[Change], sync: int) -> dict[str, list[dict]]:
    """Incremental | Append + Deduped: the table as it is after the sync, the newest row of each key."""
    landed: dict[str, list[dict]] = {"invoices": [], "countries": []}
    for position, change in enumerate(states(changes, sync).values()):
        at = sync_time(change.delivered) + position * timedelta(milliseconds=1)
        landed[change.table].append(airbyte_row(change, change.delivered, at))
    return landed


def airbyte_rows_of_a_copy(changes: list[Change], sync: int) -> dict[str, list[dict]]:
    """The same where Airbyte begins with a copy at sync 2: what was deleted before is not in it."""
    copied = {key for key, change in states(changes, 2).items() if change.row is not None}
    landed: dict[str, list[dict]] = {"invoices": [], "countries": []}
    for position, (key, change) in enumerate(states(changes, sync).items()):
        if key in copied or change.delivered > 2:
            number = max(2, change.delivered)
            at = sync_time(number) + position * timedelta(milliseconds=1)
            landed[change.table].append(airbyte_row(change, number, at))
    return landed


def fivetran_rows(changes: list[Change], sync: int) -> dict[str, list[dict]]:
    """Soft delete mode: the table as it is after the sync, each row with the time at which it was synced. Some rows are written
    again without a change, and some are marked as deleted as a re-sync does it, which leaves their time alone."""
    landed: dict[str, list[dict]] = {"invoices": [], "countries": []}
    before = states(changes, sync - 1)
    for position, (key, change) in enumerate(states(changes, sync).items()):
        row = dict(change.row or change.before)
        if isinstance(row.get("total_amount"), Decimal):
            row["total_amount"] = str(row["total_amount"])  # one NaN, and the column is a text
        written = sync if position % 97 == 0 and row["updated_at"] not in (None, FUTURE) else change.delivered
        if change.row is None and change.delivered == sync == 3 and key in before and before[key].delivered == 2:
            written = 2
        elif change.row is None:
            written = change.delivered
        synced = sync_time(written) + position * timedelta(milliseconds=1)
        landed[change.table].append({**row, "_fivetran_deleted": change.row is None, "_fivetran_synced": synced})
    return landed


def azure_data_factory_rows(changes: list[Change], sync: int) -> dict[str, list[dict]]:
    """deploy/azure_data_factory: copied rows, whose values are all texts, and the keys that are gone."""
    landed: dict[str, list[dict]] = {"invoices": [], "countries": []}
    for change, row in read_as_rows(changes, sync):
        row.pop("_rescued_data", None)
        if change.fault == "NaN":
            row["total_amount"] = change.row["total_amount"]
        is_deleted = bool(row["_is_deleted"])
        row = {name: as_text(value) for name, value in row.items()}
        landed[change.table].append(
            {**row, "_adf_run_id": f"run-{sync}", "_adf_loaded_at": sync_time(sync), "_is_deleted": is_deleted}
        )
    return landed


def as_text(value: object) -> str | None:
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return None if value is None else str(value)


@dataclass(frozen=True)
class Layout:
    """A loader's layout: its name in var loaders, the rows of a sync, the types of its metadata columns and of the contract's
    that it has otherwise, how a row of an earlier sync is delivered again (None: each sync replaces its table)."""

    loader: str
    rows: Callable[[list[Change], int], dict[str, list[dict]]]
    metadata: dict[str, pa.DataType]
    types: dict[str, pa.DataType] = field(default_factory=dict)
    again: Callable[[int], Callable[[dict], dict]] | None = None
    reads_rows: bool = False


DLT = {"_rescued_data": STRING, "_is_deleted": pa.bool_(), "_dlt_load_id": STRING, "_dlt_id": STRING}
AIRBYTE = {
    "_airbyte_raw_id": STRING, "_airbyte_extracted_at": TIMESTAMP, "_airbyte_meta": STRING,
    "_airbyte_generation_id": pa.int64(), "_ab_cdc_lsn": pa.decimal128(38, 10),
    "_ab_cdc_updated_at": STRING, "_ab_cdc_deleted_at": STRING,
}  # fmt: skip
WIDE = dict.fromkeys(("net_amount", "tax_amount", "total_amount"), pa.decimal128(38, 10))
LAYOUTS = {
    "dlt": Layout("dlt", dlt_rows, DLT, again=redelivered_by_dlt, reads_rows=True),
    "files": Layout("files", files_rows, DLT | {"_file_name": STRING, "_file_line": pa.int64()}, again=redelivered_by_dlt,
                    reads_rows=True),
    "kafka": Layout(
        "kafka", kafka_rows,
        {"_rescued_data": STRING, "_is_deleted": pa.bool_(), "_kafka_topic": STRING, "_kafka_partition": pa.int32(),
         "_kafka_offset": pa.int64(), "_kafka_timestamp": TIMESTAMP, "_kafka_batch_id": STRING,
         "_kafka_ingested_at": TIMESTAMP},
        again=lambda sync: lambda row: row | {"_kafka_batch_id": f"query:{sync}", "_kafka_ingested_at": sync_time(sync)},
    ),
    "airbyte_append": Layout(
        "airbyte", airbyte_append_rows, AIRBYTE, WIDE,
        again=lambda sync: lambda row: row | {
            "_airbyte_raw_id": f"{row['_airbyte_raw_id']}-{sync}", "_airbyte_extracted_at": sync_time(sync),
            "_airbyte_meta": row["_airbyte_meta"].replace(f'"sync_id":{sync - 1}', f'"sync_id":{sync}')},
    ),
    "airbyte_deduped": Layout("airbyte", airbyte_deduped_rows, AIRBYTE, WIDE),
    "fivetran": Layout("fivetran", fivetran_rows, {"_fivetran_deleted": pa.bool_(), "_fivetran_synced": TIMESTAMP},
                       {"total_amount": STRING}),
    "azure_data_factory": Layout(
        "azure_data_factory", azure_data_factory_rows,
        {"_adf_run_id": STRING, "_adf_loaded_at": TIMESTAMP, "_is_deleted": pa.bool_()},
        dict.fromkeys((*INVOICE, *COUNTRY), STRING),
        again=lambda sync: lambda row: row | {"_adf_run_id": f"run-{sync}", "_adf_loaded_at": sync_time(sync)}, reads_rows=True,
    ),
}  # fmt: skip


def write(folder: Path, layout: Layout, changes: list[Change], *syncs: int) -> int:
    """Let syncs land in `folder`/<table>; returns the number of invoices' rows that they added, or left where they replace."""
    added, before = 0, None
    for sync in syncs:
        landed = layout.rows(changes, sync)
        if layout.again and sync > 1:
            before = before or layout.rows(changes, sync - 1)
            landed["invoices"] = with_repeats(landed["invoices"], before["invoices"], layout.again(sync))
        for table, names in (("countries", COUNTRY), ("invoices", INVOICE)):
            types = {name: layout.types.get(name, TYPES.get(name, STRING)) for name in names} | layout.metadata
            rows = pa.Table.from_pylist(landed[table], pa.schema(types.items()))
            write_deltalake(str(folder / table), rows, mode="append" if layout.again else "overwrite")
        added, before = (added if layout.again else 0) + len(landed["invoices"]), landed
    return added


# -- silver --------------------------------------------------------------------------------------------------------------------

MODELS = (
    "stg_invoices", "stg_countries", "silver_invoices", "silver_countries", "silver_rejected_invoices",
    "silver_rejected_countries", "silver_row_accounting",
)  # fmt: skip
VALUES = """invoice_id, invoice_number, customer_id, country_text, invoice_date, due_date, currency_code, net_amount,
    tax_amount, total_amount, status, created_at, updated_at, is_deleted"""


class Silver:
    """Silver over the bronze of one or more layouts, in schemas that the tests of this file share, one after the other."""

    def __init__(self, connection, environment: dict[str, str], project: Path, folder: Path):
        self._connection, self._environment, self._project, self.folder = connection, environment, project, folder

    def query(self, statement: str) -> list[dict]:
        with self._connection.cursor() as cursor:
            cursor.execute(statement.replace("{s}", f"{PREFIX}silver"))
            return cursor.fetchall_arrow().to_pylist() if cursor.description else []

    def register(self, name: str, layout: Layout) -> str:
        """Register a layout's tables in a schema; returns its name."""
        schema = f"{PREFIX}bronze_{name}"
        self.query(f"create schema if not exists {schema}")
        for table in ("invoices", "countries"):
            self.query(
                f"create table if not exists {schema}.{table} using delta location '{(self.folder / name / table).as_uri()}'"
            )
        return schema

    def dbt(self, *arguments: str, loaders: object, schemas: dict[str, str]) -> None:
        names = {"schema_prefix": PREFIX, "loaders": loaders, "loader_schemas": schemas}
        dbt(*arguments, "--vars", json.dumps(names), env=self._environment, project=self._project)

    def build(self, loaders: object, schemas: dict[str, str], *models: str) -> None:
        """Build the models, all by default, and check that landed rows are accounted for."""
        checks = () if models else ("every_landed_row_is_accounted_for",)
        arguments = ("--select", *(models or MODELS), *checks, "--indirect-selection", "empty", "--exclude", "test_type:unit")
        self.dbt("build", *arguments, loaders=loaders, schemas=schemas)

    def landed(self) -> dict[str, int]:
        """By loader, how many rows of invoices row accounting knows, none of them unaccounted."""
        counts = """select loader, sum(row_count) as row_count, count_if(outcome = 'unaccounted') as lost
            from {s}.row_accounting where table_name = 'invoices' group by loader"""
        rows = self.query(counts)
        assert not any(row["lost"] for row in rows)
        return {row["loader"]: row["row_count"] for row in rows}

    def looked_at(self) -> str:
        """The condition by which the last build of silver_invoices chose rows."""
        path = Path(self._environment["DBT_TARGET_PATH"]) / "compiled/invoices_countries/models/silver/silver_invoices.sql"
        return path.read_text().split("where size(reasons) = 0 and ")[1].split("\n")[0]

    def clear(self) -> None:
        for table in ("invoices", "countries", "rejected_invoices", "rejected_countries", "row_accounting"):
            self.query(f"drop table if exists {{s}}.{table}")

    def check(self, wanted: Reference, without: set[int]) -> None:
        """Compare silver with what it must be, but for invoices that the loader cannot know."""
        found = self.query(f"select {VALUES}, invoice_month from {{s}}.invoices")
        found = {row["invoice_id"]: row | ({"updated_at": None} if row["is_deleted"] else {}) for row in found}
        accepted = {key: silver_invoice(change) for key, change in wanted.accepted["invoices"].items() if key not in without}
        assert found.keys() == accepted.keys()
        assert [(found[key], row) for key, row in accepted.items() if found[key] != row][:3] == []
        newest = """select {names}, reasons, landed_row from (
            select *, row_number() over (partition by {key} order by _loaded_at desc, updated_at desc) as position
            from {s}.{table}
        ) where position = 1"""
        rows = self.query(
            newest.replace("{names}", VALUES).replace("{key}", "invoice_id").replace("{table}", "rejected_invoices")
        )
        found = {row["invoice_id"]: row | {"landed_row": comparable(row["landed_row"])} for row in rows}
        rejected = {key: rejected_invoice(change) for key, change in wanted.rejected["invoices"].items()}
        assert found.keys() == rejected.keys()
        assert [(found[key], row) for key, row in rejected.items() if found[key] != row][:3] == []
        rows = self.query(f"select {', '.join(COUNTRY)}, is_deleted from {{s}}.countries")
        assert {row["country_code"]: row for row in rows} == {
            key: change.row | {"is_deleted": False} for key, change in wanted.accepted["countries"].items()
        }
        rows = self.query(
            newest.replace("{names}", "country_code, country_name").replace("{key}", "country_code")
            .replace("{table}", "rejected_countries")
        )  # fmt: skip
        assert {row["country_code"]: (row["country_name"], list(row["reasons"])) for row in rows} == {
            key: ((change.row["country_name"] or "").strip() or None, [change.fault])
            for key, change in wanted.rejected["countries"].items()
        }


def silver_invoice(change: Change) -> dict:
    """The row of silver.invoices that an accepted change is; the time of a deletion is left out."""
    row = change.row or dict.fromkeys(INVOICE) | {"invoice_id": change.key}
    return typed(row) | {
        "invoice_month": row["invoice_date"] and row["invoice_date"].replace(day=1),
        "is_deleted": change.row is None,
    }


def typed(row: dict) -> dict:
    strip = lambda text: (text or "").strip() or None  # noqa: E731
    status = (row["status"] or "unknown").strip().lower()
    return {
        "invoice_id": row["invoice_id"], "invoice_number": row["invoice_number"], "customer_id": strip(row["customer_id"]),
        "country_text": row["country"], "invoice_date": row["invoice_date"], "due_date": row["due_date"],
        "currency_code": row["currency_code"] and strip(row["currency_code"]).upper(), "net_amount": row["net_amount"],
        "tax_amount": row["tax_amount"], "total_amount": row["total_amount"], "status": status, "created_at": row["created_at"],
        "updated_at": row["updated_at"],
    }  # fmt: skip


def rejected_invoice(change: Change) -> dict:
    """The row of silver.rejected_invoices, its landed_row as `comparable` gives it."""
    row = change.row | ({"total_amount": None} if change.fault == "NaN" else {})
    landed = {name: value for name, value in row.items() if value is not None}
    for name, value in landed.items():
        if isinstance(value, datetime):
            landed[name] = value.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
        elif isinstance(value, date):
            landed[name] = value.isoformat()
    return typed(row) | {"is_deleted": False, "reasons": FAULTS[change.fault], "landed_row": landed}


def comparable(landed_row: str) -> dict:
    """A landed_row as a dict, with amounts as numbers, times cut to milliseconds, and without what only some loaders keep."""
    landed = json.loads(landed_row, parse_float=Decimal)
    landed.pop("_rescued_data", None)
    for name in ("net_amount", "tax_amount", "total_amount"):
        try:
            value = Decimal(landed[name])
        except (KeyError, InvalidOperation):
            continue
        landed[name] = value
        if value.is_nan():
            del landed[name]
    landed["invoice_id"] = int(landed["invoice_id"])
    for name in ("created_at", "updated_at"):
        if name in landed:
            landed[name] = datetime.fromisoformat(landed[name]).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
    return landed


@pytest.fixture(scope="module")
def changes() -> list[Change]:
    return history()


@pytest.fixture(scope="module")
def wanted(changes) -> dict[int, Reference]:
    return {sync: reference(changes, sync) for sync in SYNCS}


@pytest.fixture(scope="module")
def unseen(changes) -> set[int]:
    return never_seen(changes)


def never_seen(changes: list[Change]) -> set[int]:
    """Invoices that were created and deleted between two syncs, and did not come back."""
    ends = [set(key for (table, key), change in states(changes, sync).items() if change.row is not None) for sync in SYNCS]
    return {change.key for change in changes if change.table == "invoices"} - set.union(*ends)


@pytest.fixture(scope="module")
def silver(fast_endpoint, tmp_path_factory) -> Iterator[Silver]:
    """The part of the project that this needs, with the packages' stand-ins: each value of a variable is a parse of it all."""
    project = copy_of_the_project(tmp_path_factory.mktemp("project"))
    kept = {*MODELS, "iso_countries", "iso_currencies", "every_landed_row_is_accounted_for", "_sources", "_groups", "columns"}
    for folder in ("models", "python_models", "seeds", "snapshots", "tests/dbt"):
        for path in (project / folder).rglob("*.*"):
            if path.stem not in kept and path.parent.name != "generic":
                path.unlink()
    for seed in ("iso_countries", "iso_currencies"):
        (project / "seeds" / f"{seed}.yml").unlink(missing_ok=True)
    (project / "dbt_packages").symlink_to(STAND_INS)
    environment = environment_of(fast_endpoint, tmp_path_factory.mktemp("dbt"))
    with closing(connect(fast_endpoint)) as connection:
        made = Silver(connection, environment, project, tmp_path_factory.mktemp("bronze"))
        made.dbt("seed", "--select", "iso_countries", "iso_currencies", loaders="dlt", schemas={})
        yield made
        for name in ("silver", "test_failures", *(f"bronze_{name}" for name in (*LAYOUTS, "taken_over", "taking_over"))):
            made.query(f"drop schema if exists {PREFIX}{name} cascade")


def test_the_history_has_what_the_test_is_about(changes, wanted, unseen):
    invoices = [change for change in changes if change.table == "invoices"]
    assert 49_900 <= len(changes) <= 50_100 and len(unseen) > 50
    assert {change.fault for change in invoices} == {None, *FAULTS}
    assert sum(change.delivered > own_sync(change.at) for change in invoices) > 100, "late ones"
    states_ = [wanted[sync] for sync in SYNCS]
    for before, after in zip(states_, states_[1:], strict=False):
        b, a = before.accepted["invoices"], after.accepted["invoices"]
        moves = [(b[n].row, a[n].row) for n in b if b[n].row != a[n].row]
        assert any(x and y and x["invoice_date"].month != y["invoice_date"].month for x, y in moves), "to another month"
        assert any(y is None for _, y in moves), "a deletion"
        left = before.rejected["invoices"].keys() - after.rejected["invoices"].keys()
        assert {before.rejected["invoices"][key].fault for key in left} & set(TIMELESS), "a time that was corrected"
        assert after.rejected["invoices"].keys() & a.keys(), "a version before the rejected one is in silver"
    b, a = states_[1].accepted["invoices"], states_[2].accepted["invoices"]
    assert any(b[n].row is None and a[n].row is not None for n in b), "one comes back"


@pytest.mark.parametrize("name", LAYOUTS)
def test_silver_is_the_same_whichever_loader_lands_the_history(silver, changes, wanted, unseen, name):
    """With a build after each sync where rows are replaced, so that no version goes by unseen, and else after the second."""
    layout, landed = LAYOUTS[name], 0
    silver.clear()
    for syncs in ((1, 2), (3,)) if layout.again else ((1,), (2,), (3,)):
        rows = write(silver.folder / name, layout, changes, *syncs)
        landed = landed + rows if layout.again else rows
        schemas = {layout.loader: silver.register(name, layout)}
        silver.build(layout.loader, schemas)
        silver.check(wanted[syncs[-1]], unseen if layout.reads_rows else set())
        assert silver.landed() == {layout.loader: landed}
    if not layout.again:
        first = {"airbyte": "'1'", "fivetran": f"'{sync_time(1):%Y-%m-%d %H:%M:%S}'"}[layout.loader]
        assert silver.looked_at().startswith("(_loader = ") and first not in silver.looked_at(), "not a load that lost rows"
        silver.build(layout.loader, schemas, "silver_invoices")
        assert silver.looked_at() == "false", "a second run looks at nothing"


def test_one_loader_takes_over_from_another(silver):
    """dlt begins; half way Airbyte copies all, and both go on; then dlt is switched off. Over a tenth of the history."""
    changes = history(share=10)
    wanted = {sync: reference(changes, sync) for sync in SYNCS}
    unseen = never_seen(changes)
    dlt_, airbyte = LAYOUTS["dlt"], replace(LAYOUTS["airbyte_deduped"], rows=airbyte_rows_of_a_copy)
    unknown = unseen & {change.key for change in changes if change.delivered <= 2}
    silver.clear()
    landed = {"dlt": write(silver.folder / "taken_over", dlt_, changes, 1)}
    schemas = {"dlt": silver.register("taken_over", dlt_)}
    silver.build("dlt", schemas)
    silver.check(wanted[1], unseen)
    for sync in SYNCS[1:]:
        landed["dlt"] += write(silver.folder / "taken_over", dlt_, changes, sync)
        landed["airbyte"] = write(silver.folder / "taking_over", airbyte, changes, sync)
        schemas["airbyte"] = silver.register("taking_over", airbyte)
        silver.build(["dlt", "airbyte"], schemas)
        silver.check(wanted[sync], unknown)
        assert silver.landed() == landed
    silver.build("airbyte", schemas)
    silver.check(wanted[3], unknown)
    assert silver.landed() == {"airbyte": landed["airbyte"]}


def test_unit_tests_of_the_loaders_mappings(silver):
    """Those of staging's .yml are on where the loader is."""
    names = [f"stg_{table},test_type:unit" for table in ("invoices", "countries")]
    silver.dbt("test", "--select", *names, loaders=["airbyte", "fivetran", "files"], schemas={})
