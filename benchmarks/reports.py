"""The Evidence site with many invoices, in a real browser: seconds until it can be used, milliseconds of a filter, sizes.

    python -m benchmarks.reports [--invoices 500000] [--rounds 5]

Needs the local endpoint with gold (`make run`, then `make shell`). Its invoices are repeated, with ids of their own, until
there are as many as asked; the other tables do not grow with them. The site is built three times, in a folder of its own:
pages and data, nothing changed, other data. Prints Markdown tables.
"""

import argparse
import contextlib
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from ingestion.settings import in_environment
from serving import site
from tests.fixtures_browser import chromium
from tests.integration.test_reports import PAGES, serve

#: The page can be used: its figures are there, and the thread that answers clicks is free for 50 ms.
READY = {path: selector for path, selector in PAGES.items() if path in ("", "countries/DE/", "invoices/")}
#: What a reader does in the explorer, and the milliseconds until table and totals have changed.
FILTERS = {
    "a country": ("Country", "DE"),
    "and a status": ("Status", "paid"),
    "and a month": ("Month", None),
}


def many(invoices: pa.Table, count: int) -> pa.Table:
    """The table repeated to `count` rows, newest first, with ids and numbers of their own."""
    times = -(-count // invoices.num_rows)
    table = pa.concat_tables([invoices] * times).slice(0, count).unify_dictionaries().combine_chunks()
    order = np.argsort(table["invoice_date"].cast(pa.int32()).to_numpy(), kind="stable")[::-1]
    table = table.take(pa.array(order))
    ids = np.arange(count, 0, -1)
    table = table.set_column(0, "invoice_id", pa.array(ids))
    return table.set_column(1, "invoice_number", pa.array([f"INV-{each:09d}" for each in ids])).combine_chunks()


def opened(page, address: str, path: str) -> float:
    """Open a page; returns the seconds until it can be used."""
    began = time.monotonic()
    page.goto(address + path, wait_until="commit")
    page.wait_for_selector(READY[path], timeout=60_000)
    page.evaluate("new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve, 0)))")
    return time.monotonic() - began


def filtered(page, label: str, value: str | None) -> float:
    """Choose in the explorer; returns the milliseconds until the totals and the table show it."""
    return page.evaluate(
        """async ([label, value]) => {
            const labels = [...document.querySelectorAll('label')];
            const select = labels.find((each) => each.innerText.startsWith(label)).querySelector('select');
            const shown = () => document.querySelector('[data-figures=matches]').innerText;
            const table = () => document.querySelector('[data-testid=DataTable-invoices]')?.innerText;
            const [before, rows] = [shown(), table()];
            const began = performance.now();
            select.value = value ?? select.options[select.options.length >> 1].value;
            select.dispatchEvent(new Event('change'));
            while (shown() === before || table() === rows) {
                if (performance.now() > began + 20_000) throw new Error(`${label}: nothing changed`);
                await new Promise((resolve) => setTimeout(resolve, 1));
            }
            return performance.now() - began;
        }""",
        [label, value],
    )


def size(files: list[Path], suffix: str) -> str:
    """What the files take in this encoding; what is too small to be packed goes plain."""
    packed = [each.with_name(each.name + suffix) for each in files]
    return f"{sum((p if p.exists() else f).stat().st_size for p, f in zip(packed, files, strict=True)) / 1e6:.2f} MB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--invoices", type=int, default=500_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    from playwright.sync_api import sync_playwright

    export = site.export

    def exported() -> dict[str, pa.Table]:
        tables = export()
        return tables | {"invoices": many(tables["invoices"], options.invoices)}

    builds = []
    with tempfile.TemporaryDirectory() as home, in_environment({"LAKEHOUSE_HOME": home}):
        site.export = exported
        try:
            for customers in ("pseudonym", "pseudonym", "id"):
                os.environ["REPORTS_CUSTOMERS"] = customers
                began = time.monotonic()
                folder = site.build(builds.append)
                what = builds[-1].removeprefix("Reports: ").rpartition(" (")[0]
                builds[-1] = f"| {what} | {time.monotonic() - began:.1f} s |"
        finally:
            site.export = export
        server, address = serve(folder.parent)
        found: dict[str, list[float]] = {}
        with (
            sync_playwright() as playwright,
            contextlib.closing(
                playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"] if os.geteuid() == 0 else [])
            ) as browser,
        ):
            for _ in range(options.rounds):
                context = browser.new_context()
                page = context.new_page()
                for path in READY:
                    found.setdefault(f"/{path}, first visit" if not path else f"/{path}", []).append(
                        opened(page, address, path)
                    )
                for name, (label, value) in FILTERS.items():
                    found.setdefault(name, []).append(filtered(page, label, value))
                found.setdefault("/, again", []).append(opened(page, address, ""))
                context.close()
        server.should_exit = True
        print(f"\n{options.invoices:,} invoices\n\n| build | |\n|---|---|", *builds, sep="\n")
        print(f"\n| median of {options.rounds} (least, most) | |\n|---|---|")
        for name, values in found.items():
            unit, places = ("ms", 0) if name in FILTERS else ("s", 2)
            middle, least, most = (f"{each:.{places}f}" for each in (statistics.median(values), min(values), max(values)))
            print(f"| {name} | {middle} {unit} ({least}, {most}) |")
        named = json.loads((folder / "data" / "manifest.json").read_text())["renderedFiles"]["gold"]
        print("\n| size | plain | gzip | zstd |\n|---|---|---|---|")
        for name, files in {
            "JavaScript and CSS of all pages": [
                each for each in (folder / "_app").rglob("*") if each.suffix in (".js", ".css")
            ],
            "DuckDB": list((folder / "_app").rglob("*.wasm")),
            "invoices": [folder / each for each in named if each.endswith("/invoices.arrow")],
            "other data": [folder / each for each in named if not each.endswith("/invoices.arrow")],
        }.items():
            print(f"| {name} | {' | '.join(size(files, suffix) for suffix in ('', '.gz', '.zstd'))} |")


if __name__ == "__main__":
    main()
