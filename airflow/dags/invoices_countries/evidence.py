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
        from serving.site import build

        with in_environment(warehouse_environment(settings.target)):
            return lay(build(print), settings.evidence_site)

    return evidence_site()


def lay(site: Path, folder: str) -> str:
    """Copy a folder of pages to another one, a URL (file://, abfss://, …); returns that.

    What a page names is there before the page is, and what was there before stays, for readers who have a page open.
    """
    from airflow.sdk import ObjectStoragePath

    there = ObjectStoragePath(folder)
    if there.as_uri() == site.as_uri():
        return str(there)
    files = (file for file in site.rglob("*") if file.is_file())
    for file in sorted(files, key=lambda file: (".html" in file.suffixes, file.name == "manifest.json", file)):
        target = there / file.relative_to(site).as_posix()
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes())
    return str(there)
