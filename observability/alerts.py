"""Elementary's alerts, each sent to whom it concerns: `edr monitor` with several channels at once, and a generic webhook.

`edr monitor` knows one Slack or Teams address at a time, and marks an alert as sent once it was sent there. Here every new
alert goes to each route whose filters take it, in Elementary's own message formats, and is marked after that.
"""

import dataclasses
import html
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import requests
import tenacity

from ingestion.settings import IngestionError
from observability.edr import configured

VARIABLE = "DATA_ALERTS"
CHANNELS = ("slack", "teams", "webhook")
#: edr's filters; https://docs.elementary-data.com/oss/guides/alerts/alerts-configuration#filters
FILTERS = ("tags", "owners", "models", "statuses", "resource_types")
#: As many alerts or more for a route become one message.
ONE_MESSAGE_FROM = 10


@dataclass(frozen=True)
class Route:
    """Where alerts go, and which.

    channel: slack, teams or webhook; url: its address, which is secret. filters: as edr's `--filters`, such as
    `owners:Finance analytics` or `statuses:warn,fail`; an alert must match all of them. group_by: `table` (one message for
    all alerts of a table) or `alert`. headers: of a webhook.
    """

    channel: str
    url: str
    filters: tuple[str, ...] = ()
    group_by: str = "table"
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, values: Any, where: str) -> "Route":
        """The route that a JSON object describes. Raises IngestionError, one sentence naming `where`, for what cannot be."""
        known = {each.name for each in dataclasses.fields(cls)}
        if not isinstance(values, dict) or not {"channel", "url"} <= values.keys() <= known:
            raise IngestionError(f"{where}: each route is an object with channel and url, and may have {sorted(known)}.")
        route = cls(**{**values, "filters": tuple(values.get("filters", ()))})
        if route.channel not in CHANNELS:
            raise IngestionError(f"{where}: channel must be one of {', '.join(CHANNELS)}, not {route.channel!r}.")
        if urlsplit(str(route.url)).scheme not in ("http", "https"):
            raise IngestionError(f"{where}: the url of {route.channel} is no http(s) address.")
        if route.group_by not in ("table", "alert"):
            raise IngestionError(f"{where}: group_by must be table or alert, not {route.group_by!r}.")
        for each in route.filters:
            if str(each).partition(":")[0] not in FILTERS or not str(each).partition(":")[2]:
                raise IngestionError(f"{where}: a filter is like owners:NAME, one of {', '.join(FILTERS)}; not {each!r}.")
        try:
            route.filter()
        except ValueError as error:
            raise IngestionError(f"{where}: {error}.") from None
        return route

    def filter(self) -> Any:
        """edr's filter of this route."""
        from elementary.monitor.data_monitoring.schema import FiltersSchema

        return FiltersSchema.from_cli_params(self.filters, ())


def routes_of_environment() -> list[Route]:
    """The routes that the variable DATA_ALERTS lists, a JSON array. Raises IngestionError, one sentence, for what cannot be."""
    text = os.environ.get(VARIABLE) or "[]"
    try:
        values = json.loads(text)
    except ValueError as error:
        raise IngestionError(f"{VARIABLE} is no JSON: {error}.") from None
    if not isinstance(values, list):
        raise IngestionError(f"{VARIABLE} must be a JSON array of routes.")
    return [Route.of(each, VARIABLE) for each in values]


