"""What reads a Power BI project where there is no Power BI: Microsoft's libraries for TMDL and for M, and an evaluator of DAX.

They come from the Python and npm package indexes, into the cache and not into the environment, which has no use for them.
- pbi-cli-tool carries Microsoft.AnalysisServices.Tabular (TOM), with which Power BI Desktop reads and writes TMDL; pythonnet
  and clr-loader load it into the .NET runtime of dotnetcore2.
- pbix-mcp has an evaluator of DAX, which its authors hold against Power BI Desktop's answers. Of its 0.9.149: a comma in the
  brackets of a measure's name within a call is taken for the end of an argument.
- @microsoft/powerquery-parser is the parser of M in Microsoft's own editors.
"""

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from local_databricks.settings import cache_home
from serving.power_bi import Model

PACKAGES = ("clr-loader==0.3.1", "dotnetcore2==3.1.23", "pbi-cli-tool==3.12.0", "pbix-mcp==0.9.149", "pythonnet==3.2.1")
M_PARSER = "@microsoft/powerquery-parser@2.0.0"
#: What is wrong with each of the expressions on standard input, or null, as JSON.
M = """
const parser = require("@microsoft/powerquery-parser");
const expressions = JSON.parse(require("fs").readFileSync(0, "utf8"));
(async () => {
  const found = {};
  for (const [name, text] of Object.entries(expressions)) {
    const result = await parser.TaskUtils.tryLexParse(parser.DefaultSettings, text);
    found[name] = parser.TaskUtils.isParseStageOk(result) ? null : String(result.error?.message ?? result.resultKind);
  }
  console.log(JSON.stringify(found));
})();
"""
#: TOM's reading of a folder of TMDL, as JSON.
TOM = """
import json, sys, tempfile
from pathlib import Path
import dotnetcore2, pbi_cli
from clr_loader import get_coreclr
from pythonnet import set_runtime

framework = {"name": "Microsoft.NETCore.App", "version": "3.1.0"}
options = {"tfm": "netcoreapp3.1", "framework": framework, "configProperties": {"System.Globalization.Invariant": True}}
with tempfile.NamedTemporaryFile("w", suffix=".json") as config:
    json.dump({"runtimeOptions": options}, config)
    config.flush()
    set_runtime(get_coreclr(runtime_config=config.name, dotnet_root=Path(dotnetcore2.__file__).parent / "bin"))
import clr

sys.path.append(str(Path(pbi_cli.__file__).parent / "dlls"))
clr.AddReference("Microsoft.AnalysisServices.Tabular")
from Microsoft.AnalysisServices.Tabular import TmdlSerializer

try:
    model = TmdlSerializer.DeserializeDatabaseFromFolder(sys.argv[1]).Model
except Exception as error:
    sys.exit(str(error).splitlines()[0])
print(json.dumps({
    "errors": [error.Message for error in model.Validate().Errors],
    "tables": {table.Name: {
        "description": table.Description,
        "category": table.DataCategory,
        "columns": {column.Name: {
            "type": str(column.DataType), "source": column.SourceColumn, "hidden": column.IsHidden, "key": column.IsKey,
            "description": column.Description, "format": column.FormatString, "summarize": str(column.SummarizeBy),
            "sort": column.SortByColumn.Name if column.SortByColumn else None,
        } for column in table.Columns if str(column.Type) == "Data"},
        "measures": {measure.Name: {
            "dax": measure.Expression, "description": measure.Description, "format": measure.FormatString,
            "folder": measure.DisplayFolder,
        } for measure in table.Measures},
        "hierarchies": {hierarchy.Name: [level.Column.Name for level in hierarchy.Levels] for hierarchy in table.Hierarchies},
        "partitions": [[str(partition.Mode), partition.Source.Expression] for partition in table.Partitions],
        "refresh": None if table.RefreshPolicy is None else {
            "window": [str(table.RefreshPolicy.RollingWindowGranularity), table.RefreshPolicy.RollingWindowPeriods],
            "watched": [str(table.RefreshPolicy.IncrementalGranularity), table.RefreshPolicy.IncrementalPeriods],
            "source": table.RefreshPolicy.SourceExpression, "polling": table.RefreshPolicy.PollingExpression,
        },
    } for table in model.Tables},
    "relationships": [[
        each.FromTable.Name, each.FromColumn.Name, each.ToTable.Name, each.ToColumn.Name, each.IsActive,
        each.RelyOnReferentialIntegrity, str(each.CrossFilteringBehavior), str(each.FromCardinality), str(each.ToCardinality),
    ] for each in model.Relationships],
    "roles": {role.Name: [
        [table.Table.Name, column.Column.Name, str(column.MetadataPermission)]
        for table in role.TablePermissions for column in table.ColumnPermissions
    ] for role in model.Roles},
    "parameters": {expression.Name: expression.Expression for expression in model.Expressions},
    "annotations": {annotation.Name: annotation.Value for annotation in model.Annotations},
}))
"""


