"""Connections to the warehouse by SQL, from environment variables: the local endpoint, or a Databricks workspace."""

import logging
import os
import re
import socket
from typing import TYPE_CHECKING

from ingestion.settings import IngestionError, PassingError

if TYPE_CHECKING:
    from databricks.sql.client import Connection


class WarehouseError(IngestionError):
    """The warehouse cannot be reached or is not configured; one sentence names the variable."""


class WarehouseUnreachable(WarehouseError, PassingError):
    """The warehouse does not answer now."""


def target() -> str:
    """Return the target in use, `local` (the default) or `databricks`, from DBT_TARGET."""
    name = os.environ.get("DBT_TARGET") or "local"
    if name not in ("local", "databricks"):
        raise WarehouseError(f"DBT_TARGET must be local or databricks, not {name!r}")
    return name


def catalog(target_name: str | None = None) -> str:
    """Return the catalog that holds bronze, silver and gold: `hive_metastore` locally, else DATABRICKS_CATALOG."""
    return "hive_metastore" if (target_name or target()) == "local" else _required("DATABRICKS_CATALOG")


def schema(layer: str, target_name: str | None = None) -> str:
    """Return the schema of a layer such as `bronze`.

    Plain locally and where DATABRICKS_ENVIRONMENT is `production`, else `<DATABRICKS_SCHEMA>_<layer>`: a laptop cannot
    write into production schemas (the same rule as dbt's generate_schema_name).
    """
    if (target_name or target()) == "local" or os.environ.get("DATABRICKS_ENVIRONMENT") == "production":
        return layer
    return f"{_required('DATABRICKS_SCHEMA')}_{layer}"


def databricks_credentials() -> dict[str, str]:
    """Return server_hostname, http_path, catalog and access_token, or client_id and client_secret, of the workspace.

    Raises WarehouseError naming the missing variable. A token wins over a service principal, as in profiles.yml.
    """
    credentials = {
        "server_hostname": _required("DATABRICKS_HOST").removeprefix("https://").rstrip("/"),
        "http_path": _required("DATABRICKS_HTTP_PATH"),
        "catalog": _required("DATABRICKS_CATALOG"),
    }
    if token := os.environ.get("DATABRICKS_TOKEN"):
        return {**credentials, "access_token": token}
    if not os.environ.get("DATABRICKS_CLIENT_ID"):
        raise WarehouseError(
            "set DATABRICKS_TOKEN, or DATABRICKS_CLIENT_ID and DATABRICKS_CLIENT_SECRET, for the target databricks"
        )
    return {
        **credentials,
        "client_id": os.environ["DATABRICKS_CLIENT_ID"],
        "client_secret": _required("DATABRICKS_CLIENT_SECRET"),
    }


def connect(target_name: str | None = None) -> "Connection":
    """Open a databricks.sql connection to the warehouse.

    Args: target_name: `local` or `databricks`; None means DBT_TARGET.
    Raises: WarehouseError, one sentence, when a variable is missing or the warehouse does not answer.
    """
    name = target_name or target()
    if name == "local":
        where, arguments = _local_arguments()
    elif name == "databricks":
        credentials = databricks_credentials()
        where = f"the Databricks workspace {credentials['server_hostname']}"
        arguments = {key: credentials[key] for key in ("server_hostname", "http_path", "catalog")}
        if "access_token" in credentials:
            arguments["access_token"] = credentials["access_token"]
        else:
            arguments["credentials_provider"] = _service_principal(credentials)
    else:
        raise WarehouseError(f"the target must be local or databricks, not {name!r}")
    import databricks.sql  # takes two seconds, which a load that opens no connection need not pay

    # The connector logs every failed attempt; the sentence below says it once.
    logging.getLogger("databricks").addHandler(logging.NullHandler())
    try:
        return databricks.sql.connect(**arguments)
    except Exception as error:  # the connector lets errors of urllib3, thrift and ssl through
        raise WarehouseUnreachable(f"cannot connect to {where}: {_reason(error)}") from error


def tables(connection: "Connection", layer: str) -> set[str]:
    """Return the names of the tables and views that the schema of a layer holds; none where there is no such schema."""
    with connection.cursor() as cursor:
        cursor.tables(catalog_name=catalog(), schema_name=schema(layer))
        return {row.TABLE_NAME for row in cursor.fetchall()}


def _local_arguments() -> tuple[str, dict[str, object]]:
    hint = "`python -m local_databricks up` starts the endpoint and `python -m local_databricks env` prints its variables"
    address = _required("LOCAL_DATABRICKS_HOST", hint)
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise WarehouseError(f"LOCAL_DATABRICKS_HOST must look like 127.0.0.1:PORT, not {address!r}")
    arguments = {
        "server_hostname": host,
        "_port": int(port),
        "http_path": _required("LOCAL_DATABRICKS_HTTP_PATH", hint),
        "access_token": _required("LOCAL_DATABRICKS_TOKEN", hint),
        "_tls_trusted_ca_file": _required("LOCAL_DATABRICKS_CA_FILE", hint),
        "enable_telemetry": False,
        "_retry_stop_after_attempts_count": 3,
    }
    try:  # known at once, instead of after the connector's retries
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError as error:
        raise WarehouseUnreachable(f"nothing answers at {address} ({error.strerror or error}); {hint}") from None
    return f"the local endpoint at {address}", arguments


def _service_principal(credentials: dict[str, str]):
    def provider():
        from databricks.sdk.core import Config, oauth_service_principal

        return oauth_service_principal(
            Config(
                host=f"https://{credentials['server_hostname']}",
                client_id=credentials["client_id"],
                client_secret=credentials["client_secret"],
            )
        )

    return provider


def _required(name: str, hint: str = "") -> str:
    value = os.environ.get(name)
    if not value:
        raise WarehouseError(f"the environment variable {name} is not set" + (f"; {hint}" if hint else ""))
    return value


def _reason(error: BaseException) -> str:
    """Return what went wrong, without the layers of libraries that urllib3's texts quote."""
    text = " ".join(str(error).split())
    if system_error := re.search(r"\[Errno -?\d+\] [\w ]+", text):
        return system_error.group()
    return (text[:200] + "…" if len(text) > 200 else text).rstrip(".") or type(error).__name__
