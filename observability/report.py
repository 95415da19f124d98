"""Elementary's report and the page of runs, two HTML files that need no network."""

import re
import tempfile
from pathlib import Path

from ingestion.settings import IngestionError
from observability import run_page
from observability.edr import configured

DAYS = 30
#: Elementary's page asks for fonts, and could send statistics, elsewhere; the browser is told to let it do neither.
_OUTSIDE = re.compile(r"<link[^>]*https://[^>]*>")
_NO_NETWORK = (
    '<!doctype html><meta http-equiv="Content-Security-Policy"'
    " content=\"default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:\">"
)


def write(folder: Path) -> list[Path]:
    """Write elementary.html and runs.html into `folder`; returns them.

    Raises ElementaryIsOff without Elementary, and IngestionError where its tables cannot be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return [_elementary(folder / "elementary.html"), run_page.write(run_page.read(), folder / "runs.html")]


def _elementary(path: Path) -> Path:
    # a folder of its own first, so that readers see the old report or the new one
    with configured() as config, tempfile.TemporaryDirectory(dir=path.parent) as temporary:
        from elementary.monitor.data_monitoring.report.data_monitoring_report import DataMonitoringReport

        draft = Path(temporary) / path.name
        report = DataMonitoringReport(config, tracking=None)
        success, _ = report.generate_report(
            days_back=DAYS,
            file_path=str(draft),
            should_open_browser=False,
            exclude_elementary_models=True,
            project_name="Invoices & Countries",
        )
        if not success:
            raise IngestionError("Elementary's report could not be made; see the log above.")
        page = _OUTSIDE.sub("", draft.read_text(encoding="utf-8"))
        draft.write_text(_NO_NETWORK + page, encoding="utf-8")
        return draft.replace(path)
