"""The two engines side by side: a build from empty, warm builds, and an edited model with its children.

    python -m benchmarks.engines [--invoices 5000] [--rounds 1]

Prints the seconds of each as a Markdown table, with Sail's share of Spark's. Exit code 1 where anything fails.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.conftest import ROOT, clients

EDITED = ROOT / "models" / "gold" / "fct_invoices.sql"
STEPS = {
    "everything, from empty": ["build"],
    "everything, warm": ["build"],
    "what `make run` builds, warm": ["build", "--selector", "pipeline", "--exclude-resource-type", "seed"],
    "an edited model and its children": ["build", "--select", f"{EDITED.stem}+"],
}


def call(*command: str, env: dict[str, str]) -> float:
    """Run a command; returns its seconds. Ends the program with its output where it fails."""
    began = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **env}, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout[-3000:]}{done.stderr[-1000:]}")
    return time.monotonic() - began


def measure(engine: str, invoices: int) -> list[float]:
    """The seconds of each of STEPS on an engine, over a lakehouse of its own that is loaded already."""
    home = Path(tempfile.mkdtemp(prefix="engines"))
    env = {"LAKEHOUSE_HOME": str(home), "ENGINE": engine, "NO_COLOR": "1"}
    before = EDITED.read_text()
    python = [sys.executable, "-m"]
    try:
        call(*python, "ingestion.demo_source", "up", "--invoices", str(invoices), env=env)
        call(*python, "local_databricks", "up", env=env)
        env = clients(env)
        url = subprocess.run(
            [*python, "ingestion.demo_source", "url"], cwd=ROOT, env={**os.environ, **env}, capture_output=True, text=True
        ).stdout.strip()
        call(*python, "ingestion.load", env=env | {"SOURCES__SQL_DATABASE__CREDENTIALS": url})
        dbt = str(Path(sys.executable).parent / "dbt")
        seconds = [call(dbt, *step, env=env) for step in list(STEPS.values())[:-1]]
        EDITED.write_text(before + f"-- edited for {engine}\n")
        return [*seconds, call(dbt, *STEPS["an edited model and its children"], env=env)]
    finally:
        EDITED.write_text(before)
        subprocess.run([*python, "local_databricks", "down"], cwd=ROOT, env={**os.environ, **env}, capture_output=True)
        subprocess.run([*python, "ingestion.demo_source", "down"], cwd=ROOT, env={**os.environ, **env}, capture_output=True)
        shutil.rmtree(home, ignore_errors=True)


def main() -> None:
    """Measure both engines in turn and print the table; of several rounds the fastest of each step."""
    parser = argparse.ArgumentParser(description="The two engines side by side.")
    parser.add_argument("--invoices", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    best: dict[str, list[float]] = {}
    for _ in range(options.rounds):
        for engine in ("spark", "sail"):
            found = measure(engine, options.invoices)
            best[engine] = list(map(min, found, best.get(engine, found)))
            print(f"{engine}: " + ", ".join(f"{seconds:.1f} s" for seconds in found), file=sys.stderr, flush=True)
    print("| | Spark | Sail | Sail / Spark |\n|---|---|---|---|")
    for step, spark, sail in zip(STEPS, best["spark"], best["sail"], strict=True):
        print(f"| {step} | {spark:.1f} s | {sail:.1f} s | {sail / spark:.2f} |")


if __name__ == "__main__":
    main()
