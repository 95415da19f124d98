"""`python -m ingestion.kafka stream|demo`: events of Kafka into bronze, and a show of it with a broker of its own."""

import argparse
import contextlib
import os
import signal
import sys
from pathlib import Path

from ingestion import warehouse
from ingestion.kafka.settings import SCHEMA, VARIABLES, StreamSettings
from ingestion.settings import IngestionError, lakehouse_home, run_lock
from local_databricks.settings import LocalDatabricksError


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0, or 1 after one sentence on standard error."""
    parser = argparse.ArgumentParser(prog="python -m ingestion.kafka", description=__doc__.partition(": ")[2])
    commands = parser.add_subparsers(dest="command", required=True)
    stream = commands.add_parser(
        "stream",
        help="land events in bronze, until Ctrl-C",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Variables:\n" + "\n".join(f"  {name:<33}{text}" for name, text in VARIABLES.items()),
    )
    stream.add_argument("--available-now", action="store_true", help="end when all is read that is there now")
    stream.add_argument("--no-register", action="store_true", help="leave the local endpoint's catalog alone")
    demo = commands.add_parser("demo", help="start a broker, produce invoices, stream and build; print the latency to gold")
    demo.add_argument("--seconds", type=int, default=60, help="how long events are produced (default: 60)")
    demo.add_argument("--rate", type=float, default=5.0, help="events a second (default: 5)")
    options = parser.parse_args(arguments)
    try:
        if options.command == "demo":
            from ingestion.kafka.demo import demonstrate

            demonstrate(options.seconds, options.rate)
        else:
            _stream(options.available_now, not options.no_register)
    except (IngestionError, LocalDatabricksError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _stream(available_now: bool, register: bool) -> None:
    settings = StreamSettings.from_environment()
    home = lakehouse_home() / "kafka"
    with contextlib.ExitStack() as held:
        if warehouse.target() == "local":
            # two streams over one checkpoint would stop each other in the middle of a batch
            held.enter_context(run_lock(home / "stream.lock", "stream"))
        from ingestion.kafka.session import session
        from ingestion.kafka.stream import DEAD_LETTERS, Stream

        stream = Stream(session(home, _say), settings, _say)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stream.stop())
        if register and os.environ.get("LOCAL_DATABRICKS_HOST") and warehouse.target() == "local":
            from ingestion.bronze import LocalBronze

            stream.prepare()
            LocalBronze(Path(lakehouse_home()) / SCHEMA).register([*settings.topics, DEAD_LETTERS])
        result = stream.run(available_now)
    landed = ", ".join(f"{rows:,} {table}" for table, rows in result.rows.items()) or "nothing new"
    _say(f"{landed} in {result.batches} batches, {result.seconds:.1f} s")


def _say(line: str) -> None:
    print(f"kafka: {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
