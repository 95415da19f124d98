"""The tasks that call cloud services, run by Airflow against strict stand-ins over TLS (tests/fakes_cloud.py).

All cases are tasks of one DAG in one process: Airflow's start takes longer than all of them. `dag.test()` runs each step of a
task through Airflow's task runner and execution API, its trigger and its retries too.
"""

import json
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
import requests

from tests.conftest import ROOT, python
from tests.fakes_cloud import (
    CLIENT_ID,
    DATABRICKS_HOST,
    SECRET,
    SUBSCRIPTION,
    TENANT,
    WORKSPACE,
    Answer,
    Cloud,
    Connector,
    Job,
    JobRuns,
    Refreshes,
    Runs,
    Syncs,
)
from tests.fixtures_notices import UNHURRIED

DAG_FILE = """
import json
import os
from datetime import datetime, timedelta

from airflow.sdk import DAG, TaskGroup

from invoices_countries.loaders import load_bronze
from invoices_countries.power_bi import refresh_power_bi
from invoices_countries.settings import Settings

TOLD = {}


def tell(context):
    TOLD.setdefault(context["ti"].task_id.partition(".")[0], []).append(str(context["exception"]))


with DAG("cloud", schedule=None, start_date=datetime(2026, 1, 1)) as dag:
    for name, case in json.loads(os.environ["CASES"]).items():
        with TaskGroup(name):
            settings = Settings(**case["settings"])
            make = refresh_power_bi if settings.power_bi else load_bronze
            limit = case["execution_timeout"]
            make(
                settings, retries=case["retries"], retry_delay=timedelta(0), on_failure_callback=tell, on_retry_callback=tell,
                poll_seconds=0.01, **case["connection"], **({"execution_timeout": timedelta(seconds=limit)} if limit else {}),
            )
"""

RUN = """
import json
import os
import sys

from airflow.utils.db import initdb

initdb()
import asyncio
from types import SimpleNamespace

from airflow.dag_processing.dagbag import DagBag
from airflow.providers.standard.triggers import temporal

# Airflow's timer looks once a second whether its time has come, which a hundred deferrals need not wait for
temporal.asyncio = SimpleNamespace(sleep=lambda seconds: asyncio.sleep(min(seconds, 0.02)))

bag = DagBag(sys.argv[1])
assert not bag.import_errors, bag.import_errors
dag = bag.dags["cloud"]
told = dag.tasks[0].on_failure_callback[0].__globals__["TOLD"]
refused = {}
from invoices_countries.loaders import load_bronze
from invoices_countries.power_bi import refresh_power_bi
from invoices_countries.settings import Settings, SettingsError

for given in json.loads(os.environ["REFUSED"]):
    settings = Settings(**given)
    try:
        (refresh_power_bi if settings.power_bi else load_bronze)(settings)
    except SettingsError as error:
        refused[json.dumps(given)] = str(error)
ran = {
    ti.task_id.partition(".")[0]: {"state": ti.state, "tries": ti.try_number, "task": ti.task_id.partition(".")[2]}
    for ti in dag.test().get_task_instances()
}
with open(sys.argv[2], "w") as file:
    json.dump({"ran": {name: found | {"told": told.get(name, [])} for name, found in ran.items()}, "refused": refused}, file)
"""


@dataclass
class Case:
    """A task, the job that it finds at the service, and how both must end. told: a pattern for each failed try's sentence."""

    loader: str
    job: Job
    options: dict[str, Any] = field(default_factory=dict)
    state: str = "success"
    told: tuple[str, ...] = ()
    starts: int = 1
    stops: int = 0
    retries: int = 0
    conn_id: str = ""
    execution_timeout: float = 0
    #: The job that the task names, where it is not the one that the service has.
    named: str = ""


def error(status: int, retry_after: str = "") -> Answer:
    return Answer(status, {"error": {"message": f"told {status}"}}, {"Retry-After": retry_after} if retry_after else {})


def power_bi(job: Refreshes, **rest: Any) -> Case:
    return Case("power_bi", job, **rest)


FOR_EVER = 10**6
SLOW = {"timeout_minutes": 0.005}
CREDENTIALS = '{"errorCode":"ModelRefreshFailed_CredentialsNotSpecified","errorDescription":"No credentials for the source."}'

