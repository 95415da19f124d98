"""Notices without a scheduler: routes, causes, what each channel is sent, channels that fail, and `dag.test()`."""

import html
import importlib
import json
import logging
import socket
import sys
import threading
import types
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import ROOT
from tests.fixtures_notices import (
    WEBHOOK_SCHEMA,
    Receivers,
    airflow_environment,
    listening,
    python_in,
    slack_problems,
    teams_problems,
    until,
)

DEADLINE = {"dag_run": {"dag_id": "transform", "dag_run_id": "r 1", "state": "running", "queued_at": "2026-03-01T05:00:00Z"}}


@pytest.fixture(scope="module")
def notices(tmp_path_factory: pytest.TempPathFactory) -> Iterator[types.ModuleType]:
    """The module, imported as the DAG files do, in an Airflow of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW_HOME", str(tmp_path_factory.mktemp("airflow_home")))
        patch.setenv("AIRFLOW__CORE__UNIT_TEST_MODE", "False")
        patch.syspath_prepend(ROOT / "airflow" / "dags")
        yield importlib.import_module("invoices_countries.notices")


@pytest.fixture
def receivers(notices: types.ModuleType, monkeypatch: pytest.MonkeyPatch) -> Iterator[Receivers]:
    """Receivers, with their connections and one route to each as Airflow's environment has them."""
    with listening() as found:
        for name, value in found.connections().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(notices, "SEND_SECONDS", 120.0)  # nobody waits for it where all answer
        routes = [
            {"channel": "slack", "connection": "invoices_slack"},
            {"channel": "teams", "connection": "invoices_teams"},
            {"channel": "email", "connection": "invoices_smtp", "to": ["oncall@example.com"]},
            {"channel": "webhook", "connection": "invoices_webhook"},
        ]
        monkeypatch.setenv("AIRFLOW_VAR_INVOICES_COUNTRIES", json.dumps({"notices": routes}))
        yield found


@pytest.mark.parametrize(
    ("route", "sentence"),
    [
        ("slack", '{0} must be an object such as {{"channel": "slack", "connection": "id"}}.'),
        ({"channel": "pager", "connection": "x"}, "{0}.channel must be one of slack, teams, email, webhook, not 'pager'."),
        ({"channel": "slack"}, "{0}.connection must be the id of an Airflow connection."),
        ({"channel": "slack", "connection": "x", "url": "y"}, "{0} has no key 'url'; it knows channel, connection, on, to."),
        (
            {"channel": "slack", "connection": "x", "on": ["failed"]},
            '{0}.on must be a list of some of failure, retry, recovery, deadline, not ["failed"].',
        ),
        *(
            (route, "{0}.to must be a list of e-mail addresses for the channel email, and absent for others.")
            for route in (
                {"channel": "email", "connection": "x"},
                {"channel": "email", "connection": "x", "to": ["a@example.com, b@example.com"]},
                {"channel": "email", "connection": "x", "to": "a@example.com"},
                {"channel": "slack", "connection": "x", "to": ["a@example.com"]},
            )
        ),
    ],
)
def test_a_wrong_route_is_named_in_one_sentence(notices, route, sentence):
    settings = notices.Settings(notices=[{"channel": "teams", "connection": "ok"}, route])
    with pytest.raises(notices.SettingsError) as raised:
        notices.routes(settings)
    assert str(raised.value) == sentence.format("invoices_countries.notices[1]")


def test_a_route_tells_failures_recoveries_and_deadlines_unless_it_says_otherwise(notices):
    chosen = [{"channel": "slack", "connection": "a"}, {"channel": "slack", "connection": "b", "on": ["retry"]}]
    found = notices.routes(notices.Settings(notices=chosen))
    assert [route.on for route in found] == [("failure", "recovery", "deadline"), ("retry",)]


def _model_error(name: str, text: str) -> dict:
    message = f"Database Error in model {name} (models/gold/{name}.sql)\n  {text}\n  compiled code at target/run/{name}.sql"
    return {"name": name, "resource_type": "model", "status": "error", "message": message}


