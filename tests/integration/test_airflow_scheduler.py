"""The chain under a real scheduler, and what becomes of it when things break: one Airflow, an undisturbed first day, and a
second one on which everything breaks; the tests follow it in order."""

import os
import re
import signal
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.conftest import free_port, python
from tests.fixtures_airflow import SECONDS, Airflow, Webhook, airflow_over
from tests.fixtures_browser import browser, new_page, picture  # noqa: F401
from tests.fixtures_run import GOLD, contents, copy_of_the_repository, query

INVOICES = 1_000


@pytest.fixture(scope="module")
def webhook() -> Iterator[Webhook]:
    hook = Webhook()
    yield hook
    hook.close()


@pytest.fixture(scope="module")
def airflow(tmp_path_factory, webhook) -> Iterator[Airflow]:
    """A started Airflow after the first run of the chain, which its assets have carried from ingest to publish."""
    clone = copy_of_the_repository(tmp_path_factory.mktemp("scheduled"))
    environment = {
        "LAKEHOUSE_HOME": str(clone / ".lakehouse"),
        "LOCAL_DATABRICKS_PORT": str(free_port()),
        "ENGINE": "sail",
        "AIRFLOW_CONN_INVOICES_WEBHOOK": f'{{"conn_type": "http", "host": "http://127.0.0.1", "port": {webhook.port}}}',
    }
    assert python("-m", "ingestion.demo_source", "up", "--invoices", str(INVOICES), env=environment).returncode == 0
    settings = {
        "ingest_schedule": None,
        "retry_seconds": 2,
        "retries": 8,  # what is down is there again at the third try, or at a later one where the machine is slow to start it
        "source": {"compare_keys": True},
        "notices": [{"channel": "webhook", "connection": "invoices_webhook", "on": ["failure", "retry", "recovery"]}],
    }
    with airflow_over(clone, environment, settings) as running:
        run = running.trigger("ingest")
        assert running.finished("ingest", run) == "success"
        run = running.new_run("transform", set())
        assert running.finished("transform", run) == "success", running.tasks("transform", run)
        run = running.new_run("publish", set())
        assert running.finished("publish", run) == "success"
        running.call("PATCH", "dags/publish", {"is_paused": True})  # what it does is seen; gold's second day is not published
        yield running


def reached(airflow: Airflow, run: str, task: str) -> None:
    """Wait until a run of transform has done a task."""
    airflow.until(lambda: airflow.tasks("transform", run)[task]["state"] == "success", SECONDS, f"{task} is not reached")


def source(airflow: Airflow, statement: str) -> None:
    """Change the demo source."""
    import psycopg2

    url = python("-m", "ingestion.demo_source", "url", env=airflow.environment).stdout.strip()
    with closing(psycopg2.connect(url.replace("+psycopg2", ""))) as connection, connection, connection.cursor() as cursor:
        cursor.execute(statement)


def test_assets_carry_the_chain_and_every_task_ran_once(airflow):
    assert [len(airflow.runs(dag)) for dag in ("ingest", "transform", "publish")] == [1, 1, 1]
    for dag in ("ingest", "transform", "publish"):
        (run,) = airflow.runs(dag)
        for task_id, task in airflow.tasks(dag, run).items():
            assert (task["state"], task["try_number"]) == ("success", 1), f"{dag}.{task_id}"
    (run,) = airflow.runs("transform")
    for each in airflow.returned("transform", run, "dbt.silver_country_review", "dbt_results"):  # what notices are made of
        if each["name"] == "silver_country_review":
            assert (each["resource_type"], each["status"], each["failures"]) == ("model", "success", None)
        elif each["name"] == "every_typed_country_is_understood":
            assert each["status"] == "warn" and each["failures"] > 0 and each["owner"]["name"] == "Data platform"
        else:
            assert (each["resource_type"], each["status"], each["failures"]) == ("test", "pass", 0)
    assert query(airflow.environment, "select count(*) from gold.fct_invoices")[0][0] > INVOICES / 2
    assert (airflow.home / "docs" / "index.html").stat().st_size > 100_000


