"""What all readers of files have in common: the meaning of a file's column names, and rows in bronze's columns and types."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from dlt.common.schema import Schema

from ingestion.files.settings import TableFiles
from ingestion.files.staging import Unreadable
from ingestion.source import TableContract
from ingestion.values import DELETED, RESCUED, as_text, conform, exact

#: The name in _rescued_data of a line that is no row: one with too many or too few fields, or that is no JSON object.
LINE = "_line"
#: The column with a row's place in its file, which readers add: the line of CSV and JSON Lines, else the number of the row.
PLACE = "_file_line"
_DELETED_COLUMN = {"name": DELETED, "data_type": "bool", "nullable": True}
# German and the like: dots only between groups of three digits, so that 11.90 is a misfit and neither 11.90 nor 1190.
_DECIMAL_COMMA = r"^\s*-?(\d{1,3}(\.\d{3})+|\d+)(,\d+)?\s*$"
_naming = Schema("bronze").naming.normalize_identifier


@dataclass
class Columns:
    """Which column of bronze a name in a file means: case, blanks and punctuation do not matter, as in dlt's own names.

    files: the table's settings. Attributes: seen: names of bronze that were met; last: the name of a header's last column.
    """

    files: TableFiles
    seen: set[str] = field(default_factory=set)
    last: str | None = None

    @cached_property
    def _targets(self) -> dict[str, str]:
        names = {name: self.files.column_names.get(name, name) for name in self.files.contract.columns}
        return {_normalised(text): name for name, text in names.items()} | {DELETED: DELETED}

    def name(self, text: str) -> str:
        """Return bronze's name for a column of a file, else the file's own, stripped."""
        found = self._targets.get(_normalised(text))
        if found:
            self.seen.add(found)
        # one of our own names in a file would pass for ours
        return found or (f"source{text.strip()}" if text.strip() in (LINE, PLACE, RESCUED) else text.strip())

    def names(self, texts: Sequence[str]) -> list[str]:
        """Return the names of a header, `column_<number>` for an empty one; raises Unreadable where two are the same column."""
        names = [self.name(text) if text.strip() else f"column_{number}" for number, text in enumerate(texts, 1)]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice:
            raise Unreadable(f"two columns of the file are {' '.join(twice.split())}")
        self.last = names[-1] if names else None
        return names

    def missing(self) -> list[str]:
        """Return the required columns that were not met, in the contract's order."""
        return [name for name in self.files.contract.columns if name in self.files.contract.required - self.seen]


def landed(rows: pa.Table, contract: TableContract, decimal: str = ".") -> tuple[pa.Table, int]:
    """Bring a reader's rows into bronze's columns and types (ingestion.values.conform), and _is_deleted and _file_line.

    What does not fit, and columns that bronze does not have, are in _rescued_data. A row whose _is_deleted is neither true nor
    false has no values in columns, all in _rescued_data: silver then rejects it, instead of keeping what was meant to go.
    Args: decimal: the sign before an amount's decimals where amounts are text, "." or ",".
    Returns: the rows, and how many of them have a value of bronze's columns that did not fit.
    """
    rescued: dict[int, dict[str, str]] = {}
    if LINE in rows.column_names:
        rescued |= {row: {LINE: text} for row, text in enumerate(rows[LINE].to_pylist()) if text is not None}
    deleted = pa.nulls(rows.num_rows, pa.bool_())
    if DELETED in rows.column_names:
        deleted, unknown = exact(rows[DELETED], _DELETED_COLUMN)
        rows = _withheld(rows, contract, unknown, rescued)
    written = _with_points(rows, contract, rescued) if decimal == "," else rows
    result = conform(written, contract.columns)
    odd = np.flatnonzero(result[RESCUED].is_valid().to_numpy()).tolist()
    misfits = rescued.keys() | set(odd)
    if written is not rows:
        for row in odd:  # the text as it was, not with a point
            names = json.loads(result[RESCUED][row].as_py())
            rescued.setdefault(row, {}).update({name: _text(rows, name)[row].as_py() for name in names})
    for name in rows.column_names:
        if name not in contract.columns and name not in (DELETED, LINE, PLACE):
            for row, text in enumerate(_text(rows, name).to_pylist()):
                if text is not None:
                    rescued.setdefault(row, {})[name] = text
    if rescued:
        texts = result[RESCUED].to_pylist()
        for row, found in rescued.items():
            texts[row] = json.dumps(json.loads(texts[row] or "{}") | found, ensure_ascii=False)
        result = _replaced(result, RESCUED, pa.array(texts, pa.string()))
    return _replaced(result, DELETED, deleted).append_column(PLACE, rows[PLACE]), len(misfits)


def shown(names: Sequence[str]) -> str:
    """Return a file's names for a reason, quoted and not too long."""
    text = ", ".join(names)
    return repr(text if len(text) <= 200 else text[:200] + "…")


def _normalised(text: str) -> str:
    return _naming(text.strip()) if text.strip() else ""


def _withheld(rows: pa.Table, contract: TableContract, marks: dict[int, str], rescued: dict[int, dict[str, str]]) -> pa.Table:
    """Move the values of rows with an unknown mark of deletion from the columns to `rescued`."""
    if not marks:
        return rows
    keep = np.ones(rows.num_rows, bool)
    keep[list(marks)] = False
    for row, mark in marks.items():
        rescued.setdefault(row, {})[DELETED] = mark
    for name in [name for name in rows.column_names if name in contract.columns]:
        texts = _text(rows, name)
        for row in marks:
            if texts[row].is_valid:
                rescued[row][name] = texts[row].as_py()
        rows = _replaced(rows, name, pc.if_else(keep, texts, None))
    return rows


def _with_points(rows: pa.Table, contract: TableContract, rescued: dict[int, dict[str, str]]) -> pa.Table:
    """Write amounts with a decimal comma as bronze reads them, and move those that have none such to `rescued`."""
    for name in [name for name in rows.column_names if contract.columns.get(name, {}).get("data_type") == "decimal"]:
        texts = _text(rows, name)
        fits = pc.match_substring_regex(texts, _DECIMAL_COMMA)
        for row in np.flatnonzero(pc.invert(fits.fill_null(True)).to_numpy(zero_copy_only=False)).tolist():
            rescued.setdefault(row, {})[name] = texts[row].as_py()
        points = pc.replace_substring(pc.replace_substring(texts, ".", ""), ",", ".")
        rows = _replaced(rows, name, pc.if_else(fits, points, None))
    return rows


def _text(rows: pa.Table, name: str) -> pa.Array:
    array = rows[name].combine_chunks()
    return as_text(array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array)


def _replaced(table: pa.Table, name: str, column: pa.Array) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), name, column)
