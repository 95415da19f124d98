"""Steep's definitions, made of dbt's semantic layer: `make steep` writes deploy/steep/, a file for each module.

Steep (steep.app) reads metrics from YAML files in a Git repository that it is connected to. The format is Steep's
(help.steep.app/setup-and-manage/code-reference): a module is a table with its dimensions, metrics and join paths. Every measure
of the semantic layer becomes an SQL expression over its table, so that Steep computes what MetricFlow does.
"""

from pathlib import Path

import sqlglot
import yaml
from sqlglot import exp

from ingestion.dbt_command import parsed_for_production
from ingestion.settings import REPOSITORY, IngestionError

FOLDER = REPOSITORY / "deploy" / "steep"
#: How MetricFlow aggregates a measure's expression.
_AGGREGATES = {
    "sum": "sum({})", "sum_boolean": "sum(case when {} then 1 else 0 end)", "average": "avg({})", "min": "min({})",
    "max": "max({})", "count": "count({})", "count_distinct": "count(distinct {})",
}  # fmt: skip
#: Dimensions that Steep draws on a map.
_COUNTRIES = {"country_code"}


def modules(manifest: dict, category: str) -> dict[str, dict]:
    """Steep's modules by their table, of a semantic manifest (dbt's target/semantic_manifest.json).

    category: under which Steep shows the metrics. Derived metrics are left out: Steep compares periods by itself. Raises
    IngestionError for what has no equal in Steep.
    """
    models = {model["name"]: model for model in manifest["semantic_models"]}
    found = {name: _module(model) for name, model in models.items()}
    for model in models.values():
        for entity in model["entities"]:
            if entity["type"] == "foreign":
                _join(found, models, model, entity)
    reachable = {
        name: ["this.*", *sorted(f"{m['schema']}.{m['table']}.*" for m in found.values() if _leads_to(m, found[name]))]
        for name in found
    }
    home = {measure["name"]: model for model in models.values() for measure in model["measures"]}
    for metric in manifest["metrics"]:
        if metric["filter"]:
            raise IngestionError(f"The metric {metric['name']} has a filter, which serving/steep.py cannot give to Steep yet.")
        if metric["type"] == "simple":
            model = home[metric["type_params"]["measure"]["name"]]
            definition = _simple(metric, model)
        elif metric["type"] == "ratio":
            parts = metric["type_params"]
            model = home[_metric(manifest, parts["numerator"]["name"])["type_params"]["measure"]["name"]]
            definition = {
                "type": "derived-ratio", "numerator": parts["numerator"]["name"], "denominator": parts["denominator"]["name"],
                "format": "percentage",
            }  # fmt: skip
        else:
            continue
        about = {"identifier": metric["name"], "name": metric["label"] or metric["name"], "description": metric["description"]}
        found[model["name"]].setdefault("metrics", []).append(
            about | {"category": category} | definition | {"dimensions": reachable[model["name"]]}
        )
    return {module["table"]: module for module in found.values()}


def _metric(manifest: dict, name: str) -> dict:
    return next(metric for metric in manifest["metrics"] if metric["name"] == name)


def _column(model: dict, item: dict) -> str:
    """The column that an entity or dimension is. Raises IngestionError where it is an expression."""
    column = item["expr"] or item["name"]
    if not column.isidentifier():
        raise IngestionError(f"{item['name']} of {model['name']} is an expression, and Steep's dimensions are columns.")
    return column


def _module(model: dict) -> dict:
    relation = model["node_relation"]
    types = {"time": "time", "categorical": "categorical"}
    return {
        # Steep wants names that are unique among modules and metrics together: a measure may be called as its model is
        "identifier": relation["alias"], "schema": relation["schema_name"], "table": relation["alias"],
        "label": model["label"] or model["name"].capitalize(), "description": model["description"].strip(),
        "dimensions": [
            {
                "column": _column(model, dimension),
                "type": "country" if dimension["name"] in _COUNTRIES else types[dimension["type"]],
                "label": dimension["label"] or dimension["name"].replace("_", " ").capitalize(),
                "description": dimension["description"].strip(),
            }
            for dimension in model["dimensions"]
        ],
    }  # fmt: skip


def _join(found: dict[str, dict], models: dict[str, dict], model: dict, entity: dict) -> None:
    """A path from the module that an entity is the key of to the one that names it: Steep wants it on the side of the one."""
    for owner in models.values():
        for key in owner["entities"]:
            if key["type"] == "primary" and key["name"] == entity["name"]:
                to = {"table": found[model["name"]]["table"], "column": _column(model, entity)}
                path = {"from": {"column": _column(owner, key)}, "to": to, "type": "one-to-many"}
                found[owner["name"]].setdefault("joinPaths", []).append(path)


def _leads_to(module: dict, other: dict) -> bool:
    return any(path["to"]["table"] == other["table"] for path in module.get("joinPaths", []))


def _simple(metric: dict, model: dict) -> dict:
    table = model["node_relation"]["alias"]
    measure = next(m for m in model["measures"] if m["name"] == metric["type_params"]["measure"]["name"])
    if measure["agg"] not in _AGGREGATES or measure["non_additive_dimension"]:
        raise IngestionError(
            f"The measure {measure['name']} aggregates in a way that serving/steep.py cannot give to Steep yet."
        )
    time = measure["agg_time_dimension"] or model["defaults"]["agg_time_dimension"]
    dimension = next(d for d in model["dimensions"] if d["name"] == time)
    expression = sqlglot.parse_one(measure["expr"] or measure["name"], dialect="databricks")
    for column in expression.find_all(exp.Column):
        column.set("table", exp.to_identifier(table))
    sql = _AGGREGATES[measure["agg"]].format(expression.sql("databricks", normalize_functions="lower"))
    return {"type": "custom-value", "time": f"{table}.{_column(model, dimension)}", "sql_expression": sql}


class _Dumper(yaml.SafeDumper):
    """YAML as people write it: items indented, nothing by reference."""

    def increase_indent(self, flow: bool = False, indentless: bool = False):
        return super().increase_indent(flow, indentless=False)

    def ignore_aliases(self, data: object) -> bool:
        return True


def render(module: dict) -> str:
    """A module as the text of its file."""
    head = "# Made by `make steep` from models/semantic/; change it there.\n"
    return head + yaml.dump({"module": module}, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=90)


def owner_of_gold(manifest: dict) -> str:
    """The name of the owner of the group that gold belongs to, by dbt's manifest."""
    groups = {group["name"]: group["owner"]["name"] for group in manifest["groups"].values()}
    return groups[manifest["nodes"]["model.invoices_countries.fct_invoices"]["group"]]


def write() -> list[Path]:
    """Write a file for each module, and remove those of modules that are gone; returns the files."""
    manifest, semantic = parsed_for_production()
    found = modules(semantic, owner_of_gold(manifest))
    FOLDER.mkdir(parents=True, exist_ok=True)
    for file in FOLDER.glob("*.yaml"):
        if file.stem not in found:
            file.unlink()
    for name, module in found.items():
        (FOLDER / f"{name}.yaml").write_text(render(module))
    return sorted(FOLDER.glob("*.yaml"))
