"""The dbt project's rules, read from what dbt parsed; parsing for the target databricks takes no connection.

Where a rule is one of dbt_project_evaluator's, its docstring names the evaluator's model. Left out, because this project means
it otherwise: fct_model_directories and fct_source_directories (folders are layers here, not source systems),
fct_rejoining_of_upstream_concepts (a fact and its dimension, rows and their accounting, come from one model on purpose).
"""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
from dbt.adapters.databricks.constraints import parse_constraints
from dbt.adapters.databricks.relation_configs.constraints import ConstraintsConfig, ConstraintsProcessor

from tests.fixtures_dbt import NOWHERE, ROOT, dbt

LAYERS = ("silver", "gold", "observability")
#: The Hive metastore's limit; a longer comment makes it retry for 20 seconds while everybody waits.
LONGEST_COMMENT = 255
#: The target local, as far as parsing needs it.
LOCAL = {"DBT_TARGET": "local"} | {f"LOCAL_DATABRICKS_{name}": "none" for name in ("HOST", "HTTP_PATH", "TOKEN", "CA_FILE")}
READERS = {"DATABRICKS_READERS": "the analysts"}
PRODUCTION = {"DATABRICKS_ENVIRONMENT": "production"} | READERS


@pytest.fixture(scope="module")
def own(parsed) -> dict[str, list[dict]]:
    """The project's own nodes by resource type."""
    nodes: dict[str, list[dict]] = {}
    for node in parsed()["nodes"].values():
        if node["package_name"] == "invoices_countries":
            nodes.setdefault(node["resource_type"], []).append(node)
    return nodes


@dataclass(frozen=True)
class Compiled:
    """The project compiled for the target databricks: dbt's target folder, and the manifest, where names are resolved now."""

    folder: Path
    manifest: dict


@pytest.fixture(scope="module")
def compiled(tmp_path_factory) -> Compiled:
    folder = tmp_path_factory.mktemp("compiled")
    paths = {"DBT_TARGET_PATH": str(folder), "DBT_LOG_PATH": str(folder)}
    offline = ("--no-introspect", "--no-populate-cache")
    dbt("compile", "--select", "package:invoices_countries", *offline, env=NOWHERE | paths)
    return Compiled(folder, json.loads((folder / "manifest.json").read_text()))


@pytest.fixture(scope="module")
def parents(own) -> dict[str, list[str]]:
    """What each of the project's models reads, by unique id; a unique id begins with model., seed., snapshot. or source."""
    return {node["unique_id"]: node["depends_on"]["nodes"] for node in own["model"]}


def short(unique_id: str) -> str:
    return unique_id.rsplit(".", 1)[1]


def documented(own) -> list[dict]:
    return own["model"] + own["seed"] + own["snapshot"]


def test_every_model_and_column_is_described(own):
    """fct_undocumented_models, fct_documentation_coverage, fct_undocumented_public_models."""
    for node in documented(own):
        assert node["description"], node["name"]
        assert node["columns"], node["name"]
        for column in node["columns"].values():
            assert column["description"], f"{node['name']}.{column['name']}"
            assert len(column["description"]) <= LONGEST_COMMENT, f"{node['name']}.{column['name']}"


def test_every_source_is_described_and_has_a_freshness(parsed):
    """fct_undocumented_sources, fct_undocumented_source_tables, fct_sources_without_freshness."""
    for source in parsed()["sources"].values():
        assert source["source_description"] and source["description"], source["name"]
        assert source["freshness"]["error_after"]["count"] and source["loaded_at_field"], source["name"]


def test_every_description_states_the_grain(own):
    for node in documented(own):
        assert "grain" in node["description"].lower(), node["name"]


def test_every_model_but_a_staging_view_has_a_primary_key_test(own):
    """fct_missing_primary_key_tests, fct_test_coverage."""
    tested = {t["attached_node"] for t in own["test"] if (t.get("test_metadata") or {}).get("name") == "primary_key"}
    for node in documented(own):
        if not node["name"].startswith("stg_"):  # its grain is the delivery, which repeats
            assert node["unique_id"] in tested, node["name"]


