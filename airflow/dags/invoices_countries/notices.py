"""Notices to people: a failure, a retry, a missed deadline, and that all is well again; to Slack, Teams, e-mail or a webhook.

Whom to tell what are the routes in `Settings.notices`, read when a notice is sent. One notice tells one cause in one run,
however many tasks and tries it hits. What has been told must be known to all workers, and a task has no database: it is kept
in Airflow variables, the one store that tasks, the DAG processor and `dag.test()` can all read and write (a DAG processor
cannot write XComs, nor reach the asset and task state stores of Airflow 3.3). They are called `invoices_countries_told_...`
and `invoices_countries_failing_...`, and are deleted when a run of the DAG succeeds.
"""

import hashlib
import html
import json
import logging
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlsplit

import requests
from airflow.sdk import Connection, DeadlineAlert, DeadlineReference, SyncCallback, Variable, conf
from airflow.sdk.log import mask_secret, redact

from invoices_countries.settings import DBT_RESULTS, VARIABLE, Settings, SettingsError, connection

log = logging.getLogger(__name__)

EVENTS = ("failure", "retry", "recovery", "deadline")
CHANNELS = ("slack", "teams", "email", "webhook")
#: Airflow kills a task 20 s after its end (core.task_success_overtime), callbacks included: all of a notice fits below that.
SETTLE_SECONDS = 2.0
SEND_SECONDS = 12.0
MISSING_REASON = "The task ended without an error of its own: it was stopped from outside, or its worker was lost."


@dataclass(frozen=True)
class Route:
    """Who is told what: a channel, the connection that leads to it, the events, and for e-mail the addresses."""

    channel: str
    connection: str
    on: tuple[str, ...] = ("failure", "recovery", "deadline")
    to: tuple[str, ...] = ()


@dataclass(frozen=True)
class Notice:
    """What is told. `facts` are labelled lines in the order of reading; all is plain text, escaped by each channel."""

    event: str
    title: str
    dag_id: str
    run_id: str
    link: str
    facts: dict[str, str] = field(default_factory=dict)


def routes(settings: Settings) -> list[Route]:
    """The routes of `settings.notices`. Raises SettingsError, one sentence, that names the key which cannot be used."""
    found = []
    for number, given in enumerate(settings.notices):
        where = f"{VARIABLE}.notices[{number}]"
        if not isinstance(given, dict):
            raise SettingsError(f"{where} must be an object such as {json.dumps({'channel': 'slack', 'connection': 'id'})}.")
        if unknown := sorted(given.keys() - {"channel", "connection", "on", "to"}):
            raise SettingsError(f"{where} has no key {unknown[0]!r}; it knows channel, connection, on, to.")
        if given.get("channel") not in CHANNELS:
            raise SettingsError(f"{where}.channel must be one of {', '.join(CHANNELS)}, not {given.get('channel')!r}.")
        if not isinstance(given.get("connection"), str) or not given["connection"]:
            raise SettingsError(f"{where}.connection must be the id of an Airflow connection.")
        events, to = given.get("on", list(Route.on)), given.get("to", [])
        if not isinstance(events, list) or not events or any(event not in EVENTS for event in events):
            raise SettingsError(f"{where}.on must be a list of some of {', '.join(EVENTS)}, not {json.dumps(events)}.")
        addresses = isinstance(to, list) and all(
            isinstance(each, str) and re.fullmatch(r"[^@\s,;]+@[^@\s,;]+", each) for each in to
        )
        if not addresses or bool(to) != (given["channel"] == "email"):
            raise SettingsError(f"{where}.to must be a list of e-mail addresses for the channel email, and absent for others.")
        found.append(Route(given["channel"], given["connection"], tuple(events), tuple(to)))
    return found


def task_callbacks() -> dict[str, Callable]:
    """Keys for `default_args`, by which tasks tell of failures and retries. Airflow calls none for upstream_failed tasks."""
    return {"on_failure_callback": tell_failed_task, "on_retry_callback": tell_retried_task}


