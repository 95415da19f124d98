"""Makes the fixtures of the dbt tests known to all unit tests."""

from tests.fixtures_dbt import package_hub, parsed  # noqa: F401