CASES: dict[str, Case] = {
    "power_bi_completes": power_bi(Refreshes(polls=3)),
    "power_bi_throttles": power_bi(
        # the header in both of its forms
        Refreshes(faults={"POST": [error(429, retry_after="date 2")], "GET": [error(429, retry_after="1")]})
    ),
    "power_bi_times_out_at_the_gateway": power_bi(Refreshes(faults={"GET": [error(503)], "POST": [error(504)]})),
    "power_bi_fails_twice_with_500": power_bi(Refreshes(faults={"POST": [error(500), error(502)], "GET": [error(500)]})),
    "power_bi_answer_is_lost": power_bi(Refreshes(lost=True, polls=3)),
    "power_bi_answer_is_lost_and_clocks_differ": power_bi(Refreshes(lost=True, polls=3, clock=timedelta(hours=-1))),
    "power_bi_other_refresh_runs": power_bi(Refreshes(other=3)),
    "power_bi_other_refresh_comes_first": power_bi(
        Refreshes(faults={"POST": [Answer(400, {"error": {"message": "Another refresh request is already executing"}})]})
    ),
    "power_bi_wrong_secret": power_bi(
        Refreshes(),
        conn_id="wrong_power_bi",
        state="failed",
        starts=0,
        retries=2,
        told=(r"Power BI answered 401: it does not accept the connection wrong_power_bi: check .*tenant_id.*AADSTS7000215",),
    ),
    "power_bi_no_connection": power_bi(
        Refreshes(), conn_id="nowhere", state="failed", starts=0, retries=2, told=(r"connection nowhere is not defined",)
    ),
    "power_bi_no_tenant": power_bi(
        Refreshes(),
        conn_id="no_tenant",
        state="failed",
        starts=0,
        retries=2,
        told=(r"^The Airflow connection no_tenant lacks tenant_id in its extra\.$",),
    ),
    "power_bi_forbidden": power_bi(
        Refreshes(forbidden=True),
        state="failed",
        starts=0,
        retries=2,
        told=(rf"Power BI answered 403: the service principal must be a contributor of the workspace {WORKSPACE}",),
    ),
    "power_bi_no_model": power_bi(
        Refreshes(),
        named=str(uuid.UUID(int=1)),
        state="failed",
        starts=0,
        retries=2,
        told=(rf"answered 404: there is no model {uuid.UUID(int=1)} in the workspace .*PowerBIEntityNotFound",),
    ),
    "power_bi_refresh_fails": power_bi(
        Refreshes(ends="Failed", exception=CREDENTIALS),
        state="failed",
        retries=1,
        starts=2,
        told=(r"failed: ModelRefreshFailed_CredentialsNotSpecified: No credentials for the source\.$",) * 2,
    ),
    "power_bi_fails_without_a_reason": power_bi(
        Refreshes(ends="Failed"), state="failed", told=(r"failed: Power BI gave no reason\.$",)
    ),
    "power_bi_disabled": power_bi(Refreshes(ends="Disabled"), state="failed", retries=2, told=(r"is disabled: switch",)),
    "power_bi_cancelled": power_bi(Refreshes(ends="Cancelled"), state="failed", retries=2, told=(r"ended as Cancelled",)),
    "power_bi_takes_too_long": power_bi(
        Refreshes(polls=FOR_EVER),
        options=SLOW,
        state="failed",
        retries=2,
        stops=1,
        told=(r"^Power BI was not done after 0\.3 seconds, and .*refresh_id.* was cancelled\.$",),
    ),
    # Airflow itself ends a step of that length, so it is as long as no step is, on a busy machine either
    "power_bi_execution_timeout": power_bi(
        Refreshes(polls=FOR_EVER),
        execution_timeout=20,
        state="failed",
        retries=2,
        stops=1,
        told=(r"not done after 20 seconds, and .* was cancelled",),
    ),
    "power_bi_cannot_be_cancelled": power_bi(
        Refreshes(polls=FOR_EVER, shared=True),
        options=SLOW | {"shared_capacity": True},
        state="failed",
        told=(r"could not be cancelled \(.*shared capacity",),
    ),
    "power_bi_other_refresh_never_ends": power_bi(
        Refreshes(other=FOR_EVER), options=SLOW, state="failed", starts=0, told=(r"the job could not even be started",)
    ),
    "power_bi_is_down_while_it_refreshes": power_bi(
        Refreshes(polls=2, down=7), retries=1, told=(r"^Power BI failed 5 times in a row: told 500\.$",)
    ),
    "power_bi_shared_capacity": power_bi(Refreshes(shared=True), options={"shared_capacity": True}),
    "adf_succeeds": Case(
        "azure_data_factory", Runs(polls=3, parameters={"since": "2026-01-01"}), {"parameters": {"since": "2026-01-01"}}
    ),
    "adf_throttles": Case(
        "azure_data_factory", Runs(faults={"POST": [error(429, retry_after="1")], "GET": [error(500), error(500)]})
    ),
    "adf_fails": Case(
        "azure_data_factory",
        Runs(ends="Failed", message="Operation on target Copy failed: the source is down."),
        state="failed",
        retries=1,
        starts=2,
        told=(r"ended as Failed: Operation on target Copy failed: the source is down\.",) * 2,
    ),
    "adf_takes_too_long": Case(
        "azure_data_factory", Runs(polls=FOR_EVER), SLOW, state="failed", retries=2, stops=1, told=(r"run_id.* was cancelled",)
    ),
    "adf_wrong_secret": Case(
        "azure_data_factory",
        Runs(),
        conn_id="wrong_data_factory",
        state="failed",
        starts=0,
        retries=2,
        told=(r"Azure Data Factory answered 401: Entra ID does not accept the connection wrong_data_factory",),
    ),
    "adf_forbidden": Case(
        "azure_data_factory",
        Runs(forbidden=True),
        state="failed",
        starts=0,
        retries=2,
        told=(r"answered 403: give the service principal the role Data Factory Contributor on the factory a-factory",),
    ),
    "adf_no_pipeline": Case(
        "azure_data_factory",
        Runs(),
        named="nothing",
        state="failed",
        starts=0,
        retries=2,
        told=(r"answered 404: there is no pipeline nothing in the factory a-factory of a-group",),
    ),
    "airbyte_succeeds": Case("airbyte", Syncs(polls=5)),
    "airbyte_throttles": Case(
        "airbyte", Syncs(faults={"POST": [error(429, retry_after="date 2")], "GET": [error(503), error(500)]})
    ),
    "airbyte_is_down_while_it_syncs": Case("airbyte", Syncs(polls=2, down=7), retries=1, told=(r"^Airbyte failed 5 times",)),
    "airbyte_other_sync_runs": Case("airbyte", Syncs(other=7)),
    "airbyte_fails": Case(
        "airbyte", Syncs(ends="failed"), state="failed", retries=1, starts=2, told=(r"ended as failed\.$",) * 2
    ),
    "airbyte_takes_too_long": Case(
        "airbyte", Syncs(polls=FOR_EVER), SLOW, state="failed", retries=2, stops=1, told=(r"job_id.* was cancelled",)
    ),
    "airbyte_wrong_secret": Case(
        "airbyte",
        Syncs(),
        conn_id="wrong_airbyte",
        state="failed",
        starts=0,
        retries=2,
        told=(r"Airbyte answered 401: it does not accept the connection wrong_airbyte",),
    ),
    "airbyte_no_connection": Case(
        "airbyte",
        Syncs(),
        named="nothing",
        state="failed",
        starts=0,
        retries=2,
        told=(r"answered 404: there is no Airbyte .*nothing",),
    ),
    "fivetran_first_sync": Case("fivetran", Connector(polls=3)),
    "fivetran_later_sync": Case("fivetran", Connector(succeeded_at="2026-01-02T00:00:00Z", failed_at="2026-01-01T00:00:00Z")),
    "fivetran_throttles": Case(
        "fivetran", Connector(faults={"POST": [error(429, retry_after="1")], "GET": [error(500), error(500)]})
    ),
    "fivetran_is_down_while_it_syncs": Case(
        "fivetran", Connector(polls=2, down=7), retries=1, told=(r"^Fivetran failed 5 times",)
    ),
    "fivetran_is_put_off": Case("fivetran", Connector(polls=2, rescheduled=1, schedule_type="manual"), starts=2),
    "fivetran_fails": Case(
        "fivetran",
        Connector(ends="failed"),
        state="failed",
        retries=1,
        starts=2,
        told=(r"failed: The source refuses the password",) * 2,
    ),
    "fivetran_is_broken": Case(
        "fivetran", Connector(setup_state="broken"), state="failed", retries=2, starts=0, told=(r"is broken: repair it",)
    ),
    "fivetran_is_paused": Case("fivetran", Connector(paused=True), state="failed", retries=2, starts=0, told=(r"is paused: ",)),
    "fivetran_takes_too_long": Case(
        "fivetran",
        Connector(polls=FOR_EVER),
        SLOW,
        state="failed",
        retries=2,
        told=(r"could not be cancelled \(Fivetran's API",),
    ),
    "fivetran_wrong_secret": Case(
        "fivetran",
        Connector(),
        conn_id="wrong_fivetran",
        state="failed",
        starts=0,
        retries=2,
        told=(r"Fivetran answered 401: it does not accept the connection wrong_fivetran",),
    ),
    "fivetran_no_connection": Case(
        "fivetran",
        Connector(),
        named="nothing",
        state="failed",
        starts=0,
        retries=2,
        told=(r"answered 404: .* nothing in the account",),
    ),
    "kafka_succeeds": Case(
        "kafka", JobRuns(polls=3, parameters={"topic": "invoices"}), {"job_parameters": {"topic": "invoices"}}
    ),
    "kafka_down": Case("kafka", JobRuns(faults={"GET": [error(500), error(429)]})),
    "kafka_is_down_while_it_runs": Case("kafka", JobRuns(polls=2, down=7), retries=1, told=(r"^Databricks failed 5 times",)),
    "kafka_answer_is_lost": Case("kafka", JobRuns(lost=True)),
    "kafka_fails": Case(
        "kafka",
        JobRuns(ends="FAILED", error="KafkaException: no brokers"),
        state="failed",
        retries=1,
        starts=2,
        told=(r"ended as FAILED: read_kafka: KafkaException: no brokers\.$",) * 2,
    ),
    "kafka_takes_too_long": Case(
        "kafka", JobRuns(polls=FOR_EVER), SLOW, state="failed", retries=2, stops=1, told=(r"run_id.*/run/.* was cancelled",)
    ),
    "kafka_wrong_secret": Case(
        "kafka",
        JobRuns(),
        conn_id="wrong_databricks",
        state="failed",
        starts=0,
        retries=2,
        told=(r"Databricks answered 401: it does not accept the connection wrong_databricks",),
    ),
    "kafka_forbidden": Case(
        "kafka",
        JobRuns(forbidden=True),
        state="failed",
        starts=0,
        retries=2,
        told=(r"answered 403: .*Can Manage Run on the job",),
    ),
    "kafka_no_job": Case(
        "kafka",
        JobRuns(),
        named="1",
        state="failed",
        starts=0,
        retries=2,
        told=(r"answered 404: there is no job 1 in the workspace",),
    ),
}

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no group_id": ({"power_bi": {"dataset_id": "x"}}, "invoices_countries.power_bi lacks group_id."),
    "no dataset_id": ({"power_bi": {"group_id": "x"}}, "invoices_countries.power_bi lacks dataset_id."),
    "unknown key": (
        {"power_bi": {"group_id": "x", "dataset_id": "x", "type": "full"}},
        "invoices_countries.power_bi has no key 'type'; it knows group_id, dataset_id, shared_capacity, apply_refresh_policy,"
        " poll_seconds, timeout_minutes.",
    ),
    "empty id": (
        {"power_bi": {"group_id": "", "dataset_id": "x"}},
        "invoices_countries.power_bi.group_id must be a text, not ''.",
    ),
    "no boolean": (
        {"power_bi": {"group_id": "x", "dataset_id": "x", "shared_capacity": "no"}},
        "invoices_countries.power_bi.shared_capacity must be true or false, not 'no'.",
    ),
    "no time": (
        {"power_bi": {"group_id": "x", "dataset_id": "x", "poll_seconds": 0}},
        "invoices_countries.power_bi.poll_seconds must be a number above 0, not 0.",
    ),
    "too short a time": (
        {"power_bi": {"group_id": "x", "dataset_id": "x", "poll_seconds": 1}},
        "invoices_countries.power_bi.poll_seconds must be 10 at least.",
    ),
    "no pipeline": (
        {"loader": "azure_data_factory", "loader_options": {"resource_group_name": "x", "factory_name": "x"}},
        "invoices_countries.loader_options lacks pipeline_name.",
    ),
    "parameters no object": (
        {
            "loader": "azure_data_factory",
            "loader_options": {"resource_group_name": "x", "factory_name": "x", "pipeline_name": "x", "parameters": "y"},
        },
        "invoices_countries.loader_options.parameters must be an object, not 'y'.",
    ),
    "no Airbyte connection": ({"loader": "airbyte"}, "invoices_countries.loader_options lacks connection_id."),
    "no Fivetran connection": ({"loader": "fivetran"}, "invoices_countries.loader_options lacks connector_id."),
    "no job": ({"loader": "kafka", "target": "databricks"}, "invoices_countries.loader_options lacks job_id."),
    "kafka locally": (
        {"loader": "kafka", "loader_options": {"job_id": "1"}},
        "invoices_countries.loader kafka runs a Databricks job, so invoices_countries.target must be databricks.",
    ),
    "dlt": ({}, "invoices_countries.loader 'dlt' runs no job at a service."),
}

