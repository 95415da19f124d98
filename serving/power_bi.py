"""The Power BI project in `powerbi/`, written from dbt's manifest, and checked against it.

What comes from where: tables, columns, types and their descriptions from dbt's contracts; relationships from dbt's
`relationships` tests; names and descriptions of measures from dbt's semantic layer; format strings, DAX, hierarchies, roles and
what is hidden from `powerbi/model.yml`; pages and visuals from `powerbi/report.yml`. All that is written is text, the same for
the same input: ids are UUIDs of names.

Formats: TMDL, https://learn.microsoft.com/analysis-services/tmdl/tmdl-overview; Power BI projects,
https://learn.microsoft.com/power-bi/developer/projects/projects-overview; incremental refresh,
https://learn.microsoft.com/power-bi/connect-data/incremental-refresh-xmla.
"""

import contextlib
import json
import re
import textwrap
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ingestion.dbt_command import parsed_for_production
from ingestion.settings import REPOSITORY, IngestionError

FOLDER = REPOSITORY / "powerbi"
PROJECT = "invoices-countries"
SEMANTIC_MODEL = f"{PROJECT}.SemanticModel"
REPORT = f"{PROJECT}.Report"
#: Every id is a UUID of this name space and a name: the same at every writing, and in every clone.
NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "invoices-countries.powerbi")
SCHEMAS = "https://developer.microsoft.com/json-schemas/fabric"
#: The exposure of models/_exposures.yml that this project is.
EXPOSURE = "power_bi_revenue"


@dataclass(frozen=True)
class Column:
    """A column of the semantic model. `source` is its name in gold, `type` one of TMDL's data types."""

    source: str
    name: str
    type: str
    description: str
    not_null: bool
    is_date: bool = False
    hidden: bool = False
    format: str | None = None
    folder: str | None = None
    category: str | None = None
    sort_by: str | None = None


@dataclass(frozen=True)
class Table:
    """A table of the semantic model, over the gold table `source`. `date` is the column that marks it as the date table,
    `hierarchies` are names of columns by the hierarchy's name, `refresh` is its incremental refresh as in model.yml."""

    source: str
    name: str
    description: str
    columns: list[Column]
    date: str | None
    hierarchies: dict[str, list[str]]
    refresh: dict[str, Any] | None

    def column(self, source: str) -> Column:
        """The column over gold's column `source`. Raises IngestionError where there is none."""
        for column in self.columns:
            if column.source == source:
                return column
        raise IngestionError(f"powerbi/model.yml names {self.source}.{source}, which dbt's contract does not have, or omits it")


@dataclass(frozen=True)
class Relationship:
    """Many to one, by names of tables and columns; `certain` where dbt tests that every row finds its other side."""

    from_table: str
    from_column: str
    to_table: str
    to_column: str
    active: bool
    certain: bool


@dataclass(frozen=True)
class Measure:
    """A measure; `metric` is the name of the metric of dbt's semantic layer that it is, where there is one."""

    name: str
    description: str
    dax: str
    folder: str
    format: str | None = None
    metric: str | None = None


@dataclass(frozen=True)
class Model:
    """The semantic model. All measures live in the first table. `roles` are the columns (table, column) that a role may not
    see, with its description, by its name."""

    mode: str
    parameters: dict[str, str]
    dates: tuple[str, str]
    tables: list[Table]
    relationships: list[Relationship]
    measures: list[Measure]
    roles: dict[str, tuple[str, list[tuple[str, str]]]] = field(default_factory=dict)

    def table(self, name: str) -> Table:
        """The table of that name in the semantic model. Raises IngestionError where there is none."""
        for table in self.tables:
            if table.name == name:
                return table
        raise IngestionError(f"the semantic model has no table {name}")


