"""`python -m serving serve|reports|reports-dev|power-bi|steep`: what `make serve`, `make reports`, … call."""

import argparse
import signal
import sys

from ingestion.settings import REPOSITORY, IngestionError
from local_databricks.settings import LocalDatabricksError


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0, or 1 after one sentence on standard error."""
    parser = argparse.ArgumentParser(prog="python -m serving", description="What readers see.")
    commands = parser.add_subparsers(dest="command", required=True)
    serve = commands.add_parser("serve", help="bring all pages up to date and serve them at one address on loopback")
    serve.add_argument("--only-make", action="store_true", help="make the pages and end")
    reports = commands.add_parser("reports", help="build the Evidence site where gold or its pages have changed")
    reports.add_argument("--force", action="store_true", help="build it in any case")
    commands.add_parser("reports-dev", help="Evidence's own server, which shows edited pages at once")
    power_bi = commands.add_parser("power-bi", help="write powerbi/ from the dbt project")
    power_bi.add_argument("--check", action="store_true", help="tell instead what there differs or names what gold lacks")
    commands.add_parser("steep", help="write deploy/steep/ from the semantic layer")
    options = parser.parse_args(arguments)
    try:
        match options.command:
            case "serve":
                from serving import pages, server

                port = server.port()
                folder = pages.make(_say)
                _say(f"Pages: {folder}")
                if not options.only_make:
                    print(f"Serving http://127.0.0.1:{port} until Ctrl-C", flush=True)
                    server.serve(folder, port)
            case "reports":
                from serving.site import build

                print(f"Site: {build(_say, force=options.force)}")
            case "reports-dev":
                from serving import server
                from serving.site import develop

                develop(server.port("PORT", 3000))
            case "power-bi":
                from serving import power_bi

                if not options.check:
                    power_bi.write(REPOSITORY / "powerbi")
                elif problems := power_bi.check(REPOSITORY / "powerbi"):
                    print("\n".join(problems))
                    return 1
            case "steep":
                from serving import steep

                for file in steep.write():
                    print(f"Written: {file.relative_to(REPOSITORY)}")
    except (IngestionError, LocalDatabricksError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        pass
    return 0


def _say(line: str) -> None:
    print(f"  {line}", flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # an ordinary end, so that Node's processes end too
    sys.exit(main())
