"""Avro messages in the wire format of Confluent's schema registry, decoded with the schema that their writer used.

Byte 0 is 0, bytes 1 to 4 are the schema's id (big-endian), and Avro's binary encoding follows
(https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/index.html#wire-format). A schema is
asked for by `GET /schemas/ids/{id}` (https://docs.confluent.io/platform/current/schema-registry/develop/api.html); it never
changes, so each is asked for once.
"""

import json
from functools import reduce

import requests
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.avro.functions import from_avro

from ingestion.settings import IngestionError, PassingError

SECONDS = 10
_HEADER = 5
#: Spark would cut times to milliseconds.
_JSON = {"timestampFormat": "yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX", "timestampNTZFormat": "yyyy-MM-dd'T'HH:mm:ss.SSSSSS"}


class Registry:
    """A schema registry at `url`; user_info: key:secret, or None."""

    def __init__(self, url: str, user_info: str | None = None):
        self.url, self._user_info = url, user_info
        self._schemas: dict[int, str | None] = {}

    def schema(self, schema_id: int) -> str | None:
        """Return the Avro schema (JSON) with this id, None where the registry has none such, or one
        that is no record of Avro or refers to others.

        Raises: PassingError when the registry does not answer, IngestionError when it refuses.
        """
        if schema_id not in self._schemas:
            self._schemas[schema_id] = self._asked(schema_id)
        return self._schemas[schema_id]

    def _asked(self, schema_id: int) -> str | None:
        auth = tuple(self._user_info.split(":", 1)) if self._user_info else None
        where = f"the schema registry {self.url} (KAFKA_SCHEMA_REGISTRY_URL)"
        try:
            answer = requests.get(f"{self.url}/schemas/ids/{schema_id}", auth=auth, timeout=SECONDS)
            if answer.status_code == 404:
                return None
            if answer.status_code >= 500 or answer.status_code == 429:
                raise PassingError(f"{where} does not answer: status {answer.status_code}")
            if answer.status_code != 200:
                raise IngestionError(
                    f"{where} refuses with status {answer.status_code}; KAFKA_SCHEMA_REGISTRY_USER_INFO holds key:secret"
                )
            found = answer.json()
            text = found["schema"]
        except requests.JSONDecodeError:
            raise IngestionError(f"{where} answers something that is no JSON: is it a schema registry?") from None
        except requests.RequestException as error:
            raise PassingError(f"{where} does not answer: {type(error).__name__}") from error
        # Schemas with references need those resolved first, which from_avro does not do.
        is_plain = found.get("schemaType", "AVRO") == "AVRO" and not found.get("references")
        return text if is_plain and _is_record(text) else None


def decoded(messages: DataFrame, registry: Registry) -> DataFrame:
    """Add to messages `text`, the JSON of the Avro value (times with microseconds), and `error`, why there is none.

    A value that its schema does not fit has an error; so has one whose schema the registry does not know. One pass over the
    messages finds the ids of their schemas.
    """
    framed = F.length("value") > _HEADER
    schema_id = F.when(framed & (F.hex(F.substring("value", 1, 1)) == "00"), _unsigned(F.substring("value", 2, 4)))
    messages = messages.withColumn("schema_id", schema_id)
    ids = [row[0] for row in messages.select("schema_id").where(F.col("schema_id").isNotNull()).distinct().collect()]
    schemas = {number: schema for number in ids if (schema := registry.schema(number))}
    body = F.expr(f"substring(value, {_HEADER + 1})")
    texts = reduce(
        lambda so_far, one: so_far.when(
            F.col("schema_id") == one[0], F.to_json(from_avro(body, one[1], {"mode": "PERMISSIVE"}), _JSON)
        ),
        sorted(schemas.items()),
        F.when(F.lit(False), F.lit(None).cast("string")),
    )
    error = (
        F.when(F.col("schema_id").isNull(), "the value is not in the schema registry's wire format")
        .when(
            ~F.col("schema_id").isin(*schemas) if schemas else F.lit(True),
            F.concat(F.lit("the schema registry has no record of Avro with the id "), F.col("schema_id").cast("string")),
        )
        .when(F.col("text").isNull(), "the value does not fit its Avro schema")
    )
    return messages.withColumn("text", texts).withColumn("error", error).drop("schema_id")


def _unsigned(four_bytes: Column) -> Column:
    return F.conv(F.hex(four_bytes), 16, 10).cast("bigint")


def _is_record(text: str) -> bool:
    try:
        schema = json.loads(text)
    except ValueError:
        return False
    return isinstance(schema, dict) and schema.get("type") == "record"
