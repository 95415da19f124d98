"""One command of dbt on this project, in this process: killing the caller kills it too, and importing dbt is paid once."""

import json
import os
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from ingestion.settings import REPOSITORY, IngestionError, in_environment, lakehouse_home

#: Production's names, in a workspace that does not exist: what only parses opens no connection.
PRODUCTION = {
    "DBT_TARGET": "databricks", "DATABRICKS_ENVIRONMENT": "production", "DATABRICKS_HOST": "workspace.invalid",
    **dict.fromkeys(("DATABRICKS_HTTP_PATH", "DATABRICKS_CATALOG", "DATABRICKS_SCHEMA", "DATABRICKS_TOKEN",
                     "DATABRICKS_CLUSTER_ID"), "none"),
}  # fmt: skip


class DbtFailed(IngestionError):
    """A command of dbt did not succeed; `statuses` tells how many nodes ended with which status, where it came to that."""

    def __init__(self, sentence: str, statuses: dict[str, int] | None = None) -> None:
        super().__init__(sentence)
        self.statuses = statuses or {}


def spare_stack_walks() -> None:
    """Have each invocation of dbt in this process take up to a second less, and the later ones seconds.

    For each of the adapter's behavior flags dbt-common 1.x walks the whole stack to name the module that has it, 10 to 40 ms
    each, for a notice that no reader sees the name in; and the adapter adds its flags, once more at each invocation, to one
    list of the process (dbt/adapters/base/impl.py, setter of `behavior`).
    """
    from dbt_common.behavior_flags import BehaviorFlagRendered

    BehaviorFlagRendered._default_source = staticmethod(lambda: "dbt.adapters")


def target_folder() -> Path:
    """Where dbt writes what it parsed and made."""
    return Path(os.environ.get("DBT_TARGET_PATH") or lakehouse_home() / "dbt" / "target")


def dbt_command(*arguments: str, manifest: Any = None) -> Any:
    """Run a command such as `build`; returns dbt's result of it.

    manifest: what an earlier `parse` returned, to parse nothing. Raises DbtFailed, one sentence that names the failed nodes.
    """
    from dbt.cli.main import dbtRunner

    spare_stack_walks()
    paths = ["--project-dir", str(REPOSITORY), "--profiles-dir", str(REPOSITORY), "--target-path", str(target_folder())]
    done = dbtRunner(manifest=manifest).invoke([*arguments, *paths])
    name = next(each for each in arguments if not each.startswith("-"))
    if done.exception:
        raise DbtFailed(f"dbt {name} stopped: {' '.join(str(done.exception).split())[:500]}")
    if not done.success:
        results = getattr(done.result, "results", [])
        failed = [each.node.name for each in results if each.status in ("error", "fail")]
        log = lakehouse_home() / "dbt" / "logs" / "dbt.log"
        raise DbtFailed(f"dbt {name} failed at {', '.join(failed[:10])}; its log is {log}", counts(done.result))
    return done.result


def counts(result: Any) -> dict[str, int]:
    """How many nodes of a command's result ended with which status."""
    return dict(Counter(str(each.status) for each in getattr(result, "results", [])))


def parsed_for_production() -> tuple[dict[str, Any], dict[str, Any]]:
    """dbt's manifest and semantic manifest of the project as it is now, with production's names; nothing has to run.

    Raises DbtFailed where dbt cannot parse the project.
    """
    with tempfile.TemporaryDirectory() as folder:
        with in_environment(PRODUCTION | {"DBT_TARGET_PATH": folder, "DBT_LOG_PATH": folder}):
            dbt_command("--quiet", "parse")
        names = ("manifest.json", "semantic_manifest.json")
        manifest, semantic = (json.loads((Path(folder) / name).read_text(encoding="utf-8")) for name in names)
        return manifest, semantic
