"""Stand-ins for the cloud services that the DAGs call: their public REST APIs over TLS, each request checked.

Clients reach them unmodified and by their real names: `Cloud` is an HTTPS proxy (HTTPS_PROXY) that answers the CONNECT to a
service's name itself, with a certificate for that name under a CA of its own, and refuses every other name. A request that the
service's documentation does not allow is answered as the service would and written down in `Cloud.violations`; what a test
provokes on purpose (a wrong secret, a model that does not exist) is no violation.

Every job that a test may start is told beforehand (`Refreshes`, `Runs`, ...), with how it goes: `polls` looks until it ends as
`ends`; `faults`, answers in place of the next ones, by HTTP method; `lost`, the answer to the start is a 500 although it took
effect; `down`, so many looks after the start get a 500. `starts` and `stops` count what was done.
"""

import base64
import datetime
import ipaddress
import json
import re
import ssl
import threading
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

CLIENT_ID, SECRET = "a-client", "a-secret"
TENANT = "11111111-0000-0000-0000-000000000001"
SUBSCRIPTION = "11111111-0000-0000-0000-000000000002"
WORKSPACE = "11111111-0000-0000-0000-000000000003"
DATABRICKS_HOST = "adb-1.2.azuredatabricks.net"


class Request(NamedTuple):
    method: str
    path: str
    query: dict[str, str]
    headers: Any
    body: bytes


class Answer(NamedTuple):
    status: int
    body: Any = None
    headers: dict[str, str] = {}


class Wrong(Exception):
    """The request is answered with an error; violation: it is one that no client should ever send."""

    def __init__(self, answer: Answer, violation: str = ""):
        super().__init__(violation)
        self.answer = answer
        self.violation = violation


@dataclass
class Job:
    """One job of a service, and how it goes (see the module)."""

    polls: int = 1
    ends: str = ""
    faults: dict[str, list[Answer]] = field(default_factory=dict)
    lost: bool = False
    down: int = 0
    starts: int = 0
    stops: int = 0
    not_before: datetime.datetime | None = None

    def fault(self, method: str) -> None:
        """Answer with the next fault for that method, if any; a client that comes back before Retry-After is over is wrong."""
        early = self.not_before is not None and now() < self.not_before
        wanted(not early, "the client came back before the time of Retry-After", 429)
        if method == "GET" and self.starts and self.down:
            self.down -= 1
            raise Wrong(Answer(500, {"error": {"message": "told 500"}}))
        if not self.faults.get(method):
            return
        answer = self.faults[method].pop(0)
        if wait := answer.headers.get("Retry-After"):
            self.not_before = now() + datetime.timedelta(seconds=int(wait.removeprefix("date ")))
            if wait.startswith("date "):  # the header's other form, in whole seconds
                self.not_before = self.not_before.replace(microsecond=0)
                answer = answer._replace(headers={"Retry-After": format_datetime(self.not_before, usegmt=True)})
        raise Wrong(answer)

    def looked(self) -> bool:
        """Count one look; whether the job has ended."""
        self.polls -= 1
        return self.polls < 0


def now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def wanted(right: bool, violation: str, status: int = 400) -> None:
    if not right:
        raise Wrong(Answer(status, {"error": {"code": "InvalidRequest", "message": violation}}), violation)


def json_body(request: Request, *allowed: str) -> dict[str, Any]:
    """The request's JSON object, with no other keys than those allowed."""
    kind = request.headers.get("Content-Type", "").partition(";")[0]
    wanted(kind == "application/json", f"the body's type is {kind!r}, not application/json", 415)
    body = json.loads(request.body)
    wanted(isinstance(body, dict) and body.keys() <= {*allowed}, f"the body {body} has more than {allowed}")
    return body


def form_body(request: Request) -> dict[str, str]:
    kind = request.headers.get("Content-Type", "").partition(";")[0]
    wanted(kind == "application/x-www-form-urlencoded", f"the body's type is {kind!r}, no form", 415)
    return dict(parse_qsl(request.body.decode()))


