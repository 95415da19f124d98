"""The load of files, without dlt: its settings, and each reader on files as people make them."""

import gzip
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ingestion.files import delimited, documents
from ingestion.files.delimited import read_csv
from ingestion.files.documents import read_json, read_parquet
from ingestion.files.rows import Columns, landed
from ingestion.files.settings import FilesSettings, TableFiles, file_format, is_ignored
from ingestion.files.staging import Copy, Unreadable, as_utf8, unpack
from ingestion.settings import IngestionError
from ingestion.source import COUNTRIES, INVOICES

HEADER = "invoice_id,country,invoice_date,currency_code,total_amount,updated_at"
ROW = "{},DE,2026-02-01,EUR,11.90,2026-03-01T12:00:00Z"
GOOD = {"invoice_date": date(2026, 2, 1), "total_amount": Decimal("11.90"), "updated_at": datetime(2026, 3, 1, 12, tzinfo=UTC)}


@pytest.fixture
def read(tmp_path):
    """A function from a text or bytes to the rows that land, as dicts without nulls, and the number of misfits."""

    def read(content: str | bytes, kind: str = "csv", names: dict | None = None, **options) -> tuple[list[dict], int]:
        path = tmp_path / "file"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        columns = Columns(TableFiles(INVOICES, ("*",), names or {}))
        decimal = options.pop("decimal", ".")
        if kind == "parquet":
            batches = read_parquet(path, columns)
        else:
            text = tmp_path / "text"
            _, is_ended = as_utf8(Copy(path, path.stat().st_size, ""), options.pop("encoding", None), text)
            if kind == "csv":
                batches = read_csv(text, is_ended, columns, options.pop("delimiter", None))
            else:
                batches = read_json(text, is_ended, columns, is_lines=kind == "jsonl")
        found = [landed(batch, INVOICES, decimal) for batch in batches]
        rows = [{k: v for k, v in row.items() if v is not None} for table, _ in found for row in table.to_pylist()]
        return sorted(rows, key=lambda row: row["_file_line"]), sum(misfits for _, misfits in found)

    return read


@pytest.fixture
def reason(read):
    """A function from a file to the reason for which all of it is rejected."""

    def reason(*arguments, **options) -> str:
        with pytest.raises(Unreadable) as caught:
            read(*arguments, **options)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return reason


def lines(*rows: str, header: str = HEADER) -> str:
    return "".join(f"{row}\n" for row in (header, *rows))


def rescued(row: dict) -> dict:
    return json.loads(row["_rescued_data"])


# ---- CSV ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_known_by_the_header(read, delimiter):
    rows, misfits = read(lines(ROW.format(1), ROW.format(2)).replace(",", delimiter))
    assert [row["invoice_id"] for row in rows] == [1, 2] and misfits == 0
    assert rows[0] == {"invoice_id": 1, "country": "DE", "currency_code": "EUR", "_file_line": 2} | GOOD


def test_another_delimiter_is_read_if_it_is_named(read, reason):
    text = lines(ROW.format(1)).replace(",", "~")
    assert reason(text).startswith(
        "the header lacks invoice_id, country, invoice_date, currency_code, total_amount, updated_at; split"
    )
    assert read(text, delimiter="~")[0][0]["invoice_id"] == 1


@pytest.mark.parametrize("header", [HEADER.upper(), HEADER.replace("_", " ").title(), f' {HEADER.replace(",", " , ")}',
                                    "InvoiceId,Country,InvoiceDate,CurrencyCode,TotalAmount,UpdatedAt",
                                    '"invoice\nid","country",invoice-date,currency_code,total_amount,updated_at',
                                    f"sep=,\n\n{HEADER}"])  # fmt: skip
def test_case_blanks_and_punctuation_of_a_header_do_not_matter(read, header):
    rows, _ = read(lines(ROW.format(1), header=header))
    assert rows[0]["invoice_id"] == 1 and rows[0]["total_amount"] == Decimal("11.90")
    assert rows[0]["_file_line"] == header.count("\n") + 2


def test_columns_are_renamed_and_further_ones_are_kept(read):
    names = {"total_amount": "Betrag (€)", "invoice_id": "Rechnungs-Nr."}
    header = 'Rechnungs-Nr.;country;invoice_date;currency_code;"betrag (€)";updated_at;Memo;;_rescued_data'
    rows, misfits = read(
        f"{header}\n1;DE;2026-02-01;EUR;11.90;2026-03-01;Größe;;x\n2;DE;2026-02-01;EUR;1;2026-03-01;;;\n", names=names
    )
    assert (rows[0]["invoice_id"], rows[0]["total_amount"], misfits) == (1, Decimal("11.90"), 0)
    assert rescued(rows[0]) == {"Memo": "Größe", "source_rescued_data": "x"} and "_rescued_data" not in rows[1]


