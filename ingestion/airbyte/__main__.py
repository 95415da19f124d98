"""`python -m ingestion.airbyte sync`: files, by a real connector of Airbyte, into the schema bronze_airbyte of this machine."""

import argparse
import contextlib
import os
import sys
from pathlib import Path

from ingestion import warehouse
from ingestion.airbyte.environment import environment
from ingestion.airbyte.sync import CONFIG, SCHEMA, export, read_config, sync
from ingestion.settings import IngestionError, lakehouse_home
from local_databricks.settings import LocalDatabricksError


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0, or 1 after one sentence on standard error."""
    parser = argparse.ArgumentParser(prog="python -m ingestion.airbyte", description=__doc__.partition(": ")[2])
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("sync", help="run the connector once and append what it delivers to bronze")
    run.add_argument(
        "--config",
        type=Path,
        default=os.environ.get(CONFIG),
        help=f"JSON file from table to source-file's configuration (default: {CONFIG}, else the demo source, by CSV files)",
    )
    run.add_argument("--no-register", action="store_true", help="leave the local endpoint's catalog alone")
    commands.add_parser("install", help="make the environment of PyAirbyte and its connector, if it is not there")
    options = parser.parse_args(arguments)
    try:
        if options.command == "install":
            _say(f"ready: {environment(_say).connector}")
        else:
            _sync(Path(options.config) if options.config else None, not options.no_register)
    except (IngestionError, LocalDatabricksError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _sync(config: Path | None, register: bool) -> None:
    if warehouse.target() != "local":
        raise IngestionError(
            "DBT_TARGET is databricks, but this fills a local lakehouse; there, Airbyte's Databricks destination is the loader"
        )
    if config is None:
        from ingestion.demo_source import Server, up

        up()
        with contextlib.closing(Server().connect()) as connection:
            config = export(connection, lakehouse_home() / "airbyte" / "export")
    result = sync(read_config(config), _say)
    if register and os.environ.get("LOCAL_DATABRICKS_HOST"):
        from ingestion.bronze import LocalBronze

        LocalBronze(lakehouse_home() / SCHEMA).register(list(result.rows))
    landed = ", ".join(f"{rows:,} {table}" for table, rows in result.rows.items()) or "nothing"
    _say(f"{landed} landed in {SCHEMA}, {result.seconds:.1f} s")


def _say(line: str) -> None:
    print(f"airbyte: {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
