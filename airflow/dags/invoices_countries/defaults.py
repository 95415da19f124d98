"""What every DAG of the platform has: owner, retries, time-outs, notices, one run at a time."""

from datetime import timedelta
from typing import Any

from airflow.sdk import CronTriggerTimetable

from invoices_countries import notices
from invoices_countries.faults import PassingFaults
from invoices_countries.settings import Settings

OWNER = "Data platform"


def dag_arguments(settings: Settings, about: str, deadline: bool = False) -> dict[str, Any]:
    """The arguments of a DAG besides its id, schedule, tags and parameters.

    about: the text that the UI shows; deadline: whether a run that has not ended after settings.deadline_minutes is told.
    Raises SettingsError for notices that could not be sent.
    """
    notices.routes(settings)  # a wrong one is told when the DAG is read, not when somebody should be told of a failure
    return {
        # No start date, with which a schedule's last moment before the first deployment would be run at once; and each run
        # loads and builds all that is new, so that one which did not happen is not missed.
        "catchup": False,
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


def cron(expression: str, timezone: str) -> CronTriggerTimetable:
    """A schedule whose first run is its next moment; Airflow 3.3.2 reads `run_immediately=False` as a tenth of its interval."""
    return CronTriggerTimetable(expression, timezone=timezone, run_immediately=timedelta(0))
