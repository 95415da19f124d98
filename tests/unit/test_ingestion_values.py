"""Exact conversion of values, and row hashes."""

import json
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion.values import arrow_type, conform, contained, exact, key_codes, pinned, row_hashes

ZONES = [UTC, *(timezone(timedelta(minutes=minutes)) for minutes in (-690, 60, 840))]
AMOUNT = {"name": "amount", "data_type": "decimal", "precision": 18, "scale": 2}


def converted(texts: list, column: dict) -> tuple[list, dict]:
    array, misfits = exact(pa.chunked_array([texts]), column)
    assert array.type == arrow_type(column)
    return array.to_pylist(), misfits


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("10.5", Decimal("10.50")),
        ("-3", Decimal("-3.00")),
        ("10.5000", Decimal("10.50")),
        ("1e2", Decimal("100.00")),
        (" 4 ", Decimal("4.00")),
        (".5", Decimal("0.50")),
        ("9999999999999999.99", Decimal("9999999999999999.99")),
        ("0000000000000000000001.00", Decimal("1.00")),
    ],
)
def test_a_number_that_fits_lands_exactly(text, value):
    assert converted([text, None], AMOUNT) == ([value, None], {})


@pytest.mark.parametrize("text", ["NaN", "Infinity", "10.123", "10000000000000000.00", "1e300", "ten", "", "1,5", "1_0.0"])
def test_a_number_that_does_not_fit_is_kept_as_text_and_never_rounded(text):
    assert converted(["1.00", text], AMOUNT) == ([Decimal("1.00"), None], {1: text})


@given(
    st.lists(
        st.tuples(
            st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.sampled_from(ZONES)), st.sampled_from("T ")
        ),
        max_size=5,
    )
)
def test_every_time_lands_exactly_whatever_its_zone(times):
    texts = [moment.isoformat(between) for moment, between in times]
    assert converted(texts, {"name": "at", "data_type": "timestamp"}) == ([moment for moment, _ in times], {})


@given(st.lists(st.decimals(allow_nan=True, allow_infinity=True), max_size=20))
def test_every_number_lands_exactly_or_as_its_own_text(numbers):
    values, misfits = converted([str(number) for number in numbers], AMOUNT)
    for row, number in enumerate(numbers):
        if row in misfits:
            assert values[row] is None and misfits[row] == str(number)
        else:
            assert values[row] == number


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("date", "2026-02-28", date(2026, 2, 28)),
        ("date", "2026-02-28 00:00:00", date(2026, 2, 28)),
        ("date", "0999-01-01", date(999, 1, 1)),
        ("bigint", "9223372036854775807", 2**63 - 1),
        ("bigint", "12.0", 12),
        ("timestamp", "2026-02-28 12:00:00+02:00", datetime(2026, 2, 28, 10, tzinfo=UTC)),
        ("timestamp", "2026-02-28 12:00:00", datetime(2026, 2, 28, 12, tzinfo=UTC)),
        ("double", "0.1", 0.1),
        ("bool", "True", True),
        ("text", "  x ", "  x "),
    ],
)
def test_text_of_another_type_lands_when_it_fits(kind, text, value):
    assert converted([text], {"name": "c", "data_type": kind}) == ([value], {})


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("date", "2026-02-30"),
        ("date", "28/02/2026"),
        ("date", "2026-02-28 10:00:00"),
        ("date", "infinity"),
        ("date", ""),
        ("bigint", "9223372036854775808"),
        ("bigint", "1.5"),
        ("timestamp", "2026-02-28 12:00:00.1234567"),
        ("timestamp", "soon"),
        ("double", "0.1234567890123456789"),
        ("bool", "maybe"),
        ("binary", "abc"),
    ],
)
def test_text_of_another_type_that_does_not_fit_is_kept_as_text(kind, text):
    assert converted([text], {"name": "c", "data_type": kind}) == ([None], {0: text})


