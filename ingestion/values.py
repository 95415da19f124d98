"""Exact values: source columns into the type that bronze has for them, and row hashes. Pure functions over Arrow.

A type in bronze is pinned when a column first arrives. A later value that does not fit it exactly is never rounded, cut
or allowed to stop the load: its column is null and its text goes to `_rescued_data`, as Databricks' Auto Loader does.
"""

import datetime
import decimal
import json
import re
from collections.abc import Callable, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from dlt.common.schema.typing import TColumnSchema

RESCUED = "_rescued_data"
DELETED = "_is_deleted"
METADATA = ("_dlt_load_id", "_dlt_id")
MAX_PRECISION = 38

_SIMPLE_TYPES = {
    "text": pa.string(),
    "bigint": pa.int64(),
    "double": pa.float64(),
    "bool": pa.bool_(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us", "UTC"),
    "binary": pa.binary(),
}
# Texts that Arrow's own parser takes exactly; everything else goes, value by value, through the Python parsers below.
_PLAIN = {
    "bigint": r"^-?\d{1,18}$",
    "date": r"^[1-9]\d{3}-\d\d-\d\d$",
    "timestamp": r"^[1-8]\d{3}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)?$",
}
_ZONE = r"(Z|[+-]\d\d:\d\d)$"
_TRUE_FALSE = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}


def pinned(column: TColumnSchema) -> TColumnSchema:
    """Return the bronze column for a reflected source column (dlt's column schema): name, type, precision and scale.

    Timestamps become UTC instants; integers 64 bit; what Delta cannot hold exactly (json, time, more than 38 digits)
    becomes text. Everything is nullable.
    """
    data_type = column.get("data_type", "text")
    result: TColumnSchema = {"name": column["name"], "data_type": "text", "nullable": True}
    if data_type == "decimal":
        precision, scale = column.get("precision") or MAX_PRECISION, column.get("scale")
        scale = (9 if column.get("precision") is None else 0) if scale is None else scale
        if precision <= MAX_PRECISION and 0 <= scale <= precision:
            result |= {"data_type": "decimal", "precision": precision, "scale": scale}
    elif data_type in _SIMPLE_TYPES:
        result["data_type"] = data_type
    return result


def arrow_type(column: TColumnSchema) -> pa.DataType:
    """Return the Arrow type of a pinned column."""
    if column["data_type"] == "decimal":
        return pa.decimal128(column["precision"], column["scale"])
    return _SIMPLE_TYPES[column["data_type"]]


def conform(table: pa.Table, columns: Mapping[str, TColumnSchema]) -> pa.Table:
    """Return the table with exactly the pinned columns, in their order and types, and `_rescued_data`, `_is_deleted`.

    Columns that the table lacks are null. Values that do not fit are null and named in `_rescued_data`, a JSON object
    from column to text. No row is lost and no value changed.
    """
    arrays, rescued = {}, {}
    for name, column in columns.items():
        wanted = arrow_type(column)
        if name not in table.column_names:
            arrays[name] = pa.nulls(table.num_rows, wanted)
            continue
        arrays[name], misfits = exact(table[name], column)
        if misfits:
            rescued[name] = misfits
    arrays[RESCUED] = _rescue_column(rescued, table.num_rows)
    arrays[DELETED] = pa.nulls(table.num_rows, pa.bool_())
    return pa.table(arrays)


def exact(values: pa.ChunkedArray, column: TColumnSchema) -> tuple[pa.Array, dict[int, str]]:
    """Convert values to a pinned type; return them and the text of every value, by row, that does not fit exactly."""
    array = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    wanted = arrow_type(column)
    if array.type == wanted:
        return array, {}
    if pa.types.is_null(array.type):
        return pa.nulls(len(array), wanted), {}
    if pa.types.is_timestamp(array.type) and pa.types.is_timestamp(wanted):
        if array.type.tz is None:  # a source that keeps no zone is taken to mean UTC
            array = pc.assume_timezone(array, "UTC")
        try:
            return array.cast(wanted), {}
        except pa.ArrowInvalid:  # some are finer than a microsecond, as Parquet's can be
            pass
    text = as_text(array)
    return (text, {}) if pa.types.is_string(wanted) else _parse(text, column, wanted)