GONE = "HTTPSConnectionPool(host='w', port={}): Max retries exceeded: <urllib3.Connection object at 0x7f3{}b2>: refused"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (_model_error("fct_invoices", GONE.format(4711, 1)), _model_error("dim_dates", GONE.format(4712, 2)), True),
        (_model_error("fct_invoices", "[UNRESOLVED_COLUMN] amount"), _model_error("dim_dates", "[DIVIDE_BY_ZERO] 5"), False),
        (_model_error("fct_invoices", "no table a"), _model_error("dim_dates", "no table b"), False),
        (
            _model_error("a", "query 01f0c2d4-1111-4222-8333-9a9b9c9d9e9f failed"),
            _model_error("b", "query 99f0c2d4-1111-4222-8333-9a9b9c9d9e00 failed"),
            True,
        ),
        (RuntimeError("task ingest: 3 rows"), RuntimeError("task ingest: 12 rows"), True),
        (RuntimeError("x"), ValueError("x"), False),
    ],
)
def test_causes_are_the_same_where_only_chance_and_the_name_differ(notices, one, other, same):
    def cause(each: object) -> str:
        if isinstance(each, Exception):
            return notices._cause("task", [], each, ["task"])
        return notices._cause(f"dbt.{each['name']}", [each], RuntimeError("dbt failed"), [each["name"]])

    assert (cause(one) == cause(other)) is same


def test_failing_tests_of_one_task_are_one_cause_and_of_two_tasks_two(notices):
    failing = [{"name": f"unique_{n}", "status": "fail", "message": f"Got {n} results"} for n in (1, 2)]
    assert notices._cause("a", failing[:1], None, []) == notices._cause("a", failing[1:], None, [])
    assert notices._cause("a", failing, None, []) != notices._cause("b", failing, None, [])


def test_of_processes_that_all_find_nothing_told_exactly_one_tells(notices, monkeypatch):
    store, read, written = {}, threading.Barrier(8), threading.Barrier(8)

    def settle(seconds: float) -> None:
        """Until all have written, which is what those seconds are there for."""
        assert seconds == notices.SETTLE_SECONDS
        written.wait(120)

    class Memory:
        """A variable whose readers all come before the first writer, which is the worst that can happen."""

        @staticmethod
        def get(key: str) -> str | None:
            found = store.get(key)
            if found is None:
                read.wait(120)
            return found

        @staticmethod
        def set(key: str, value: str, description: str) -> None:
            store[key] = value

    monkeypatch.setattr(notices, "_Memory", Memory)
    monkeypatch.setattr(notices, "time", types.SimpleNamespace(sleep=settle))
    context = {
        "dag": types.SimpleNamespace(dag_id="transform"),
        "run_id": "r",
        "dag_run": types.SimpleNamespace(clear_number=0),
    }

    def tell(_: int) -> bool:
        return notices._first_to_tell("failure", context, "cause", ["fct_invoices"])

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(tell, range(8))) == [False] * 7 + [True]
    assert tell(0) is False
    context["dag_run"].clear_number = 1
    read, written = threading.Barrier(1), threading.Barrier(1)
    assert tell(0) is True, "a run that was cleared tells again"


def test_where_the_store_fails_the_notice_is_sent(notices, monkeypatch, caplog):
    def fail(*_: object) -> None:
        raise RuntimeError("the API server is away")

    monkeypatch.setattr(notices._Memory, "get", fail)
    context = {"dag": types.SimpleNamespace(dag_id="transform"), "run_id": "r"}
    assert notices._first_to_tell("failure", context, "cause", []) is True
    assert "What has been told cannot be known (the API server is away), so it may be told twice." in caplog.text


def test_the_reason_is_the_line_that_tells_something(notices):
    assert notices._why(_model_error("m", "[DIVIDE_BY_ZERO] Division by zero.")) == "[DIVIDE_BY_ZERO] Division by zero."
    assert notices._first_line("\n\n  a \n b") == "a" and notices._first_line("") == ""


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40).flatmap(
    lambda text: st.sampled_from([text, text * 120, f"<!channel> &amp; {text}"])
)
labels = st.sampled_from(["What", "Why", "Rows", "Try", "Owner", "Two words", "DAG", "Run"])


@given(
    title=texts,
    facts=st.dictionaries(labels, texts, min_size=1),
    event=st.sampled_from(["failure", "retry", "recovery", "deadline"]),
)
def test_whatever_the_text_each_channel_is_sent_what_it_accepts(notices, title, facts, event):
    link = "http://127.0.0.1:8080/dags/transform/runs/manual__2026?a=1&b=2"
    notice = notices.Notice(event, title, "transform", "manual__2026", link, facts)
    assert slack_problems(notices.slack_payload(notice)) == []
    assert teams_problems(notices.teams_payload(notice)) == []
    jsonschema.validate(notices.webhook_payload(notice), WEBHOOK_SCHEMA)
    subject, body = notices.email_content(notice)
    assert len(subject) <= 200 and len(subject.splitlines()) == 1
    for text in (title, *facts.values()):
        assert html.escape(text[:1999]) in body or html.escape(text) in body


