"""Reading one file: CSV, JSON or Parquet into batches of bronze's columns. Nothing is rounded, guessed or left out.

A reader yields tables whose columns have bronze's names or, where bronze has no such column, the file's. `landed` brings them
into bronze's types. What makes the whole file unusable is raised as Unreadable.
"""

import csv
import itertools
import json
import re
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
from dlt.common.schema import Schema

from ingestion.files.settings import DELIMITERS, TableFiles
from ingestion.files.staging import Unreadable
from ingestion.settings import first_line
from ingestion.source import TableContract
from ingestion.values import DELETED, RESCUED, as_text, conform, exact

#: The name in _rescued_data of a line that is no row: one with too many or too few fields, or that is no JSON object.
LINE = "_line"
#: The name of the column with a row's place in its file, which readers add: the line in CSV and JSON Lines, else the row.
PLACE = "_file_line"
BATCH_ROWS = 50_000
BLOCK_BYTES = 8 << 20
MAX_WAITING_LINES = 200_000
_DELETED_COLUMN = {"name": DELETED, "data_type": "bool", "nullable": True}
# German and the like: dots only between groups of three digits, so that 11.90 is a misfit and not 11.90 or 1190.
_DECIMAL_COMMA = r"^\s*-?(\d{1,3}(\.\d{3})+|\d+)(,\d+)?\s*$"


@dataclass
class Columns:
    """Which column of bronze a name in a file means: case, blanks and punctuation do not matter, as in dlt's own names.

    files: the table's settings. Attributes: seen: names of bronze that were met.
    """

    files: TableFiles
    seen: set[str] = field(default_factory=set)

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
            raise Unreadable(f"two columns of the file are {twice}")
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
    if decimal == ",":
        rows = _with_points(rows, contract, rescued)
    result = conform(rows, contract.columns)
    misfits = rescued.keys() | set(np.flatnonzero(result[RESCUED].is_valid().to_numpy()).tolist())
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


def read_csv(path: Path, is_ended: bool, columns: Columns, delimiter: str | None) -> Iterator[pa.Table]:
    """Yield the rows of a CSV: UTF-8 without a mark, fields quoted by ", doubled within. All values are text; empty ones null.

    Args: path: is written to: a last line is added, by which a quote that never closes is known; is_ended: whether the last line
    has its end; columns; delimiter: None where it is detected.
    A line with too many or too few fields is a row with the line as _line. Lines without any value are left out.
    Raises: Unreadable: the header lacks columns, the file breaks off, or a quote does not close.
    """
    delimiter, names, skipped = _header(path, columns, delimiter)
    end = secrets.token_hex(16)
    with path.open("a", encoding="utf-8", newline="") as file:
        file.write(("" if is_ended else "\n") + end + "\n")
    lines = _Lines(skipped + 1, len(names), end)
    types = {name: pa.string() for name in names}
    try:
        reader = pa.csv.open_csv(
            str(path),
            # one thread: else Arrow does not number the lines that do not fit
            read_options=pa.csv.ReadOptions(column_names=names, skip_rows=skipped, block_size=BLOCK_BYTES, use_threads=False),
            parse_options=pa.csv.ParseOptions(
                delimiter=delimiter, newlines_in_values=True, ignore_empty_lines=False, invalid_row_handler=lines.misfit
            ),
            convert_options=pa.csv.ConvertOptions(column_types=types, strings_can_be_null=True, null_values=[""]),
        )
        for batch in reader:
            rows = pa.Table.from_batches([batch])
            rows = rows.append_column(PLACE, lines.places(rows))
            values = pc.is_valid(rows[names[0]])
            for name in names[1:]:
                values = pc.or_(values, pc.is_valid(rows[name]))
            yield rows.filter(values)
            yield from lines.taken()
    except pa.ArrowInvalid as error:
        raise Unreadable(_broken(error, lines)) from None
    if not lines.is_at_end:
        raise Unreadable(
            f"a quote does not close, in line {lines.next_place} or below: the file breaks off, or a quote is too many"
        )
    lines.settle_rest()
    if not is_ended and lines.is_last_short:
        raise Unreadable(
            f"the file breaks off: its last line, {lines.next_place - 1}, has fewer than the header's {len(names)} fields"
        )
    yield from lines.taken()


