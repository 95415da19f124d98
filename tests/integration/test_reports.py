"""The Evidence site of reports/ in a real browser that reaches nothing but this machine: built once, on small data."""

import json
import os
import re
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest
import uvicorn
from axe_playwright_python.sync_playwright import Axe
from servestatic import ServeStaticASGI

from ingestion.settings import IngestionError, in_environment
from serving import node, site
from tests.conftest import ROOT, clients, free_port
from tests.fixtures_browser import browser, picture  # noqa: F401
from tests.integration.test_run import FirstRun, query, undisturbed  # noqa: F401

#: Each page by its address, with what shows that its figures have come.
PAGES = {
    "": "[data-figures=kpis] >> text=/[0-9]/",
    "countries/": "a[href$='/countries/DE/']",
    "countries/DE/": "h2#late-payers",
    "invoices/": "[data-figures=matches] >> text=/[0-9]/",
    "invoice/": "dl.facts",
    "quality/": "h2#tests",
}
SIZES = {"desktop": {"width": 1280, "height": 900}, "phone": {"width": 390, "height": 844}}
SCHEMES = ("light", "dark")


@pytest.fixture(scope="module")
def gold(undisturbed: FirstRun) -> dict[str, str]:  # noqa: F811
    """The variables of the clients of a lakehouse with gold."""
    return clients(undisturbed.environment)


def serve(folder: Path) -> tuple[uvicorn.Server, str]:
    """Serve a folder as `make serve` does, compressed and cached; returns the server and its address."""

    async def missing(scope, receive, send) -> None:
        await send({"type": "http.response.start", "status": 404, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    files = ServeStaticASGI(missing, root=str(folder), index_file=True, autorefresh=True)

    async def app(scope, receive, send) -> None:
        # Evidence asks for /api//quality/…, with two slashes
        await files(scope | {"path": re.sub("//+", "/", scope["path"])}, receive, send)

    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning", lifespan="off"))
    threading.Thread(target=server.run, daemon=True).start()
    while not server.started:
        time.sleep(0.02)
    return server, f"http://127.0.0.1:{port}/reports/"


@pytest.fixture(scope="module")
def reports(gold, tmp_path_factory) -> Iterator[SimpleNamespace]:
    """The site, built and served: its folder, its address, the lakehouse's variables, what the build said."""
    said: list[str] = []
    with in_environment(gold):
        folder = site.build(said.append)
    server, address = serve(folder.parent)
    yield SimpleNamespace(folder=folder, address=address, gold=gold, said=said)
    server.should_exit = True


class Reader:
    """A browser's window that reaches only the site, and writes down every other attempt, and what went wrong."""

    def __init__(self, browser, address: str, size: str = "desktop", scheme: str = "light"):  # noqa: F811
        self.address, self.outside, self.wrong = address, [], []
        self.context = browser.new_context(viewport=SIZES[size], color_scheme=scheme)
        origin = address.removesuffix("reports/")
        self.context.on("request", lambda request: self._asked(request.url, origin))
        self.context.route(lambda url: not url.startswith(origin), lambda route: route.abort())
        self.page = self.context.new_page()
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("console", lambda line: self.wrong.append(line.text) if line.type == "error" else None)
        self.page.on("response", lambda response: self.wrong.append(response.url) if response.status >= 400 else None)

    def _asked(self, url: str, origin: str) -> None:
        if not url.startswith((origin, "data:", "blob:" + origin)):
            self.outside.append(url)

    def open(self, path: str) -> None:
        self.page.goto(self.address + path)
        self.ready(path.partition("?")[0])

    def ready(self, path: str) -> None:
        self.page.wait_for_selector(PAGES[path], timeout=60_000)
        self.page.wait_for_load_state("networkidle")
        self.page.wait_for_function("!document.querySelector('article').innerText.includes('Loading...')")

    def close(self) -> None:
        self.context.close()
        assert self.outside == [] and self.wrong == []


@pytest.fixture
def reader(browser, reports) -> Iterator[Reader]:  # noqa: F811
    found = Reader(browser, reports.address)
    yield found
    found.close()
