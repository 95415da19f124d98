"""dbt's packages on networks that may block the package hub: `python -m local_databricks.packages [--retry]`.

A ladder; the first rung that holds fills dbt_packages/:

1. dbt_packages/ already holds what package-lock.yml says (a marker file carries the lock's hash);
2. the cache, ~/.cache/invoices-countries/dbt_packages/<hash of the lock> (XDG_CACHE_HOME is respected);
3. the hub, by `dbt deps` (DBT_PACKAGE_HUB_URL is respected), which fills the cache;
4. stand-ins kept in this repository: they implement what the project uses of dbt_utils and dbt_expectations, and switch
   Elementary off. One notice says so. The hub is asked again after an hour, or at once with --retry.

dbt itself would try an unreachable hub for minutes; here it is known within three seconds. A folder is always put in
place whole, by a rename, so that a killed run leaves the old packages or the new ones. Runs that want to fill it at once do
so one after the other, and a folder that holds the right stand-ins stays as it is: another run's dbt may be reading it.
"""

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import requests
import yaml

from local_databricks.settings import ROOT, LocalDatabricksError, cache_home

DEFAULT_HUB = "https://hub.getdbt.com/"
STAND_INS = Path(__file__).parent / "package_stand_ins"
MARKER = ".resolved.json"
PROBE_SECONDS = 3.0
RETRY_SECONDS = 3600.0
DEPS_SECONDS = 120.0


