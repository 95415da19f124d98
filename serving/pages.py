"""The pages of `make serve`, in LAKEHOUSE_HOME/site: each is made where it is not current, and a landing page links them."""

import contextlib
import dataclasses
import functools
import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ingestion import summary, warehouse
from ingestion.dbt_command import dbt_command, target_folder
from ingestion.run import last_run
from ingestion.settings import REPOSITORY, IngestionError, write_whole
from observability.run_page import templates
from serving.server import compress, site_folder

#: What dbt's docs show besides the tables.
_PROJECT = ("models", "python_models", "macros", "seeds", "snapshots", "tests/dbt", "dbt_project.yml", "packages.yml")


Say = Callable[[str], None]


@dataclass(frozen=True)
class Page:
    """A page that the landing page links. `problem`: why it is not there, one sentence, or None."""

    title: str
    about: str
    address: str
    problem: str | None = None


def make(say: Say) -> Path:
    """Bring every page up to date; returns the site's folder.

    say: told a line at each step. A page that cannot be made does not stop the others: the landing page says why. Raises
    WarehouseError where the warehouse does not answer and there is no page of an earlier time.
    """
    folder = site_folder()
    folder.mkdir(parents=True, exist_ok=True)
    facts, problem = None, None
    try:
        facts = summary.read()
    except IngestionError as error:
        if not (folder / "index.html").exists():
            raise
        problem = f"What follows is as it was, because {error}"
        say(problem)
    except Exception as error:  # databricks.sql's own, of a table that is not there
        problem = "Gold is not built yet; run make run first."
        say(f"{problem} ({str(error).splitlines()[0][:200]})")
    works = {
        Page("Revenue", "Invoices by country, trends, down to one invoice; the quality of the data.", "/reports/"): _reports,
        Page("dbt docs", "Every table and column, its tests, and the lineage.", "/docs/"): functools.partial(_docs, facts),
        Page("Elementary", "Test results and anomalies.", "/elementary/"): _elementary,
        Page("Runs", "Time, rows and bytes of each model, and the slowest.", "/runs/"): _runs,
    }
    pages = [_made(page, work, say) for page, work in works.items()]
    landing = templates(Path(__file__).parent).get_template("landing.html.j2")
    write_whole(folder / "index.html", landing.render(pages=pages, run=last_run(), summary=facts, problem=problem))
    return folder


def _made(page: Page, work: Callable[[Say], None], say: Say) -> Page:
    """The page after `work`, with the problem that kept it from being there, if any."""
    problem = None
    try:
        work(say)
    except IngestionError as error:
        problem = str(error)
    there = site_folder() / page.address.strip("/") / "index.html"
    if not there.exists():
        problem = problem or "it has not been made."
        say(f"{page.title}: not here, {problem}")
        return dataclasses.replace(page, problem=problem)
    if problem:
        say(f"{page.title}: as it was, because {problem}")
    return page


def _reports(say: Say) -> None:
    from serving.site import build

    build(say)


def _docs(facts: summary.Summary | None, say: Say) -> None:
    """dbt's docs, where the project or the loads have changed since."""
    content = hashlib.sha256()
    for name in _PROJECT:
        place = REPOSITORY / name
        for file in sorted(place.rglob("*")) if place.is_dir() else [place]:
            if file.is_file():
                content.update(str(file.relative_to(REPOSITORY)).encode() + b"\0" + file.read_bytes())
    state = f"{content.hexdigest()} {facts and facts.newest_load} {warehouse.target()}"
    with unless_current("docs", state) as folder:
        if folder is None:
            return
        say("dbt docs: made anew")
        dbt_command("--quiet", "docs", "generate", "--static")
        shutil.copy(target_folder() / "static_index.html", folder / "index.html")


def _elementary(say: Say) -> None:
    """Elementary's report and the page of runs, where something has run since."""
    from observability.edr import refuse_stand_ins
    from observability.report import write

    refuse_stand_ins()
    with unless_current("elementary", _newest_invocation()) as folder:
        if folder is None:
            return
        say("Elementary: report made anew")
        report, runs = write(folder)
        report.replace(folder / "index.html")
        write_whole(site_folder() / "runs" / "index.html", runs.read_text(encoding="utf-8"))
        runs.unlink()


def _runs(say: Say) -> None:
    """The page of runs is made with Elementary's report."""
    from observability.edr import refuse_stand_ins

    refuse_stand_ins()


def _newest_invocation() -> str:
    """When dbt last ran against this warehouse, as Elementary has it."""
    table = f"`{warehouse.catalog()}`.`{warehouse.schema('elementary')}`.`dbt_invocations`"
    with contextlib.closing(warehouse.connect()) as connection, connection.cursor() as cursor:
        if "dbt_invocations" not in warehouse.tables(connection, "elementary"):
            raise IngestionError("Elementary has recorded nothing yet; make run or make watch does.")
        cursor.execute(f"select max(run_completed_at) from {table}")
        return str(cursor.fetchone()[0])


@contextlib.contextmanager
def unless_current(name: str, state: str) -> Iterator[Path | None]:
    """Gives a folder to fill, which becomes the site's folder `name`; None where that was made at the same `state`."""
    place, stamp = site_folder() / name, site_folder() / f".{name}.state"
    if place.exists() and stamp.exists() and stamp.read_text() == state:
        yield None
        return
    with tempfile.TemporaryDirectory(dir=site_folder(), prefix=f".{name}-") as temporary:
        draft = Path(temporary) / "new"
        draft.mkdir()
        yield draft
        compress(draft)
        if place.exists():
            place.replace(Path(temporary) / "old")
        draft.replace(place)
    stamp.write_text(state)