def _installed(name: str, packages: tuple[str, ...], install: Callable[[Path], list]) -> Path:
    """A folder of the cache with these packages, which the command `install` puts into a folder once."""
    caches = cache_home()
    folder = caches / f"{name}-{hashlib.sha256(' '.join(packages).encode()).hexdigest()[:12]}"
    if not folder.is_dir():
        caches.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(dir=caches))  # and then moved as a whole: another process may do the same
        done = subprocess.run([*install(made), *packages], capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, done.stdout + done.stderr
        try:
            made.rename(folder)
        except OSError:
            shutil.rmtree(made)
    return folder


@cache
def tools() -> Path:
    """The folder of the Python packages."""
    uv = shutil.which("uv") or Path(sys.executable).parent / "uv"
    options = ["--quiet", "--no-deps", "--python", sys.executable, "--target"]
    return _installed("power-bi-tools", PACKAGES, lambda folder: [uv, "pip", "install", *options, folder])


def faults_of_m(expressions: dict[str, str]) -> dict[str, str | None]:
    """What Microsoft's parser of M finds wrong with each expression, None where nothing; by the keys of `expressions`."""
    if not shutil.which("npm"):
        pytest.skip("there is no npm on this machine")
    options = ["--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"]
    folder = _installed("power-bi-m-parser", (M_PARSER,), lambda folder: ["npm", "install", *options, folder])
    done = subprocess.run(
        ["node", "-e", M], input=json.dumps(expressions), env={**os.environ, "NODE_PATH": str(folder / "node_modules")},
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def read_by_tom(folder: Path) -> dict[str, Any]:
    """What Microsoft's library finds in a folder of TMDL. Raises ValueError with its own message where it cannot read that."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        pytest.skip(f"there is no .NET runtime on the Python package index for {platform.machine()}")
    done = subprocess.run(
        [sys.executable, "-c", TOM, folder],
        env={**os.environ, "PYTHONPATH": str(tools())}, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    if done.returncode:
        raise ValueError(done.stderr.strip())
    return json.loads(done.stdout)


def in_power_bi(value: Any) -> Any:
    """A value of gold as the semantic model has it: Power BI has no date without a time."""
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, date) and not isinstance(value, datetime):
        return datetime(value.year, value.month, value.day)
    return value


class Dax:
    """The semantic model with rows, to evaluate measures in."""

    def __init__(self, model: Model, query: Callable[[str], list[tuple]], days: tuple[date, date]):
        """Load every table of the model by `query`, which runs SQL; of the calendar, these days only."""
        if str(tools()) not in sys.path:
            sys.path.append(str(tools()))
        from pbix_mcp.dax import engine

        self._engine = engine
        self.measures = {measure.name: measure.dax for measure in model.measures}
        self._tables = {}
        for table in model.tables:
            where = f" where {table.date} between date'{days[0]}' and date'{days[1]}'" if table.date else ""
            rows = query(f"select {', '.join(column.source for column in table.columns)} from gold.{table.source}{where}")
            columns = [column.name for column in table.columns]
            self._tables[table.name] = {"columns": columns, "rows": [[in_power_bi(value) for value in row] for row in rows]}
        self._model = {
            "relationships": [
                {
                    "FromTable": each.from_table, "FromColumn": each.from_column,
                    "ToTable": each.to_table, "ToColumn": each.to_column, "IsActive": each.active,
                }
                for each in model.relationships
            ],
            "date_tables": {table.name: table.column(table.date).name for table in model.tables if table.date},
            "measure_tables": dict.fromkeys(self.measures, model.tables[0].name),
            "model_columns": {name: set(table["columns"]) for name, table in self._tables.items()},
        }  # fmt: skip

    def evaluate(self, names: list[str], filters: dict[str, Any], **changed: str) -> dict[str, Any]:
        """The measures where each column, as "Table.Column", has the value given; `changed` are measures with other DAX."""
        chosen = {column: [in_power_bi(value)] for column, value in filters.items()}
        (table, column), *_ = self._model["date_tables"].items()
        return self._engine.evaluate_measures_batch(
            names, self._tables, self.measures | changed, chosen, date_table=table, date_column=column, **self._model
        )