def test_two_columns_of_one_name_are_refused(reason):
    assert reason(lines(ROW.format(1) + ",2", header=HEADER + ",Invoice ID")) == "two columns of the file are invoice_id"


def test_lines_with_another_number_of_fields_are_kept_whole(read):
    text = lines(
        ROW.format(1), "2,DE", "", ROW.format(3), '4,"a\nb",2026-02-01', "   ", ROW.format(5) + ',"x,y",', ROW.format(6), "\x1a"
    )
    rows, misfits = read(text)
    assert misfits == 3
    assert [(row["_file_line"], row.get("invoice_id") or rescued(row)["_line"]) for row in rows] == [
        (2, 1), (3, "2,DE"), (5, 3), (6, '4,"a\nb",2026-02-01'), (9, ROW.format(5) + ',"x,y",'), (10, 6)
    ]  # fmt: skip
    assert set(rows[1]) == {"_rescued_data", "_file_line"}


def test_lines_are_numbered_as_an_editor_does_across_blocks(read, monkeypatch):
    monkeypatch.setattr(delimited, "BLOCK_BYTES", 400)
    rows_of_text, expected, line = [], [], 2
    for number in range(300):
        text = {0: f"{number},broken", 1: ROW.format(number).replace("DE", '"D\nE\r\n"')}.get(number % 7, ROW.format(number))
        rows_of_text.append(text)
        expected.append(line)
        line += 1 + text.count("\n")
    rows, misfits = read(lines(*rows_of_text))
    assert [row["_file_line"] for row in rows] == expected and misfits == 43


def test_windows_and_old_mac_line_ends_are_line_ends(read):
    for end in ("\r\n", "\r"):
        rows, _ = read(lines(ROW.format(1), ROW.format(2)).replace("\n", end))
        assert [row["invoice_id"] for row in rows] == [1, 2]


def test_values_that_do_not_fit_are_null_and_kept_as_text(read):
    row = 'x1,Côte d\'Ivoire,01.02.2026,EUR,"1.234,56",2026-02-30T00:00:00Z'
    rows, misfits = read(lines(row, ROW.format("")))
    assert misfits == 1 and rows[0]["country"] == "Côte d'Ivoire"
    assert rescued(rows[0]) == {"invoice_id": "x1", "invoice_date": "01.02.2026", "total_amount": "1.234,56",
                                "updated_at": "2026-02-30T00:00:00Z"}  # fmt: skip
    assert "invoice_id" not in rows[1] and "_rescued_data" not in rows[1]


@pytest.mark.parametrize(
    ("text", "amount"),
    [("1.234,56", "1234.56"), ("-1.234.567,8", "-1234567.80"), ("12", "12.00"), ("1234,5", "1234.50"), (" 7,00 ", "7.00"),
     ("11.90", None), ("1,234.56", None), ("1.2345,6", None), ("1,234", None),
     ("12.345.678.901.234.567,8", None), ("abc", None)],
)  # fmt: skip
def test_a_decimal_comma_is_read_exactly_or_not_at_all(read, text, amount):
    header = HEADER.replace(",", ";")
    (row,), misfits = read(f"{header}\n1;DE;2026-02-01;EUR;{text};2026-03-01\n", decimal=",")
    if amount:
        assert row["total_amount"] == Decimal(amount) and not misfits
    else:
        assert "total_amount" not in row and rescued(row) == {"total_amount": text} and misfits == 1


