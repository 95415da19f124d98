"""The scores of country_revenue_anomalies, by hand-made histories of one country."""

import datetime as dt
import importlib.util
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pytest
import yaml

PATH = Path(__file__).resolve().parent.parent.parent / "python_models" / "gold" / "country_revenue_anomalies.py"


@pytest.fixture(scope="module")
def module():
    spec = importlib.util.spec_from_file_location(PATH.stem, PATH)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


@pytest.fixture
def score(module):
    """A function from a country's revenue by month, counted from January 2024, to its rows; a month of None has none."""

    def score_(*revenue: float | None, last_month: str | None = None) -> pd.DataFrame:
        months = pd.date_range("2024-01-01", periods=len(revenue), freq="MS")
        rows = [("DE", m.date(), Decimal(str(v))) for m, v in zip(months, revenue, strict=True) if v is not None]
        frame = pd.DataFrame(rows, columns=["country_key", "invoice_month", "net_revenue_reporting"])
        return module.score(frame.sample(frac=1, random_state=1), pd.Timestamp(last_month or months[-1]))

    return score_


USUAL = [100, 104, 96, 102, 98, 101, 99, 103, 97, 100, 105, 95]  # median 100, median absolute deviation 2.5


def test_a_score_is_iglewicz_and_hoaglin_s(score):
    rows = score(*USUAL)
    assert list(rows["invoice_month"][:2]) == [dt.date(2024, 1, 1), dt.date(2024, 2, 1)]
    assert set(rows["median_net_revenue"]) == {100.0} and set(rows["median_absolute_deviation"]) == {2.5}
    assert rows["robust_z_score"][1] == round(0.6745 * 4 / 2.5, 4)
    assert not rows["is_anomaly"].any() and rows["direction"].isna().all()


@pytest.mark.parametrize(("value", "direction"), [(900, "spike"), (-50, "drop")])
def test_a_month_far_from_the_others_is_an_anomaly_with_its_direction(score, value, direction):
    rows = score(*USUAL, value)
    assert list(rows["is_anomaly"]) == [False] * 12 + [True]
    assert rows["direction"][12] == direction


def test_only_beyond_the_threshold(score, module):
    # median 100 and median absolute deviation 10, whatever the last month has above the median
    even = [90] * 6 + [100] + [110] * 5
    limit = 100 + module.THRESHOLD * 10 / module.FACTOR
    for value, expected in ((limit - 0.01, False), (limit + 0.01, True)):
        rows = score(*even, value)
        assert (rows["median_net_revenue"][0], rows["median_absolute_deviation"][0]) == (100, 10)
        assert rows["is_anomaly"].iloc[-1] == expected


def test_a_month_without_invoices_counts_as_zero_inside_and_at_the_end(score):
    rows = score(*USUAL[:6], None, *USUAL[6:], last_month="2025-02-01")
    assert len(rows) == 14 and set(rows["month_count"]) == {14}
    assert [str(v) for v in rows["net_revenue_reporting"][[6, 13]]] == ["0.00", "0.00"]
    assert list(rows["direction"][[6, 13]]) == ["drop", "drop"]


def test_months_that_have_not_ended_are_left_out(score):
    assert len(score(*USUAL, 900, last_month="2024-12-01")) == 12
    assert not score(*USUAL, 900, last_month="2024-12-01")["is_anomaly"].any()
    assert list(score(5, last_month="2023-12-01").columns) == list(score(5).columns)
    assert score(5, last_month="2023-12-01").empty


@pytest.mark.parametrize("revenue", [USUAL[:10] + [9000], [100] * 20 + [9000], [0] * 12])
def test_too_short_and_too_even_histories_have_no_score(score, revenue):
    rows = score(*revenue)
    assert rows["robust_z_score"].isna().all() and not rows["is_anomaly"].any()


def test_the_columns_and_types_are_those_that_the_yml_documents(module, score):
    [model] = yaml.safe_load(PATH.with_suffix(".yml").read_text(encoding="utf-8"))["models"]
    documented = [f"{column['name']} {column['data_type']}" for column in model["columns"]]
    assert module.SCHEMA.split(", ") == documented
    assert list(score(*USUAL).columns) == [column["name"] for column in model["columns"]]
