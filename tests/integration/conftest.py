"""Makes the fixtures of ingestion and of a whole run known to all integration tests."""

from tests.fixtures_ingestion import home, impatient_dlt, postgres, source  # noqa: F401
from tests.fixtures_kafka import broker, producer, registry, spark  # noqa: F401
from tests.fixtures_run import undisturbed  # noqa: F401