def dag_callbacks() -> dict[str, Callable]:
    """Arguments for `DAG(...)`: recovery when a run succeeds, and failures of a run that none of its tasks could tell."""
    return {"on_failure_callback": tell_failed_run, "on_success_callback": tell_recovered_run}


def deadline_alert(minutes: float) -> DeadlineAlert:
    """The argument `deadline` for a DAG whose runs must have ended `minutes` after they were queued.

    The callback is synchronous and runs as a workload of the executor (LocalExecutor can, and others that say
    `supports_callbacks`): Airflow 3.3.2 puts the folder of the DAGs on the import path there, but not in the triggerer,
    where asynchronous callbacks run.
    """
    return DeadlineAlert(
        reference=DeadlineReference.DAGRUN_QUEUED_AT,
        # Seconds, as Airflow stored it before 3.3 and still reads it: 3.3.2 answers 500 to whoever clears a task of a run whose
        # deadline has a timedelta (_recalculate_dagrun_queued_at_deadlines takes the stored JSON for a number).
        interval=minutes * 60,
        callback=SyncCallback(tell_missed_deadline, kwargs={"minutes": minutes}),
        name="late",
    )


# What happened -------------------------------------------------------------------------------------------------------------


def tell_failed_task(context: Mapping[str, Any]) -> None:
    """Tell that a task has failed for good. context: Airflow's, of the task."""
    _safely(_tell_task, "failure", context)


def tell_retried_task(context: Mapping[str, Any]) -> None:
    """Tell that a task failed and will be tried again. context: Airflow's, of the task."""
    _safely(_tell_task, "retry", context)


def tell_failed_run(context: Mapping[str, Any]) -> None:
    """Tell that a run has failed, unless one of its tasks told why; remember it, to tell of recovery. context: of the DAG."""
    _safely(_tell_failed_run, context)


def tell_recovered_run(context: Mapping[str, Any]) -> None:
    """Tell that a run succeeded after failed ones, or after retries that were told; forget both. context: of the DAG."""
    _safely(_tell_recovered_run, context)


def tell_missed_deadline(context: Mapping[str, Any], minutes: float) -> None:
    """Tell that a run has not ended in time. context: Airflow's for deadlines, with `dag_run` and `deadline`.

    Airflow 3.3.2 drops the deadline of a run that succeeded in time, not of one that failed in time: that is not told again.
    """
    _safely(_tell_missed_deadline, context, minutes)


def _safely(tell: Callable, *arguments: Any) -> None:
    try:
        tell(*arguments)
    except SettingsError as error:
        log.error("No notice was sent. %s", error)
    except Exception:
        log.exception("No notice was sent")


def _tell_task(event: str, context: Mapping[str, Any]) -> None:
    chosen = [route for route in routes(Settings.read()) if event in route.on]
    if not chosen:
        return
    ti = context["ti"]
    results = _dbt_results(ti)
    bad = [each for each in results if each.get("status") == "error"] or [e for e in results if e.get("status") == "fail"]
    names = [str(each.get("name")) for each in bad] or [ti.task_id.rpartition(".")[2]]
    error = context.get("exception")
    if bad:
        why = _why(bad[0])
    else:
        why = MISSING_REASON if error is None else _first_line(str(error)) or type(error).__name__
    if not _first_to_tell(event, context, _cause(ti.task_id, bad, error, names), names):
        log.info("The cause has been told already in this run.")
        return
    tries = f"{ti.try_number} of {(ti.max_tries or 0) + 1}"
    ending = f"will be retried (try {tries} failed)" if event == "retry" else "failed"
    notice = Notice(
        event=event,
        title=f"{ti.dag_id}: {_listed(names, 3)} {ending}",
        dag_id=ti.dag_id,
        run_id=ti.run_id,
        link=ti.log_url,
        facts=_without_empty(
            {
                "What": _listed([f"{each.get('resource_type') or 'node'} {each.get('name')}" for each in bad], 10)
                or f"task {ti.task_id}",
                "Why": why,
                "Rows": _rows(bad),
                "Try": tries,
                "Owner": _owners(bad) or getattr(context.get("task"), "owner", ""),
                "DAG": ti.dag_id,
                "Run": ti.run_id,
            }
        ),
    )
    _send(chosen, notice)