def test_public_models_have_enforced_contracts_and_state_every_type_and_gold_is_public(own):
    """fct_public_models_without_contract."""
    for node in own["model"]:
        is_public = node["access"] == "public"
        assert is_public or node["fqn"][1] != "gold", node["name"]
        # dbt refuses a contract for a Python model
        assert node["config"]["contract"]["enforced"] is (is_public and node["language"] == "sql"), node["name"]
        if is_public:
            assert all(column["data_type"] for column in node["columns"].values()), node["name"]


def test_names_follow_folders(own):
    """fct_model_naming_conventions."""
    prefixes = {
        "silver": ("silver_", "stg_"),
        "gold": ("dim_", "fct_", "agg_", "country_revenue_anomalies"),
        "observability": ("observability_",),
    }
    for node in own["model"]:
        layer = node["fqn"][1]
        assert layer in LAYERS, node["name"]
        assert node["name"].startswith(prefixes[layer]), node["name"]
        assert node["schema"] == f"dev_tester_{layer}"
        assert node["alias"] == node["name"].removeprefix("silver_").removeprefix("observability_")
    for node in own["snapshot"]:
        assert node["name"].startswith("snap_") and node["schema"] == "dev_tester_silver", node["name"]


def test_every_model_has_its_own_yml(own):
    """fct_test_directories."""
    for node in own["model"]:
        stem = node["original_file_path"].rsplit(".", 1)[0]
        assert node["patch_path"] == f"invoices_countries://{stem}.yml", node["name"]


def test_every_macro_is_in_a_file_of_its_name_and_described(parsed):
    for macro in parsed()["macros"].values():
        if macro["package_name"] == "invoices_countries" and macro["path"].startswith("macros/"):
            assert macro["path"] == f"macros/{macro['name']}.sql"
            assert macro["description"], macro["name"]


def test_each_source_is_read_by_its_staging_model_alone(parsed, own, parents):
    """fct_marts_or_intermediate_dependent_on_source, fct_source_fanout, fct_unused_sources, fct_multiple_sources_joined,
    fct_duplicate_sources."""
    read = {short(m): [p for p in above if p.startswith("source.")] for m, above in parents.items()}
    sources = parsed()["sources"]
    assert {model: [short(p) for p in above] for model, above in read.items() if above} == {
        f"stg_{source['name']}": [source["name"]] for source in sources.values()
    }
    assert len({source["relation_name"] for source in sources.values()}) == len(sources)


def test_staging_reads_nothing_but_its_source_and_seeds(parents):
    """fct_direct_join_to_source, fct_staging_dependent_on_staging, fct_staging_dependent_on_marts_or_intermediate."""
    for model, above in parents.items():
        if short(model).startswith("stg_"):
            assert {p.split(".")[0] for p in above} <= {"source", "seed"}, model


def test_only_the_calendar_and_what_delta_remembers_come_from_nowhere(parents):
    """fct_root_models."""
    assert {short(model) for model, above in parents.items() if not above} <= {"dim_dates", "observability_table_commits"}


BY_HAND = {
    "sql": r"(?i)\b(?:from|join|into)\s+`?\w+`?\.\S+",
    "python": r"\bspark\.(?:sql|table|read)\b",
}


def test_no_model_names_a_table_by_hand(own):
    """fct_hard_coded_references."""
    for node in own["model"]:
        without_jinja = re.sub(r"(?s){#.*?#}|{%.*?%}|{{.*?}}", "", node["raw_code"])
        assert not re.findall(BY_HAND[node["language"]], re.sub(r"--.*", "", without_jinja)), node["name"]


def test_no_model_is_a_knot(own, parents):
    """fct_model_fanout (more than 3 children that nobody reads), fct_too_many_joins (more than 7 parents)."""
    read = {p for above in parents.values() for p in above}
    for node in own["model"]:
        assert len(parents[node["unique_id"]]) <= 7, node["name"]
        leaves = [short(m) for m, above in parents.items() if node["unique_id"] in above and m not in read]
        assert len(leaves) <= 3, (node["name"], leaves)


def test_no_view_reads_a_view(own, parents):
    """fct_chained_views_dependencies, which allows chains of three."""
    views = {node["unique_id"] for node in own["model"] if node["config"]["materialized"] == "view"}
    for view in views:
        assert not views.intersection(parents[view]), view