def basic(request: Request) -> str:
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    wanted(scheme == "Basic", "HTTP Basic authentication is missing", 401)
    return base64.b64decode(value).decode()


class Entra:
    """Microsoft Entra ID's token endpoint for client credentials.

    https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow
    """

    host = "login.microsoftonline.com"

    def __init__(self) -> None:
        self.tokens: dict[str, str] = {}

    def handle(self, request: Request) -> Answer:
        authority = f"https://{self.host}/{TENANT}"
        if request.path == f"/{TENANT}/v2.0/.well-known/openid-configuration":
            ends = {"authorization_endpoint": "authorize", "token_endpoint": "token"}
            found = {name: f"{authority}/oauth2/v2.0/{path}" for name, path in ends.items()}
            return Answer(200, found | {"issuer": f"{authority}/v2.0"})
        if request.path == "/common/discovery/instance":  # whether that host is an authority of Microsoft's
            asked = request.query.get("authorization_endpoint", "")
            wanted(asked.startswith(f"https://{self.host}/"), f"{asked!r} is not of this authority")
            found = {"preferred_network": self.host, "preferred_cache": "login.windows.net", "aliases": [self.host]}
            return Answer(
                200, {"tenant_discovery_endpoint": f"{authority}/v2.0/.well-known/openid-configuration", "metadata": [found]}
            )
        wanted(request.path == f"/{TENANT}/oauth2/v2.0/token", f"Entra ID has no {request.path}", 404)
        form = form_body(request)
        wanted(form.get("grant_type") == "client_credentials", f"grant_type is {form.get('grant_type')!r}")
        wanted(form.get("scope", "").endswith("/.default"), f"the scope {form.get('scope')!r} does not end in /.default")
        if (form.get("client_id"), form.get("client_secret")) != (CLIENT_ID, SECRET):
            told = {"error": "invalid_client", "error_description": "AADSTS7000215: Invalid client secret provided."}
            return Answer(401, told)
        token = self.tokens.setdefault(form["scope"], uuid.uuid4().hex)
        return Answer(200, {"token_type": "Bearer", "expires_in": 3599, "ext_expires_in": 3599, "access_token": token})

    def check(self, request: Request, scope: str) -> None:
        given = request.headers.get("Authorization", "")
        wanted(scope in self.tokens and given == f"Bearer {self.tokens[scope]}", f"no token for {scope} was sent", 401)


@dataclass
class Refreshes(Job):
    """The refreshes of one semantic model. other: one of somebody else's, in progress, that began a minute ago.

    forbidden: the service principal may not refresh it. shared: its workspace is on a shared capacity.
    """

    ends: str = "Completed"
    exception: str | None = None
    other: int = 0
    forbidden: bool = False
    shared: bool = False
    #: How far Power BI's clock is off.
    clock: datetime.timedelta = datetime.timedelta()
    history: list[dict[str, Any]] = field(default_factory=list)
    left: dict[str, int] = field(default_factory=dict)
    others: str = ""

    def begin(self, polls: int, ago: int = 0) -> str:
        """Enter a new refresh in the history; ago: it began so many seconds before. Returns its id."""
        refresh_id = str(uuid.uuid4())
        started = (now() + self.clock - datetime.timedelta(seconds=ago)).isoformat(timespec="milliseconds")
        entry = {"requestId": refresh_id, "status": "Unknown", "startTime": started.replace("+00:00", "Z")}
        self.history.insert(0, entry | {"refreshType": "ViaApi" if self.shared else "ViaEnhancedApi"})
        self.left[refresh_id] = polls
        return refresh_id