def test_every_channel_is_reached_and_gets_the_whole_notice(notices, receivers):
    notices.tell_missed_deadline(DEADLINE, 90)
    assert sorted(name for name, _ in receivers.received) == ["email", "slack", "teams", "webhook"]
    assert receivers.violations == []
    assert receivers.of("webhook")[0]["facts"]["what"] == "the run is running"
    assert receivers.of("email")[0]["Subject"] == "[deadline] transform: not done after 90 minutes"
    assert "queued at 2026-03-01T05:00:00Z" in json.dumps(receivers.of("slack")[0])


@pytest.mark.parametrize(
    ("fields", "address"),
    [
        ({"password": "https://a.example/x?sig=1", "host": "b.example"}, "https://a.example/x?sig=1"),
        ({"host": "http://127.0.0.1/hook", "port": 81}, "http://127.0.0.1:81/hook"),
        ({"host": "a.example", "password": "unused"}, "https://a.example"),
        ({"host": "a.example", "schema": "http", "port": 8080}, "http://a.example:8080"),
    ],
)
def test_a_webhook_s_address_is_its_password_or_its_host(notices, fields, address):
    assert notices.webhook_address(notices.Connection(conn_id="x", conn_type="http", **fields)) == (address, {})


@pytest.mark.parametrize("state", ["success", "failed"])
def test_a_run_that_has_ended_is_not_told_as_late(notices, receivers, state):
    notices.tell_missed_deadline({"dag_run": DEADLINE["dag_run"] | {"state": state}}, 90)
    assert receivers.received == []


@pytest.mark.parametrize(
    ("channel", "status"), [("slack", 403), ("slack", 500), ("teams", 302), ("teams", 429), ("webhook", 302), ("webhook", 500)]
)
def test_a_channel_that_refuses_is_named_and_silences_no_other(notices, receivers, caplog, channel, status):
    receivers.broken[channel] = status
    notices.tell_missed_deadline(DEADLINE, 90)
    assert sorted({name for name, _ in receivers.received}) == sorted({"email", "slack", "teams", "webhook"} - {channel})
    (record,) = [each for each in caplog.records if each.levelno >= logging.ERROR]
    assert record.getMessage().startswith(f"No notice was sent by the connection invoices_{channel}: ")
    assert str(status) in record.getMessage() and receivers.secret not in caplog.text


@pytest.mark.parametrize(
    ("connection", "value", "sentence"),
    [
        ("slack", None, "The Airflow connection invoices_slack is not defined"),
        ("teams", {"conn_type": "http"}, "invoices_teams must have an address, as its password or as its host."),
        (
            "smtp",
            {"conn_type": "smtp", "host": "127.0.0.1"},
            "The Airflow connection invoices_smtp lacks from_email in its extra.",
        ),
    ],
)
def test_a_connection_that_cannot_be_used_is_told_in_a_sentence(
    notices, receivers, monkeypatch, caplog, connection, value, sentence
):
    name = f"AIRFLOW_CONN_INVOICES_{connection.upper()}"
    monkeypatch.setenv(name, json.dumps(value)) if value else monkeypatch.delenv(name)
    notices.tell_missed_deadline(DEADLINE, 90)
    assert len(receivers.received) == 3
    (record,) = [each for each in caplog.records if each.levelno >= logging.ERROR]
    assert sentence in record.getMessage() and record.exc_info is None


def test_wrong_credentials_of_the_mail_server_are_told_without_the_password(notices, receivers, monkeypatch, caplog):
    value = json.loads(receivers.connections()["AIRFLOW_CONN_INVOICES_SMTP"]) | {"password": "not-the-password"}
    monkeypatch.setenv("AIRFLOW_CONN_INVOICES_SMTP", json.dumps(value))
    notices.tell_missed_deadline(DEADLINE, 90)
    assert len(receivers.received) == 3
    assert "invoices_smtp: (535" in caplog.text and "not-the-password" not in caplog.text


