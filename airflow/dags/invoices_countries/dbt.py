"""The dbt graph as Airflow tasks: one a model, seed or snapshot with its tests, one a source's freshness, and one for the tests
of models side by side. Cosmos renders them from the manifest, and dbt runs in the task's own process.
"""

import functools
import json
import os
from pathlib import Path
from typing import Any

from airflow.sdk import TaskGroup
from cosmos import DbtTaskGroup, ExecutionConfig, ProfileConfig, ProjectConfig, RenderConfig
from cosmos.constants import (
    ExecutionMode,
    InvocationMode,
    LoadMode,
    SourceRenderingBehavior,
    TestBehavior,
    TestIndirectSelection,
)
from cosmos.exceptions import CosmosDbtRunError
from cosmos.operators.local import DbtDocsLocalOperator, DbtRunOperationLocalOperator, DbtTestLocalOperator

from invoices_countries.settings import (
    DBT_RESULTS,
    REPOSITORY,
    TABLES,
    VARIABLE,
    Settings,
    SettingsError,
    warehouse_environment,
)

PACKAGE = "invoices_countries"
#: The tests of the selector `watch`, which no model's task runs.
WATCHED = ("tag:elementary-tests", "tag:watch")
#: Statuses of a node that nobody has to be told of.
WELL = ("success", "pass")
#: Airflow's pool that bounds how many dbt tasks are in the warehouse at a time, whatever DAG they belong to.
POOL = "dbt"


class _SaysWhy:
    """For operations and docs, whose results have no nodes, for which Cosmos 1.15.1 looks: it would raise an AttributeError."""

    def handle_exception_dbt_runner(self, result: Any) -> None:
        """Raise CosmosDbtRunError with dbt's own words where the command failed."""
        if not result.success:
            failed = [each.message for each in getattr(result.result, "results", []) if each.status in ("error", "fail")]
            failed = failed or getattr(result.result, "errors", None) or ["see the log above"]
            why = result.exception or "; ".join(map(str, failed))
            raise CosmosDbtRunError(f"dbt invocation completed with errors: {why}")


class DbtDocsOperator(_SaysWhy, DbtDocsLocalOperator):
    """`dbt docs generate`."""


class DbtRunOperationOperator(_SaysWhy, DbtRunOperationLocalOperator):
    """`dbt run-operation`."""


def manifest_path() -> Path:
    """The manifest that the DAGs are drawn from: DBT_MANIFEST_PATH, else what `make airflow` wrote.

    Raises SettingsError where there is none.
    """
    from local_databricks.settings import lakehouse_home

    path = Path(os.environ.get("DBT_MANIFEST_PATH") or lakehouse_home() / "airflow" / "manifest.json")
    if not path.is_file():
        raise SettingsError(
            f"There is no dbt manifest at {path}: `dbt parse` makes one, and DBT_MANIFEST_PATH tells where it is."
        )
    return path


def dbt_arguments(settings: Settings) -> dict[str, Any]:
    """The arguments that every dbt operator of the DAGs takes."""
    return {
        "install_deps": False,  # `make` and the image's build resolve the packages, once
        "append_env": True,
        "interceptors": [_connect(settings.target)],
        "callback": push_results,
        "dbt_runner_callbacks": [_note],
        "pool": POOL,
        # as it was parsed (`check_loaders`); what dbt_project.yml says need not be said
        **({} if settings.loader == "dlt" else {"vars": {"loaders": settings.loader}}),
    }


def profile(settings: Settings) -> ProfileConfig:
    """dbt's own profiles.yml, on the target of the settings."""
    return ProfileConfig(profile_name=PACKAGE, target_name=settings.target, profiles_yml_filepath=REPOSITORY / "profiles.yml")


def project() -> ProjectConfig:
    """This repository as a dbt project, with the manifest that is there already."""
    return ProjectConfig(
        dbt_project_path=REPOSITORY, manifest_path=manifest_path(), project_name=PACKAGE, install_dbt_deps=False
    )


