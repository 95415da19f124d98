"""Whether the data is fresh, for monitors: GET /invoices-health/ on Airflow's API server, and /invoices-health/metrics.

200 says fresh; 503 says failing (the newest ended run of a DAG failed), stale (bronze or gold is older than allowed, or was
never made) or misconfigured. There is no login, as for Airflow's own /api/v2/monitor/health: monitors have no session. It
tells ids and states of the DAGs that make or use the two assets, and times; no data, no error text, nothing of other DAGs.

Every Airflow process imports this file, so it imports nothing but the base class until the first request. The API server
need not have the DAGs' code, which is why the names below are repeated from dags/invoices_countries/settings.py (a test
compares them).
"""

import functools
import json
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.plugins_manager import AirflowPlugin

PREFIX = "/invoices-health"
VARIABLE = "invoices_countries"
#: As Airflow keeps them, with the slash that it puts behind a bare host.
ASSETS = {"bronze": "invoices-countries://bronze/", "gold": "invoices-countries://gold/"}
#: A day, and two hours for the run itself: the default schedule is daily.
MAX_AGE_MINUTES = 26 * 60


class HealthSettingsError(Exception):
    """The allowed age cannot be used; one sentence that names the key."""


def allowed_age(text: str | None) -> float:
    """Minutes that bronze and gold may be old: `health.max_age_minutes` of the variable's JSON text, or MAX_AGE_MINUTES.

    Raises HealthSettingsError.
    """
    try:
        minutes = json.loads(text or "{}").get("health", {}).get("max_age_minutes", MAX_AGE_MINUTES)
    except (ValueError, AttributeError):
        raise HealthSettingsError(f"The Airflow variable {VARIABLE} or its key health is no JSON object.") from None
    if isinstance(minutes, bool) or not isinstance(minutes, int | float) or not minutes > 0:
        raise HealthSettingsError(f"{VARIABLE}.health.max_age_minutes must be a number above 0, not {json.dumps(minutes)}.")
    return float(minutes)


def health(session: Any, max_age_minutes: float, now: datetime) -> dict[str, Any]:
    """The state of the pipeline, from Airflow's database by an SQLAlchemy session: `status`, `problems`, `dags`, `assets`.

    Times are ISO 8601 in UTC, ages in minutes; what has never been is null. `now` must know its zone.
    """
    from airflow.models.asset import AssetEvent, AssetModel, DagScheduleAssetReference, TaskOutletAssetReference
    from airflow.models.dag import DagModel
    from airflow.models.dagrun import DagRun
    from sqlalchemy import func, select

    def age(moment: datetime | None) -> float | None:
        return None if moment is None else round((now - moment).total_seconds() / 60, 1)

    def text(moment: datetime | None) -> str | None:
        return None if moment is None else moment.astimezone(UTC).isoformat(timespec="seconds")

    ids = {name: session.scalar(select(AssetModel.id).where(AssetModel.uri == uri)) for name, uri in ASSETS.items()}
    users = [
        select(reference.dag_id).where(reference.asset_id.in_([each for each in ids.values() if each is not None]))
        for reference in (DagScheduleAssetReference, TaskOutletAssetReference)
    ]
    dags = session.scalars(
        select(DagModel).where(~DagModel.is_stale, DagModel.dag_id.in_(users[0].union(users[1]))).order_by(DagModel.dag_id)
    )
    told: dict[str, Any] = {"status": "fresh", "problems": [], "max_age_minutes": max_age_minutes, "dags": {}, "assets": {}}
    failing, stale = [], []
    for dag in list(dags):
        ended = select(DagRun).where(
            DagRun.dag_id == dag.dag_id, DagRun.state.in_(("success", "failed")), DagRun.end_date.is_not(None)
        )
        last = session.scalar(ended.order_by(DagRun.end_date.desc()).limit(1))
        success = session.scalar(
            select(func.max(DagRun.end_date)).where(DagRun.dag_id == dag.dag_id, DagRun.state == "success")
        )
        told["dags"][dag.dag_id] = {
            "last_state": last and str(last.state),
            "last_success": text(success),
            "last_success_age_minutes": age(success),
            "paused": bool(dag.is_paused),
        }
        if last and last.state == "failed":
            failing.append(f"The newest ended run of {dag.dag_id} failed.")
    for name, asset_id in ids.items():
        newest = session.scalar(select(func.max(AssetEvent.timestamp)).where(AssetEvent.asset_id == asset_id))
        told["assets"][name] = {"last_event": text(newest), "age_minutes": age(newest)}
        if newest is None:
            stale.append(f"{name} has never been made.")
        elif now - newest > timedelta(minutes=max_age_minutes):
            stale.append(f"{name} is {age(newest):g} minutes old; {max_age_minutes:g} are allowed.")
    told["status"] = "failing" if failing else "stale" if stale else "fresh"
    told["problems"] = failing + stale
    return told


