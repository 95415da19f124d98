"""What all of ingestion needs, quick to import: where state lives, the one exception that every user-facing fault is raised as,
files written whole, one run at a time, and environment variables."""

import contextlib
import fcntl
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from local_databricks.settings import ROOT as REPOSITORY
from local_databricks.settings import lakehouse_home

__all__ = [
    "REPOSITORY", "IngestionError", "PassingError", "first_line", "in_environment", "lakehouse_home", "number_setting",
    "run_lock", "write_whole",
]  # fmt: skip


class IngestionError(Exception):
    """A fault that a user can act upon; its text is one sentence naming the setting or the cause."""


class PassingError(IngestionError):
    """A fault that may be gone at the next try, such as a database that does not answer: Airflow retries it."""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text that says something, without a trailing full stop."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__).rstrip(".")


def write_whole(path: Path, content: str | bytes) -> Path:
    """Write a file so that readers see the old content or the new one; returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}")
    draft.write_bytes(content.encode() if isinstance(content, str) else content)
    return draft.replace(path)


@contextlib.contextmanager
def run_lock(path: Path, what: str = "load") -> Iterator[None]:
    """Hold the lock file at `path`; the system frees it when the process dies.

    Raises: IngestionError saying who holds it; `what` is running there, in the sentence's words.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise PassingError(f"another {what} is running: {file.read().strip() or 'it is just starting'}") from None
        file.truncate(0)
        file.write(f"process {os.getpid()}, started at {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC\n")
        file.flush()
        yield


def number_setting(name: str, default: str, pattern: str, wish: str) -> str:
    """Return the text of an environment variable, or its default; raises IngestionError where it is not all as the pattern.

    wish: what it must be, in the sentence's words.
    """
    text = (os.environ.get(name) or default).strip()
    if not re.fullmatch(pattern, text):
        raise IngestionError(f"{name} must be {wish}, not {text!r}")
    return text


@contextlib.contextmanager
def in_environment(variables: dict[str, str]) -> Iterator[None]:
    """Have these environment variables within the block; afterwards they are as they were."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)