def read_mapping(name: str, folder: Path = FOLDER) -> dict[str, Any]:
    """The YAML file `name` of the folder. Raises IngestionError where it is missing or no YAML."""
    try:
        return yaml.safe_load((folder / name).read_text(encoding="utf-8"))
    except OSError as error:
        raise IngestionError(f"powerbi/{name} cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise IngestionError(f"powerbi/{name} is not YAML: {' '.join(str(error).split())}") from error


def semantic_model(manifest: dict[str, Any], mapping: dict[str, Any]) -> Model:
    """The semantic model that a manifest of dbt (version 12) and the content of model.yml make.

    Raises IngestionError, one sentence, where model.yml names what dbt does not have, or says nothing about a relationship or
    metric that dbt has.
    """
    if mapping.get("mode") not in ("import", "directQuery"):
        raise IngestionError(f"mode of powerbi/model.yml is import or directQuery, not {mapping.get('mode')}")
    nodes = {node["name"]: node for node in manifest["nodes"].values() if node["resource_type"] == "model"}
    tables = [_table(source, entry, nodes) for source, entry in mapping["tables"].items()]
    by_source = {table.source: table for table in tables}

    def hidden(reference: str) -> tuple[str, str]:
        source, _, column = reference.partition(".")
        if source not in by_source:
            raise IngestionError(f"roles of powerbi/model.yml name the table {source}, which is not in the model")
        return by_source[source].name, by_source[source].column(column).name

    variables = yaml.safe_load((REPOSITORY / "dbt_project.yml").read_text(encoding="utf-8"))["vars"]
    model = Model(
        mode=mapping["mode"],
        parameters=mapping["parameters"],
        dates=(variables["first_date"], variables["last_date"]),
        tables=tables,
        relationships=_relationships(manifest, mapping["relationships"], by_source),
        measures=_measures(manifest, mapping["measures"]),
        roles={
            name: (entry["description"], [hidden(reference) for reference in entry.get("hides", [])])
            for name, entry in mapping["roles"].items()
        },
    )
    for table in tables:
        names = [column.name for column in table.columns]
        names += [measure.name for measure in model.measures] if table is tables[0] else []
        known = [name.lower() for name in names]
        for name in names:
            if known.count(name.lower()) > 1:
                raise IngestionError(
                    f"the table {table.name} has two fields named {name}: name one otherwise in powerbi/model.yml"
                )
    for measure in model.measures:
        for problem in unknown_references(measure.dax, model):
            raise IngestionError(
                f"the measure {measure.name} of powerbi/model.yml uses {problem}, which the model does not have"
            )
    return model


def _words(text: str) -> str:
    return " ".join(text.split())


def _table(source: str, entry: dict[str, Any], nodes: dict[str, Any]) -> Table:
    if source not in nodes:
        raise IngestionError(f"powerbi/model.yml names the table {source}, which is no model of dbt")
    contract = nodes[source]["columns"]
    omitted, described = entry.get("omit", {}), entry.get("columns", {})
    for name in [*omitted, *described]:
        if name not in contract:
            raise IngestionError(f"powerbi/model.yml names {source}.{name}, which dbt's contract does not have")
    columns = []
    for name, column in contract.items():
        if name in omitted:
            continue
        known = described.get(name, {})
        is_date = column["data_type"] == "date"
        type_ = _type(f"{source}.{name}", column["data_type"])
        columns.append(
            Column(
                source=name,
                name=known.get("name") or name.replace("_", " ").capitalize(),
                type=type_,
                description=_words(column["description"]),
                not_null=any(constraint["type"] == "not_null" for constraint in column["constraints"]),
                is_date=is_date,
                hidden=known.get("hidden", False),
                format=known.get("format") or ({"dateTime": "yyyy-mm-dd" if is_date else "yyyy-mm-dd hh:nn"}.get(type_)),
                folder=known.get("folder"),
                category=known.get("category"),
                sort_by=known.get("sort_by"),
            )
        )
    table = Table(
        source=source,
        name=entry["name"],
        description=_words(nodes[source]["description"]),
        columns=columns,
        date=entry.get("date"),
        hierarchies=entry.get("hierarchies", {}),
        refresh=entry.get("refresh"),
    )
    named = [column.sort_by for column in columns if column.sort_by] + ([table.date] if table.date else [])
    named += [level for levels in table.hierarchies.values() for level in levels]
    named += [table.refresh["column"], *table.refresh["unwatched"]] if table.refresh else []
    for name in named:
        table.column(name)  # raises where there is none
    return table


def _type(column: str, data_type: str) -> str:
    """TMDL's data type for one of Databricks. A fixed decimal of Power BI has four digits after the point, so that a rate with
    more is a floating-point number there."""
    plain = {
        "string": "string", "boolean": "boolean", "date": "dateTime", "timestamp": "dateTime", "double": "double",
        "tinyint": "int64", "smallint": "int64", "int": "int64", "bigint": "int64",
    }  # fmt: skip
    if data_type in plain:
        return plain[data_type]
    if decimal := re.fullmatch(r"decimal\(\d+,(\d+)\)", data_type.replace(" ", "")):
        return "decimal" if int(decimal[1]) <= 4 else "double"
    raise IngestionError(f"{column} has the type {data_type}, for which serving/power_bi.py knows none of Power BI")


def _relationships(manifest: dict[str, Any], mapping: dict[str, Any], tables: dict[str, Table]) -> list[Relationship]:
    """One for each relationships test between two of the tables."""
    models = {key: node["name"] for key, node in manifest["nodes"].items() if node["resource_type"] == "model"}
    inactive, left_out = mapping.get("inactive", []), mapping.get("left_out", {})
    found: dict[str, Relationship] = {}
    seen = set()
    for node in manifest["nodes"].values():
        test = node.get("test_metadata") or {}
        if test.get("name") != "relationships" or test.get("namespace"):
            continue
        source, column = models.get(node["attached_node"]), test["kwargs"]["column_name"]
        target = re.fullmatch(r"ref\('(\w+)'\)", test["kwargs"]["to"])
        if source not in tables or not target or target[1] not in tables:
            continue
        key = f"{source}.{column}"
        seen.add(key)
        if key in left_out:
            continue
        one, many = tables[target[1]], tables[source]
        found[key] = Relationship(
            from_table=many.name,
            from_column=many.column(column).name,
            to_table=one.name,
            to_column=one.column(test["kwargs"]["field"]).name,
            active=key not in inactive,
            certain=many.column(column).not_null,
        )
    for key in [*inactive, *left_out]:
        if key not in seen:
            raise IngestionError(f"relationships of powerbi/model.yml name {key}, for which dbt has no relationships test")
    facts, taken = next(iter(tables.values())).name, {}
    for key, relationship in found.items():
        if relationship.active and (relationship.from_table, relationship.to_table) in taken:
            raise IngestionError(
                f"{taken[relationship.from_table, relationship.to_table]} and {key} both relate {relationship.from_table} to"
                f" {relationship.to_table}: name one as inactive under relationships of powerbi/model.yml"
            )
        # a relationship of a table with itself cannot be, and one between dimensions is a second way to one of them
        if relationship.active and (relationship.from_table != facts or relationship.to_table == facts):
            raise IngestionError(
                f"{key} relates {relationship.from_table} to {relationship.to_table}, which makes no star: name it with a"
                " reason as left_out under relationships of powerbi/model.yml"
            )
        if relationship.active:
            taken[relationship.from_table, relationship.to_table] = key
    return [found[key] for key in sorted(found)]


def _measures(manifest: dict[str, Any], entries: list[dict[str, Any]]) -> list[Measure]:
    metrics = {metric["name"]: metric for metric in manifest["metrics"].values()}
    measures = []
    for entry in entries:
        metric = metrics.get(entry.get("metric"))
        if "metric" in entry and metric is None:
            raise IngestionError(
                f"powerbi/model.yml names the metric {entry['metric']}, which dbt's semantic layer does not have"
            )
        name, description = (metric["label"], metric["description"]) if metric else (entry["name"], entry["description"])
        measures.append(
            Measure(name, _words(description), entry["dax"], entry["folder"], entry.get("format"), entry.get("metric"))
        )
    missing = set(metrics) - {measure.metric for measure in measures}
    if missing:
        raise IngestionError(f"powerbi/model.yml has no measure for the metric {sorted(missing)[0]} of dbt's semantic layer")
    return measures


def unknown_references(dax: str, model: Model) -> list[str]:
    """The references in a DAX expression that the model does not have: 'Table'[Column], and [Measure] without a table."""
    code = re.sub(r'"(?:[^"]|"")*"', '""', dax)
    columns = {(table.name.lower(), column.name.lower()) for table in model.tables for column in table.columns}
    measures = {measure.name.lower() for measure in model.measures}
    unknown = []
    for quoted, plain, name in re.findall(r"(?:'([^']+)'|\b([A-Za-z_]\w*))?\[([^\]]+)\]", code):
        table = quoted or plain
        if table and (table.lower(), name.lower()) not in columns:
            unknown.append(f"{table}[{name}]")
        elif not table and name.lower() not in measures:
            unknown.append(f"[{name}]")
    return unknown


# -- TMDL ---------------------------------------------------------------------------------------------------------------------


def _id(*path: str) -> str:
    return str(uuid.uuid5(NAMESPACE, "/".join(path)))


def _quoted(name: str) -> str:
    """An object's name in TMDL, in quotes where it has a blank or a sign that means something there."""
    return "'" + name.replace("'", "''") + "'" if re.search(r"[\s.=:']", name) else name


def _described(text: str, tabs: int) -> Iterator[str]:
    for line in textwrap.wrap(text, 110, break_long_words=False, break_on_hyphens=False):
        yield "\t" * tabs + f"/// {line}"


def _assigned(left: str, text: str, tabs: int) -> Iterator[str]:
    """An expression after its equals sign; of several lines, on lines of its own, which begin with that many tabs."""
    if "\n" not in text:
        yield f"{left} = {text}"
        return
    yield f"{left} ="
    for line in text.splitlines():
        yield "\t" * tabs + line


def _text(value: str) -> str:
    """A text of M."""
    return '"' + value.replace('"', '""') + '"'


def _columns_tmdl(table: Table) -> Iterator[str]:
    for column in table.columns:
        yield ""
        yield from _described(column.description, 1)
        yield f"\tcolumn {_quoted(column.name)}"
        yield f"\t\tdataType: {column.type}"
        if column.hidden:
            yield "\t\tisHidden"
        if column.source == table.date:
            yield "\t\tisKey"
        if column.format:
            yield f"\t\tformatString: {column.format}"
        if column.folder:
            yield f"\t\tdisplayFolder: {column.folder}"
        yield f"\t\tlineageTag: {_id(table.name, 'column', column.name)}"
        if column.category:
            yield f"\t\tdataCategory: {column.category}"
        yield "\t\tsummarizeBy: none"
        yield f"\t\tsourceColumn: {column.source}"
        if column.sort_by:
            yield f"\t\tsortByColumn: {_quoted(table.column(column.sort_by).name)}"
        yield ""
        yield "\t\tannotation SummarizationSetBy = User"
        if column.is_date:
            yield ""
            yield "\t\tannotation UnderlyingDateTimeDataType = Date"


def _measures_tmdl(table: str, measures: list[Measure]) -> Iterator[str]:
    for measure in measures:
        yield ""
        yield from _described(measure.description, 1)
        yield from _assigned(f"\tmeasure {_quoted(measure.name)}", measure.dax, 3)
        if measure.format:
            yield f"\t\tformatString: {measure.format}"
        yield f"\t\tdisplayFolder: {measure.folder}"
        yield f"\t\tlineageTag: {_id(table, 'measure', measure.name)}"
        if measure.metric:
            yield ""
            yield f"\t\tannotation dbt_metric = {measure.metric}"


def _hierarchies_tmdl(table: Table) -> Iterator[str]:
    for name, levels in table.hierarchies.items():
        yield ""
        yield f"\thierarchy {_quoted(name)}"
        yield f"\t\tlineageTag: {_id(table.name, 'hierarchy', name)}"
        for source in levels:
            level = table.column(source).name
            yield ""
            yield f"\t\tlevel {_quoted(level)}"
            yield f"\t\t\tlineageTag: {_id(table.name, 'hierarchy', name, level)}"
            yield f"\t\t\tcolumn: {_quoted(level)}"


#: The catalog as Power Query's connector gives it. Every part of the path is a parameter.
_CATALOG = (
    "Databricks.Catalogs(Host, HttpPath, [Catalog = Catalog, Database = null, EnableAutomaticProxyDiscovery = null])"
    '{[Name = Catalog, Kind = "Database"]}[Data]'
)


def _listed(names: list[str], before: str) -> str:
    """Names with commas between them, on as many lines as they need; each but the first begins with `before`."""
    return textwrap.fill(", ".join(names), 110, break_long_words=False, break_on_hyphens=False).replace("\n", f"\n{before}")


def source_query(table: Table, model: Model) -> str:
    """The M expression that reads a table's columns from gold; with incremental refresh, the rows of one range of days."""
    steps = [
        f"Database = {_CATALOG}",
        'Schema = Database{[Name = GoldSchema, Kind = "Schema"]}[Data]',
        f'Source = Schema{{[Name = {_text(table.source)}, Kind = "Table"]}}[Data]',
    ]
    rows = "Source"
    if table.refresh and model.mode == "import":
        day = f"[{table.refresh['column']}]"
        steps.append(f"InRange = Table.SelectRows(Source, each {day} >= Date.From(RangeStart) and {day} < Date.From(RangeEnd))")
        rows = "InRange"
    names = _listed([_text(column.source) for column in table.columns], " " * 8)
    steps.append(f"Columns = Table.SelectColumns({rows}, {{\n        {names}\n    }})")
    return "let\n" + ",\n".join(f"    {step}" for step in steps) + "\nin\n    Columns"


def fingerprint_query(table: Table) -> str:
    """The M expression whose text changes when any row of a month does: their number, and the sum of a hash over all watched
    columns. Power BI asks for it month by month, and loads a month anew where it differs."""
    refresh = table.refresh or {}
    names = [column.source for column in table.columns if column.source not in refresh["unwatched"]]
    watched = _listed(names, " " * 12).replace("\n" + " " * 12, ' "\n        & "')
    day = 'Date.ToText(Date.From({}), [Format = "yyyy-MM-dd"])'
    return "\n".join(
        [
            "let",
            "    Query =",
            "        \"select concat(count(*), ' ', coalesce(sum(cast(xxhash64(\"",
            f'        & "{watched}"',
            '        & ") as decimal(38, 0))), 0)) as fingerprint"',
            f'        & " from `" & Catalog & "`.`" & GoldSchema & "`.{table.source}"',
            f'        & " where {refresh["column"]} >= date\'" & {day.format("RangeStart")} & "\'"',
            f'        & " and {refresh["column"]} < date\'" & {day.format("RangeEnd")} & "\'",',
            f"    Result = Value.NativeQuery({_CATALOG}, Query, null, [EnableFolding = true])",
            "in",
            "    Result{0}[fingerprint]",
        ]
    )


def _partition_tmdl(table: Table, model: Model) -> Iterator[str]:
    yield ""
    yield f"\tpartition {_quoted(table.name)} = m"
    # dual: beside a table that is asked for at every click, one that joins with it is in memory and can be asked too
    yield f"\t\tmode: {model.mode if model.mode == 'import' or table is model.tables[0] else 'dual'}"
    yield from _assigned("\t\tsource", source_query(table, model), 4)


def _refresh_tmdl(table: Table, model: Model) -> Iterator[str]:
    if not table.refresh or model.mode != "import":
        return
    yield ""
    yield "\trefreshPolicy"
    yield "\t\tpolicyType: basic"
    # In months, not years: what leaves the window is a month, and what is loaded anew is a month.
    yield "\t\trollingWindowGranularity: month"
    yield f"\t\trollingWindowPeriods: {table.refresh['months']}"
    yield "\t\tincrementalGranularity: month"
    yield f"\t\tincrementalPeriods: {table.refresh['months']}"
    yield from _assigned("\t\tpollingExpression", fingerprint_query(table), 3)
    yield from _assigned("\t\tsourceExpression", source_query(table, model), 3)


def _table_tmdl(table: Table, model: Model) -> str:
    lines = [*_described(table.description, 0), f"table {_quoted(table.name)}", f"\tlineageTag: {_id(table.name)}"]
    if table.date:
        lines.append("\tdataCategory: Time")
    lines += _refresh_tmdl(table, model)
    if table is model.tables[0]:
        lines += _measures_tmdl(table.name, model.measures)
    lines += [*_columns_tmdl(table), *_hierarchies_tmdl(table), *_partition_tmdl(table, model)]
    lines += ["", "\tannotation PBI_ResultType = Table", "", f"\tannotation dbt_model = {table.source}"]
    return _file(lines)


def _file(lines: list[str]) -> str:
    """A TMDL file, which Microsoft's own serializer ends with an empty line."""
    return "\n".join(lines).rstrip("\n") + "\n\n"


def _expressions_tmdl(model: Model) -> str:
    told = {
        "Host": "The workspace's host name, without https://.",
        "HttpPath": "The HTTP path of the SQL warehouse.",
        "Catalog": "The catalog of Unity Catalog.",
        "GoldSchema": "The schema of the gold tables; dev_ada_gold where dbt's schema is dev_ada.",
    }
    if set(told) != set(model.parameters):
        raise IngestionError(f"parameters of powerbi/model.yml must be {', '.join(told)}")
    lines = []
    for name, value in model.parameters.items():
        kind = 'meta [IsParameterQuery = true, Type = "Text", IsParameterQueryRequired = true]'
        lines += [f"/// {told[name]}", f"expression {name} = {_text(value)} {kind}"]
        lines += [f"\tlineageTag: {_id('expression', name)}", "", "\tannotation PBI_ResultType = Text", ""]
    if model.mode == "import":
        # As committed, they leave nothing out; Power BI sets them for each month that it loads.
        first, last = model.dates
        for name, day in {"RangeStart": first, "RangeEnd": f"{int(last[:4]) + 1}-01-01"}.items():
            year, month, number = (int(part) for part in day.split("-"))
            moment = f"#datetime({year}, {month}, {number}, 0, 0, 0)"
            kind = 'meta [IsParameterQuery = true, Type = "DateTime", IsParameterQueryRequired = true]'
            lines += [
                f"/// The {'first day that is loaded' if name == 'RangeStart' else 'day after the last that is loaded'}, by"
                " invoice date. Incremental refresh sets it for each month.",
                f"expression {name} = {moment} {kind}",
                f"\tlineageTag: {_id('expression', name)}", "", "\tannotation PBI_ResultType = DateTime", "",
            ]  # fmt: skip
    return _file(lines)


def _relationships_tmdl(model: Model) -> str:
    lines = []
    for each in model.relationships:
        ends = [
            f"{_quoted(each.from_table)}.{_quoted(each.from_column)}",
            f"{_quoted(each.to_table)}.{_quoted(each.to_column)}",
        ]
        lines.append(f"relationship {_id('relationship', *ends)}")
        if not each.active:
            lines.append("\tisActive: false")
        if each.certain:
            lines.append("\trelyOnReferentialIntegrity")
        lines += [f"\tfromColumn: {ends[0]}", f"\ttoColumn: {ends[1]}", ""]
    return _file(lines)


def _role_tmdl(name: str, description: str, hides: list[tuple[str, str]]) -> str:
    lines = [*_described(description, 0), f"role {_quoted(name)}", "\tmodelPermission: read"]
    for table, column in hides:
        lines += ["", f"\ttablePermission {_quoted(table)}", "", f"\t\tcolumnPermission {_quoted(column)} = none"]
    return _file(lines)


def _model_tmdl(model: Model) -> str:
    queries = [*model.parameters, *(["RangeStart", "RangeEnd"] if model.mode == "import" else [])]
    lines = [
        "model Model", "\tculture: en-US", "\tdefaultPowerBIDataSourceVersion: powerBI_V3", "\tdiscourageImplicitMeasures",
        "\tsourceQueryCulture: en-US", "",
        # no hidden date table for each column of dates: Dates is the calendar
        "annotation __PBI_TimeIntelligenceEnabled = 0", "",
        f"annotation PBI_QueryOrder = {json.dumps([*queries, *(table.name for table in model.tables)])}", "",
        *(f"ref table {_quoted(table.name)}" for table in model.tables), "",
        *(f"ref role {_quoted(name)}" for name in model.roles),
    ]  # fmt: skip
    return _file(lines)


def _json(content: Any) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _platform(kind: str, description: str) -> str:
    return _json(
        {
            "$schema": f"{SCHEMAS}/gitIntegration/platformProperties/2.0.0/schema.json",
            "metadata": {"type": kind, "displayName": PROJECT, "description": description},
            "config": {"version": "2.0", "logicalId": _id(kind)},
        }
    )


@contextlib.contextmanager
def _complete(name: str) -> Iterator[None]:
    """Within, a key that is missing is one of the file of that name."""
    try:
        yield
    except KeyError as error:
        raise IngestionError(f"something in powerbi/{name} has no {error.args[0]}") from error


def _exposure(manifest: dict[str, Any]) -> dict[str, Any]:
    for exposure in manifest["exposures"].values():
        if exposure["name"] == EXPOSURE:
            return exposure
    raise IngestionError(f"models/_exposures.yml has no {EXPOSURE}, which the Power BI project is")


def definition(manifest: dict[str, Any], folder: Path = FOLDER) -> dict[str, str]:
    """Every file of the project: its text, by its path with slashes below powerbi/.

    manifest is dbt's, folder has model.yml and report.yml. Raises IngestionError, one sentence, for what does not fit together.
    """
    from serving.power_bi_report import report_files

    with _complete("model.yml"):
        model = semantic_model(manifest, read_mapping("model.yml", folder))
    with _complete("report.yml"):
        report = report_files(read_mapping("report.yml", folder), model)
    described = _words(_exposure(manifest)["description"])
    files = {
        f"{PROJECT}.pbip": _json(
            {
                "$schema": f"{SCHEMAS}/pbip/pbipProperties/1.0.0/schema.json",
                "version": "1.0",
                "artifacts": [{"report": {"path": REPORT}}],
                "settings": {"enableAutoRecovery": True},
            }
        ),
        f"{PROJECT}.pbids": _json(_connection(model)),
        f"{SEMANTIC_MODEL}/.platform": _platform("SemanticModel", described),
        f"{SEMANTIC_MODEL}/definition.pbism": _json(
            {
                "$schema": f"{SCHEMAS}/item/semanticModel/definitionProperties/1.0.0/schema.json",
                "version": "4.2",
                "settings": {"qnaEnabled": False},
            }
        ),
        f"{SEMANTIC_MODEL}/definition/database.tmdl": _file(["database", "\tcompatibilityLevel: 1601"]),
        f"{SEMANTIC_MODEL}/definition/model.tmdl": _model_tmdl(model),
        f"{SEMANTIC_MODEL}/definition/expressions.tmdl": _expressions_tmdl(model),
        f"{SEMANTIC_MODEL}/definition/relationships.tmdl": _relationships_tmdl(model),
        f"{REPORT}/.platform": _platform("Report", described),
        f"{REPORT}/definition.pbir": _json(
            {
                "$schema": f"{SCHEMAS}/item/report/definitionProperties/2.0.0/schema.json",
                "version": "4.0",
                "datasetReference": {"byPath": {"path": f"../{SEMANTIC_MODEL}"}},
            }
        ),
    }
    for table in model.tables:
        files[f"{SEMANTIC_MODEL}/definition/tables/{table.name}.tmdl"] = _table_tmdl(table, model)
    for name, (description, hides) in model.roles.items():
        files[f"{SEMANTIC_MODEL}/definition/roles/{name}.tmdl"] = _role_tmdl(name, description, hides)
    for path, content in report.items():
        files[f"{REPORT}/{path}"] = _json(content)
    return files


def _connection(model: Model) -> dict[str, Any]:
    """A .pbids file: it opens Power BI Desktop at the connector, with the address filled in; it cannot name tables."""
    address = {"host": model.parameters["Host"], "path": model.parameters["HttpPath"]}
    return {
        "version": "0.1",
        "connections": [
            {
                "details": {"protocol": "databricks-sql", "address": address, "authentication": None, "query": None},
                "options": {"Catalog": model.parameters["Catalog"], "Database": model.parameters["GoldSchema"]},
                "mode": "Import" if model.mode == "import" else "DirectQuery",
            }
        ],
    }


def _present(folder: Path) -> set[str]:
    """What of the project is there: paths below the folder, without what Power BI Desktop keeps for itself."""
    places = [folder / SEMANTIC_MODEL, folder / REPORT]
    files = [file for place in places for file in place.rglob("*") if file.is_file() and ".pbi" not in file.parts]
    files += [file for file in (folder / f"{PROJECT}.pbip", folder / f"{PROJECT}.pbids") if file.is_file()]
    return {file.relative_to(folder).as_posix() for file in files}


def write(folder: Path = FOLDER, manifest: dict[str, Any] | None = None) -> list[Path]:
    """Write the project into a folder; returns the files that changed, those among them that are gone too.

    model.yml and report.yml are read from this repository, manifest is dbt's (without one the project is parsed). Raises
    IngestionError as `definition` does.
    """
    files = definition(parsed_for_production()[0] if manifest is None else manifest)
    changed = []
    for path in sorted(_present(folder) - set(files)):
        (folder / path).unlink()
        changed.append(folder / path)
    for path, text in files.items():
        file = folder / path
        if not file.is_file() or file.read_bytes() != text.encode():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(text.encode())
            changed.append(file)
    return changed


def check(folder: Path = FOLDER, manifest: dict[str, Any] | None = None) -> list[str]:
    """One sentence for each thing that is not as `write` would leave it, or that dbt's exposure does not say.

    Arguments and errors as of `write`; an empty list is a project that fits.
    """
    manifest = parsed_for_production()[0] if manifest is None else manifest
    files, present = definition(manifest), _present(folder)
    found = [f"powerbi/{path} is missing: run make power-bi" for path in sorted(set(files) - present)]
    found += [f"powerbi/{path} belongs to nothing: run make power-bi" for path in sorted(present - set(files))]
    for path in sorted(present & set(files)):
        if (folder / path).read_bytes() != files[path].encode():
            found.append(f"powerbi/{path} is not what dbt's manifest, model.yml and report.yml make: run make power-bi")
    read = set(read_mapping("model.yml")["tables"])
    named = {key.rpartition(".")[2] for key in _exposure(manifest)["depends_on"]["nodes"]}
    for table in sorted(read - named):
        found.append(f"models/_exposures.yml: {EXPOSURE} reads {table}, which its depends_on does not name")
    return found
