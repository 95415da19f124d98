"""The page of runs: what it computes, and that it needs no network and takes any name."""

from datetime import UTC, datetime, timedelta

from observability.run_page import Run, days, models, points, size, write

BEGIN = datetime(2026, 1, 1, 5, tzinfo=UTC)


def runs(name: str, *seconds: float, status: str = "success", rows: int | None = None) -> list[Run]:
    return [Run(name, BEGIN + timedelta(days=n), s, status, rows, rows and rows * 10, None) for n, s in enumerate(seconds)]


def test_the_model_that_usually_takes_longest_is_first_and_its_newest_run_is_compared():
    slow, quick = runs("slow", 10, 12, 14, 24, rows=5), runs("quick", 1, 1, 1)
    found = models(sorted([*slow, *quick], key=lambda run: run.started_at))
    assert [each["name"] for each in found] == ["slow", "quick"]
    first, second = found
    assert first["usual"] == 13 and round(first["change"]) == 85 and first["seconds"] == [10, 12, 14, 24]
    assert (first["rows"], first["bytes"], first["table_bytes"]) == (5, 50, None) and second["rows"] is None
    assert second["change"] == 0 and models(runs("once", 3))[0]["change"] is None


def test_days_add_up_and_failures_are_counted():
    found = days([*runs("a", 1, 2, rows=3), *runs("b", 4, status="error")])
    assert [(day["seconds"], day["rows"], day["runs"]) for day in found] == [(5, 3, 2), (2, 3, 1)]
    assert models(runs("b", 4, 5, status="error"))[0]["failed"] == 2
    assert models(runs("b", 0, status="skipped"))[0]["failed"] == 0


def test_sizes_and_lines_are_drawn():
    assert [size(each) for each in (None, 0, 999, 1500, 2_000_000, 3e12)] == ["", "0 B", "999 B", "1.5 kB", "2 MB", "3 TB"]
    assert points([0, 5, 10], width=10, height=12) == "0.0,11.0 5.0,6.0 10.0,1.0" and points([0.0]) == "0.0,23.0"


def test_the_page_needs_no_network_escapes_names_and_says_when_there_is_nothing(tmp_path):
    page = write(runs("<script>alert(1)</script>", 1, 2), tmp_path / "runs.html", now=BEGIN).read_text()
    assert "<script>" not in page and "&lt;script&gt;" in page and "http" not in page
    assert "2026-01-01 05:00 UTC" in page and "+33 %" in page
    assert "No run has been recorded yet;" in write([], tmp_path / "runs.html").read_text()
