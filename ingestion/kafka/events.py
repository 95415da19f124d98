"""Kafka's messages into rows of bronze: functions from DataFrame to DataFrame, the same on a cluster and on a laptop.

A message holds one event in one of two envelopes:

    {"op": "c" | "u" | "d", "row": {"invoice_id": 7, "country": "DE", …}, "ts": "2026-03-01T12:00:00Z"}
    {"op": "c" | "u" | "d" | "r", "before": {…}, "after": {…}, "ts_ms": 1772366400000}    Debezium's, also within {"payload": …}

(https://debezium.io/documentation/reference/stable/connectors/postgresql.html#postgresql-create-events; its connector needs
decimal.handling.mode=string, because base64 of bytes tells no amount.) Every value is read as the text that was sent, and
lands in its column only if it fits exactly: else the column is null and the text is in `_rescued_data`, as are columns that
the contract does not know. That is the rule of ingestion.values, which is its reference. What is no event is a dead letter.
A message without a value is no event either: topics with compaction have them after a deletion, which was told before.
"""

from collections.abc import Callable

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

#: Bronze's contract: the same columns and types as the dlt load lands (ingestion.source), which is no import of a cluster's.
COLUMNS: dict[str, dict[str, str]] = {
    "invoices": {
        "invoice_id": "bigint", "invoice_number": "string", "customer_id": "string", "country": "string",
        "invoice_date": "date", "due_date": "date", "currency_code": "string", "net_amount": "decimal(18,2)",
        "tax_amount": "decimal(18,2)", "total_amount": "decimal(18,2)", "status": "string", "created_at": "timestamp",
        "updated_at": "timestamp",
    },
    "countries": {
        "country_code": "string", "country_name": "string", "region": "string", "sub_region": "string",
        "currency_code": "string", "updated_at": "timestamp",
    },
}  # fmt: skip
KEYS = {"invoices": "invoice_id", "countries": "country_code"}
METADATA = ("topic", "partition", "offset", "timestamp")


def parsed(messages: DataFrame) -> DataFrame:
    """Add to messages with a column `text` (JSON) the columns `op`, `row` (map of text), `told_at`, `error` (null: an event).

    `error` may come with the messages, where `text` could not even be made. `told_at` is the event's own time or null.
    """

    # As an array of one: the parser reads the first value of a text and would not see what follows it. Through a variant,
    # which keeps a number as an exact decimal where from_json makes a double of it, and refuses a name that is there twice.
    # Debezium's JSON converter wraps the envelope where schemas.enable is true, which is its default.
    document = F.try_parse_json(F.concat(F.lit("["), F.col("text"), F.lit("]")))
    is_object = (
        F.schema_of_variant(document).startswith("ARRAY<OBJECT") & F.try_variant_get(document, "$[1]", "variant").isNull()
    )
    outer = F.when(is_object, F.try_variant_get(document, "$[0]", "variant"))
    payload = F.try_variant_get(outer, "$.payload", "variant")
    is_wrapped = F.try_variant_get(outer, "$.op", "string").isNull() & payload.isNotNull()
    event = F.when(is_wrapped, payload).otherwise(outer)
    fields = {name: F.try_variant_get(F.col("event"), f"$.{name}", "string") for name in ("op", "ts", "ts_ms")}
    rows = {name: F.try_variant_get(F.col("event"), f"$.{name}", "map<string,string>") for name in ("row", "before", "after")}
    found = messages.withColumn("event", event)
    found = found.withColumn(
        "event", F.when(F.col("event").isNotNull(), F.struct(*(c.alias(n) for n, c in (fields | rows).items())))
    )
    op = F.col("event.op")
    is_delete = op == "d"
    debezium = F.col("event.after").isNotNull() | F.col("event.before").isNotNull()
    row = F.when(debezium, F.when(is_delete, F.col("event.before")).otherwise(F.col("event.after"))).otherwise(
        F.col("event.row")
    )
    milliseconds = F.when(F.col("event.ts_ms").rlike(r"^\d{1,14}$"), F.col("event.ts_ms")).try_cast("bigint")
    told_at = F.coalesce(as_timestamp(F.col("event.ts")), F.timestamp_millis(milliseconds))
    error = (
        F.when(F.col("text").isNull(), "the value is not text in UTF-8")
        .when(F.col("event").isNull(), "the value is not one JSON object")
        .when(op.isNull(), "the event has no op")
        .when(~op.isin("c", "u", "d", "r"), F.concat(F.lit("the event's op is none of c, u, d, r: "), F.substring(op, 1, 50)))
        .when(F.col("row").isNull(), "the event has no row")
    )
    found = found.withColumn("row", row).withColumn("is_debezium", debezium)
    return found.withColumns({"op": op, "told_at": told_at, "error": F.coalesce(F.col("error"), error)}).drop("event")


