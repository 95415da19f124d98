"""What Elementary adds to a warm build, and what its watch takes: `python -m benchmarks.elementary_share [--invoices 200000]`.

One lakehouse on each engine, and two copies of the project that build it in turns, one with Elementary's dbt package and one
with its stand-in. The build is what `make run` builds; the watch is a day's first and a second one. Needs the packages (the
hub, or the cache). Prints a table in Markdown.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from local_databricks.packages import STAND_INS, Resolved, resolve
from tests.conftest import ROOT, clients, free_port, python
from tests.fixtures_dbt import copy_of_the_project

ROUNDS = 3


def timed(*command: str, cwd: Path, env: dict[str, str]) -> float:
    """Run a command, which has to succeed; returns its seconds."""
    began = time.monotonic()
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    return time.monotonic() - began


def measure(engine: str, invoices: int, folder: Path) -> None:
    """Print an engine's line of the table. folder: holds the two copies of the project."""
    base = {"LAKEHOUSE_HOME": str(folder / "lakehouse"), "LOCAL_DATABRICKS_PORT": str(free_port()), "ENGINE": engine}
    try:
        assert python("-m", "ingestion.demo_source", "up", "--invoices", str(invoices), env=base, timeout=900).returncode == 0
        assert python("-m", "ingestion.run", env=base, timeout=900).returncode == 0
        environment = {**os.environ, **clients(base)}
        dbt = str(Path(sys.executable).parent / "dbt")
        seconds: dict[str, list[float]] = {"with": [], "without": []}
        for round_ in range(ROUNDS + 1):  # the first is not counted: it parses
            for name in seconds:
                paths = {"DBT_TARGET_PATH": str(folder / name / "target"), "DBT_LOG_PATH": str(folder / name / "logs")}
                build = (dbt, "build", "--selector", "pipeline", "--exclude-resource-type", "seed", "--profiles-dir", str(ROOT))
                taken = timed(*build, cwd=folder / name, env=environment | paths)
                print(f"  {engine} {name} Elementary: {taken:.1f} s", file=sys.stderr, flush=True)
                if round_:
                    seconds[name].append(taken)
        watched = [timed(sys.executable, "-m", "observability", "watch", cwd=ROOT, env=environment) for _ in range(2)]
        with_, without = (statistics.median(seconds[name]) for name in ("with", "without"))
        share = (with_ - without) / with_
        print(
            f"| {engine} | {without:.1f} s | {with_:.1f} s | {share:.0%} | {watched[0]:.0f} s | {watched[1]:.0f} s |",
            flush=True,
        )
    finally:
        python("-m", "local_databricks", "down", env=base)
        python("-m", "ingestion.demo_source", "down", env=base)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.elementary_share", description=__doc__.partition(":")[0])
    parser.add_argument("--invoices", type=int, default=200_000)
    options = parser.parse_args()
    assert resolve(ROOT), "the package hub cannot be reached: there is nothing to measure"
    print(
        "| Engine | warm build without | with | Elementary's share | watch, first | watch, again |\n|---|---|---|---|---|---|"
    )
    for engine in ("spark", "sail"):
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            for name in ("with", "without"):
                (folder / name).mkdir()
                copy_of_the_project(folder / name)
                packages = folder / name / "dbt_packages"
                shutil.copytree(ROOT / "dbt_packages", packages)
                if name == "without":
                    shutil.rmtree(packages / "elementary")
                    shutil.copytree(STAND_INS / "elementary", packages / "elementary")
                    Resolved("stand-ins", "").write(packages)
            measure(engine, options.invoices, folder)


if __name__ == "__main__":
    main()