def test_a_deletion_is_marked_and_a_mark_that_is_none_makes_the_row_unusable(read):
    header = f"{HEADER},_is_deleted"
    rows, misfits = read(
        lines(*(f"{ROW.format(n)},{mark}" for n, mark in enumerate(("true", "0", "", "ja"), 1)), header=header)
    )
    assert [row.get("_is_deleted") for row in rows] == [True, False, None, None] and misfits == 1
    assert set(rows[3]) == {"_rescued_data", "_file_line"}
    assert rescued(rows[3])["_is_deleted"] == "ja" and rescued(rows[3])["invoice_id"] == "4"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "the file is empty"),
        ("\n \n", "the file is empty"),
        (f"{HEADER}\n{ROW.format(1)}\n2,DE,2026", "breaks off: its last line, 3, has fewer than the header's 6 fields"),
        (f'{HEADER}\n{ROW.format(1)}\n2,"DE,2026-02-01,EUR,1,2026-03-01\n{ROW.format(3)}\n', "a quote does not close"),
        (f'{HEADER}\n1,DE,2026-02-01,EUR,1,"2026-03-01\n{ROW.format(3)}\n', "a quote does not close, in line"),
        (f'{HEADER}\n1,DE,2026-02-01,EUR,1,"2026-03-01', "a quote does not close, in line"),
        (f"{ROW.format(1)}\n{ROW.format(2)}\n", "the header lacks invoice_id, country"),
        ('"invoice_id,' + "x" * 200_000, "the header cannot be read: field larger than field limit"),
        (lines(ROW.format("1\0")), "line 2 has a zero byte"),
        (lines(ROW.format(1), "3,Österreich").encode("cp1252"), "line 3 is not utf-8: byte 0xd6; FILES_ENCODING names"),
        (lines(ROW.format(1)).encode("utf-16-le"), "line 1 has a zero byte: this is no text, or FILES_ENCODING"),
    ],
)
def test_a_csv_that_cannot_be_read_is_rejected_whole(reason, text, expected):
    assert expected in reason(text)


def test_a_quote_that_closes_too_late_or_lines_that_never_fit_do_not_fill_the_memory(reason, monkeypatch):
    monkeypatch.setattr(delimited, "BLOCK_BYTES", 1 << 20)
    open_quote = f'{HEADER}\n{ROW.format(1)}\n2,"DE' + "\n".join(ROW.format(n) for n in range(50_000))
    assert "a quote does not close within 1 MB" in reason(open_quote)
    monkeypatch.setattr(delimited, "MAX_WAITING_LINES", 1000)
    assert reason(lines(*["1,2"] * 5000)).endswith("do not have the 6 fields of the header: record 2 has 2")


def test_a_last_line_without_its_end_is_a_line(read):
    assert [row["invoice_id"] for row in read(f"{HEADER}\n{ROW.format(1)}\n{ROW.format(2)}")[0]] == [1, 2]
    assert read(f"{HEADER}")[0] == read(f"{HEADER}\n")[0] == []


# ---- text and gzip --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_an_encoding_is_known_by_its_mark(read, encoding):
    rows, _ = read(lines(ROW.format(1).replace("DE", "Österreich €")).encode(encoding))
    assert rows[0]["country"] == "Österreich €" and rows[0]["invoice_id"] == 1


def test_an_encoding_that_is_asked_for_is_used_unless_the_file_has_a_mark(read, reason):
    text = lines(ROW.format(1).replace("DE", "Österreich €"))
    assert read(text.encode("cp1252"), encoding="windows-1252")[0][0]["country"] == "Österreich €"
    assert read(text.encode("utf-8-sig"), encoding="windows-1252")[0][0]["country"] == "Österreich €"
    assert read(text.encode("utf-16-be"), encoding="utf-16-be")[0][0]["country"] == "Österreich €"
    assert "is not windows-1252: byte 0x81" in reason(b"invoice_id\n\x81", encoding="windows-1252")


def test_letters_across_chunks_are_read_and_the_line_of_a_fault_is_right(tmp_path, monkeypatch):
    monkeypatch.setattr("ingestion.files.staging.CHUNK_BYTES", 7)
    path, text = tmp_path / "file", tmp_path / "text"
    path.write_text("äöü€\n" * 50)
    assert as_utf8(Copy(path, 0, ""), None, text) == ("utf-8", True) and text.read_text() == "äöü€\n" * 50
    path.write_bytes("äöü€\n".encode() * 50 + b"abc\xff\n")
    with pytest.raises(Unreadable, match="line 51 is not utf-8: byte 0xff"):
        as_utf8(Copy(path, 0, ""), None, text)


def test_a_gzip_without_its_end_and_what_is_no_gzip_are_rejected(tmp_path):
    whole = gzip.compress(lines(*(ROW.format(n) for n in range(1000))).encode())
    for content, expected in (
        (whole[:-9], "no end"),
        (b"invoice_id", "no whole gzip"),
        (whole[:-8] + bytes(8), "no whole gzip"),
    ):
        path = tmp_path / "file.gz"
        path.write_bytes(content)
        with pytest.raises(Unreadable, match=expected):
            unpack(Copy(path, len(content), ""), True, tmp_path / "content")