def test_a_channel_that_hangs_holds_nothing_up(notices, receivers, monkeypatch, caplog):
    monkeypatch.setattr(notices, "SEND_SECONDS", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        value = {"conn_type": "http", "password": f"http://127.0.0.1:{silent.getsockname()[1]}/sig"}
        monkeypatch.setenv("AIRFLOW_CONN_INVOICES_TEAMS", json.dumps(value))
        notices.tell_missed_deadline(DEADLINE, 90)
        # a second may be too short for the others too on a busy machine, but they go on
        until(lambda: len(receivers.received) >= 3, what="the notices of the other channels")
    assert sorted(name for name, _ in receivers.received) == ["email", "slack", "webhook"]
    for thread in threading.enumerate():  # with its error, now that the connection is gone, and not in the next test
        if thread.name.startswith("invoices_"):
            thread.join(120)
    assert "No notice was sent by the connection invoices_teams: no answer for 1 s." in caplog.text


def test_wrong_settings_at_run_time_are_a_sentence_in_the_log(notices, receivers, monkeypatch, caplog):
    monkeypatch.setenv("AIRFLOW_VAR_INVOICES_COUNTRIES", json.dumps({"notices": [{"channel": "fax"}]}))
    notices.tell_missed_deadline(DEADLINE, 90)
    assert receivers.received == []
    (record,) = [each for each in caplog.records if each.levelno >= logging.ERROR]
    assert record.getMessage().startswith("No notice was sent. invoices_countries.notices[0].channel must be one of")
    assert record.exc_info is None


HEADLESS = '''
"""An airflow dag for dag.test()."""
import sys
from datetime import UTC, datetime
from airflow.sdk import DAG, Connection, task
from invoices_countries.notices import dag_callbacks, task_callbacks

with DAG("headless", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC),
         default_args={"owner": "Data platform", **task_callbacks()}, **dag_callbacks()) as dag:

    @task
    def connect(dag_run):
        if dag_run.conf.get("fail"):
            raise ConnectionError("refused: " + Connection.get("warehouse").password)

    @task
    def also(dag_run):
        if dag_run.conf.get("fail"):
            raise ConnectionError("refused: " + Connection.get("warehouse").password)

    connect(), also()

if __name__ == "__main__":
    from airflow.utils.db import initdb

    initdb()
    print("STATES", *(dag.test(run_conf={"fail": fail}).state for fail in (True, False)))
'''


def test_a_run_without_scheduler_tells_failure_and_recovery_once_and_no_secret(receivers, tmp_path):
    environment = airflow_environment(
        tmp_path,
        **receivers.connections(),
        AIRFLOW_VAR_INVOICES_COUNTRIES=json.dumps({"notices": [{"channel": "webhook", "connection": "invoices_webhook"}]}),
        AIRFLOW_CONN_WAREHOUSE=json.dumps({"conn_type": "generic", "password": "a-secret-token"}),
    )
    file = tmp_path / "dags" / "headless.py"
    file.write_text(HEADLESS)
    done = python_in(environment, str(file))
    assert "STATES failed success" in done.stdout, done.stdout[-3000:] + done.stderr[-3000:]
    told = receivers.webhooks("headless")
    assert [each["event"] for each in told] == ["failure", "recovery"], done.stdout[-3000:] + done.stderr[-3000:]
    assert told[0]["facts"]["why"] == "refused: ***" and "a-secret-token" not in json.dumps(told)
    assert told[1]["facts"]["what"] == "the run succeeded after 1 failed run"
    assert receivers.violations == []


def test_the_plugin_and_the_settings_mean_the_same_assets_and_import_nothing_heavy(notices, tmp_path):
    from invoices_countries import settings

    probe = (
        "import sys, json; sys.path.insert(0, sys.argv[1]); import airflow.plugins_manager; before = set(sys.modules); "
        "import invoices_health as plugin; "
        "print(json.dumps([plugin.VARIABLE, plugin.ASSETS, sorted(set(sys.modules) - before)]))"
    )
    environment = airflow_environment(tmp_path)
    done = python_in(environment, "-c", probe, str(ROOT / "airflow" / "plugins"))
    variable, assets, imported = json.loads(done.stdout.splitlines()[-1])
    assert variable == settings.VARIABLE and assets == {"bronze": settings.BRONZE.uri, "gold": settings.GOLD.uri}
    assert imported == ["invoices_health"]


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (None, 1560.0),
        ('{"health": {"max_age_minutes": 90}}', 90.0),
        ("[]", "The Airflow variable invoices_countries or its key health is no JSON object."),
        ("{", "The Airflow variable invoices_countries or its key health is no JSON object."),
        *(
            (json.dumps({"health": {"max_age_minutes": wrong}}), f"must be a number above 0, not {json.dumps(wrong)}.")
            for wrong in (0, -1, "90", True, None)
        ),
    ],
)
def test_the_allowed_age_is_read_from_the_settings(notices, monkeypatch, text, answer):
    monkeypatch.syspath_prepend(ROOT / "airflow" / "plugins")
    plugin = importlib.import_module("invoices_health")
    if isinstance(answer, float):
        assert plugin.allowed_age(text) == answer
    else:
        with pytest.raises(plugin.HealthSettingsError) as raised:
            plugin.allowed_age(text)
        assert str(raised.value).endswith(answer)
    sys.modules.pop("invoices_health", None)
