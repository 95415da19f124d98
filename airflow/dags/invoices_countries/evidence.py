"""The Evidence site in the DAGs: built where gold or its pages have changed, and laid where its readers open it."""

from pathlib import Path
from typing import Any

from airflow.sdk import task

from invoices_countries.settings import Settings, in_environment, warehouse_environment


def evidence_site(settings: Settings) -> Any:
    """The task that builds the site and lays it in the folder `settings.evidence_site`. It needs Node.js, or fetches one."""

    @task
    def evidence_site() -> str:
        """Build the site; returns where it is."""
        from airflow.sdk import ObjectStoragePath

        from serving.site import build

        with in_environment(warehouse_environment(settings.target)):
            site = build(print)
        there = ObjectStoragePath(settings.evidence_site)
        if there.as_uri() == site.as_uri():
            return str(there)
        for file in in_order_of_reading(site):
            target = there / file.relative_to(site).as_posix()
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
        return str(there)

    return evidence_site()


def in_order_of_reading(site: Path) -> list[Path]:
    """The files of a site, so ordered that what a page names is there before the page is."""
    return sorted((file for file in site.rglob("*") if file.is_file()), key=lambda file: (".html" in file.suffixes, file))
