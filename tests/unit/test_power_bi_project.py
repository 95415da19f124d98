"""The Power BI project: what dbt's manifest makes, what Microsoft's own library reads, and what its report shows."""

import copy
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT7

from ingestion.settings import IngestionError
from serving import power_bi
from serving.power_bi_report import HEIGHT, WIDTH, report_files
from tests.fixtures_power_bi import faults_of_m, read_by_tom

TMDL = f"{power_bi.SEMANTIC_MODEL}/definition"


@pytest.fixture(scope="module")
def manifest(parsed) -> dict[str, Any]:
    return parsed()


@pytest.fixture(scope="module")
def model(manifest) -> power_bi.Model:
    return power_bi.semantic_model(manifest, power_bi.read_mapping("model.yml"))


def with_changed(manifest: dict[str, Any], change) -> dict[str, Any]:
    changed = copy.deepcopy(manifest)
    change({node["name"]: node for node in changed["nodes"].values() if node["resource_type"] == "model"}, changed)
    return changed


# -- written from dbt ---------------------------------------------------------------------------------------------------------


def test_the_committed_project_is_what_dbt_makes_now(manifest):
    assert power_bi.check(manifest=manifest) == []


@pytest.mark.parametrize(
    ("change", "file"),
    [
        (lambda nodes, _: nodes["dim_countries"]["columns"]["region"].update(description="New."), "tables/Countries.tmdl"),
        (lambda nodes, _: nodes["fct_invoices"]["columns"]["net_amount"].update(data_type="double"), "tables/Invoices.tmdl"),
        (
            lambda nodes, _: nodes["dim_customers"]["columns"].update(
                vip={"name": "vip", "data_type": "boolean", "description": "New.", "constraints": []}
            ),
            "tables/Customers.tmdl",
        ),
        (
            lambda _, manifest: manifest["metrics"]["metric.invoices_countries.tax_amount"].update(label="VAT"),
            "tables/Invoices.tmdl",
        ),
        (
            lambda nodes, _: nodes["fct_invoices"]["columns"]["country_key"].update(constraints=[]),
            "relationships.tmdl",
        ),
    ],
    ids=["description", "type", "new column", "label of a metric", "a key that may be missing"],
)  # fmt: skip
def test_a_change_in_dbt_is_told_until_the_project_is_written_again(manifest, tmp_path, change, file):
    changed = with_changed(manifest, change)
    found = power_bi.check(manifest=changed)
    assert len(found) == 1 and file in found[0]
    shutil.copytree(power_bi.FOLDER, tmp_path / "powerbi")
    assert [path.name for path in power_bi.write(tmp_path / "powerbi", changed)] == [Path(file).name]
    assert power_bi.check(tmp_path / "powerbi", changed) == []


def test_writing_makes_all_of_it_the_same_each_time_and_takes_away_what_is_no_more(manifest, tmp_path):
    assert power_bi.check(tmp_path, manifest), "nothing is there yet"
    written = power_bi.write(tmp_path, manifest)
    assert power_bi.write(tmp_path, manifest) == []
    for path in written:
        assert path.read_bytes() == (power_bi.FOLDER / path.relative_to(tmp_path)).read_bytes()
    stale, desktop = tmp_path / TMDL / "tables/Old.tmdl", tmp_path / power_bi.REPORT / ".pbi/localSettings.json"
    for file in (stale, desktop):
        file.parent.mkdir(exist_ok=True)
        file.write_text("{}")
    assert [problem for problem in power_bi.check(tmp_path, manifest) if "Old.tmdl belongs to nothing" in problem]
    assert power_bi.write(tmp_path, manifest) == [stale] and not stale.exists() and desktop.exists()


def test_every_gold_column_is_there_or_left_out_for_a_reason(manifest, model):
    nodes = {node["name"]: node for node in manifest["nodes"].values() if node["resource_type"] == "model"}
    for source, entry in power_bi.read_mapping("model.yml")["tables"].items():
        table = next(table for table in model.tables if table.source == source)
        assert {column.source for column in table.columns} | set(entry.get("omit", {})) == set(nodes[source]["columns"])
        assert all(reason for reason in entry.get("omit", {}).values())
        for column in table.columns:
            assert column.description == " ".join(nodes[source]["columns"][column.source]["description"].split()) != ""


