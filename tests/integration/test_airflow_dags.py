"""The DAG files as Airflow sees them: no error, what on-call people expect of every task, and the dbt graph edge by edge."""

import json
import os

import pytest

from ingestion.source import CONTRACTS
from invoices_countries.dbt import is_watched, left_over_tests
from tests.conftest import ROOT, python
from tests.fixtures_dbt import NOWHERE, parsed  # noqa: F401
from tests.fixtures_notices import UNHURRIED

DAGS = {"ingest", "transform", "publish", "maintenance"}
PACKAGE = "invoices_countries"


@pytest.fixture(scope="module")
def manifest(parsed) -> dict:  # noqa: F811
    return parsed()


@pytest.fixture(scope="module")
def facts_of(manifest, tmp_path_factory):
    """A function that gives what Airflow makes of the DAG files under a value of the variable `invoices_countries`, with the
    manifest of a project that reads what these loaders landed, of each table or by table."""
    folder = tmp_path_factory.mktemp("airflow")

    def facts(
        settings: object = None, loaders: tuple[str, ...] | dict[str, tuple[str, ...]] = ("dlt",), **variables: str
    ) -> dict:
        sources = {
            f"{name}.{loader}": source | {"loader": loader}
            for name, source in manifest["sources"].items()
            for loader in (loaders.get(source["name"], ()) if isinstance(loaders, dict) else loaders)
        }
        (folder / "manifest.json").write_text(json.dumps(manifest if loaders == ("dlt",) else manifest | {"sources": sources}))
        environment = {
            **UNHURRIED,
            "AIRFLOW_HOME": str(folder),
            "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "airflow" / "dags"),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "airflow" / "plugins"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW_VAR_INVOICES_COUNTRIES": json.dumps(settings or {}),
            "DBT_MANIFEST_PATH": str(folder / "manifest.json"),
            **variables,
        }
        done = python("-m", "tests.airflow_facts", env=environment)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return facts


@pytest.fixture(scope="module")
def dags(facts_of) -> dict[str, dict]:
    found = facts_of({"power_bi": {"group_id": "a", "dataset_id": "b"}})
    assert not found["errors"], found["errors"]
    return found["dags"]


def test_every_file_is_a_dag_and_nothing_else_is(dags):
    files = {path.stem for path in (ROOT / "airflow" / "dags").glob("*.py")}
    assert set(dags) == files == DAGS


def test_every_dag_has_what_people_on_call_need(dags):
    for name, dag in dags.items():
        assert dag["described"] and "invoices" in dag["tags"], name
        assert dag["max_active_runs"] == 1 and dag["catchup"] is False and dag["dagrun_timeout"], name
        assert dag["tells"] == ["on_failure_callback", "on_success_callback"], name
    assert [name for name, dag in dags.items() if dag["deadline"]] == ["transform"]


def test_every_task_is_retried_timed_out_owned_and_told(dags):
    for name, dag in dags.items():
        for task_id, task in dag["tasks"].items():
            where = f"{name}.{task_id}"
            assert task["retries"] == 3 and task["policy"] == "PassingFaults" and task["exponential"], where
            assert task["execution_timeout"], where
            assert task["owner"] in ("Data platform", "Finance analytics"), where
            assert task["tells"] == ["on_failure_callback", "on_retry_callback"], where
            assert not task["node"] or task["pool"] == "dbt", where


def test_assets_chain_the_dags(dags):
    made = {uri: name for name, dag in dags.items() for task in dag["tasks"].values() for uri in task["outlets"]}
    after = {name: {made[uri] for uri in dag["scheduled_by"]} for name, dag in dags.items()}
    assert after == {"ingest": set(), "transform": {"ingest"}, "publish": {"transform"}, "maintenance": set()}
    assert dags["ingest"]["cron"] == "0 5 * * *"


