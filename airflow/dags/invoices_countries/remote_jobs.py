"""A task that starts one job at a cloud service and waits for its end, without a worker and through every restart.

The providers' operators were read and run first (tests/integration/test_cloud_operators.py). What they share made this module
necessary: a retried task starts a second job beside the first, a wait that takes too long leaves the job running, and a poll
that meets one bad answer fails or even cancels a healthy job. Some wait in triggers of their own that block the triggerer's
event loop (Airbyte) or fail on a state that the service documents (Airbyte's `queued`). So here every look is a short step of
the task itself; between two of them it is deferred to Airflow's own timer. That needs a triggerer, but no trigger class of
this repository: the triggerer does not import from the DAG folder. Between steps and tries, what was started is in Airflow's
task state store.
"""

import abc
import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger
from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from azure.core.exceptions import ClientAuthenticationError, ServiceRequestError, ServiceResponseError

from invoices_countries.faults import causes
from invoices_countries.settings import VARIABLE, SettingsError, connection

STATE = "remote_job"
#: Looks in a row that may meet a service that is down or throttles, before the try fails and Airflow's own retries take over.
PATIENCE = 5
#: Airflow fails a task that comes back from a deferral before the scheduler has noted that its step before has ended.
LEAST_POLL_SECONDS = 10
#: Clients and proxies raise these where no answer came at all; `requests` and `aiohttp` derive theirs from OSError.
NO_ANSWER = (OSError, httpx.TransportError, ServiceRequestError, ServiceResponseError)


class JobEnded(Exception):
    """The job ended badly; the text is a sentence for whoever is on call. final: starting it again cannot help."""

    def __init__(self, sentence: str, final: bool = False):
        super().__init__(sentence)
        self.final = final


class CannotStop(Exception):
    """The service has no way to cancel a job; the text says what becomes of it."""


class RemoteJob(BaseOperator):
    """Base of the operators that run a job at a service; a subclass says how to start, look at and stop one.

    poll_seconds: between two looks; a longer Retry-After of the service is obeyed. timeout_seconds: from the try's start, after
    which the job is stopped and the task fails without retries (a shorter execution_timeout counts instead).

    Raises, in `execute`: AirflowFailException, at once and for good, where the service refuses (400, 401, 403, 404: the
    sentence names the missing grant), the time is over, or the job's end is final; AirflowException, so that the task is
    retried, where the job failed or the service was down for PATIENCE looks. A retried or cleared task takes up a job that
    still runs.
    """

    service = ""
    #: The argument that holds the connection's id, and what its extra must have.
    connection_argument = ""
    connection_extra: tuple[str, ...] = ()
    #: What to grant or to correct where the service answers with that status; may name this operator's attributes in braces.
    grants: Mapping[int, str] = {}

    def __init__(self, *, poll_seconds: float, timeout_seconds: float, **kwargs: Any):
        super().__init__(**kwargs)
        self.poll_seconds = poll_seconds
        self.timeout_seconds = timeout_seconds

    @abc.abstractmethod
    def start(self, context: Any, memo: dict[str, Any]) -> dict[str, Any] | None:
        """Start the job. Returns what finds it again, as JSON, or None where it cannot start yet and must be asked again.

        memo is kept between the calls until a job is started, whatever they raise.
        """

    @abc.abstractmethod
    def look(self, job: dict[str, Any]) -> str | None:
        """Returns None while the job runs, a word or two when it has succeeded. Raises JobEnded where it ended otherwise."""

    @abc.abstractmethod
    def stop(self, job: dict[str, Any]) -> None:
        """Ask the service to cancel the job. Raises whatever it answered, or CannotStop."""

    def execute(self, context: Any) -> dict[str, Any]:
        found = context["task_state_store"].get(STATE) or {"memo": {}, "job": None}
        return self._step(context, found | {"since": time.time(), "failures": 0})

    def resume(self, context: Any, event: Any = None) -> dict[str, Any]:
        """Go on when the time of a deferral is over; event: that time."""
        return self._step(context, context["task_state_store"].get(STATE))

    def on_kill(self) -> None:
        """Nothing: a step takes a second or two, and a cleared task takes up the job that it had started."""

    def _step(self, context: Any, state: dict[str, Any]) -> dict[str, Any]:
        """Start the job or look at it, then wait deferred. Returns the job when it has succeeded."""
        store = context["task_state_store"]
        wait = self.poll_seconds
        try:
            self._check_connection()
            if state["job"] is None:
                state["job"] = self.start(context, state["memo"])
                if state["job"] is not None:
                    self.log.info("%s has started %s.", self.service, state["job"])
                    for key, value in state["job"].items():  # the operators' links and later tasks look there
                        context["ti"].xcom_push(key=key, value=value)
            elif done := self.look(state["job"]):
                self.log.info("%s has ended %s: %s.", self.service, state["job"], done)
                store.delete(STATE)
                return state["job"]
            state["failures"] = 0
        except JobEnded as ended:
            store.delete(STATE)
            raise (AirflowFailException if ended.final else AirflowException)(str(ended)) from None
        except Exception as error:
            wait = max(wait, self._wait_after(error))
            state["failures"] += 1
            if state["failures"] >= PATIENCE:
                store.set(STATE, state)
                raise AirflowException(f"{self.service} failed {PATIENCE} times in a row: {one_line(error)}.") from error
            self.log.warning("%s did not answer (%s); asked again in %g seconds.", self.service, one_line(error), wait)

        left = state["since"] + self._limit() - time.time()
        if left <= 0:
            store.delete(STATE)
            raise AirflowFailException(self._given_up(state["job"]))
        store.set(STATE, state)
        self.defer(trigger=TimeDeltaTrigger(timedelta(seconds=min(wait, left))), method_name="resume")

    def _check_connection(self) -> None:
        conn_id = getattr(self, self.connection_argument)
        extra = connection(conn_id).extra_dejson
        if missing := [name for name in self.connection_extra if not extra.get(name)]:
            raise SettingsError(f"The Airflow connection {conn_id} lacks {missing[0]} in its extra.")

    def _limit(self) -> float:
        own = self.execution_timeout.total_seconds() if self.execution_timeout else self.timeout_seconds
        return min(own, self.timeout_seconds)

    def _given_up(self, job: dict[str, Any] | None) -> str:
        sentence = f"{self.service} was not done after {self._limit():g} seconds"
        if job is None:
            return f"{sentence}: the job could not even be started; the log of this task says why."
        try:
            self.stop(job)
        except Exception as error:
            return f"{sentence}, and {job} could not be cancelled ({one_line(error)}): look whether it still runs."
        return f"{sentence}, and {job} was cancelled."

    def _wait_after(self, error: Exception) -> float:
        """Seconds that the service wants to be left alone. Raises what is no passing fault: a refusal, as its sentence."""
        if isinstance(error, SettingsError):
            raise AirflowFailException(str(error)) from None
        status, headers = answer(error)
        if isinstance(error, ClientAuthenticationError):
            status = 401  # Entra ID says 400 for a wrong tenant or client id
        if status is None and not any(isinstance(each, NO_ANSWER) for each in causes(error)):
            raise error
        if status is not None and 400 <= status < 500 and status not in (408, 425, 429):
            grant = self.grants.get(status, "the request was refused").format_map(vars(self))
            raise AirflowFailException(f"{self.service} answered {status}: {grant} ({one_line(error)}).") from error
        return retry_after(headers)


