"""Reading JSON, by Python's own decoder, and Parquet, by Arrow's reader.

ijson would read arrays too, but memory grows with the square of the depth: 100 kB of "[" were enough to fill 23 GB.
"""

import itertools
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from ingestion.files.rows import LINE, PLACE, Columns, shown
from ingestion.files.staging import Unreadable
from ingestion.settings import first_line

BATCH_ROWS = 50_000
#: Read at a time of a JSON that is not one object a line; also its kind is known by so much.
CHARACTERS = 1 << 20
MAX_ITEM_CHARACTERS = 16 << 20


def read_json(path: Path, is_ended: bool, columns: Columns, is_lines: bool) -> Iterator[pa.Table]:
    """Yield the rows of JSON: UTF-8, one object a line, or an array of objects, or objects after each other. Values are text.

    Args: is_ended: whether the last line has its end; is_lines: the file says that it has one object a line.
    A line that is no object, or names a column twice, is a row with the line as _line.
    Raises: Unreadable: a required column is in no object, the text breaks off, or is no JSON.
    """
    with path.open(encoding="utf-8") as file:
        head = file.read(CHARACTERS).lstrip()
    begins = head[:1]
    if not begins:
        raise Unreadable("the file is empty")
    if begins != "[" and (is_lines or _parsed(head.partition("\n")[0]) is not None):
        rows = _json_lines(path, is_ended)
    elif begins in "[{":
        rows = _json_items(path, is_array=begins == "[")
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
                raise Unreadable(f"the file lacks {', '.join(columns.missing())}; it has {shown(file.schema_arrow.names)}")
            first = 1
            for batch in file.iter_batches(batch_size=BATCH_ROWS, use_threads=False):
                rows = pa.Table.from_batches([batch]).rename_columns(names)
                yield rows.append_column(PLACE, pa.array(np.arange(first, first + len(batch)), pa.int64()))
                first += len(batch)
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise Unreadable(f"the file is no whole Parquet: {first_line(error)}") from None


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


def _json_items(path: Path, is_array: bool) -> Iterator[tuple[int, dict | str]]:
    """Yield the items of an array, or objects after each other, with their numbers; one that is no row as its text."""
    with path.open(encoding="utf-8") as file:
        text, at = "", 0

        def more() -> bool:
            nonlocal text, at
            chunk = file.read(max(CHARACTERS, len(text) - at))
            text, at = text[at:] + chunk, 0
            return bool(chunk)

        def sign() -> str:  # the next one that is no blank, "" at the end
            nonlocal at
            while True:
                at = _BLANKS.match(text, at).end()
                if at < len(text) or not more():
                    return text[at : at + 1]

        if is_array:
            sign()
            at += 1
        for number in itertools.count(1):
            if is_array and sign() == "]":
                at += 1
                if sign():
                    raise Unreadable("the file is no JSON: there is more after the array")
                return
            if is_array and number > 1 and sign():
                if sign() != ",":
                    raise Unreadable(f"the file is no JSON: there is no comma after item {number - 1}")
                at += 1
            if not sign():
                if is_array:
                    raise Unreadable("the file breaks off: its JSON has no end")
                return
            while True:
                try:
                    row, end = _decoder.raw_decode(text, at)
                except json.JSONDecodeError as error:
                    # what fails at the end of what was read may only be cut there
                    is_open = error.msg.startswith("Unterminated string")
                    is_cut = is_open or error.pos > len(text) - _LONGEST_TOKEN
                    is_at_end = is_open or error.pos >= len(text.rstrip())
                    if is_cut and len(text) - at <= MAX_ITEM_CHARACTERS:
                        if more():
                            continue
                        if is_at_end:
                            raise Unreadable("the file breaks off: its JSON has no end") from None
                    raise Unreadable(f"the file is no JSON: item {number}: {error.msg}") from None
                except RecursionError:
                    raise Unreadable(f"the file is no JSON: item {number} is too deep") from None
                else:
                    if end < len(text) or not more():  # a number at the end may go on
                        break
            yield number, row if _is_row(row, text[at:end]) else text[at:end]
            at = end


class _Ambiguous(dict):
    """A JSON object in which a name comes twice; it has the values of a name as a list."""


def _object(pairs: list[tuple[str, object]]) -> dict:
    row = dict(pairs)
    if len(row) == len(pairs):
        return row
    values = defaultdict(list)
    for name, value in pairs:
        values[name].append(value)
    return _Ambiguous(values)


# Numbers stay the text that they are: a float would round them. One decoder, because json.loads would make one a line.
_decoder = json.JSONDecoder(object_pairs_hook=_object, parse_float=str, parse_int=str, parse_constant=str)
_BLANKS = re.compile(r"[ \t\r\n]*")
# Within so many characters of the end an error may be a cut, as in \\u20ac or -Infinity.
_LONGEST_TOKEN = 16


def _parsed(line: str) -> dict | None:
    """Return the row that a line of JSON is, or None."""
    try:
        row = _decoder.decode(line)
    except (ValueError, RecursionError):
        return None
    return row if _is_row(row, line) else None


def _is_row(row: object, text: str) -> bool:
    if not isinstance(row, dict) or isinstance(row, _Ambiguous):
        return False
    if "\\u" in text:
        try:
            json.dumps(row, ensure_ascii=False).encode()
        except UnicodeEncodeError:  # half a pair of surrogates is no text
            return False
    return True


def _json_table(batch: list[tuple[int, dict | str]], columns: Columns) -> pa.Table:
    names: dict[str, str] = {}
    values: defaultdict[str, list] = defaultdict(lambda: [None] * len(batch))
    for at, (_, row) in enumerate(batch):
        if isinstance(row, dict):
            found = {}
            for text, value in row.items():
                name = names.get(text)
                if name is None:
                    name = names[text] = columns.name(text) or "column"
                found[name] = value if value is None or type(value) is str else _json_text(value)
            if len(found) == len(row):
                for name, value in found.items():
                    values[name][at] = value
                continue
            row = json.dumps(row, ensure_ascii=False, default=str)  # two spellings of one column
        values[LINE][at] = row
    arrays = {name: pa.array(texts, pa.string()) for name, texts in values.items()}
    return pa.table(arrays | {PLACE: pa.array([number for number, _ in batch], pa.int64())})


def _json_text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (dict, list)):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)