def test_the_dbt_tasks_are_the_manifests_nodes(dags, manifest):
    built = {
        name
        for name, node in manifest["nodes"].items()
        if node["package_name"] == PACKAGE and node["resource_type"] in ("model", "seed", "snapshot") and not is_watched(node)
    }
    fresh = {name for name, source in manifest["sources"].items() if source["package_name"] == PACKAGE}
    tasks = {task["node"]: task_id for task_id, task in dags["transform"]["tasks"].items() if task["node"]}
    assert set(tasks) == built | fresh
    assert tasks["model.invoices_countries.fct_invoices"] == "dbt.fct_invoices"
    assert {f"dbt.freshness_of_bronze_{contract.name}" for contract in CONTRACTS} <= set(tasks.values())
    others = {task_id for task_id, task in dags["transform"]["tasks"].items() if not task["node"]}
    # the last three only with Elementary's dbt package, which the hub has and its stand-in has not
    watching = {"elementary_tables", "watch", "data_alerts"} if elementary_is_on(manifest) else set()
    assert others == {"dbt.tests_of_several_models", "gold_is_ready"} | watching
    assert ("elementary_report" in dags["publish"]["tasks"]) is elementary_is_on(manifest)


def elementary_is_on(manifest: dict) -> bool:
    return any(name.startswith("model.elementary.") for name in manifest["nodes"])


def test_every_data_test_is_run_by_one_of_the_tasks(manifest):
    """dbt's own selector tells what each task runs: together all data tests of the project, none of them never."""
    from dbt.artifacts.schemas.manifest import WritableManifest
    from dbt.compilation import Linker
    from dbt.contracts.graph.manifest import Manifest
    from dbt.graph.graph import Graph
    from dbt.graph.selector import ResourceTypeSelector
    from dbt.graph.selector_spec import SelectionCriteria
    from dbt.node_types import NodeType

    whole = Manifest.from_writable_manifest(WritableManifest.upgrade_schema_version(manifest))
    linker = Linker()
    linker.link_graph(whole)
    selector = ResourceTypeSelector(Graph(linker.graph), whole, None, [NodeType.Test])

    def selected(fqn: list[str]) -> set[str]:
        dct = {"method": "fqn", "value": ".".join(fqn), "indirect_selection": "buildable"}
        return selector.get_selected(SelectionCriteria.selection_criteria_from_dict("", dct))

    nodes = {name: node for name, node in manifest["nodes"].items() if node["package_name"] == PACKAGE}
    watched = {name for name, node in nodes.items() if is_watched(node)}  # by a task of their own
    run = [
        selected(n["fqn"]) - watched
        for name, n in nodes.items()
        if n["resource_type"] in ("model", "seed", "snapshot") and name not in watched
    ]
    tests = {name: node["name"] for name, node in nodes.items() if node["resource_type"] == "test" and name not in watched}
    assert len(tests) > 50
    assert {tests[name] for name in tests.keys() - set().union(*run)} == set(left_over_tests(manifest))
    assert set().union(*run) <= tests.keys()


def test_the_edges_are_the_manifests_edges(dags, manifest):
    tasks = dags["transform"]["tasks"]
    task_of = {task["node"]: task_id for task_id, task in tasks.items() if task["node"]}
    for unique_id, task_id in task_of.items():
        node = manifest["nodes"].get(unique_id) or manifest["sources"][unique_id]
        parents = {task_of[parent] for parent in node.get("depends_on", {}).get("nodes", []) if parent in task_of}
        before = {"elementary_tables"} if elementary_is_on(manifest) and not parents else set()
        assert set(tasks[task_id]["upstream"]) == parents | before, task_id
    tested = set().union(*left_over_tests(manifest).values())
    assert set(tasks["dbt.tests_of_several_models"]["upstream"]) == {task_of[each] for each in tested}
    # readers are told only after everything, and Elementary looks then
    built = {name for name in tasks if name.startswith("dbt.")}
    last = built - {parent for name in built for parent in tasks[name]["upstream"]}
    assert set(tasks["gold_is_ready"]["upstream"]) == last
    if elementary_is_on(manifest):
        assert set(tasks["watch"]["upstream"]) == last and tasks["data_alerts"]["upstream"] == ["watch"]