CONNECTIONS: dict[str, dict[str, Any]] = {
    "invoices_power_bi": {"conn_type": "powerbi", "extra": {"tenant_id": TENANT, "trust_env": True}},
    "invoices_azure_data_factory": {
        "conn_type": "azure_data_factory",
        "extra": {"tenantId": TENANT, "subscriptionId": SUBSCRIPTION},
    },
    "invoices_airbyte": {"conn_type": "airbyte", "host": "https://api.airbyte.com/v1/"},
    "invoices_fivetran": {"conn_type": "fivetran"},
    "invoices_databricks": {
        "conn_type": "databricks",
        "host": DATABRICKS_HOST,
        "extra": {"service_principal_oauth": True},
    },
}


CONNECTION_ARGUMENTS = {
    "power_bi": "conn_id",
    "azure_data_factory": "azure_data_factory_conn_id",
    "airbyte": "airbyte_conn_id",
    "fivetran": "fivetran_conn_id",
    "kafka": "databricks_conn_id",
}


def key(name: str) -> Any:
    """What the service knows the job of a case by."""
    if CASES[name].loader == "power_bi":
        return str(uuid.uuid5(uuid.NAMESPACE_DNS, name))
    return 50 + list(CASES).index(name) if CASES[name].loader == "kafka" else name


