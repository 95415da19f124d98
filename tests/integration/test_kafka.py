"""Kafka as a loader, with a real broker: what lands, what is a dead letter, the same silver as dlt's, kills at any moment."""

import dataclasses
import json
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import psutil
import pyarrow as pa
import pytest
from py4j.protocol import Py4JJavaError

from ingestion.kafka import events
from ingestion.kafka.__main__ import main
from ingestion.kafka.broker import message
from ingestion.kafka.settings import SCHEMA, StreamSettings
from ingestion.kafka.stream import DEAD_LETTERS, Stream
from ingestion.load import load
from ingestion.settings import IngestionError
from ingestion.source import CONTRACTS
from ingestion.values import RESCUED, arrow_type, conform
from tests.conftest import connect
from tests.fixtures_dbt import dbt, environment_of
from tests.fixtures_ingestion import NOW, later
from tests.fixtures_kafka import landed, start_stream, stream_settings

HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that a busy machine holds up is waited for, however long that takes."""
    monkeypatch.setattr("ingestion.kafka.stream.PATIENCE_SECONDS", 900.0)


def text_of(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def row_of(number: int, **values: object) -> dict[str, object]:
    """An invoice as an event has it; amounts are texts, which no JSON library rounds."""
    return {
        "invoice_id": number, "invoice_number": "INV-1", "customer_id": "C1", "country": "DE", "invoice_date": "2026-02-01",
        "due_date": "2026-03-01", "currency_code": "EUR", "net_amount": "10.00", "tax_amount": "1.90", "total_amount": "11.90",
        "status": "open", "created_at": text_of(NOW), "updated_at": text_of(NOW),
    } | values  # fmt: skip


def event(op: str, row: dict, ts: str | None = None) -> tuple[bytes, bytes]:
    return message("invoice_id", op, row, ts)


def send(producer, topic: str, messages: list[tuple[bytes, bytes]]) -> None:
    producer.send(topic, messages)
    producer.flush()


def made_anew(producer, topic: str) -> None:
    """Make a topic that was just deleted: the broker answers before it has done that, and refuses until then."""
    end = time.monotonic() + 300
    while True:
        try:
            return producer.create_topic(topic, partitions=1)
        except Py4JJavaError as error:
            if "TopicExistsException" not in str(error) or time.monotonic() > end:
                raise
            time.sleep(0.2)


def run(spark, settings: StreamSettings):
    return Stream(spark, settings).run(available_now=True)


# -- values -----------------------------------------------------------------------------------------------------------------

TEXTS = [
    "7", " 7", "-7", "+7", "7.0", "7.5", "1e3", "1.5E2", "1E-2", "1e-3", "9223372036854775807", "9223372036854775808", "007",
    "10.10", "10.100", "10.101", "-0.01", "9999999999999999.99", "10000000000000000", "9999999999999999.995", ".5", "1.", "1_0",
    "١٠", "0x10", "NaN", "Infinity", "", " ", "null", "2026-02-28", "2026-02-30", "2026-2-1", "0000-01-01", "0001-01-01",
    "9999-12-31", "2026-02-01T00:00:00", "2026-02-01T00:00:00Z", "2026-02-01T00:00:01Z", "2026-02-01 12:00:00",
    "2026-02-01T12:00:00.123456Z", "2026-02-01T12:00:00.1234567Z", "2026-02-01T12:00:00.1234560Z", "2026-02-01T12:00:00+02:00",
    "2026-02-01T25:00:00Z", "yesterday", "true",
]  # fmt: skip


def test_the_contract_is_that_of_the_dlt_load():
    types = {pa.int64(): "bigint", pa.string(): "string", pa.date32(): "date", pa.timestamp("us", "UTC"): "timestamp"}
    for contract in CONTRACTS:
        wanted = {name: arrow_type(column) for name, column in contract.columns.items()}
        assert events.COLUMNS[contract.name] == {
            name: f"decimal({kind.precision},{kind.scale})" if pa.types.is_decimal(kind) else types[kind]
            for name, kind in wanted.items()
        }
        assert events.KEYS[contract.name] == contract.key


def test_a_value_lands_as_the_dlt_load_lands_it(spark):
    """Every text in every column: the same value, or the same text in _rescued_data."""
    contract = next(contract for contract in CONTRACTS if contract.name == "invoices")
    messages = pa.table(
        {
            "value": pa.array([json.dumps({"op": "u", "row": dict.fromkeys(contract.columns, t)}).encode() for t in TEXTS]),
            "offset": pa.array(range(len(TEXTS)), pa.int64()),
        }
    )
    found = rows_in_bronze(spark, messages)
    wanted = conform(pa.table(dict.fromkeys(contract.columns, pa.array(TEXTS))), contract.columns).to_pylist()
    for text, row, reference in zip(TEXTS, found, wanted, strict=True):
        assert {name: row[name] for name in contract.columns} == {name: reference[name] for name in contract.columns}, text
        assert json.loads(row[RESCUED] or "{}") == json.loads(reference[RESCUED] or "{}"), text


def rows_in_bronze(spark, messages: pa.Table) -> list[dict]:
    """The rows of bronze, in the order of the messages, that values of messages are."""
    frame = spark.createDataFrame(messages).selectExpr(
        "value", "cast(value as string) as text", "offset", "cast(null as string) as error", "'invoices' as topic",
        "0 as partition", "timestamp'2026-03-01' as timestamp",
    )  # fmt: skip
    found = events.bronze_rows(events.parsed(frame), "invoices", "test").orderBy("_kafka_offset").toArrow()
    return found.to_pylist()


def test_numbers_of_json_are_exact_and_other_columns_are_rescued(spark):
    values = [
        b'{"op":"c","row":{"invoice_id":9007199254740993,"total_amount":9999999999999999.99,"net_amount":0.1,"colour":"red"}}'
    ]
    row = rows_in_bronze(spark, pa.table({"value": pa.array(values), "offset": [0]}))[0]
    assert (row["invoice_id"], row["total_amount"], row["net_amount"]) == (
        9007199254740993, Decimal("9999999999999999.99"), Decimal("0.10"),
    )  # fmt: skip
    assert row[RESCUED] == '{"colour":"red"}'


def test_debezium_s_envelope(spark):
    after = {"invoice_id": 9, "invoice_date": 20485, "total_amount": "11.90", "updated_at": "2026-03-01T12:00:00.000001Z"}
    values = [
        {"op": "r", "before": None, "after": after, "ts_ms": 1, "source": {"table": "invoices"}},
        {"schema": {"type": "struct"}, "payload": {"op": "u", "before": None, "after": after, "ts_ms": 1}},
        {"op": "d", "before": after, "after": None, "ts_ms": 1772366400123},
    ]
    encoded = [json.dumps(value).encode() for value in values]
    created, updated, deleted = rows_in_bronze(spark, pa.table({"value": pa.array(encoded), "offset": [0, 1, 2]}))
    assert created["invoice_date"].isoformat() == "2026-02-01"
    assert {**created, "_kafka_offset": 1, "_kafka_ingested_at": None} == {**updated, "_kafka_ingested_at": None}
    assert deleted["_is_deleted"] and deleted["invoice_id"] == 9 and deleted["total_amount"] is None
    assert deleted["updated_at"] == datetime(2026, 3, 1, 12, 0, 0, 123_000, UTC)


# -- what lands, and what does not --------------------------------------------------------------------------------------------


def test_what_is_no_event_is_kept_whole_and_the_rest_lands(spark, broker, producer, home):
    producer.create_topic("mixed", partitions=1)
    dead = [
        b"", b"\xff\x00", b"not json", b"{}", b"[]", b"7", b"null", b'{"op":"c"}', b'{"op":"x","row":{}}',
        b'{"op":"c","row":"text"}', b'{"op":"c","row":{"invoice_id":1}', b'{"op":"c","row":{"invoice_id":1}}{}',
        b'{"op":"c","row":{"country":"\xff"}}', b'{"op":"c","row":{"invoice_id":1,"invoice_id":2}}',
    ]  # fmt: skip
    alive = [event("c", row_of(1)), event("u", row_of(2, total_amount="NaN")), event("d", {"invoice_id": 3})]
    send(producer, "mixed", [*((b"key", value) for value in dead), (b"1", None), *alive])
    settings = stream_settings(broker, home, topics={"invoices": "mixed"})

    result = run(spark, settings)
    assert result.rows == {"invoices": 3, DEAD_LETTERS: len(dead)}
    letters = landed(home, DEAD_LETTERS)
    assert [(row["key"], row["value"]) for row in letters] == [(b"key", value) for value in dead]
    assert [row["_kafka_offset"] for row in letters] == list(range(len(dead)))
    assert {(row["_kafka_topic"], row["_kafka_partition"]) for row in letters} == {("mixed", 0)}
    assert all(row["error"] and row["_kafka_timestamp"] for row in letters)
    first, misfit, deleted = landed(home, "invoices")
    assert first["total_amount"] == Decimal("11.90") and first["created_at"] == NOW
    assert misfit["total_amount"] is None and json.loads(misfit[RESCUED]) == {"total_amount": "NaN"}
    assert deleted["_is_deleted"] and deleted["updated_at"] == deleted["_kafka_timestamp"]

    assert run(spark, settings).rows == {}, "all is read"
    send(producer, "mixed", [event("u", row_of(1, status="paid"))])
    assert run(spark, settings).rows == {"invoices": 1}


def test_messages_that_are_gone_stop_the_stream(spark, broker, producer, home):
    producer.create_topic("short", partitions=1)
    send(producer, "short", [event("c", row_of(1)), event("c", row_of(2))])
    settings = stream_settings(broker, home, topics={"invoices": "short"})
    run(spark, settings)
    producer.delete_topic("short")
    made_anew(producer, "short")
    with pytest.raises(
        IngestionError, match="messages of short that were not read yet are gone from Kafka, or a topic was made"
    ):
        run(spark, settings)
    assert len(landed(home, "invoices")) == 2


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({}, "KAFKA_BOOTSTRAP_SERVERS is not set"),
        ({"KAFKA_BOOTSTRAP_SERVERS": "broker"}, "KAFKA_BOOTSTRAP_SERVERS must be host:port"),
        ({"KAFKA_INVOICES_TOPIC": ""}, "there is nothing to read"),
        ({"KAFKA_COUNTRIES_TOPIC": "invoices"}, "a topic has one table"),
        ({"KAFKA_VALUE_FORMAT": "xml"}, "KAFKA_VALUE_FORMAT must be json or avro, not 'xml'"),
        ({"KAFKA_VALUE_FORMAT": "avro"}, "KAFKA_SCHEMA_REGISTRY_URL is not set"),
        ({"KAFKA_VALUE_FORMAT": "avro", "KAFKA_SCHEMA_REGISTRY_URL": "registry:1"}, "must begin with http"),
        ({"KAFKA_MAX_OFFSETS_PER_TRIGGER": "0"}, "KAFKA_MAX_OFFSETS_PER_TRIGGER must be a whole number"),
        ({"KAFKA_TRIGGER_SECONDS": "soon"}, "KAFKA_TRIGGER_SECONDS must be a number of seconds, not 'soon'"),
        ({"KAFKA_OPTIONS": "{"}, "KAFKA_OPTIONS must be a JSON object of texts"),
        ({"DBT_TARGET": "databricks"}, "KAFKA_CHECKPOINT is not set to a folder of a volume"),
    ],
)
def test_a_bad_setting_is_one_sentence(variables, sentence, home, monkeypatch, capsys):
    for name, value in (({"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9092"} if variables else {}) | variables).items():
        monkeypatch.setenv(name, value)
    assert main(["stream"]) == 1
    said = capsys.readouterr().err
    assert sentence in said and said.startswith("error: ") and said.count("\n") == 1


def test_a_table_of_another_loader_is_left_alone(spark, broker, source, home):
    source.add(1)
    load(register=False)
    (home / "bronze").rename(home / SCHEMA)
    with pytest.raises(IngestionError, match="the table invoices of bronze_kafka has another loader's columns"):
        run(spark, stream_settings(broker, home))


# -- Avro ---------------------------------------------------------------------------------------------------------------------


def avro_event(*more: dict) -> dict:
    """The schema of an event: the envelope with a row of some columns."""
    optional = lambda name, kind: {"name": name, "type": ["null", kind], "default": None}  # noqa: E731
    amount = {"type": "bytes", "logicalType": "decimal", "precision": 18, "scale": 2}
    moment = {"type": "long", "logicalType": "timestamp-micros"}
    row = {
        "type": "record", "name": "invoice",
        "fields": [
            {"name": "invoice_id", "type": "long"}, optional("country", "string"), optional("total_amount", amount),
            optional("invoice_date", {"type": "int", "logicalType": "date"}), optional("updated_at", moment), *more,
        ],
    }  # fmt: skip
    return {
        "type": "record", "name": "event",
        "fields": [{"name": "op", "type": "string"}, {"name": "row", "type": row}, optional("ts", "string")],
    }  # fmt: skip


def framed(schema_id: int, body: bytes) -> bytes:
    return b"\x00" + schema_id.to_bytes(4, "big") + body


def test_avro_is_read_with_the_schema_of_its_writer(spark, broker, producer, registry, home):
    producer.create_topic("avro", partitions=1)
    old, new = avro_event(), avro_event({"name": "status", "type": "string"})
    registry.schemas = {1: old, 70_000: new, 3: {"type": "string"}}
    # By hand, after https://avro.apache.org/docs/1.11.1/specification/#binary-encoding: op "c", invoice_id 7, branch 1 "DE",
    # branch 1 the amount -1190 in two bytes, branch 1 the day 20485, branch 1 the microsecond 1772366400000001, no ts.
    body = b"\x02c" + b"\x0e" + b"\x02\x04DE" + b"\x02\x04\xfb\x5a" + b"\x02" + zigzag(20485) + b"\x02"
    body += zigzag(1772366400000001) + b"\x00"
    newer = b"\x02u" + b"\x0e" + b"\x02\x04FR" + b"\x00\x00\x00" + b"\x08paid" + b"\x00"
    dead = [framed(2, body), framed(1, body[:6]), framed(3, b"\x02x"), b"\x01" + framed(1, body)[1:], b"\x00\x00", b"{}"]
    send(producer, "avro", [(b"7", framed(1, body)), (b"7", framed(70_000, newer)), *((b"x", value) for value in dead)])
    settings = stream_settings(
        broker, home, topics={"invoices": "avro"}, value_format="avro", registry_url=registry.url,
        registry_user_info="key:secret",
    )  # fmt: skip

    with pytest.raises(IngestionError, match="refuses with status 401; KAFKA_SCHEMA_REGISTRY_USER_INFO holds key:secret"):
        run(spark, dataclasses.replace(settings, registry_user_info="key:wrong"))
    registry.is_up = False
    threading.Timer(4, lambda: setattr(registry, "is_up", True)).start()
    assert run(spark, settings).rows == {"invoices": 2, DEAD_LETTERS: len(dead)}, "a registry that is down is waited for"
    first, second = landed(home, "invoices")
    assert (first["invoice_id"], first["country"], first["total_amount"]) == (7, "DE", Decimal("-11.90"))
    assert first["invoice_date"].isoformat() == "2026-02-01"
    assert first["updated_at"] == datetime(2026, 3, 1, 12, 0, 0, 1, UTC)
    assert (second["country"], second["status"], second["total_amount"]) == ("FR", "paid", None)
    letters = landed(home, DEAD_LETTERS)
    assert [row["value"] for row in letters] == dead
    assert letters[0]["error"] == "the schema registry has no record of Avro with the id 2"
    assert {row["error"] for row in letters[3:]} == {"the value is not in the schema registry's wire format"}
    assert sorted(registry.answered) == [1, 3, 70_000], "each schema is asked for once, when it is answered"


def zigzag(number: int) -> bytes:
    """Avro's int and long: zigzag, then seven bits a byte, the lowest first."""
    number, encoded = (number << 1) ^ (number >> 63), b""
    while number > 127:
        encoded += bytes([number & 127 | 128])
        number >>= 7
    return encoded + bytes([number])


