"""`python -m ingestion.kafka demo`: an invoice on its way from Kafka to gold, and how long that took.

In a lakehouse of its own, `stream_demo` in the lakehouse's folder: a broker, an endpoint (ENGINE chooses its engine), a stream
that runs all the time, and dbt that builds silver_invoices and fct_invoices again and again.
"""

import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np

from ingestion import warehouse
from ingestion.bronze import LocalBronze
from ingestion.dbt_command import dbt_command
from ingestion.demo_data import country_rows
from ingestion.kafka.broker import Broker, Producer, message
from ingestion.kafka.settings import SCHEMA
from ingestion.settings import REPOSITORY, IngestionError, in_environment, lakehouse_home
from local_databricks import lifecycle, packages
from local_databricks.settings import Settings, free_port

BEFORE = 200  # invoices that are there before the clock starts
START_SECONDS = 180
_VARIABLES = json.dumps({"loaders": "kafka"})
_LOOP = ("--select", "silver_invoices", "fct_invoices", "--vars", _VARIABLES)


def demonstrate(seconds: int, rate: float) -> dict[str, dict[str, float]]:
    """Produce `rate` events a second for `seconds` seconds; print, and return, seconds from sending to bronze and to gold.

    Returns {"bronze" | "gold": {"p50" | "p95" | "p99": seconds}}. Raises IngestionError or LocalDatabricksError, one sentence.
    """
    if seconds < 1 or not 0 < rate <= 1000:
        raise IngestionError("--seconds must be at least 1, and --rate above 0 and at most 1000 events a second")
    home = lakehouse_home() / "stream_demo"
    shutil.rmtree(home, ignore_errors=True)
    variables = {"LAKEHOUSE_HOME": str(home), "LOCAL_DATABRICKS_PORT": str(free_port()), "DBT_TARGET": "local"}
    with in_environment(variables), contextlib.ExitStack() as running:
        packages.resolve()
        settings = Settings.from_environment()
        running.callback(lifecycle.down, settings)
        lifecycle.up(settings, lambda step: print(f"  endpoint: {step}", flush=True))
        broker = Broker(home / "kafka" / "broker", free_port(), free_port(), print)
        broker.start()
        running.callback(broker.stop)
        print(f"A Kafka broker listens on {broker.address}, the endpoint on {settings.address} ({settings.engine})", flush=True)
        producer = broker.producer()
        running.callback(producer.close)
        with in_environment(settings.client_environment()):
            return _demonstrate(home, broker, producer, seconds, rate)