@pytest.mark.parametrize(
    ("loader", "options"),
    [
        ("azure_data_factory", {"factory_name": "f", "resource_group_name": "r", "pipeline_name": "p"}),
        ("airbyte", {"connection_id": "c"}),
        ("fivetran", {"connector_id": "c"}),
        ("kafka", {"job_id": 1}),
        ("kafka", {"continuous": True}),
        ("files", {"url": "abfss://drop@account.dfs.core.windows.net/invoices"}),
    ],
)
def test_another_loader_is_one_setting(facts_of, loader, options):
    settings = {"target": "databricks", "loader": loader, "loader_options": options, "ingest_schedule": None}
    found = facts_of(settings, loaders=(loader,))
    assert not found["errors"], found["errors"]
    tasks = found["dags"]["ingest"]["tasks"]
    assert list(tasks) == ["load_bronze"] and tasks["load_bronze"]["outlets"] == ["invoices-countries://bronze/"]
    assert not {"refresh_power_bi", "evidence_site"} & set(found["dags"]["publish"]["tasks"])


def test_two_loaders_at_once_are_a_task_each_and_dbt_must_have_been_told(facts_of):
    settings = {
        "target": "databricks", "loader": {"invoices": ["dlt", "airbyte"], "countries": "dlt"},
        "loader_options": {"airbyte": {"connection_id": "c"}},
    }  # fmt: skip
    found = facts_of(settings, loaders={"invoices": ("dlt", "airbyte"), "countries": ("dlt",)})
    assert not found["errors"], found["errors"]
    tasks = found["dags"]["ingest"]["tasks"]
    assert list(tasks) == ["load_bronze_with_dlt", "load_bronze_with_airbyte"]
    assert all(task["outlets"] == ["invoices-countries://bronze/"] and not task["upstream"] for task in tasks.values())
    named = json.dumps(settings["loader"])
    for loaders, read in ((("dlt",), "invoices that dlt"), (("dlt", "airbyte"), "countries that airbyte, dlt")):
        (error,) = facts_of(settings, loaders=loaders)["errors"].values()
        assert (
            f"reads {read} landed, and invoices_countries.loader is {named}:"
            f" parse with --vars '{{\"loaders\": {named}}}'." in error
        )


def test_the_revenue_site_is_built_where_a_key_says_where_to(facts_of):
    found = facts_of({"evidence_site": "abfss://pages@account.dfs.core.windows.net/reports"})
    assert not found["errors"] and "evidence_site" in found["dags"]["publish"]["tasks"]


@pytest.mark.parametrize(
    ("settings", "variables", "sentence"),
    [
        ({"loader": "dtl"}, {}, "invoices_countries.loader must be one of"),
        (
            {"loader": "kafka", "loader_options": {"continuous": True, "job_id": 1}},
            {},
            "invoices_countries.loader_options.continuous must be true, and the only option",
        ),
        ({"loader": "files"}, {}, "invoices_countries.loader_options lacks url"),
        ({"data_alerts": [{"channel": "email", "connection": "c"}]}, {}, "channel must be one of slack, teams, webhook"),
        ({"data_alerts": [{"channel": "slack"}]}, {}, "data_alerts[0] must be an object with channel and connection"),
        ({}, {"DBT_MANIFEST_PATH": os.devnull + "x"}, "There is no dbt manifest at"),
    ],
)
def test_a_wrong_setting_is_the_import_errors_last_line(facts_of, settings, variables, sentence):
    errors = facts_of(settings, loaders=(settings.get("loader", "dlt"),), **variables)["errors"]
    assert errors and all(sentence in text.strip().splitlines()[-1] for text in errors.values())
