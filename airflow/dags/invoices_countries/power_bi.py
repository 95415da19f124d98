"""The refresh of the Power BI semantic model, by the REST API's enhanced refresh.

Authentication and HTTP are the provider's PowerBIHook; what to do with an answer is decided here, because
PowerBIDatasetRefreshOperator (apache-airflow-providers-microsoft-azure 15.2.1) hides the service's message, waits a week for a
cancelled refresh, cancels a healthy one after three bad polls, and refreshes twice when it is retried.

Enhanced refresh: https://learn.microsoft.com/power-bi/connect-data/asynchronous-refresh
The call: https://learn.microsoft.com/rest/api/power-bi/datasets/refresh-dataset-in-group
"""

import asyncio
import json
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
from airflow.providers.microsoft.azure.operators.powerbi import PowerBIDatasetRefreshOperator
from kiota_abstractions.response_handler import ResponseHandler
from kiota_http.middleware.options import ResponseHandlerOption, RetryHandlerOption

from invoices_countries.remote_jobs import JobEnded, RemoteJob, job_options
from invoices_countries.settings import POWER_BI, Settings

HTTP_SECONDS = 60
#: The history's words for a refresh that has not ended; `Unknown` is the documented one.
RUNNING = ("Unknown", "NotStarted", "InProgress")


class RefusedRefresh(Exception):
    """Power BI answered with an error; the text is its own code and message."""

    def __init__(self, response: httpx.Response):
        self.response = response
        try:
            error = response.json()["error"]
            text = ": ".join(str(error[key]) for key in ("code", "message") if error.get(key))
        except (ValueError, KeyError, TypeError):
            text = response.text
        super().__init__(text or response.reason_phrase)


class _AsItIs(ResponseHandler):
    """Hands the HTTP answer over; the hook's own handler keeps neither status nor headers."""

    async def handle_response_async(self, response: httpx.Response, error_map: Any) -> httpx.Response:
        return response


