"""What the DAGs are told from outside: one Airflow variable, and connections; airflow/README.md lists them for users.

The variable `invoices_countries` is a JSON object (`Settings` documents its keys), read once for each parsed DAG file because
it also shapes the DAGs. Connections are read while a task runs, and given to dbt and to the ingestion as the environment
variables that they know; nothing secret is in code or in rendered templates.
"""

import contextlib
import json
import sys
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from airflow.sdk import Asset, Connection, Variable

REPOSITORY = Path(__file__).resolve().parents[3]
# Tasks import `ingestion` and `local_databricks`, which are folders of this repository and no installed packages.
if str(REPOSITORY) not in sys.path:
    sys.path.insert(0, str(REPOSITORY))

from ingestion.settings import in_environment as in_environment  # noqa: E402

VARIABLE = "invoices_countries"
#: The XCom in which a dbt task leaves what became of its nodes, for notices (dbt.push_results).
DBT_RESULTS = "dbt_results"
BRONZE = Asset(name="bronze", uri="invoices-countries://bronze", group="invoices_countries")
GOLD = Asset(name="gold", uri="invoices-countries://gold", group="invoices_countries")

#: Connection ids; each is needed only where what it is for is used.
SOURCE, FILES, WAREHOUSE, POWER_BI = "invoices_source", "invoices_files", "invoices_databricks", "invoices_power_bi"
#: The tables of bronze that silver reads, as dbt's sources name them.
TABLES = ("invoices", "countries")
#: The loaders, by the names that dbt's variable `loaders` has for them.
LOADERS = ("dlt", "files", "kafka", "airbyte", "fivetran", "azure_data_factory")


class SettingsError(Exception):
    """The variable or a connection cannot be used; one sentence that names which and why. Retrying does not help."""


@dataclass(frozen=True)
class Settings:
    """The keys of the variable `invoices_countries`, all optional.

    target: `local` or `databricks`. loader: what lands bronze, a name or several, or by table, as dbt's variable `loaders` has
    it. ingest_schedule: cron, or null for by hand only; timezone: of that cron. source: settings of the dlt load
    (ingestion/load.py) by their names without SOURCES__SQL_DATABASE__. loader_options: what the task of another loader than dlt
    needs (loaders.py); by loader where there are several. power_bi: group_id and dataset_id to refresh. docs, reports: the
    folders of the dbt docs site and of Elementary's report as URLs (file://, abfss://, …); by default the state folder's `docs`
    and `reports`. evidence_site: the folder of the Evidence site, likewise; without one the site is not built, because that
    needs Node.js where tasks run. report_url: where readers open Elementary's report, for links in alerts. data_alerts: whom
    Elementary tells (elementary.py). notices: whom to tell what (notices.py). health: max_age_minutes, how old bronze and gold
    may be for the health check (airflow/plugins/invoices_health.py). deadline_minutes: after which a run of `transform` that
    has not ended is told. retries: of each task, with a delay that doubles from retry_seconds.
    """

    target: str = "local"
    loader: str | list[str] | dict[str, str | list[str]] = "dlt"
    ingest_schedule: str | None = "0 5 * * *"
    timezone: str = "UTC"
    source: dict[str, Any] = field(default_factory=dict)
    loader_options: dict[str, Any] = field(default_factory=dict)
    power_bi: dict[str, Any] = field(default_factory=dict)
    docs: str = ""
    reports: str = ""
    evidence_site: str = ""
    report_url: str = ""
    data_alerts: list[dict[str, Any]] = field(default_factory=list)
    notices: list[dict[str, Any]] = field(default_factory=list)
    health: dict[str, Any] = field(default_factory=dict)
    deadline_minutes: int = 120
    retries: int = 3
    retry_seconds: float = 60.0

    @classmethod
    def read(cls) -> "Settings":
        """Read the variable. Raises SettingsError, one sentence, for what cannot be."""
        text = Variable.get(VARIABLE, default=None)
        try:
            values = json.loads(text) if text else {}
        except ValueError as error:
            raise SettingsError(f"The Airflow variable {VARIABLE} is no JSON: {error}.") from None
        if not isinstance(values, dict):
            raise SettingsError(f"The Airflow variable {VARIABLE} must be a JSON object, not {text!r}.")
        known = {each.name: each for each in fields(cls)}
        if unknown := sorted(values.keys() - known.keys()):
            raise SettingsError(f"The Airflow variable {VARIABLE} has no key {unknown[0]!r}; it knows {', '.join(known)}.")
        return cls(**values)._checked()

    def _checked(self) -> "Settings":
        default = Settings()
        for each in fields(self):
            value, usual = getattr(self, each.name), getattr(default, each.name)
            fits = isinstance(value, (int, float) if isinstance(usual, float) else type(usual)) and not isinstance(value, bool)
            if not fits and each.name != "loader" and not (each.name == "ingest_schedule" and value is None):
                raise SettingsError(f"{VARIABLE}.{each.name} must be like {json.dumps(usual)}, not {json.dumps(value)}.")
        if self.target not in (targets := ("local", "databricks")):
            raise SettingsError(f"{VARIABLE}.target must be one of {', '.join(targets)}, not {self.target!r}.")
        if isinstance(self.loader, dict) and self.loader.keys() != set(TABLES):
            raise SettingsError(f"{VARIABLE}.loader must name loaders of invoices and of countries, not {self.loader!r}.")
        if wrong := [name for name in self.loaders if name not in LOADERS]:
            raise SettingsError(f"{VARIABLE}.loader must be one of {', '.join(LOADERS)}, or several, not {wrong[0]!r}.")
        if not self.loaders:
            raise SettingsError(f"{VARIABLE}.loader names none.")
        return self

    @property
    def loaders(self) -> list[str]:
        """The loaders that are named, each once."""
        tables = self.loader if isinstance(self.loader, dict) else TABLES
        return list(dict.fromkeys(str(name) for table in tables for name in self.loaders_of(table)))

    def loaders_of(self, table: str) -> list[str]:
        """The loaders of one table of bronze."""
        named = self.loader[table] if isinstance(self.loader, dict) else self.loader
        return named if isinstance(named, list) else [named]

    def options_of(self, loader: str) -> tuple[str, dict[str, Any]]:
        """Where in the variable a loader's options are, and what they are. Raises SettingsError where they are no object."""
        if len(self.loaders) == 1:
            return "loader_options", self.loader_options
        where = f"loader_options.{loader}"
        found = self.loader_options.get(loader, {})
        if not isinstance(found, dict):
            raise SettingsError(f"{VARIABLE}.{where} must be an object, not {found!r}.")
        return where, found


