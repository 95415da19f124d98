"""The stream's settings, from environment variables; `python -m ingestion.kafka stream --help` lists them."""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from ingestion import warehouse
from ingestion.settings import IngestionError, lakehouse_home, number_setting

#: The schema that the stream fills, and locally the folder: each loader has its own.
SCHEMA = "bronze_kafka"
#: Every variable with what it means, as the command line tells it.
VARIABLES = {
    "KAFKA_BOOTSTRAP_SERVERS": "host:port of brokers, with commas between them",
    "KAFKA_INVOICES_TOPIC": "topic of the invoices' events (default: invoices)",
    "KAFKA_COUNTRIES_TOPIC": "topic of the countries' events (default: none, another loader brings them)",
    "KAFKA_VALUE_FORMAT": "json (the default) or avro, in the wire format of Confluent's schema registry",
    "KAFKA_SCHEMA_REGISTRY_URL": "the registry, for avro",
    "KAFKA_SCHEMA_REGISTRY_USER_INFO": "key:secret, where it asks for them",
    "KAFKA_STARTING_OFFSETS": "earliest (the default) or latest: where a stream begins that has no checkpoint",
    "KAFKA_MAX_OFFSETS_PER_TRIGGER": "messages of one batch at most (default: 100000)",
    "KAFKA_TRIGGER_SECONDS": "seconds from one batch of a continuous stream to the next (default: 10; 0: at once)",
    "KAFKA_OPTIONS": 'further options of the Kafka client, a JSON object such as {"security.protocol": "SASL_SSL"}',
    "KAFKA_CHECKPOINT": "folder of the checkpoint (default: in the lakehouse's folder; on Databricks needed, a volume's)",
}


@dataclass(frozen=True)
class StreamSettings:
    """What one stream reads and where it keeps its place.

    Attributes: servers: host:port, with commas; topics: topic by table of bronze; value_format: json or avro; registry_url,
    registry_user_info: of the schema registry, or None; starting_offsets: earliest or latest; max_offsets: messages a
    batch; trigger_seconds: between the starts of two batches; options: of the Kafka client; checkpoint: a folder.
    """

    servers: str
    topics: dict[str, str]
    value_format: str
    registry_url: str | None
    registry_user_info: str | None
    starting_offsets: str
    max_offsets: int
    trigger_seconds: float
    options: dict[str, str]
    checkpoint: str

    @classmethod
    def from_environment(cls) -> "StreamSettings":
        """Read the variables; raises IngestionError naming the one that is missing or cannot be."""
        servers = os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "").strip()
        if not servers:
            raise IngestionError("KAFKA_BOOTSTRAP_SERVERS is not set to the brokers, such as broker.example.com:9092")
        if not all(re.fullmatch(r"\S+:\d+", server.strip()) for server in servers.split(",")):
            raise IngestionError(f"KAFKA_BOOTSTRAP_SERVERS must be host:port, with commas between them, not {servers!r}")
        topics = {
            "invoices": os.environ.get("KAFKA_INVOICES_TOPIC", "invoices").strip(),
            "countries": os.environ.get("KAFKA_COUNTRIES_TOPIC", "").strip(),
        }
        topics = {table: topic for table, topic in topics.items() if topic}
        if not topics:
            raise IngestionError("KAFKA_INVOICES_TOPIC and KAFKA_COUNTRIES_TOPIC are both empty: there is nothing to read")
        if len(set(topics.values())) < len(topics):
            raise IngestionError("KAFKA_COUNTRIES_TOPIC must be another topic than KAFKA_INVOICES_TOPIC: a topic has one table")
        value_format = _one_of("KAFKA_VALUE_FORMAT", "json", "avro")
        registry_url = os.environ.get("KAFKA_SCHEMA_REGISTRY_URL", "").rstrip("/") or None
        if value_format == "avro" and not registry_url:
            raise IngestionError("KAFKA_SCHEMA_REGISTRY_URL is not set, which KAFKA_VALUE_FORMAT=avro needs")
        if registry_url and not registry_url.startswith(("http://", "https://")):
            raise IngestionError(f"KAFKA_SCHEMA_REGISTRY_URL must begin with http:// or https://, not {registry_url!r}")
        checkpoint = os.environ.get("KAFKA_CHECKPOINT")
        if not checkpoint and warehouse.target() == "databricks":
            raise IngestionError(
                "KAFKA_CHECKPOINT is not set to a folder of a volume, such as /Volumes/CATALOG/SCHEMA/VOLUME/kafka"
            )
        return cls(
            servers=servers,
            topics=topics,
            value_format=value_format,
            registry_url=registry_url,
            registry_user_info=os.environ.get("KAFKA_SCHEMA_REGISTRY_USER_INFO") or None,
            starting_offsets=_one_of("KAFKA_STARTING_OFFSETS", "earliest", "latest"),
            max_offsets=int(
                number_setting("KAFKA_MAX_OFFSETS_PER_TRIGGER", "100000", r"[1-9]\d{0,8}", "a whole number from 1 on")
            ),
            trigger_seconds=float(number_setting("KAFKA_TRIGGER_SECONDS", "10", r"\d{1,5}(\.\d+)?", "a number of seconds")),
            options=_options(),
            checkpoint=checkpoint or str(Path(lakehouse_home()) / "kafka" / "checkpoint"),
        )


def _one_of(name: str, *values: str) -> str:
    value = (os.environ.get(name) or values[0]).strip().lower()
    if value not in values:
        raise IngestionError(f"{name} must be {' or '.join(values)}, not {value!r}")
    return value


def _options() -> dict[str, str]:
    try:
        options = json.loads(os.environ.get("KAFKA_OPTIONS") or "{}")
    except ValueError:
        options = None
    if not isinstance(options, dict) or not all(isinstance(value, str) for value in options.values()):
        # without the value: it may hold a password
        raise IngestionError('KAFKA_OPTIONS must be a JSON object of texts, such as {"security.protocol": "SASL_SSL"}')
    return options