def _tell_failed_run(context: Mapping[str, Any]) -> None:
    every = routes(Settings.read())
    if not every:
        return
    dag_id, run_id, reason = context["dag"].dag_id, context["run_id"], context.get("reason") or "failed"
    known = _load(_failing_key(dag_id)) or {"since": _now(), "runs": []}
    _Memory.set(_failing_key(dag_id), json.dumps(known | {"runs": sorted({*known["runs"], run_id})}), f"{dag_id} fails")
    if reason == "task_failure" and _a_task_has_told(context):
        return
    if reason == "task_failure":
        tasks = _listed(_failed_tasks(dag_id, run_id), 10) or "A task"
        why = f"{tasks} failed, and could not tell why: marked as failed by hand, or killed."
    else:
        why = {
            "timed_out": "The run took longer than its time-out (dagrun_timeout); what had not ended was skipped.",
            "all_tasks_deadlocked": "No task of the run can start any more (deadlock).",
        }.get(reason, reason)
    facts = {"What": "the run", "Why": why, "Owner": context["dag"].owner, "DAG": dag_id, "Run": run_id}
    notice = Notice("failure", f"{dag_id}: the run failed", dag_id, run_id, _run_link(dag_id, run_id), _without_empty(facts))
    _send([route for route in every if "failure" in route.on], notice)


def _a_task_has_told(context: Mapping[str, Any]) -> bool:
    """Whether a task of the run has told of a failure.

    A task's callback is over before Airflow knows of the failure, except for a lost worker: the DAG processor runs that
    callback, usually before that of the run, sometimes beside it; hence the second look.
    """
    if _Memory.keys(_told_prefix(context, "failure")):
        return True
    time.sleep(SETTLE_SECONDS)
    return bool(_Memory.keys(_told_prefix(context, "failure")))


def _tell_recovered_run(context: Mapping[str, Any]) -> None:
    every = [route for route in routes(Settings.read()) if "recovery" in route.on]
    dag_id, run_id = context["dag"].dag_id, context["run_id"]
    failing = _load(_failing_key(dag_id))
    retried = [value for key in _Memory.keys(_told_prefix(context, "retry")) if (value := _load(key))]
    for key in (*_Memory.keys(_told_prefix(context)), *([_failing_key(dag_id)] if failing else ())):
        _Memory.delete(key)
    facts = {"Owner": context["dag"].owner, "DAG": dag_id, "Run": run_id}
    if failing:
        runs, since = len(failing["runs"]), datetime.fromisoformat(failing["since"])
        title = f"{dag_id}: recovered after {_ago(since)}"
        facts = {"What": f"the run succeeded after {runs} failed run{'s' * (runs > 1)}"} | facts
    elif retried:
        every = [route for route in every if "retry" in route.on]
        names = sorted({name for value in retried for name in value["names"]})
        title = f"{dag_id}: recovered by trying again"
        facts = {"What": f"{_listed(names, 10)} succeeded when tried again"} | facts
    else:
        return
    _send(every, Notice("recovery", title, dag_id, run_id, _run_link(dag_id, run_id), _without_empty(facts)))


def _tell_missed_deadline(context: Mapping[str, Any], minutes: float) -> None:
    run = context["dag_run"]
    if run.get("state") in ("success", "failed"):
        log.info("The run has ended, which has been told.")
        return
    dag_id, run_id = run.get("dag_id"), run.get("dag_run_id") or run.get("run_id")
    notice = Notice(
        event="deadline",
        title=f"{dag_id}: not done after {minutes:g} minutes",
        dag_id=dag_id,
        run_id=run_id,
        link=_run_link(dag_id, run_id),
        facts={
            "What": f"the run is {run.get('state')}",
            "Why": f"It was queued at {run.get('queued_at')} and has not ended within {minutes:g} minutes.",
            "DAG": dag_id,
            "Run": run_id,
        },
    )
    _send([route for route in routes(Settings.read()) if "deadline" in route.on], notice)


