"""Data Factory's pipeline, its statements run for real: the source's on PostgreSQL, Databricks' on the local endpoint.

What stands between them here is Data Factory's part: to evaluate the expressions and to carry the rows.
"""

import contextlib
import importlib.util
import json
import re
from datetime import UTC, datetime, timedelta

import pytest

from tests.conftest import ROOT, connect
from tests.fixtures_ingestion import NOW, SourceSchema, home, postgres, source  # noqa: F401

FOLDER = ROOT / "deploy" / "azure_data_factory"
#: Of this suite alone: the endpoint is shared.
SCHEMA = "bronze_run_of_data_factory"


@pytest.fixture(scope="module")
def land():
    spec = importlib.util.spec_from_file_location("land", FOLDER / "land.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Databricks:
    """SQL on the endpoint, with as much of a notebook's `spark` as the notebook uses."""

    def __init__(self, cursor):
        self.cursor, self.conf, self.columns = cursor, self, []

    def set(self, name: str, value: str) -> None:
        assert (name, value) == ("spark.sql.session.timeZone", "UTC")  # the endpoint's own

    def sql(self, statement: str):
        self.cursor.execute(statement)
        return self

    def table(self, name: str):
        self.cursor.execute(f"select * from {name} limit 0")
        self.columns = [column[0] for column in self.cursor.description]
        return self

    def first(self) -> dict:
        return self.cursor.fetchone().asDict()

    def rows(self, statement: str) -> list[tuple]:
        self.cursor.execute(statement)
        return [tuple(row) for row in self.cursor.fetchall()]


@pytest.fixture
def databricks(fast_endpoint):
    with contextlib.closing(connect(fast_endpoint)) as connection, connection.cursor() as cursor:
        for statement in (FOLDER / "tables.sql").read_text().replace("bronze_azure_data_factory", SCHEMA).split(";"):
            if statement.strip():
                cursor.execute(statement)
        yield Databricks(cursor)
        for (name,) in [tuple(row)[1:2] for row in cursor.execute(f"show tables in {SCHEMA}").fetchall()]:
            cursor.execute(f"drop table {SCHEMA}.{name}")
        cursor.execute(f"drop schema {SCHEMA}")


class Run:
    """One run of the pipeline, at a time, with parameters in place of their defaults."""

    def __init__(self, databricks: Databricks, source: SourceSchema, land, run_id: str, at: datetime, **parameters):  # noqa: F811
        self.databricks, self.source, self.land = databricks, source, land
        definition = json.loads((FOLDER / "pipeline" / "load_bronze.json").read_text())["properties"]
        defaults = {name: each["defaultValue"] for name, each in definition["parameters"].items()}
        self.names = {f"pipeline().parameters.{name}": value for name, value in {**defaults, **parameters}.items()}
        self.names |= {"pipeline().RunId": run_id, "pipeline().TriggerTime": at}
        self._run(definition["activities"])

    def value(self, data: object) -> object:
        """What an expression comes to: https://learn.microsoft.com/azure/data-factory/control-flow-expression-language-functions"""
        if not isinstance(data, dict):
            return data
        text = data["value"]
        if not text.startswith("@") or text.startswith("@{"):
            return re.sub(r"@\{([^}]*)\}", lambda found: str(self._evaluated(found[1])), text)
        return self._evaluated(text[1:])

    def _evaluated(self, text: str) -> object:
        if text in self.names:
            return self.names[text]
        name, inner = re.fullmatch(r"(string|concat|formatDateTime)\((.*)\)", text).groups()
        if name == "string":
            return str(self._evaluated(inner))  # of true it makes True, as Data Factory does
        if name == "concat":
            parts = [part.strip() for part in inner.split(",")]
            return "".join(part[1:-1] if part[0] == "'" else str(self._evaluated(part)) for part in parts)
        moment, pattern = inner.split(", ")
        assert pattern == "'yyyy-MM-ddTHH:mm:ssZ'"
        return self._evaluated(moment).strftime("%Y-%m-%dT%H:%M:%SZ")

    def _run(self, activities: list[dict]) -> None:
        for each in activities:
            getattr(self, f"_{each['type']}")(each, each["typeProperties"])

    def _ForEach(self, activity: dict, properties: dict) -> None:
        for item in self.value(properties["items"]):
            self.names |= {f"item().{name}": value for name, value in item.items()}
            self._run(properties["activities"])

    def _IfCondition(self, activity: dict, properties: dict) -> None:
        if self.value(properties["expression"]):
            self._run(properties["ifTrueActivities"])

    def _Lookup(self, activity: dict, properties: dict) -> None:
        self.databricks.sql(self.value(properties["source"]["query"]))
        for name, value in self.databricks.first().items():
            self.names[f"activity('{activity['name']}').output.firstRow.{name}"] = value

    def _Copy(self, activity: dict, properties: dict) -> None:
        self.databricks.sql(self.value(properties["sink"]["preCopyScript"]))
        rows = self.source.run(self.value(properties["source"]["query"]))
        added = tuple(self.value(each["value"]) for each in properties["source"].get("additionalColumns", []))
        assert all(isinstance(value, str | None) for row in rows for value in row)
        sink = activity["outputs"][0]["parameters"]
        table = f"{self.value(sink['database'])}.{self.value(sink['table'])}"
        if rows:
            literals = [
                ", ".join("null" if v is None else "'" + v.replace("'", "''") + "'" for v in row + added) for row in rows
            ]
            self.databricks.sql(f"insert into {table} values " + ", ".join(f"({each})" for each in literals))

    def _DatabricksNotebook(self, activity: dict, properties: dict) -> None:
        parameters = {name: self.value(value) for name, value in properties["baseParameters"].items()}
        assert all(isinstance(value, str) for value in parameters.values())
        self.land.main(self.databricks, dict(parameters))
        self.land.main(self.databricks, dict(parameters))  # Data Factory repeats an activity that failed at its very end


def test_rows_and_deletions_of_four_days(databricks, source, land):  # noqa: F811
    source.add(1, 10, net_amount="1234567890123456.78")
    source.run("update invoices set country = 'C''ôte d''Ivoire', due_date = null, updated_at = null where invoice_id = 10")
    source.add(11, at=NOW + timedelta(days=3650))  # dated in the future: it must not move the watermark

    source.run("create view invoice_header as select * from invoices")  # as a real source has other names
    source.run("alter view invoice_header rename column updated_at to changed_at")
    tables = json.loads((FOLDER / "pipeline" / "load_bronze.json").read_text())["properties"]["parameters"]["tables"][
        "defaultValue"
    ]
    for table in tables:
        table["source"] = f"{source.name}.{table['name']}"
    tables[1] |= {"source": f"{source.name}.invoice_header", "updated_at": "changed_at"}
    tables[1] |= {"select": tables[1]["select"].replace("to_char(updated_at", "to_char(changed_at")}

    def run(day: int, **parameters) -> None:
        parameters = {"schema": SCHEMA, "tables": tables, **parameters}
        Run(databricks, source, land, f"run-{day}", NOW + timedelta(days=day), **parameters)

    def landed(day: int) -> list[tuple]:
        return databricks.rows(
            f"select invoice_id, updated_at, _is_deleted from {SCHEMA}.invoices where _adf_run_id = 'run-{day}' "
            "order by cast(invoice_id as int)"
        )

    run(0)
    assert [row[0] for row in landed(0)] == [str(number) for number in range(1, 12)]
    (first,) = databricks.rows(f"select * from {SCHEMA}.invoices where invoice_id = '1'")
    at = datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert first[:6] == ("1", "INV-1", "C1", "DE", "2026-02-01", "2026-03-01")
    assert first[7] == "1234567890123456.78" and first[12:] == ("2026-03-01T12:00:00.000000Z", "run-0", at, False)
    (tenth,) = databricks.rows(f"select country, due_date, updated_at from {SCHEMA}.invoices where invoice_id = '10'")
    assert tenth == ("C'ôte d'Ivoire", None, None)

    # what is older than the lag does not come again, nor what bronze has just so; one change, two deletions, one new row
    source.run("update invoices set updated_at = '2026-01-01' where invoice_id between 2 and 9")
    source.run("update invoices set status = 'paid', updated_at = %s where invoice_id = 1", NOW + timedelta(hours=6))
    source.run("delete from invoices where invoice_id in (3, 11)")
    source.add(12, at=NOW + timedelta(hours=7))
    run(1)
    assert landed(1) == [
        ("1", "2026-03-01T18:00:00.000000Z", False),
        ("3", "2026-03-02 12:00:00Z", True),
        ("11", "2036-02-27 12:00:00Z", True),  # after its row, though that is in the future
        ("12", "2026-03-01T19:00:00.000000Z", False),
    ]

    # too many at once: new rows land, no deletion does, until somebody says that it is right
    source.run("delete from invoices where invoice_id < 8")
    source.add(13, at=NOW + timedelta(days=1, hours=1))
    with pytest.raises(land.TooManyDeleted, match="6 of 11 rows of invoices are gone from the source"):
        run(2)
    assert [(row[0], row[2]) for row in landed(2)] == [("13", False)]
    run(3, compare_keys=False)
    assert landed(3) == []
    run(4, max_deleted_share=1.0)
    assert {row[0] for row in landed(4) if row[2]} == {"1", "2", "4", "5", "6", "7"}
