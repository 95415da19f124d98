"""The Python environments of PyAirbyte and of its connector: made once, outside of the project's own.

Two, because PyAirbyte 0.71.3 and source-file 0.5.39 demand versions of pandas and pyarrow that exclude each other; Airbyte's
own way is an environment a connector too. The two lock files beside this module pin every package. To renew one:

    echo 'airbyte==…' | uv pip compile --universal --python-version 3.11 --no-annotate --no-header - -o pyairbyte.lock
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ingestion.settings import IngestionError, PassingError
from local_databricks.settings import cache_home

#: The only one that both run on: source-file's pinned packages have no wheels for a newer one.
PYTHON = "3.11"
_LOCKS = {"pyairbyte": "pyairbyte.lock", "connector": "source_file.lock"}


@dataclass(frozen=True)
class Environment:
    """The Python that has PyAirbyte, and the connector's program."""

    python: Path
    connector: Path


def environment(say: Callable[[str], None] = lambda line: None) -> Environment:
    """Return the environments, made first where they are missing or half made; a second process waits for the first.

    They are in the user's cache folder, for all clones, under a name that changes with the lock files. Raises IngestionError
    where there is no Python 3.11 or no uv, and PassingError where the packages cannot be installed.
    """
    folder = _folder()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            say(f"installing PyAirbyte and the connector into {folder} (1.2 GB, once)")
            for name, file in _locks().items():
                _uv("venv", "--quiet", "--clear", "--python", PYTHON, str(folder / name))
                python = str(folder / name / "bin" / "python")
                _uv("pip", "sync", "--quiet", "--compile-bytecode", "--python", python, str(file))
            (folder / "complete").touch()
    return Environment(folder / "pyairbyte" / "bin" / "python", folder / "connector" / "bin" / "source-file")


def is_made() -> bool:
    """Tell whether the environments are there already."""
    return (_folder() / "complete").exists()


def _locks() -> dict[str, Path]:
    return {name: Path(__file__).with_name(lock) for name, lock in _LOCKS.items()}


def _folder() -> Path:
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in _locks().values())).hexdigest()[:12]
    return cache_home() / "airbyte" / digest


def _uv(*arguments: str) -> None:
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.exists() else shutil.which("uv")
    if not uv:
        raise IngestionError("the program uv, which makes Airbyte's environments, is neither in .venv/bin nor on PATH")
    variables = {"UV_CACHE_DIR": str(cache_home() / "uv"), "UV_PYTHON_DOWNLOADS": "never", "DO_NOT_TRACK": "1"}
    done = subprocess.run([uv, *arguments], env={**os.environ, **variables}, capture_output=True, text=True)
    if done.returncode == 0:
        return
    # uv tells an error and then its causes, a line each
    lines = [re.sub(r"^(error|cause|Caused by): ?", "", line.strip()) for line in done.stderr.splitlines() if line.strip()]
    why = ": ".join(dict.fromkeys(lines[:1] + lines[-1:])) or "it gave no reason"
    if arguments[0] == "venv":
        raise IngestionError(f"Airbyte's connector needs Python {PYTHON} on this machine, beside the project's own: {why}")
    raise PassingError(f"the packages of Airbyte cannot be installed from the Python package index: {why}")