def _dbt_results(ti: Any) -> list[dict[str, Any]]:
    """What the dbt operator has pushed of its nodes before it failed; none for other tasks."""
    try:
        # Without map_indexes all values are asked for, and having none is no error in Airflow's logs.
        found = ti.xcom_pull(task_ids=ti.task_id, key=DBT_RESULTS)
    except Exception as error:
        log.warning("The results of dbt cannot be read: %s", error)
        return []
    return [each for each in found or [] if isinstance(each, dict)]


def _why(result: Mapping[str, Any]) -> str:
    return _first_line(str(result.get("message") or "")) or f"dbt ended with {result.get('status')}"


def _first_line(text: str) -> str:
    """The first line that tells something: dbt's own headline (`Database Error in model ...`) only says where."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if not re.match(r"(\w+ )+Error in \w+ |compiled code at ", line)]
    return (telling or lines or [""])[0]


def _rows(results: Iterable[Mapping[str, Any]]) -> str:
    lines = []
    for each in results:
        stored = f", stored in {each['stored_in']}" if each.get("stored_in") else ""
        if each.get("failures") is not None:
            lines.append(f"{each.get('name')}: {each['failures']} failing{stored}")
        elif each.get("rows_affected") is not None:
            lines.append(f"{each.get('name')}: {each['rows_affected']} affected")
    return _listed(lines, 10, "; ")


def _owners(results: Iterable[Mapping[str, Any]]) -> str:
    owners = [owner for each in results if (owner := each.get("owner"))]
    return _listed(
        dict.fromkeys(" ".join(filter(None, (o.get("name"), o.get("email") and f"<{o['email']}>"))) for o in owners), 5
    )


def _failed_tasks(dag_id: str, run_id: str) -> list[str]:
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    try:
        states = RuntimeTaskInstance.get_task_states(dag_id=dag_id, run_ids=[run_id]).get(run_id, {})
    except Exception as error:  # under dag.test() there is nobody to ask
        log.debug("The states of the tasks are not known: %s", error)
        return []
    return [task for task, state in states.items() if state == "failed"]


def _listed(items: Iterable[str], most: int, between: str = ", ") -> str:
    items = list(items)
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return between.join(items[:most]) + more


def _without_empty(facts: Mapping[str, Any]) -> dict[str, str]:
    return {label: str(text) for label, text in facts.items() if text}


def _run_link(dag_id: str, run_id: str) -> str:
    base = conf.get("api", "base_url", fallback=None) or "http://localhost:8080"
    return f"{base.rstrip('/')}/dags/{quote(dag_id)}/runs/{quote(run_id)}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _ago(since: datetime) -> str:
    minutes = int((datetime.now(UTC) - since).total_seconds() // 60)
    days, hours = minutes // 1440, minutes // 60 % 24
    return " ".join(filter(None, (days and f"{days} d", hours and f"{hours} h", f"{minutes % 60} min")))


# What has been told --------------------------------------------------------------------------------------------------------


def _cause(task_id: str, bad: list[dict[str, Any]], error: BaseException | None, names: list[str]) -> str:
    """What makes two failures the same: the error without what differs by chance, or failing tests of one task."""
    if bad and bad[0].get("status") == "fail":
        return f"tests of {task_id}"
    text = str(bad[0].get("message") or "") if bad else str(error) if error else ""
    text = "\n".join(line.strip() for line in text.splitlines() if line.strip() and "compiled code at " not in line)
    text = re.sub(r"\w+ [\w.]+ \([^()\s]+\)$", "<node>", text, count=1, flags=re.MULTILINE)  # model x (models/x.sql)
    for name in {*names, task_id, *task_id.split(".")}:
        text = re.sub(rf"\b{re.escape(name)}\b", "<name>", text)
    text = re.sub(
        r"0x[0-9a-f]+|\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b|\b[0-9a-f]{12,}\b", "<id>", text, flags=re.IGNORECASE
    )
    return f"{type(error).__name__}: " + re.sub(r"\d+", "<n>", text)


def _first_to_tell(event: str, context: Mapping[str, Any], cause: str, names: list[str]) -> bool:
    """Whether this process is the one that tells this cause in this run.

    Airflow offers a task no compare-and-set, so this is Fischer's algorithm on one variable: whoever finds it empty writes
    itself, waits until all who also found it empty have written, and tells if its own writing is the one that stayed. Two
    notices are possible only where one reading and writing takes longer than SETTLE_SECONDS (measured: some 20 ms), and when
    the store fails: then everyone tells, since twice is better than not at all. A run that is cleared may tell again.
    """
    key = f"{_told_prefix(context, event)}{_digest(cause)}"
    try:
        if _Memory.get(key) is not None:
            return False
        mine = json.dumps({"by": uuid.uuid4().hex, "names": names, "at": _now()})
        _Memory.set(key, mine, f"{event} told: {context['run_id']}")
        time.sleep(SETTLE_SECONDS)
        return _Memory.get(key) == mine
    except Exception as error:
        log.warning("What has been told cannot be known (%s), so it may be told twice.", redact(str(error)))
        return True


def _digest(*parts: Any) -> str:
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:16]


def _told_prefix(context: Mapping[str, Any], event: str | None = None) -> str:
    """The beginning of the names of what was told of this run since it was last cleared; without `event`, of all runs."""
    dag_id = context["dag"].dag_id
    prefix = f"{VARIABLE}_told_{_digest(dag_id)}_"
    cleared = getattr(context.get("dag_run"), "clear_number", None) or 0
    return f"{prefix}{_digest(context['run_id'], cleared)}_{event}_" if event else prefix


def _failing_key(dag_id: str) -> str:
    return f"{VARIABLE}_failing_{_digest(dag_id)}"


def _load(key: str) -> dict[str, Any] | None:
    text = _Memory.get(key)
    return json.loads(text) if text else None


class _Memory:
    """Airflow's variables, by the task SDK, or from the database where there is no supervisor to ask: in `dag.test()`."""

    @staticmethod
    def _supervised() -> bool:
        from airflow.sdk.execution_time import task_runner

        return getattr(task_runner, "SUPERVISOR_COMMS", None) is not None

    @classmethod
    def get(cls, key: str) -> str | None:
        if cls._supervised():
            return Variable.get(key, default=None)
        from airflow.models import Variable as Stored

        return Stored.get(key, default_var=None)

    @classmethod
    def set(cls, key: str, value: str, description: str) -> None:
        if cls._supervised():
            return Variable.set(key, value, description=description)
        from airflow.models import Variable as Stored

        return Stored.set(key, value, description=description)

    @classmethod
    def delete(cls, key: str) -> None:
        if cls._supervised():
            return Variable.delete(key)
        from airflow.models import Variable as Stored

        Stored.delete(key)

    @classmethod
    def keys(cls, prefix: str) -> list[str]:
        if cls._supervised():
            return list(Variable.keys(prefix=prefix))
        from airflow.models import Variable as Stored
        from airflow.utils.session import create_session
        from sqlalchemy import select

        with create_session() as session:
            return list(session.scalars(select(Stored.key).where(Stored.key.startswith(prefix, autoescape=True))))