def bronze_rows(events: DataFrame, table: str, batch: str) -> DataFrame:
    """Return the rows of bronze that the events of `parsed` are, those without `error`.

    batch: what becomes `_kafka_batch_id`. A deletion keeps the key and its time only, like the dlt load's tombstones. That
    time is the later one of the row's `updated_at` and the event's own, because a deletion changes no row's `updated_at`.
    """
    contract, key = COLUMNS[table], KEYS[table]
    is_delete = F.col("op") == "d"
    values, misfits = {}, []
    for name, kind in contract.items():
        text = F.col("row")[name]
        if name not in (key, "updated_at"):
            text = F.when(~is_delete, text)
        value = CONVERSIONS[kind](text)
        if kind == "date":  # io.debezium.time.Date is the number of days since 1970-01-01
            days = F.when(F.col("is_debezium") & text.rlike(r"^-?\d{1,6}$"), text).try_cast("int")
            value = F.coalesce(value, F.date_from_unix_date(days))
        misfits.append(F.when(text.isNotNull() & value.isNull(), F.struct(F.lit(name).alias("key"), text.alias("value"))))
        values[name] = value
    unknown = F.filter(
        F.map_entries(F.col("row")),
        lambda entry: ~is_delete & ~entry["key"].isin(*contract) & entry["value"].isNotNull(),
    )
    rescued = F.concat(F.array_compact(F.array(*misfits)), unknown)
    updated_at = F.when(
        is_delete, F.greatest(values["updated_at"], F.col("told_at"), F.when(_no_time(values), F.col("timestamp")))
    ).otherwise(values["updated_at"])
    return events.where(F.col("error").isNull()).select(
        *(value.alias(name) for name, value in values.items() if name != "updated_at"),
        updated_at.alias("updated_at"),
        F.when(F.size(rescued) > 0, F.to_json(F.map_from_entries(rescued))).alias("_rescued_data"),
        F.when(is_delete, True).alias("_is_deleted"),
        *_metadata(batch),
    )


def dead_letters(events: DataFrame, batch: str) -> DataFrame:
    """Return the messages of `parsed` that are no events, whole: key, value (binary), headers, and why they are here."""
    return events.where(F.col("error").isNotNull()).select("key", "value", "headers", "error", *_metadata(batch))


def _no_time(values: dict[str, Column]) -> Column:
    return values["updated_at"].isNull() & F.col("told_at").isNull()


def _metadata(batch: str) -> list[Column]:
    return [
        *(F.col(name).alias(f"_kafka_{name}") for name in METADATA),
        F.lit(batch).alias("_kafka_batch_id"),
        F.current_timestamp().alias("_kafka_ingested_at"),
    ]


def as_bigint(text: Column) -> Column:
    """The text as an integer of 64 bits, null where it is none; `7.00` is seven."""
    digits = F.regexp_extract(text, r"^\s*([-+]?\d+)(?:\.0*)?\s*$", 1)
    scientific = _scientific(text)
    whole = scientific.try_cast("bigint")
    return F.coalesce(digits.try_cast("bigint"), F.when(scientific == whole.cast("decimal(38,18)"), whole))


def as_amount(text: Column) -> Column:
    """The text as decimal(18,2), null where that would change it: `1.5` and `1.500` fit, `1.005` does not."""
    plain = F.when(text.rlike(r"^\s*[-+]?(\d+(\.\d{0,2}0*)?|\.\d{1,2}0*)\s*$"), F.trim(text)).try_cast("decimal(18,2)")
    scientific = _scientific(text)
    rounded = scientific.try_cast("decimal(18,2)")
    return F.coalesce(plain, F.when(scientific == rounded, rounded))


def as_date(text: Column) -> Column:
    """The text as a date, null where it is none, or has a time of day but midnight."""
    pattern = r"^(?!0000)(\d{4}-\d\d-\d\d)(?:[T ]00:00(?::00(?:\.0+)?)?(?:Z|[-+]00:00)?)?$"
    return F.regexp_extract(text, pattern, 1).try_cast("date")


def as_timestamp(text: Column) -> Column:
    """The text (ISO 8601; UTC where it names no zone) as a timestamp, null where it is none or finer than a microsecond."""
    pattern = r"^(?!0000)\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,6}0*)?)?(Z|[-+]\d\d(:?\d\d)?)?)?$"
    return F.when(text.rlike(pattern), text).try_cast("timestamp")


CONVERSIONS: dict[str, Callable[[Column], Column]] = {
    "bigint": as_bigint,
    "decimal(18,2)": as_amount,
    "date": as_date,
    "timestamp": as_timestamp,
    "string": lambda text: text,
}


def _scientific(text: Column) -> Column:
    """A number such as 1.2E3 as decimal(38,18), which holds it exactly: at most 9 decimals and an exponent of one digit."""
    return F.when(text.rlike(r"^\s*[-+]?\d{1,19}(\.\d{1,9})?[eE][-+]?\d\s*$"), F.trim(text)).try_cast("decimal(38,18)")
