"""Receivers of notices, strict about their protocols, and a real Airflow on loopback: API server, scheduler, DAG processor."""

import base64
import email
import email.policy
import json
import os
import re
import secrets
import signal
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jsonschema
import pytest
import requests

from tests.conftest import ROOT, free_port

#: Airflow's limits that end something after seconds, which a busy machine may need longer for: raised where nobody waits for
#: them. Defaults: https://airflow.apache.org/docs/apache-airflow/stable/configurations-ref.html
UNHURRIED = {
    "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "300",
    "AIRFLOW__CORE__TASK_SUCCESS_OVERTIME": "300",
    "AIRFLOW__DAG_PROCESSOR__DAG_FILE_PROCESSOR_TIMEOUT": "600",
    "AIRFLOW__DAG_PROCESSOR__STALE_DAG_THRESHOLD": "600",
    "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "60",
    "AIRFLOW__WORKERS__MAX_FAILED_HEARTBEATS": "30",
}

#: What a receiver of the generic webhook may rely on.
WEBHOOK_SCHEMA = {
    "type": "object",
    "required": ["event", "title", "dag_id", "run_id", "link", "facts", "sent_at"],
    "additionalProperties": False,
    "properties": {
        "event": {"enum": ["failure", "retry", "recovery", "deadline"]},
        **{name: {"type": "string", "minLength": 1} for name in ("title", "dag_id", "run_id")},
        "link": {"type": "string", "pattern": "^https?://"},
        "sent_at": {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00$"},
        "facts": {
            "type": "object",
            "propertyNames": {"pattern": "^[a-z_]+$"},
            "additionalProperties": {"type": "string", "minLength": 1, "maxLength": 2000},
        },
    },
}


@dataclass
class Receivers:
    """Fake Slack, Teams and webhook over HTTP, and an SMTP server; `violations` must stay empty."""

    http: ThreadingHTTPServer
    smtp: socketserver.ThreadingTCPServer
    secret: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    received: list[tuple[str, Any]] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    broken: dict[str, int] = field(default_factory=dict)
    checks: dict[str, Callable[[Any], list[str]]] = field(default_factory=lambda: dict(NOTICES))

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.http.server_port}"

    def addresses(self) -> dict[str, str]:
        """The secret addresses of slack, teams and webhook."""
        teams = f"{self.base}/workflows/7/triggers/manual/paths/invoke?api-version=2016-06-01&sig={self.secret}"
        return {"slack": f"{self.base}/services/T0/B0/{self.secret}", "teams": teams, "webhook": f"{self.base}/hook"}

    def connections(self) -> dict[str, str]:
        """The environment variables by which Airflow knows the four connections."""
        addresses = self.addresses()
        return {
            f"AIRFLOW_CONN_INVOICES_{name.upper()}": json.dumps(value)
            for name, value in {
                "slack": {"conn_type": "slackwebhook", "password": addresses["slack"]},
                "teams": {"conn_type": "http", "password": addresses["teams"]},
                "webhook": {
                    "conn_type": "http",
                    "password": addresses["webhook"],
                    "extra": {"headers": {"Authorization": f"Bearer {self.secret}"}},
                },
                "smtp": {
                    "conn_type": "smtp",
                    "host": "127.0.0.1",
                    "port": self.smtp.server_address[1],
                    "login": "airflow",
                    "password": self.secret,
                    "extra": {"from_email": "airflow@example.com", "disable_tls": True, "disable_ssl": True, "retry_limit": 0},
                },
            }.items()
        }

    def of(self, channel: str) -> list[Any]:
        """What one channel has got: bodies of slack, teams and webhook, messages of email."""
        return [body for name, body in self.received if name == channel]

    def webhooks(self, dag_id: str, event: str | None = None) -> list[dict[str, Any]]:
        """What the generic webhook has got of a DAG."""
        return [each for each in self.of("webhook") if each["dag_id"] == dag_id and event in (None, each["event"])]

    def take(self, channel: str, body: Any, problems: list[str]) -> int:
        """Record a message and what is wrong with it; gives the HTTP status to answer."""
        if channel in self.broken:
            return self.broken[channel]
        self.received.append((channel, body))
        self.violations += [f"{channel}: {problem}" for problem in problems]
        return 400 if problems else {"slack": 200, "teams": 202, "webhook": 204}[channel]


def slack_problems(body: Any) -> list[str]:
    """What Slack would refuse or misread; https://docs.slack.dev/reference/block-kit/blocks."""
    blocks = body.get("blocks")
    if not isinstance(body.get("text"), str) or not isinstance(blocks, list) or not 1 <= len(blocks) <= 50:
        return ["text, and 1 to 50 blocks"]
    problems = [] if not _unescaped(body["text"]) else [f"unescaped: {body['text']}"]
    return problems + [problem for block in blocks for problem in _block_problems(block)]