# Sending -------------------------------------------------------------------------------------------------------------------


def _send(chosen: Iterable[Route], notice: Notice) -> None:
    """Send to all routes at once. One that fails or hangs is logged in a sentence, and holds up neither others nor the task.

    Connections are read before the threads start, because `dag.test()` answers one thread only.
    """
    shown = {label: redact(text) for label, text in notice.facts.items()}
    notice, threads = replace(notice, title=redact(notice.title), facts=shown), []
    for route in chosen:
        try:
            sender = _SENDERS[route.channel](route, notice)
        except Exception as error:
            log.error("No notice was sent by the connection %s: %s", route.connection, _reason(error))
            continue
        threads.append(threading.Thread(target=_attempt, args=(route, notice, sender), daemon=True, name=route.connection))
    for thread in threads:
        thread.start()
    end = time.monotonic() + SEND_SECONDS
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
        if thread.is_alive():
            log.error("No notice was sent by the connection %s: no answer for %g s.", thread.name, SEND_SECONDS)


def _attempt(route: Route, notice: Notice, sender: Callable[[], Any]) -> None:
    try:
        sender()
    except Exception as error:
        log.error("No notice was sent by the connection %s: %s", route.connection, _reason(error))
    else:
        log.info("A notice of %s was sent by the connection %s.", notice.event, route.connection)