# -- silver -------------------------------------------------------------------------------------------------------------------


class Silver:
    """Silver over one loader's bronze in `home`, in schemas that begin with the loader's name."""

    def __init__(self, endpoint: dict[str, str], loader: str, folder: Path):
        self.loader, self._endpoint, self._environment = loader, endpoint, environment_of(endpoint, folder)
        self.bronze = "bronze" if loader == "dlt" else f"bronze_{loader}"

    def query(self, statement: str) -> list[tuple]:
        with closing(connect(self._endpoint)) as connection, connection.cursor() as cursor:
            schemas = {"{s}": f"of_{self.loader}_silver", "{b}": f"of_{self.loader}_{self.bronze}"}
            for name, schema in schemas.items():
                statement = statement.replace(name, schema)
            cursor.execute(statement)
            rows = cursor.fetchall() if cursor.description else []
            return [tuple(v.tolist() if hasattr(v, "tolist") else v for v in row) for row in rows]  # arrays come as numpy's

    def register(self, home: Path) -> None:
        self.query("create schema if not exists {b}")
        for table in ("invoices", "countries"):
            self.query(f"create table {{b}}.{table} using delta location '{(home / self.bronze / table).as_uri()}'")

    def build(self, *selected: str) -> None:
        names = {"schema_prefix": f"of_{self.loader}_", "loaders": self.loader}
        dbt("build", "--select", *selected, "--exclude", "test_type:unit", "tag:elementary-tests", "silver_country_matches",
            "--resource-type", "model", "--resource-type", "seed", "--vars", json.dumps(names),
            env=self._environment)  # fmt: skip

    def drop(self) -> None:
        for layer in (self.bronze, "silver", "test_failures"):
            self.query(f"drop schema if exists of_{self.loader}_{layer} cascade")