class PowerBI:
    """Refreshes of a semantic model in a workspace: start, history, cancel.

    https://learn.microsoft.com/rest/api/power-bi/datasets/refresh-dataset-in-group (only one at a time; notifyOption must not
    be in an enhanced refresh and not come from a service principal; a shared capacity takes no other option),
    https://learn.microsoft.com/rest/api/power-bi/datasets/get-refresh-history-in-group,
    https://learn.microsoft.com/rest/api/power-bi/datasets/cancel-refresh-in-group
    """

    host = "api.powerbi.com"
    scope = "https://analysis.windows.net/powerbi/api/.default"
    #: What an enhanced refresh may have; notifyOption is not among them.
    options = "type commitMode maxParallelism retryCount objects applyRefreshPolicy effectiveDate timeout".split()

    def __init__(self, entra: Entra):
        self.entra = entra
        self.models: dict[str, Refreshes] = {}

    def handle(self, request: Request) -> Answer:
        self.entra.check(request, self.scope)
        pattern = r"/v1\.0/myorg/groups/([^/]+)/datasets/([^/]+)/refreshes(?:/([^/]+))?"
        found = re.fullmatch(pattern, request.path)
        wanted(found is not None, f"Power BI has no {request.path}", 404)
        group, dataset, refresh_id = found.groups()
        model = self.models.get(dataset)
        if model is None or group != WORKSPACE:
            return Answer(404, {"error": {"code": "PowerBIEntityNotFound"}})
        if model.forbidden:
            return Answer(403, {"error": {"code": "Forbidden", "message": "User is not authorized"}})
        date = {"Date": format_datetime(now() + model.clock, usegmt=True)}
        try:
            model.fault(request.method)
            answer = self._answer(model, request, refresh_id)
        except Wrong as wrong:
            wrong.answer = wrong.answer._replace(headers=date | wrong.answer.headers)
            raise
        return answer._replace(headers=date | answer.headers)

    def _answer(self, model: Refreshes, request: Request, refresh_id: str | None) -> Answer:
        if request.method == "GET" and refresh_id is None:
            wanted(request.query.keys() <= {"$top"}, f"the history takes no {request.query}")
            if model.other and not model.history:
                model.others = model.begin(model.other, ago=60)
            listed = [self._look(model, each) for each in model.history[: int(request.query.get("$top", 60))]]
            return Answer(200, {"value": listed})
        if request.method == "POST" and refresh_id is None:
            return self._start(model, request)
        wanted(request.method == "DELETE" and refresh_id is not None, f"{request.method} is not allowed here", 405)
        running = next((each for each in model.history if each["requestId"] == refresh_id), None)
        wanted(running is not None and running["status"] == "Unknown", f"no refresh {refresh_id} runs", 404)
        wanted(not model.shared, "no refresh of a shared capacity can be cancelled")
        running["status"] = "Cancelled"
        model.stops += 1
        return Answer(200)

    def _start(self, model: Refreshes, request: Request) -> Answer:
        if request.body:
            body = json_body(request, *self.options)
            wanted(not model.shared, "a shared capacity takes no options")
            wanted(bool(body), "an enhanced refresh needs an option")
            kinds = ("Automatic", "Calculate", "ClearValues", "DataOnly", "Defragment", "Full")
            wanted(body.get("type", "Automatic") in kinds, f"there is no type {body.get('type')!r}")
            modes = ("PartialBatch", "Transactional")
            wanted(body.get("commitMode", modes[1]) in modes, f"there is no commitMode {body.get('commitMode')!r}")
            wanted(isinstance(body.get("applyRefreshPolicy", True), bool), "applyRefreshPolicy is no boolean")
        else:
            wanted(model.shared, "without a body this is no enhanced refresh")
        if any(each["status"] == "Unknown" for each in model.history):
            told = "Invalid dataset refresh request. Another refresh request is already executing"
            return Answer(400, {"error": {"code": "InvalidRequest", "message": told}})
        model.starts += 1
        refresh_id = model.begin(model.polls)
        if model.lost:
            return Answer(500, {"error": {"code": "InternalServerError"}})
        location = {} if model.shared else {"Location": f"https://{self.host}{request.path}/{refresh_id}"}
        return Answer(202, None, location | {"x-ms-request-id": refresh_id, "RequestId": refresh_id})

    def _look(self, model: Refreshes, refresh: dict[str, Any]) -> dict[str, Any]:
        """The entry as the history shows it, ended when it was looked at often enough."""
        left = model.left[refresh["requestId"]]
        model.left[refresh["requestId"]] = left - 1
        if refresh["status"] == "Unknown" and left <= 0:
            refresh["status"] = "Completed" if refresh["requestId"] == model.others else model.ends
            if refresh["status"] == "Failed":
                refresh["serviceExceptionJson"] = model.exception
        return dict(refresh)