def slack_alert_problems(body: Any) -> list[str]:
    """The same of Elementary's messages, which have blocks in an attachment (with a colour) too, and no text of their own."""
    parts = [body.get("blocks") or [], *(each.get("blocks") or [] for each in body.get("attachments") or [])]
    blocks = [block for part in parts for block in part if block.get("type") != "divider"]
    if not blocks or max(map(len, parts)) > 50:
        return ["1 to 50 blocks"]
    return [problem for block in blocks for problem in _block_problems(block)]


def _block_problems(block: Any) -> list[str]:
    kind, most = block.get("type"), {"header": ("plain_text", 150), "section": ("mrkdwn", 3000)}
    texts = [block.get("text")] if "text" in block else block.get("fields") or [{}]
    problems = [] if len(texts) <= 10 else ["more than 10 fields"]
    for text in texts:
        if kind not in most or text.get("type") != most[kind][0] or not 1 <= len(text.get("text", "")) <= most[kind][1]:
            problems.append(f"block {kind} of {len(text.get('text', ''))} characters")
        elif kind == "section" and _unescaped(text["text"]):
            problems.append(f"unescaped: {text['text']}")
    return problems


def _unescaped(text: str) -> bool:
    """Whether mrkdwn has control characters besides entities and links (a mention, say)."""
    without = re.sub(r"&(amp|lt|gt);|<https?://[^<>|\s]+\|[^<>|]+>", "", text)
    return any(each in without for each in "<>&")


def teams_problems(body: Any) -> list[str]:
    """What the Teams workflow would refuse; https://learn.microsoft.com/adaptive-cards/schema-explorer/adaptive-card."""
    run = {
        "type": "object",
        "required": ["type", "text"],
        "additionalProperties": False,
        "properties": {
            "type": {"const": "TextRun"},
            "text": {"type": "string", "minLength": 1},
            "weight": {"enum": ["Lighter", "Default", "Bolder"]},
            "size": {"enum": ["Small", "Default", "Medium", "Large", "ExtraLarge"]},
            "color": {"enum": ["Default", "Dark", "Light", "Accent", "Good", "Warning", "Attention"]},
        },
    }
    line = {"required": ["type", "inlines"], "properties": {"type": {"const": "RichTextBlock"}, "inlines": {"items": run}}}
    action = {
        "properties": {"type": {"const": "Action.OpenUrl"}, "url": {"pattern": "^https?://"}},
        "required": ["type", "url"],
    }
    card = {
        "required": ["$schema", "type", "version", "body"],
        "properties": {
            "type": {"const": "AdaptiveCard"},
            "version": {"enum": ["1.2", "1.3", "1.4", "1.5"]},
            "body": {"type": "array", "minItems": 1, "items": line},
            "actions": {"type": "array", "items": action},
        },
    }
    problems = _card_problems(card, body)
    size = len(json.dumps(body).encode())
    return problems + ([f"{size} bytes"] if size > 28 * 1024 else [])


def _card_problems(card: dict, body: Any, **definitions: dict) -> list[str]:
    """What is wrong with a message of one adaptive card: by the schema of the card, which may refer to `definitions`."""
    attachment = {
        "required": ["contentType", "content"],
        "properties": {"contentType": {"const": "application/vnd.microsoft.card.adaptive"}, "content": card},
    }
    schema = {
        "$defs": definitions,
        "type": "object",
        "required": ["type", "attachments"],
        "properties": {
            "type": {"const": "message"},
            "attachments": {"type": "array", "minItems": 1, "maxItems": 1, "items": attachment},
        },
    }
    return [error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(body)]


def teams_alert_problems(body: Any) -> list[str]:
    """The same of Elementary's cards, of containers with blocks of text and lists of facts."""
    text = {"type": "string", "minLength": 1}
    text_block = {"required": ["type", "text"], "properties": {"type": {"const": "TextBlock"}, "text": text}}
    facts = {"items": {"required": ["title", "value"], "properties": {"title": text, "value": text}}, "minItems": 1}
    fact_set = {"required": ["type", "facts"], "properties": {"type": {"const": "FactSet"}, "facts": facts}}
    items = {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/element"}}
    container = {"required": ["type", "items"], "properties": {"type": {"const": "Container"}, "items": items}}
    card = {
        "required": ["type", "version", "body"],
        "properties": {"type": {"const": "AdaptiveCard"}, "version": {"enum": ["1.4", "1.5"]}, "body": items},
    }
    return _card_problems(card, body, element={"anyOf": [text_block, fact_set, container]})


#: What a receiver of the generic webhook may rely on, of an alert of Elementary.
ALERT_SCHEMA = {
    "type": "object",
    "required": ["event", "alerts"],
    "additionalProperties": False,
    "properties": {
        "event": {"const": "data_alert"},
        "alerts": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["id", "summary", "status", "kind", "model", "detected_at"],
                "additionalProperties": False,
                "properties": {
                    **{each: {"type": "string", "minLength": 1} for each in "id summary model test column why".split()},
                    "status": {"enum": ["warn", "fail", "error", "runtime error"]},
                    "kind": {"enum": ["test", "model", "snapshot", "source"]},
                    **{name: {"type": "array", "items": {"type": "string"}} for name in ("owners", "tags")},
                    "detected_at": {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d.*\+00:00$"},
                },
            },
        },
    },
}