#: Without the loader's own columns, and the time of a deletion, which dlt's comparison of keys can only guess.
INVOICES = """select invoice_id, invoice_number, customer_id, country_text, invoice_date, due_date, invoice_month,
    currency_code, net_amount, tax_amount, total_amount, status, created_at, if(is_deleted, null, updated_at) as updated_at,
    is_deleted from {s}.invoices order by invoice_id"""
REJECTED = "select invoice_id, total_amount, reasons, is_deleted from {s}.rejected_invoices order by invoice_id"
COUNTRIES = "select country_code, country_name, region, sub_region, currency_code, updated_at, is_deleted from {s}.countries"
OUTCOMES = "select outcome, sum(row_count) from {s}.row_accounting where table_name = 'invoices' group by outcome"


def test_silver_is_the_same_as_the_dlt_load_s_and_a_lost_checkpoint_changes_nothing(
    spark, broker, producer, source, home, fast_endpoint, tmp_path, monkeypatch
):
    monkeypatch.setenv("SOURCES__SQL_DATABASE__COMPARE_KEYS", "true")
    monkeypatch.setenv("SOURCES__SQL_DATABASE__MAX_DELETED_SHARE", "1")
    for topic in ("same", "same_countries"):
        producer.create_topic(topic)
    at = lambda hours: text_of(later(hours=hours))  # noqa: E731
    # The same history: in the source's table, and as events of which each change is one.
    source.add(1, 12)
    source.add(20, total_amount="12.90")
    source.add(21, currency_code="EUX")
    source.add(22, country=None, status="PAID ")
    history = [event("c", row_of(n)) for n in range(1, 13)]
    history += [event("c", row_of(20, total_amount="12.90")), event("c", row_of(21, currency_code="EUX"))]
    history += [event("c", row_of(22, country=None, status="PAID "))]
    country = {"country_code": "DE", "country_name": "Germany", "region": "Europe", "sub_region": "Western Europe",
               "currency_code": "EUR", "updated_at": text_of(NOW)}  # fmt: skip
    send(producer, "same", history)
    send(producer, "same_countries", [message("country_code", "c", country)])
    kafka_home = tmp_path / "kafka_home"
    settings = stream_settings(broker, kafka_home, topics={"invoices": "same", "countries": "same_countries"}, max_offsets=20)

    def stream(settings: StreamSettings) -> None:
        with monkeypatch.context() as patch:
            patch.setenv("LAKEHOUSE_HOME", str(kafka_home))
            run(spark, settings)

    stream(settings)
    load(register=False)
    source.run("update invoices set status = 'paid', total_amount = 12.00, net_amount = 10.10, updated_at = %s"
               " where invoice_id <= 4", later(hours=1))  # fmt: skip
    source.run("update invoices set invoice_date = '2026-01-15', updated_at = %s where invoice_id = 5", later(hours=2))
    source.run("update invoices set total_amount = 11.90, updated_at = %s where invoice_id = 20", later(hours=2))
    source.run("delete from invoices where invoice_id in (6, 7)")
    load(register=False)
    back = datetime.now(UTC)
    source.add(7, at=back, status="cancelled")  # comes back after its deletion, which dlt saw just now
    source.run("update countries set country_name = 'Deutschland', updated_at = %s", later(hours=1))
    load(register=False)
    paid = {"status": "paid", "total_amount": "12.00", "net_amount": "10.10"}
    changes = [event("u", row_of(n, **paid, updated_at=at(1))) for n in range(1, 5)]
    changes += [
        event("u", row_of(5, invoice_date="2026-01-10", updated_at=at(2)))
    ]  # two events of one time: the last one counts
    changes += [event("u", row_of(5, invoice_date="2026-01-15", updated_at=at(2))), event("u", row_of(20, updated_at=at(2)))]
    changes += [event("d", {"invoice_id": n}, at(3)) for n in (6, 7)]
    changes += [event("c", row_of(7, status="cancelled", updated_at=text_of(back)))]
    send(producer, "same", changes)
    send(
        producer,
        "same_countries",
        [message("country_code", "u", country | {"country_name": "Deutschland", "updated_at": at(1)})],
    )

    of_kafka, of_dlt = (Silver(fast_endpoint, loader, tmp_path / loader) for loader in ("kafka", "dlt"))
    try:
        of_kafka.register(kafka_home)
        of_dlt.register(home)
        stream(settings)
        of_kafka.build("+silver_row_accounting")
        of_dlt.build("+silver_row_accounting")
        wanted = [of_dlt.query(each) for each in (INVOICES, REJECTED, COUNTRIES)]
        assert [of_kafka.query(each) for each in (INVOICES, REJECTED, COUNTRIES)] == wanted
        states = {row[0]: (row[11], row[14]) for row in wanted[0]}
        assert states[1] == ("paid", False) and states[6][1] and states[7] == ("cancelled", False) and len(wanted[1]) == 1
        rows = len(history) + len(changes)
        before = dict(of_kafka.query(OUTCOMES))
        assert sum(before.values()) == rows and "unaccounted" not in before

        stream(stream_settings(broker, kafka_home, topics=settings.topics, checkpoint=str(tmp_path / "another")))
        assert Counter(
            Counter((r["_kafka_partition"], r["_kafka_offset"]) for r in landed(kafka_home, "invoices")).values()
        ) == {2: rows}
        of_kafka.build("stg_invoices+1", "stg_countries+1", "silver_row_accounting")
        assert [of_kafka.query(each) for each in (INVOICES, REJECTED, COUNTRIES)] == wanted
        after = dict(of_kafka.query(OUTCOMES))
        assert after == before | {"superseded": before["superseded"] + rows}
    finally:
        of_kafka.drop()
        of_dlt.drop()


