"""The embedded PostgreSQL of the demo: starting, stopping, surviving, and its business days."""

import contextlib
import hashlib
import os
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path

import psutil
import psycopg2
import pytest
import sqlalchemy as sa

from ingestion import demo_source
from ingestion.demo_source import Server, State, main, next_day, state, up
from ingestion.settings import REPOSITORY, IngestionError


def query(server: Server, sql: str) -> list[tuple]:
    connection = server.connect()
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchall()
    finally:
        connection.close()


def digest(server: Server) -> str:
    rows = query(server, "select i::text from invoices i order by 1") + query(
        server, "select c::text from countries c order by 1"
    )
    return hashlib.sha256(repr(rows).encode()).hexdigest()


def ended(process: psutil.Process) -> bool:
    """Tell whether a process ends; where nobody inherits orphans, it stays as a zombie.

    PostgreSQL removes its pid file, for which pg_ctl waits, a moment before.
    """
    end = time.monotonic() + 60
    with contextlib.suppress(psutil.NoSuchProcess):
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            if time.monotonic() > end:
                return False
            time.sleep(0.02)
    return True


@pytest.fixture
def server(tmp_path):
    result = Server(tmp_path / "demo_source")
    yield result
    result.delete()


def test_up_fills_once_and_is_safe_to_repeat(server):
    assert up(500, server=server) == State(500, 42, 0)
    first = digest(server)
    assert up(server=server) == up(500, 42, server) == State(500, 42, 0)
    assert digest(server) == first
    with pytest.raises(IngestionError, match="already holds 500 invoices of seed 42"):
        up(600, server=server)
    with pytest.raises(IngestionError, match="already holds"):
        up(seed=7, server=server)


def test_the_url_is_one_that_sqlalchemy_can_use(server):
    up(50, server=server)
    engine = sa.create_engine(server.url)
    with engine.connect() as connection:
        assert connection.execute(sa.text("select count(*) from invoices")).scalar() >= 50
    engine.dispose()


def test_business_days_are_the_same_for_the_same_seed(tmp_path):
    digests = []
    for name in ("one", "two"):
        server = Server(tmp_path / name)
        try:
            up(20_000, server=server)
            changes = [next_day(server) for _ in range(2)]
            digests.append((changes, digest(server)))
        finally:
            server.delete()
    assert digests[0] == digests[1]
    first, second = digests[0][0]
    assert first != second
    assert all(first[kind] > 0 for kind in first)


def test_a_business_day_changes_about_as_much_as_a_real_one(server):
    up(40_000, server=server)
    last = query(server, "select max(invoice_id) from invoices")[0][0]
    changes = next_day(server)
    assert changes["deleted"] == 20 and changes["country renamed"] == 1
    dated = "updated_at < '2090-01-01'"
    new, late = f"invoice_id > {last} and {dated}", f"invoice_id > {last} and updated_at <= '2026-06-30 18:00+00'"
    assert query(server, f"select count(*) from invoices where {new}")[0][0] == pytest.approx(60, abs=20)
    assert query(server, f"select count(*) from invoices where {late}")[0][0] == changes["committed late"]
    too_late = f"{dated} and updated_at > '2026-07-01 18:00+00'"
    assert query(server, f"select count(*) from invoices where {too_late}") == [(0,)]
    assert query(server, "select day from demo_state") == [(1,)]


INVOICES_OF_THE_DAY = "select {} from invoices where created_at::date = '2026-07-01'"


@pytest.mark.parametrize(
    ("incident", "figure", "expected"),
    [
        ("volume-drop", "count(*) filter (where country in ('DE', 'Germany')) = 0 and count(*) > 20", True),
        ("rejected-rows", "round(avg((currency_code = 'XXX')::int), 1)", Decimal("0.5")),
        ("null-flood", "round(avg((customer_id is null)::int), 1)", Decimal("0.8")),
        ("schema-change", "count(sales_channel) > 20", True),
    ],
)
def test_an_incident_is_a_business_day_with_its_fault(server, incident, figure, expected):
    up(40_000, server=server)
    changes = next_day(server, incident=incident)
    assert changes["new"] > 20 and incident in changes
    assert query(server, INVOICES_OF_THE_DAY.format(figure)) == [(expected,)]