def test_every_metric_of_the_semantic_layer_is_a_measure(manifest, model):
    metrics = {metric["name"]: metric for metric in manifest["metrics"].values()}
    measures = {measure.metric: measure for measure in model.measures if measure.metric}
    assert set(measures) == set(metrics) and len(metrics) > 10
    assert all(measures[name].name == metric["label"] for name, metric in metrics.items())


def test_the_model_is_a_star(model):
    facts, *dimensions = model.tables
    assert {(each.from_table, each.to_table) for each in model.relationships if each.active} == {
        (facts.name, dimension.name) for dimension in dimensions
    }
    (inactive,) = [each for each in model.relationships if not each.active]
    assert (
        f"USERELATIONSHIP({inactive.from_table}[{inactive.from_column}], {inactive.to_table}[{inactive.to_column}])"
        in " ".join(measure.dax for measure in model.measures)
    )
    hidden = {(table.name, column.name) for table in model.tables for column in table.columns if column.hidden}
    assert {(each.from_table, each.from_column) for each in model.relationships} <= hidden


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda m: m.update(mode="live"), "mode of powerbi/model.yml is import or directQuery, not live"),
        (lambda m: m["tables"]["dim_dates"]["columns"].update(weekday={}), "names dim_dates.weekday, which dbt's contract"),
        (lambda m: m["tables"]["dim_dates"]["hierarchies"].update(Bad=["weekday"]), "names dim_dates.weekday"),
        (lambda m: m["tables"].update(fct_orders={"name": "Orders"}), "names the table fct_orders, which is no model"),
        (
            lambda m: m["relationships"].update(left_out={}),
            "fct_invoices.credited_invoice_id relates Invoices to Invoices|main_country_key relates Customers to Countries",
        ),
        (lambda m: m["relationships"]["inactive"].append("fct_invoices.status"), "fct_invoices.status, for which dbt has no"),
        (lambda m: m["relationships"].update(inactive=[]), "both relate Invoices to Dates"),
        (lambda m: m["measures"].pop(0), "has no measure for the metric revenue"),
        (lambda m: m["measures"][0].update(metric="profit"), "the metric profit, which dbt's semantic layer does not have"),
        (lambda m: m["measures"][0].update(dax="SUM(Invoices[Profit])"), r"uses Invoices\[Profit\], which the model does not"),
        (lambda m: m["measures"][0].update(dax="[Profit] + 1"), r"uses \[Profit\], which the model does not"),
        (lambda m: m["measures"].append(m["measures"][0]), "Invoices has two fields named Revenue"),
        (lambda m: m["tables"]["dim_dates"]["columns"]["date_key"].update(name="Year"), "Dates has two fields named Year"),
        (lambda m: m["roles"]["Without customers"]["hides"].append("dim_customers.name"), "names dim_customers.name"),
        (lambda m: m["roles"]["Without customers"]["hides"].append("dim_shops.name"), "name the table dim_shops"),
    ],
)
def test_what_does_not_fit_dbt_is_one_sentence(manifest, change, sentence):
    mapping = copy.deepcopy(power_bi.read_mapping("model.yml"))
    change(mapping)
    with pytest.raises(IngestionError, match=sentence) as raised:
        power_bi.semantic_model(manifest, mapping)
    assert "\n" not in str(raised.value)


def test_a_type_that_power_bi_does_not_have_is_one_sentence(manifest):
    changed = with_changed(manifest, lambda nodes, _: nodes["fct_invoices"]["columns"]["status"].update(data_type="array<int>"))
    with pytest.raises(IngestionError, match="fct_invoices.status has the type array<int>"):
        power_bi.definition(changed)


