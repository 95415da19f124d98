"""Which warehouse is meant, from environment variables, and the sentences when one is missing."""

import contextlib
import socket

import pytest

from ingestion import warehouse
from ingestion.warehouse import WarehouseError

LOCAL = {
    "LOCAL_DATABRICKS_HTTP_PATH": "sql/protocolv1/o/0/x",
    "LOCAL_DATABRICKS_TOKEN": "t",
    "LOCAL_DATABRICKS_CA_FILE": "/ca.pem",
}
REMOTE = {
    "DATABRICKS_HOST": "https://adb-1.azuredatabricks.net/",
    "DATABRICKS_HTTP_PATH": "/sql/1.0/warehouses/x",
    "DATABRICKS_CATALOG": "main",
    "DATABRICKS_SCHEMA": "dev_ana",
}


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in (*LOCAL, *REMOTE, "LOCAL_DATABRICKS_HOST", "DATABRICKS_TOKEN", "DATABRICKS_CLIENT_ID", "DBT_TARGET"):
        monkeypatch.delenv(name, raising=False)
    for name in ("DATABRICKS_CLIENT_SECRET", "DATABRICKS_ENVIRONMENT"):
        monkeypatch.delenv(name, raising=False)
    return lambda **values: [monkeypatch.setenv(name, value) for name, value in values.items()]


@pytest.fixture
def connected(monkeypatch):
    """Collects the arguments that databricks.sql.connect would get."""
    import databricks.sql

    calls = []
    monkeypatch.setattr(databricks.sql, "connect", lambda **arguments: calls.append(arguments))
    return calls


def refused(target: str) -> str:
    with pytest.raises(WarehouseError) as caught:
        warehouse.connect(target)
    return str(caught.value)


@pytest.mark.parametrize("missing", LOCAL)
def test_a_missing_variable_of_the_endpoint_is_named(environment, missing):
    assert refused("local").startswith("the environment variable LOCAL_DATABRICKS_HOST is not set")
    environment(LOCAL_DATABRICKS_HOST="127.0.0.1:1", **{name: value for name, value in LOCAL.items() if name != missing})
    assert refused("local").startswith(f"the environment variable {missing} is not set")


@pytest.mark.parametrize("missing", [name for name in REMOTE if name != "DATABRICKS_SCHEMA"])
def test_a_missing_variable_of_the_workspace_is_named(environment, missing):
    environment(**{name: value for name, value in REMOTE.items() if name != missing})
    assert refused("databricks") == f"the environment variable {missing} is not set"


def test_missing_credentials_of_the_workspace_are_named(environment):
    environment(**REMOTE)
    assert "DATABRICKS_TOKEN, or DATABRICKS_CLIENT_ID and DATABRICKS_CLIENT_SECRET" in refused("databricks")
    environment(DATABRICKS_CLIENT_ID="id")
    assert refused("databricks") == "the environment variable DATABRICKS_CLIENT_SECRET is not set"


def test_an_endpoint_that_does_not_answer_is_known_at_once(environment):
    environment(LOCAL_DATABRICKS_HOST="127.0.0.1:1", **LOCAL)
    assert refused("local").startswith("nothing answers at 127.0.0.1:1 (Connection refused)")


@pytest.mark.parametrize("address", ["localhost", "localhost:x", ":443"])
def test_a_malformed_address_is_named(environment, address):
    environment(LOCAL_DATABRICKS_HOST=address, **LOCAL)
    assert "must look like 127.0.0.1:PORT" in refused("local")


def test_the_endpoint_is_reached_over_tls_with_its_own_authority(environment, connected):
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
        environment(LOCAL_DATABRICKS_HOST=f"127.0.0.1:{port}", **LOCAL)
        warehouse.connect()
    [arguments] = connected
    assert (arguments["server_hostname"], arguments["_port"]) == ("127.0.0.1", port)
    assert arguments["_tls_trusted_ca_file"] == "/ca.pem" and arguments["enable_telemetry"] is False


def test_a_workspace_is_reached_with_a_token_or_a_service_principal(environment, connected):
    environment(**REMOTE, DATABRICKS_CLIENT_ID="id", DATABRICKS_CLIENT_SECRET="secret")
    warehouse.connect("databricks")
    environment(DATABRICKS_TOKEN="token", DBT_TARGET="databricks")
    warehouse.connect()
    principal, token = connected
    assert callable(principal.pop("credentials_provider")) and token.pop("access_token") == "token"
    assert (
        principal
        == token
        == {
            "server_hostname": "adb-1.azuredatabricks.net",
            "http_path": "/sql/1.0/warehouses/x",
            "catalog": "main",
        }
    )


def test_only_production_writes_into_the_plain_schemas_of_a_workspace(environment):
    assert (warehouse.catalog(), warehouse.schema("bronze")) == ("hive_metastore", "bronze")
    environment(**REMOTE, DBT_TARGET="databricks")
    assert (warehouse.catalog(), warehouse.schema("bronze")) == ("main", "dev_ana_bronze")
    environment(DATABRICKS_ENVIRONMENT="production")
    assert warehouse.schema("bronze") == "bronze"


@pytest.mark.parametrize("name", ["prod", "LOCAL"])
def test_an_unknown_target_is_named(environment, name):
    environment(DBT_TARGET=name)
    with pytest.raises(WarehouseError, match=f"not '{name}'"):
        warehouse.target()
