"""Where state lives, and the one exception that every user-facing fault of ingestion is raised as."""

import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent


class IngestionError(Exception):
    """A fault that a user can act upon; its text is one sentence naming the setting or the cause."""


def lakehouse_home() -> Path:
    """Return the absolute folder that holds all state and data: LAKEHOUSE_HOME, or `.lakehouse` in the repository."""
    return Path(os.environ.get("LAKEHOUSE_HOME") or REPOSITORY / ".lakehouse").expanduser().resolve()


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text that says something, without a trailing full stop."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__).rstrip(".")