def _demonstrate(home: Path, broker: Broker, producer: Producer, seconds: int, rate: float) -> dict[str, dict[str, float]]:
    random_, sent = random.Random(7), {}
    names = ("country_code", "country_name", "region", "sub_region", "currency_code", "updated_at")
    for topic in ("invoices", "countries"):
        producer.create_topic(topic)
    producer.send("countries", [message("country_code", "c", dict(zip(names, row, strict=True))) for row in country_rows()])
    producer.send("invoices", [_invoice(number, random_) for number in range(BEFORE)])
    producer.flush()
    with _stream(broker):
        print("The stream lands what is there, and dbt builds all that fct_invoices needs", flush=True)
        _wait_for(home, BEFORE)
        LocalBronze(home / SCHEMA).register(["invoices", "countries"])
        dbt_command("--quiet", "seed", "--select", "package:invoices_countries", "--vars", _VARIABLES)
        dbt_command("--quiet", "run", "--select", "+fct_invoices", "--vars", _VARIABLES)
        manifest = dbt_command("--quiet", "parse", "--vars", _VARIABLES)
        stop, in_bronze, in_gold = threading.Event(), {}, {}

        def produce() -> None:
            for number in range(BEFORE, BEFORE + int(seconds * rate)):
                sent[number] = time.time()
                producer.send("invoices", [_invoice(number, random_)])
                if stop.wait(1 / rate):
                    return
            producer.flush()

        def watch_bronze() -> None:
            version = None
            while not stop.wait(0.1):
                table = _bronze(home)
                if table.version() != version:
                    version, now = table.version(), time.time()
                    for number in table.to_pyarrow_table(columns=["invoice_id"])["invoice_id"].to_pylist():
                        in_bronze.setdefault(number, now)

        threads = [threading.Thread(target=work, daemon=True) for work in (produce, watch_bronze)]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + seconds + START_SECONDS
        try:
            with contextlib.closing(warehouse.connect()) as connection, connection.cursor() as cursor:
                while threads[0].is_alive() or sent.keys() - in_gold.keys():
                    if time.monotonic() > deadline:
                        raise IngestionError(f"{len(sent.keys() - in_gold.keys())} invoices did not reach gold in time")
                    dbt_command("--quiet", "run", *_LOOP, manifest=manifest)
                    now = time.time()
                    cursor.execute(f"select invoice_id from gold.fct_invoices where invoice_id >= {BEFORE}")
                    new = {row[0] for row in cursor.fetchall()} - in_gold.keys()
                    in_gold.update(dict.fromkeys(new, now))
                    if new:
                        last = max(new)
                        print(
                            f"  {len(new):4} more in gold, invoice {last} {now - sent[last]:.1f} s after its event", flush=True
                        )
        finally:
            stop.set()
            threads[1].join(10)
    print(f"\n{len(sent)} events, seconds from event to    p50    p95    p99")
    found = {}
    for place, seen in (("bronze", in_bronze), ("gold", in_gold)):
        p50, p95, p99 = np.percentile([seen[number] - at for number, at in sent.items()], [50, 95, 99])
        print(f"  {place:<32}{p50:7.1f}{p95:7.1f}{p99:7.1f}")
        found[place] = {"p50": float(p50), "p95": float(p95), "p99": float(p99)}
    return found


def _invoice(number: int, random_: random.Random) -> tuple[bytes, bytes]:
    now, net = datetime.now(UTC), random_.randint(1_000, 500_000)
    tax = round(net * 0.19)
    row = {
        "invoice_id": number, "invoice_number": f"INV-{number:06}", "customer_id": f"C{random_.randint(1, 50)}",
        "country": random_.choice(["DE", "France", "NL", "Italy", "ES"]), "invoice_date": str(date.today()),
        "due_date": str(date.today() + timedelta(days=30)), "currency_code": "EUR", "net_amount": f"{net / 100:.2f}",
        "tax_amount": f"{tax / 100:.2f}", "total_amount": f"{(net + tax) / 100:.2f}", "status": "open",
        "created_at": now.isoformat(), "updated_at": now.isoformat(),
    }  # fmt: skip
    return message("invoice_id", "c", row, now.isoformat())


@contextlib.contextmanager
def _stream(broker: Broker) -> Iterator[None]:
    variables = {"KAFKA_BOOTSTRAP_SERVERS": broker.address, "KAFKA_COUNTRIES_TOPIC": "countries", "KAFKA_TRIGGER_SECONDS": "0"}
    log = lakehouse_home() / "kafka" / "stream.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "ingestion.kafka", "stream", "--no-register"],
            cwd=REPOSITORY, env={**os.environ, **variables}, stdout=file, stderr=file,
        )  # fmt: skip
    try:
        yield
        if process.poll() is not None:
            raise IngestionError(f"the stream ended on its own; see {log}")
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()


def _wait_for(home: Path, rows: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not LocalBronze(home / SCHEMA).exists("invoices") or _bronze(home).to_pyarrow_dataset().count_rows() < rows:
        if time.monotonic() > deadline:
            raise IngestionError(f"the stream landed nothing; see {home / 'kafka' / 'stream.log'}")
        time.sleep(0.5)


def _bronze(home: Path):
    import deltalake

    return deltalake.DeltaTable(str(home / SCHEMA / "invoices"))
