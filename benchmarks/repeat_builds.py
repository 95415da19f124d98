"""Full builds from an empty state, one after the other, with many threads: is the endpoint right under concurrency?

    python -m benchmarks.repeat_builds [--times 10] [--threads 8] [--invoices 5000] [--warm]

Each round starts a new lakehouse (empty catalog, fresh Spark), loads the demo source and builds everything, packages
included; with --warm it then builds it all once more, unit tests too. Prints the seconds and errors of each; exit code 1 if
there was any error.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.conftest import ROOT, clients


def call(command: list[str], environment: dict[str, str], log: Path) -> tuple[int, float]:
    """Run a command with its output appended to `log`; returns its exit code and seconds."""
    began = time.monotonic()
    with log.open("a") as output:
        code = subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, stdout=output, stderr=output).returncode
    return code, time.monotonic() - began


def main() -> int:
    """Run the rounds; returns the exit code."""
    parser = argparse.ArgumentParser(description="Full builds from an empty state, in a row.")
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--invoices", type=int, default=5000)
    parser.add_argument("--warm", action="store_true")
    options = parser.parse_args()
    failures = 0
    for number in range(1, options.times + 1):
        home = Path(tempfile.mkdtemp(prefix="builds"))
        log = home / "output.txt"
        env = {"LAKEHOUSE_HOME": str(home), "DBT_THREADS": str(options.threads), "NO_COLOR": "1"}
        python = [sys.executable, "-m"]
        try:
            call([*python, "ingestion.demo_source", "up", "--invoices", str(options.invoices)], env, log)
            first = call([*python, "ingestion.run"], env, log)
            env = clients(env)
            warm = call([str(Path(sys.executable).parent / "dbt"), "build"], env, log) if options.warm else (0, 0.0)
            text = log.read_text()
            counts = re.findall(r"Done\. PASS=(\d+) WARN=(\d+) ERROR=(\d+) SKIP=(\d+)", text)
            bad = first[0] or warm[0] or any(int(c[2]) for c in counts)
            failures += bool(bad)
            print(
                f"round {number}: first run {first[1]:.0f} s"
                f"{f', warm build of everything {warm[1]:.0f} s' if options.warm else ''};"
                f" pass/warn/error/skip {', '.join('/'.join(c) for c in counts)}{'  FAILED' if bad else ''}",
                flush=True,
            )
            if bad:
                kept = Path(tempfile.gettempdir()) / f"failed-build-{number}"
                shutil.copytree(home / "local_databricks", kept, dirs_exist_ok=True)
                shutil.copy(log, kept)
                print(f"  logs kept in {kept}")
        finally:
            call([*python, "local_databricks", "down"], env, log)
            call([*python, "ingestion.demo_source", "down"], env, log)
            shutil.rmtree(home, ignore_errors=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