def settings_of(name: str, case: Case) -> dict[str, Any]:
    """The settings of a case's task."""
    named = case.named or str(key(name))
    needed = {
        "power_bi": {"group_id": WORKSPACE, "dataset_id": named},
        "azure_data_factory": {"resource_group_name": "a-group", "factory_name": "a-factory", "pipeline_name": named},
        "airbyte": {"connection_id": named},
        "fivetran": {"connector_id": named},
        "kafka": {"job_id": named},
    }[case.loader]
    options = needed | {"timeout_minutes": 5.0} | case.options  # a job that is not seen to end, ends
    if case.loader == "power_bi":
        return {"power_bi": options}
    return {"loader": case.loader, "target": "databricks", "loader_options": options}


@dataclass
class Outcome:
    ran: dict[str, dict[str, Any]]
    refused: dict[str, str]
    cloud: Cloud


@pytest.fixture(scope="module")
def outcome(tmp_path_factory) -> Iterator[Outcome]:
    """All cases, run once."""
    folder = tmp_path_factory.mktemp("cloud")
    (folder / "dags").mkdir()
    (folder / "dags" / "cloud.py").write_text(DAG_FILE)
    (folder / "run.py").write_text(RUN)
    told = folder / "told.json"
    right = {"login": CLIENT_ID, "password": SECRET}
    connections = {name: right | found for name, found in CONNECTIONS.items()}
    for name, found in CONNECTIONS.items():
        connections[name.replace("invoices", "wrong").replace("_azure", "")] = found | {"login": CLIENT_ID, "password": "wrong"}
    connections["no_tenant"] = right | {"conn_type": "powerbi"}
    with Cloud(folder) as cloud:
        services = {
            "power_bi": cloud.power_bi.models,
            "azure_data_factory": cloud.data_factory.pipelines,
            "airbyte": cloud.airbyte.connections,
            "fivetran": cloud.fivetran.connections,
            "kafka": cloud.databricks.jobs,
        }
        for name, case in CASES.items():
            services[case.loader][key(name)] = case.job
        cases = {
            name: {"settings": settings_of(name, case)}
            | {"retries": case.retries, "execution_timeout": case.execution_timeout}
            | {"connection": {CONNECTION_ARGUMENTS[case.loader]: case.conn_id} if case.conn_id else {}}
            for name, case in CASES.items()
        }
        environment = (
            cloud.environment
            | UNHURRIED
            | {
                "AIRFLOW_HOME": str(folder / "airflow"),
                "AIRFLOW__CORE__DAGS_FOLDER": str(folder / "dags"),
                "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
                "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
                "PYTHONPATH": str(ROOT / "airflow" / "dags"),
                "CASES": json.dumps(cases),
                "REFUSED": json.dumps([given for given, _ in REFUSED.values()]),
            }
            | {f"AIRFLOW_CONN_{name.upper()}": json.dumps(found) for name, found in connections.items()}
        )
        run = python(str(folder / "run.py"), str(folder / "dags"), str(told), env=environment)
        assert told.exists(), run.stdout[-3000:] + run.stderr[-6000:]
        yield Outcome(**json.loads(told.read_text()), cloud=cloud)