def dbt_tasks(settings: Settings) -> TaskGroup:
    """The task group `dbt`, to be called within a DAG that has a parameter `full_refresh`."""
    manifest = json.loads(manifest_path().read_text())
    check_loaders(manifest, settings)
    group = DbtTaskGroup(
        group_id="dbt",
        project_config=project(),
        profile_config=profile(settings),
        execution_config=ExecutionConfig(
            execution_mode=ExecutionMode.LOCAL,
            invocation_mode=InvocationMode.DBT_RUNNER,
            test_indirect_selection=TestIndirectSelection.BUILDABLE,
        ),
        render_config=RenderConfig(
            load_method=LoadMode.DBT_MANIFEST,
            # Elementary and what it watches have tasks of their own, unit tests test code and not data, exposures are read.
            select=[f"package:{PACKAGE}"],
            exclude=["resource_type:unit_test", "resource_type:exposure", *WATCHED, "path:models/observability"],
            test_behavior=TestBehavior.BUILD,
            source_rendering_behavior=SourceRenderingBehavior.WITH_TESTS_OR_FRESHNESS,
            normalize_task_id=_task_id,
            normalize_task_display_name=_task_id,
            emit_datasets=False,  # the DAG's last task tells that gold is ready, once all of it is
        ),
        operator_args={**dbt_arguments(settings), "full_refresh": "{{ params.full_refresh }}", "exclude": " ".join(WATCHED)},
    )
    if names := left_over_tests(manifest):
        with group:
            tests = DbtTestLocalOperator(
                task_id="tests_of_several_models",
                select=" ".join(sorted(names)),
                project_dir=str(REPOSITORY),
                profile_config=profile(settings),
                invocation_mode=InvocationMode.DBT_RUNNER,
                **dbt_arguments(settings),
            )
        parents = set().union(*names.values())
        for task in group.iter_tasks():
            if task is not tests and task.extra_context["dbt_node_config"]["unique_id"] in parents:
                task >> tests
    _describe(group, manifest)
    return group


def check_loaders(manifest: dict, settings: Settings) -> None:
    """Raise SettingsError where the manifest reads the tables of other loaders than those that run."""
    for table in TABLES:
        read = {
            source["loader"]
            for source in manifest["sources"].values()
            if source["package_name"] == PACKAGE and source["name"] == table
        }
        if read != set(settings.loaders_of(table)):
            raise SettingsError(
                f"The dbt manifest reads {table} that {', '.join(sorted(read))} landed, and {VARIABLE}.loader is"
                f" {json.dumps(settings.loader)}: parse with --vars '{json.dumps({'loaders': settings.loader})}'."
            )


def left_over_tests(manifest: dict) -> dict[str, set[str]]:
    """Names of the data tests that no node's own task runs, each with the ids of what it tests.

    `dbt build` of one node with the indirect selection `buildable` runs a test of several where the others come before that
    node. Two models side by side, or sources alone, have no such node. Each as a task of its own (Cosmos can do that) would
    cost more in starting dbt than all of them take.
    """
    parents = {name: set(node.get("depends_on", {}).get("nodes", [])) for name, node in manifest["nodes"].items()}

    @functools.cache
    def before(name: str) -> frozenset[str]:
        direct = parents.get(name, set())
        return frozenset(direct.union(*(before(each) for each in direct)))

    found = {}
    for name, node in manifest["nodes"].items():
        if node["resource_type"] == "test" and node["package_name"] == PACKAGE and not is_watched(node):
            tested = parents[name]
            if not any(each in parents and tested - {each} <= before(each) for each in tested):
                found[node["name"]] = tested
    return found


def is_watched(node: dict) -> bool:
    """Whether the selector `watch` has this node of the manifest."""
    return node["fqn"][1] == "observability" or any(f"tag:{tag}" in WATCHED for tag in node.get("tags", []))


def dbt_docs(settings: Settings) -> DbtDocsOperator:
    """The task that makes the dbt docs site, one file, and puts it where settings.docs says."""
    return DbtDocsOperator(
        task_id="dbt_docs",
        project_dir=str(REPOSITORY),
        profile_config=profile(settings),
        invocation_mode=InvocationMode.DBT_RUNNER,
        dbt_cmd_flags=["--static"],
        **{**dbt_arguments(settings), "callback": publish_docs, "callback_args": {"url": settings.docs}},
    )


def dbt_operation(settings: Settings, task_id: str, macro: str, arguments: dict[str, Any]) -> DbtRunOperationOperator:
    """A task that runs one of the project's macros; arguments may be templates."""
    return DbtRunOperationOperator(
        task_id=task_id,
        macro_name=macro,
        args=arguments,
        project_dir=str(REPOSITORY),
        profile_config=profile(settings),
        invocation_mode=InvocationMode.DBT_RUNNER,
        **dbt_arguments(settings),
    )


def publish_docs(folder: str, context: Any, url: str) -> None:
    """Copy the site that dbt made in `folder`, and what it was made from, to the folder at `url` (file://, abfss://, …)."""
    from airflow.sdk import ObjectStoragePath

    from local_databricks.settings import lakehouse_home

    there = ObjectStoragePath(url or (lakehouse_home() / "docs").as_uri())
    there.mkdir(parents=True, exist_ok=True)
    for name, published in {
        "static_index.html": "index.html",
        "manifest.json": "manifest.json",
        "catalog.json": "catalog.json",
    }.items():
        (there / published).write_bytes((Path(folder) / "target" / name).read_bytes())
    print(f"The dbt docs site is {there / 'index.html'}")


