"""A real browser, Chromium, without a window."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

#: How long a page is waited for, in milliseconds, instead of Playwright's 30 s: against one that does not come at all.
PATIENCE = 300_000


def chromium() -> str | None:
    """The browser's program: CHROMIUM, or the first of the usual names on the PATH."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


@pytest.fixture(scope="module")
def browser() -> Iterator:
    """Playwright's browser; the test is skipped where the machine has none (CHROMIUM names one). For a module, because there
    is one event loop in a thread, which Playwright keeps running."""
    if not (program := chromium()):
        pytest.skip("there is no Chromium on this machine; install it, or name it in CHROMIUM")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # as root, Chromium runs only without its sandbox; it opens pages of this machine and no others
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        found = playwright.chromium.launch(executable_path=program, args=arguments, timeout=PATIENCE)
        yield found
        found.close()


def new_page(browser, **options):
    """A page in a window of its own, with patience; `options` are Playwright's for the window."""
    page = browser.new_page(**options)
    page.set_default_timeout(PATIENCE)
    return page


def picture(page, name: str) -> Path:
    """Save what the page shows as <SCREENSHOTS>/<name>.png, in the lakehouse's folder by default; returns the file."""
    folder = Path(os.environ.get("SCREENSHOTS") or Path(__file__).parent.parent / ".lakehouse" / "screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.png"
    page.screenshot(path=file)
    return file