@dataclass
class Runs(Job):
    """Runs of one pipeline of Data Factory. parameters: what it must be given."""

    ends: str = "Succeeded"
    message: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    forbidden: bool = False
    running: dict[str, str] = field(default_factory=dict)


class DataFactory:
    """Runs of Data Factory's pipelines: start, get, cancel.

    https://learn.microsoft.com/rest/api/datafactory/pipelines/create-run,
    https://learn.microsoft.com/rest/api/datafactory/pipeline-runs/get, .../pipeline-runs/cancel
    """

    host = "management.azure.com"
    scope = "https://management.azure.com/.default"
    factory = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/a-group/providers/Microsoft.DataFactory/factories/a-factory"

    def __init__(self, entra: Entra):
        self.entra = entra
        self.pipelines: dict[str, Runs] = {}

    def handle(self, request: Request) -> Answer:
        self.entra.check(request, self.scope)
        wanted(request.query.get("api-version") == "2018-06-01", f"api-version is {request.query.get('api-version')!r}")
        path = request.path.removeprefix(self.factory)
        wanted(path != request.path, f"there is no factory at {request.path}", 404)
        if started := re.fullmatch(r"/pipelines/([^/]+)/createRun", path):
            wanted(request.method == "POST", f"createRun is no {request.method}", 405)
            pipeline = self.pipelines.get(started[1])
            if pipeline is None:
                return Answer(404, {"error": {"code": "EntityNotFound", "message": f"No pipeline {started[1]}"}})
            if pipeline.forbidden:
                return Answer(403, {"error": {"code": "AuthorizationFailed", "message": "The client has no authorization"}})
            pipeline.fault("POST")
            body = json_body(request, *pipeline.parameters) if request.body else {}
            wanted(body == pipeline.parameters, f"the parameters {body} are not {pipeline.parameters}")
            pipeline.starts += 1
            run_id = str(uuid.uuid4())
            pipeline.running[run_id] = "Queued"
            return Answer(200, {"runId": run_id})
        found = re.fullmatch(r"/pipelineruns/([^/]+)(/cancel)?", path)
        wanted(found is not None, f"Data Factory has no {path}", 404)
        named = ((name, each) for name, each in self.pipelines.items() if found[1] in each.running)
        name, pipeline = next(named, ("", None))
        wanted(pipeline is not None, f"there is no run {found[1]}", 404)
        pipeline.fault(request.method)
        if found[2]:
            wanted(request.method == "POST", f"cancel is no {request.method}", 405)
            pipeline.running[found[1]] = "Cancelled"
            pipeline.stops += 1
            return Answer(200)
        wanted(request.method == "GET", f"a run is not read by {request.method}", 405)
        if pipeline.running[found[1]] in ("Queued", "InProgress"):
            pipeline.running[found[1]] = pipeline.ends if pipeline.looked() else "InProgress"
        status = pipeline.running[found[1]]
        message = pipeline.message if status == "Failed" else ""
        return Answer(200, {"runId": found[1], "pipelineName": name, "status": status, "message": message})


@dataclass
class Syncs(Job):
    """Syncs of one Airbyte connection. other: looks or starts for which one of somebody else's still runs."""

    ends: str = "succeeded"
    other: int = 0
    jobs: dict[int, str] = field(default_factory=dict)