def row_hashes(table: pa.Table) -> np.ndarray:
    """Return one 64-bit hash a row (uint64, shape (rows,)) over all columns but the loader's metadata.

    A null adds nothing and the order of columns does not matter, so a row keeps its hash when a column that is null for
    it is added or dropped. Hashes are comparable within one process only.
    """
    total = np.zeros(table.num_rows, np.uint64)
    for name in table.column_names:
        if name not in METADATA:
            total += _column_hashes(table[name].combine_chunks(), name)
    return total


def key_codes(keys: pa.ChunkedArray | pa.Array) -> np.ndarray:
    """Return one 64-bit code a key (shape (keys,)): the integer itself, or a hash of its text; no key may be null.

    Codes are comparable within one process only.
    """
    if pa.types.is_integer(keys.type):
        return keys.to_numpy().astype(np.int64).view(np.uint64)
    return _text_codes(as_text(keys))


def contained(codes: np.ndarray, sorted_codes: np.ndarray) -> np.ndarray:
    """Return for each code whether it is among the sorted codes (bool, shape (codes,))."""
    if not len(sorted_codes):
        return np.zeros(len(codes), bool)
    at = np.minimum(np.searchsorted(sorted_codes, codes), len(sorted_codes) - 1)
    return sorted_codes[at] == codes


def _column_hashes(array: pa.Array, name: str) -> np.ndarray:
    salt = np.int64(hash(name)).view(np.uint64)
    valid = array.is_valid().to_numpy(zero_copy_only=False)
    if pa.types.is_integer(array.type) or pa.types.is_temporal(array.type):
        if pa.types.is_date32(array.type):
            array = array.cast(pa.int32())
        numbers = array.cast(pa.int64()).fill_null(0).to_numpy().view(np.uint64)
        return np.where(valid, _mixed(numbers ^ salt), np.uint64(0))
    codes = as_text(array).dictionary_encode()
    hashes = np.append(_mixed(_text_codes(codes.dictionary) ^ salt), np.uint64(0))
    return np.where(valid, hashes[codes.indices.fill_null(0).to_numpy()], np.uint64(0))


def _text_codes(texts: pa.Array) -> np.ndarray:
    # Python's own hash of text: 64 bits of SipHash, keyed anew in every process; these codes live no longer than that.
    return np.fromiter(map(hash, texts.to_pylist()), np.int64, len(texts)).view(np.uint64)


