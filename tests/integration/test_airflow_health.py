"""Notices, health and metrics of a running Airflow: one API server, scheduler and DAG processor for the whole file."""

import gzip
import json
import re
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import requests
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AGGREGATION_TEMPORALITY_DELTA

from tests.conftest import ROOT
from tests.fixtures_notices import Receivers, airflow_environment, answered, listening, running_airflow, until

DASHBOARD = ROOT / "deploy" / "monitoring" / "airflow_dashboard.json"

DAGS = '''
"""Airflow DAGs that fail in every way that notices know."""

import os
import signal
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from airflow.sdk import DAG, task

from invoices_countries import notices
from invoices_countries.notices import dag_callbacks, deadline_alert, task_callbacks
from invoices_countries.settings import BRONZE, GOLD

notices.SEND_SECONDS = 120  # nobody waits for it where all answer

TOGETHER = Path(os.environ["TOGETHER"])
ARGUMENTS = {"start_date": datetime(2026, 1, 1, tzinfo=UTC), "schedule": None, "max_active_runs": 1, **dag_callbacks()}
DEFAULTS = {"owner": "Data platform", "retries": 0, "retry_delay": timedelta(seconds=1), **task_callbacks()}


def settle_slowly():
    """Let the tasks that fail beside each other be as slow at telling it as a busy machine makes them."""
    notices.SETTLE_SECONDS = 12


def all_at_once(number, of):
    """Wait for the others, so that all fail in the same moment, in different processes."""
    settle_slowly()
    (TOGETHER / str(number)).touch()
    end = time.monotonic() + 600
    while len(list(TOGETHER.iterdir())) < of:
        assert time.monotonic() < end, "the others did not come"
        time.sleep(0.005)


with DAG("storm", default_args=DEFAULTS, **ARGUMENTS):

    @task(trigger_rule="all_success")
    def after():
        pass

    @task
    def gone(number):
        all_at_once(number, 5)
        raise ConnectionError(f"nothing answers at 127.0.0.1:{4000 + number}: <object at 0x7f00{number}>")

    @task
    def other():
        all_at_once("other", 5)
        raise ValueError("Bearer <!channel> & *co*\\nsecond line")

    @task
    def dbt(ti):
        tests = [
            {"name": f"not_null_fct_invoices_{n}", "resource_type": "test", "status": "fail", "message": f"Got {n} results",
             "failures": n, "stored_in": f"test_failures.table_{n}", "owner": {"name": "Finance", "email": "f@example.com"}}
            for n in range(1, 13)
        ]
        ti.xcom_push("dbt_results", [{"name": "fct_invoices", "resource_type": "model", "status": "success"}, *tests])
        raise RuntimeError("dbt invocation completed with errors")

    for number in range(4):
        gone.override(task_id=f"gone_{number}")(number) >> after.override(task_id=f"after_{number}")()
    other()
    dbt()

with DAG("flaky", default_args={**DEFAULTS, "retries": 1}, **ARGUMENTS):

    @task
    def sometimes(number, ti):
        settle_slowly()
        if ti.try_number == 1:
            raise TimeoutError(f"no answer within {number} s")

    for number in (1, 2):
        sometimes.override(task_id=f"sometimes_{number}")(number)

with DAG("healing", default_args=DEFAULTS, **ARGUMENTS):

    @task(outlets=[BRONZE, GOLD])
    def load(params, dag_run):
        if (dag_run.conf or {}).get("fail"):
            raise RuntimeError("the source is ill")

    load()

with DAG("killed", default_args=DEFAULTS, **ARGUMENTS):

    @task
    def eats_memory():
        os.kill(os.getpid(), signal.SIGKILL)

    eats_memory()

with DAG("lost", default_args=DEFAULTS, **ARGUMENTS):

    @task
    def loses_its_worker():
        os.kill(os.getppid(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)

    loses_its_worker()

with DAG("slow", default_args=DEFAULTS, dagrun_timeout=timedelta(seconds=60), deadline=deadline_alert(0.05), **ARGUMENTS):

    @task
    def sleeps():
        time.sleep(300)

    sleeps()
'''


