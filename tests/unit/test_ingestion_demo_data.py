"""The demo's rows: the same for the same seed, flat in size, and as dirty as documented."""

import hashlib
from collections import Counter
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from ingestion import demo_data


def rows(invoices: int, seed: int = 42) -> pa.Table:
    return pa.concat_tables(demo_data.invoice_chunks(demo_data.history(invoices), seed))


def digest(table: pa.Table) -> str:
    return hashlib.sha256(repr(table.to_pylist()).encode()).hexdigest()


@pytest.fixture(scope="module")
def sample() -> pa.Table:
    return rows(60_000)


def test_the_same_seed_gives_the_same_rows_and_another_seed_others():
    assert digest(rows(2_000)) == digest(rows(2_000))
    assert digest(rows(2_000)) != digest(rows(2_000, seed=43))


def test_large_sizes_come_in_chunks(monkeypatch):
    monkeypatch.setattr(demo_data, "CHUNK_ROWS", 1_000)
    sizes = [chunk.num_rows for chunk in demo_data.invoice_chunks(demo_data.history(3_500), 42)]
    assert len(sizes) == 4 and max(sizes) < 1_100 and sum(sizes) >= 3_500


def test_dirt_is_rare_and_about_as_frequent_as_documented(sample):
    count = sample.num_rows
    nan = pc.sum(pc.equal(sample["total_amount"], "NaN")).as_py()
    found = {
        "null_invoice_id": sample["invoice_id"].null_count,
        "null_invoice_date": sample["invoice_date"].null_count,
        "null_total_amount": sample["total_amount"].null_count,
        "nan_total_amount": nan,
        "unknown_currency": pc.sum(pc.equal(sample["currency_code"], "XXX")).as_py(),
        "far_future_invoice_date": pc.sum(pc.greater(sample["invoice_date"], date(2090, 1, 1))).as_py(),
        "null_updated_at": sample["updated_at"].null_count,
        "missing_customer": sample["customer_id"].null_count,
    }
    for kind, rows_found in found.items():
        assert 0.3 < rows_found / (demo_data.DIRT[kind][0] * count) < 2.5, kind
    assert 0.01 < sum(share for share, rejected in demo_data.DIRT.values() if rejected) < 0.02


def test_amounts_add_up_but_for_the_documented_share(sample):
    clean = sample.filter(pc.and_(sample["total_amount"].is_valid(), pc.not_equal(sample["total_amount"], "NaN")))
    net, tax, total = (clean[name].cast(pa.decimal128(18, 2)) for name in ("net_amount", "tax_amount", "total_amount"))
    wrong = pc.sum(pc.not_equal(pc.add(net, tax), total)).as_py()
    assert 0.001 < wrong / clean.num_rows < 0.006


def test_credit_notes_are_negative_and_name_the_invoice_that_they_take_back(sample):
    notes = sample.filter(pc.starts_with(sample["invoice_number"], "CN-"))
    assert 0.01 < notes.num_rows / sample.num_rows < 0.03
    assert all(text.startswith("-") for text in notes["net_amount"].to_pylist())
    assert all("/INV-" in number for number in notes["invoice_number"].to_pylist())


def test_history_ends_at_a_fixed_date_and_only_dirt_lies_behind_it(sample):
    updated = [moment for moment in sample["updated_at"].to_pylist() if moment]
    behind = [moment for moment in updated if moment.date() > date(2026, 6, 30)]
    assert behind and all(moment.year == 2099 for moment in behind)
    assert min(moment.date() for moment in updated) < date(2023, 8, 1)


def test_business_has_a_rhythm_that_goes_on_after_the_history(sample):
    days = Counter(moment.date() for moment in sample["created_at"].to_pylist())
    june = {day: days[day] for day in days if (day.year, day.month) == (2026, 6)}
    weekdays = [count for day, count in june.items() if day.weekday() < 5 and day.day < 28]
    sundays = [count for day, count in june.items() if day.weekday() == 6]
    assert 0.05 < (sum(sundays) / len(sundays)) / (sum(weekdays) / len(weekdays)) < 0.3
    assert june[date(2026, 6, 29)] > 1.2 * max(june[date(2026, 6, day)] for day in range(22, 27))
    assert len(set(weekdays)) > 10, "no two days are alike"
    following = demo_data.invoices_a_day(60_000, np.datetime64("2026-07-01"))
    assert 0.7 < following / (sum(weekdays) / len(weekdays)) < 1.4
    assert {moment.hour for moment in sample["created_at"].to_pylist()} == set(range(8, 18))


def test_invoices_repeat_as_exact_duplicates_and_as_versions(sample):
    ids = Counter(number for number in sample["invoice_id"].to_pylist() if number)
    assert 0.005 < sum(1 for times in ids.values() if times > 1) / len(ids) < 0.03


def test_countries_are_typed_in_many_ways(sample):
    typed = Counter(sample["country"].to_pylist())
    for text in (
        "DE",
        "de",
        "Germany",
        "GERMANY",
        "Deutschland",
        "UK",
        "USA",
        "EIRE",
        "RSA",
        "Holland",
        "Czechia",
        "Türkiye",
        "Unspecified",
        "",
        None,
        "DE  ",
    ):
        assert typed[text], text


def test_countries_table_is_dirty_as_documented():
    codes = [row[0] for row in demo_data.country_rows()]
    assert 50 <= len(codes) <= 60
    assert None in codes and "lu" in codes and " SI " in codes and codes.count("TR") == 2