@pytest.mark.parametrize("name", CASES)
def test_task(outcome, name):
    case, ran = CASES[name], outcome.ran[name]
    assert (ran["state"], len(ran["told"])) == (case.state, len(case.told)), ran["told"]
    for sentence, pattern in zip(ran["told"], case.told, strict=True):
        assert re.search(pattern, sentence) and "\n" not in sentence, sentence
    assert ran["tries"] == len(case.told) + (case.state == "success")
    assert (case.job.starts, case.job.stops) == (case.starts, case.stops)
    assert not any(case.job.faults.values()) and not case.job.down, "the service did not get to its faults"
    assert ran["task"] == ("refresh_power_bi" if case.loader == "power_bi" else "load_bronze")


def test_every_request_was_as_the_services_document_it(outcome):
    # The one answer that a case provokes and that only a wrong client gets otherwise.
    provoked = "no refresh of a shared capacity can be cancelled"
    assert [each for each in outcome.cloud.violations if provoked not in each] == []
    assert len(outcome.cloud.violations) == 1


def test_the_token_of_each_service_was_asked_of_its_own_authority(outcome):
    asked = {(host, path) for _, host, path in outcome.cloud.calls if "token" in path}
    assert asked == {
        ("login.microsoftonline.com", f"/{TENANT}/oauth2/v2.0/token"),
        ("api.airbyte.com", "/v1/applications/token"),
        (DATABRICKS_HOST, "/oidc/v1/token"),
    }


