"""The server of `make serve`: compressed, cached, live, for this machine only; and who may build the revenue site."""

import gzip
import socket
import sys

import pyarrow as pa
import pytest
from databricks.sql.exc import ServerOperationError
from starlette.testclient import TestClient

from ingestion import warehouse
from ingestion.settings import IngestionError
from serving import pages, server
from serving import site as revenue_site


@pytest.fixture
def site(tmp_path):
    folder = tmp_path / "site"
    (folder / "reports" / "_app" / "immutable").mkdir(parents=True)
    (folder / "index.html").write_text("<p>landing</p>" * 100)
    (folder / "reports" / "_app" / "immutable" / "a.1f3.js").write_text("let a = 1;" * 100)
    (folder / "reports" / "font.woff2").write_bytes(b"wOF2" * 100)
    server.compress(folder)
    return folder


@pytest.fixture
def client(site):
    return TestClient(server.application(site), base_url="http://127.0.0.1", follow_redirects=False)


def test_pages_are_compressed_and_asked_for_again_only_where_they_changed(site, client):
    first = client.get("/")
    assert first.text == "<p>landing</p>" * 100
    assert first.headers["Content-Encoding"] == "gzip" and int(first.headers["Content-Length"]) < 200
    assert "max-age=0" in first.headers["Cache-Control"]
    again = client.get("/", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    plain = client.get("/", headers={"Accept-Encoding": "identity"})
    assert "Content-Encoding" not in plain.headers and plain.text == first.text


def test_what_has_its_hash_in_its_name_is_kept_by_the_browser(client):
    assert "immutable" in client.get("/reports/_app/immutable/a.1f3.js").headers["Cache-Control"]
    font = client.get("/reports/font.woff2")
    assert "Content-Encoding" not in font.headers and font.content == b"wOF2" * 100


def test_a_page_that_is_replaced_while_it_is_served_is_the_new_one(site, client):
    client.get("/")
    (site / "index.html.gz").unlink()
    (site / "index.html").write_text("new")
    assert client.get("/").text == "new"
    (site / "docs").mkdir()
    (site / "docs" / "index.html").write_text("docs")
    assert client.get("/docs/").text == "docs"
    assert client.get("/docs").headers["Location"].endswith("docs/")


def test_no_other_site_reads_it_and_it_asks_no_other_site(client):
    found = client.get("/")
    assert "default-src 'self'" in found.headers["Content-Security-Policy"]
    assert "Access-Control-Allow-Origin" not in found.headers
    assert client.get("/", headers={"Host": "rebound.example.com"}).status_code == 400
    assert client.get("/../secret").status_code == 404 and client.get("/%2e%2e/secret").status_code == 404


def test_a_draft_of_a_page_takes_the_place_of_the_old_one_whole(tmp_path, monkeypatch):
    monkeypatch.setenv("LAKEHOUSE_HOME", str(tmp_path))
    place = pages.site_folder() / "docs"
    place.parent.mkdir()
    for state, content in (("1", "old" * 200), ("1", None), ("2", "new" * 200)):
        with pages.unless_current("docs", state) as folder:
            assert (folder is None) == (content is None)
            if folder:
                (folder / "index.html").write_text(content)
    assert gzip.decompress((place / "index.html.gz").read_bytes()).decode() == "new" * 200
    with pytest.raises(ZeroDivisionError), pages.unless_current("docs", "3"):
        1 / 0  # noqa: B018
    assert (place / "index.html").read_text() == "new" * 200
    assert sorted(each.name for each in place.parent.iterdir()) == [".docs.state", "docs"]


@pytest.mark.parametrize("text", ["http", "0", "70000"])
def test_a_wrong_port_is_one_sentence(monkeypatch, text):
    monkeypatch.setenv("SERVE_PORT", text)
    with pytest.raises(IngestionError, match="SERVE_PORT must be a port number"):
        server.port()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere two sockets may share a port")
def test_a_taken_port_is_one_sentence(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setenv("SERVE_PORT", str(taken.getsockname()[1]))
        with pytest.raises(IngestionError, match="SERVE_PORT .* cannot be used"):
            server.port()


class Warehouse:
    """A connection and its cursor: each query has one row, but for those of a table that fails."""

    def __init__(self, table: str, message: str):
        self.table, self.message = table, message

    def cursor(self) -> "Warehouse":
        return self

    def __enter__(self) -> "Warehouse":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def close(self) -> None:
        pass

    def execute(self, statement: str) -> None:
        if f".{self.table}" in statement:
            raise ServerOperationError(self.message)

    def fetchall_arrow(self) -> pa.Table:
        return pa.table({"found": [1]})


@pytest.mark.parametrize(
    "message",
    [
        "[TABLE_OR_VIEW_NOT_FOUND] The table or view cannot be found",
        "[INSUFFICIENT_PERMISSIONS] Insufficient privileges:\nUser does not have USE SCHEMA on Schema 'analytics.elementary'",
    ],
)
def test_who_may_read_gold_alone_builds_the_site(tmp_path, monkeypatch, message):
    monkeypatch.setenv("LAKEHOUSE_HOME", str(tmp_path))
    monkeypatch.setattr(warehouse, "connect", lambda: Warehouse("elementary_test_results", message))
    tables = revenue_site.export()
    assert tables["invoices"].num_rows == 1 and tables["test_results"].num_rows == 0
    assert tables["site"]["tests_note"][0].as_py().startswith("No test results: Elementary's tables are not there or may not")
    monkeypatch.setattr(warehouse, "connect", lambda: Warehouse("agg_landed_rows_load", message))
    with pytest.raises(IngestionError, match=r"^reports/sources/gold/loads\.sql: \["):
        revenue_site.export()
