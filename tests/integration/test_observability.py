"""Elementary over a real lakehouse: an ordinary day tells nothing; faults are found, told to three channels and shown.

On Sail, where its statements take a tenth of the time. Skipped where the package hub is out of reach: then Elementary is off.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from local_databricks.packages import resolve
from observability.alerts import ONE_MESSAGE_FROM
from observability.incidents import FOUND_BY
from tests.conftest import ROOT, python
from tests.fixtures_browser import browser, new_page, picture  # noqa: F401
from tests.fixtures_dbt import dbt, environment_of, parsed  # noqa: F401
from tests.fixtures_notices import ALERTS, Receivers, listening
from tests.fixtures_run import clients, lakehouse, query

#: Enough that most of a day's invoices without a customer are unusual.
INVOICES = 30_000
FINANCE = "finance-analytics@example.com"


@pytest.fixture(scope="module")
def packages() -> None:
    if not resolve(ROOT):
        pytest.skip("the package hub cannot be reached and the packages are not in the cache: Elementary is off")


@pytest.fixture(scope="module")
def receivers() -> Iterator[Receivers]:
    with listening() as found:
        found.checks = dict(ALERTS)
        yield found


def done(environment: dict[str, str], *arguments: str) -> str:
    found = python("-m", *arguments, env=environment, timeout=1800)
    assert found.returncode == 0, found.stdout[-3000:] + found.stderr[-3000:]
    return found.stdout


@pytest.fixture(scope="module")
def days(packages, receivers, tmp_path_factory) -> Iterator[SimpleNamespace]:
    """A lakehouse after an ordinary first day, and after two more with a fault each: what the watch said, what was told."""
    addresses = receivers.addresses()
    routes = [
        {"channel": "slack", "url": addresses["slack"]},
        {"channel": "teams", "url": addresses["teams"], "filters": [f"owners:{FINANCE}"]},
        {"channel": "webhook", "url": addresses["webhook"], "filters": ["tags:elementary-tests"], "group_by": "alert",
         "headers": {"Authorization": f"Bearer {receivers.secret}"}},
    ]  # fmt: skip
    with lakehouse(tmp_path_factory.mktemp("watched")) as environment:
        environment |= {"ENGINE": "sail", "DATA_ALERTS": json.dumps(routes)}
        done(environment, "ingestion.demo_source", "up", "--invoices", str(INVOICES))
        done(environment, "ingestion.run")
        connected = clients(environment)
        ordinary = done(connected, "observability", "watch")
        query(connected, "delete from elementary.dbt_models where name = 'fct_invoices'")  # as if it were new
        for incident in ("null-flood", "schema-change"):
            done(environment, "ingestion.demo_source", "next-day", "--incident", incident)
        done(environment, "ingestion.run")
        unusual = done(connected, "observability", "watch")
        told = done(connected, "observability", "alerts")
        yield SimpleNamespace(environment=connected, ordinary=ordinary, unusual=unusual, told=told)


def test_the_watch_warns_of_the_faults_and_of_nothing_before(days):
    assert "Unusual: nothing" in days.ordinary
    warned = set(re.search(r"^Unusual: (.*)$", days.unusual, re.M)[1].split(", "))
    assert {FOUND_BY["null-flood"], FOUND_BY["schema-change"]} <= warned


def test_each_channel_is_told_in_its_own_form_and_once(days, receivers):
    assert not receivers.violations
    by_webhook = {alert["test"]: alert for message in receivers.of("webhook") for alert in message["alerts"]}
    assert {FOUND_BY["null-flood"], FOUND_BY["schema-change"]} <= set(by_webhook)
    flood = by_webhook[FOUND_BY["null-flood"]]
    assert flood["column"] == "customer_id" and "null_count" in flood["why"] and flood["status"] == "warn"
    slack = json.dumps(receivers.of("slack"))
    assert "customer_id" in slack and len(receivers.of("slack")) < ONE_MESSAGE_FROM
    assert receivers.of("teams") and "silver.invoices" not in json.dumps(receivers.of("teams")), "another owner's"
    before = len(receivers.received)
    assert "no new alerts" in done(days.environment, "observability", "alerts") and len(receivers.received) == before


def test_the_watch_tells_elementary_what_the_project_has(days):
    owners = query(days.environment, "select owner from elementary.dbt_models where name = 'fct_invoices'")
    assert len(owners) == 1 and FINANCE in owners[0][0]


def test_runs_are_kept_with_what_they_took_and_wrote(days):
    rows = query(
        days.environment,
        "select name, seconds, rows_written, table_bytes from observability.run_history where name = 'fct_invoices'",
    )
    assert len(rows) == 2 and all(seconds > 0 for _, seconds, _, _ in rows)
    assert max(written or 0 for _, _, written, _ in rows) > INVOICES / 2
    assert any(size for *_, size in rows)


def test_a_run_that_takes_far_longer_than_usual_is_told(days, tmp_path):
    environment = environment_of(days.environment, tmp_path)
    result = dbt("test", "--select", "runs_take_as_long_as_usual", env=environment)
    assert [each.status for each in result if each.node.resource_type == "test"] == ["pass"]  # beside Elementary's hooks
    columns = "model_execution_id, unique_id, name, resource_type, status, execution_time, full_refresh, execute_started_at"
    history = [("1.0", f"{hours} hours") for hours in range(9, 1, -1)] + [("95.0", "0 hours")]
    values = ", ".join(
        f"('i{n}', 'model.invoices_countries.made_up', 'made_up', 'model', 'success', {seconds}, false,"
        f" cast(current_timestamp() - interval {ago} as string))"
        for n, (seconds, ago) in enumerate(history)
    )
    query(days.environment, f"insert into elementary.dbt_run_results ({columns}) values {values}")
    result = dbt("test", "--select", "runs_take_as_long_as_usual", env=environment)
    assert [(each.status, each.failures) for each in result if each.node.resource_type == "test"] == [("warn", 1)]


def test_the_report_and_the_page_of_runs_open_without_a_network(days, browser, tmp_path):  # noqa: F811
    done(days.environment, "observability", "report", "--folder", str(tmp_path))
    page = new_page(browser, viewport={"width": 1400, "height": 1000})
    asked, faults = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto((tmp_path / "elementary.html").as_uri())
    page.get_by_text("Test results breakdown").wait_for()
    picture(page, "elementary_report")
    page.get_by_text("Test Results", exact=True).first.click()
    page.get_by_text("column_anomalies").first.wait_for()
    page.get_by_text("customer_id").first.wait_for(state="attached")
    picture(page, "elementary_test_results")
    page.goto((tmp_path / "runs.html").as_uri())
    page.get_by_role("cell", name="fct_invoices", exact=True).wait_for()
    picture(page, "runs")
    page.close()
    assert not faults and not [url for url in asked if not url.startswith(("file:", "data:", "blob:"))]


def test_old_results_are_forgotten_and_what_the_tests_learn_from_is_kept(days, tmp_path):
    def counts() -> dict[str, int]:
        names = ("dbt_run_results", "elementary_test_results", "alerts_v2", "data_monitoring_metrics")
        return {name: query(days.environment, f"select count(*) from elementary.{name}")[0][0] for name in names}

    old = "insert into elementary.dbt_run_results (model_execution_id, generated_at) values ('old', '2020-01-01 00:00:00')"
    before = counts()
    query(days.environment, old)
    environment = environment_of(days.environment, tmp_path)
    dbt("run-operation", "forget_elementary_results", "--args", "{days: 7}", env=environment)
    assert counts() == before


def test_every_incident_has_a_test_that_finds_it(packages, parsed):  # noqa: F811
    from ingestion.demo_source import INCIDENTS

    tests = {node["name"] for node in parsed()["nodes"].values() if node["resource_type"] == "test"}
    assert set(FOUND_BY) == set(INCIDENTS) and set(FOUND_BY.values()) <= tests


def test_without_the_packages_one_sentence_says_what_is_off(monkeypatch, tmp_path, capsys):
    from local_databricks.packages import STAND_INS, Resolved
    from observability import edr
    from observability.__main__ import main

    folder = Path(tmp_path)
    Resolved("stand-ins", STAND_INS.name).write(folder)
    monkeypatch.setattr(edr, "PACKAGES", folder)
    for command in ("watch", "alerts", "report"):
        assert main([command]) == 1
        said = capsys.readouterr().err
        assert said.startswith("error: Elementary is off") and said.count("\n") == 1
