"""The task that lands bronze where another loader than this repository's dlt load does it: it runs that loader's job.

Each is the provider's hook and operator (fields, links, authentication) with the waiting of remote_jobs.py. Their services:
Data Factory https://learn.microsoft.com/rest/api/datafactory/pipelines/create-run, Airbyte https://reference.airbyte.com,
Fivetran https://fivetran.com/docs/rest-api/api-reference/connections, Databricks https://docs.databricks.com/api/workspace/jobs.
"""

import uuid
from datetime import UTC, datetime
from typing import Any

import requests
from airflow.providers.airbyte.hooks.airbyte import AirbyteHook
from airflow.providers.airbyte.operators.airbyte import AirbyteTriggerSyncOperator
from airflow.providers.databricks.hooks.databricks import RunState
from airflow.providers.databricks.operators.databricks import DatabricksRunNowOperator
from airflow.providers.databricks.utils.databricks import extract_failed_task_errors
from airflow.providers.microsoft.azure.operators.data_factory import AzureDataFactoryRunPipelineOperator

from invoices_countries.remote_jobs import CannotStop, JobEnded, RemoteJob, answer, job_options
from invoices_countries.settings import VARIABLE, WAREHOUSE, Settings, SettingsError, connection

DATA_FACTORY, AIRBYTE, FIVETRAN = "invoices_azure_data_factory", "invoices_airbyte", "invoices_fivetran"
HTTP_SECONDS = 60


class DataFactoryRun(RemoteJob, AzureDataFactoryRunPipelineOperator):
    """Runs a pipeline of Azure Data Factory that copies the source's tables to bronze."""

    service = "Azure Data Factory"
    connection_argument = "azure_data_factory_conn_id"
    connection_extra = ("subscriptionId",)
    grants = {
        400: "it does not accept the pipeline's parameters",
        401: "Entra ID does not accept the connection {azure_data_factory_conn_id}: check client id, secret and tenantId",
        403: "give the service principal the role Data Factory Contributor on the factory {factory_name}",
        404: "there is no pipeline {pipeline_name} in the factory {factory_name} of {resource_group_name}, or not in the"
        " subscription of the connection",
    }

    def start(self, context: Any, memo: dict[str, Any]) -> dict[str, Any] | None:
        run = self.hook.run_pipeline(
            self.pipeline_name, self.resource_group_name, self.factory_name, parameters=self.parameters
        )
        return {"run_id": run.run_id}

    def look(self, job: dict[str, Any]) -> str | None:
        run = self.hook.get_pipeline_run(job["run_id"], self.resource_group_name, self.factory_name)
        if run.status in ("Queued", "InProgress", "Canceling"):
            return None
        if run.status == "Succeeded":
            return run.status
        reason = run.message or "it gave no reason"
        raise JobEnded(f"The Data Factory run {job['run_id']} of {self.pipeline_name} ended as {run.status}: {reason}.")

    def stop(self, job: dict[str, Any]) -> None:
        self.hook.cancel_pipeline_run(job["run_id"], self.resource_group_name, self.factory_name)


class AirbyteSync(RemoteJob, AirbyteTriggerSyncOperator):
    """Runs a sync of an Airbyte connection. One that somebody else had started is waited for, and ours follows."""

    service = "Airbyte"
    connection_argument = "airbyte_conn_id"
    grants = {
        401: "it does not accept the connection {airbyte_conn_id}: check client id, client secret and token URL",
        403: "the application's user must be an editor of the workspace that holds the connection {connection_id}",
        404: "there is no Airbyte connection {connection_id}, or the server URL lacks its path (/v1/ or /api/public/v1/)",
    }

    def _airbyte(self) -> AirbyteHook:
        return AirbyteHook(airbyte_conn_id=self.airbyte_conn_id, api_version=self.api_version, timeout=HTTP_SECONDS)

    def start(self, context: Any, memo: dict[str, Any]) -> dict[str, Any] | None:
        try:
            return {"job_id": self._airbyte().submit_sync_connection(self.connection_id).job_id}
        except Exception as error:
            if answer(error)[0] == 409:
                self.log.info("A sync of the connection %s runs already; ours starts when it has ended.", self.connection_id)
                return None
            raise

    def look(self, job: dict[str, Any]) -> str | None:
        status = self._airbyte().get_job_status(job["job_id"]).value
        if status in ("pending", "queued", "running", "incomplete"):  # incomplete: an attempt failed, the next one follows
            return None
        if status == "succeeded":
            return status
        raise JobEnded(f"The Airbyte job {job['job_id']} of the connection {self.connection_id} ended as {status}.")

    def stop(self, job: dict[str, Any]) -> None:
        self._airbyte().cancel_job(job["job_id"])


