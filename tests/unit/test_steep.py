"""Steep's definitions against the semantic layer that they are made of; what they give is in test_sql_clients.py."""

import json
import os
from pathlib import Path

import pytest
import yaml

from ingestion.dbt_command import parsed_for_production
from ingestion.settings import IngestionError
from serving import steep

#: What help.steep.app/setup-and-manage/code-reference names; Steep refuses a file with any other key.
MODULE = {"identifier", "schema", "table", "label", "description", "dimensions", "joinPaths", "metrics"}
OF_TYPE = {
    "custom-value": {"time", "sql_expression"},
    "derived-ratio": {"numerator", "denominator", "format"},
}
METRIC = {"identifier", "name", "description", "category", "type", "dimensions"}


@pytest.fixture(scope="module")
def manifests() -> tuple[dict, dict]:
    """The semantic manifest and the manifest, with production's names; no variable of this process changes."""
    before = dict(os.environ)
    manifest, semantic = parsed_for_production()
    assert dict(os.environ) == before
    return semantic, manifest


@pytest.fixture(scope="module")
def files() -> dict[str, dict]:
    return {file.stem: yaml.safe_load(file.read_text())["module"] for file in steep.FOLDER.glob("*.yaml")}


def test_the_files_are_what_the_semantic_layer_says(manifests):
    """Else: make steep."""
    semantic, manifest = manifests
    made = {name: steep.render(m) for name, m in steep.modules(semantic, steep.owner_of_gold(manifest)).items()}
    assert made == {file.stem: file.read_text() for file in steep.FOLDER.glob("*.yaml")}


def test_every_metric_is_there_but_those_that_compare_periods(manifests, files):
    metrics = {metric["identifier"] for module in files.values() for metric in module.get("metrics", [])}
    derived = {metric["name"] for metric in manifests[0]["metrics"] if metric["type"] == "derived"}
    assert metrics == {metric["name"] for metric in manifests[0]["metrics"]} - derived
    assert derived == {"revenue_month_over_month"}, "Steep compares periods by itself; another derived metric would be lost"


def test_keys_are_those_that_steep_knows_and_names_are_unique(files):
    names = []
    for module in files.values():
        assert set(module) <= MODULE
        names.append(module["identifier"])
        for metric in module.get("metrics", []):
            assert set(metric) == METRIC | OF_TYPE[metric["type"]], metric["identifier"]
            names.append(metric["identifier"])
    assert len(names) == len(set(names))


def test_columns_exist_and_none_is_a_customer(manifests, files):
    nodes = {n["alias"]: n for n in manifests[1]["nodes"].values() if n["resource_type"] == "model"}
    for table, module in files.items():
        columns = set(nodes[table]["columns"])
        assert nodes[table]["schema"] == module["schema"] == "gold"
        used = {dimension["column"] for dimension in module["dimensions"]}
        assert used <= columns and not {"customer_id", "customer_key"} & used
        for path in module.get("joinPaths", []):
            assert path["from"]["column"] in columns and path["to"]["column"] in nodes[path["to"]["table"]]["columns"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda m: m["metrics"][0].update(filter={"where_filters": []}), "filter"),
        (lambda m: m["semantic_models"][0]["measures"][0].update(agg="percentile"), "aggregates"),
        (lambda m: m["semantic_models"][0]["dimensions"][1].update(expr="upper(status)"), "expression"),
    ],
)
def test_what_steep_has_no_equal_for_is_refused_with_a_sentence(manifests, change, sentence):
    changed = json.loads(json.dumps(manifests[0]))
    change(changed)
    with pytest.raises(IngestionError, match=sentence):
        steep.modules(changed, "Finance")


def test_writing_removes_what_is_gone(manifests, monkeypatch, tmp_path):
    monkeypatch.setattr(steep, "FOLDER", tmp_path)
    (tmp_path / "gone.yaml").write_text("module: {}\n")
    monkeypatch.setattr(steep, "parsed_for_production", lambda: manifests[::-1])
    written = steep.write()
    assert (
        {Path(file).name for file in written}
        == {"fct_invoices.yaml", "dim_countries.yaml"}
        == {f.name for f in tmp_path.iterdir()}
    )