def _reason(error: Exception) -> str:
    """Why a channel failed, in a line. Errors of HTTP clients quote addresses, and those of webhooks are secret."""
    if isinstance(error, SettingsError):
        return str(error)
    if isinstance(error, requests.HTTPError):
        return f"it answered {error.response.status_code}: {_cut(redact(error.response.text), 200)}"
    if isinstance(error, requests.RequestException):
        return type(error).__name__
    text = re.sub(r"https?://\S+", "<address>", " ".join(str(error).split()))
    return _cut(redact(text), 200) or type(error).__name__


def _slack(route: Route, notice: Notice) -> Callable[[], Any]:
    from airflow.providers.slack.hooks.slack_webhook import SlackWebhookHook

    connection(route.connection)  # says in a sentence that it is missing
    hook = SlackWebhookHook(slack_webhook_conn_id=route.connection, timeout=10)
    mask_secret(hook.client.url)
    return lambda: hook.send_dict(slack_payload(notice))


def _teams(route: Route, notice: Notice) -> Callable[[], Any]:
    return _post(route, teams_payload(notice))


def _webhook(route: Route, notice: Notice) -> Callable[[], Any]:
    return _post(route, webhook_payload(notice))


def _post(route: Route, payload: Mapping[str, Any]) -> Callable[[], Any]:
    url, headers = webhook_address(connection(route.connection))
    # A redirect would carry the notice to somewhere that nobody configured.
    return lambda: _accepted(requests.post(url, json=payload, headers=headers, timeout=10, allow_redirects=False))


def webhook_address(found: Connection) -> tuple[str, dict[str, str]]:
    """Where a webhook is, and the headers it wants: the password as a whole address, else schema, host and port."""
    url = found.password or ""
    if "://" in url:
        mask_secret(url)
    elif found.host:
        parts = urlsplit(found.host if "://" in found.host else f"{found.schema or 'https'}://{found.host}")
        url = parts._replace(netloc=f"{parts.netloc}:{found.port}" if found.port else parts.netloc).geturl()
    if urlsplit(url).scheme not in ("http", "https"):
        raise SettingsError(f"The Airflow connection {found.conn_id} must have an address, as its password or as its host.")
    return url, found.extra_dejson.get("headers") or {}


def _accepted(response: requests.Response) -> None:
    if not 200 <= response.status_code < 300:
        raise requests.HTTPError(response=response)


def _email(route: Route, notice: Notice) -> Callable[[], Any]:
    from airflow.providers.smtp.hooks.smtp import SmtpHook

    found = connection(route.connection)
    if not found.extra_dejson.get("from_email"):
        raise SettingsError(f"The Airflow connection {route.connection} lacks from_email in its extra.")

    class Hook(SmtpHook):
        """The provider's hook, with the connection that has been read."""

        @classmethod
        def get_connection(cls, conn_id: str) -> Any:
            return found

    def send() -> None:
        subject, body = email_content(notice)
        with Hook(smtp_conn_id=route.connection) as hook:
            hook.send_email_smtp(to=list(route.to), subject=subject, html_content=body)

    return send


