"""The settings of the load of files; `python -m ingestion.files --help` prints this text.

Environment variables:

    FILES_URL                     folder or bucket: a path (also of a Databricks volume), file://, s3://, abfss://, gs://
    FILES_INVOICES                glob patterns of the invoices' files, with commas between them (invoices*)
    FILES_COUNTRIES               the same of the countries (countries*); empty: another loader brings them
    FILES_DELIMITER               of CSV: one character, or tab (detected among , ; tab and |)
    FILES_ENCODING                of text without a byte order mark, such as windows-1252 (UTF-8)
    FILES_DECIMAL                 of amounts in CSV: "." (the default) or ",", which also takes 1.234,56
    FILES_INVOICES_COLUMN_NAMES   JSON object {"column of bronze": "column of the files", ...}
    FILES_COUNTRIES_COLUMN_NAMES  the same of the countries
    FILES_SETTLE_SECONDS          a file that was modified less than so long ago is left for the next run (60)
    FILES_REJECTED_BYTES          how much of a file that cannot be read is kept in rejected_files (16777216)

A pattern holds for the file's name or its path below FILES_URL, in any case. Formats go by the extension: .csv, .tsv, .txt,
.json, .jsonl, .ndjson, .parquet, each also with .gz. Hidden and temporary files are left alone: names that begin with a dot,
an underscore or ~$, or end with ~, .tmp, .part, .partial, .filepart, .crdownload, .swp or ._COPYING_; and all within such a
folder.

Credentials of a bucket are what the machine has (AWS profile, managed identity), or dlt's settings, such as
SOURCES__FILESYSTEM__CREDENTIALS__AWS_ACCESS_KEY_ID, …__AWS_SECRET_ACCESS_KEY, …__ENDPOINT_URL, …__AZURE_STORAGE_ACCOUNT_NAME:
https://dlthub.com/docs/dlt-ecosystem/verified-sources/filesystem/basic
"""

import codecs
import json
import os
import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from urllib.parse import urlsplit

from ingestion.settings import IngestionError, number_setting
from ingestion.source import CONTRACTS, TableContract, unknown_names

#: Kinds of URL that dlt's filesystem source lists with the time of each file's last change. `memory` is fsspec's, for tests.
SCHEMES = ("file", "s3", "abfss", "gs", "memory")
DELIMITERS = (",", ";", "\t", "|")
FORMATS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".parquet": "parquet",
}
_HIDDEN = (".", "_", "~$")
_TEMPORARY = ("~", ".tmp", ".part", ".partial", ".filepart", ".crdownload", ".swp", "._copying_")


@dataclass(frozen=True)
class TableFiles:
    """One table's files.

    Attributes: contract; patterns: globs in lower case, () where the table is not loaded; column_names: name of bronze -> name
    in the files, where they differ.
    """

    contract: TableContract
    patterns: tuple[str, ...]
    column_names: dict[str, str]

    def matches(self, path: str) -> bool:
        """Tell whether a path below FILES_URL, or the file's name alone, is one of these files."""
        path = path.lower()
        return any(fnmatchcase(text, pattern) for text in (path.rpartition("/")[2], path) for pattern in self.patterns)


@dataclass(frozen=True)
class FilesSettings:
    """Where files are and how they are read.

    Attributes: url: folder or bucket; tables: by name of the table; delimiter, encoding: None where they are detected; decimal:
    "." or ","; settle_seconds; rejected_bytes: of a file that cannot be read, how many are kept.
    """

    url: str
    tables: dict[str, TableFiles]
    delimiter: str | None
    encoding: str | None
    decimal: str
    settle_seconds: float
    rejected_bytes: int

    @classmethod
    def from_environment(cls) -> "FilesSettings":
        """Read the variables; raises IngestionError naming the one that is missing or cannot be."""
        tables = {contract.name: _table(contract) for contract in CONTRACTS}
        if not any(table.patterns for table in tables.values()):
            raise IngestionError("FILES_INVOICES and FILES_COUNTRIES are both empty: there is nothing to load")
        return cls(
            url=_url(),
            tables=tables,
            delimiter=_delimiter(),
            encoding=_encoding(),
            decimal=_decimal(),
            settle_seconds=float(number_setting("FILES_SETTLE_SECONDS", "60", r"\d{1,6}(\.\d+)?", "a number of seconds")),
            rejected_bytes=int(
                number_setting("FILES_REJECTED_BYTES", "16777216", r"\d{1,9}", "a number of bytes below a billion")
            ),
        )

    def reading(self, table: str) -> str:
        """Return what decides how a table's file is read, as JSON: with other settings, a rejected file is tried again."""
        names = self.tables[table].column_names
        used = {"delimiter": self.delimiter, "encoding": self.encoding, "decimal": self.decimal, "column_names": names}
        return json.dumps(used, sort_keys=True, ensure_ascii=False)