@dataclass(frozen=True)
class Resolved:
    """What dbt_packages/ holds.

    source: "packages" or "stand-ins"; identity: the hash of the lock or of the stand-ins; hub, tried_at: which hub was
    last asked in vain, and when, in seconds since 1970.
    """

    source: str
    identity: str
    hub: str = ""
    tried_at: float = 0.0

    @classmethod
    def read(cls, folder: Path) -> "Resolved | None":
        """The marker in dbt_packages/, or None where there is none: then somebody else filled the folder, or nobody."""
        try:
            return cls(**json.loads((folder / MARKER).read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, folder: Path) -> None:
        draft = folder / f"{MARKER}.{os.getpid()}"
        draft.write_text(json.dumps(self.__dict__))
        draft.replace(folder / MARKER)  # whole at any time, for who reads it now


def resolve(root: Path = ROOT, retry: bool = False) -> bool:
    """Fill dbt_packages/ below `root` by the ladder, and print one line where anything was done.

    retry: ask the hub even if it could not be reached less than an hour ago. Returns True where the real packages are
    there, so that Elementary works, and False for the stand-ins. Raises LocalDatabricksError where the lock is missing
    or does not match packages.yml, or where the folder cannot be written.
    """
    lock, target = root / "package-lock.yml", root / "dbt_packages"
    try:
        locked = _hash(lock.read_bytes())
    except OSError:
        raise LocalDatabricksError(f"{lock.name} is missing: run `dbt deps` once and commit it.") from None
    found = Resolved.read(target)
    if found and found.source == "packages" and found.identity == locked:
        return True
    hub = (os.environ.get("DBT_PACKAGE_HUB_URL") or DEFAULT_HUB).rstrip("/") + "/"
    try:
        with _alone(root):
            return _fill(root, target, locked, hub, retry)
    except OSError as error:
        raise LocalDatabricksError(f"dbt_packages could not be written: {error}.") from error


@contextlib.contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Wait until no other process fills the folder below this root; the system frees the lock when a process dies."""
    locks = cache_home() / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    with (locks / f"dbt_packages-{_hash(os.fsencode(root.resolve()))}").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _fill(root: Path, target: Path, locked: str, hub: str, retry: bool) -> bool:
    """The ladder, for one process at a time; returns what `resolve` returns."""
    found = Resolved.read(target)  # anew: another process may just have filled it
    if found and found.source == "packages" and found.identity == locked:
        return True
    cached = cache_home() / "dbt_packages" / locked
    if not cached.is_dir():
        stand_ins = Resolved("stand-ins", _hash_of_folder(STAND_INS), hub, time.time())
        has_stand_ins = found and (found.source, found.identity) == ("stand-ins", stand_ins.identity)
        if has_stand_ins and found.hub == hub and not retry and time.time() - found.tried_at < RETRY_SECONDS:
            return False
        problem = "" if _is_reachable(hub) else "cannot be reached"
        if not problem:
            print(f"dbt packages: downloading from {hub}", flush=True)
            problem = _download(root, hub, cached)
        if problem:
            if has_stand_ins:
                stand_ins.write(target)
            else:
                _put_in_place(STAND_INS, target, stand_ins)
            print(
                f"dbt packages: {hub} {problem}, so this repository's stand-ins take their place: everything is"
                " built and tested, but Elementary (run history, anomaly tests, its report) is off. The hub is"
                " asked again in an hour, or now by `python -m local_databricks.packages --retry`.",
                flush=True,
            )
            return False
    _put_in_place(cached, target, Resolved("packages", locked))
    print("dbt packages: installed as package-lock.yml says", flush=True)
    return True


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _hash_of_folder(folder: Path) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return _hash(b"".join(str(path.relative_to(folder)).encode() + path.read_bytes() for path in files))


def _is_reachable(hub: str) -> bool:
    """Whether the hub answers within PROBE_SECONDS, name resolution included (which has no time-out of its own)."""
    answered = threading.Event()

    def ask() -> None:
        try:
            with requests.get(f"{hub}api/v1/index.json", timeout=PROBE_SECONDS, stream=True) as response:
                if response.ok:
                    answered.set()
        except requests.RequestException:
            pass

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(PROBE_SECONDS)
    return answered.is_set()


def _download(root: Path, hub: str, cached: Path) -> str:
    """Run `dbt deps` in a project of its own and keep the result as `cached`; returns what went wrong, or ""."""
    cached.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cached.parent, prefix=".new-") as temporary:
        project = Path(temporary)
        for name in ("packages.yml", "package-lock.yml"):
            shutil.copy(root / name, project / name)
        (project / "dbt_project.yml").write_text("name: packages\nversion: 1.0.0\nprofile: none\n")
        (project / "profiles.yml").write_text("none: {target: none, outputs: {none: {type: databricks}}}\n")
        environment = {key: value for key, value in os.environ.items() if not key.startswith("DBT_")}
        environment |= {"DBT_PACKAGE_HUB_URL": hub, "DBT_SEND_ANONYMOUS_USAGE_STATS": "false"}
        command = [sys.executable, "-m", "dbt.cli.main", "--no-use-colors", "deps", "--profiles-dir", temporary]
        try:
            done = subprocess.run(
                command, cwd=project, env=environment, capture_output=True, text=True, timeout=DEPS_SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            return f"did not deliver within {DEPS_SECONDS:.0f} seconds"
        if done.returncode != 0:
            reason = next((line for line in reversed(done.stdout.splitlines()) if line.strip()), "no output")
            return f"did not deliver ({reason.strip()[:200]})"
        # dbt resolves anew, and rewrites its lock, where packages.yml has changed since
        if _locked_packages(project) != _locked_packages(root):
            raise LocalDatabricksError("package-lock.yml does not match packages.yml: run `dbt deps` and commit it.")
        try:
            (project / "dbt_packages").rename(cached)
        except OSError:
            if not cached.is_dir():  # else another run was quicker, with the same packages
                raise
    return ""


def _locked_packages(root: Path) -> list:
    return yaml.safe_load((root / "package-lock.yml").read_text())["packages"]


def _put_in_place(source: Path, target: Path, resolved: Resolved) -> None:
    """Replace `target` by a copy of `source` with its marker."""
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".dbt_packages-") as temporary:
        new, old = Path(temporary) / "new", Path(temporary) / "old"
        shutil.copytree(source, new)
        resolved.write(new)
        if target.exists():
            target.rename(old)
        new.rename(target)


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code. What is wrong is told in one sentence on standard error."""
    parser = argparse.ArgumentParser("python -m local_databricks.packages", description="Fill dbt_packages/.")
    parser.add_argument("--retry", action="store_true", help="ask the hub even if it could not be reached just now")
    try:
        resolve(retry=parser.parse_args(arguments).retry)
    except LocalDatabricksError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