class FivetranSync(RemoteJob):
    """Syncs a Fivetran connection, which it takes off Fivetran's own schedule.

    airflow-provider-fivetran-async 2.4.0 calls /v1/connectors/ID/force, which is in the API's reference no more and once
    answered 404 to everyone (https://github.com/astronomer/airflow-provider-fivetran-async/issues/217); a first sync fails in
    it. So this uses the documented /v1/connections and needs of the connection only its login (API key) and password (secret).
    """

    service = "Fivetran"
    connection_argument = "fivetran_conn_id"
    grants = {
        401: "it does not accept the connection {fivetran_conn_id}: check API key and secret",
        403: "the API key's user or role must be allowed to manage the Fivetran connection {connector_id}",
        404: "there is no Fivetran connection {connector_id} in the account of the API key",
    }
    template_fields = ("connector_id",)

    def __init__(self, *, connector_id: str, fivetran_conn_id: str, **kwargs: Any):
        super().__init__(**kwargs)
        self.connector_id = connector_id
        self.fivetran_conn_id = fivetran_conn_id

    def start(self, context: Any, memo: dict[str, Any]) -> dict[str, Any] | None:
        before = self._call("GET")["data"]
        if (setup := before["status"]["setup_state"]) != "connected":
            raise JobEnded(f"The Fivetran connection {self.connector_id} is {setup}: repair it in Fivetran's dashboard.", True)
        if before["paused"]:
            raise JobEnded(f"The Fivetran connection {self.connector_id} is paused: whoever paused it must resume it.", True)
        if before["schedule_type"] != "manual":
            self._call("PATCH", json={"schedule_type": "manual"})
        # Without force: a sync that runs is not broken off; its end counts as ours.
        self._call("POST", "/sync", json={"force": False})
        return {"succeeded_at": before["succeeded_at"], "failed_at": before["failed_at"]}

    def look(self, job: dict[str, Any]) -> str | None:
        now = self._call("GET")["data"]
        state = now["status"]["sync_state"]
        if now["succeeded_at"] != job["succeeded_at"]:
            return f"succeeded at {now['succeeded_at']}"
        if now["failed_at"] != job["failed_at"] and state != "rescheduled":
            tasks = "; ".join(each.get("message") or each.get("code", "") for each in now["status"].get("tasks", []))
            raise JobEnded(f"The sync of the Fivetran connection {self.connector_id} failed: {tasks or 'see its log there'}.")
        if state == "paused":
            raise JobEnded(f"The Fivetran connection {self.connector_id} was paused during its sync.", final=True)
        # Off Fivetran's schedule, a sync that was put off is not taken up by itself.
        until = now["status"].get("rescheduled_for")
        if state == "rescheduled" and (not until or datetime.fromisoformat(until) <= datetime.now(UTC)):
            self._call("POST", "/sync", json={"force": False})
        return None

    def stop(self, job: dict[str, Any]) -> None:
        raise CannotStop("Fivetran's API cancels no sync; the next run of this task waits for its end")

    def _call(self, method: str, path: str = "", json: dict[str, Any] | None = None) -> dict[str, Any]:
        """One request about the connection. Raises requests.RequestException, for a status of 400 and more too."""
        found = connection(self.fivetran_conn_id)
        response = requests.request(
            method, f"https://api.fivetran.com/v1/connections/{self.connector_id}{path}", json=json, timeout=HTTP_SECONDS,
            auth=(found.login or "", found.password or ""), headers={"Accept": "application/json;version=2"},
        )  # fmt: skip
        response.raise_for_status()
        return response.json()


