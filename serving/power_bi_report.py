"""The report of the Power BI project, in the format PBIR: a JSON file for each page and visual.

Format: https://learn.microsoft.com/power-bi/developer/projects/projects-report, and the schemas that the files name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ingestion.settings import IngestionError

if TYPE_CHECKING:
    from serving.power_bi import Model

SCHEMAS = "https://developer.microsoft.com/json-schemas/fabric/item/report/definition"
#: Versions of the schemas, of August 2025: a Power BI Desktop that is older than a file's version does not open it.
VERSIONS = {
    "visualContainer": "2.2.0",
    "page": "2.0.0",
    "report": "3.0.0",
    "pagesMetadata": "1.0.0",
    "versionMetadata": "1.0.0",
}
WIDTH, HEIGHT = 1280, 720
#: The field wells that a type of visual has; the first must be filled. A textbox and a button have none.
WELLS = {
    "cardVisual": ("Data",),
    "clusteredBarChart": ("Category", "Y", "Series"),
    "lineChart": ("Category", "Y", "Series"),
    "pivotTable": ("Rows", "Values", "Columns"),
    "slicer": ("Values",),
    "tableEx": ("Values",),
    "textbox": (),
    "actionButton": (),
}
THEME_FILE = "theme.json"


def report_files(mapping: dict[str, Any], model: Model) -> dict[str, Any]:
    """The report's files: their content for JSON, by path below the report's folder.

    mapping is the content of report.yml. Raises IngestionError, one sentence, for a field that the model does not have or
    hides, and for a visual that does not fit on its page, has no alternative text, or lies over another.
    """
    pages = mapping["pages"]
    files: dict[str, Any] = {
        "definition/version.json": {"$schema": _schema("versionMetadata"), "version": "2.0.0"},
        "definition/report.json": _report(),
        f"StaticResources/RegisteredResources/{THEME_FILE}": mapping["theme"],
        "definition/pages/pages.json": {
            "$schema": _schema("pagesMetadata"),
            "pageOrder": [page["name"] for page in pages],
            "activePageName": pages[0]["name"],
        },
    }
    for page in pages:
        place = f"definition/pages/{page['name']}"
        files[f"{place}/page.json"] = _page(page, model)
        _no_overlap(page)
        for number, visual in enumerate(page["visuals"]):
            path = f"{place}/visuals/{visual['name']}/visual.json"
            if path in files:
                raise IngestionError(f"powerbi/report.yml has two visuals named {visual['name']} on the page {page['name']}")
            files[path] = _visual(page["name"], visual, number, model)
    return files


def _schema(name: str) -> str:
    return f"{SCHEMAS}/{name}/{VERSIONS[name]}/schema.json"


def _report() -> dict[str, Any]:
    versions = {"visual": VERSIONS["visualContainer"], "page": VERSIONS["page"], "report": VERSIONS["report"]}
    return {
        "$schema": _schema("report"),
        "themeCollection": {
            "customTheme": {"name": THEME_FILE, "reportVersionAtImport": versions, "type": "RegisteredResources"}
        },
        "resourcePackages": [
            {
                "name": "RegisteredResources",
                "type": "RegisteredResources",
                "items": [{"name": THEME_FILE, "path": THEME_FILE, "type": "CustomTheme"}],
            }
        ],
        "settings": {
            "useStylableVisualContainerHeader": True,
            "exportDataMode": "AllowSummarized",
            "defaultDrillFilterOtherVisuals": True,
            "allowChangeFilterTypes": True,
            "useEnhancedTooltips": True,
        },
    }


def _literal(value: str | bool | int) -> dict[str, Any]:
    """A constant of the query language: true, 12L, or 'text'."""
    if isinstance(value, bool):
        text = str(value).lower()
    elif isinstance(value, int):
        text = f"{value}L"
    else:
        text = "'" + value.replace("'", "''") + "'"
    return {"expr": {"Literal": {"Value": text}}}


def field_of(reference: str, model: Model) -> tuple[str, str, str]:
    """What "Table.Field" of report.yml is: Column or Measure, the table, the field.

    Raises IngestionError where the model has no such field, or hides it.
    """
    table_name, _, name = reference.partition(".")
    table = model.table(table_name)
    if table is model.tables[0] and name in {measure.name for measure in model.measures}:
        return "Measure", table.name, name
    for column in table.columns:
        if column.name == name:
            if column.hidden:
                raise IngestionError(f"powerbi/report.yml shows {reference}, which powerbi/model.yml hides")
            return "Column", table.name, name
    raise IngestionError(f"powerbi/report.yml shows {reference}, which the semantic model does not have")


def _expression(reference: str, model: Model, source: dict[str, str] | None = None) -> dict[str, Any]:
    kind, table, name = field_of(reference, model)
    return {kind: {"Expression": {"SourceRef": source or {"Entity": table}}, "Property": name}}


def _page(page: dict[str, Any], model: Model) -> dict[str, Any]:
    content: dict[str, Any] = {
        "$schema": _schema("page"),
        "name": page["name"],
        "displayName": page["title"],
        "displayOption": "FitToPage",
        "height": HEIGHT,
        "width": WIDTH,
    }
    if through := page.get("drill_through"):
        field, name = _expression(through, model), f"drill-{page['name']}"
        content["filterConfig"] = {"filters": [{"name": name, "field": field, "type": "Categorical", "howCreated": "User"}]}
        content["pageBinding"] = {
            "name": f"binding-{page['name']}",
            "type": "Drillthrough",
            "parameters": [{"name": f"parameter-{page['name']}", "boundFilter": name, "fieldExpr": field}],
        }
        content["type"] = "Drillthrough"
    if page.get("hidden"):
        content["visibility"] = "HiddenInViewMode"
    return content


def _no_overlap(page: dict[str, Any]) -> None:
    seen: list[tuple[str, list[int]]] = []
    for visual in page["visuals"]:
        x, y, width, height = visual["at"]
        where = f"the visual {visual['name']} on the page {page['name']} of powerbi/report.yml"
        if x < 0 or y < 0 or x + width > WIDTH or y + height > HEIGHT:
            raise IngestionError(f"{where} does not fit on the page")
        for name, (left, top, wide, high) in seen:
            if x < left + wide and left < x + width and y < top + high and top < y + height:
                raise IngestionError(f"{where} lies over {name}")
        seen.append((visual["name"], visual["at"]))


def _visual(page: str, visual: dict[str, Any], number: int, model: Model) -> dict[str, Any]:
    where = f"the visual {visual['name']} on the page {page} of powerbi/report.yml"
    kind, fields = visual["type"], visual.get("fields", {})
    if kind not in WELLS:
        raise IngestionError(f"{where} is a {kind}, which serving/power_bi_report.py does not know")
    if set(fields) - set(WELLS[kind]) or (WELLS[kind] and WELLS[kind][0] not in fields):
        raise IngestionError(f"{where} needs fields for {WELLS[kind][0]}, and may have {', '.join(WELLS[kind])}")
    if not visual.get("alt"):
        raise IngestionError(f"{where} has no alt, the text for those who do not see it")
    x, y, width, height = visual["at"]
    content: dict[str, Any] = {"visualType": kind}
    if fields:
        query: dict[str, Any] = {
            "queryState": {
                well: {"projections": [_projection(reference, model, kind) for reference in references]}
                for well, references in fields.items()
            }
        }
        if sort := visual.get("sort"):
            query["sortDefinition"] = {"sort": [{"field": _expression(sort["by"], model), "direction": sort["direction"]}]}
        content["query"] = query
    objects, container = _objects(visual)
    if objects:
        content["objects"] = objects
    content["visualContainerObjects"] = container
    content["drillFilterOtherVisuals"] = True
    place = {"x": x, "y": y, "z": number * 1000, "height": height, "width": width, "tabOrder": number * 1000}
    result = {"$schema": _schema("visualContainer"), "name": visual["name"], "position": place, "visual": content}
    if top := visual.get("top"):
        result["filterConfig"] = {"filters": [_top(f"top-{page}-{visual['name']}", top, model)]}
    return result


def _projection(reference: str, model: Model, kind: str) -> dict[str, Any]:
    _, table, name = field_of(reference, model)
    projection = {"field": _expression(reference, model), "queryRef": f"{table}.{name}", "nativeQueryRef": name}
    return projection | ({"active": True} if kind in ("slicer", "clusteredBarChart", "lineChart", "pivotTable") else {})


def _objects(visual: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The formatting of the visual itself, and of its container."""
    objects: dict[str, Any] = {}
    container: dict[str, Any] = {"general": [{"properties": {"altText": _literal(visual["alt"])}}]}
    title = {"show": _literal(False)} if "title" not in visual else {"show": _literal(True), "text": _literal(visual["title"])}
    container["title"] = [{"properties": title}]
    if visual["type"] == "textbox":
        run = {"value": visual["text"], "textStyle": {"fontSize": "18pt", "fontWeight": "bold"}}
        objects["general"] = [{"properties": {"paragraphs": [{"textRuns": [run]}]}}]
    elif visual["type"] == "actionButton":
        objects["icon"] = [{"properties": {"shapeType": _literal("back")}, "selector": {"id": "default"}}]
        container["visualLink"] = [{"properties": {"show": _literal(True), "type": _literal("Back")}}]
    elif visual["type"] == "cardVisual":
        # all values side by side; a value alone that is a text says by itself what it is
        objects["layout"] = [
            {"properties": {"columnCount": _literal(len(visual["fields"]["Data"])), "style": _literal("Cards")}}
        ]
        if visual.get("is_text"):
            objects["label"] = [{"properties": {"show": _literal(False)}, "selector": {"id": "default"}}]
            size = {"expr": {"Literal": {"Value": "11D"}}}
            objects["value"] = [{"properties": {"fontSize": size}, "selector": {"id": "default"}}]
    elif visual["type"] == "slicer":
        objects["data"] = [{"properties": {"mode": _literal("Dropdown")}}]
        objects["general"] = [{"properties": {"selfFilterEnabled": _literal(True)}}]  # a box to search in
        objects["header"] = [{"properties": {"show": _literal(False)}}]  # the title says it
    return objects, container