@dataclass
class Metrics:
    """What an OTLP receiver has got: by name its kind and unit, and its attributes' names; the temporalities of counters."""

    found: dict[str, tuple[str, str]] = field(default_factory=dict)
    counted: set[int] = field(default_factory=set)
    labels: dict[str, set[str]] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)
    lock: Any = field(default_factory=threading.Lock)  # each process of Airflow sends by itself

    def take(self, raw: bytes) -> None:
        request = ExportMetricsServiceRequest.FromString(raw)
        for metric in (each for of in request.resource_metrics for scope in of.scope_metrics for each in scope.metrics):
            kind = metric.WhichOneof("data")
            data = getattr(metric, kind)
            with self.lock:
                self.found[metric.name] = (kind, metric.unit)
                if kind == "sum" and data.is_monotonic:
                    self.counted.add(data.aggregation_temporality)
                labels = self.labels.setdefault(metric.name, set())
                labels.update(attribute.key for point in data.data_points for attribute in point.attributes)

    def prometheus(self) -> dict[str, set[str]]:
        """Names and labels in Prometheus, https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/."""
        names = {}
        with self.lock:
            for name, (kind, unit) in self.found.items():
                told = re.sub(r"[^a-zA-Z0-9_:]", "_", name) + {"ms": "_milliseconds", "": ""}[unit]
                names[told + ("_total" if kind == "sum" else "")] = set(self.labels[name])
        return names


@dataclass
class Platform:
    """The running Airflow, and what listens to it."""

    address: str
    receivers: Receivers
    metrics: Metrics
    environment: dict[str, str]
    session: requests.Session

    def trigger(self, dag_id: str, **conf: Any) -> str:
        """Start a run and return its id."""
        run = f"manual__{uuid.uuid4()}"  # of its own, so that asking twice starts it once
        body, url = {"dag_run_id": run, "logical_date": None, "conf": conf}, f"{self.address}/api/v2/dags/{dag_id}/dagRuns"
        done = answered(lambda: self.session.post(url, json=body, timeout=300))
        assert done.ok, done.text
        return run

    def state(self, dag_id: str, run_id: str) -> str:
        """The state of a run."""
        url = f"{self.address}/api/v2/dags/{dag_id}/dagRuns/{run_id}"
        return answered(lambda: self.session.get(url, timeout=300)).json()["state"]

    def ended(self, dag_id: str, run_id: str) -> str:
        """Wait for the end of a run and give its state."""
        return until(
            lambda: state if (state := self.state(dag_id, run_id)) in ("success", "failed") else "", what=f"{dag_id} ends"
        )

    def told(self, dag_id: str, event: str) -> dict[str, Any]:
        """Wait for a notice by the webhook, and give it."""
        until(lambda: self.receivers.webhooks(dag_id, event), what=f"a notice of {event} of {dag_id}")
        return self.receivers.webhooks(dag_id, event)[0]

    def health(self, **parameters: float) -> tuple[int, dict[str, Any]]:
        """What a monitor without a session sees."""
        answer = requests.get(f"{self.address}/invoices-health/", params=parameters, timeout=300)
        return answer.status_code, answer.json()


@pytest.fixture(scope="module")
def metrics() -> Iterator[tuple[Metrics, str]]:
    """An OTLP receiver over HTTP, and its address."""
    found = Metrics()

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            raw = gzip.decompress(raw) if self.headers.get("Content-Encoding") == "gzip" else raw
            if (self.path, self.headers["Content-Type"]) != ("/v1/metrics", "application/x-protobuf"):
                found.violations.append(f"{self.path} with {self.headers['Content-Type']}")
            else:
                found.take(raw)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield found, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory, metrics: tuple[Metrics, str]) -> Iterator[Platform]:
    """Airflow with the DAGs above, all routes of notices, and metrics by OTLP as deploy/monitoring/README.md has it."""
    home = tmp_path_factory.mktemp("airflow")
    (home / "together").mkdir()
    routes = [
        {"channel": channel, "connection": f"invoices_{name}", "on": ["failure", "retry", "recovery", "deadline"]}
        for channel, name in (("slack", "slack"), ("teams", "teams"), ("email", "smtp"), ("webhook", "webhook"))
    ]
    routes[2]["to"] = ["oncall@example.com", "lead@example.com"]
    with listening() as receivers:
        environment = airflow_environment(
            home,
            **receivers.connections(),
            AIRFLOW_VAR_INVOICES_COUNTRIES=json.dumps({"notices": routes}),
            TOGETHER=str(home / "together"),
            # a worker that is lost is found while the slow run goes on; one that a busy machine holds up is not lost
            AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT="45",
            AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL="2",
            AIRFLOW__METRICS__OTEL_ON="True",
            AIRFLOW__METRICS__LEGACY_NAMES_ON="False",
            OTEL_EXPORTER_OTLP_ENDPOINT=metrics[1],
            OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
            OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE="delta",
            OTEL_METRIC_EXPORT_INTERVAL="2000",
        )
        (home / "dags" / "failing.py").write_text(DAGS)
        with running_airflow(environment) as address, requests.Session() as session:

            def up() -> bool:
                try:
                    return session.get(f"{address}/api/v2/monitor/health", timeout=30).ok
                except requests.RequestException:
                    return False

            until(up, what="the API server answers")
            session.headers["Authorization"] = (
                f"Bearer {session.get(f'{address}/auth/token', timeout=300).json()['access_token']}"
            )
            until(lambda: session.get(f"{address}/api/v2/dags/slow", timeout=300).ok, what="the DAGs are read")
            yield Platform(address, receivers, metrics[0], environment, session)
        for dag_id, most in {"storm": 3, "flaky": 2, "killed": 1, "lost": 1, "slow": 2}.items():
            assert len(receivers.webhooks(dag_id)) <= most, f"{dag_id} told something twice, after its test"
    assert not receivers.violations and not metrics[0].violations