@pytest.mark.parametrize(
    ("file", "line"), [("model.yml", "    folder: Revenue\n"), ("report.yml", "        type: lineChart\n")]
)
def test_a_missing_key_is_one_sentence(manifest, tmp_path, file, line):
    for name in ("model.yml", "report.yml"):
        shutil.copy(power_bi.FOLDER / name, tmp_path / name)
    (tmp_path / file).write_text((tmp_path / file).read_text().replace(line, "", 1))
    with pytest.raises(IngestionError, match=f"something in powerbi/{file} has no {line.split(':')[0].strip()}$"):
        power_bi.definition(manifest, tmp_path)


def test_a_missing_or_broken_mapping_is_one_sentence(tmp_path):
    with pytest.raises(IngestionError, match=r"powerbi/model.yml cannot be read: No such file"):
        power_bi.read_mapping("model.yml", tmp_path)
    (tmp_path / "model.yml").write_text("a: [")
    with pytest.raises(IngestionError, match=r"powerbi/model.yml is not YAML"):
        power_bi.read_mapping("model.yml", tmp_path)


def test_the_exposure_names_what_the_project_reads(manifest):
    def forget(_, manifest):
        exposure = manifest["exposures"]["exposure.invoices_countries.power_bi_revenue"]
        exposure["depends_on"]["nodes"].remove("model.invoices_countries.dim_customers")

    (found,) = power_bi.check(manifest=with_changed(manifest, forget))
    assert "reads dim_customers" in found
    with pytest.raises(IngestionError, match="has no power_bi_revenue"):
        power_bi.check(manifest={**manifest, "exposures": {}})


# -- read by Microsoft's library ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tom() -> dict[str, Any]:
    """The committed semantic model as TOM reads it."""
    return read_by_tom(power_bi.FOLDER / TMDL)


def test_microsofts_library_reads_the_tables_as_they_are_meant(tom, model):
    assert tom["errors"] == []
    kinds = {"string": "String", "int64": "Int64", "double": "Double", "decimal": "Decimal", "dateTime": "DateTime",
             "boolean": "Boolean"}  # fmt: skip
    assert list(tom["tables"]) == [table.name for table in model.tables]
    for table in model.tables:
        read = tom["tables"][table.name]
        assert " ".join(read["description"].split()) == table.description
        assert read["category"] == ("Time" if table.date else "")
        assert read["columns"] == {
            column.name: {
                "type": kinds[column.type], "source": column.source,
                "hidden": column.hidden, "key": column.source == table.date,
                "description": read["columns"][column.name]["description"], "format": column.format or "", "summarize": "None",
                "sort": table.column(column.sort_by).name if column.sort_by else None,
            }
            for column in table.columns
        }  # fmt: skip
        for column in table.columns:
            assert " ".join(read["columns"][column.name]["description"].split()) == column.description
        assert read["hierarchies"] == {
            name: [table.column(level).name for level in levels] for name, levels in table.hierarchies.items()
        }
        assert read["partitions"] == [["Import", power_bi.source_query(table, model)]]


def test_microsofts_library_reads_the_measures_as_they_are_meant(tom, model):
    found = {name: measure for table in tom["tables"].values() for name, measure in table["measures"].items()}
    assert {name: (measure["dax"], measure["folder"], measure["format"]) for name, measure in found.items()} == {
        measure.name: (measure.dax, measure.folder, measure.format or "") for measure in model.measures
    }
    for measure in model.measures:
        assert " ".join(found[measure.name]["description"].split()) == measure.description != ""


def test_microsofts_library_reads_relationships_roles_and_parameters_as_they_are_meant(tom, model):
    assert sorted(tom["relationships"]) == sorted(
        [
            each.from_table,
            each.from_column,
            each.to_table,
            each.to_column,
            each.active,
            each.certain,
            "OneDirection",
            "Many",
            "One",
        ]
        for each in model.relationships
    )
    assert tom["roles"] == {name: [[*column, "None"] for column in hides] for name, (_, hides) in model.roles.items()}
    assert list(tom["parameters"]) == [*model.parameters, "RangeStart", "RangeEnd"]
    for name, value in model.parameters.items():
        assert tom["parameters"][name].startswith(f'"{value}" meta [IsParameterQuery = true')
    assert tom["annotations"]["__PBI_TimeIntelligenceEnabled"] == "0"