def webhook_alert_problems(body: Any) -> list[str]:
    return [error.message for error in jsonschema.Draft202012Validator(ALERT_SCHEMA).iter_errors(body)]


def webhook_problems(body: Any) -> list[str]:
    return [error.message for error in jsonschema.Draft202012Validator(WEBHOOK_SCHEMA).iter_errors(body)]


#: What each channel checks: of notices, and of Elementary's alerts.
NOTICES = {"slack": slack_problems, "teams": teams_problems, "webhook": webhook_problems}
ALERTS = {"slack": slack_alert_problems, "teams": teams_alert_problems, "webhook": webhook_alert_problems}


class _Http(BaseHTTPRequestHandler):
    receivers: Receivers

    def do_POST(self) -> None:
        raw, url = self.rfile.read(int(self.headers["Content-Length"])), urlsplit(self.path)
        if url.path.startswith("/services/"):
            channel, known = "slack", url.path == f"/services/T0/B0/{self.receivers.secret}"
        elif url.path == "/workflows/7/triggers/manual/paths/invoke":
            channel, known = "teams", url.query == f"api-version=2016-06-01&sig={self.receivers.secret}"
        else:
            channel, known = "webhook", self.path == "/hook"
            known &= self.headers["Authorization"] == f"Bearer {self.receivers.secret}"
        if not known or not self.headers["Content-Type"].startswith("application/json"):
            self.receivers.violations.append(f"{channel}: {self.path} with {self.headers['Content-Type']}")
            return self._answer(403)
        body = json.loads(raw)
        self._answer(self.receivers.take(channel, body, self.receivers.checks[channel](body)))

    def _answer(self, status: int) -> None:
        text = {200: b"ok", 403: b"invalid_token"}.get(status, b"") if status != 204 else b""
        self.send_response(status)
        if status == 302:
            self.send_header("Location", f"{self.receivers.base}/hook")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        """Be quiet."""


class _Smtp(socketserver.StreamRequestHandler):
    """As much of SMTP (RFC 5321) with AUTH PLAIN and LOGIN (RFC 4954) as a client that sends one message needs."""

    receivers: Receivers

    def handle(self) -> None:
        known, sender, to = False, None, []
        self._say("220 fake.example.com ESMTP")
        while line := self.rfile.readline().decode().strip():
            verb, _, rest = line.partition(" ")
            verb = verb.upper()
            if verb == "EHLO":
                self._say("250-fake.example.com", "250-8BITMIME", "250-SMTPUTF8", "250 AUTH PLAIN LOGIN")
            elif verb == "AUTH":
                known = self._authenticated(rest)
                self._say("235 ok" if known else "535 5.7.8 authentication failed")
            elif verb == "MAIL":
                sender = rest[len("FROM:") :].split(">")[0].strip("<")
                self._say("250 ok" if known and sender else "530 5.7.0 authenticate first")
            elif verb == "RCPT":
                to.append(rest[len("TO:") :].strip("<>"))
                self._say("250 ok" if sender else "503 MAIL first")
            elif verb == "DATA" and to:
                self._say("354 go on")
                lines = []
                while (data := self.rfile.readline()) != b".\r\n":
                    lines.append(data.removeprefix(b".") if data.startswith(b"..") else data)
                self._take(email.message_from_bytes(b"".join(lines), policy=email.policy.default), sender, to)
                self._say("250 ok")
            elif verb in ("RSET", "NOOP"):
                self._say("250 ok")
            else:
                self._say("221 bye" if verb == "QUIT" else "503 bad sequence")
                if verb == "QUIT":
                    return

    def _take(self, message: EmailMessage, sender: str, to: list[str]) -> None:
        message["X-Envelope"] = f"{sender} {' '.join(to)}"
        self.receivers.received.append(("email", message))
        if not message["Subject"] or message["From"] != sender or "\n" in message["Subject"]:
            self.receivers.violations.append(f"email: {message['Subject']!r} from {message['From']}")

    def _authenticated(self, rest: str) -> bool:
        kind, _, initial = rest.partition(" ")
        if kind == "PLAIN":
            given = base64.b64decode(initial).decode().split("\0")[1:]
        else:
            given = [base64.b64decode(initial).decode()] if initial else []
            for prompt in ("Username:", "Password:")[len(given) :]:
                self._say(f"334 {base64.b64encode(prompt.encode()).decode()}")
                given.append(base64.b64decode(self.rfile.readline()).decode())
        return given == ["airflow", self.receivers.secret]

    def _say(self, *lines: str) -> None:
        self.wfile.write("".join(f"{line}\r\n" for line in lines).encode())