class Airbyte:
    """Airbyte's public API, on Airbyte Cloud: token, jobs.

    https://reference.airbyte.com/reference/createjob, .../getjob, .../canceljob; the token:
    https://docs.airbyte.com/platform/using-airbyte/configuring-api-access (there with JSON; Airbyte's own Python SDK, which
    Airflow's hook uses, sends the form of OAuth 2, so that is what is checked).
    """

    host = "api.airbyte.com"
    phases = ("pending", "queued", "running", "incomplete")

    def __init__(self) -> None:
        self.token = ""
        self.connections: dict[str, Syncs] = {}

    def handle(self, request: Request) -> Answer:
        if request.path == "/v1/applications/token":
            form = form_body(request)
            wanted(form.get("grant_type") == "client_credentials", f"grant_type is {form.get('grant_type')!r}")
            if (form.get("client_id"), form.get("client_secret")) != (CLIENT_ID, SECRET):
                return Answer(401, {"title": "invalid_client"})
            self.token = uuid.uuid4().hex
            return Answer(200, {"access_token": self.token, "token_type": "Bearer", "expires_in": 900})
        given = request.headers.get("Authorization")
        wanted(bool(self.token) and given == f"Bearer {self.token}", "Airbyte's token was not sent", 401)
        if request.path == "/v1/jobs":
            wanted(request.method == "POST", f"{request.method} starts no job", 405)
            body = json_body(request, "connectionId", "jobType", "jobConfiguration")
            wanted(body.get("jobType") == "sync", f"jobType is {body.get('jobType')!r}")
            syncs = self.connections.get(body.get("connectionId"))
            if syncs is None:
                return Answer(404, {"title": "resource-not-found"})
            syncs.fault("POST")
            if syncs.other > 0:
                syncs.other -= 1
                return Answer(409, {"title": "try-again", "detail": "A sync is already running for this connection"})
            syncs.starts += 1
            number = 100 * (1 + list(self.connections).index(body["connectionId"])) + syncs.starts
            syncs.jobs[number] = "pending"
            return self._job(body["connectionId"], number)
        found = re.fullmatch(r"/v1/jobs/(\d+)", request.path)
        wanted(found is not None, f"Airbyte has no {request.path}", 404)
        number = int(found[1])
        connection_id, syncs = next((each for each in self.connections.items() if number in each[1].jobs), ("", None))
        wanted(syncs is not None, f"there is no job {number}", 404)
        syncs.fault(request.method)
        if request.method == "DELETE":
            syncs.jobs[number] = "cancelled"
            syncs.stops += 1
        else:
            wanted(request.method == "GET", f"{request.method} is not allowed for a job", 405)
            if syncs.jobs[number] in self.phases:
                ended = syncs.looked()
                syncs.jobs[number] = syncs.ends if ended else self.phases[max(0, 3 - syncs.polls) % 4]
        return self._job(connection_id, number)

    def _job(self, connection_id: str, number: int) -> Answer:
        status = self.connections[connection_id].jobs[number]
        told = {"jobId": number, "jobType": "sync", "status": status, "connectionId": connection_id}
        return Answer(200, told | {"startTime": now().isoformat()})


@dataclass
class Connector(Job):
    """One Fivetran connection. rescheduled: looks after which Fivetran puts the sync off once."""

    ends: str = "succeeded"
    setup_state: str = "connected"
    paused: bool = False
    schedule_type: str = "auto"
    sync_state: str = "scheduled"
    succeeded_at: str | None = None
    failed_at: str | None = None
    rescheduled: int = -1


