"""Elementary's alerts by route: who is told what, in messages that Slack, Teams and a webhook take; what fails is told."""

import json
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from ingestion.settings import IngestionError
from observability.alerts import ONE_MESSAGE_FROM, Route, delivered, routed_monitor, routes_of_environment
from tests.fixtures_notices import ALERTS, Receivers, listening

PLATFORM, FINANCE = "data-platform@example.com", "finance-analytics@example.com"


def alert(test: str, model: str, owner: str, status: str = "warn", tags: tuple[str, ...] = (), **more: Any) -> dict:
    """A row of Elementary's table of pending alerts, as edr's macro get_pending_alerts gives it, of a test on a model."""
    data = {
        "id": f"i1.{test}",
        "alert_class_id": f"{test}.None.generic",
        "model_unique_id": f"model.invoices_countries.{model}",
        "test_unique_id": f"test.invoices_countries.{test}",
        "elementary_unique_id": f"test.invoices_countries.{test}.None.generic",
        "detected_at": "2026-11-26T03:16:54+00:00",
        "database_name": "hive_metastore",
        "schema_name": "gold",
        "table_name": model,
        "test_type": "anomaly_detection",
        "test_sub_type": "dimension",
        "test_results_description": "   the last row_count value for dimension\n DE is 0.000. <the average> & more   ",
        "owners": json.dumps([owner]),
        "tags": json.dumps(tags),
        "test_name": test,
        "test_short_name": "dimension_anomalies",
        "severity": "warn",
        "status": status,
        "resource_type": "test",
        **more,
    }
    when = {name: data["detected_at"] for name in ("detected_at", "created_at", "updated_at")}
    return {
        "id": data["id"],
        "alert_class_id": data["alert_class_id"],
        "type": "test",
        "status": "pending",
        "data": data,
        **when,
    }


SILENT = alert("no_large_country_falls_silent", "fct_invoices", FINANCE, tags=("elementary-tests",))
AMOUNTS = alert("amounts_are_distributed_as_usual", "fct_invoices", FINANCE, column_name="total_amount_reporting")
UNUSED = alert("every_typed_country_is_understood", "silver_country_review", PLATFORM)
BROKEN = alert("primary_key_fct_invoices", "fct_invoices", FINANCE, status="fail")


@pytest.fixture
def receivers() -> Iterator[Receivers]:
    with listening() as found:
        found.checks = dict(ALERTS)
        yield found


@pytest.fixture(autouse=True)
def impatient(monkeypatch) -> None:
    monkeypatch.setattr(delivered.retry, "sleep", lambda _: None)


@pytest.fixture
def sent(tmp_path, monkeypatch) -> Callable[..., SimpleNamespace]:
    """A function that sends pending alerts by routes; gives what became of them, and the ids that were marked as sent.

    In place of the warehouse stands what edr's own dbt project would answer.
    """
    from elementary.config.config import Config
    from elementary.monitor.data_monitoring.data_monitoring import DataMonitoring

    class Dbt:
        def __init__(self, pending: list[dict], last: dict[str, str]) -> None:
            self.pending, self.last, self.marked, self.skipped = pending, last, [], []

        def run_operation(self, macro_name: str, **_: Any) -> list[str]:
            answers = {
                "elementary_cli.get_latest_invocation": [{"project_name": "p", "elementary_version": "0.25.1"}],
                "elementary_cli.get_adapter_type_and_unique_id": ["databricks", "id"],
                "elementary_cli.get_pending_alerts": self.pending,
                "elementary_cli.get_last_alert_sent_times": self.last,
            }
            return [json.dumps(answers[macro_name])] if macro_name in answers else ['"hive_metastore.elementary"']

        def run(self, select: str, vars: dict | None = None, **_: Any) -> bool:
            ids = (vars or {}).get("alert_ids", [])
            (self.marked if "sent" in select else self.skipped).extend(ids)
            return True

    def send(routes: list[Route], *pending: dict, last: dict[str, str] | None = None) -> SimpleNamespace:
        dbt = Dbt(list(pending), last or {})
        monkeypatch.setattr(DataMonitoring, "_init_internal_dbt_runner", lambda _: dbt)
        config = Config(config_dir=str(tmp_path), target_path=str(tmp_path), group_alerts_threshold=ONE_MESSAGE_FROM)
        monitor = routed_monitor(config, routes, suppression_hours=20)
        assert monitor.run_alerts(days_back=2)
        return SimpleNamespace(**vars(monitor.sent), marked=set(dbt.marked), skipped=set(dbt.skipped))

    return send


def route(receivers: Receivers, channel: str, *filters: str, group_by: str = "table") -> Route:
    headers = {"Authorization": f"Bearer {receivers.secret}"} if channel == "webhook" else {}
    return Route(channel, receivers.addresses()[channel], filters, group_by, headers)


