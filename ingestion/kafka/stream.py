"""The stream: Kafka's topics into bronze's Delta tables, for ever or until all is read that is there.

Each batch is written to the tables with Delta's idempotent writes (txnAppId: the query, txnVersion: the batch;
https://docs.delta.io/latest/delta-streaming.html#idempotent-table-writes-in-foreachbatch). So a batch that is done again
after a kill writes only what it had not written: bronze has each message once as long as the checkpoint lives. Without it
everything is read anew, and silver drops the repetitions by topic, partition and offset.
"""

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from py4j.protocol import Py4JError, Py4JJavaError
from pyspark.errors import PySparkException, StreamingQueryException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.streaming import StreamingQuery

from ingestion import warehouse
from ingestion.kafka import events
from ingestion.kafka.registry import Registry, decoded
from ingestion.kafka.settings import SCHEMA, StreamSettings
from ingestion.settings import IngestionError, PassingError, first_line, lakehouse_home

#: A broker that is gone is noticed in seconds instead of minutes, and its return as well.
_CLIENT = {"request.timeout.ms": "10000", "default.api.timeout.ms": "20000"}
DEAD_LETTERS = "kafka_dead_letters"
#: Rows up to which a batch becomes one file a table, of some megabytes.
ROWS_A_FILE = 200_000
RETRY_SECONDS = 2.0
#: Spark 4.1.1 with availableNow does a batch that was broken off again, commits it, and then fails at its metrics, which want
#: the newest offsets that only a new batch asks for. The next try goes on after it.
_BUG = "KafkaMicroBatchStream$.metrics"
#: A broker that does not answer is given this long, in the run that ends by itself too.
PATIENCE_SECONDS = 120.0
#: Errors after which a next try can go well: the broker is down, or was just elected, or the registry does not answer.
_PASSING = re.compile(
    r"TimeoutException|DisconnectException|ConnectException|NotLeaderOrFollower|LeaderNotAvailable|BrokerNotAvailable"
    r"|UnknownTopicOrPartition|CoordinatorNotAvailable|RetriableException|KafkaException: Failed to create new"
    r"|the schema registry .* does not answer|Timed out waiting|Failed to get metadata"
)

#: Nothing, with the columns that `events.parsed` gives.
_NO_MESSAGES = """select cast(null as binary) as key, cast(null as binary) as value, cast(null as string) as topic,
    cast(null as int) as partition, cast(null as bigint) as offset, cast(null as timestamp) as timestamp,
    cast(null as array<struct<key: string, value: binary>>) as headers, cast(null as string) as op,
    cast(null as map<string, string>) as row, cast(null as timestamp) as told_at, cast(null as boolean) as is_debezium,
    cast(null as string) as error where false"""


@dataclass
class StreamResult:
    """What a stream landed: rows by table of bronze (dead letters too), batches, seconds."""

    rows: dict[str, int] = field(default_factory=dict)
    batches: int = 0
    seconds: float = 0.0


