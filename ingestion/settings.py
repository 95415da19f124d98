"""Where state lives, the one exception that every user-facing fault of ingestion is raised as, and variables for a block."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from local_databricks.settings import ROOT as REPOSITORY
from local_databricks.settings import lakehouse_home

__all__ = ["REPOSITORY", "IngestionError", "PassingError", "first_line", "in_environment", "lakehouse_home", "write_whole"]


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
def in_environment(variables: dict[str, str]) -> Iterator[None]:
    """Have these environment variables within the block; afterwards they are as they were."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)