def connection(conn_id: str) -> Connection:
    """The Airflow connection of that id. Raises SettingsError, one sentence, where there is none."""
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        return Connection.get(conn_id)
    except AirflowNotFoundException:
        raise SettingsError(
            f"The Airflow connection {conn_id} is not defined; airflow/README.md tells what it holds."
        ) from None


def warehouse_environment(target: str) -> dict[str, str]:
    """The variables by which dbt's profile and the ingestion know the warehouse, from the connection `invoices_databricks`.

    Raises SettingsError naming what the connection lacks.
    """
    found = connection(WAREHOUSE)
    extra = found.extra_dejson

    def needed(name: str, value: Any) -> str:
        if not value:
            raise SettingsError(f"The Airflow connection {WAREHOUSE} lacks {name}.")
        return str(value)

    host = needed("a host", found.host)
    host = urlsplit(host).hostname if "//" in host else host
    environment = {"DBT_TARGET": target}
    if target == "local":
        return environment | {
            "LOCAL_DATABRICKS_HOST": f"{host}:{needed('a port', found.port)}",
            "LOCAL_DATABRICKS_HTTP_PATH": needed("http_path in its extra", extra.get("http_path")),
            "LOCAL_DATABRICKS_TOKEN": needed("a password", found.password),
            "LOCAL_DATABRICKS_CA_FILE": needed("ca_file in its extra", extra.get("ca_file")),
            "REQUESTS_CA_BUNDLE": needed("ca_bundle in its extra", extra.get("ca_bundle")),
        }
    environment |= {
        "DATABRICKS_HOST": host,
        "DATABRICKS_HTTP_PATH": needed("http_path in its extra", extra.get("http_path")),
        "DATABRICKS_CATALOG": needed("catalog in its extra", extra.get("catalog")),
        "DATABRICKS_SCHEMA": needed("schema in its extra", extra.get("schema") or found.schema),
        "DATABRICKS_CLUSTER_ID": needed("cluster_id in its extra, which runs the Python models", extra.get("cluster_id")),
    }
    # As Airflow's own Databricks hook has it: a service principal's id and secret are the login and the password.
    if extra.get("service_principal_oauth"):
        environment["DATABRICKS_CLIENT_ID"] = needed("a login (the service principal's id)", found.login)
        environment["DATABRICKS_CLIENT_SECRET"] = needed("a password", found.password)
    else:
        environment["DATABRICKS_TOKEN"] = needed("a password (a token)", found.password or extra.get("token"))
    for name in ("environment", "readers", "stewards", "masks"):
        if extra.get(name):
            environment[f"DATABRICKS_{name.upper()}"] = str(extra[name])
    return environment


def files_environment(settings: Settings) -> dict[str, str]:
    """The variables by which the load of files knows its settings: the loader's options, by their names without FILES_, and for
    a bucket that wants credentials the extra of the connection `invoices_files`, by dlt's names.

    Raises SettingsError where there is no url.
    """
    where, options = settings.options_of("files")
    if not options.get("url"):
        raise SettingsError(f"{VARIABLE}.{where} lacks url, the folder or bucket of the files.")
    texts = {name.upper(): value if isinstance(value, str) else json.dumps(value) for name, value in options.items()}
    credentials: dict[str, Any] = {}
    with contextlib.suppress(SettingsError):  # what the machine has will do
        credentials = connection(FILES).extra_dejson
    return {f"FILES_{name}": value for name, value in texts.items()} | {
        f"SOURCES__FILESYSTEM__CREDENTIALS__{name.upper()}": str(value) for name, value in credentials.items()
    }


def source_environment(settings: Settings) -> dict[str, str]:
    """The variables by which the dlt load knows the source: the connection `invoices_source`, and `settings.source`."""
    environment = {"CREDENTIALS": connection(SOURCE).get_uri()}
    for name, value in settings.source.items():
        environment[name.upper()] = value if isinstance(value, str) else json.dumps(value)
    return {f"SOURCES__SQL_DATABASE__{name}": value for name, value in environment.items()}