def test_exposures_read_public_tables_and_have_an_owner(parsed):
    """fct_exposures_dependent_on_private_models, fct_exposure_parents_materializations."""
    manifest = parsed()
    assert manifest["exposures"]
    for exposure in manifest["exposures"].values():
        assert exposure["owner"]["email"] and exposure["url"] and exposure["maturity"], exposure["name"]
        assert exposure["description"] and exposure["depends_on"]["nodes"], exposure["name"]
        for parent in exposure["depends_on"]["nodes"]:
            node = manifest["nodes"][parent]
            assert node["access"] == "public", (exposure["name"], parent)
            assert node["config"]["materialized"] in ("table", "incremental"), (exposure["name"], parent)


def test_the_site_reads_gold_alone_and_its_exposure_says_what(parsed):
    """Besides the results of tests, which Elementary keeps."""
    manifest, read = parsed(), set()
    for query in (ROOT / "reports" / "sources" / "gold").glob("*.sql"):
        read |= set(re.findall(r"\$\{(\w+)\}\.(\w+)", query.read_text()))
    above = manifest["exposures"]["exposure.invoices_countries.evidence_site"]["depends_on"]["nodes"]
    named = {("gold", manifest["nodes"][parent]["alias"]) for parent in above if parent.split(".")[0] == "model"}
    assert {manifest["nodes"][parent]["schema"] for parent in above} == {"dev_tester_gold"}
    assert read - named == {("elementary", "elementary_test_results")}
    assert named - read <= {("gold", "dim_customers")}


def test_every_table_has_an_owner_and_every_model_a_colour_and_staging_is_private(parsed, own):
    groups = {group["name"]: group["owner"]["email"] for group in parsed()["groups"].values()}
    assert {node["group"] for node in own["model"] + own["seed"]} == set(groups) and all(groups.values())
    for node in own["model"]:
        assert re.fullmatch("#[0-9a-f]{6}", node["docs"]["node_color"]), node["name"]
        assert (node["access"] == "private") is node["name"].startswith("stg_"), node["name"]


def test_readers_are_granted_the_public_models_on_databricks_alone(parsed, own):
    public = {node["name"] for node in own["model"] if node["access"] == "public"}
    assert granted(parsed(**PRODUCTION)) == dict.fromkeys(public, {"select": ["the analysts"]})
    assert granted(parsed()) == {}
    assert granted(parsed(**LOCAL, **READERS)) == {}


def granted(manifest: dict) -> dict[str, dict]:
    return {n["name"]: n["config"]["grants"] for n in manifest["nodes"].values() if n["config"].get("grants")}


def models(manifest: dict) -> list[dict]:
    return [node for name, node in manifest["nodes"].items() if name.startswith("model.invoices_countries.")]


def keys(manifest: dict) -> dict[str, ConstraintsConfig]:
    """What an incremental run of dbt-databricks makes of the constraints of the project's models, by name of the model."""
    found = {}
    for node in models(manifest):
        config = SimpleNamespace(contract=SimpleNamespace(**node["config"]["contract"]))
        parts = {name: node[name] for name in ("constraints", "columns")}
        found[node["name"]] = ConstraintsProcessor.from_relation_config(
            SimpleNamespace(config=config, identifier=node["alias"], **parts)
        )
    return found


def rendered(manifest: dict) -> dict[str, set[str]]:
    declared = {name: {key.render() for key in found.set_constraints} for name, found in keys(manifest).items()}
    return {name: found for name, found in declared.items() if found}


def test_informational_keys_are_declared_on_databricks_alone(compiled, parsed):
    gold = "`a_catalog`.`dev_tester_gold`"
    declared = rendered(compiled.manifest)
    assert declared["silver_country_review"] == {"CONSTRAINT country_review_pk PRIMARY KEY (country_text)"}
    assert declared["fct_invoices"] == {
        "CONSTRAINT fct_invoices_pk PRIMARY KEY (invoice_id)",
        f"CONSTRAINT fct_invoices_country_fk FOREIGN KEY (country_key) REFERENCES {gold}.`dim_countries` (country_key)",
        f"CONSTRAINT fct_invoices_invoice_date_fk FOREIGN KEY (invoice_date_key) REFERENCES {gold}.`dim_dates` (date_key)",
        f"CONSTRAINT fct_invoices_due_date_fk FOREIGN KEY (due_date_key) REFERENCES {gold}.`dim_dates` (date_key)",
    }
    assert rendered(parsed(**LOCAL, **READERS)) == {}