# -- kills --------------------------------------------------------------------------------------------------------------------

SEED = 5


def read_until(process: subprocess.Popen, word: str, seconds: float = 900) -> list[str]:
    """The lines that a stream's process has printed, up to one with `word`."""
    lines, timer = [], threading.Timer(seconds, process.kill)
    timer.start()
    for line in process.stdout:
        lines.append(line)
        if word in line:
            break
    timer.cancel()
    assert lines and word in lines[-1], lines
    return lines


def jvm_of(process: subprocess.Popen) -> psutil.Process:
    """The JVM that a stream's process has started."""
    children = psutil.Process(process.pid).children()
    (found,) = (child for child in children if any("PythonGatewayServer" in part for part in child.cmdline()[-1:]))
    return found


def gone(process: psutil.Process) -> bool:
    """Whether a process has ended; where nobody inherits orphans, it stays as a zombie."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_kill_9_of_broker_spark_and_stream_loses_and_doubles_nothing(spark, broker, producer, home, monkeypatch):
    """Each is killed at a random moment of a batch or between two; the stream's process survives the broker's death."""
    print(f"seed {SEED}")
    random_, sent = random.Random(SEED), 0
    producer.create_topic("killed")

    def send_some() -> None:
        """Two messages in a hundred are dead letters."""
        nonlocal sent
        numbers = range(sent, sent + random_.randint(50, 300))
        producer.send("killed", [(b"x", b"dead") if n % 50 == 0 else event("c", row_of(n)) for n in numbers])
        sent = numbers.stop

    def send_and_wait() -> None:
        send_some()
        time.sleep(random_.uniform(0, 2.5))

    variables = {"KAFKA_INVOICES_TOPIC": "killed", "KAFKA_TRIGGER_SECONDS": "0", "KAFKA_MAX_OFFSETS_PER_TRIGGER": "150"}
    variables |= {"KAFKA_OPTIONS": json.dumps({"request.timeout.ms": "3000", "default.api.timeout.ms": "4000"})}
    process = start_stream(broker, home, **variables)
    try:
        send_some()
        read_until(process, "batch")
        send_and_wait()
        broker.stop(signal.SIGKILL)
        send_and_wait()
        broker.start()
        send_some()
        read_until(process, "batch")
        send_and_wait()
        jvm_of(process).kill()
        assert process.wait(600) == 1
        assert "error: Spark's JVM is gone; run the stream again" in process.stdout.read()

        process = start_stream(broker, home, **variables)
        send_some()
        read_until(process, "batch")
        send_and_wait()
        jvm, end = jvm_of(process), time.monotonic() + 600
        process.kill()
        while not gone(jvm):  # it ends by itself, so that no two streams write
            assert time.monotonic() < end, "the JVM outlives its stream"
            time.sleep(0.1)
    finally:
        process.kill()
        process.wait()
    send_some()
    producer.flush()
    run(spark, stream_settings(broker, home, topics={"invoices": "killed"}))

    rows, dead = landed(home, "invoices"), landed(home, DEAD_LETTERS)
    offsets = Counter((row["_kafka_partition"], row["_kafka_offset"]) for row in rows + dead)
    assert set(offsets.values()) == {1} and len(offsets) == sent
    assert sorted(row["invoice_id"] for row in rows) == [n for n in range(sent) if n % 50]
