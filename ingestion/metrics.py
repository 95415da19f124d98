"""MetricFlow over this project: `python -m ingestion.metrics query --metrics revenue --group-by metric_time__month`.

Every command of MetricFlow's own `mf` works (`--help` lists them), on the target that dbt's profile names. The project is
parsed first, so that an edited metric counts at once.
"""

import os
import sys
from collections.abc import Sequence

from ingestion.dbt_command import dbt_command, target_folder
from ingestion.settings import REPOSITORY, IngestionError


def answer(arguments: Sequence[str]) -> None:
    """Run one command of mf over what dbt parsed last; exits with mf's code."""
    from dbt_metricflow.cli import main as mf
    from metricflow_semantics.model.dbt_manifest_parser import parse_manifest_from_dbt_generated_manifest as from_json

    # mf looks for what dbt parsed in the project's own folder `target` only, and asks the package index for newer versions of
    # itself at every call; neither can be set.
    manifest = target_folder() / "semantic_manifest.json"
    mf.dbtArtifacts.build_semantic_manifest_from_dbt_project_root = staticmethod(
        lambda project_root: from_json(manifest.read_text())
    )
    mf.UpdateChecker.check = lambda *_: None
    os.environ |= {"DBT_PROJECT_DIR": str(REPOSITORY), "DBT_PROFILES_DIR": str(REPOSITORY)}
    mf.cli(arguments, prog_name="mf")


if __name__ == "__main__":
    try:
        dbt_command("--quiet", "parse")
        answer(sys.argv[1:])
    except IngestionError as error:
        sys.exit(str(error))