class Fivetran:
    """Fivetran's REST API for one connection: details, update, sync.

    https://fivetran.com/docs/rest-api/api-reference/connections/connection-details, .../modify-connection,
    .../sync-connection; https://fivetran.com/docs/rest-api/tutorials/trigger-syncs-manually
    """

    host = "api.fivetran.com"

    def __init__(self) -> None:
        self.connections: dict[str, Connector] = {}

    def handle(self, request: Request) -> Answer:
        if basic(request) != f"{CLIENT_ID}:{SECRET}":
            return Answer(401, {"code": "AuthFailed", "message": "Missing or invalid authorization credentials"})
        wanted(request.headers.get("Accept") == "application/json;version=2", "Accept does not ask for version 2")
        found = re.fullmatch(r"/v1/connections/([^/]+)(/sync)?", request.path)
        wanted(found is not None, f"Fivetran has no {request.path}", 404)
        connector = self.connections.get(found[1])
        if connector is None:
            return Answer(404, {"code": "NotFound_Integration", "message": f"Cannot find connection {found[1]}"})
        connector.fault(request.method)
        if found[2]:
            wanted(request.method == "POST", f"sync is no {request.method}", 405)
            wanted(json_body(request, "force") == {"force": False}, "a sync that runs would be broken off")
            wanted(not connector.paused, "the connection is paused", 409)
            if connector.sync_state != "syncing":
                connector.starts += 1
                connector.sync_state = "syncing"
            return Answer(200, {"code": "Success", "message": "Sync has been successfully triggered"})
        if request.method == "PATCH":
            body = json_body(request, "schedule_type")
            wanted(body["schedule_type"] == "manual", f"schedule_type is {body['schedule_type']!r}")
            connector.schedule_type = body["schedule_type"]
        else:
            wanted(request.method == "GET", f"{request.method} is not allowed here", 405)
            self._look(connector)
        status = {"setup_state": connector.setup_state, "sync_state": connector.sync_state, "update_state": "on_schedule"}
        if connector.sync_state == "rescheduled":
            status["rescheduled_for"] = now().isoformat()
        if connector.failed_at:
            status["tasks"] = [{"code": "reconnect", "message": "The source refuses the password"}]
        shown = {name: getattr(connector, name) for name in ("paused", "schedule_type", "succeeded_at", "failed_at")}
        return Answer(200, {"code": "Success", "data": {"id": found[1], "status": status} | shown})

    def _look(self, connector: Connector) -> None:
        if connector.sync_state != "syncing":
            return
        if connector.rescheduled == 0:
            connector.sync_state = "rescheduled"
        elif connector.looked():
            connector.sync_state = "scheduled"
            setattr(connector, f"{connector.ends}_at", now().isoformat())
        connector.rescheduled -= 1


@dataclass
class JobRuns(Job):
    """Runs of one Databricks job. parameters: the job parameters it must be given."""

    ends: str = "SUCCESS"
    error: str = ""
    parameters: dict[str, str] = field(default_factory=dict)
    forbidden: bool = False
    runs: dict[int, dict[str, str]] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)


