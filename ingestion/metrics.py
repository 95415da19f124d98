"""MetricFlow over this project: `python -m ingestion.metrics query --metrics revenue --group-by metric_time__month`.

Every command of MetricFlow's own `mf` works (`--help` lists them), on the target that dbt's profile names. The project is
parsed first, so that an edit of a metric counts at once.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ingestion.settings import REPOSITORY, IngestionError, lakehouse_home


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command of mf; exits with its code. Raises IngestionError, one sentence, where the project cannot be parsed."""
    from dbt.cli.main import dbtRunner
    from dbt_metricflow.cli import main as mf
    from dbt_metricflow.cli.dbt_connectors.dbt_config_accessor import dbtArtifacts

    os.environ |= {"DBT_PROJECT_DIR": str(REPOSITORY), "DBT_PROFILES_DIR": str(REPOSITORY)}
    os.environ.setdefault("DBT_TARGET_PATH", str(lakehouse_home() / "dbt" / "target"))
    parsed = dbtRunner().invoke(["--quiet", "parse"])
    if not parsed.success:
        raise IngestionError(f"dbt could not parse the project: {' '.join(str(parsed.exception).split())[:500]}")

    # mf looks for dbt's manifest in the project's own folder `target` only, and asks the package index for newer versions
    # of itself at every call.
    read = dbtArtifacts.build_semantic_manifest_from_dbt_project_root
    state = Path(os.environ["DBT_TARGET_PATH"]).parent
    dbtArtifacts.build_semantic_manifest_from_dbt_project_root = staticmethod(lambda project_root: read(state))
    mf.UpdateChecker.check = lambda *_: None
    mf.cli(arguments, prog_name="mf")


if __name__ == "__main__":
    try:
        main()
    except IngestionError as error:
        sys.exit(str(error))