@contextmanager
def listening() -> Iterator[Receivers]:
    """Receivers on free ports of loopback."""
    http = ThreadingHTTPServer(("127.0.0.1", 0), type("Http", (_Http,), {}))
    smtp = socketserver.ThreadingTCPServer(("127.0.0.1", 0), type("Smtp", (_Smtp,), {}))
    smtp.daemon_threads = True
    found = Receivers(http, smtp)
    for server in (http, smtp):
        server.RequestHandlerClass.receivers = found
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield found
    finally:
        for server in (http, smtp):
            server.shutdown()
            server.server_close()


@pytest.fixture
def receivers() -> Iterator[Receivers]:
    """Receivers of this test alone."""
    with listening() as found:
        yield found


def patient_database(airflow_home: Path) -> str:
    """The address of Airflow's own database, SQLite, whose clients wait for each other for 15 seconds instead of 5.

    Not for longer: the API server waits for itself where a request is logged (log_action of api_fastapi/logging/decorators.py,
    which commits in the event loop) while another one, of a task that starts, has written and is about to commit. Then all
    stands still until that time is over, and the request that is logged fails with status 500; see `answered`.
    """
    return f"sqlite:///{airflow_home}/airflow.db?timeout=15"


def answered(request: Callable[[], requests.Response], seconds: float = 300) -> requests.Response:
    """The answer of Airflow's API to a request that may be repeated, which it is where the server has an error of its own
    (`patient_database`). A conflict with what an earlier try has done is none, and answered as success is."""
    end, failed = time.monotonic() + seconds, False
    while (answer := request()).status_code >= 500 and time.monotonic() < end:
        failed = True
        time.sleep(1)
    if failed and answer.status_code == 409:
        answer.status_code = 200
    return answer


def airflow_environment(home: Path, **variables: str) -> dict[str, str]:
    """The variables of an Airflow of its own under `home` (which gets folders dags and state); `variables` are added.

    The project's package is linked into the folder of the DAGs, so that it is imported as in production.
    """
    dags = home / "dags"
    dags.mkdir(parents=True, exist_ok=True)
    (dags / "invoices_countries").symlink_to(ROOT / "airflow" / "dags" / "invoices_countries")
    (dags / ".airflowignore").write_text("invoices_countries/\n")
    port = free_port()
    return {
        **UNHURRIED,
        "AIRFLOW_HOME": str(home / "state"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": patient_database(home / "state"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "airflow" / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__PARALLELISM": "8",
        "AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG": "8",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}",
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "5",
        "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "AIRFLOW__COSMOS__ENABLE_TELEMETRY": "False",
        "NO_PROXY": "*",
        "DO_NOT_TRACK": "1",
        **variables,
    }


def python_in(environment: dict[str, str], *arguments: str, timeout: float = 900) -> subprocess.CompletedProcess:
    """Run this Python with exactly this Airflow."""
    return subprocess.run(
        [sys.executable, *arguments], env=_only(environment), cwd=ROOT, capture_output=True, text=True, timeout=timeout
    )


def _only(environment: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "OTEL_"))} | environment


@contextmanager
def running_airflow(environment: dict[str, str]) -> Iterator[str]:
    """API server, scheduler and DAG processor over a new database; gives the API server's address, stops all at the end."""
    done = python_in(environment, "-m", "airflow", "db", "migrate")
    assert done.returncode == 0, done.stderr[-3000:]
    home, address = Path(environment["AIRFLOW_HOME"]), environment["AIRFLOW__API__BASE_URL"]
    processes = []
    try:
        # without the scheduler's server of logs, which listens on a fixed port
        for component in ("api-server", "scheduler --skip-serve-logs", "dag-processor"):
            with open(home / f"{component.split()[0]}.log", "wb") as output:
                command = [sys.executable, "-m", "airflow", *component.split()]
                processes.append(
                    subprocess.Popen(
                        command, env=_only(environment), cwd=home, stdout=output, stderr=output, start_new_session=True
                    )
                )
        yield address
    finally:
        for process in processes[1:]:
            process.terminate()
        for process in processes[1:]:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for process in processes[:1]:  # the API server waits for connections to end, and nobody is left to be served
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def until(condition: Callable[[], Any], seconds: float = 900, what: str | Callable[[], str] = "") -> Any:
    """Wait until `condition` gives something true, and give that; fails after `seconds`, telling `what` was awaited."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"not within {seconds:g} s: {what() if callable(what) else what}"
        time.sleep(0.25)
    return found