def test_a_stale_source_lets_days_pass_and_writes_nothing(server):
    up(500, server=server)
    before = digest(server)
    next_day(server, incident="stale-source")
    assert digest(server) == before and state(server).day == 3
    with pytest.raises(IngestionError, match="there is no incident 'flood'; there are volume-drop"):
        next_day(server, incident="flood")


def test_the_server_recovers_after_kill_9(server):
    up(200, server=server)
    before = digest(server)
    server.process().kill()
    up(server=server)
    assert digest(server) == before


def test_a_pid_that_now_belongs_to_another_program_does_not_stop_it(server):
    up(50, server=server)
    killed = server.process()
    killed.kill()
    psutil.wait_procs([killed], timeout=60)
    pid_file = server.data / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    pid_file.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    assert server.process() is None
    assert up(server=server).invoices == 50


def test_a_first_fill_that_is_killed_is_done_again(server, monkeypatch):
    monkeypatch.setattr(demo_source, "_copy", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        up(100, server=server)
    monkeypatch.undo()
    assert up(100, server=server) == State(100, 42, 0)
    assert query(server, "select count(*) >= 100 from invoices") == [(True,)]


def test_a_very_deep_folder_works(tmp_path):
    deep = Server(tmp_path.joinpath(*["a_rather_long_folder_name"] * 6))
    try:
        assert len(os.fsencode(deep.socket_folder / ".s.PGSQL.5432")) <= 103
        assert up(20, server=deep).invoices == 20
        assert deep.socket_folder.stat().st_mode & 0o077 == 0
    finally:
        deep.delete()
    assert not deep.socket_folder.exists() and not deep.home.exists()


def test_nobody_else_may_enter_the_socket_folder(server):
    up(20, server=server)
    assert server.socket_folder.stat().st_mode & 0o077 == 0
    with pytest.raises(psycopg2.OperationalError):
        psycopg2.connect(user="postgres", host="127.0.0.1", port=5432, connect_timeout=2, dbname=str(server.home))


def test_the_command_line_goes_through_a_life(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LAKEHOUSE_HOME", str(tmp_path))

    def said(*arguments: str) -> str:
        assert main(list(arguments)) == 0
        return capsys.readouterr().out

    server = Server(tmp_path / "demo_source")
    try:
        # The server must outlive the process that started it, and must not keep its output open.
        filled = subprocess.run(
            [sys.executable, "-m", "ingestion.demo_source", "up", "--invoices", "300"],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert "300 invoices of seed 42, business day 2026-06-30" in filled.stdout and filled.stderr == ""
        assert said("url").strip() == server.url
        assert "new" in said("next-day")
        assert "business day 2026-07-01" in said("status")
        process = server.process()
        said("down")
        assert ended(process) and not server.socket_folder.exists()
        said("down")
        assert "2026-07-01" in said("up")
    finally:
        said("down", "--delete")
    assert not (tmp_path / "demo_source").exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["up", "--invoices", "0"], "--invoices must be at least 1"),
        (["up", "--seed", "-1"], "--seed must not be negative"),
        (["next-day"], "not running"),
        (["status"], "not running"),
    ],
)
def test_wrong_use_is_one_sentence(tmp_path, monkeypatch, capsys, arguments, expected):
    monkeypatch.setenv("LAKEHOUSE_HOME", str(tmp_path))
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert expected in error and error.count("\n") == 1


def test_a_failing_server_names_its_log(server):
    up(20, server=server)
    server.stop()
    with Path(server.data / "postgresql.conf").open("a") as settings:
        settings.write("no_such_setting = 1\n")
    with pytest.raises(IngestionError, match=r"did not start \(.*postgres.log"):
        server.start()
    (server.data / "postmaster.pid").unlink(missing_ok=True)


def test_stopping_ends_open_connections(server):
    up(20, server=server)
    open_connection, process = server.connect(), server.process()
    server.stop()
    assert ended(process)
    open_connection.close()
