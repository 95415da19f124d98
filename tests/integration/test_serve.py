"""`make serve`: one address for the revenue pages, dbt docs, Elementary's report and the page of runs."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.conftest import ROOT, clients, free_port, python
from tests.fixtures_browser import browser, new_page, picture  # noqa: F401
from tests.fixtures_run import FirstRun, query


@pytest.fixture(scope="module")
def served(undisturbed: FirstRun, tmp_path_factory) -> Iterator[tuple[str, Path]]:
    """The address, and the file with what was printed."""
    port, output = free_port(), tmp_path_factory.mktemp("serve") / "output.txt"
    variables = clients(undisturbed.environment) | {"SERVE_PORT": str(port)}
    with output.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "serving", "serve"], cwd=ROOT, env={**os.environ, **variables}, stdout=file, stderr=file
        )
        try:
            address, end = f"http://127.0.0.1:{port}/", time.monotonic() + 1800
            while "Serving" not in output.read_text():
                assert process.poll() is None and time.monotonic() < end, output.read_text()
                time.sleep(0.2)
            while True:
                try:
                    requests.get(address, timeout=60)
                    break
                except requests.RequestException:
                    assert process.poll() is None and time.monotonic() < end, output.read_text()
                    time.sleep(0.2)
            yield address, output
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(300) == 0, output.read_text()


def test_the_first_page_tells_of_the_last_run_and_links_what_is_there(served, undisturbed, browser):  # noqa: F811
    address, output = served
    page, outside = new_page(browser), []
    page.on("request", lambda request: outside.append(request.url) if not request.url.startswith(address) else None)
    page.goto(address)
    picture(page, "serve-landing")
    said = page.inner_text("main")
    # the tests of wrong settings may have run before, and theirs is a run that failed
    run = json.loads((Path(undisturbed.environment["LAKEHOUSE_HOME"]) / "last_run.json").read_text())
    assert (f"failed: {run['error']}" if run["error"] else f"succeeded in {sum(run['seconds'].values()):.0f} s") in said, said
    if run["statuses"]:
        assert f"{run['statuses']['pass']} tests passed" in said, said
    landed, rejected = query(
        undisturbed.environment,
        "select sum(row_count), sum(row_count) filter (where outcome = 'rejected') from silver.row_accounting"
        " where table_name = 'invoices'",
    )[0]
    (cells,) = [
        row.locator("td").all_inner_texts()
        for row in page.locator("tr").all()
        if row.locator("td").all_inner_texts()[:1] == ["invoices"]
    ]
    assert (cells[1], cells[4]) == (f"{landed:,}", f"{rejected:,}")
    links = {link.inner_text().splitlines()[0]: link.get_attribute("href") for link in page.locator(".cards a").all()}
    missing = {card.inner_text().splitlines()[0] for card in page.locator(".cards div").all()}
    assert links.items() >= {"Revenue": "/reports/", "dbt docs": "/docs/"}.items(), output.read_text()
    assert set(links) | missing == {"Revenue", "dbt docs", "Elementary", "Runs"} and missing <= {"Elementary", "Runs"}
    for name in missing:
        assert "Elementary is off" in page.locator(".cards div", has_text=name).first.inner_text()
    for link in links.values():
        page.goto(address + link.strip("/") + "/")
        page.wait_for_load_state("networkidle")
        page.wait_for_function("document.body.innerText.length > 50")  # its scripts may write it after all is loaded
    page.goto(address + "docs/#!/model/model.invoices_countries.fct_invoices")
    page.get_by_text("Grain: one row per live invoice").first.wait_for()
    picture(page, "serve-docs")
    page.close()
    assert not outside


def test_what_is_current_is_not_made_again(served, undisturbed):
    made = python("-m", "serving", "serve", "--only-make", env=clients(undisturbed.environment))
    assert made.returncode == 0, made.stderr
    assert "nothing changed since the last build" in made.stdout and "made anew" not in made.stdout