def test_microsofts_library_reads_the_incremental_refresh_as_it_is_meant(tom, model):
    facts = model.tables[0]
    assert {name: table["refresh"] for name, table in tom["tables"].items() if table["refresh"]} == {
        facts.name: {
            "window": ["Month", 120], "watched": ["Month", 120], "source": power_bi.source_query(facts, model),
            "polling": power_bi.fingerprint_query(facts),
        }
    }  # fmt: skip
    hashed = re.search(r"xxhash64\((.*?)\) as decimal", power_bi.fingerprint_query(facts).replace('"\n        & "', ""))[1]
    assert hashed.split(", ") == [column.source for column in facts.columns if column.source != "as_of_date"]


def test_microsofts_parser_reads_every_power_query_expression(tom):
    expressions = {name: table["partitions"][0][1] for name, table in tom["tables"].items()} | tom["parameters"]
    refresh = tom["tables"]["Invoices"]["refresh"]
    expressions |= {"source": refresh["source"], "polling": refresh["polling"]}
    assert len(expressions) == 12
    assert faults_of_m(expressions) == dict.fromkeys(expressions)
    broken = {name: "".join(text.rpartition(")")[::2]) for name, text in expressions.items() if ")" in text}
    assert len(broken) > 6 and all(faults_of_m(broken).values())


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("\t\tsummarizeBy: none", "\t\tsummarizeBy: nothing"),
        ("\t\tdataType: string", "\t\t\t\tdataType: string"),
        ("\tcolumn Region", "\tcolumn Region Name"),
    ],
)
def test_microsofts_library_refuses_what_is_not_tmdl(tmp_path, before, after):
    shutil.copytree(power_bi.FOLDER / TMDL, tmp_path / "definition")
    file = tmp_path / "definition/tables/Countries.tmdl"
    text = file.read_text()
    assert before in text
    file.write_text(text.replace(before, after, 1))
    with pytest.raises(ValueError):  # not with its own words: this .NET lacks what it words them with
        read_by_tom(tmp_path / "definition")


def test_with_direct_query_nothing_is_loaded_and_no_refresh_is_left(manifest, tmp_path):
    for name in ("model.yml", "report.yml"):
        shutil.copy(power_bi.FOLDER / name, tmp_path / name)
    mapping = (tmp_path / "model.yml").read_text()
    (tmp_path / "model.yml").write_text(mapping.replace("mode: import", "mode: directQuery", 1))
    for path, text in power_bi.definition(manifest, tmp_path).items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    read = read_by_tom(tmp_path / TMDL)
    assert read["errors"] == [] and list(read["parameters"]) == ["Host", "HttpPath", "Catalog", "GoldSchema"]
    modes = {name: table["partitions"][0][0] for name, table in read["tables"].items()}
    assert modes == {"Invoices": "DirectQuery", "Countries": "Dual", "Dates": "Dual", "Customers": "Dual"}
    for table in read["tables"].values():
        assert table["refresh"] is None and "RangeStart" not in table["partitions"][0][1]


# -- the report ---------------------------------------------------------------------------------------------------------------


def json_files() -> dict[str, Any]:
    """The committed files of JSON, by their path below powerbi/."""
    suffixes = (".json", ".pbip", ".pbids", ".pbir", ".pbism", ".platform")
    files = [file for file in power_bi.FOLDER.rglob("*") if file.name.endswith(suffixes) and ".pbi" not in file.parts]
    return {file.relative_to(power_bi.FOLDER).as_posix(): json.loads(file.read_text()) for file in files}


def walk(content: Any) -> Iterator[dict[str, Any]]:
    """Every object within a content of JSON."""
    if isinstance(content, dict):
        yield content
        for value in content.values():
            yield from walk(value)
    elif isinstance(content, list):
        for value in content:
            yield from walk(value)