def read_json(path: Path, is_ended: bool, columns: Columns, is_lines: bool) -> Iterator[pa.Table]:
    """Yield the rows of JSON: UTF-8, one object a line, or an array of objects, or objects after each other. Values are text.

    Args: is_ended: whether the last line has its end; is_lines: the file says that it has one object a line.
    A line that is no object, or names a column twice, is a row with the line as _line.
    Raises: Unreadable: a required column is in no object, the text breaks off, or is no JSON.
    """
    with path.open(encoding="utf-8") as file:
        head = next((line for line in file if line.strip()), "")
    begins = head.lstrip()[:1]
    if not begins:
        raise Unreadable("the file is empty")
    if begins != "[" and (is_lines or _parsed(head) is not None):
        rows = _json_lines(path, is_ended)
    elif begins in "[{":
        rows = _json_items(path, "item" if begins == "[" else "")
    else:
        raise Unreadable("the file is neither JSON objects, one a line, nor an array of them")
    count = 0
    while batch := list(itertools.islice(rows, BATCH_ROWS)):
        count += sum(isinstance(row, dict) for _, row in batch)
        yield _json_table(batch, columns)
    if count and columns.missing():
        raise Unreadable(f"no object has {', '.join(columns.missing())}")


def read_parquet(path: Path, columns: Columns) -> Iterator[pa.Table]:
    """Yield the rows of a Parquet file, in the file's own types; raises Unreadable where it is none, or not a whole one."""
    try:
        with pa.parquet.ParquetFile(path) as file:
            names = columns.names(file.schema_arrow.names)
            if columns.missing():
                raise Unreadable(f"the file lacks {', '.join(columns.missing())}; it has {_shown(file.schema_arrow.names)}")
            first = 1
            for batch in file.iter_batches(batch_size=BATCH_ROWS, use_threads=False):
                rows = pa.Table.from_batches([batch]).rename_columns(names)
                yield rows.append_column(PLACE, pa.array(np.arange(first, first + len(batch)), pa.int64()))
                first += len(batch)
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise Unreadable(f"the file is no whole Parquet: {first_line(error)}") from None