def test_the_ui_shows_the_grid_and_the_graph(airflow, browser):  # noqa: F811
    """Signed in with the printed password: every task of the run in the grid, the dbt graph's nodes and edges in the graph."""
    (run,) = airflow.runs("transform")
    tasks = airflow.tasks("transform", run)
    page = new_page(browser, viewport={"width": 1800, "height": 1200})
    faults = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(airflow.url)
    page.fill("input[name=username]", "admin")
    page.fill("input[name=password]", airflow.password())
    page.click("button[type=submit]")
    page.wait_for_url(f"{airflow.url}/")
    page.goto(f"{airflow.url}/dags/transform/runs/{run}")
    page.get_by_test_id("expand-all-button").click()
    page.get_by_text("gold_is_ready").first.wait_for()
    names = {name.removeprefix("dbt.") for name in tasks}
    for name in names:  # waits for it: a name that the grid lacks is the error's text
        page.get_by_text(name, exact=True).first.wait_for(state="attached")
    picture(page, "airflow_grid")

    page.get_by_label("Show Graph").click()
    page.locator(".react-flow__node").nth(len(tasks) - 1).wait_for()
    assert page.locator(".react-flow__node").count() >= len(tasks)
    picture(page, "airflow_graph")
    page.goto(f"{airflow.url}/dags/transform/runs/{run}/tasks/dbt.fct_invoices")
    page.get_by_text("dbt.fct_invoices").first.wait_for()
    page.get_by_text("OK created sql incremental model gold.fct_invoices").first.wait_for()
    picture(page, "airflow_log")
    page.close()
    assert not faults


@dataclass(frozen=True)
class BadDay:
    """A day on which the source is down for two tries of the load and has a bad row, and somebody breaks a contract: the runs
    of ingest and of transform, the model's file and its right text, and gold as it was."""

    ingest: str
    transform: str
    model: Path
    text: str
    gold: dict[str, list[tuple]]


@pytest.fixture(scope="module")
def bad_day(airflow) -> BadDay:
    assert python("-m", "ingestion.demo_source", "next-day", env=airflow.environment).returncode == 0
    source(
        airflow,
        "insert into invoices select 987654321, invoice_number, customer_id, country, invoice_date, due_date, currency_code,"
        " 1, 2, 99, status, created_at, updated_at from invoices where updated_at < '2090-01-01'"
        " order by updated_at desc limit 1",
    )
    model = airflow.clone / "models" / "gold" / "fct_invoices.sql"
    text, gold = model.read_text(), contents(airflow.environment, *GOLD)
    assert text.count("invoice_number,") >= 1
    model.write_text(text.replace("invoice_number,", "invoice_number as invoice_nr,"))
    assert python("-m", "ingestion.demo_source", "down", env=airflow.environment).returncode == 0
    known = set(airflow.runs("transform"))
    run = airflow.trigger("ingest", since="2020-01-01")  # and what changed since then is read again, and not landed again
    airflow.until(lambda: len(airflow.tries("ingest", run, "load_bronze")) >= 3, SECONDS, "no third try")
    assert python("-m", "ingestion.demo_source", "up", env=airflow.environment).returncode == 0
    assert airflow.finished("ingest", run) == "success"
    return BadDay(run, airflow.new_run("transform", known), model, text, gold)


def test_a_source_that_is_down_for_two_tries(airflow, webhook, bad_day):
    """The load comes through at the third try."""
    tries = airflow.tries("ingest", bad_day.ingest, "load_bronze")
    assert tries[-1] == "success" and len(tries) >= 3 and set(tries[:-1]) <= {"up_for_retry", "failed"}
    found = airflow.returned("ingest", bad_day.ingest, "load_bronze")
    assert found["already there"]["invoices"] > INVOICES / 2 and 0 < found["landed"]["invoices"] < INVOICES / 2
    # One notice for all tries that fail alike; the end comes later. A try may meet the source while it starts, another cause.
    told = webhook.of(bad_day.ingest)
    retries = [each["facts"]["why"] for each in told if each["event"] == "retry"]
    assert [each["event"] for each in told] in (["retry"] * len(retries), ["retry"] * len(retries) + ["recovery"]), told
    assert 1 <= len(set(retries)) == len(retries) <= 2, told