def fields_of(content: Any) -> Iterator[tuple[str, str, str]]:
    """Every Column or Measure that a file of the report names, with its table. A query's sources are other names of tables."""
    sources = {each["Name"]: each["Entity"] for each in walk(content) if {"Name", "Entity"} <= set(each)}
    for each in walk(content):
        for kind in ("Column", "Measure"):
            if kind in each:
                source = each[kind]["Expression"]["SourceRef"]
                yield kind, source.get("Entity") or sources[source["Source"]], each[kind]["Property"]


def test_every_field_of_every_visual_is_in_the_semantic_model(tom):
    known = {("Column", name, column) for name, table in tom["tables"].items() for column in table["columns"]}
    known |= {("Measure", name, measure) for name, table in tom["tables"].items() for measure in table["measures"]}
    hidden = {("Column", name, column) for name, table in tom["tables"].items() for column, each in table["columns"].items()
              if each["hidden"]}  # fmt: skip
    used = {field for path, content in json_files().items() if path.startswith(power_bi.REPORT) for field in fields_of(content)}
    assert len(used) > 30 and used <= known - hidden
    secured = {("Column", table, column) for hides in tom["roles"].values() for table, column, _ in hides}
    assert secured & used == {("Column", "Customers", "Customer")}, "the README says what a role does not see"


def test_the_report_has_the_views_that_were_asked_for(tom):
    pages = {path.split("/")[-2]: content for path, content in json_files().items() if path.endswith("/page.json")}
    order = json_files()[f"{power_bi.REPORT}/definition/pages/pages.json"]
    assert order["pageOrder"] == ["overview", "country", "invoices", "invoice"] and set(order["pageOrder"]) == set(pages)
    assert order["activePageName"] == "overview"
    through = {name: next(fields_of(page["pageBinding"])) for name, page in pages.items() if "pageBinding" in page}
    assert through == {"country": ("Column", "Countries", "Country"), "invoice": ("Column", "Invoices", "Invoice ID")}
    for name, page in pages.items():
        if name in through:
            bound = page["pageBinding"]["parameters"][0]
            (drilled,) = page["filterConfig"]["filters"]
            assert drilled["name"] == bound["boundFilter"] and drilled["field"] == bound["fieldExpr"]
    # a page is reached from a visual of another page that shows its field
    for name, field in through.items():
        others = [visual for page, visuals in visuals_of_pages().items() if page != name for visual in visuals]
        assert [visual for visual in others if visual["visual"]["visualType"] != "slicer" and field in set(fields_of(visual))]


def visuals_of_pages() -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for path, content in json_files().items():
        if path.endswith("/visual.json"):
            assert path.split("/")[-2] == content["name"]
            found.setdefault(path.split("/")[-4], []).append(content)
    return found


def test_every_visual_can_be_read_out_and_reached_by_keyboard_in_reading_order():
    for page, visuals in visuals_of_pages().items():
        orders = [visual["position"]["tabOrder"] for visual in visuals]
        assert len(set(orders)) == len(orders), page
        in_order = [visual["position"]["y"] for visual in sorted(visuals, key=lambda visual: visual["position"]["tabOrder"])]
        assert all(later >= earlier - 68 for earlier, later in zip(in_order, in_order[1:], strict=False)), page
        for visual in visuals:
            container = visual["visual"]["visualContainerObjects"]
            assert len(container["general"][0]["properties"]["altText"]["expr"]["Literal"]["Value"]) > 10
            position = visual["position"]
            assert position["x"] + position["width"] <= WIDTH and position["y"] + position["height"] <= HEIGHT
            assert min(position["width"], position["height"]) >= 44, "large enough to touch"