# ---- JSON -----------------------------------------------------------------------------------------------------------

OBJECT = {"invoice_id": 1, "country": "DE", "invoice_date": "2026-02-01", "currency_code": "EUR", "total_amount": 11.9,
          "updated_at": "2026-03-01T12:00:00Z"}  # fmt: skip


def objects(*changes: dict) -> list[dict]:
    return [OBJECT | {"invoice_id": number} | change for number, change in enumerate(changes, 1)]


@pytest.mark.parametrize(
    ("kind", "shape"),
    [(kind, shape) for kind in ("jsonl", "json") for shape in ("lines", "array", "pretty array", "one object")]
    + [("json", "one pretty object")],
)
def test_json_is_read_in_each_of_its_shapes(read, kind, shape):
    rows = objects({"country": "Österreich"}, {"total_amount": 1}, {"due_date": None})
    if shape.startswith("one"):
        rows = rows[:1]
    text = {
        "lines": "".join(json.dumps(row) + "\n" for row in rows),
        "array": json.dumps(rows),
        "pretty array": "\n" + json.dumps(rows, indent=2, ensure_ascii=False),
        "one object": json.dumps(rows[0]),
        "one pretty object": json.dumps(rows[0], indent=2),
    }[shape]
    found, misfits = read(text, kind=kind)
    assert misfits == 0 and [row["invoice_id"] for row in found] == [row["invoice_id"] for row in rows]
    assert found[0]["country"] == "Österreich" and found[0]["total_amount"] == Decimal("11.90")
    assert [row["_file_line"] for row in found] == list(range(1, len(rows) + 1))


@pytest.mark.parametrize("shape", ["{}\n", "[{}]"])
def test_numbers_of_json_are_never_rounded(read, shape):
    text = json.dumps(OBJECT).replace("11.9", "9999999999999999.99").replace("1,", "9223372036854775807,", 1)
    (row,), misfits = read(shape.format(text), kind="json")
    assert (row["total_amount"], row["invoice_id"], misfits) == (Decimal("9999999999999999.99"), 9223372036854775807, 0)
    (row,), misfits = read(shape.format(text.replace("9.99", "9.999")), kind="json")
    assert rescued(row) == {"total_amount": "9999999999999999.999"} and misfits == 1


def test_what_no_column_takes_is_kept(read):
    rows = objects(
        {"lines": [{"sku": "a", "price": 1.10}]}, {"Country": "AT", "country": "DE"}, {"total_amount": True}, {"": 1}
    )
    found, misfits = read("".join(json.dumps(row) + "\n" for row in rows), kind="jsonl")
    assert misfits == 2
    assert rescued(found[0]) == {"lines": '[{"sku": "a", "price": "1.1"}]'}
    assert json.loads(rescued(found[1])["_line"])["Country"] == "AT" and "invoice_id" not in found[1]
    assert rescued(found[2]) == {"total_amount": "true"} and rescued(found[3]) == {"column": "1"}


def test_lines_that_are_no_object_are_kept_whole(read):
    odd = ["{broken", "5", '{"invoice_id": 1, "invoice_id": 2}', '{"country": "\\ud800"}', '["a"]', "[" * 100_000]
    text = "\n".join([json.dumps(OBJECT), *odd, "", json.dumps(OBJECT | {"total_amount": float("nan")})]) + "\n"
    rows, misfits = read(text, kind="jsonl")
    assert misfits == 7 and [rescued(row)["_line"] for row in rows[1:-1]] == odd
    assert rescued(rows[-1]) == {"total_amount": "NaN"} and rows[-1]["_file_line"] == 9


