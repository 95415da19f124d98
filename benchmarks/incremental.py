"""Does the cost of silver.invoices follow the batch? Small and large changes against a full refresh, merged in several ways.

    python -m benchmarks.incremental [--invoices 1000000] [--shares 0.001 0.01 0.1] [--ways 'by month' …]

On Spark, each way of merging over bronze tables of its own, all in one run. Half of a change is new invoices, half updates: of
the last three months of five years, or scattered over all of them. Prints a Markdown table: the seconds of the model in dbt's
results, their share of the full refresh of the same way, and how long Delta's MERGE took to find the files with keys of the
batch and to write them anew.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.engines import call
from tests.conftest import ROOT, clients
from tests.fixtures_dbt import copy_of_the_project

MODEL = Path("models/silver/silver_invoices.sql")
STRATEGY, PARTITION = '"merge"', 'partition_by="invoice_month"'
#: The months that the batch's invoices have and had, as literals; one more query of the table finds those that they had.
IN_MONTHS = """
{% macro get_incremental_merge_in_months_sql(arg_dict) -%}
    {%- set query -%}
        select invoice_month from {{ arg_dict["temp_relation"] }}
        union
        select kept.invoice_month from {{ arg_dict["target_relation"] }} as kept
        left semi join {{ arg_dict["temp_relation"] }} as batch on kept.invoice_id = batch.invoice_id
    {%- endset -%}
    {%- set months = [] -%}
    {%- for month in run_query(query).columns[0].values() -%}
        {%- do months.append("DBT_INTERNAL_DEST.invoice_month <=> " ~ ("null" if month is none else "date'" ~ month ~ "'")) -%}
    {%- endfor -%}
    {%- do arg_dict.update(incremental_predicates=["(" ~ (months | join(" or ") or "false") ~ ")"]) -%}
    {{- return(get_incremental_merge_sql(arg_dict)) -}}
{%- endmacro %}
"""
#: What each way replaces in the model.
WAYS = {
    "by month": {},
    "by month, and told the months": {STRATEGY: '"merge_in_months"'},
    "no partitions": {PARTITION + ",": ""},
    "clustered by key": {PARTITION: 'liquid_clustered_by="invoice_id"'},
    "by month, deletion vectors": {PARTITION: PARTITION + ', tblproperties={"delta.enableDeletionVectors": "true"}'},
}
BRONZE = """
select {id} as invoice_id, concat('INV-', {id}) as invoice_number, concat('C', {id} % 5000) as customer_id, 'DE' as country,
    {day} as invoice_date, date_add({day}, 30) as due_date, 'EUR' as currency_code, cast({id} % 977 + {load} as decimal(18,2))
    as net_amount, cast(0 as decimal(18,2)) as tax_amount, cast({id} % 977 + {load} as decimal(18,2)) as total_amount,
    'paid' as status, cast({day} as timestamp) as created_at, timestamp_seconds({time}) as updated_at,
    cast(null as string) as _rescued_data, cast(null as boolean) as _is_deleted, '{time}.0' as _dlt_load_id,
    concat('{load}-', {id}) as _dlt_id
