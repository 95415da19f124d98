"""The dbt project's rules, read from what dbt parsed; parsing for the target databricks takes no connection."""

import os

import pytest

from tests.fixtures_dbt import NOWHERE, dbt

LAYERS = ("silver", "gold")
#: The Hive metastore's limit; a longer comment makes it retry for 20 seconds while everybody waits.
LONGEST_COMMENT = 255


@pytest.fixture(scope="module")
def own(parsed) -> dict[str, list[dict]]:
    """The project's own nodes by resource type."""
    nodes: dict[str, list[dict]] = {}
    for node in parsed()["nodes"].values():
        if node["package_name"] == "invoices_countries":
            nodes.setdefault(node["resource_type"], []).append(node)
    return nodes


def documented(own) -> list[dict]:
    return own["model"] + own["seed"] + own["snapshot"]


def test_every_model_and_column_is_described(own):
    for node in documented(own):
        assert node["description"], node["name"]
        assert node["columns"], node["name"]
        for column in node["columns"].values():
            assert column["description"], f"{node['name']}.{column['name']}"
            assert len(column["description"]) <= LONGEST_COMMENT, f"{node['name']}.{column['name']}"


def test_every_description_states_the_grain(own):
    for node in documented(own):
        assert "grain" in node["description"].lower(), node["name"]


def test_every_model_but_a_staging_view_has_a_primary_key_test(own):
    tested = {t["attached_node"] for t in own["test"] if (t.get("test_metadata") or {}).get("name") == "primary_key"}
    for node in documented(own):
        if not node["name"].startswith("stg_"):  # its grain is the delivery, which repeats
            assert node["unique_id"] in tested, node["name"]


def test_gold_has_enforced_contracts_and_states_every_type(own):
    for node in own["model"]:
        is_gold = node["fqn"][1] == "gold"
        # dbt refuses a contract for a Python model
        assert node["config"]["contract"]["enforced"] is (is_gold and node["language"] == "sql"), node["name"]
        if is_gold:
            assert all(column["data_type"] for column in node["columns"].values()), node["name"]


def test_names_follow_folders(own):
    prefixes = {"silver": ("silver_", "stg_"), "gold": ("dim_", "fct_", "agg_", "country_revenue_anomalies")}
    for node in own["model"]:
        layer = node["fqn"][1]
        assert layer in LAYERS, node["name"]
        assert node["name"].startswith(prefixes[layer]), node["name"]
        assert node["schema"] == f"dev_tester_{layer}"
        assert node["alias"] == node["name"].removeprefix("silver_")
    for node in own["snapshot"]:
        assert node["name"].startswith("snap_") and node["schema"] == "dev_tester_silver", node["name"]


def test_every_model_has_its_own_yml(own):
    for node in own["model"]:
        stem = node["original_file_path"].rsplit(".", 1)[0]
        assert node["patch_path"] == f"invoices_countries://{stem}.yml", node["name"]


def test_every_macro_is_in_a_file_of_its_name_and_described(parsed):
    for macro in parsed()["macros"].values():
        if macro["package_name"] == "invoices_countries" and macro["path"].startswith("macros/"):
            assert macro["path"] == f"macros/{macro['name']}.sql"
            assert macro["description"], macro["name"]


def test_silver_and_gold_do_not_read_bronze_but_through_staging(own):
    readers = {n["name"] for n in own["model"] for parent in n["depends_on"]["nodes"] if parent.startswith("source.")}
    assert readers == {"stg_invoices", "stg_countries"}


def test_a_laptop_cannot_write_production_schemas(parsed, own):
    production = {*LAYERS, "bronze", "elementary"}
    for node in parsed()["nodes"].values():
        if node["resource_type"] in ("model", "seed", "snapshot", "test"):
            assert node["schema"] not in production, node["unique_id"]
    assert {source["schema"] for source in parsed()["sources"].values()} == {"dev_tester_bronze"}


def test_production_writes_the_plain_schemas(parsed):
    manifest = parsed(DATABRICKS_ENVIRONMENT="production")
    models = {n["schema"] for name, n in manifest["nodes"].items() if name.startswith("model.invoices_countries.")}
    assert models == set(LAYERS)
    assert {source["schema"] for source in manifest["sources"].values()} == {"bronze"}


@pytest.mark.parametrize("schema", ["gold", "Silver"])
def test_a_laptop_whose_own_schema_is_a_production_schema_is_refused(parsed, schema):
    with pytest.raises(AssertionError, match="DATABRICKS_SCHEMA is '" + schema):
        parsed(DATABRICKS_SCHEMA=schema)


def test_a_missing_variable_is_named(parsed):
    with pytest.raises(AssertionError, match="DATABRICKS_HTTP_PATH"):
        with pytest.MonkeyPatch.context() as patch:
            for name in [name for name in os.environ if name.startswith("DATABRICKS_")]:
                patch.delenv(name)
            dbt("parse", env={name: NOWHERE[name] for name in NOWHERE if name != "DATABRICKS_HTTP_PATH"})


def test_the_target_databricks_compiles_without_a_connection(parsed, tmp_path):
    paths = {"DBT_TARGET_PATH": str(tmp_path), "DBT_LOG_PATH": str(tmp_path)}
    offline = ("--no-introspect", "--no-populate-cache")
    dbt("compile", "--select", "package:invoices_countries", *offline, env=NOWHERE | paths)
    compiled = (tmp_path / "compiled/invoices_countries/models/silver/silver_invoices.sql").read_text()
    assert "`a_catalog`.`dev_tester_silver`.`stg_invoices`" in compiled