_SENDERS: dict[str, Callable[[Route, Notice], Callable[[], Any]]] = {
    "slack": _slack,
    "teams": _teams,
    "email": _email,
    "webhook": _webhook,
}


# What each channel is sent -------------------------------------------------------------------------------------------------


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def slack_payload(notice: Notice) -> dict[str, Any]:
    """The body for a Slack incoming webhook: a headline, sections of facts, and a link.

    A header holds 150 characters, a section 3,000 (https://docs.slack.dev/reference/block-kit/blocks), and in mrkdwn the
    characters &, < and > are escaped (https://docs.slack.dev/messaging/formatting-message-text), so that no text mentions
    anyone.
    """

    def escaped(text: str, most: int) -> str:
        return html.escape(_cut(text, most), quote=False)

    sections = [""]
    for label, text in notice.facts.items():
        line = f"*{label}:* {escaped(text, 500)}\n"
        if len(sections[-1]) + len(line) > 3000:
            sections.append("")
        sections[-1] += line
    link = f"<{html.escape(notice.link, quote=False)}|Open in Airflow>"
    return {
        "text": escaped(notice.title, 500),
        "blocks": [
            {"type": "header", "text": {"type": "plain_text", "text": _cut(f"{_SIGNS[notice.event]} {notice.title}", 150)}},
            *({"type": "section", "text": {"type": "mrkdwn", "text": text}} for text in (*filter(None, sections), link)),
        ],
    }


def teams_payload(notice: Notice) -> dict[str, Any]:
    """The body for a Teams webhook made by the Workflows app: a message with one adaptive card, of at most 28 KB.

    Shape and size: https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/how-to/add-incoming-webhook.
    Text runs, unlike text blocks and facts, hold no Markdown (https://learn.microsoft.com/adaptive-cards/schema-explorer/text-run),
    so nothing needs to be escaped.
    """

    def line(*runs: dict[str, Any]) -> dict[str, Any]:
        return {"type": "RichTextBlock", "inlines": [{"type": "TextRun", **run} for run in runs]}

    def message(most: int) -> dict[str, Any]:
        facts = [
            line({"text": f"{label}: ", "weight": "Bolder"}, {"text": _cut(text, most)}) for label, text in notice.facts.items()
        ]
        card = {
            "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
            "type": "AdaptiveCard",
            "version": "1.4",
            "msteams": {"width": "Full"},
            "body": [line({"text": _cut(notice.title, 300), "size": "Large", "weight": "Bolder", "color": colour}), *facts],
            "actions": [{"type": "Action.OpenUrl", "title": "Open in Airflow", "url": notice.link}],
        }
        attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
        return {"type": "message", "attachments": [attachment]}

    colour = {"failure": "Attention", "retry": "Warning", "recovery": "Good", "deadline": "Warning"}[notice.event]
    # A character outside ASCII is up to 12 bytes of JSON.
    return next((body for most in (2000, 500) if len(json.dumps(body := message(most))) < 25_000), message(100))


def email_content(notice: Notice) -> tuple[str, str]:
    """The subject, one line of at most 200 characters, and the body in HTML."""
    rows = "".join(
        f"<tr><th align='left' valign='top'>{html.escape(label)}</th><td>{html.escape(_cut(text, 2000))}</td></tr>"
        for label, text in notice.facts.items()
    )
    link = html.escape(notice.link)
    body = f"<p><b>{html.escape(notice.title)}</b></p><table>{rows}</table><p><a href='{link}'>Open in Airflow</a></p>"
    return _cut(" ".join(f"[{notice.event}] {notice.title}".split()), 200), body


def webhook_payload(notice: Notice) -> dict[str, Any]:
    """The body for any other receiver: event, title, dag_id, run_id, link, and the facts with their labels as keys."""
    facts = {label.lower().replace(" ", "_"): _cut(text, 2000) for label, text in notice.facts.items()}
    return asdict(notice) | {"facts": facts, "sent_at": _now()}


_SIGNS = {"failure": "🔴", "retry": "🟠", "recovery": "🟢", "deadline": "⏰"}
