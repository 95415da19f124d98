"""Files of the drop folder: which there are, and a local copy of one, unpacked and as UTF-8, that nobody writes to any more."""

import codecs
import gzip
import hashlib
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from dlt.common.configuration.exceptions import ConfigFieldMissingException
from dlt.common.exceptions import MissingDependencyException
from dlt.common.storages.fsspec_filesystem import FileItemDict
from dlt.sources.filesystem import filesystem
from fsspec.implementations.local import LocalFileSystem

from ingestion.files.settings import FilesSettings
from ingestion.settings import IngestionError, PassingError, first_line

CHUNK_BYTES = 1 << 20
# https://www.unicode.org/faq/utf_bom.html#bom4. One mark of UTF-32 begins with one of UTF-16, so the longer ones come first.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class Unreadable(Exception):
    """A file cannot be read as what it should be; the text is the reason, which rejected_files shows."""


class Unavailable(Exception):
    """A file is gone or still being written, or its place does not answer: the next run may have it."""


@dataclass(frozen=True)
class File:
    """A file as the folder lists it.

    Attributes: item: dlt's own, which opens it; path: below FILES_URL; url; size: in bytes; modified: when it changed last.
    """

    item: FileItemDict
    path: str
    url: str
    size: int
    modified: datetime


@dataclass(frozen=True)
class Copy:
    """A local copy of a file's bytes, as they lie there.

    Attributes: path; size: in bytes; hash: SHA-256 in hexadecimal.
    """

    path: Path
    size: int
    hash: str


class _Folder(LocalFileSystem):
    """A local folder in which files come and go: one that has just gone, or a link to nothing, does not end the listing."""

    protocol = ("file", "local")
    cachable = False

    def info(self, path, **options):
        try:
            return super().info(path, **options)
        except FileNotFoundError:
            return {"name": path, "type": "gone"}


def listed(settings: FilesSettings) -> list[File]:
    """Return all files below FILES_URL, in subfolders too, oldest change first.

    Raises: IngestionError when the place cannot be listed, naming the setting.
    """
    options = {"credentials": _Folder()} if settings.url.startswith("file:") else {}
    try:
        items = list(filesystem(bucket_url=settings.url, file_glob="**/*", **options))
    except ConfigFieldMissingException:
        # dlt's own text is many lines long
        raise IngestionError(
            f"there are no credentials for FILES_URL={settings.url}; dlt's SOURCES__FILESYSTEM__CREDENTIALS__… set them"
        ) from None
    except Exception as error:  # each of fsspec's file systems has its own
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        if isinstance(cause, (ImportError, MissingDependencyException)):
            raise IngestionError(
                f"FILES_URL={settings.url} needs a package that is not installed: {first_line(cause)}"
            ) from error
        raise PassingError(f"FILES_URL={settings.url} cannot be listed: {first_line(cause)}") from error
    files = [
        File(
            item,
            item["relative_path"],
            item["file_url"],
            item.get("size_in_bytes", -1),
            item["modification_date"].astimezone(UTC).replace(fold=0),
        )
        for item in items
    ]
    return sorted(files, key=lambda file: (file.modified, file.url))


def fetch(file: File, path: Path) -> Copy:
    """Copy a file's bytes to `path`.

    Raises: Unavailable when it is gone, cannot be opened, or changed since it was listed; a full local disk is an OSError.
    """
    digest, size = hashlib.sha256(), 0
    with path.open("wb") as copy:
        for chunk in _chunks(file):
            digest.update(chunk)
            copy.write(chunk)
            size += len(chunk)
    if file.size not in (-1, size):
        raise Unavailable(f"it changed while it was read, from {file.size:,} bytes to {size:,}")
    return Copy(path, size, digest.hexdigest())


def unpack(copy: Copy, is_gzip: bool, path: Path) -> Copy:
    """Return the copy without its gzip, at `path`; the copy itself where it has none. Raises Unreadable."""
    if not is_gzip:
        return copy
    digest, size = hashlib.sha256(), 0
    try:
        with gzip.open(copy.path) as packed, path.open("wb") as unpacked:
            while chunk := packed.read(CHUNK_BYTES):
                digest.update(chunk)
                unpacked.write(chunk)
                size += len(chunk)
    except EOFError:
        raise Unreadable("the file breaks off: its gzip has no end") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise Unreadable(f"the file is no whole gzip: {first_line(error)}") from None
    return Copy(path, size, digest.hexdigest())


def as_utf8(copy: Copy, encoding: str | None, path: Path) -> tuple[str, bool]:
    """Write a text as UTF-8 without byte order mark to `path`.

    Args: encoding: of a text without a mark; None means UTF-8, because a guess would silently change names.
    Returns: the encoding that was read, and whether the text's last line has its end.
    Raises: Unreadable naming the line of the first byte that is no text.
    """
    with copy.path.open("rb") as raw, path.open("wb") as text:
        head = raw.read(4)
        raw.seek(0)
        found = next((name for mark, name in _MARKS if head.startswith(mark)), encoding or "utf-8")
        decoder, lines, last = codecs.getincrementaldecoder(found)(), 0, "\n"
        while True:
            chunk = raw.read(CHUNK_BYTES)
            try:
                part = decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                read = error.object[: error.start].decode(found, errors="ignore")
                raise Unreadable(
                    f"line {lines + read.count(chr(10)) + 1} is not {found.removesuffix('-sig')}: byte "
                    f"0x{error.object[error.start]:02x}; FILES_ENCODING names the encoding, such as windows-1252"
                ) from None
            if "\0" in part:
                line = lines + part[: part.index("\0")].count("\n") + 1
                raise Unreadable(
                    f"line {line} has a zero byte: this is no text, or FILES_ENCODING has to name its encoding, as utf-16-le"
                )
            lines += part.count("\n")
            last = part[-1:] or last
            text.write(part.encode())
            if not chunk:
                return found.removesuffix("-sig"), last in "\r\n"


def _chunks(file: File) -> Iterator[bytes]:
    try:
        with file.item.open(mode="rb", compression="disable") as source:
            while True:
                chunk = source.read(CHUNK_BYTES)
                if not chunk:
                    return
                yield chunk
    except FileNotFoundError:
        raise Unavailable("it is gone") from None
    except Exception as error:  # each of fsspec's file systems has its own
        raise Unavailable(f"it cannot be opened: {first_line(error)}") from error
