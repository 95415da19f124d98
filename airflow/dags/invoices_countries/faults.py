"""Which faults pass by themselves: retried with a growing, jittered delay; all others fail at once and are told at once."""

import random
import re
from collections.abc import Iterator
from datetime import timedelta

from airflow.sdk import RetryPolicy
from airflow.sdk.definitions.retry_policy import RetryDecision

#: Longest wait between two tries, in seconds.
LONGEST = 900.0

# Texts of dbt, the Databricks connector, urllib3 and Delta for a lost connection, a restarting engine or cluster, a throttled
# service, or two writers in one table. Whatever else dbt reports (a failed test, a broken contract, wrong SQL) stays wrong.
_PASSING = re.compile(
    r"connection (refused|reset|aborted|timed out|was closed)|max retries exceeded|broken pipe|remote end closed"
    r"|read timed out|timed? ?out|temporarily[ _]unavailable|service unavailable|too many requests"
    r"|error during request to server"
    r"|name resolution|network is unreachable|nothing answers|cannot connect|could not connect|server closed the connection"
    r"|invalid[ _]session|session[ _](is )?(expired|closed|gone)|invalid sessionhandle|INVALID_HANDLE"
    r"|engine (ended|died|stopped|is (not ready|restarting))|endpoint did not|spark (driver|context).*(stopped|died)"
    r"|cluster.*(terminat|unexpected state|restarting|not running)|concurrent(append|deleteread|deletedelete|transaction|write)"
    r"|DELTA_CONCURRENT|ConcurrentModificationException|deadlock detected|another (load|run) is running"
    r"|\b(429|500|502|503|504)\b.{0,40}(error|unavailable|gateway|too many|response)",
    re.IGNORECASE,
)
# SQLSTATE classes: 08 connection, 40 transaction rollback, 53 resources, 57 operator intervention, 58 system.
_PASSING_STATE = re.compile(r"SQLSTATE:? ?(08|40|53|57|58)\w{3}")
_DBT_FAILED = re.compile(r"dbt invocation (completed with errors|did not complete)|dbt command failed")
_NODE_PASSES = re.compile(r"got \d+ results?, configured to fail", re.IGNORECASE)


def passes(error: BaseException) -> bool | None:
    """Whether the fault may be gone at the next try; None where its text does not tell.

    error: what the task raised. Its type is looked at first, then the text of it and of its causes.
    """
    from ingestion.settings import IngestionError, PassingError
    from invoices_countries.settings import SettingsError

    text = ""
    for each in causes(error):
        if isinstance(each, PassingError):
            return True
        if isinstance(each, (SettingsError, IngestionError)):
            return False
        if isinstance(each, (ConnectionError, TimeoutError)):
            return True
        text += f"{type(each).__name__}: {each}\n"
    if _NODE_PASSES.search(text):  # a data test has spoken, so the connection was there
        return False
    if _PASSING_STATE.search(text) or _PASSING.search(text):
        return True
    return False if _DBT_FAILED.search(text) or isinstance(error, (TypeError, KeyError, AttributeError, ImportError)) else None


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and those that it was raised from or wraps as its argument (as the Airbyte hook does)."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        wrapped = error.args[0] if error.args and isinstance(error.args[0], BaseException) else None
        error = wrapped or error.__cause__ or error.__context__


class PassingFaults(RetryPolicy):
    """Retries what passes by itself, and what nobody knows, up to the task's `retries`; fails at once what does not.

    seconds: the first delay. It doubles at each try up to LONGEST, and each is drawn between its half and itself, so that the
    tasks which one restart hit do not come back in the same second ("equal jitter",
    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def evaluate(self, exception, try_number, max_tries, context=None) -> RetryDecision:
        """Decide after try `try_number` (from 1); the scheduler still counts the tries."""
        found = passes(exception)
        if found is False:
            return RetryDecision.fail(reason="this fault does not pass by itself")
        delay = min(LONGEST, self.seconds * 2 ** (try_number - 1)) * random.uniform(0.5, 1)
        reason = "this fault passes by itself" if found else "nobody knows whether this fault passes"
        return RetryDecision.retry(delay=timedelta(seconds=delay), reason=reason)

    def serialize(self) -> dict:
        """What Airflow keeps of it."""
        return {"seconds": self.seconds}