def _task_id(node: Any) -> str:
    """The name by which dbt people know the node; a source's task looks at its freshness."""
    return f"freshness_of_{node.name.replace('.', '_')}" if node.resource_type.value == "source" else node.name


def _describe(group: TaskGroup, manifest: dict) -> None:
    """Owner and description of each task as the manifest has them: the owner of the node's group."""
    for task in group.iter_tasks():
        node = _node_of(manifest, (task.extra_context.get("dbt_node_config") or {}).get("unique_id", ""))
        if owner := _owner(manifest, node):
            task.owner = owner["name"]
        if node.get("description"):
            task.doc_md = node["description"]


def _node_of(manifest: dict, unique_id: str) -> dict:
    return manifest["nodes"].get(unique_id) or manifest["sources"].get(unique_id) or {}


def _owner(manifest: dict, node: dict) -> dict[str, str] | None:
    """Name and e-mail of the owner of a node's group; of a test, of the group of the model that it is attached to or reads."""
    name = node.get("group") or (node.get("config") or {}).get("group")
    if not name and node.get("resource_type") == "test":
        tested = [node.get("attached_node"), *node.get("depends_on", {}).get("nodes", [])]
        return next(filter(None, (_owner(manifest, _node_of(manifest, each)) for each in tested if each)), None)
    if node.get("resource_type") == "source":
        name = "data_platform"
    found = next((group for group in manifest.get("groups", {}).values() if group["name"] == name), None)
    return {key: found["owner"].get(key) or "" for key in ("name", "email")} if found else None


def _connect(target: str):
    from airflow.sdk.configuration import conf

    from ingestion.dbt_command import spare_stack_walks

    def connect(context: Any, operator: Any) -> None:
        spare_stack_walks()
        _finished.clear()  # of a task before, where all are in one process (`make dag-run`)
        # not operator_args' env, which Airflow would render, store and show
        operator.env = {
            **warehouse_environment(target),
            "DBT_TARGET_PATH": "target",  # in the folder of its own that Cosmos gives to each task
            "DBT_LOG_PATH": "logs",
            "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
            # The manifest and the results as files, which nobody reads here, are a fifth of what a task computes.
            "DBT_WRITE_JSON": str(operator.base_cmd[0] not in ("build", "run", "seed", "snapshot", "test")).lower(),
            # by which Elementary knows the run, and links to it
            "AIRFLOW_URL": conf.get("api", "base_url", fallback="").rstrip("/"),
            "JOB_ID": context["dag"].dag_id,
            "JOB_RUN_ID": context["run_id"],
        }

    return connect


#: What dbt has said of the nodes that this process's task has finished.
_finished: list[Any] = []


def _note(event: Any) -> None:
    """dbt's callback: keep what is said of a finished node (https://docs.getdbt.com/reference/events-logging)."""
    if event.info.name == "NodeFinished":
        _finished.append(event.data)


def push_results(folder: str, context: Any) -> None:
    """Push what dbt did in this task as the XCom `dbt_results`, for notices.

    folder: the dbt project's copy in which dbt ran, which Cosmos tells and nobody needs here. The value is a list of objects
    with name, resource_type, status, message, failures, rows_affected, stored_in (the table of a test's failing rows), seconds,
    and owner (name and email) of what is not well.
    """
    found = [_result(each) for each in _finished]
    if any(each["status"] not in WELL for each in found):
        manifest = json.loads(manifest_path().read_text())
        for each, data in zip(found, _finished, strict=True):
            if each["status"] not in WELL:
                each["owner"] = _owner(manifest, _node_of(manifest, data.node_info.unique_id))
    if found:  # else dbt stopped before it ran anything
        context["ti"].xcom_push(key=DBT_RESULTS, value=found)


def _result(data: Any) -> dict[str, Any]:
    """One node's object, of the data of dbt's event NodeFinished."""
    node, result = data.node_info, data.run_result
    is_test = node.resource_type == "test"
    affected = result.adapter_response["rows_affected"] if "rows_affected" in result.adapter_response else None
    return {
        "name": node.node_name,
        "resource_type": node.resource_type,
        "status": result.status,
        "message": result.message or None,
        "failures": result.num_failures if is_test else None,
        "rows_affected": int(affected) if isinstance(affected, float) and affected >= 0 else None,
        # only tests that store what they found have a relation of their own
        "stored_in": node.node_relation.relation_name.replace("`", "") or None if is_test else None,
        "seconds": round(result.execution_time, 2),
    }
