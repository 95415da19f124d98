"""Makes the fixtures of the ingestion tests known to all integration tests."""

from tests.fixtures_ingestion import home, impatient_dlt, postgres, source  # noqa: F401