class _Lines:
    """The lines of a CSV that do not fit, as Arrow hands them over, and the place in the file of those that do.

    Arrow numbers records; a line of the file is another thing where a quoted value has line ends in it.
    Args: first: number of the first record; width: fields of a record; end: the line that stands at the end.
    Attributes: next_place: the line after those of all batches so far; is_at_end: the end was met; is_last_short: the last
    record has fewer fields than it should; is_overrun: too many lines do not fit; first_misfit: for the reason.
    """

    def __init__(self, first: int, width: int, end: str):
        self.next_place, self.width, self.end = first, width, end
        self.is_at_end = self.is_last_short = self.is_overrun = False
        self.first_misfit = ""
        self._next, self._waiting, self._placed = first, [], []

    def misfit(self, row: pa.csv.InvalidRow) -> str:
        """Keep a record that does not fit; Arrow calls it, and goes on after "skip"."""
        if row.text == self.end:
            self.is_at_end = True
            return "skip"
        self.first_misfit = self.first_misfit or f"record {row.number} has {row.actual_columns}"
        self._waiting.append((row.number, row.text, row.actual_columns < self.width))
        self.is_overrun = len(self._waiting) > MAX_WAITING_LINES
        return "error" if self.is_overrun else "skip"

    def places(self, rows: pa.Table) -> pa.Array:
        """Return the line of each row of the next batch, and settle those of the misfits between them."""
        misfits = np.array([waiting[0] for waiting in self._waiting], np.int64)
        numbers = np.arange(self._next, self._next + rows.num_rows + len(misfits))
        numbers = np.setdiff1d(numbers, misfits, assume_unique=True)[: rows.num_rows]
        ends = np.zeros(rows.num_rows, np.int64)
        for column in rows.columns:
            if pc.any(pc.match_substring(column, "\n")).as_py():
                ends += pc.count_substring(column, "\n").fill_null(0).to_numpy()
        return pa.array(self._settled(numbers, ends), pa.int64())

    def settle_rest(self) -> None:
        """Settle the misfits after the last row."""
        if self._waiting:
            self._settled(np.zeros(0, np.int64), np.zeros(0, np.int64))

    def taken(self) -> Iterator[pa.Table]:
        """Yield the settled misfits, in one table; blank lines and DOS's mark of a text's end are none."""
        found = [(place, text) for place, text in self._placed if text.strip(" \t\r\n\x1a")]
        self._placed = []
        if found:
            places, texts = zip(*found, strict=True)
            yield pa.table({LINE: pa.array(texts, pa.string()), PLACE: pa.array(places, pa.int64())})

    def _settled(self, numbers: np.ndarray, ends: np.ndarray) -> np.ndarray:
        last = numbers[-1] if len(numbers) else np.inf
        misfits = list(itertools.takewhile(lambda waiting: waiting[0] < last, self._waiting))
        self._waiting = self._waiting[len(misfits) :]
        records = np.concatenate([numbers, np.array([number for number, *_ in misfits], np.int64)])
        within = np.concatenate([ends, np.array([text.count("\n") for _, text, _ in misfits], np.int64)])
        order = np.argsort(records, kind="stable")
        places = np.empty(len(order), np.int64)
        before = np.cumsum(within[order]) - within[order]
        places[order] = records[order] - self._next + self.next_place + before
        if len(order):
            self.next_place = int(places[order[-1]] + within[order[-1]]) + 1
            self._next = int(records[order[-1]]) + 1
            self.is_last_short = order[-1] >= len(numbers) and misfits[-1][2] and bool(misfits[-1][1].strip(" \t\r\n\x1a"))
        self._placed += [(place, text) for place, (_, text, _) in zip(places[len(numbers) :].tolist(), misfits, strict=True)]
        return places[: len(numbers)]


def _header(path: Path, columns: Columns, delimiter: str | None) -> tuple[str, list[str], int]:
    """Return the delimiter, the columns' names, and how many lines of the file the header takes, with those above it."""
    candidates = []
    for candidate in (delimiter,) if delimiter else DELIMITERS:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.reader(file, delimiter=candidate)
            try:
                fields = next((row for row in reader if any(text.strip() for text in row) and not _is_hint(row)), [])
            except csv.Error as error:  # such as a field of more than 131,072 characters: a quote that does not close
                raise Unreadable(f"the header cannot be read: {first_line(error)}") from None
        trial = Columns(columns.files)
        for text in fields:
            trial.name(text)
        candidates.append((len(trial.missing()), -len(fields), candidate, fields, reader.line_num, trial.missing()))
    *_, delimiter, fields, lines, missing = min(candidates, key=lambda found: found[:2])
    if not fields:
        raise Unreadable("the file is empty")
    if missing:
        split = "tab" if delimiter == "\t" else repr(delimiter)
        raise Unreadable(f"the header lacks {', '.join(missing)}; split at {split} it has {_shown(fields)}")
    return delimiter, columns.names(fields), lines


def _is_hint(row: list[str]) -> bool:
    """Tell whether a line is Excel's own `sep=;`, which comes before the header; the delimiter itself splits it."""
    return len(row) <= 2 and re.fullmatch(r"sep=.?", row[0].strip().lower()) is not None


