"""The whole job as a user runs it: make run, twice; killed at every stage; on a real, dirty data set; badly configured."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy

from tests import online_retail
from tests.conftest import ROOT, clients, python, run
from tests.fixtures_dbt import dbt, environment_of
from tests.fixtures_run import GOLD, INVOICES, LOADS, SILVER, contents, lakehouse, query, rows_of


def versions(environment: dict[str, str]) -> dict[str, int]:
    """The number of rows that each silver table holds, and the landed ones."""
    tables = ("bronze.invoices", "silver.invoices", "silver.rejected_invoices", "silver.countries")
    found = rows_of(environment, *(f"select count(*) from {table}" for table in tables))
    return {table: rows[0][0] for table, rows in zip(tables, found, strict=True)}


def job(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess:
    return python("-m", "ingestion.run", *arguments, env=environment, timeout=1800)


def test_make_run_ends_with_a_summary_that_adds_up(undisturbed):
    environment, output = undisturbed.environment, undisturbed.output
    found = re.search(r"^  invoices +([\d,]+) +([\d,]+) +([\d,]+) +([\d,]+)$", output, re.M)
    landed, accepted, superseded, rejected = (int(number.replace(",", "")) for number in found.groups())
    assert landed == accepted + superseded + rejected
    assert landed == query(environment, "select count(*) from bronze.invoices")[0][0] > INVOICES
    assert accepted == query(environment, "select count(*) from silver.invoices")[0][0]
    assert rejected == query(environment, "select count(*) from silver.rejected_invoices")[0][0] > 0
    for part in ("Rejected invoices, by reason", "Revenue by country", "Time per stage", "make serve"):
        assert part in output
    top = query(
        environment,
        "select country_name, sum(total_amount_reporting) from gold.agg_invoices_country_month group by 1 order by 2 desc",
    )
    assert re.search(rf"^  {top[0][0]} +[\d,]+ +{top[0][1]:,.2f}$", output, re.M)


def test_bronze_holds_the_sources_totals_by_currency(undisturbed):
    url = source(undisturbed.environment)["SOURCES__SQL_DATABASE__CREDENTIALS"]
    totals = "select currency_code, count(*), sum(total_amount) from {} group by currency_code"
    engine = sqlalchemy.create_engine(url)
    with engine.connect() as connection:
        # what is no number is kept in bronze as text
        expected = connection.exec_driver_sql(totals.format("invoices").replace("total_amount", "nullif(total_amount, 'NaN')"))
        expected = {tuple(row) for row in expected}
    engine.dispose()
    assert len(expected) > 5
    assert set(query(undisturbed.environment, totals.format("bronze.invoices"))) == expected


def test_the_unit_tests_of_the_models_pass_on_the_engine_too(undisturbed, tmp_path):
    """On Spark, that is: on Sail, tests/integration/test_dbt_silver.py runs them."""
    environment = environment_of(clients(undisturbed.environment), tmp_path)
    dbt("test", "--select", "package:invoices_countries,test_type:unit", env=environment)


@contextmanager
def started(command: list[str], folder: Path, environment: dict[str, str], output: Path) -> Iterator[subprocess.Popen]:
    """A command in the background, printing into `output`; killed with all of its processes at the end."""
    with output.open("w") as file:
        process = subprocess.Popen(
            command, cwd=folder, stdout=file, stderr=file, start_new_session=True,
            env={**os.environ, **environment, "PYTHONUNBUFFERED": "1", "NO_COLOR": "1"},
        )  # fmt: skip
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def reached(line: str, process: subprocess.Popen, output: Path) -> None:
    """Wait until the job prints this."""
    end = time.monotonic() + 1800
    while line not in output.read_text() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
    assert line in output.read_text(), output.read_text()[-3000:]


@pytest.fixture(scope="module")
def day_after(undisturbed, tmp_path_factory) -> dict[str, list[tuple]]:
    """Gold after the next day, whose first run was killed while it changed gold."""
    environment, clone = undisturbed.environment, undisturbed.clone
    env, output = {**os.environ, **environment}, tmp_path_factory.mktemp("output") / "killed.txt"
    before = versions(environment)
    assert subprocess.run(["make", "next-day"], cwd=clone, env=env, capture_output=True).returncode == 0
    with started(["make", "run"], clone, environment, output) as process:
        reached("START sql incremental model gold.fct_invoices", process, output)
        time.sleep(0.3)
    again = subprocess.run(["make", "run"], cwd=clone, env=env, capture_output=True, text=True)
    assert again.returncode == 0, again.stdout[-3000:] + again.stderr
    assert "invoices: 0 rows landed" in again.stdout, "the first run had loaded them"
    printed = output.read_text()
    landed = int(re.search(r"invoices: ([\d,]+) rows landed", printed)[1].replace(",", ""))
    after = versions(environment)
    assert 0 < landed < INVOICES / 10
    assert after["silver.invoices"] > before["silver.invoices"]
    deletions = int(re.search(r"([\d,]+) deletions found", printed)[1])
    assert deletions == query(environment, "select count(*) from silver.invoices where is_deleted")[0][0] > 0
    assert after["bronze.invoices"] == before["bronze.invoices"] + landed + deletions
    return contents(environment, *GOLD)


def test_the_next_day_arrives_incrementally_also_where_its_first_run_is_killed(undisturbed, day_after):
    assert day_after["gold.dim_dates"] == undisturbed.gold["gold.dim_dates"]
    assert day_after["gold.fct_invoices"] != undisturbed.gold["gold.fct_invoices"]


# ---- the two engines

ENGINE = (os.environ.get("ENGINE") or "spark").lower()
OTHER = {"spark": "sail", "sail": "spark"}[ENGINE]


def test_running_again_changes_nothing_also_with_the_other_engine(undisturbed):
    before, rows = contents(undisturbed.environment, *SILVER, *LOADS, *GOLD), versions(undisturbed.environment)
    environment = undisturbed.environment | {"ENGINE": OTHER}
    assert python("-m", "local_databricks", "down", env=environment).returncode == 0
    try:
        assert python("-m", "local_databricks", "up", env=environment).returncode == 0
        assert OTHER in python("-m", "local_databricks", "status", env=environment).stdout.lower()
        assert contents(environment, *SILVER, *LOADS, *GOLD) == before
        again = job(environment)
        assert again.returncode == 0, again.stdout[-3000:] + again.stderr
        assert "invoices: 0 rows landed" in again.stdout
        assert versions(environment) == rows and contents(environment, *SILVER, *LOADS, *GOLD) == before
    finally:
        python("-m", "local_databricks", "down", env=environment)
        assert python("-m", "local_databricks", "up", env=undisturbed.environment).returncode == 0
    assert contents(undisturbed.environment, *SILVER, *LOADS, *GOLD) == before


#: What the job prints when it is where the kill should hit, the seconds to wait from there, and the file that names the process
#: to kill: the engine's, the endpoint's, or none, which is the job. Of the load, test_load_killed.py has every moment.
KILLS = [
    ("== Source -> bronze", 1.5, ""),  # while the endpoint starts
    ("START seed file silver.ecb_exchange_rates", 0.3, ""),
    ("START sql incremental model silver", 0, "engine.pid"),
    ("OK created sql incremental model silver.invoices", 0.3, ""),
    ("START sql incremental model gold.fct", 0, "endpoint.pid"),
]


def test_killed_at_every_stage_and_run_again_the_other_engine_builds_the_same_gold(undisturbed, day_after, tmp_path):
    """Each try goes a little further than the one before; then comes the next day, which nothing disturbs."""
    with lakehouse(tmp_path / "lakehouse") as environment:
        assert python("-m", "ingestion.demo_source", "up", "--invoices", str(INVOICES), env=environment).returncode == 0
        environment |= {"ENGINE": OTHER}
        state = tmp_path / "lakehouse" / "local_databricks"
        for number, (line, seconds, file) in enumerate(KILLS):
            output = tmp_path / f"run{number}.txt"
            with started([sys.executable, "-m", "ingestion.run"], ROOT, environment, output) as process:
                reached(line, process, output)
                time.sleep(seconds)
                if file:
                    os.kill(int(re.search(r"\d+", (state / file).read_text())[0]), signal.SIGKILL)
                    # an engine comes back by itself: where no statement was in it at that moment, the run goes on
                    assert process.wait(1800) in ((0, 1) if file == "engine.pid" else (1,)), output.read_text()[-3000:]
            assert "Traceback" not in output.read_text()
        for expected in (undisturbed.gold, day_after):
            if expected is day_after:
                assert python("-m", "ingestion.demo_source", "next-day", env=environment).returncode == 0
            done = job(environment)
            assert done.returncode == 0, done.stdout[-3000:] + done.stderr
            if datetime.now(UTC).date() != undisturbed.day:
                pytest.skip("midnight UTC passed since the first lakehouse was loaded, and as_of_date is the day of the load")
            found = contents(environment, *GOLD)
            for name in GOLD:
                assert found[name] == expected[name], name


# ---- a real, dirty data set

#: What each spelling of the file means; None where it is no country.
MEANT = {
    "Australia": "AU", "Austria": "AT", "Bahrain": "BH", "Belgium": "BE", "Brazil": "BR", "Canada": "CA", "Cyprus": "CY",
    "Czech Republic": "CZ", "Denmark": "DK", "EIRE": "IE", "Finland": "FI", "France": "FR", "Germany": "DE",
    "Greece": "GR", "Hong Kong": "HK", "Iceland": "IS", "Israel": "IL", "Italy": "IT", "Japan": "JP", "Lebanon": "LB",
    "Lithuania": "LT", "Malta": "MT", "Netherlands": "NL", "Norway": "NO", "Poland": "PL", "Portugal": "PT",
    "RSA": "ZA", "Saudi Arabia": "SA", "Singapore": "SG", "Spain": "ES", "Sweden": "SE", "Switzerland": "CH",
    "USA": "US", "United Arab Emirates": "AE", "United Kingdom": "GB",
    "Channel Islands": None, "European Community": None, "Unspecified": None,
}  # fmt: skip


@pytest.mark.skipif(
    not os.environ.get("ONLINE_RETAIL_CSV"),
    reason="set ONLINE_RETAIL_CSV to the path of online_retail_sample.csv to run the job on a real data set",
)
def test_online_retail_totals_equal_the_files(tmp_path):
    from ingestion.demo_source import Server

    server = Server(tmp_path / "source")
    server.start()
    try:
        lines = online_retail.load(os.environ["ONLINE_RETAIL_CSV"], server.url)
        with lakehouse(tmp_path / "lakehouse") as environment:
            done = job(environment | {"SOURCES__SQL_DATABASE__CREDENTIALS": server.url})
            assert done.returncode == 0, done.stdout[-3000:] + done.stderr
            outcomes = dict(
                query(
                    environment,
                    "select outcome, sum(row_count) from silver.row_accounting where table_name = 'invoices' group by 1",
                )
            )
            assert set(outcomes) <= {"accepted", "superseded", "rejected"}
            assert sum(outcomes.values()) == len(lines)
            found = query(environment, "select country_text, sum(total_amount), count(*) from gold.fct_invoices group by 1")
            expected = lines.groupby("country")["total_amount"].agg(["sum", "count"])
            assert {text: (total, n) for text, total, n in found} == {
                text: (Decimal(row["sum"]), row["count"]) for text, row in expected.iterrows()
            }
            credit_notes = lines[lines["status"] == "credit_note"]
            assert query(
                environment, "select sum(total_amount), count(*) from gold.fct_invoices where status = 'credit_note'"
            ) == [(credit_notes["total_amount"].sum(), len(credit_notes))]
            by_country = lines.assign(code=lines["country"].map(MEANT)).groupby("code", dropna=False)["total_amount"].sum()
            rows = query(
                environment,
                "select c.country_code, sum(f.total_amount) from gold.fct_invoices f"
                " join gold.dim_countries c using (country_key) group by 1",
            )
            known = {code: total for code, total in rows if code is not None and code in MEANT.values()}
            assert known == {code: total for code, total in by_country.items() if isinstance(code, str)}
            rest = sum(total for code, total in rows if code not in known)
            assert rest == by_country[by_country.index.isna()].sum()
    finally:
        server.stop()


# ---- bad configuration: one sentence, and nothing lost


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"SOURCES__SQL_DATABASE__CREDENTIALS": "postgresql://nobody@127.0.0.1:1/none"}, "127.0.0.1"),
        ({"SOURCES__SQL_DATABASE__CREDENTIALS": "no url"}, "SOURCES__SQL_DATABASE__CREDENTIALS"),
        ({"SOURCES__SQL_DATABASE__INVOICES__TABLE_NAME": "bills"}, "bills"),
        ({"SOURCES__SQL_DATABASE__INVOICES__COLUMN_NAMES": '{"total_amount": "amount_due"}'}, "amount_due"),
        ({"DBT_TARGET": "production"}, "DBT_TARGET"),
        ({"DBT_TARGET": "databricks"}, "DATABRICKS_"),
    ],
    ids=["unreachable source", "no url", "missing table", "missing column", "no such target", "workspace not configured"],
)
def test_bad_configuration_is_one_sentence_and_loses_nothing(undisturbed, variables, sentence):
    environment = undisturbed.environment
    before = versions(environment)
    failed = job(environment | variables)
    assert failed.returncode == 1
    errors = [line for line in failed.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and sentence in errors[0], failed.stderr
    assert "Traceback" not in failed.stdout + failed.stderr
    assert versions(environment) == before


def test_a_bad_token_is_one_sentence(undisturbed):
    environment = undisturbed.environment
    failed = python(
        "-m", "local_databricks.packages", env=environment
    )  # the packages are there; what follows fails at the endpoint alone
    assert failed.returncode == 0
    dbt = run(
        str(Path(sys.executable).parent / "dbt"), "debug", "--connection",
        env=clients(environment) | {"LOCAL_DATABRICKS_TOKEN": "wrong"},
    )  # fmt: skip
    assert dbt.returncode != 0 and "Invalid access token" in dbt.stdout
    load = python("-m", "ingestion.load", env=clients(environment) | {"LOCAL_DATABRICKS_TOKEN": "wrong"} | source(environment))
    assert load.returncode == 1 and "Invalid access token" in load.stderr and "Traceback" not in load.stderr


def source(environment: dict[str, str]) -> dict[str, str]:
    url = python("-m", "ingestion.demo_source", "url", env=environment).stdout.strip()
    return {"SOURCES__SQL_DATABASE__CREDENTIALS": url}


def test_a_taken_port_stops_the_job_with_one_sentence(undisturbed, tmp_path):
    environment = undisturbed.environment
    taken = {"LAKEHOUSE_HOME": str(tmp_path), "LOCAL_DATABRICKS_PORT": environment["LOCAL_DATABRICKS_PORT"]}
    failed = job(taken | source(environment))
    assert failed.returncode == 1
    assert f"Port {taken['LOCAL_DATABRICKS_PORT']} is taken" in failed.stderr
    assert "Traceback" not in failed.stdout + failed.stderr
