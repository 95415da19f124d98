"""`python -m local_databricks`: start, stop and query the local endpoint."""

import argparse
import errno
import shlex
import sys

from local_databricks import lifecycle
from local_databricks.settings import CATALOG, HTTP_PATH, LocalDatabricksError, Settings


def _sql(settings: Settings, statement: str) -> None:
    """Print the rows of a statement, tab-separated under their columns' names."""
    from databricks import sql
    from databricks.sql.exc import Error

    if lifecycle.status(settings).pid is None:
        raise LocalDatabricksError("The endpoint is not running; start it with `make up`.")
    try:
        with (
            sql.connect(
                server_hostname="127.0.0.1", http_path=HTTP_PATH, access_token=settings.token(), enable_telemetry=False,
                _connection_uri=f"https://{settings.address}/{HTTP_PATH}", _tls_trusted_ca_file=str(settings.ca_file),
            ) as connection,
            connection.cursor() as cursor,
        ):  # fmt: skip
            cursor.execute(statement)
            print("\t".join(column[0] for column in cursor.description or []))
            while rows := cursor.fetchmany(10_000):
                print("\n".join("\t".join("" if v is None else str(v) for v in row) for row in rows))
    except Error as error:
        raise LocalDatabricksError(str(error)) from error


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code. What is wrong is told in one sentence on standard error."""
    parser = argparse.ArgumentParser("python -m local_databricks", description="A Databricks workspace on this machine.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="start it and wait until it takes statements")
    commands.add_parser("down", help="stop it; tables stay")
    commands.add_parser("status", help="tell whether it runs (exit code 3 if not)")
    commands.add_parser("env", help="print the variables that clients need, for `eval`")
    commands.add_parser("serve", help="run it in the foreground")
    commands.add_parser("sql", help="run a statement").add_argument("statement")
    command = parser.parse_args(arguments)
    try:
        settings = Settings.from_environment()
        match command.command:
            case "up":
                started = lifecycle.up(settings, lambda step: print(f"  {step}", flush=True))
                how = "started" if started else "already up"
                print(f"Local Databricks {how}: https://{settings.address}, catalog {CATALOG}")
            case "down":
                print("Local Databricks stopped" if lifecycle.down(settings) else "Local Databricks was not running")
            case "status":
                now = lifecycle.status(settings)
                if now.pid is None:
                    print("Local Databricks is not running; start it with `make up`")
                    return 3
                state = "ready" if now.ready else now.problem
                print(f"Local Databricks on https://{settings.address}: {state}")
                engine = f"{now.engine or 'engine'} pid {now.engine_pid or '-'}"
                print(f"  endpoint pid {now.pid}, {engine}, open sessions {now.sessions}")
                return 0 if now.ready else 3
            case "env":
                for name, value in settings.client_environment().items():
                    print(f"export {name}={shlex.quote(value)}")
            case "serve":
                lifecycle.serve(settings)
            case "sql":
                _sql(settings, command.statement)
    except LocalDatabricksError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        print(f"The disk of {error.filename or 'the lakehouse'} is full; free some space and run again.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
