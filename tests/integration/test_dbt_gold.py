"""Gold on an endpoint with Sail: the history of countries over several loads, and tests that find what they are named for."""

import json
from datetime import datetime
from pathlib import Path

import pytest

from tests.conftest import connect
from tests.fixtures_dbt import WATCHED, dbt, environment_of

PREFIX = "countries_"
SELECT = (
    *("--select", "+dim_countries_history", "+dim_countries", "--exclude", "resource_type:seed", "test_type:unit", *WATCHED),
    *("--indirect-selection", "cautious"),  # no test that needs the facts too
)
HISTORY = (
    "select country_key, country_name, region, is_company_country, cast(valid_from as string), cast(valid_to as string)"
    " from {p}gold.dim_countries_history where country_key in ('DE', 'FR', 'IT', 'XK') order by country_key, valid_from"
)
BEGIN = "1990-01-01 00:00:00"
# What each load lands: code, name, region, updated_at, is_deleted
LOADS = [
    [("DE", "Deutschland", "DACH", "2025-11-03", False), ("FR", "Frankreich", "West", "2025-12-01", False)],
    [
        ("DE", "Deutschland", "DACH", "2026-01-10", False),  # opened and saved
        ("FR", "Gallien", "West", "2026-01-11", False),
        ("IT", "Itlien", "Süd", "2026-01-12", False),
    ],
    [
        ("FR", None, None, "2026-02-05", True),
        ("IT", "Italien", "Süd", "2026-01-12", False),  # corrected without a new time
    ],
]
EXPECTED = [
    ("DE", "Deutschland", "DACH", True, BEGIN, None),
    ("FR", "Frankreich", "West", True, BEGIN, "2026-01-11 00:00:00"),
    ("FR", "Gallien", "West", True, "2026-01-11 00:00:00", "2026-02-05 00:00:00"),
    ("FR", "France", "Europe", False, "2026-02-05 00:00:00", None),
    ("IT", "Italy", "Europe", False, BEGIN, "2026-01-12 00:00:00"),
    ("IT", "Italien", "Süd", True, "2026-01-12 00:00:00", None),
    ("XK", "Kosovo", "Europe", False, BEGIN, None),
]


@pytest.fixture(scope="module")
def lakehouse(fast_endpoint, tmp_path_factory):
    """A bronze table of countries under a schema of its own; gives a function to query and one to run dbt."""
    environment = environment_of(fast_endpoint, Path(tmp_path_factory.mktemp("dbt")))
    connection = connect(fast_endpoint)

    def query(statement: str) -> list[tuple]:
        with connection.cursor() as cursor:
            cursor.execute(statement.replace("{p}", PREFIX))
            return [tuple(row) for row in cursor.fetchall()] if cursor.description else []

    def run(*arguments: str) -> None:
        dbt(*arguments, "--vars", json.dumps({"schema_prefix": PREFIX}), env=environment)

    run.target = environment["DBT_TARGET_PATH"]
    query("create schema if not exists {p}bronze")
    query(
        "create table {p}bronze.countries (country_code string, country_name string, region string, sub_region string,"
        " currency_code string, updated_at timestamp, _rescued_data string, _is_deleted boolean, _dlt_load_id string,"
        " _dlt_id string) using delta"
    )
    run("seed", "--select", "iso_countries")
    yield query, run
    for layer in ("bronze", "silver", "gold", "elementary"):
        query(f"drop schema if exists {{p}}{layer} cascade")
    connection.close()


def text(value: str | None) -> str:
    return "null" if value is None else f"'{value}'"


@pytest.fixture(scope="module")
def after_all_loads(lakehouse):
    """The history after a run for each load, and one more with nothing new."""
    query, run = lakehouse
    for number, rows in enumerate(LOADS):
        loaded_at = datetime.fromisoformat(f"2026-0{number + 1}-15 04:00:00+00:00").timestamp()
        query(
            "insert into {p}bronze.countries values "
            + ", ".join(
                f"('{code}', {text(name)}, {text(region)}, null, null, timestamp'{updated_at} 00:00:00', null,"
                f" {str(deleted).lower()}, '{loaded_at}', '{number}-{code}')"
                for code, name, region, updated_at, deleted in rows
            )
        )
        run("build", *SELECT)
    run("build", *SELECT)
    return query(HISTORY)


def test_the_history_tells_what_each_country_was_called_when(after_all_loads):
    assert after_all_loads == EXPECTED


def test_a_full_refresh_forgets_nothing(lakehouse, after_all_loads):
    query, run = lakehouse
    run("build", "--full-refresh", *SELECT)
    assert query(HISTORY) == after_all_loads


def test_every_damage_to_the_history_is_found_and_named(lakehouse, after_all_loads):
    query, run = lakehouse
    history = "{p}gold.dim_countries_history"
    query(f"update {history} set valid_to = timestamp'2026-01-12 00:00:00' where country_name = 'Frankreich'")
    query(f"update {history} set is_current = true where country_name = 'Italy'")
    query(f"delete from {history} where country_key = 'XK'")
    query("update {p}gold.dim_countries set country_name = 'Deutschand' where country_key = 'DE'")
    name = "history_of_countries_has_no_gap_and_ends_in_dim_countries"
    with pytest.raises(AssertionError, match=name):
        run("test", "--select", name)
    [compiled] = Path(run.target).rglob(f"compiled/**/{name}.sql")
    faults = {(key, fault.split(":")[0]) for key, fault in query(compiled.read_text())}
    assert faults >= {
        ("FR", "a gap or an overlap before 2026-01-11 00"),
        ("IT", "2 current rows"),
        ("XK", "current"),
        ("DE", "current"),
    }
    assert {key for key, _ in faults} == {"FR", "IT", "XK", "DE"}
