"""The page of runs: how long each model took and what it wrote, lately and usually; one HTML file that needs no network."""

import contextlib
import statistics
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2

from ingestion import warehouse
from ingestion.settings import write_whole

#: How many of a model's runs, and how many days, the page shows.
RUNS, DAYS = 40, 30


@dataclass(frozen=True)
class Run:
    """One run of one node: its name, when it began (UTC), seconds, status, rows and bytes written, bytes of the table."""

    name: str
    started_at: datetime
    seconds: float
    status: str
    rows: int | None = None
    bytes: int | None = None
    table_bytes: int | None = None


def read() -> list[Run]:
    """The runs of this project's nodes in the last DAYS days, oldest first; none before `make watch` has recorded them.

    Raises WarehouseError without a warehouse.
    """
    statement = (
        "select name, started_at, seconds, status, rows_written, bytes_written, table_bytes"
        f" from `{warehouse.catalog()}`.`{warehouse.schema('observability')}`.`run_history`"
        f" where package_name = 'invoices_countries' and started_at >= current_timestamp() - interval {DAYS} days"
        " order by started_at"
    )
    with contextlib.closing(warehouse.connect()) as connection, connection.cursor() as cursor:
        if "run_history" not in warehouse.tables(connection, "observability"):
            return []
        cursor.execute(statement)
        return [Run(*row) for row in cursor.fetchall()]


def write(runs: list[Run], path: Path, now: datetime | None = None) -> Path:
    """Write the page of these runs, oldest first, to `path`, whole or not at all; returns it."""
    environment = templates(Path(__file__).parent)
    environment.filters |= {"size": size, "points": points}
    page = environment.get_template("run_page.html.j2").render(
        models=models(runs), days=days(runs), now=now or datetime.now(UTC), shown=DAYS
    )
    return write_whole(path, page)


def templates(*folders: Path) -> jinja2.Environment:
    """Jinja over the templates of these folders, and the style that all pages of this project share."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader([*folders, Path(__file__).parent]), autoescape=True, trim_blocks=True,
        lstrip_blocks=True, undefined=jinja2.StrictUndefined,
    )  # fmt: skip


def models(runs: list[Run]) -> list[dict[str, Any]]:
    """Each model's newest run beside its usual one, the one that takes most time first."""
    by_name: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        by_name[run.name].append(run)
    found = []
    for name, its in by_name.items():
        newest, seconds = its[-1], [run.seconds for run in its[-RUNS:]]
        usual = statistics.median(seconds)
        found.append(
            {
                "name": name,
                "newest": newest,
                "usual": usual,
                "change": (newest.seconds / usual - 1) * 100 if usual and len(seconds) > 1 else None,
                "seconds": seconds,
                "count": len(its),
                "failed": sum(run.status not in ("success", "skipped") for run in its),
                "rows": next((run.rows for run in reversed(its) if run.rows is not None), None),
                "bytes": next((run.bytes for run in reversed(its) if run.bytes is not None), None),
                "table_bytes": next((run.table_bytes for run in reversed(its) if run.table_bytes is not None), None),
            }
        )
    return sorted(found, key=lambda each: -each["usual"])


def days(runs: list[Run]) -> list[dict[str, Any]]:
    """Seconds, rows and bytes of each day (UTC) that had runs, all models together, oldest first."""
    found: dict[Any, dict[str, Any]] = {}
    for run in runs:
        day = run.started_at.date()
        total = found.setdefault(day, {"day": day, "seconds": 0.0, "rows": 0, "bytes": 0, "runs": 0})
        total["seconds"] += run.seconds
        total["rows"] += run.rows or 0
        total["bytes"] += run.bytes or 0
        total["runs"] += 1
    return list(found.values())


def size(count: int | None) -> str:
    """Bytes as people read them: 1.5 MB."""
    if count is None:
        return ""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def points(values: list[float], width: int = 120, height: int = 24) -> str:
    """The points of a polyline through the values, from zero at the bottom to the greatest at the top."""
    top = max(values) or 1.0
    step = width / max(len(values) - 1, 1)
    return " ".join(f"{number * step:.1f},{height - 1 - value / top * (height - 2):.1f}" for number, value in enumerate(values))