class PowerBIRefresh(RemoteJob, PowerBIDatasetRefreshOperator):
    """Refreshes a semantic model so that it shows what the gold tables held when this task began.

    A refresh that somebody else had started by then may have read older tables: it is waited for, and ours follows. One that
    began later has read what ours would read, so it is waited for and no other is started; that holds for the refresh of an
    earlier try too, also where the answer to its request was lost.

    shared_capacity: the workspace has no Premium, Fabric or Embedded capacity: then a refresh takes no options.
    apply_refresh_policy: whether the model's incremental refresh policy decides which partitions are refreshed.
    """

    service = "Power BI"
    connection_argument = "conn_id"
    connection_extra = ("tenant_id",)
    grants = {
        400: "it cannot refresh this model like that; without a capacity set power_bi.shared_capacity",
        401: "it does not accept the connection {conn_id}: check client id, client secret and tenant_id",
        403: "the service principal must be a contributor of the workspace {group_id}, and the tenant setting"
        " 'Service principals can call Fabric public APIs' must include it",
        404: "there is no model {dataset_id} in the workspace {group_id}, or the service principal is not a member there",
    }

    def __init__(self, *, shared_capacity: bool = False, apply_refresh_policy: bool = True, **kwargs: Any):
        # The parent's `timeout` is that of one HTTP request.
        super().__init__(deferrable=True, timeout=HTTP_SECONDS, **kwargs)
        self.shared_capacity = shared_capacity
        self.apply_refresh_policy = apply_refresh_policy

    def body(self) -> dict[str, Any] | None:
        """The request's body. Never notifyOption: an enhanced refresh must not have it, a service principal cannot use it."""
        if self.shared_capacity:
            return None  # of all options, a shared capacity takes only notifyOption
        return {"type": "Full", "commitMode": "Transactional", "applyRefreshPolicy": self.apply_refresh_policy}

    def start(self, context: Any, memo: dict[str, Any]) -> dict[str, Any] | None:
        response = self._send("GET", query={"$top": 1})
        # Power BI's own clock, so that no difference between it and ours decides which refresh is old.
        memo.setdefault("ready_at", parsedate_to_datetime(response.headers["date"]).isoformat())
        newest = next(iter(response.json()["value"]), None)
        if newest and _instant(newest["startTime"]) >= _instant(memo["ready_at"]):
            self.log.info("A refresh began after this task: it is waited for, and no other started.")
            return {"refresh_id": newest["requestId"]}
        if newest and newest["status"] in RUNNING:
            self.log.info("Refresh %s began before this task; ours starts when it has ended.", newest["requestId"])
            return None
        try:
            accepted = self._send("POST", body=self.body())
        except RefusedRefresh as refused:
            if refused.response.status_code == 400 and "already executing" in str(refused):
                self.log.info("Another refresh began in the meantime (%s).", refused)
                return None
            raise
        # An enhanced refresh is known by Location, one of a shared capacity by the id of its request. Were neither there, the
        # next look would find what has begun.
        refresh_id = accepted.headers.get("location", "").rstrip("/").rpartition("/")[2] or accepted.headers.get("requestid")
        return {"refresh_id": refresh_id} if refresh_id else None

    def look(self, job: dict[str, Any]) -> str | None:
        history = self._send("GET", query={"$top": 20}).json()["value"]
        refresh = next((each for each in history if each["requestId"] == job["refresh_id"]), None)
        if refresh is None or refresh["status"] in RUNNING:  # a new refresh may take a moment to be listed
            return None
        status, named = refresh["status"], f"The Power BI refresh {job['refresh_id']}"
        if status == "Completed":
            return status
        if status == "Failed":
            raise JobEnded(f"{named} failed: {_reason(refresh.get('serviceExceptionJson'))}.")
        if status == "Disabled":
            raise JobEnded(f"{named} is disabled: switch refreshes of the model on again in its settings.", final=True)
        raise JobEnded(f"{named} ended as {status}; clear this task to refresh again.", final=True)

    def stop(self, job: dict[str, Any]) -> None:
        self._send("DELETE", f"/{job['refresh_id']}")

    def _send(self, method: str, path: str = "", body: Any = None, query: dict[str, Any] | None = None) -> httpx.Response:
        """One request below the model's refreshes. Raises RefusedRefresh for a status of 400 and more."""

        async def send() -> httpx.Response:
            request = self.hook.request_information(
                url="myorg/groups/{group_id}/datasets/{dataset_id}/refreshes" + path,
                path_parameters={"group_id": self.group_id, "dataset_id": self.dataset_id},
                method=method, query_parameters=query, data=body,
            )  # fmt: skip
            request.request_options[ResponseHandlerOption.get_key()] = ResponseHandlerOption(response_handler=_AsItIs())
            # The client would wait for minutes in the worker, and repeat a POST whose refresh may have begun.
            request.request_options[RetryHandlerOption.get_key()] = RetryHandlerOption(max_retries=0)
            try:
                adapter = await self.hook.get_async_conn()
                return await adapter.send_no_response_content_async(request, {})
            finally:
                await self.hook.close()  # the hook would keep the client for a next call, in an event loop that is gone

        response = asyncio.run(send())
        if response.status_code >= 400:
            raise RefusedRefresh(response)
        return response


def _instant(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _reason(service_exception: str | None) -> str:
    """What serviceExceptionJson says, a JSON text with errorCode and errorDescription."""
    try:
        found = json.loads(service_exception or "")
        return ": ".join(found[key] for key in ("errorCode", "errorDescription") if found.get(key)).rstrip(".") or str(found)
    except (ValueError, TypeError, AttributeError):
        return service_exception or "Power BI gave no reason"


def refresh_power_bi(settings: Settings, **kwargs: Any) -> PowerBIRefresh:
    """The task that refreshes the model named in settings.power_bi, where it is set.

    Keys: group_id and dataset_id, both needed; shared_capacity and apply_refresh_policy (PowerBIRefresh); poll_seconds;
    timeout_minutes. kwargs go to the operator, and win. Raises SettingsError, one sentence, naming the key.
    """
    options = job_options(
        "power_bi", settings.power_bi, ("group_id", "dataset_id"), 120.0, shared_capacity=False, apply_refresh_policy=True
    )
    return PowerBIRefresh(**{"task_id": "refresh_power_bi", "conn_id": POWER_BI} | options | kwargs)
