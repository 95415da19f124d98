"""What every DAG of the platform has: owner, retries, time-outs, notices, one run at a time."""

from datetime import UTC, datetime, timedelta
from typing import Any

from invoices_countries import notices
from invoices_countries.faults import PassingFaults
from invoices_countries.settings import Settings

OWNER = "Data platform"


def dag_arguments(settings: Settings, about: str, deadline: bool = False) -> dict[str, Any]:
    """The arguments of a DAG besides its id, schedule, tags and parameters.

    about: the text that the UI shows; deadline: whether a run that has not ended after settings.deadline_minutes is told.
    """
    return {
        "start_date": datetime(2026, 1, 1, tzinfo=UTC),
        "catchup": False,  # each run loads and builds all that is new: an earlier one that did not happen is not missed
        "max_active_runs": 1,
        "dagrun_timeout": timedelta(hours=6),
        "doc_md": about,
        "deadline": notices.deadline_alert(settings.deadline_minutes) if deadline else None,
        "default_args": {
            "owner": OWNER,
            "retries": settings.retries,
            "retry_policy": PassingFaults(settings.retry_seconds),
            # for what the policy never sees, such as a worker that was killed
            "retry_delay": timedelta(seconds=settings.retry_seconds),
            "retry_exponential_backoff": 2.0,
            "max_retry_delay": timedelta(minutes=15),
            "execution_timeout": timedelta(hours=2),
            **notices.task_callbacks(),
        },
        **notices.dag_callbacks(),
    }
