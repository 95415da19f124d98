"""`make demo-incident`: faults of a source, each found by Elementary or a test, and told; and that ordinary days tell nothing.

In a lakehouse of its own, LAKEHOUSE_HOME/incidents, with the demo source: a first load, an ordinary day, and then one fault
after the other (ingestion.demo_source.INCIDENTS), each followed by a load, dbt's build, what Elementary watches, and its
alerts, which a receiver on loopback takes.
"""

import contextlib
import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from ingestion import demo_data, demo_source
from ingestion.settings import IngestionError, lakehouse_home
from observability.alerts import Route, send
from observability.edr import refuse_stand_ins
from observability.watch import end_of, watch

#: What has to find each incident: the name of a test.
FOUND_BY = {
    "volume-drop": "no_large_country_falls_silent",
    "schema-change": "invoices_have_the_columns_of_yesterday",
    "rejected-rows": "as_few_invoices_are_rejected_for_a_reason_as_usual",
    "null-flood": "as_few_invoices_lack_the_customer_as_usual",
    "stale-source": "the_source_changes_as_often_as_usual",
}
#: Of the same fault: a source that is silent for days has no rows of these days either.
SAME_CAUSE = {"stale-source": {"as_many_invoices_arrive_as_usual_on_that_weekday", "no_large_country_falls_silent"}}


class IncidentMissed(IngestionError):
    """An incident was not found, or something else was told than it."""


class Receiver:
    """A webhook on loopback; `alerts` are those that came, in their order."""

    def __init__(self) -> None:
        self.alerts: list[dict] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver.alerts += json.loads(self.rfile.read(int(self.headers["Content-Length"])))["alerts"]
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop it."""
        self._server.shutdown()
        self._server.server_close()


@dataclass
class Day:
    """What one business day told: the tests that warn, the alerts that came, and the seconds until they had come."""

    day: date
    warned: list[str]
    told: list[dict]
    seconds: float


class Demo:
    """The lakehouse of the incidents, one business day after the other."""

    def __init__(self, receiver: Receiver) -> None:
        self._routes = [Route("webhook", receiver.url, group_by="alert")]
        self._receiver = receiver

    def next(self, incident: str | None = None, tell: bool = True, ordinary_before: int = 0) -> Day:
        """Let a business day pass, load, build, watch and tell. ordinary_before: days that pass before it, loaded with it."""
        for _ in range(ordinary_before):
            demo_source.next_day()
        began, known = time.monotonic(), len(self._receiver.alerts)
        demo_source.next_day(incident=incident)
        return self.look(began, known, tell)

    def look(self, began: float, known: int, tell: bool = True) -> Day:
        """Load what there is, build, watch and tell."""
        from ingestion.run import run

        run(brief=True)
        day = demo_data.day_after(demo_source.state().day)
        warned = watch(end_of(day), quiet=True)
        if tell:
            sent = send(self._routes)
            if sent.failures:
                raise IncidentMissed("; ".join(sent.failures))
        return Day(day, warned, self._receiver.alerts[known:], time.monotonic() - began)


@contextlib.contextmanager
def demonstration(invoices: int = demo_source.DEFAULT_INVOICES, after: int = 0) -> Iterator[Demo]:
    """A new lakehouse of incidents after its first load and one ordinary day; what runs there is stopped at the end.

    after: how many days have passed in the source before the first load. Changes this process's environment for good. Raises
    ElementaryIsOff without Elementary.
    """
    from local_databricks.lifecycle import down
    from local_databricks.settings import Settings, free_port

    refuse_stand_ins()
    home = lakehouse_home() / "incidents"
    for name in [each for each in os.environ if each.startswith(("SOURCES__", "LOCAL_DATABRICKS_", "DATABRICKS_"))]:
        del os.environ[name]
    os.environ |= {"LAKEHOUSE_HOME": str(home), "DBT_TARGET": "local", "LOCAL_DATABRICKS_PORT": str(free_port())}
    os.environ |= {"DBT_TARGET_PATH": str(home / "dbt" / "target"), "DBT_LOG_PATH": str(home / "dbt" / "logs")}
    os.environ.setdefault("ENGINE", "sail")
    down(Settings.from_environment())
    demo_source.Server().delete()
    shutil.rmtree(home, ignore_errors=True)
    receiver = Receiver()
    try:
        demo_source.up(invoices)
        for _ in range(after):
            demo_source.next_day()
        demo = Demo(receiver)
        demo.look(time.monotonic(), 0)
        demo.next()
        yield demo
    finally:
        receiver.close()
        down(Settings.from_environment())
        demo_source.Server().stop()


def demonstrate() -> tuple[list[str], Path]:
    """Let every incident happen; returns the lines of a table in Markdown, and the report that shows them.

    Raises IncidentMissed where an incident was not found, or something else was told than it.
    """
    from observability.report import write

    lines = ["| Incident | What happened at the source | Found by | Told after | Told besides |", "|---|---|---|---|---|"]
    missed = []
    with demonstration() as demo:
        for incident, test in FOUND_BY.items():
            today = demo_data.day_after(demo_source.state().day + 1)
            weekend = {5: 2, 6: 1}.get(today.weekday(), 0)  # a fault of a working day
            found = demo.next(incident, ordinary_before=weekend)
            told = [alert["test"] for alert in found.told]
            besides = sorted(set(told) - {test})
            if test not in told or set(besides) - SAME_CAUSE.get(incident, set()):
                missed.append(f"{incident} was told by {told or 'nobody'}")
            lines.append(
                f"| {incident} | {demo_source.INCIDENTS[incident]} | `{test}` | {found.seconds / 60:.1f} min |"
                f" {', '.join(f'`{each}`' for each in besides) or 'nothing'} |"
            )
            print("\n" + "\n".join(lines), flush=True)
        report = write(lakehouse_home() / "reports")[0]
    if missed:
        raise IncidentMissed("; ".join(missed))
    return lines, report