def _mixed(words: np.ndarray) -> np.ndarray:
    """The finaliser of splitmix64 (Steele, Lea, Flood 2014): spreads neighbouring integers over all 64 bits."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def as_text(array: pa.Array) -> pa.Array:
    """Return the values as text: bytes in hexadecimal, lists and structs as JSON, all else as Arrow writes it."""
    if pa.types.is_binary(array.type):
        return pa.array([None if value is None else value.hex() for value in array.to_pylist()], pa.string())
    if pa.types.is_nested(array.type):
        texts = [None if value is None else json.dumps(value, ensure_ascii=False, default=str) for value in array.to_pylist()]
        return pa.array(texts, pa.string())
    return array.cast(pa.string())


def _parse(text: pa.Array, column: TColumnSchema, wanted: pa.DataType) -> tuple[pa.Array, dict[int, str]]:
    kind = column["data_type"]
    if kind == "decimal":
        whole, scale = column["precision"] - column["scale"], column["scale"]
        plain = rf"^-?\d{{1,{whole}}}(\.\d{{1,{scale}}})?$" if whole and scale else rf"^-?\d{{1,{max(whole, 1)}}}$"
        parse = _decimal_parser(column["precision"], scale)
    else:
        plain, parse = _PLAIN.get(kind), _PARSERS.get(kind, _misfit)
    if plain:
        fits = pc.match_substring_regex(text, plain)
        try:
            texts = pc.if_else(fits, text, pa.scalar(None, pa.string()))
            if kind == "timestamp":  # without a zone, UTC
                texts = pc.if_else(pc.match_substring_regex(texts, _ZONE), texts, pc.binary_join_element_wise(texts, "Z", ""))
            result = texts.cast(wanted)
        except pa.ArrowInvalid:  # such as 2025-02-30, which only looks like a date
            fits, result = pa.repeat(False, len(text)), pa.nulls(len(text), wanted)
        rest = np.flatnonzero(pc.and_(text.is_valid(), pc.invert(fits.fill_null(False))).to_numpy(zero_copy_only=False))
    else:
        result, rest = pa.nulls(len(text), wanted), np.flatnonzero(text.is_valid().to_numpy(zero_copy_only=False))
    if not len(rest):
        return result, {}
    misfits, found = {}, {}
    for row in rest.tolist():
        value = text[row].as_py()
        try:
            if "_" in value or not value.isascii():  # Python reads 1_0 and ١٠ as ten; no database writes that
                raise ValueError(value)
            found[row] = parse(value)
        except (ValueError, ArithmeticError, KeyError):
            misfits[row] = value
    if found:
        mask = np.zeros(len(text), bool)
        mask[list(found)] = True
        result = pc.replace_with_mask(result, pa.array(mask), pa.array(found.values(), wanted))
    return result, misfits


def _rescue_column(rescued: dict[str, dict[int, str]], rows: int) -> pa.Array:
    if not rescued:
        return pa.nulls(rows, pa.string())
    objects: dict[int, dict[str, str]] = {}
    for name, misfits in rescued.items():
        for row, text in misfits.items():
            objects.setdefault(row, {})[name] = text
    return pa.array(
        [json.dumps(objects[row], ensure_ascii=False) if row in objects else None for row in range(rows)], pa.string()
    )


def _misfit(text: str) -> object:
    raise ValueError(text)


def _decimal_parser(precision: int, scale: int) -> Callable[[str], decimal.Decimal]:
    context = decimal.Context(prec=precision, traps=[decimal.Inexact, decimal.InvalidOperation])
    unit = decimal.Decimal(1).scaleb(-scale)

    def parse(text: str) -> decimal.Decimal:
        value = decimal.Decimal(text.strip())
        if not value.is_finite():
            raise ValueError(text)
        return value.quantize(unit, context=context)

    return parse


def _parse_integer(text: str) -> int:
    value = decimal.Decimal(text.strip())
    if not value.is_finite() or value != value.to_integral_value() or not -(2**63) <= value < 2**63:
        raise ValueError(text)
    return int(value)


def _parse_date(text: str) -> datetime.date:
    if len(text) == 10:
        return datetime.date.fromisoformat(text)
    moment = datetime.datetime.fromisoformat(text)
    if moment.time() != datetime.time() or moment.tzinfo not in (None, datetime.UTC):
        raise ValueError(text)
    return moment.date()


def _parse_timestamp(text: str) -> datetime.datetime:
    if re.search(r"\.\d{6}\d*[1-9]", text):
        raise ValueError(text)  # finer than a microsecond
    moment = datetime.datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)).astimezone(datetime.UTC)


def _parse_double(text: str) -> float:
    value = float(text)
    number = decimal.Decimal(text.strip())
    if number.is_finite() and decimal.Decimal(repr(value)) != number:
        raise ValueError(text)
    return value


_PARSERS = {
    "bigint": _parse_integer,
    "date": _parse_date,
    "timestamp": _parse_timestamp,
    "double": _parse_double,
    "bool": lambda text: _TRUE_FALSE[text.strip().lower()],
}