def test_a_killed_scheduler_is_started_again_and_goes_on(airflow, bad_day):
    reached(airflow, bad_day.transform, "dbt.stg_invoices")
    scheduler = airflow.component("scheduler")
    for process in (*scheduler.children(recursive=True), scheduler):
        with suppress(psutil.NoSuchProcess):  # a task that has just ended
            process.kill()
    airflow.until(lambda: "scheduler ended" in airflow.log.read_text(), SECONDS, "nobody starts it again")
    assert airflow.finished("transform", bad_day.transform) == "failed", "the contract is broken"
    silver = [name for name in airflow.tasks("transform", bad_day.transform) if name.startswith("dbt.silver_")]
    assert len(silver) > 5
    assert {airflow.tasks("transform", bad_day.transform)[name]["state"] for name in silver} == {"success"}


def test_a_broken_contract_is_red_told_and_leaves_gold_alone(airflow, webhook, bad_day):
    """The model is named, what is downstream does not run, readers keep yesterday's gold."""
    tasks = airflow.tasks("transform", bad_day.transform)
    broken = tasks["dbt.fct_invoices"]
    assert (broken["state"], broken["try_number"]) == ("failed", 1)
    for name in ("dbt.agg_invoices_country_month", "dbt.country_revenue_anomalies", "gold_is_ready"):
        assert tasks[name]["state"] == "upstream_failed"
    # the models that do not read the broken one may have gone on
    others = ("gold.dim_countries", "gold.dim_countries_history", "gold.agg_country_review")
    kept = [table for table in GOLD if table not in others]
    assert contents(airflow.environment, *kept) == {table: bad_day.gold[table] for table in kept}
    failures = [message for message in webhook.of(bad_day.transform) if message["event"] == "failure"]
    assert len(failures) == 1, webhook.messages
    assert all(each in str(failures[0]) for each in ("fct_invoices", "contract", "Finance analytics"))


def test_mended_and_cleared_the_run_survives_a_killed_endpoint_and_quarantines_the_bad_row(airflow, webhook, bad_day):
    """As the runbook says: mend it, and clear what failed. The task that loses the endpoint is retried until it is back."""
    run = bad_day.transform
    bad_day.model.write_text(bad_day.text)
    airflow.call("POST", "dags/transform/clearTaskInstances", {"dry_run": False, "dag_run_id": run, "only_failed": True})
    airflow.until(lambda: airflow.runs("transform")[run] != "failed", SECONDS, "the cleared run does not begin")

    # in the middle of a statement: a client that has not connected yet would just wait until the endpoint is back
    status = python("-m", "local_databricks", "status", env=airflow.environment).stdout
    endpoint = int(re.search(r"endpoint pid (\d+)", status)[1])
    log = f"dag_id=transform/run_id={run}/task_id=dbt.fct_invoices/attempt=2.log"
    log = airflow.home / "airflow" / "logs" / log
    airflow.until(lambda: log.exists() and "START sql incremental model" in log.read_text(), SECONDS, "gold is not reached")
    os.kill(endpoint, signal.SIGKILL)
    airflow.until(lambda: len(airflow.tries("transform", run, "dbt.fct_invoices")) > 2, SECONDS, "nothing is retried")
    up = python("-m", "local_databricks", "up", env=airflow.environment)
    assert up.returncode == 0, up.stderr
    assert airflow.finished("transform", run) == "success"
    assert {task["state"] for task in airflow.tasks("transform", run).values()} == {"success"}
    airflow.until(lambda: any(each["event"] == "recovery" for each in webhook.of(run)), SECONDS, "no recovery is told")

    rejected = query(airflow.environment, "select reasons from silver.rejected_invoices where invoice_id = 987654321")
    assert [list(row[0]) for row in rejected] == [["amounts_do_not_add_up"]]
    assert not query(airflow.environment, "select * from gold.fct_invoices where invoice_id = 987654321")