def test_every_reference_to_a_primary_key_is_a_foreign_key_and_a_test(compiled):
    """But where the other table is made of this one: it does not exist yet when this one's keys are declared."""
    nodes = {name: node for name, node in compiled.manifest["nodes"].items() if node["resource_type"] == "model"}
    contracts = {node["relation_name"]: node for node in nodes.values() if node["config"]["contract"]["enforced"]}
    primary = {name: constraint(node, "primary_key")[0]["columns"] for name, node in contracts.items()}
    declared = {
        (child, *key["columns"], key["to"], *key["to_columns"])
        for child, node in contracts.items()
        for key in constraint(node, "foreign_key")
    }
    tested = set()
    for test in compiled.manifest["nodes"].values():
        if (test.get("test_metadata") or {}).get("name") == "relationships" and test["attached_node"] in nodes:
            child = nodes[test["attached_node"]]
            others = set(test["depends_on"]["nodes"]) - {child["unique_id"]}
            parent, field = nodes[others.pop()] if others else child, test["test_metadata"]["kwargs"]["field"]
            is_made_of_it = child["unique_id"] in (parent["unique_id"], *parent["depends_on"]["nodes"])
            if child["relation_name"] in contracts and primary[parent["relation_name"]] == [field] and not is_made_of_it:
                tested.add((child["relation_name"], test["column_name"], parent["relation_name"], field))
    assert declared == tested and len(declared) > 5


def constraint(node: dict, kind: str) -> list[dict]:
    return [each for each in node["constraints"] if each["type"] == kind]


def test_a_second_run_leaves_the_keys_as_the_first_one_made_them(compiled):
    """It compares them, by name and target, with what the catalog tells, which gives a key without a name one of its own."""
    for node in models(compiled.manifest):
        declared = keys(compiled.manifest)[node["name"]]
        made = parse_constraints(list(node["columns"].values()), node["constraints"])[1]
        for key in made:
            key.name = key.name or "a name of the catalog's"
        primary = [(key.name, column) for key in made if key.type == "primary_key" for column in key.columns]
        foreign = [
            (key.name, *key.columns, *re.findall("`([^`]+)`", key.to), *key.to_columns)
            for key in made
            if key.type == "foreign_key"
        ]
        catalog = ConstraintsProcessor.from_relation_results(
            {
                "non_null_constraint_columns": SimpleNamespace(rows=[(column,) for column in declared.set_non_nulls]),
                "primary_key_constraints": SimpleNamespace(rows=primary),
                "foreign_key_constraints": SimpleNamespace(rows=foreign),
            }
        )
        assert declared.get_diff(catalog) is None, node["name"]


def test_names_of_keys_are_unique_in_their_schema(compiled):
    names = [key.split()[1] for declared in rendered(compiled.manifest).values() for key in declared]
    assert len(names) == len(set(names)) > 12


def test_a_laptop_cannot_write_production_schemas(parsed, own):
    production = {*LAYERS, "bronze", "elementary"}
    for node in parsed()["nodes"].values():
        if node["resource_type"] in ("model", "seed", "snapshot", "test"):
            assert node["schema"] not in production, node["unique_id"]
    assert {source["schema"] for source in parsed()["sources"].values()} == {"dev_tester_bronze"}


def test_production_writes_the_plain_schemas(parsed):
    manifest = parsed(**PRODUCTION)
    models = {n["schema"] for name, n in manifest["nodes"].items() if name.startswith("model.invoices_countries.")}
    assert {"silver", "gold"} <= models <= set(LAYERS)
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


def test_the_target_databricks_compiles_without_a_connection(compiled):
    text = (compiled.folder / "compiled/invoices_countries/models/silver/silver_invoices.sql").read_text()
    assert "`a_catalog`.`dev_tester_silver`.`stg_invoices`" in text