@dataclass
class Sent:
    """What became of the new alerts: of each its summary and the channels that took it; failures, a sentence each."""

    alerts: list[tuple[str, list[str]]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def described(self) -> str:
        """A line an alert."""
        lines = [f"{summary}: {', '.join(channels) or 'no route takes it'}" for summary, channels in self.alerts]
        return "\n".join(lines) or "no new alerts"


def send(routes: Sequence[Route], days_back: int = 2, report_url: str | None = None, suppression_hours: int = 20) -> Sent:
    """Send every new alert of the last days to the routes that take it.

    suppression_hours: an alert of the same test or model is told once in that time, if its `meta` does not say otherwise;
    less than a day, so that what is still wrong tomorrow is told again. An alert that no channel took stays new.
    Raises ElementaryIsOff without Elementary, and IngestionError where its tables cannot be read.
    """
    with configured(group_alerts_threshold=ONE_MESSAGE_FROM, report_url=report_url) as config:
        monitor = routed_monitor(config, routes, suppression_hours)
        if not monitor.run_alerts(days_back=days_back):
            raise IngestionError("Elementary's alerts could not be read; see the log above.")
        return monitor.sent


def routed_monitor(config: Any, routes: Sequence[Route], suppression_hours: int) -> Any:
    """edr's `DataMonitoringAlerts` whose messages go by routes; its `sent` tells what became of them."""
    from elementary.messages.messaging_integrations.exceptions import MessagingIntegrationError
    from elementary.monitor.api.alerts.alert_filters import filter_alerts
    from elementary.monitor.data_monitoring.alerts import data_monitoring_alerts as edr

    class RoutedAlerts(edr.DataMonitoringAlerts):
        """Formats the alerts for each route instead of once, and sends each message by its route."""

        sent = Sent()

        def _get_integration_client(self) -> None:
            return None  # each route has its own

        def _format_alerts(self, alerts: list) -> list[tuple[Route, Any]]:
            found = []
            for route in routes:
                self.config.slack_group_alerts_by = route.group_by
                if taken := filter_alerts(alerts, route.filter()):
                    found += [(route, message) for message in super()._format_alerts(taken)]
            self._by_id = {alert.id: (_summary(alert), []) for alert in alerts}
            return found

        def _send_alerts(self, alerts: list[tuple[Route, Any]]) -> None:
            for route, alert in alerts:
                members = list(getattr(alert, "alerts", [alert]))
                body = edr._add_elementary_attribution(self.alert_message_builder.build(alert=alert))
                if route.channel == "slack":
                    _escape(body)
                try:
                    delivered(route, body, members)
                except (MessagingIntegrationError, requests.RequestException) as error:
                    why = str(error).replace(route.url, "its address")[:300]  # the address is a secret
                    self.sent.failures.append(f"{route.channel} did not take an alert: {why}")
                    continue
                for member in members:
                    self._by_id[member.id][1].append(route.channel)
            if told := [name for name, (_, channels) in self._by_id.items() if channels]:
                self._update_sent_alerts(told)
            self.sent.alerts = list(self._by_id.values())

    return RoutedAlerts(config, global_suppression_interval=suppression_hours)


def _summary(alert: Any) -> str:
    """An alert before it is formatted, as a line."""
    return alert.data.format_alert().summary


@tenacity.retry(stop=tenacity.stop_after_attempt(3), wait=tenacity.wait_exponential(1, max=8), reraise=True)
def delivered(route: Route, body: Any, alerts: Iterable[Any]) -> None:
    """Post one message, in three tries. Raises MessagingIntegrationError or requests.RequestException if it was not taken."""
    from elementary.messages.messaging_integrations.slack_webhook import SlackWebhookMessagingIntegration
    from elementary.messages.messaging_integrations.teams_webhook import TeamsWebhookMessagingIntegration

    if route.channel == "slack":
        SlackWebhookMessagingIntegration.from_url(route.url).send_message(None, body)
    elif route.channel == "teams":
        TeamsWebhookMessagingIntegration(route.url).send_message(None, body)
    else:
        message = {"event": "data_alert", "alerts": [webhook_alert(alert) for alert in alerts]}
        requests.post(route.url, json=message, headers=route.headers, timeout=30).raise_for_status()


def _escape(part: Any) -> None:
    """Escape what Slack's mrkdwn means something by, in place; edr 0.25.1 does not, so that a value could mention a channel.

    https://docs.slack.dev/messaging/formatting-message-text#escaping; a header is plain text.
    """
    if isinstance(part, (list, tuple)):
        for each in part:
            _escape(each)
    elif hasattr(part, "__fields__") and getattr(part, "type", "") != "header":  # a block
        for name, value in list(vars(part).items()):
            if isinstance(value, str) and name in ("text", "code"):
                setattr(part, name, html.escape(value, quote=False))
            else:
                _escape(value)


#: Where the kinds of alerts tell what is wrong.
_WHY = ("test_results_description", "message", "error", "freshness_description")


def webhook_alert(alert: Any) -> dict[str, Any]:
    """What a generic webhook is told of an alert: texts, lists of texts, and the time in UTC (ISO 8601)."""
    data = alert.data
    facts = {
        "id": alert.id,
        "summary": alert.summary,
        "status": alert.status,
        "kind": alert.asset_type,
        "model": alert.model_unique_id,
        "test": data.get("test_name"),
        "column": data.get("column_name"),
        "why": next(filter(None, map(data.get, _WHY)), None),
        "owners": list(alert.owners),
        "tags": list(alert.tags),
        "detected_at": alert.detected_at_utc.isoformat() if alert.detected_at_utc else None,
    }
    return {
        name: " ".join(value.split()) if isinstance(value, str) else value
        for name, value in facts.items()
        if value not in (None, [])
    }