def answer(error: BaseException) -> tuple[int | None, Mapping[str, str]]:
    """The HTTP status and headers of the answer that an error of any client stands for; (None, {}) where there was none."""
    for each in causes(error):
        response = getattr(each, "response", None)
        # Every AirflowException has a status_code, of Airflow's own API.
        own = each if not isinstance(each, AirflowException) else None
        found = (
            getattr(each, "http_status_code", None),
            getattr(response, "status_code", None),
            getattr(own, "status_code", None),
        )
        if status := next((status for status in found if isinstance(status, int)), None):
            return status, getattr(response, "headers", None) or getattr(each, "headers", None) or {}
    # Some clients tell it in words only: Airbyte's for the token, Databricks' hook for its token.
    told = re.search(r"status code:? (\d{3})\b", str(error), re.IGNORECASE)
    return (int(told[1]) if told else None), {}


def retry_after(headers: Mapping[str, str]) -> float:
    """Seconds of a Retry-After header, in either form of RFC 9110 (https://www.rfc-editor.org/rfc/rfc9110#name-retry-after)."""
    value = next((value for name, value in headers.items() if name.lower() == "retry-after"), "")
    try:
        return max(0.0, float(value) if value.isdigit() else (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return 0.0


def one_line(error: BaseException) -> str:
    """An error's text for a sentence: on one line, not too long, without a full stop at its end."""
    text = " ".join(str(error).split()) or type(error).__name__
    return (text if len(text) <= 400 else f"{text[:400]}...").rstrip(".")


def job_options(
    key: str, given: Mapping[str, Any], needed: tuple[str, ...], timeout_minutes: float, **known: Any
) -> dict[str, Any]:
    """Check the options of a job and give them as arguments of its operator. Raises SettingsError, one sentence naming the key.

    key: where in the variable they are. needed: names without a default, each a text. timeout_minutes: the default of that
    option. known: the others, with their defaults, whose type is the type wanted. poll_seconds is known to all jobs.
    """
    known |= {"poll_seconds": 60.0, "timeout_minutes": timeout_minutes}
    if unknown := sorted(given.keys() - {*needed, *known}):
        raise SettingsError(f"{VARIABLE}.{key} has no key {unknown[0]!r}; it knows {', '.join((*needed, *known))}.")
    for name in needed:
        if name not in given:
            raise SettingsError(f"{VARIABLE}.{key} lacks {name}.")
    fits: dict[type, Callable[[Any], bool]] = {
        float: lambda value: isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0,
        bool: lambda value: isinstance(value, bool),
        dict: lambda value: isinstance(value, dict),
        str: lambda value: isinstance(value, (str, int)) and not isinstance(value, bool) and str(value).strip() != "",
    }
    words = {float: "a number above 0", bool: "true or false", dict: "an object", str: "a text"}
    for name, value in given.items():
        wanted = str if name in needed else type(known[name])
        if not fits[wanted](value):
            raise SettingsError(f"{VARIABLE}.{key}.{name} must be {words[wanted]}, not {value!r}.")
    options = known | {name: str(value) if name in needed else value for name, value in given.items()}
    if options["poll_seconds"] < LEAST_POLL_SECONDS:
        raise SettingsError(f"{VARIABLE}.{key}.poll_seconds must be {LEAST_POLL_SECONDS} at least.")
    options["timeout_seconds"] = options.pop("timeout_minutes") * 60
    return options