def _broken(error: pa.ArrowInvalid, lines: _Lines) -> str:
    if lines.is_overrun:
        return f"over {MAX_WAITING_LINES:,} lines after each other do not have the header's {lines.width} fields: {lines.first_misfit}"
    if "straddling" in str(error) or "out of sync" in str(error):
        return f"a quote does not close within {BLOCK_BYTES >> 20} MB, in line {lines.next_place} or below"
    return f"the file cannot be read as CSV: {first_line(error)}"


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


def _json_lines(path: Path, is_ended: bool) -> Iterator[tuple[int, dict | str]]:
    broken = None
    with path.open(encoding="utf-8", newline="\n") as file:
        for number, line in enumerate(file, 1):
            broken = None
            if line.strip():
                row = _parsed(line)
                broken = number if row is None else None
                yield number, line.rstrip("\r\n") if row is None else row
    if broken and not is_ended:
        raise Unreadable(f"the file breaks off: its last line, {broken}, is no whole JSON object")


def _json_items(path: Path, prefix: str) -> Iterator[tuple[int, dict | str]]:
    import ijson

    try:
        with path.open("rb") as file:
            items = ijson.items(file, prefix, multiple_values=not prefix, map_type=_Object)
            for number, row in enumerate(items, 1):
                usable = isinstance(row, _Object) and not row.is_ambiguous
                yield number, row if usable else json.dumps(row, ensure_ascii=False, default=str)
    except ijson.IncompleteJSONError as error:
        if "premature" in str(error) or "incomplete" in str(error).lower():
            raise Unreadable("the file breaks off: its JSON has no end") from None
        raise Unreadable(f"the file is no JSON: {first_line(error)}") from None
    except ijson.JSONError as error:
        raise Unreadable(f"the file is no JSON: {first_line(error)}") from None


class _Object(dict):
    """A JSON object that notices when a name comes twice."""

    is_ambiguous = False

    def __setitem__(self, name, value):
        if name in self:
            self.is_ambiguous = True
        super().__setitem__(name, value)


def _pairs(pairs: list[tuple[str, object]]) -> dict:
    row = dict(pairs)
    if len(row) < len(pairs):
        raise ValueError("a name comes twice")
    return row


# numbers stay the text that they are: a float would round them
_loads: Callable[[str], object] = partial(
    json.loads, object_pairs_hook=_pairs, parse_float=str, parse_int=str, parse_constant=str
)


def _parsed(line: str) -> dict | None:
    """Return the JSON object that a line is, or None."""
    try:
        row = _loads(line)
        if "\\u" in line:
            json.dumps(row, ensure_ascii=False).encode()  # half a pair of surrogates is no text
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def _json_table(batch: list[tuple[int, dict | str]], columns: Columns) -> pa.Table:
    names: dict[str, str] = {}
    values: dict[str, list] = {LINE: [None] * len(batch)}
    for at, (_, row) in enumerate(batch):
        if isinstance(row, str):
            values[LINE][at] = row
            continue
        met = set()
        for text, value in row.items():
            name = names.get(text)
            if name is None:
                name = names[text] = columns.name(text) or "column"
            if name in met:  # two spellings of one column
                values[LINE][at] = json.dumps(row, ensure_ascii=False, default=str)
                for column in met:
                    values[column][at] = None
                break
            met.add(name)
            if value is not None:
                values.setdefault(name, [None] * len(batch))[at] = value if type(value) is str else _json_text(value)
            elif name not in values:
                values[name] = [None] * len(batch)
    if not any(text is not None for text in values[LINE]):
        del values[LINE]
    arrays = {name: pa.array(texts, pa.string()) for name, texts in values.items()}
    return pa.table(arrays | {PLACE: pa.array([number for number, _ in batch], pa.int64())})


def _json_text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (dict, list)):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)


def _normalised(text: str) -> str:
    return _naming(text.strip()) if text.strip() else ""


_naming = Schema("bronze").naming.normalize_identifier


def _replaced(table: pa.Table, name: str, column: pa.Array) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), name, column)


def _shown(names: Sequence[str]) -> str:
    text = ", ".join(names)
    return repr(text if len(text) <= 200 else text[:200] + "…")
