"""Reading JSON, by Python's own reader and ijson, and Parquet, by Arrow's."""

import itertools
import json
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
#: By which the kind of a JSON is known: by its first line, if it is not longer.
HEAD_CHARACTERS = 1 << 20


def read_json(path: Path, is_ended: bool, columns: Columns, is_lines: bool) -> Iterator[pa.Table]:
    """Yield the rows of JSON: UTF-8, one object a line, or an array of objects, or objects after each other. Values are text.

    Args: is_ended: whether the last line has its end; is_lines: the file says that it has one object a line.
    A line that is no object, or names a column twice, is a row with the line as _line.
    Raises: Unreadable: a required column is in no object, the text breaks off, or is no JSON.
    """
    with path.open(encoding="utf-8") as file:
        head = file.read(HEAD_CHARACTERS).lstrip()
    begins = head[:1]
    if not begins:
        raise Unreadable("the file is empty")
    if begins != "[" and (is_lines or _parsed(head.partition("\n")[0]) is not None):
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
    """A JSON object that notices when a name comes twice, and keeps both values then."""

    is_ambiguous = False

    def __setitem__(self, name, value):
        if name in self:
            self.is_ambiguous, value = True, [self[name], value]
        super().__setitem__(name, value)


def _pairs(pairs: list[tuple[str, object]]) -> dict:
    row = dict(pairs)
    if len(row) < len(pairs):
        raise ValueError("a name comes twice")
    return row


# Numbers stay the text that they are: a float would round them. One decoder, because json.loads would make one a line.
_decode = json.JSONDecoder(object_pairs_hook=_pairs, parse_float=str, parse_int=str, parse_constant=str).decode


def _parsed(line: str) -> dict | None:
    """Return the JSON object that a line is, or None."""
    try:
        row = _decode(line)
        if "\\u" in line:
            json.dumps(row, ensure_ascii=False).encode()  # half a pair of surrogates is no text
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


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