class DatabricksJob(RemoteJob, DatabricksRunNowOperator):
    """Runs a Databricks job: for Kafka the streaming load with the trigger availableNow, which ends when all is read."""

    service = "Databricks"
    connection_argument = "databricks_conn_id"
    grants = {
        400: "it does not run this job like that",
        401: "it does not accept the connection {databricks_conn_id}: check its login and password",
        403: "the service principal needs the permission Can Manage Run on the job {job_id}",
        404: "there is no job {job_id} in the workspace",
    }

    def __init__(self, **kwargs: Any):
        # What a DAG's run is given is no parameter of the job; the hook need not wait, in the worker, for a next try.
        super().__init__(forward_dag_params=False, databricks_retry_limit=1, **kwargs)

    def start(self, context: Any, memo: dict[str, Any]) -> dict[str, Any] | None:
        # With the same token Databricks starts no second run where the first request's answer was lost.
        token = memo.setdefault("idempotency_token", uuid.uuid4().hex)
        run_id = self._hook.run_now(self._build_run_now_payload(context) | {"idempotency_token": token})
        return {"run_id": run_id, "run_page_url": self._hook.get_run_page_url(run_id)}

    def look(self, job: dict[str, Any]) -> str | None:
        run = self._hook.get_run(job["run_id"])
        fields = ("life_cycle_state", "result_state", "state_message")
        state = RunState(**{name: run["state"][name] for name in fields if name in run["state"]})
        if not state.is_terminal:
            return None
        if state.is_successful:
            return state.result_state
        reasons = [f"{each['task_key']}: {each['error']}" for each in extract_failed_task_errors(self._hook, run, state)]
        ended = state.result_state or state.life_cycle_state
        reason = "; ".join(reasons) or state.state_message or "it gave no reason"
        raise JobEnded(f"The Databricks run {job['run_id']} of job {self.job_id} ended as {ended}: {reason}.")

    def stop(self, job: dict[str, Any]) -> None:
        self._hook.cancel_run(job["run_id"])


#: By loader: the operator, its connection's id, the options needed, the other options.
_OPERATORS: dict[str, tuple[type[RemoteJob], str, tuple[str, ...], dict[str, Any]]] = {
    "azure_data_factory": (
        DataFactoryRun, DATA_FACTORY, ("resource_group_name", "factory_name", "pipeline_name"), {"parameters": {}},
    ),
    "airbyte": (AirbyteSync, AIRBYTE, ("connection_id",), {}),
    "fivetran": (FivetranSync, FIVETRAN, ("connector_id",), {}),
    "kafka": (DatabricksJob, WAREHOUSE, ("job_id",), {"job_parameters": {}}),
}  # fmt: skip


def load_bronze(settings: Settings, loader: str | None = None, **kwargs: Any) -> RemoteJob:
    """The task that runs the job of a loader, any but those of this repository, with its settings.loader_options.

    loader: which; by default the one of the settings. Options: what `_OPERATORS` names, and of each poll_seconds and
    timeout_minutes (how long the job may take). kwargs go to the operator, such as outlets, and win. Raises SettingsError, one
    sentence, naming the key.
    """
    loader = loader or settings.loaders[0]
    if loader not in _OPERATORS:
        raise SettingsError(f"{VARIABLE}.loader {loader!r} runs no job at a service.")
    if loader == "kafka" and settings.target == "local":
        raise SettingsError(f"{VARIABLE}.loader kafka runs a Databricks job, so {VARIABLE}.target must be databricks.")
    operator, conn_id, needed, known = _OPERATORS[loader]
    options = job_options(*settings.options_of(loader), needed, 180.0, **known)
    options |= {name: options[name] or None for name in known}  # none given is not an empty object in the request
    return operator(**{"task_id": "load_bronze", operator.connection_argument: conn_id} | options | kwargs)


def goes_on_by_itself(settings: Settings, loader: str) -> bool:
    """Whether nobody has to start the loader: Kafka's stream, where the option `continuous` is true and no other is there.

    Raises SettingsError, one sentence naming the key.
    """
    where, options = settings.options_of(loader)
    if loader != "kafka" or "continuous" not in options:
        return False
    if options != {"continuous": True}:
        raise SettingsError(
            f"{VARIABLE}.{where}.continuous must be true, and the only option: a continuous job is not started."
        )
    return True