@pytest.fixture(scope="module")
def unloaded(platform: Platform) -> tuple[int, dict[str, Any]]:
    """What the health check says before anything has run."""
    return platform.health()


@pytest.fixture(scope="module")
def runs(platform: Platform, unloaded: tuple[int, dict[str, Any]]) -> dict[str, str]:
    """One run of each DAG, started together, when the slow one's deadline has been told: that must be before its time-out."""
    slow = {"slow": platform.trigger("slow")}
    platform.told("slow", "deadline")
    return slow | {
        dag_id: platform.trigger(dag_id, **({"fail": True} if dag_id == "healing" else {}))
        for dag_id in ("storm", "lost", "flaky", "killed", "healing")
    }


def test_many_tasks_that_fail_in_the_same_moment_for_one_cause_are_told_once(platform, runs):
    assert platform.ended("storm", runs["storm"]) == "failed"
    until(lambda: len(platform.receivers.webhooks("storm")) >= 3, what="three causes")
    told = platform.receivers.webhooks("storm")
    whys = sorted(each["facts"]["why"] for each in told)
    assert [each["event"] for each in told] == ["failure"] * 3, whys
    assert whys[0] == "Bearer <!channel> & *co*" and whys[1] == "Got 1 results"
    assert re.fullmatch(r"nothing answers at 127\.0\.0\.1:400\d: <object at 0x7f00\d>", whys[2])
    for each in told:
        assert each["run_id"] == runs["storm"] and each["facts"]["try"] == "1 of 1"
        assert re.fullmatch(re.escape(platform.address) + r"/dags/storm/runs/[^/]+/tasks/\w+\?try_number=1", each["link"])


def test_failing_tests_are_told_with_names_rows_and_owner(platform, runs):
    platform.ended("storm", runs["storm"])
    (told,) = [each for each in platform.receivers.webhooks("storm") if each["facts"]["owner"] != "Data platform"]
    assert told["title"] == "storm: not_null_fct_invoices_1, not_null_fct_invoices_2, not_null_fct_invoices_3 and 9 more failed"
    assert told["facts"]["what"].startswith("test not_null_fct_invoices_1, ") and told["facts"]["what"].endswith(" and 2 more")
    assert told["facts"]["rows"].startswith("not_null_fct_invoices_1: 1 failing, stored in test_failures.table_1; ")
    assert told["facts"]["owner"] == "Finance <f@example.com>"


def test_every_channel_gets_every_notice_in_its_own_form(platform, runs):
    platform.ended("storm", runs["storm"])
    titles = {each["title"] for each in platform.receivers.webhooks("storm")}
    slack = {each["blocks"][0]["text"]["text"].partition(" ")[2] for each in platform.receivers.of("slack")}
    teams = {each["attachments"][0]["content"]["body"][0]["inlines"][0]["text"] for each in platform.receivers.of("teams")}
    mails = [each for each in platform.receivers.of("email") if "[failure] storm" in each["Subject"]]
    assert len(titles) == 3 and titles <= slack & teams
    assert {each["Subject"].removeprefix("[failure] ") for each in mails} == titles
    assert {each["X-Envelope"] for each in mails} == {"airflow@example.com oncall@example.com lead@example.com"}


def test_retries_are_told_once_and_so_is_that_they_helped(platform, runs):
    assert platform.ended("flaky", runs["flaky"]) == "success"
    recovery = platform.told("flaky", "recovery")
    (retry,) = platform.receivers.webhooks("flaky", "retry")
    assert retry["title"] in [f"flaky: sometimes_{n} will be retried (try 1 of 2 failed)" for n in (1, 2)]
    assert re.fullmatch(r"sometimes_\d succeeded when tried again", recovery["facts"]["what"])
    assert len(platform.receivers.webhooks("flaky")) == 2


def test_a_task_that_was_killed_is_told_by_the_run(platform, runs):
    assert platform.ended("killed", runs["killed"]) == "failed"
    told = platform.told("killed", "failure")
    assert told["facts"]["why"].startswith("eats_memory failed, and could not tell why: ")
    assert told["link"] == f"{platform.address}/dags/killed/runs/{requests.utils.quote(runs['killed'])}"


def test_a_run_that_is_late_is_told_and_again_when_it_times_out(platform, runs):
    deadline = platform.told("slow", "deadline")
    assert deadline["title"] == "slow: not done after 0.05 minutes" and deadline["facts"]["what"] == "the run is running"
    assert platform.told("slow", "failure")["facts"]["why"].startswith("The run took longer than its time-out")
    assert len(platform.receivers.webhooks("slow")) == 2


