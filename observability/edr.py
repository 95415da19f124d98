"""Elementary's command line `edr`, as a library over this repository's profile and packages.

`edr` is a dbt project of its own inside the Python package elementary-data, which would run `dbt deps` at its first use and
write beside itself. Here it takes the packages that `local_databricks.packages` has resolved, and keeps its files in the
lakehouse's state folder.
"""

import contextlib
import itertools
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ingestion.dbt_command import spare_stack_walks
from ingestion.settings import REPOSITORY, IngestionError, in_environment, lakehouse_home
from local_databricks.packages import Resolved

PACKAGES = REPOSITORY / "dbt_packages"


class ElementaryIsOff(IngestionError):
    """The package hub was out of reach, so that stand-ins take the place of Elementary's dbt package."""


def folder() -> Path:
    """Where edr keeps its files."""
    return lakehouse_home() / "dbt" / "edr"


def refuse_stand_ins() -> None:
    """Raise ElementaryIsOff where dbt_packages/ holds stand-ins."""
    found = Resolved.read(PACKAGES)
    if found and found.source == "stand-ins":
        raise ElementaryIsOff(
            "Elementary is off, because the dbt package hub could not be reached: nothing is watched, no alerts are sent, no"
            " report is made; ask it again by `python -m local_databricks.packages --retry`."
        )


@contextlib.contextmanager
def configured(**options: Any) -> Iterator[Any]:
    """Within the block: edr's configuration for the target that DBT_TARGET names; `options` are those of edr's `Config`.

    This process's environment is such that edr's own dbt project neither shares files with ours nor asks the package hub;
    afterwards it is as it was. Raises ElementaryIsOff where the packages are stand-ins.
    """
    refuse_stand_ins()
    variables = {
        "DBT_PACKAGES_FOLDER": str(PACKAGES),
        "DBT_TARGET_PATH": str(folder() / "target"),
        "DBT_LOG_PATH": str(folder()),  # which Config sets too
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        "DO_NOT_TRACK": "1",
    }
    with in_environment(variables), _parsed_once():
        from elementary.config.config import Config

        # each of its statements would be told
        log = logging.getLogger("elementary")
        log.propagate = False
        if not log.handlers:
            log.addHandler(logging.StreamHandler())
            log.handlers[0].setLevel(logging.WARNING)
        yield Config(
            config_dir=str(folder()),  # and not ~/.edr
            profiles_dir=str(REPOSITORY),
            profile_target=os.environ.get("DBT_TARGET") or "local",
            target_path=str(folder()),
            run_dbt_deps_if_needed=False,
            env="prod" if os.environ.get("DATABRICKS_ENVIRONMENT") == "production" else "dev",
            quiet_logs=True,
            **options,
        )


@contextlib.contextmanager
def _parsed_once() -> Iterator[None]:
    """Within the block: edr's own dbt project is parsed once.

    For a report edr calls dbt sixteen times, for alerts seven. Each call would parse the project, wholly where its variables
    differ from those of the call before, although they only matter when a statement is made. A manifest that was parsed can be
    handed to dbt (https://docs.getdbt.com/reference/programmatic-invocations#reusing-objects).
    """
    from elementary.clients.dbt import api_dbt_runner

    spare_stack_walks()
    runner = api_dbt_runner.dbtRunner
    manifests: dict[str, Any] = {}

    class ParsingOnce(runner):
        def invoke(self, args: list[str], **kwargs: Any) -> Any:
            where = {name: args[args.index(name) + 1] for name in ("--project-dir", "--profiles-dir", "--target")}
            project = where["--project-dir"]
            if project not in manifests:
                parsed = runner().invoke(["--quiet", "parse", *itertools.chain.from_iterable(where.items())])
                if not parsed.success:
                    return parsed
                manifests[project] = parsed.result
            self.manifest = manifests[project]
            return super().invoke(args, **kwargs)

    api_dbt_runner.dbtRunner = ParsingOnce
    try:
        yield
    finally:
        api_dbt_runner.dbtRunner = runner