def test_each_alert_goes_to_the_routes_that_take_it(receivers, sent):
    routes = [
        route(receivers, "slack", f"owners:{FINANCE}"),
        route(receivers, "teams", f"owners:{PLATFORM}"),
        route(receivers, "webhook", "statuses:fail,error", group_by="alert"),
    ]
    found = sent(routes, SILENT, UNUSED, BROKEN)
    assert not receivers.violations
    told = {summary.split('"')[1] if '"' in summary else summary: channels for summary, channels in found.alerts}
    assert [channels for _, channels in found.alerts] == [["slack"], ["teams"], ["slack", "webhook"]], told
    assert found.marked == {each["id"] for each in (SILENT, UNUSED, BROKEN)} and not found.failures
    (message,) = receivers.of("webhook")
    (body,) = message["alerts"]
    assert (body["test"], body["status"], body["owners"]) == ("primary_key_fct_invoices", "fail", [FINANCE])
    # edr's capitalize() has made one letter of the rest small, whose first is a blank here
    assert body["why"] == "the last row_count value for dimension de is 0.000. <the average> & more"


def test_a_route_may_go_by_tags_and_what_nobody_takes_stays_new(receivers, sent):
    found = sent([route(receivers, "webhook", "tags:elementary-tests")], SILENT, UNUSED)
    assert found.marked == {SILENT["id"]}
    assert [channels for _, channels in found.alerts] == [["webhook"], []]
    assert not receivers.violations


def test_alerts_of_a_table_are_one_message_and_many_are_one(receivers, sent):
    sent([route(receivers, "slack")], SILENT, AMOUNTS, UNUSED)
    assert len(receivers.of("slack")) == 2
    sent([route(receivers, "slack", group_by="alert")], SILENT, AMOUNTS, UNUSED)
    assert not receivers.violations
    assert len(receivers.of("slack")) == 5
    many = [alert(f"test_{number}", f"model_{number}", FINANCE) for number in range(ONE_MESSAGE_FROM)]
    sent([route(receivers, "slack"), route(receivers, "teams")], *many)
    assert len(receivers.of("slack")) == 6 and len(receivers.of("teams")) == 1
    assert not receivers.violations


@pytest.mark.parametrize("channel", ["slack", "teams", "webhook"])
def test_a_channel_that_fails_is_told_without_its_address_and_keeps_no_other_from_its_alert(receivers, sent, channel):
    other = {"slack": "teams", "teams": "webhook", "webhook": "slack"}[channel]
    receivers.broken[channel] = 500
    found = sent([route(receivers, channel), route(receivers, other)], SILENT)
    assert len(found.failures) == 1 and found.failures[0].startswith(channel)
    assert receivers.secret not in found.failures[0] and receivers.base not in found.failures[0]
    assert found.alerts[0][1] == [other] and found.marked == {SILENT["id"]}
    alone = sent([route(receivers, channel)], SILENT)
    assert alone.failures and not alone.marked, "it stays new until somebody takes it"


def test_what_has_been_told_today_is_not_told_again(receivers, sent):
    from datetime import UTC, datetime, timedelta

    def told(hours: int, pending: dict) -> set[str]:
        last = {pending["alert_class_id"]: (datetime.now(UTC) - timedelta(hours=hours)).isoformat()}
        return sent([route(receivers, "webhook")], pending, last=last).marked

    assert told(2, SILENT) == set() and told(21, SILENT) == {SILENT["id"]}
    weekly = alert("every_typed_country_is_understood", "m", PLATFORM, test_meta={"alert_suppression_interval": 167})
    assert told(21, weekly) == set() and told(168, weekly) == {weekly["id"]}


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("[", "DATA_ALERTS is no JSON"),
        ("{}", "must be a JSON array"),
        ('[{"channel": "slack"}]', "channel and url"),
        ('[{"channel": "pager", "url": "https://a"}]', "channel must be one of slack, teams, webhook"),
        ('[{"channel": "slack", "url": "hooks.slack.com"}]', "no http(s) address"),
        ('[{"channel": "slack", "url": "https://a", "group_by": "owner"}]', "group_by must be table or alert"),
        ('[{"channel": "slack", "url": "https://a", "filters": ["owner:me"]}]', "a filter is like owners:NAME"),
        ('[{"channel": "slack", "url": "https://a", "filters": ["statuses:bad"]}]', "is not a valid Status"),
    ],
)
def test_a_wrong_route_is_one_sentence(monkeypatch, value, sentence):
    monkeypatch.setenv("DATA_ALERTS", value)
    with pytest.raises(IngestionError) as raised:
        routes_of_environment()
    assert sentence in str(raised.value) and "\n" not in str(raised.value)