class Databricks:
    """The Jobs API 2.2 of a workspace, and its token endpoint for a service principal.

    https://docs.databricks.com/api/workspace/jobs/runnow, .../jobs/getrun, .../jobs/getrunoutput, .../jobs/cancelrun;
    https://docs.databricks.com/dev-tools/auth/oauth-m2m. An id may come as a text of digits, as Airflow's hook sends it.
    """

    host = DATABRICKS_HOST

    def __init__(self) -> None:
        self.token = ""
        self.jobs: dict[int, JobRuns] = {}

    def handle(self, request: Request) -> Answer:
        if request.path == "/oidc/v1/token":
            form = form_body(request)
            right = {"grant_type": "client_credentials", "scope": "all-apis"}
            wanted(form == right, f"the token request is {form}, not {right}")
            if basic(request) != f"{CLIENT_ID}:{SECRET}":
                return Answer(401, {"error": "invalid_client"})
            self.token = uuid.uuid4().hex
            return Answer(200, {"access_token": self.token, "token_type": "Bearer", "expires_in": 3600})
        given = request.headers.get("Authorization")
        wanted(bool(self.token) and given == f"Bearer {self.token}", "the workspace's token was not sent", 401)
        call = request.path.removeprefix("/api/2.2/jobs/")
        methods = {"run-now": "POST", "runs/cancel": "POST", "runs/get": "GET", "runs/get-output": "GET"}
        wanted(call in methods, f"Databricks has no {request.path}", 404)
        wanted(request.method == methods[call], f"{call} is no {request.method}", 405)
        if call == "run-now":
            return self._run_now(json_body(request, "job_id", "job_parameters", "idempotency_token", "queue"))
        asked = json_body(request, "run_id") if request.method == "POST" else request.query
        number = int(asked.get("run_id", 0))
        job_id, job = next((each for each in self.jobs.items() if number // 10 in each[1].runs), (0, None))
        wanted(job is not None, f"there is no run {number}", 404)
        job.fault(request.method)
        if call == "runs/get-output":
            wanted(number % 10 == 1, "the output of a job's run is that of its tasks")
            return Answer(200, {"error": job.error, "metadata": {}})
        run = job.runs[number // 10]
        if call == "runs/cancel":
            run["state"] = "CANCELED"
            job.stops += 1
            return Answer(200, {})
        if run["state"] == "RUNNING" and job.looked():
            run["state"] = job.ends
        ended = run["state"] != "RUNNING"
        state = {
            "life_cycle_state": "TERMINATED" if ended else "RUNNING",
            "state_message": "",
            "user_cancelled_or_timedout": False,
        }
        if ended:
            state["result_state"] = run["state"]
        task = {"task_key": "read_kafka", "run_id": number + 1, "attempt_number": 0, "state": state}
        page = f"https://{self.host}/#job/{job_id}/run/{number}"
        return Answer(200, {"job_id": job_id, "run_id": number, "run_page_url": page, "state": state, "tasks": [task]})

    def _run_now(self, body: dict[str, Any]) -> Answer:
        job = self.jobs.get(int(body["job_id"]))
        if job is None:
            return Answer(404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": f"Job {body['job_id']} does not exist."})
        if job.forbidden:
            return Answer(403, {"error_code": "PERMISSION_DENIED", "message": "The principal cannot run this job."})
        job.fault("POST")
        wanted(body.get("job_parameters", {}) == job.parameters, f"the parameters are not {job.parameters}")
        token = body.get("idempotency_token", "")
        wanted(0 < len(token) <= 64, "idempotency_token has not 1 to 64 characters")
        if token not in job.tokens:
            job.starts += 1
            job.tokens[token] = int(body["job_id"]) * 100 + job.starts
            job.runs[job.tokens[token]] = {"state": "RUNNING"}
            if job.lost:
                return Answer(500, {"error_code": "INTERNAL_ERROR"})
        return Answer(200, {"run_id": job.tokens[token] * 10, "number_in_job": job.starts})


class Cloud:
    """All services behind one HTTPS proxy on loopback; a context manager. folder: where the CA's certificate is written.

    violations: what was sent that the services' documentation does not allow. calls: method, host and path of every request.
    """

    def __init__(self, folder: Path):
        entra = Entra()
        self.power_bi, self.data_factory = PowerBI(entra), DataFactory(entra)
        self.airbyte, self.fivetran, self.databricks = Airbyte(), Fivetran(), Databricks()
        services = (entra, self.power_bi, self.data_factory, self.airbyte, self.fivetran, self.databricks)
        self.services: dict[str, Callable[[Request], Answer]] = {each.host: each.handle for each in services}
        self.violations: list[str] = []
        self.calls: list[tuple[str, str, str]] = []
        self.ca_file = folder / "cloud-ca.pem"
        self.tls = server_context(self.services, folder, self.ca_file)
        self._lock = threading.Lock()

    def __enter__(self) -> "Cloud":
        handler = type("Handler", (_Handler,), {"cloud": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which a client reaches the services, and trusts them and nobody else."""
        proxy = f"http://127.0.0.1:{self._server.server_port}"
        unset = dict.fromkeys(("HTTP_PROXY", "http_proxy", "no_proxy", "NO_PROXY", "ALL_PROXY", "all_proxy"), "")
        trusted = {"REQUESTS_CA_BUNDLE": str(self.ca_file), "SSL_CERT_FILE": str(self.ca_file), "CURL_CA_BUNDLE": ""}
        return unset | trusted | {"HTTPS_PROXY": proxy, "https_proxy": proxy}

    def answer(self, host: str, request: Request) -> Answer:
        with self._lock:
            self.calls.append((request.method, host, request.path))
            try:
                return self.services[host](request)
            except Wrong as wrong:
                if wrong.violation:
                    self.violations.append(f"{request.method} https://{host}{request.path}: {wrong.violation}")
                return wrong.answer
            except Exception as error:  # a request that the fake cannot even read
                self.violations.append(f"{request.method} https://{host}{request.path}: {error!r}")
                return Answer(400, {"error": {"code": "BadRequest", "message": repr(error)}})


class _Handler(BaseHTTPRequestHandler):
    cloud: Cloud
    protocol_version = "HTTP/1.1"
    host = ""

    def do_CONNECT(self) -> None:
        host, _, port = self.path.partition(":")
        if host not in self.cloud.services or port != "443":
            self.cloud.violations.append(f"CONNECT {self.path}: no service of this test")
            self.send_error(403)
            return
        self.send_response_only(200, "Connection established")
        self.end_headers()
        self.wfile.flush()
        self.host = host
        self.connection = self.cloud.tls.wrap_socket(self.connection, server_side=True)
        self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb")
        self.close_connection = False

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        parts = urlsplit(self.path)
        query = dict(parse_qsl(parts.query))
        request = Request(self.command, parts.path, query, self.headers, self.rfile.read(length))
        answer = self.cloud.answer(self.host, request)
        body = b"" if answer.body is None else json.dumps(answer.body).encode()
        self.send_response_only(answer.status)
        headers = {"Date": format_datetime(now(), usegmt=True), "Content-Length": str(len(body))} | answer.headers
        if body:
            headers["Content-Type"] = "application/json; charset=utf-8"
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer

    def log_message(self, *_: Any) -> None:
        pass


def server_context(names: Iterable[str], folder: Path, ca_file: Path) -> ssl.SSLContext:
    """TLS for a server of those names, under a CA made for it alone and written to ca_file.

    (local_databricks/tls.py makes certificates for loopback only, and throws its CA's key away.)
    """
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "CA of the faked cloud")])

    def certificate(subject: x509.Name, public_key: Any, *extensions: x509.ExtensionType) -> x509.Certificate:
        made = x509.CertificateBuilder().subject_name(subject).issuer_name(ca_name).public_key(public_key)
        made = made.serial_number(x509.random_serial_number())
        made = made.not_valid_before(now() - datetime.timedelta(hours=1)).not_valid_after(now() + datetime.timedelta(days=1))
        for extension in extensions:
            made = made.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        return made.sign(ca_key, hashes.SHA256())

    identifier = x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key())
    ca = certificate(ca_name, ca_key.public_key(), x509.BasicConstraints(ca=True, path_length=0), identifier)
    alternatives = [x509.DNSName(name) for name in names] + [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "the faked cloud")])
    server = certificate(
        subject, key.public_key(), x509.BasicConstraints(ca=False, path_length=None),
        x509.SubjectAlternativeName(alternatives), x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()),
    )  # fmt: skip
    pem = serialization.Encoding.PEM
    ca_file.write_bytes(ca.public_bytes(pem))
    pair = folder / "cloud-server.pem"
    plain = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    pair.write_bytes(key.private_bytes(pem, *plain) + server.public_bytes(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair)
    return context