from range({rows})
"""
DAYS, BEGIN = 1826, 1767225600  # five years that end on 2026-01-01; a load a minute from then on
MODELS = ("+silver_row_accounting", "--exclude", "resource_type:seed")


def project(folder: Path, edits: dict[str, str]) -> Path:
    """A copy of the project whose model merges in another way."""
    shutil.copytree(ROOT / "dbt_packages", copy_of_the_project(folder) / "dbt_packages")
    (folder / "macros" / "get_incremental_merge_in_months_sql.sql").write_text(IN_MONTHS)
    text = (folder / MODEL).read_text()
    for old, new in edits.items():
        if text.count(old) != 1:
            sys.exit(f"{MODEL} has no longer {old} in it: mend WAYS.")
        text = text.replace(old, new)
    (folder / MODEL).write_text(text)
    return folder


def changes(invoices: int, share: float, is_scattered: bool, number: int) -> str:
    """The rows of one change as SQL: as many new invoices as updates."""
    half = max(1, round(invoices * share / 2))
    among = invoices if is_scattered else invoices * 92 // DAYS
    new = f"{invoices * (10 + number)} + id"  # no two changes make the same
    old = f"{invoices - among} + (id * {among // half or 1} + {number}) % {among}"
    day = "date_add(date'2021-01-01', cast({} as int))"
    values = {"load": number, "time": BEGIN + 60 * number, "rows": half}
    fresh = BRONZE.format(id=f"({new})", day=day.format(f"{DAYS} - id % 30"), **values)
    return f"{fresh} union all {BRONZE.format(id=f'({old})', day=day.format(f'({old}) * {DAYS} div {invoices}'), **values)}"


def measure(way: str, prefix: str, env: dict[str, str], invoices: int, shares: list[float]) -> list[tuple[str, float, str]]:
    """What changed, the model's seconds and what it did to files, for each change and at last the full refresh."""
    with tempfile.TemporaryDirectory(prefix="incremental") as folder:
        root = project(Path(folder), WAYS[way])
        env = env | {"DBT_TARGET_PATH": str(root / "target"), "DBT_LOG_PATH": str(root / "logs")}

        def query(statement: str) -> str:
            command = [sys.executable, "-m", "local_databricks", "sql", statement]
            done = subprocess.run(command, cwd=ROOT, env={**os.environ, **env}, capture_output=True, text=True)
            if done.returncode:
                sys.exit(f"{statement} failed:\n{done.stderr[-1000:]}")
            return done.stdout

        def dbt(*arguments: str) -> float:
            variables = json.dumps({"schema_prefix": prefix})
            paths = ["--project-dir", folder, "--profiles-dir", folder, "--vars", variables]
            call(str(Path(sys.executable).parent / "dbt"), *arguments, *paths, env=env)
            results = json.loads((root / "target" / "run_results.json").read_text())["results"]
            return sum(r["execution_time"] for r in results if r["unique_id"].endswith(".silver_invoices"))

        query(f"create schema {prefix}bronze")
        values = {"id": "id", "load": 0, "time": BEGIN, "rows": invoices}
        first = BRONZE.format(day=f"date_add(date'2021-01-01', cast(id * {DAYS} div {invoices} as int))", **values)
        query(f"create table {prefix}bronze.invoices using delta as {first}")
        query(
            f"create table {prefix}bronze.countries using delta as select 'DE' as country_code, 'Germany' as country_name,"
            " cast(null as string) as region, cast(null as string) as sub_region, 'EUR' as currency_code, timestamp'2021-01-01'"
            " as updated_at, cast(null as string) as _rescued_data, cast(null as boolean) as _is_deleted,"
            f" '{BEGIN}.0' as _dlt_load_id, 'c1' as _dlt_id"
        )
        dbt("seed", "--select", "iso_currencies", "iso_countries")
        dbt("run", "--select", *MODELS)
        found = []
        for number, (share, is_scattered) in enumerate(((s, x) for s in shares for x in (False, True)), start=1):
            query(f"insert into {prefix}bronze.invoices {changes(invoices, share, is_scattered, number)}")
            seconds = dbt("run", "--select", *MODELS)
            history = query(f"describe history {prefix}silver.invoices").splitlines()
            metrics = next(line for line in history if "\tMERGE\t" in line)
            names = ("scanTimeMs", "rewriteTimeMs", "numTargetFilesRemoved")
            scan, rewrite, files = (int(re.search(rf"{name}\W+(\d+)", metrics)[1]) for name in names)
            what = f"{share:.1%}, {'scattered' if is_scattered else 'recent'}"
            found.append((what, seconds, f"finds in {scan / 1000:.1f} s, rewrites {files} files in {rewrite / 1000:.1f} s"))
        rows = int(query(f"select count(*) as n from {prefix}silver.invoices").split()[-1])
        new = sum(2 * max(1, round(invoices * share / 2)) for share in shares)
        if rows != invoices + new:
            sys.exit(f"{way}: silver has {rows:,} invoices instead of {invoices + new:,}.")
        return [*found, ("full refresh", dbt("run", "--full-refresh", "--select", *MODELS), "")]


def main() -> None:
    """Measure every way and print the table."""
    parser = argparse.ArgumentParser(description="Incremental runs against a full refresh.")
    parser.add_argument("--invoices", type=int, default=1_000_000)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), metavar="WAY", help=", ".join(WAYS))
    parser.add_argument("--shares", type=float, nargs="+", default=[0.001, 0.01, 0.1])
    options = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="incremental"))
    env = {"LAKEHOUSE_HOME": str(home), "ENGINE": "spark", "NO_COLOR": "1"}
    python = [sys.executable, "-m"]
    found: dict[str, list[tuple[str, float, str]]] = {}
    try:
        call(*python, "local_databricks.packages", env=env)
        call(*python, "local_databricks", "up", env=env)
        env = clients(env)
        for number, way in enumerate(options.ways):
            found[way] = measure(way, f"way{number}_", env, options.invoices, options.shares)
            print(f"{way}: {found[way]}", file=sys.stderr, flush=True)
    finally:
        subprocess.run([*python, "local_databricks", "down"], cwd=ROOT, env={**os.environ, **env}, capture_output=True)
        shutil.rmtree(home, ignore_errors=True)
    print("| | " + " | ".join(found) + " |\n|---" + "|---" * len(found) + "|")
    for cells in zip(*found.values(), strict=True):
        texts = []
        for way, (_, seconds, files) in zip(found, cells, strict=True):
            share = seconds / found[way][-1][1]
            texts.append(f"{seconds:.1f} s" + (f" ({share:.2f}); {files}" if files else ""))
        print(f"| {cells[0][0]} | " + " | ".join(texts) + " |")


if __name__ == "__main__":
    main()