class Stream:
    """One stream from Kafka to bronze, in a Spark session.

    `result` grows as it runs. say: told a line at a time what happened.
    """

    def __init__(self, spark: SparkSession, settings: StreamSettings, say: Callable[[str], None] = lambda line: None):
        self.spark, self.settings, self.result, self._say = spark, settings, StreamResult(), say
        self._registry = Registry(settings.registry_url, settings.registry_user_info) if settings.registry_url else None
        self._query: StreamingQuery | None = None
        self._query_is_known = threading.Event()
        self._stopping = threading.Event()
        self._local = warehouse.target() == "local"
        self._tables = {topic: table for table, topic in settings.topics.items()}
        self._failure: Exception | None = None

    def run(self, available_now: bool = False) -> StreamResult:
        """Stream until all that is there is read (available_now), or until stop().

        A broker or registry that does not answer is waited for: for ever, or with available_now PATIENCE_SECONDS long.
        Raises IngestionError, one sentence: what stopped it. Nothing is lost then; the next run goes on.
        """
        begin, failing_since = time.monotonic(), None
        self.prepare()
        while not self._stopping.is_set():
            batches = self.result.batches
            try:
                self._once(available_now)
                break
            except (IngestionError, PySparkException, Py4JError, OSError) as error:
                sentence = self._sentence(error)
                if not isinstance(sentence, PassingError):
                    raise sentence from error
                now = time.monotonic()
                failing_since = now if self.result.batches > batches or failing_since is None else failing_since
                if available_now and now - failing_since > PATIENCE_SECONDS:
                    raise sentence from error
                self._say(f"{sentence}; trying again")
                self._stopping.wait(RETRY_SECONDS)
        self.result.seconds = time.monotonic() - begin
        return self.result

    def stop(self) -> None:
        """Let the stream end, from any thread or a signal's handler; run() returns then."""
        self._stopping.set()

    def _once(self, available_now: bool) -> None:
        settings, self._failure = self.settings, None
        self._query_is_known.clear()
        reader = self.spark.readStream.format("kafka").options(
            **{f"kafka.{name}": value for name, value in (_CLIENT | settings.options).items()},
            **{
                "kafka.bootstrap.servers": settings.servers,
                "subscribe": ",".join(self._tables),
                "startingOffsets": settings.starting_offsets,
                "maxOffsetsPerTrigger": str(settings.max_offsets),
                "includeHeaders": "true",
                # messages that were deleted before they were read stop the stream: that is a loss, and somebody must decide
                "failOnDataLoss": "true",
            },
        )
        trigger = {"availableNow": True} if available_now else {"processingTime": f"{settings.trigger_seconds} seconds"}
        self._query = (
            reader.load()
            .writeStream.foreachBatch(self._land)
            .option("checkpointLocation", settings.checkpoint)
            .queryName("kafka_to_bronze")
            .trigger(**trigger)
            .start()
        )
        self._query_is_known.set()
        try:
            # in steps: a signal's handler must not call the JVM while this thread does
            while not self._query.awaitTermination(1):
                if self._stopping.is_set():
                    self._query.stop()
        except StreamingQueryException as error:
            if self._failure:
                raise self._failure from None
            if _BUG in getattr(error, "_stackTrace", ""):
                raise PassingError("Spark did the batch that was broken off, and failed at counting it") from None
            raise

    def _land(self, messages: DataFrame, number: int) -> None:
        """Write one batch to the tables; what is written already is left out by Delta."""
        try:
            self._query_is_known.wait()
            query = self._query.id
            batch = f"{query}:{number}"
            found = self._parsed(messages).persist()
            try:
                is_dead = F.col("error").isNotNull()
                counts = {
                    (self._tables[row.topic], row.is_dead): row["count"]
                    for row in found.groupBy("topic", is_dead.alias("is_dead")).count().collect()
                }
                written = {}
                for topic, table in self._tables.items():
                    if rows := counts.get((table, False), 0):
                        of_table = found.where(F.col("topic") == topic)
                        self._append(events.bronze_rows(of_table, table, batch), table, rows, query, number)
                        written[table] = rows
                if dead := sum(rows for (_, is_dead), rows in counts.items() if is_dead):
                    self._append(events.dead_letters(found, batch), DEAD_LETTERS, dead, query, number)
                    written[DEAD_LETTERS] = dead
            finally:
                found.unpersist()
        except Exception as error:  # told by run(): through the JVM only its text would come back
            self._failure = error
            raise
        self.result.batches += 1
        for table, rows in written.items():
            self.result.rows[table] = self.result.rows.get(table, 0) + rows
        if written:
            self._say(f"batch {number}: " + ", ".join(f"{rows:,} {table}" for table, rows in written.items()))

    def _parsed(self, messages: DataFrame) -> DataFrame:
        messages = messages.where(F.col("value").isNotNull())
        if self._registry:
            return events.parsed(decoded(messages, self._registry))
        text = F.col("value").cast("string")
        return events.parsed(
            messages.withColumn("text", F.when(F.is_valid_utf8(text), text)).withColumn("error", F.lit(None).cast("string"))
        )

    def _append(self, rows: DataFrame, table: str, count: int, query: str, number: int) -> None:
        if count <= ROWS_A_FILE:
            rows = rows.coalesce(1)
        writer = rows.write.format("delta").mode("append").option("txnAppId", query).option("txnVersion", number)
        if self._local:
            writer.save(str(self._folder(table)))
        else:
            writer.saveAsTable(self._name(table))

    def prepare(self) -> None:
        """Make the tables, so that they exist before the first event; refuse those that another loader fills."""
        empty = self.spark.sql(_NO_MESSAGES)
        schema = f"`{warehouse.catalog()}`.`{warehouse.schema(SCHEMA)}`"
        if not self._local and not self.spark.catalog.databaseExists(schema):
            self.spark.sql(f"create schema {schema}")
        for table in (*self._tables.values(), DEAD_LETTERS):
            dead = table == DEAD_LETTERS
            frame = events.dead_letters(empty, "") if dead else events.bronze_rows(empty, table, "")
            place = str(self._folder(table)) if self._local else self._name(table)
            exists = (self._folder(table) / "_delta_log").is_dir() if self._local else self.spark.catalog.tableExists(place)
            if not exists:
                writer = frame.write.format("delta").mode("ignore")
                writer.save(place) if self._local else writer.saveAsTable(place)
                continue
            reader = self.spark.read.format("delta")
            held = (reader.load(place) if self._local else reader.table(place)).columns
            if "_kafka_offset" not in held:
                raise IngestionError(
                    f"the table {table} of {SCHEMA} has another loader's columns ({held[-1]} and no _kafka_offset): move it"
                    " away, or let that loader go on"
                )

    def _folder(self, table: str) -> Path:
        return lakehouse_home() / SCHEMA / table

    def _name(self, table: str) -> str:
        return f"`{warehouse.catalog()}`.`{warehouse.schema(SCHEMA)}`.`{table}`"

    def _sentence(self, error: Exception) -> IngestionError:
        if isinstance(error, IngestionError):
            return error
        text = str(error)
        if re.search(r"KAFKA_DATA_LOSS|OffsetOutOfRange|data loss|Some data may have been lost", text, re.IGNORECASE):
            return IngestionError(
                f"messages of {', '.join(self._tables)} that were not read yet are gone from Kafka, or a topic was made anew;"
                f" to go on with what is there, remove the checkpoint {self.settings.checkpoint}"
            )
        if isinstance(error, (OSError, Py4JError)) and not isinstance(error, Py4JJavaError):
            return IngestionError("Spark's JVM is gone; run the stream again, it goes on where it was")
        causes = re.findall(r"(?:Caused by: )?((?:[\w$]+\.)+[\w$]*(?:Exception|Error): [^\n]+)", text)
        reason = (causes[-1] if causes else first_line(error)).rstrip(".")[:300]
        if _PASSING.search(text):
            return PassingError(f"Kafka at {self.settings.servers} (KAFKA_BOOTSTRAP_SERVERS) does not answer: {reason}")
        return IngestionError(f"the stream stopped and can be run again: {reason}")
