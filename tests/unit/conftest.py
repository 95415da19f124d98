"""Makes the fixtures of the dbt tests known to all unit tests, and has Hypothesis find the same on every machine."""

from hypothesis import HealthCheck, settings

from tests.fixtures_dbt import package_hub, parsed  # noqa: F401

# The examples are the same ones every time; and none fails because a busy machine took longer than 200 ms over it, or than a
# second to draw the first ones, which are Hypothesis' own limits (https://hypothesis.readthedocs.io/en/latest/reference/api.html).
settings.register_profile(
    "on any machine", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("on any machine")