def file_format(path: str) -> str | None:
    """Return csv, json or parquet by a file's extension, that before .gz too; None where it is none of these."""
    return FORMATS.get(Path(path.lower().removesuffix(".gz")).suffix)


def is_ignored(path: str) -> bool:
    """Tell whether a path, relative to the folder, is hidden or temporary: that of a file which nobody means to deliver yet.

    Spark leaves out what begins with a dot or an underscore too: shouldFilterOutPathName of apache/spark,
    core/src/main/scala/org/apache/spark/util/HadoopFSUtils.scala.
    """
    parts = path.lower().split("/")
    # a folder such as _day=2026-02-01 is a partition of Hive's
    return any((part.startswith(_HIDDEN) and "=" not in part) or part.endswith(_TEMPORARY) for part in parts)


def _url() -> str:
    url = os.environ.get("FILES_URL", "").strip()
    if not url:
        raise IngestionError("FILES_URL is not set to a folder or bucket, such as /data/drop or s3://bucket/drop")
    scheme = urlsplit(url).scheme if "://" in url else ""
    if scheme and scheme not in SCHEMES:
        kinds = ", ".join(f"{name}://" for name in SCHEMES[:-1])
        raise IngestionError(f"FILES_URL must be a path or begin with one of {kinds}, not {scheme}://")
    if scheme in ("", "file"):
        from dlt.common.storages.configuration import FilesystemConfiguration

        folder = Path(url if not scheme else FilesystemConfiguration.make_local_path(url)).expanduser().absolute()
        if not folder.is_dir():
            raise IngestionError(f"FILES_URL names no folder: {folder}")
        if re.search(r"[*?\[]", str(folder)):
            raise IngestionError(f"FILES_URL must be a folder without * ? or [ in its path, not {folder}")
        return folder.as_uri()
    return url.rstrip("/")


def _table(contract: TableContract) -> TableFiles:
    prefix = f"FILES_{contract.name.upper()}"
    text = os.environ.get(prefix, f"{contract.name}*")
    patterns = tuple(pattern.strip().lower() for pattern in text.split(",") if pattern.strip())
    try:
        names = json.loads(os.environ.get(f"{prefix}_COLUMN_NAMES") or "{}")
    except ValueError:
        names = None
    if not isinstance(names, dict) or unknown_names(names, contract.columns):
        raise IngestionError(
            f"{prefix}_COLUMN_NAMES must be a JSON object from columns of bronze ({', '.join(contract.columns)}) to columns of "
            f"the files, not {os.environ[f'{prefix}_COLUMN_NAMES']!r}"
        )
    return TableFiles(contract, patterns, names)


def _delimiter() -> str | None:
    text = os.environ.get("FILES_DELIMITER", "")
    text = {"tab": "\t", "\\t": "\t"}.get(text.lower(), text)
    if text and (len(text) != 1 or not text.isascii() or text in '"\r\n\0'):
        raise IngestionError(f"FILES_DELIMITER must be one ASCII character or tab, and no quote or line end, not {text!r}")
    return text or None


def _encoding() -> str | None:
    name = os.environ.get("FILES_ENCODING", "").strip()
    try:
        known = not name or codecs.lookup(name)._is_text_encoding
    except LookupError:
        known = False
    if not known:
        raise IngestionError(f"FILES_ENCODING must be an encoding such as utf-8, windows-1252 or utf-16-le, not {name!r}")
    return name or None


def _decimal() -> str:
    text = os.environ.get("FILES_DECIMAL", "").strip() or "."
    if text not in (".", ","):
        raise IngestionError(f'FILES_DECIMAL must be "." or ",", not {text!r}')
    return text
