"""Fixtures of the ingestion tests: one PostgreSQL for the session, one schema and one home a test."""

import contextlib
import os
import pkgutil
import secrets
import signal
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest import mock

import deltalake
import psycopg2
import pytest

from ingestion import demo_data
from ingestion.demo_source import Server

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


class SourceSchema:
    """A schema of the test database that holds the source contract's two tables."""

    def __init__(self, server: Server):
        self.name = f"t_{secrets.token_hex(4)}"
        self.url = server.url
        self._connection = psycopg2.connect(user="postgres", dbname="postgres", host=str(server.socket_folder))
        self._connection.autocommit = True
        self.run(f"create schema {self.name}")
        self.run(f"set search_path to {self.name}")
        for table, columns in (("invoices", demo_data.INVOICE_COLUMNS), ("countries", demo_data.COUNTRY_COLUMNS)):
            self.run(f"create table {table} ({', '.join(f'{name} {kind}' for name, kind in columns.items())})")
        self.run("insert into countries values ('DE', 'Germany', 'Europe', 'Western Europe', 'EUR', %s)", NOW)

    def run(self, sql: str, *values: object) -> list[tuple]:
        """Run a statement and return its rows, if any."""
        with self._connection.cursor() as cursor:
            cursor.execute(sql, values or None)
            return cursor.fetchall() if cursor.description else []

    def add(self, first: int, last: int | None = None, at: datetime | None = NOW, **values: object) -> None:
        """Insert invoices first..last, updated at `at`; `values` replace single columns."""
        row = {
            "invoice_number": "INV-1",
            "customer_id": "C1",
            "country": "DE",
            "invoice_date": "2026-02-01",
            "due_date": "2026-03-01",
            "currency_code": "EUR",
            "net_amount": "10.00",
            "tax_amount": "1.90",
            "total_amount": "11.90",
            "status": "open",
            "created_at": NOW,
            "updated_at": at,
            **values,
        }
        self.run(
            f"insert into invoices (invoice_id, {', '.join(row)}) "
            f"select id, {', '.join(['%s'] * len(row))} from generate_series({first}, {last or first}) id",
            *row.values(),
        )

    def close(self) -> None:
        """Drop the schema."""
        self.run(f"drop schema {self.name} cascade")
        self._connection.close()


class Impatient(threading.BoundedSemaphore):
    """Stands in for the whole second that dlt waits between two looks at its jobs: the tests load a hundred times."""

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        return super().acquire(blocking, timeout and 0.02)


@contextlib.contextmanager
def killed_at(place: str, after: bool, calls: int) -> Iterator[None]:
    """Within the block, this process is killed at the n-th call of the function at `place`, before or after its work."""
    module, _, name = place.rpartition(".")
    owner = pkgutil.resolve_name(module)
    original, seen = getattr(owner, name), []

    def replacement(*args, **kwargs):
        seen.append(1)
        if len(seen) < calls:
            return original(*args, **kwargs)
        if after:
            original(*args, **kwargs)
        os.kill(os.getpid(), signal.SIGKILL)

    with mock.patch.object(owner, name, replacement), mock.patch("dlt.load.load.BoundedSemaphore", Impatient):
        yield


@pytest.fixture(scope="session", autouse=True)
def impatient_dlt() -> Iterator[None]:
    """Let dlt look at its jobs more often."""
    with mock.patch("dlt.load.load.BoundedSemaphore", Impatient):
        yield


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An empty PostgreSQL server for the whole session."""
    server = Server(tmp_path_factory.mktemp("pg"))
    server.start()
    yield server
    server.delete()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """LAKEHOUSE_HOME of this test, and no setting of the source left over from outside."""
    for name in [name for name in os.environ if name.startswith(("SOURCES__", "DATABRICKS_", "LOCAL_DATABRICKS_", "DBT_"))]:
        monkeypatch.delenv(name)
    path = tmp_path / "home"
    monkeypatch.setenv("LAKEHOUSE_HOME", str(path))
    monkeypatch.setenv("DLT_DATA_DIR", str(path / "dlt"))
    return path


@pytest.fixture
def source(postgres: Server, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SourceSchema]:
    """A source schema, configured as the source to load."""
    schema = SourceSchema(postgres)
    monkeypatch.setenv("SOURCES__SQL_DATABASE__CREDENTIALS", schema.url)
    monkeypatch.setenv("SOURCES__SQL_DATABASE__SCHEMA", schema.name)
    yield schema
    schema.close()


def bronze_rows(home: Path, table: str = "invoices") -> list[dict]:
    """Return all rows of a bronze table in the order of their keys and dates."""
    rows = deltalake.DeltaTable(str(home / "bronze" / table)).to_pyarrow_table().to_pylist()
    return sorted(rows, key=lambda row: (str(row.get("invoice_id")), str(row["updated_at"]), row["_dlt_load_id"]))


def version(home: Path, table: str = "invoices") -> int:
    """Return the number of the last commit of a bronze table."""
    return deltalake.DeltaTable(str(home / "bronze" / table)).version()


def later(**delta: float) -> datetime:
    """Return NOW plus a timedelta of these arguments."""
    return NOW + timedelta(**delta)
