"""Data Factory's definitions: what its own models know, and that every name in them leads somewhere."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from azure.mgmt.datafactory import models

from ingestion.source import CONTRACTS
from tests.conftest import ROOT

FOLDER = ROOT / "deploy" / "azure_data_factory"
RESOURCES = {
    "linkedService": models.LinkedServiceResource, "dataset": models.DatasetResource, "pipeline": models.PipelineResource,
}  # fmt: skip
PIPELINE = json.loads((FOLDER / "pipeline" / "load_bronze.json").read_text())["properties"]


def resources(kind: str) -> dict[str, dict]:
    found = {path.stem: json.loads(path.read_text()) for path in (FOLDER / kind).glob("*.json")}
    assert found and all(each["name"] == name for name, each in found.items())
    return {name: each["properties"] for name, each in found.items()}


def unknown(model: object, data: object, where: str) -> Iterator[str]:
    """The properties of `data` that the model made of it does not know, at any depth, and the types that there are not."""
    if isinstance(data, list):
        for number, (part, value) in enumerate(zip(model, data, strict=True)):
            yield from unknown(part, value, f"{where}[{number}]")
    elif isinstance(model, models._models._Model):
        if kinds := concrete(type(model)):
            if data["type"] not in kinds:
                yield f"{where}.type {data['type']} of {type(model).__name__}"
                return
            model = kinds[data["type"]](data)
        fields = {field._rest_name: name for name, field in type(model)._attr_to_rest_field.items()}
        for key, value in data.items():
            if key not in fields:
                yield f"{where}.{key} of {type(model).__name__}"
            else:
                yield from unknown(getattr(model, fields[key]), value, f"{where}.{key}")


def concrete(model: type) -> dict[str, type]:
    """The classes for each `type` of a kind of resource; the library itself looks no deeper than at the direct heirs."""
    kinds = dict(model.__dict__.get("__mapping__", {}))
    for heir in model.__subclasses__():
        kinds |= concrete(heir)
    return kinds


@pytest.mark.parametrize("kind", RESOURCES)
def test_data_factorys_own_models_know_every_property(kind):
    for name in resources(kind):
        body = {"properties": resources(kind)[name]}
        assert not list(unknown(RESOURCES[kind](body), body, name))


def test_the_check_itself_finds_what_is_not_known():
    source = {"type": "PostgreSqlV2Source", "sqlReaderQuery": "select 1"}
    body = {"properties": {"activities": [{"type": "Copy", "typeProperties": {"source": source}}, {"type": "Script2"}]}}
    assert list(unknown(models.PipelineResource(body), body, "p")) == [
        "p.properties.activities[0].typeProperties.source.sqlReaderQuery of PostgreSqlV2Source",
        "p.properties.activities[1].type Script2 of Activity",
    ]


def activities(scope: list[dict], before: frozenset = frozenset()) -> Iterator[tuple[dict, set[str]]]:
    """Each activity, at any depth, with the names of all that have ended before it begins."""
    ended: dict[str, set[str]] = {}
    for each in scope:
        ended[each["name"]] = set(before)
        for needed in each["dependsOn"]:
            assert needed["activity"] in ended, f"{each['name']} waits for {needed['activity']}, which is not there before it"
            assert needed["dependencyConditions"] == ["Succeeded"]
            ended[each["name"]] |= {needed["activity"], *ended[needed["activity"]]}
        yield each, ended[each["name"]]
        for inner in ("activities", "ifTrueActivities", "ifFalseActivities"):
            yield from activities(each["typeProperties"].get(inner, []), frozenset(ended[each["name"]]))


def own(activity: dict) -> str:
    """The activity as text without those within it."""
    inner = ("activities", "ifTrueActivities", "ifFalseActivities")
    return json.dumps({**activity, "typeProperties": {k: v for k, v in activity["typeProperties"].items() if k not in inner}})


def references(data: object) -> Iterator[dict]:
    if isinstance(data, list):
        for each in data:
            yield from references(each)
    elif isinstance(data, dict):
        if "referenceName" in data:
            yield data
        for each in data.values():
            yield from references(each)


def test_every_name_in_an_expression_is_defined():
    tables = PIPELINE["parameters"]["tables"]["defaultValue"]
    used = set()
    for activity, before in activities(PIPELINE["activities"]):
        text = own(activity)
        used |= set(re.findall(r"pipeline\(\)\.parameters\.(\w+)", text))
        assert set(re.findall(r"activity\('(\w+)'\)", text)) <= before, activity["name"]
        for name in re.findall(r"item\(\)\.(\w+)", text):
            assert all(name in table for table in tables), name
    assert used == set(PIPELINE["parameters"]), "a parameter is used that there is not, or is there and not used"
    for name, dataset in resources("dataset").items():
        assert set(re.findall(r"dataset\(\)\.(\w+)", json.dumps(dataset))) == set(dataset.get("parameters", {})), name


def test_every_reference_leads_to_a_file_and_gives_the_parameters_that_it_has():
    found = {"LinkedServiceReference": resources("linkedService"), "DatasetReference": resources("dataset")}
    for kind in RESOURCES:
        for name, properties in resources(kind).items():
            for reference in references(properties):
                target = found[reference["type"]].get(reference["referenceName"])
                assert target is not None, f"{name} refers to {reference['referenceName']}"
                assert set(reference.get("parameters", {})) == set(target.get("parameters", {})), name


def test_copies_are_staged_as_the_sink_demands_and_can_be_repeated():
    """Staged unless from Azure Storage: https://learn.microsoft.com/azure/data-factory/connector-azure-databricks-delta-lake"""
    copies = [each for each, _ in activities(PIPELINE["activities"]) if each["type"] == "Copy"]
    assert len(copies) == 2
    for copy in copies:
        properties = copy["typeProperties"]
        assert properties["enableStaging"] and properties["stagingSettings"]["path"]
        assert properties["sink"]["preCopyScript"]["value"].startswith("delete from ")
    added = {each["name"] for each in copies[0]["typeProperties"]["source"]["additionalColumns"]}
    assert added == {"_adf_run_id", "_adf_loaded_at", "_is_deleted"}
    assert PIPELINE["concurrency"] == 1  # two runs would empty each other's landing tables


def test_tables_and_columns_are_the_contracts():
    tables = {table["name"]: table for table in PIPELINE["parameters"]["tables"]["defaultValue"]}
    sql = (FOLDER / "tables.sql").read_text()
    assert set(tables) == {contract.name for contract in CONTRACTS}
    for contract in CONTRACTS:
        assert tables[contract.name]["key"] == contract.key
        assert re.findall(r" as (\w+)(?:,|$)", tables[contract.name]["select"]) == list(contract.columns)
        for prefix, columns in (("", contract.columns), ("landing_", contract.columns), ("keys_", [contract.key])):
            (body,) = re.findall(rf"\.{prefix}{contract.name} \(\n(.*?)\n\)", sql, re.DOTALL)
            names = [line.split()[0] for line in body.splitlines()]
            added = [] if prefix == "keys_" else ["_adf_run_id", "_adf_loaded_at", "_is_deleted"]
            assert names == [*columns, *added]


def test_no_secret_is_in_a_file():
    for path in Path(FOLDER).rglob("*.json"):
        assert "SecureString" not in path.read_text() and "accessToken" not in path.read_text(), path