def contrast(one: str, other: str) -> float:
    """The contrast of two colours, 1 to 21. Formula: WCAG 2.2, https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio"""

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_the_theme_has_enough_contrast():
    theme = json_files()[f"{power_bi.REPORT}/StaticResources/RegisteredResources/theme.json"]
    texts = [theme["foreground"], *(text["color"] for text in theme["textClasses"].values())]
    marks = [*theme["dataColors"], theme["good"], theme["neutral"], theme["bad"], theme["tableAccent"]]
    assert min(contrast(colour, theme["background"]) for colour in texts + marks) >= 4.5
    assert contrast("#777777", "#FFFFFF") < 4.5, "the formula tells a known failure"


def test_no_visual_asks_anybody_but_the_model():
    kinds = {visual["visual"]["visualType"] for visuals in visuals_of_pages().values() for visual in visuals}
    assert not [kind for kind in kinds if re.search("map|image|script|web", kind, re.IGNORECASE)]
    assert kinds > {"cardVisual", "lineChart", "tableEx", "slicer"}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            lambda page: page["visuals"][4]["fields"].update(Data=["Invoices.Profit"]),
            "shows Invoices.Profit, which the semantic",
        ),
        (lambda page: page["visuals"][4]["fields"].update(Data=["Invoices.Customer key"]), "which powerbi/model.yml hides"),
        (lambda page: page["visuals"][4]["fields"].update(Data=["Orders.Revenue"]), "has no table Orders"),
        (lambda page: page["visuals"][4]["fields"].update(Values=["Invoices.Revenue"]), "headline.* may have Data"),
        (lambda page: page["visuals"][4].update(type="filledMap"), "headline.* is a filledMap"),
        (lambda page: page["visuals"][4].update(alt=""), "headline.* has no alt"),
        (lambda page: page["visuals"][4].update(at=[16, 120, 1300, 112]), "headline.* does not fit"),
        (lambda page: page["visuals"][4].update(at=[16, 60, 1248, 112]), "headline.* lies over"),
        (lambda page: page["visuals"][4].update(name="heading"), "two visuals named heading"),
    ],
)
def test_what_a_page_cannot_show_is_one_sentence(model, change, sentence):
    report = copy.deepcopy(power_bi.read_mapping("report.yml"))
    change(report["pages"][0])
    with pytest.raises(IngestionError, match=sentence):
        report_files(report, model)


def test_every_file_keeps_microsofts_schema():
    """The schemas are in a public repository of Microsoft's, and in no package registry."""
    checkout = os.environ.get("POWER_BI_SCHEMAS")
    if not checkout:
        pytest.skip("POWER_BI_SCHEMAS names no checkout of github.com/microsoft/json-schemas")
    base = "https://developer.microsoft.com/json-schemas/"

    def retrieve(address: str) -> Resource:
        content = json.loads((Path(checkout) / address.removeprefix(base)).read_text())
        return Resource.from_contents(content, default_specification=DRAFT7)

    registry, seen = Registry(retrieve=retrieve), 0
    for path, content in json_files().items():
        if "$schema" in content:
            validator = jsonschema.Draft7Validator({"$ref": content["$schema"]}, registry=registry)
            assert [error.message for error in validator.iter_errors(content)] == [], path
            assert list(validator.iter_errors({**content, "surprise": 1})) or path.endswith(".platform")
            seen += 1
    assert seen > 30


def test_the_connection_file_names_the_parameters():
    content = json_files()[f"{power_bi.PROJECT}.pbids"]
    parameters = yaml.safe_load((power_bi.FOLDER / "model.yml").read_text())["parameters"]
    (connection,) = content["connections"]
    assert connection["details"]["protocol"] == "databricks-sql" and connection["mode"] == "Import"
    assert connection["details"]["address"] == {"host": parameters["Host"], "path": parameters["HttpPath"]}
    assert connection["options"] == {"Catalog": parameters["Catalog"], "Database": parameters["GoldSchema"]}


def test_nothing_secret_and_no_machine_is_in_the_project():
    for path in power_bi.FOLDER.rglob("*"):
        if path.is_file():
            assert not re.search(r"dapi[0-9a-f]{8}|token|password|/home/|/root/|C:\\\\", path.read_text(), re.IGNORECASE), path