def _top(name: str, top: dict[str, Any], model: Model) -> dict[str, Any]:
    """A filter on the `count` values of a column that have the most of a measure, as Power BI writes it."""
    _, of_table, of_name = field_of(top["of"], model)
    _, by_table, _ = field_of(top["by"], model)
    sources = [{"Name": "of", "Entity": of_table, "Type": 0}]
    if by_table != of_table:
        sources.append({"Name": "by", "Entity": by_table, "Type": 0})
    by = {"Source": "by" if by_table != of_table else "of"}
    column = _expression(top["of"], model, {"Source": "of"})
    ranked = {
        "Version": 2,
        "From": sources,
        "Select": [{**column, "Name": "field"}],
        "OrderBy": [{"Direction": 2, "Expression": _expression(top["by"], model, by)}],
        "Top": top["count"],
    }
    return {
        "name": name,
        "field": {"Column": {"Expression": {"SourceRef": {"Entity": of_table}}, "Property": of_name}},
        "type": "TopN",
        "filter": {
            "Version": 2,
            "From": [{"Name": "ranked", "Expression": {"Subquery": {"Query": ranked}}, "Type": 2}, sources[0]],
            "Where": [{"Condition": {"In": {"Expressions": [column], "Table": {"SourceRef": {"Source": "ranked"}}}}}],
        },
        "howCreated": "User",
    }
