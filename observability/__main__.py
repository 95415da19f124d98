"""`python -m observability watch|alerts|report`: what `make watch`, `make alerts` and `make report` call."""

import argparse
import sys
from pathlib import Path

from ingestion.settings import IngestionError, lakehouse_home
from local_databricks.settings import LocalDatabricksError


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0, or 1 after one sentence on standard error."""
    parser = argparse.ArgumentParser(prog="python -m observability", description=__doc__.partition(":")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("watch", help="run Elementary's anomaly tests, and record what each model took and wrote")
    commands.add_parser("alerts", help="send new alerts to the routes of the variable DATA_ALERTS")
    commands.add_parser("demo-incident", help="let faults happen at a demo source of its own, and show who finds them")
    report = commands.add_parser("report", help="make Elementary's report and the page of runs")
    report.add_argument("--folder", type=Path, default=None, help="where to (default: reports in the lakehouse's folder)")
    options = parser.parse_args(arguments)
    try:
        if options.command == "watch":
            from observability.watch import demo_day, end_of, watch

            day = demo_day()
            warned = watch(end_of(day) if day else None)
            print(f"Unusual: {', '.join(warned) or 'nothing'}")
        elif options.command == "alerts":
            from observability.alerts import routes_of_environment, send

            sent = send(routes_of_environment())
            print(sent.described())
            if sent.failures:
                raise IngestionError("; ".join(sent.failures))
        elif options.command == "demo-incident":
            from observability.incidents import demonstrate

            _, page = demonstrate()
            print(f"Report: {page}")
        else:
            from observability.report import write

            for page in write(options.folder or lakehouse_home() / "reports"):
                print(f"Report: {page}")
    except (IngestionError, LocalDatabricksError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
