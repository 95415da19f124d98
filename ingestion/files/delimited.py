"""Reading CSV with Arrow's own reader, which hands over the lines that do not fit."""

import csv
import io
import itertools
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from ingestion.files.rows import LINE, PLACE, Columns, shown
from ingestion.files.settings import DELIMITERS
from ingestion.files.staging import Unreadable
from ingestion.settings import first_line

#: What Arrow parses at a time, and so the longest record.
BLOCK_BYTES = 8 << 20
#: So many lines that do not fit may wait for the rows before them; more after each other are a file that is broken.
MAX_WAITING_LINES = 200_000
# what a line may be that is none: blanks, and the mark of a text's end of DOS
_BLANK = " \t\r\n\x1a"


def read_csv(path: Path, is_ended: bool, columns: Columns, delimiter: str | None) -> Iterator[pa.Table]:
    """Yield the rows of a CSV: UTF-8 without a mark, fields quoted by ", doubled within. All values are text; empty ones null.

    Args: path: a last line is added to it, by which a quote that never closes is known; is_ended: whether the last line has its
    end; columns; delimiter: None where it is detected.
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
            _Blocks(path),
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


class _Blocks(io.FileIO):
    """A file whose blocks never end between a CR and an LF: Arrow would drop the LF there, also within a quoted value.

    https://github.com/apache/arrow/issues/51368, of pyarrow 25 and 26.
    """

    def read(self, size: int = -1) -> bytes:
        block = super().read(size)
        if len(block) > 1 and block.endswith(b"\r"):
            self.seek(-1, io.SEEK_CUR)
            return block[:-1]
        return block


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
        found = [(place, text) for place, text in self._placed if text.strip(_BLANK)]
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
            self.is_last_short = order[-1] >= len(numbers) and misfits[-1][2] and bool(misfits[-1][1].strip(_BLANK))
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
        raise Unreadable(f"the header lacks {', '.join(missing)}; split at {split} it has {shown(fields)}")
    return delimiter, columns.names(fields), lines


def _is_hint(row: list[str]) -> bool:
    """Tell whether a line is Excel's own `sep=;`, which comes before the header; the delimiter itself splits it."""
    return len(row) <= 2 and re.fullmatch(r"sep=.?", row[0].strip().lower()) is not None


def _broken(error: pa.ArrowInvalid, lines: _Lines) -> str:
    if lines.is_overrun:
        wrong = f"over {MAX_WAITING_LINES:,} lines after each other do not have the {lines.width} fields of the header"
        return f"{wrong}: {lines.first_misfit}"
    if "straddling" in str(error) or "out of sync" in str(error):
        return f"a quote does not close within {BLOCK_BYTES >> 20} MB, in line {lines.next_place} or below"
    return f"the file cannot be read as CSV: {first_line(error)}"