def test_health_follows_the_runs_and_recovery_is_told_once(platform, unloaded, runs):
    status, told = unloaded
    assert (status, told["status"]) == (503, "stale") and told["assets"]["gold"] == {"last_event": None, "age_minutes": None}
    assert list(told["dags"]) == ["healing"], "only DAGs that make or use bronze or gold"

    assert platform.ended("healing", runs["healing"]) == "failed"
    status, told = platform.health()
    assert (status, told["status"]) == (503, "failing")
    assert told["problems"] == [
        "The newest ended run of healing failed.",
        "bronze has never been made.",
        "gold has never been made.",
    ]
    assert platform.told("healing", "failure")["facts"]["why"] == "the source is ill"
    assert platform.ended("healing", platform.trigger("healing", fail=True)) == "failed"
    until(lambda: len(platform.receivers.webhooks("healing", "failure")) == 2, what="a second run is told again")

    assert platform.ended("healing", platform.trigger("healing")) == "success"
    told = platform.told("healing", "recovery")
    assert re.fullmatch(r"healing: recovered after (\d+ h )?\d+ min", told["title"])
    assert told["facts"]["what"] == "the run succeeded after 2 failed runs"
    status, told = platform.health()
    assert (status, told["status"], told["problems"]) == (200, "fresh", [])
    assert told["dags"]["healing"]["last_state"] == "success" and 0 <= told["assets"]["gold"]["age_minutes"] < 60
    assert platform.ended("healing", platform.trigger("healing")) == "success"
    assert len(platform.receivers.webhooks("healing", "recovery")) == 1

    status, told = platform.health(max_age_minutes=0.0001)
    assert (status, told["status"]) == (503, "stale") and told["problems"][0].startswith("bronze is ")
    assert platform.health(max_age_minutes=-1)[0] == 422
    assert requests.head(f"{platform.address}/invoices-health/", timeout=300).status_code == 200
    bare = requests.get(f"{platform.address}/invoices-health", timeout=300, allow_redirects=False)
    assert bare.json()["status"] == "fresh", "Airflow's UI answers 200 to every path that nobody else has"


def test_a_task_whose_worker_was_lost_is_told_by_the_dag_processor(platform, runs):
    assert platform.ended("lost", runs["lost"]) == "failed"
    told = platform.told("lost", "failure")
    assert told["title"] == "lost: loses_its_worker failed" and "its worker was lost" in told["facts"]["why"]
    assert told["facts"]["try"] == "1 of 1" and told["facts"]["owner"] == "Data platform"
    assert len(platform.receivers.webhooks("lost")) == 1


def test_what_was_told_is_forgotten_when_a_run_succeeds(platform, runs):
    platform.told("flaky", "recovery")
    platform.ended("storm", runs["storm"])
    told = platform.session.get(f"{platform.address}/api/v2/variables", params={"limit": 100}, timeout=300).json()["variables"]
    remembered = " ".join(each["description"] or "" for each in told)
    assert runs["flaky"] not in remembered and runs["storm"] in remembered


def test_the_dashboard_asks_for_nothing_that_airflow_does_not_emit(platform, runs):
    for dag_id in ("storm", "flaky", "healing"):
        platform.ended(dag_id, runs[dag_id])
    platform.ended("healing", platform.trigger("healing"))
    dashboard = json.loads(DASHBOARD.read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    used = set(re.findall(r"\b(?:airflow|invoices)_\w+", " ".join(expressions)))
    scraped = requests.get(f"{platform.address}/invoices-health/metrics", timeout=300).text
    ours = {
        name: set(re.findall(rf"^{name}{{(\w+)=", scraped, re.MULTILINE))
        for name in re.findall(r"^# TYPE (\w+)", scraped, re.M)
    }

    def missing() -> set[str]:
        """Metrics that have not come, and expressions with a label that none of their metrics has had."""
        emitted = platform.metrics.prometheus() | ours
        found = used - emitted.keys()
        for expression in expressions:
            labels = {each.strip() for group in re.findall(r"by \(([^)]*)\)", expression) for each in group.split(",")}
            labels |= set(re.findall(r"(\w+)=\"", expression))
            known = set().union(*(emitted.get(name, ()) for name in re.findall(r"\b(?:airflow|invoices)_\w+", expression)))
            if not labels <= known:
                found.add(expression)
        return found

    until(lambda: not missing(), 300, lambda: f"every metric of the dashboard arrives; {sorted(missing())} did not")
    assert len(used) >= 12
    assert platform.metrics.counted == {AGGREGATION_TEMPORALITY_DELTA}, "counters of short-lived tasks add up only as deltas"