@pytest.mark.parametrize("name", REFUSED)
def test_settings_that_cannot_be_used_are_named(outcome, name):
    given, sentence = REFUSED[name]
    assert outcome.refused[json.dumps(given)] == sentence


WRONG = {
    "no token": ("POST", "https://api.powerbi.com/v1.0/myorg/groups/x/datasets/x/refreshes", {}, 401),
    "a path that was retired": (
        "GET",
        "https://api.fivetran.com/v1/connectors/x",
        {"auth": (CLIENT_ID, SECRET), "headers": {"Accept": "application/json;version=2"}},
        404,
    ),
    "a broken-off sync": (
        "POST",
        "https://api.fivetran.com/v1/connections/x/sync",
        {"auth": (CLIENT_ID, SECRET), "json": {"force": True}, "headers": {"Accept": "application/json;version=2"}},
        400,
    ),
    "JSON for a form": ("POST", "https://api.airbyte.com/v1/applications/token", {"json": {"client_id": CLIENT_ID}}, 415),
    "no scope": (
        "POST",
        f"https://login.microsoftonline.com/{TENANT}/oauth2/v2.0/token",
        {"data": {"grant_type": "client_credentials"}},
        400,
    ),
    "an older API": ("POST", f"https://{DATABRICKS_HOST}/api/2.0/jobs/run-now", {}, 401),
}


@pytest.mark.parametrize("name", WRONG)
def test_the_stand_ins_refuse_and_remember_wrong_requests(tmp_path, name):
    method, url, options, status = WRONG[name]
    with Cloud(tmp_path) as cloud:
        cloud.fivetran.connections["x"] = Connector()
        proxies, trusted = {"https": cloud.environment["HTTPS_PROXY"]}, cloud.environment["REQUESTS_CA_BUNDLE"]
        answered = requests.request(method, url, proxies=proxies, verify=trusted, timeout=120, **options)
        assert answered.status_code == status
        assert len(cloud.violations) == 1


def test_the_stand_ins_let_nobody_out(tmp_path):
    with Cloud(tmp_path) as cloud, pytest.raises(requests.exceptions.ProxyError):
        requests.get("https://example.com", proxies={"https": cloud.environment["HTTPS_PROXY"]}, timeout=120)
    assert cloud.violations == ["CONNECT example.com:443: no service of this test"]