def test_an_object_of_an_array_that_says_a_name_twice_keeps_both(read):
    text = json.dumps([OBJECT, OBJECT]).replace('"country": "DE"', '"country": "DE", "country": "FR"', 1)
    rows, misfits = read(text, kind="json")
    assert misfits == 1 and '"country": "DE", "country": "FR"' in rescued(rows[0])["_line"] and rows[1]["country"] == "DE"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (json.dumps(objects({}, {}))[:-40], "the file breaks off: its JSON has no end"),
        (json.dumps(OBJECT) + "\n" + json.dumps(OBJECT)[:-9], "the file breaks off: its last line, 2, is no whole JSON object"),
        (json.dumps(OBJECT, indent=1)[:-9], "the file breaks off: its JSON has no end"),
        (json.dumps([OBJECT]) + "x", "the file is no JSON: there is more after the array"),
        (json.dumps([OBJECT, OBJECT]).replace("}, {", "} {"), "the file is no JSON: there is no comma after item 1"),
        (json.dumps([OBJECT])[:-1] + ",]", "the file is no JSON: item 2: Expecting value"),
        (json.dumps([OBJECT] * 9).replace('"DE"', "DE", 1), "the file is no JSON: item 1: Expecting value"),
        ("[" * 100_000, "the file is no JSON: item 1 is too deep"),
        ('[{"invoice_id": 1}]', "no object has country, invoice_date, currency_code, total_amount, updated_at"),
        (json.dumps({"data": [OBJECT]}), "no object has invoice_id"),
        ("hello", "the file is neither JSON objects"),
        (" \n", "the file is empty"),
    ],
)
def test_a_json_that_cannot_be_read_is_rejected_whole(reason, text, expected):
    assert expected in reason(text, kind="json")


def test_items_of_json_are_whole_wherever_what_is_read_at_a_time_ends(read, monkeypatch):
    items = [OBJECT | {"country": 'ä€\\"\n', "total_amount": 12.5, "due_date": None, "x": [True, -1e5, {}]}, 12345, "text", [1]]
    for characters in (1, 2, 7, 50, 1000):
        monkeypatch.setattr(documents, "CHARACTERS", characters)
        for text in (json.dumps(items * 2), json.dumps(items * 2, indent=2, ensure_ascii=False)):
            rows, misfits = read(text, kind="json")
            assert misfits == 6 and [row["_file_line"] for row in rows] == list(range(1, 9))
            assert rows[4]["country"] == 'ä€\\"\n' and rescued(rows[4]) == {"x": '[true, "-100000.0", {}]'}
            assert [json.loads(rescued(row)["_line"]) for row in rows[5:]] == items[1:]


def test_an_item_of_json_may_not_fill_the_memory(reason, monkeypatch):
    monkeypatch.setattr(documents, "MAX_ITEM_CHARACTERS", 1000)
    monkeypatch.setattr(documents, "CHARACTERS", 100)
    assert reason('[{"a": "' + "x" * 5000, kind="json") == "the file is no JSON: item 1: Unterminated string starting at"


def test_an_array_without_objects_has_no_rows(read):
    assert read(" [ ] ", kind="json") == ([], 0)


# ---- Parquet --------------------------------------------------------------------------------------------------------


def parquet(path: Path, **columns: pa.Array) -> bytes:
    pq.write_table(pa.table({name: pa.array([value]) for name, value in OBJECT.items()} | columns), path)
    return path.read_bytes()


def test_parquet_is_read_in_any_types_that_fit(read, tmp_path):
    content = parquet(
        tmp_path / "p",
        invoice_id=pa.array([7.0]),
        invoice_date=pa.array([date(2026, 2, 1)]),
        country=pa.array(["DE"]).dictionary_encode(),
        total_amount=pa.array([Decimal("11.9000")]),
        updated_at=pa.array([datetime(2026, 3, 1, 12)], pa.timestamp("ns")),
        lines=pa.array([[{"a": 1}]]),
        _is_deleted=pa.array([True]),
    )
    (row,), misfits = read(content, kind="parquet")
    assert misfits == 0 and row["_is_deleted"] is True and rescued(row) == {"lines": '[{"a": 1}]'}
    assert {name: row[name] for name in GOOD} == GOOD and (row["invoice_id"], row["_file_line"]) == (7, 1)


def test_a_time_that_is_finer_than_bronze_s_is_kept_as_text(read, tmp_path):
    content = parquet(tmp_path / "p", updated_at=pa.array([1_772_366_400_000_000_001], pa.timestamp("ns")))
    (row,), misfits = read(content, kind="parquet")
    assert rescued(row) == {"updated_at": "2026-03-01 12:00:00.000000001Z"} and misfits == 1