def metrics(told: dict[str, Any]) -> str:
    """What `health` gives, in Prometheus' text format (https://prometheus.io/docs/instrumenting/exposition_formats/).

    What has never been has no sample, so that its absence can be alerted on.
    """
    samples: dict[str, list[tuple[str, str, float | None]]] = {
        "invoices_fresh": [("", "", float(told["status"] == "fresh"))],
        "invoices_max_age_seconds": [("", "", told["max_age_minutes"] * 60)],
        "invoices_asset_age_seconds": [("asset", name, _seconds(each["age_minutes"])) for name, each in told["assets"].items()],
        "invoices_dag_last_success_age_seconds": [
            ("dag_id", name, _seconds(each["last_success_age_minutes"])) for name, each in told["dags"].items()
        ],
        "invoices_dag_failing": [
            ("dag_id", name, float(each["last_state"] == "failed")) for name, each in told["dags"].items()
        ],
    }
    lines = []
    for metric, found in samples.items():
        lines.append(f"# TYPE {metric} gauge")
        for label, name, value in found:
            if value is not None:
                lines.append(f"{metric}{{{label}={json.dumps(name)}}} {value:g}" if label else f"{metric} {value:g}")
    return "\n".join(lines) + "\n"


def _seconds(minutes: float | None) -> float | None:
    return None if minutes is None else minutes * 60


@functools.cache
def _application() -> Any:
    from airflow.models.variable import Variable
    from airflow.utils.session import create_session
    from fastapi import FastAPI, Query
    from fastapi.responses import JSONResponse, PlainTextResponse

    application = FastAPI(title="Invoices & Countries: health", docs_url=None, redoc_url=None, openapi_url=None)
    minutes = Query(None, gt=0, description="Minutes that bronze and gold may be old, instead of the configured ones")

    def found(max_age_minutes: float | None) -> dict[str, Any]:
        allowed = max_age_minutes or allowed_age(Variable.get(VARIABLE, default_var=None))
        with create_session(scoped=False) as session:
            return health(session, allowed, datetime.now(UTC))

    @application.api_route("/", methods=["GET", "HEAD"])
    def poll(max_age_minutes: float | None = minutes) -> JSONResponse:
        try:
            told = found(max_age_minutes)
        except HealthSettingsError as error:
            told = {"status": "misconfigured", "problems": [str(error)]}
        return JSONResponse(told, 200 if told["status"] == "fresh" else 503, {"Cache-Control": "no-store"})

    @application.get("/metrics")
    def scrape() -> PlainTextResponse:
        try:
            return PlainTextResponse(metrics(found(None)), media_type="text/plain; version=0.0.4")
        except HealthSettingsError as error:
            return PlainTextResponse(f"# {error}\n", 503)

    return application


async def _on_request(scope: Any, receive: Any, send: Any) -> None:
    """The application, made at the first request."""
    await _application()(scope, receive, send)


class _WithoutSlash:
    """Lets /invoices-health be what /invoices-health/ is: Airflow's UI answers 200 to any path that nobody else has."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"] == scope.get("root_path", "") + PREFIX:
            scope = {**scope, "path": scope["path"] + "/", "raw_path": scope["path"].encode() + b"/"}
        await self.app(scope, receive, send)


class InvoicesHealth(AirflowPlugin):
    """Mounts the health check on the API server."""

    name = "invoices_health"
    fastapi_apps = [{"app": _on_request, "url_prefix": PREFIX, "name": "Invoices & Countries: health"}]
    fastapi_root_middlewares = [{"middleware": _WithoutSlash, "args": [], "kwargs": {}, "name": "Health without a slash"}]
