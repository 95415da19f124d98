"""What it costs to land the same invoices in bronze by each loader of this repository: `python -m benchmarks.loaders`.

The demo source's invoices lie in PostgreSQL, in a Kafka topic (JSON, two partitions, a real broker) and in one CSV file. Each
loader lands all of them in an empty lakehouse, as its command line does it, one after the other in one run. Prints a Markdown
table: seconds and rows a second from the command's start to its end, processor seconds and the most memory of it and of what it
started, each with its ratio to the first; the database's and the broker's own work is not in it.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import deltalake
import psutil

from ingestion.demo_source import Server, up
from ingestion.kafka.broker import Broker
from ingestion.settings import in_environment
from tests.conftest import ROOT, free_port

CHUNK = 20_000


@dataclass
class Cost:
    """Of one command: rows landed, seconds, processor seconds, and megabytes of resident memory at most."""

    rows: int
    seconds: float
    processor: float
    megabytes: float


def cost_of(arguments: list[str], environment: dict[str, str], table: Path) -> Cost:
    """Run a command of Python; its processes are looked at ten times a second."""
    began = time.monotonic()
    process = psutil.Popen(
        [sys.executable, "-m", *arguments], cwd=ROOT, env={**os.environ, **environment}, stdout=subprocess.DEVNULL
    )
    processor: dict[int, float] = {}
    most, done = 0, threading.Event()

    def look() -> None:
        nonlocal most
        while not done.is_set():
            resident = 0
            with contextlib.suppress(psutil.Error):
                for each in (process, *process.children(recursive=True)):
                    with contextlib.suppress(psutil.Error):
                        times = each.cpu_times()
                        processor[each.pid], resident = times.user + times.system, resident + each.memory_info().rss
            most = max(most, resident)
            done.wait(0.1)

    watcher = threading.Thread(target=look)
    watcher.start()
    code = process.wait()
    seconds = time.monotonic() - began
    done.set()
    watcher.join()
    if code:
        sys.exit(f"{' '.join(arguments)} failed")
    rows = deltalake.DeltaTable(str(table)).to_pyarrow_dataset().count_rows()
    return Cost(rows, seconds, sum(processor.values()), most / 1e6)


def produced(broker: Broker, server: Server) -> None:
    """Every invoice of the source as an event that creates it."""
    with contextlib.closing(broker.producer()) as producer, contextlib.closing(server.connect()) as connection:
        producer.create_topic("invoices")
        with connection.cursor("invoices") as cursor:
            cursor.itersize = CHUNK
            cursor.execute(
                "select coalesce(invoice_id::text, ''), json_build_object('op', 'c', 'row', row_to_json(i))::text"
                " from invoices i"
            )
            while rows := cursor.fetchmany(CHUNK):
                producer.send("invoices", [(key.encode(), value.encode()) for key, value in rows])
                producer.flush()


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description="What each loader costs.")
    parser.add_argument("--invoices", type=int, default=200_000)
    options = parser.parse_args()
    found: dict[str, Cost] = {}
    with tempfile.TemporaryDirectory(prefix="loaders") as folder, contextlib.ExitStack() as running:
        home = Path(folder)
        server = Server(home / "source")
        running.callback(server.stop)
        with in_environment({"LAKEHOUSE_HOME": str(home)}):
            up(options.invoices, server=server)
        broker = Broker(home / "broker", free_port(), free_port())
        broker.start()
        running.callback(broker.stop)
        produced(broker, server)
        drop = home / "drop"
        drop.mkdir()
        with contextlib.closing(server.connect()) as connection, connection.cursor() as cursor:
            with (drop / "invoices.csv").open("wb") as file:
                cursor.copy_expert("copy invoices to stdout with (format csv, header)", file)

        def lakehouse(name: str) -> dict[str, str]:
            (home / name).mkdir()
            return {"LAKEHOUSE_HOME": str(home / name), "DBT_TARGET": "local"}

        ways = {
            "dlt, PostgreSQL": (
                "ingestion.load", "bronze", {"SOURCES__SQL_DATABASE__CREDENTIALS": server.url},
            ),
            "Kafka, what is there": (
                "ingestion.kafka stream --available-now", "bronze_kafka", {"KAFKA_BOOTSTRAP_SERVERS": broker.address},
            ),
            "files, one CSV": ("ingestion.files", "bronze_files", {"FILES_URL": str(drop), "FILES_SETTLE_SECONDS": "0"}),
        }  # fmt: skip
        for number, (name, (command, schema, variables)) in enumerate(ways.items()):
            environment = lakehouse(str(number)) | variables
            table = home / str(number) / schema / "invoices"
            found[name] = cost_of([*command.split(), "--no-register"], environment, table)
            print(f"{name}: {found[name]}", file=sys.stderr, flush=True)
    first = next(iter(found.values()))
    print("| | rows | seconds | rows a second | processor seconds | memory at most |\n|---|---|---|---|---|---|")
    for name, cost in found.items():
        speed, usual = cost.rows / cost.seconds, first.rows / first.seconds
        print(
            f"| {name} | {cost.rows:,} | {cost.seconds:.1f} | {speed:,.0f} ({speed / usual:.2f}) |"
            f" {cost.processor:.1f} ({cost.processor / first.processor:.2f}) |"
            f" {cost.megabytes:,.0f} MB ({cost.megabytes / first.megabytes:.2f}) |"
        )


if __name__ == "__main__":
    main()