def test_half_a_parquet_and_one_without_a_required_column_are_rejected(reason, tmp_path):
    content = parquet(tmp_path / "p")
    for half in (content[:-5], content[: len(content) // 2], b"PAR1"):
        assert reason(half, kind="parquet").startswith("the file is no whole Parquet: ")
    broken = bytearray(content)
    broken[4:40] = bytes(36)
    assert reason(bytes(broken), kind="parquet").startswith("the file is no whole Parquet: ")
    pq.write_table(pa.table({"invoice_id": [1]}), tmp_path / "q")
    assert reason((tmp_path / "q").read_bytes(), kind="parquet").startswith("the file lacks country, invoice_date")


# ---- settings -------------------------------------------------------------------------------------------------------


@pytest.fixture
def settings(tmp_path, monkeypatch):
    def settings(**variables: str) -> FilesSettings:
        with monkeypatch.context() as patch:
            for name, value in ({"FILES_URL": str(tmp_path)} | variables).items():
                patch.setenv(name, value)
            return FilesSettings.from_environment()

    return settings


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("FILES_URL", "", "FILES_URL is not set to a folder or bucket"),
        ("FILES_URL", "/no/such/folder", "FILES_URL names no folder: /no/such/folder"),
        (
            "FILES_URL",
            "ftp://host/drop",
            "FILES_URL must be a path or begin with one of file://, s3://, abfss://, gs://, not ftp://",
        ),
        ("FILES_DELIMITER", ";;", "FILES_DELIMITER must be one ASCII character or tab"),
        ("FILES_DELIMITER", '"', "FILES_DELIMITER must be one ASCII character or tab"),
        ("FILES_ENCODING", "latin-99", "FILES_ENCODING must be an encoding such as utf-8"),
        ("FILES_ENCODING", "base64", "FILES_ENCODING must be an encoding such as utf-8"),
        ("FILES_DECIMAL", ".,", 'FILES_DECIMAL must be "." or ","'),
        ("FILES_SETTLE_SECONDS", "soon", "FILES_SETTLE_SECONDS must be a number of seconds, not 'soon'"),
        ("FILES_REJECTED_BYTES", "-1", "FILES_REJECTED_BYTES must be a number of bytes"),
        ("FILES_INVOICES_COLUMN_NAMES", "{", "FILES_INVOICES_COLUMN_NAMES must be a JSON object from columns of bronze"),
        ("FILES_COUNTRIES_COLUMN_NAMES", '{"iso": "x"}', "FILES_COUNTRIES_COLUMN_NAMES must be a JSON object"),
    ],
)
def test_a_wrong_setting_is_named_in_one_sentence(settings, name, value, expected):
    with pytest.raises(IngestionError) as caught:
        settings(**{name: value})
    assert str(caught.value).startswith(expected) and "\n" not in str(caught.value)


def test_a_table_without_patterns_is_not_loaded_and_both_without_are_refused(settings):
    found = settings(FILES_COUNTRIES="")
    assert not found.tables["countries"].matches("countries.csv") and found.tables["invoices"].matches("invoices.csv")
    with pytest.raises(IngestionError, match="FILES_INVOICES and FILES_COUNTRIES are both empty"):
        settings(FILES_COUNTRIES="", FILES_INVOICES=" ")


def test_patterns_are_for_names_and_paths_in_any_case(settings):
    invoices = settings(FILES_INVOICES="INV*.csv, 2026/*").tables["invoices"]
    assert all(map(invoices.matches, ("inv 1.csv", "a/b/Inv-ü.CSV", "2026/x.parquet", "2026/02/y.json")))
    assert not any(map(invoices.matches, ("xinv.csv", "inv.json", "2025/x.csv")))


@pytest.mark.parametrize(
    "path",
    [
        ".invoices.csv",
        "_SUCCESS",
        "invoices.csv.tmp",
        "invoices.PART",
        "~$invoices.csv",
        "a/_temporary/0/invoices.csv",
        "invoices.csv~",
    ],
)
def test_hidden_and_temporary_files_are_left_alone(path):
    assert is_ignored(path)


def test_other_files_are_not(settings):
    assert not any(map(is_ignored, ("invoices.csv", "_day=2026-02-01/invoices.csv", "part/invoices.csv")))
    assert [file_format(name) for name in ("a.CSV", "a.tsv.gz", "a.ndjson", "a.b.parquet", "a.xlsx", "a.gz")] == [
        "csv", "csv", "json", "parquet", None, None
    ]  # fmt: skip


def test_countries_have_their_own_columns(tmp_path):
    path = tmp_path / "countries"
    path.write_text("Country Code,Country Name,Updated At\nNA,Namibia,2026-03-01T12:00:00Z\n")
    columns = Columns(TableFiles(COUNTRIES, ("*",), {}))
    ((rows, misfits),) = [landed(batch, COUNTRIES) for batch in read_csv(path, True, columns, None)]
    assert rows.to_pylist()[0]["country_code"] == "NA" and misfits == 0  # no text means null, as it does to pandas