def test_one_impossible_date_does_not_take_its_neighbours_with_it():
    values, misfits = converted(["2026-02-27", "2026-02-30", None], {"name": "d", "data_type": "date"})
    assert (values, misfits) == ([date(2026, 2, 27), None, None], {1: "2026-02-30"})


def test_timestamps_without_a_zone_are_utc():
    array, _ = exact(pa.chunked_array([[datetime(2026, 1, 1)]]), {"name": "t", "data_type": "timestamp"})
    assert array.to_pylist() == [datetime(2026, 1, 1, tzinfo=UTC)]


def test_a_number_that_becomes_text_lands_as_text():
    assert converted([1, None], {"name": "c", "data_type": "text"}) == (["1", None], {})


def test_conform_adds_missing_columns_and_names_every_misfit_of_a_row():
    columns = {
        "id": {"name": "id", "data_type": "bigint"},
        "amount": AMOUNT,
        "day": {"name": "day", "data_type": "date"},
        "note": {"name": "note", "data_type": "text"},
    }
    table = conform(pa.table({"amount": ["NaN", "1"], "id": [1, 2], "day": ["yesterday", "2026-01-01"]}), columns)
    assert table.column_names == ["id", "amount", "day", "note", "_rescued_data", "_is_deleted"]
    assert table["note"].to_pylist() == [None, None]
    assert [text and json.loads(text) for text in table["_rescued_data"].to_pylist()] == [
        {"amount": "NaN", "day": "yesterday"},
        None,
    ]


@pytest.mark.parametrize(
    ("reflected", "expected"),
    [
        ({"data_type": "decimal", "precision": 18, "scale": 2}, ("decimal", 18, 2)),
        ({"data_type": "decimal", "precision": 10}, ("decimal", 10, 0)),
        ({"data_type": "decimal"}, ("decimal", 38, 9)),
        ({"data_type": "decimal", "precision": 50, "scale": 3}, ("text", None, None)),
        ({"data_type": "bigint", "precision": 32}, ("bigint", None, None)),
        ({"data_type": "json"}, ("text", None, None)),
        ({"data_type": "timestamp", "timezone": False}, ("timestamp", None, None)),
        ({}, ("text", None, None)),
    ],
)
def test_pinned_type(reflected, expected):
    column = pinned({"name": "c", **reflected})
    assert (column["data_type"], column.get("precision"), column.get("scale")) == expected


def test_hash_ignores_the_order_of_columns_and_columns_that_are_null():
    one = pa.table({"a": pa.array([1, 2]), "b": pa.array(["x", None])})
    other = pa.table({"b": pa.array(["x", None]), "c": pa.nulls(2, pa.string()), "a": pa.array([1, 2]), "_dlt_id": ["p", "q"]})
    assert (row_hashes(one) == row_hashes(other)).all()


@pytest.mark.parametrize(
    "changed",
    [
        {"a": [1, 3], "b": ["x", "y"]},
        {"a": [1, 2], "b": ["x", ""]},
        {"a": [2, 2], "b": ["x", "z"]},
        {"b": [1, 2], "a": ["x", "y"]},
    ],
)
def test_hash_changes_with_any_value_and_with_its_column(changed):
    assert row_hashes(pa.table({"a": [1, 2], "b": ["x", "y"]}))[1] not in row_hashes(pa.table(changed))


def test_hash_tells_null_from_empty_text():
    hashes = row_hashes(pa.table({"a": pa.array(["", None], pa.string())}))
    assert hashes[0] != hashes[1]


@pytest.mark.parametrize("keys", [[3, 1, -2], ["c", "a", "ü"]])
def test_contained_finds_exactly_the_keys_that_are_there(keys):
    present = np.unique(key_codes(pa.array(keys[:2])))
    assert contained(key_codes(pa.array(keys)), present).tolist() == [True, True, False]
    assert contained(key_codes(pa.array(keys)), present[:0]).tolist() == [False] * 3
