"""Drivers that people use with Databricks SQL, unmodified, at the local endpoint: JDBC in a JVM, @databricks/sql in Node.

The programs are those that a user would write (tests/clients). The JDBC driver of version 2 stands for the ODBC driver too,
which no registry serves: both are of one family, send the token as a password and read decimals and times as text.
"""

import datetime
import decimal
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from local_databricks.settings import LocalDatabricksError
from local_databricks.spark import find_java, maven_jars
from local_databricks.tls import TRUST_STORE_PASSWORD
from serving import node
from tests.conftest import ROOT, clients, connect

CLIENTS = Path(__file__).resolve().parent.parent / "clients"
JDBC = {
    "3.4.5": "e6e346ef307c9c9b5f269419431880d0fd219b0152ec262162c13b1ba69e48e8",
    "2.8.7": "5c9c84f3c0317f103fe69dc80d0b43e8638cb4006dcaefd47c10a46dd5b76b8b",
}
#: Eclipse's compiler is a jar that a JRE runs, so that no JDK is needed.
COMPILER = ("org.eclipse.jdt", "ecj", "3.43.0"), "c786468c65e906498e7e36ece4e0d04c6d3dd34c9a61b34a3a5b512801911a82"
SCHEMA, TABLE = "sql_clients", "every_type"


def say(line: str) -> None:
    print(line)


@pytest.fixture(scope="session")
def java() -> Path:
    return find_java()


@pytest.fixture(scope="session")
def classes(java, tmp_path_factory) -> Path:
    """The folder of the compiled program."""
    folder = tmp_path_factory.mktemp("classes")
    module, sha256 = COMPILER
    jar = next(maven_jars(java, module, "Eclipse's Java compiler", say, sha256).glob("ecj-*.jar"))
    compiled = subprocess.run(
        [java, "-jar", jar, "-17", "-proc:none", "-d", folder, CLIENTS / "ReadTable.java"],
        capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert compiled.returncode == 0, compiled.stdout + compiled.stderr
    return folder


@dataclass(frozen=True)
class Printed:
    """What ReadTable.java printed."""

    lines: list[list[str]]

    def all(self, what: str) -> list[list[str]]:
        """The fields of each line that begins with this word."""
        return [fields for name, *fields in self.lines if name == what]

    def one(self, what: str) -> list[str]:
        [fields] = self.all(what)
        return fields


@pytest.fixture(scope="session")
def read_by_jdbc(java, classes) -> Callable[..., Printed]:
    """A function that runs ReadTable.java with a version of the driver at an endpoint."""

    def read(environment: dict[str, str], schema: str, table: str, version: str = "3.4.5", options: str = "") -> Printed:
        folder = maven_jars(java, ("com.databricks", "databricks-jdbc", version), "Databricks' JDBC driver", say, JDBC[version])
        url = (
            f"jdbc:databricks://{environment['LOCAL_DATABRICKS_HOST']}/default;transportMode=http;ssl=1;AuthMech=3;"
            f"httpPath={environment['LOCAL_DATABRICKS_HTTP_PATH']};CheckCertRevocation=0;"
            f"SSLTrustStore={environment['LOCAL_DATABRICKS_TRUST_STORE']};SSLTrustStorePwd={TRUST_STORE_PASSWORD};{options}"
        )
        done = subprocess.run(
            [
                # the driver's Arrow reads the memory of buffers
                java, "--add-opens=java.base/java.nio=ALL-UNNAMED", "-Xmx512m", "-Duser.timezone=UTC",
                "-Dstdout.encoding=UTF-8", "-cp", os.pathsep.join([str(classes), f"{folder}/*"]), "ReadTable", schema, table,
            ],
            env={**os.environ, "JDBC_URL": url, "DATABRICKS_TOKEN": environment["LOCAL_DATABRICKS_TOKEN"]},
            capture_output=True, text=True, timeout=1800,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return Printed([line.split("\t") for line in done.stdout.splitlines()])

    return read


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """The folder of the Node driver, installed once for every clone."""
    return node.packages(CLIENTS)


@pytest.fixture(scope="session")
def read_by_node(node_modules) -> Callable[..., dict]:
    """A function that runs read_table.js at an endpoint and gives what it printed."""

    def read(environment: dict[str, str], schema: str, table: str, variables: dict[str, str]) -> subprocess.CompletedProcess:
        return subprocess.run(
            [*node.command(), "node", CLIENTS / "read_table.js", schema, table],
            env={
                **os.environ, "NODE_PATH": str(node_modules), "TZ": "UTC",
                "DATABRICKS_HOST": environment["LOCAL_DATABRICKS_HOST"],
                "DATABRICKS_HTTP_PATH": environment["LOCAL_DATABRICKS_HTTP_PATH"],
                "DATABRICKS_TOKEN": environment["LOCAL_DATABRICKS_TOKEN"], **variables,
            },
            capture_output=True, text=True, timeout=1800,
        )  # fmt: skip

    return read


@pytest.fixture(scope="module")
def gold(undisturbed) -> dict[str, str]:
    """The endpoint of a lakehouse with gold, as the variables of its clients."""
    return clients(undisturbed.environment)


@pytest.fixture(scope="module")
def endpoint_with_a_table(gold, endpoint_of) -> Iterator[Callable[[str], dict[str, str]]]:
    """A function from an engine to an endpoint, which has a table with a column of every type and a view, until the end.

    On Spark it is gold's, whose engine need not be started for this.
    """
    prepared: dict[str, dict[str, str]] = {}

    def prepare(engine: str) -> dict[str, str]:
        if engine not in prepared:
            prepared[engine] = gold if engine == (os.environ.get("ENGINE") or "spark").lower() else endpoint_of(engine)
            execute(
                prepared[engine],
                f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}",
                f"CREATE OR REPLACE TABLE {SCHEMA}.{TABLE} (number INT NOT NULL COMMENT 'A key', yes BOOLEAN, tiny TINYINT,"
                " small SMALLINT, big BIGINT, single FLOAT, half DOUBLE, amount DECIMAL(18,2), text STRING, raw BINARY,"
                " day DATE, moment TIMESTAMP, list ARRAY<INT>, pair STRUCT<A: INT, b: STRING>) USING DELTA",
                f"INSERT INTO {SCHEMA}.{TABLE} SELECT 1, true, 1Y, 2S, 4L, cast(1.5 as float), 2.5D, 12.34BD, 'ü',"
                " cast('ab' as binary), date'2024-02-29', timestamp'2024-02-29 12:34:56.5', array(1, 2),"
                " named_struct('A', 1, 'b', 'x')",
                f"INSERT INTO {SCHEMA}.{TABLE} SELECT 2{', null' * 13}",
                f"CREATE OR REPLACE VIEW {SCHEMA}.a_view AS SELECT number FROM {SCHEMA}.{TABLE}",
            )
        return prepared[engine]

    yield prepare
    for environment in prepared.values():
        execute(environment, f"DROP SCHEMA {SCHEMA} CASCADE")


def execute(environment: dict[str, str], *statements: str) -> None:
    with connect(environment) as connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


# ---- JDBC


@pytest.fixture(
    scope="module",
    params=[("3.4.5", "spark", ""), ("3.4.5", "sail", "EnableArrow=0"), ("2.8.7", "sail", "")],
    ids=["newest on Spark", "newest without Arrow on Sail", "version 2 on Sail"],
)
def printed(request, endpoint_with_a_table, read_by_jdbc) -> Printed:
    version, engine, options = request.param
    options += ";EnableComplexDatatypeSupport=1" if version > "3" else ""
    return read_by_jdbc(endpoint_with_a_table(engine), SCHEMA, TABLE, version, options)


def test_jdbc_browses_the_catalog(printed):
    assert printed.one("catalog") == ["hive_metastore"]
    assert printed.one("schema") == ["hive_metastore", SCHEMA]
    assert sorted(printed.all("table")) == [["a_view", "VIEW"], [TABLE, "TABLE"]]
    columns = {name: rest for name, *rest in printed.all("column")}
    assert list(columns) == ("number yes tiny small big single half amount text raw day moment list pair".split()), (
        "in their order"
    )
    assert columns["number"] == ["INT", "4", "10", "0", "NO", "1", "A key"]
    assert columns["amount"][:5] == ["DECIMAL", "3", "18", "2", "YES"]
    assert columns["moment"][:2] == ["TIMESTAMP", "93"] and columns["list"][0] == "ARRAY<INT>"
    assert columns["pair"][-2:] == ["14", ""]
    assert printed.one("none") == ["0"] * 5, "keys, functions, tables of a catalog that is not there"
    assert printed.one("types")[::2] == ["true", "true"]
    assert printed.one("here")[1:] == ["default", "true"] and printed.one("then") == [SCHEMA]


def test_jdbc_reads_every_type(printed):
    values = {name: value for name, _, _, value in printed.all("value")}
    assert values == {
        "number": "1", "yes": "true", "tiny": "1", "small": "2", "big": "4", "single": "1.5", "half": "2.5",
        "amount": "12.34", "text": "ü", "raw": "[97, 98]", "day": "2024-02-29", "moment": "2024-02-29 12:34:56.5",
        "list": values["list"], "pair": values["pair"],
    }  # fmt: skip
    assert [int(n) for n in values["list"].strip("[]").split(",")] == [1, 2]
    assert '"x"' in values["pair"] or "x" in values["pair"]
    classes = {name: kind for name, _, kind, _ in printed.all("value")}
    assert classes["amount"] == "java.math.BigDecimal" and classes["day"] == "java.sql.Date"
    assert classes["moment"] == "java.sql.Timestamp" and classes["yes"] == "java.lang.Boolean"
    assert printed.one("rows") == ["2"]
    assert [fields[1] for fields in printed.all("sum")] == ["2"] + ["1"] * 13, "nulls are nulls"


def test_jdbc_binds_parameters(printed):
    assert dict(printed.all("parameter")) == {
        "text": "it's \\ a \"text\" ü", "amount": "-12.34", "whole": "42", "big": "-9223372036854775807", "half": "-0.5",
        "yes": "true", "day": "2024-02-29", "moment": "2024-02-29 12:34:56.789", "nothing": "null", "literal": "why ?",
    }  # fmt: skip


def test_jdbc_reads_a_large_result(printed):
    assert printed.one("large") == ["250000", str(sum(range(250_000))), str(sum(len(str(i)) for i in range(250_000)))]


def test_jdbc_tells_errors_with_their_sqlstate_and_sentence(printed):
    errors = {sql: (state, message) for sql, state, message in printed.all("error")}
    states = {"SELECT * FROM no_such_table": "42P01", "SELECT 1 / 0": "22012", "SELECT (1": "42601"}
    assert {sql: state for sql, (state, _) in errors.items()} == states
    assert all("[" in message and "no error details" not in message for _, message in errors.values())
    assert "DIVIDE_BY_ZERO" in errors["SELECT 1 / 0"][1]


def test_jdbc_cancels_a_statement_and_goes_on(printed):
    state, milliseconds = printed.one("cancelled")
    assert state == "HY008" and int(milliseconds) < 600_000  # and not never
    assert printed.one("after") == ["1"]


def test_jdbc_refuses_a_wrong_token(endpoint_with_a_table, read_by_jdbc):
    with pytest.raises(AssertionError, match="(?i)invalid access token|401"):
        read_by_jdbc(endpoint_with_a_table("sail") | {"LOCAL_DATABRICKS_TOKEN": "wrong"}, SCHEMA, TABLE)


def test_a_jar_with_another_checksum_is_not_kept(java, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(LocalDatabricksError, match="ecj.*SHA-256"):
        maven_jars(java, COMPILER[0], "A compiler", say, "0" * 64)
    assert not list((tmp_path / "invoices-countries" / "jars").iterdir())


# ---- Node


@pytest.fixture(scope="module", params=["spark", "sail"])
def found(request, endpoint_with_a_table, read_by_node) -> dict:
    """What read_table.js printed; on Spark the CA is the environment's, on Sail the program's own option."""
    environment = endpoint_with_a_table(request.param)
    name = {"spark": "NODE_EXTRA_CA_CERTS", "sail": "CA_FILE"}[request.param]
    done = read_by_node(environment, SCHEMA, TABLE, {name: environment["LOCAL_DATABRICKS_CA_FILE"]})
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return json.loads(done.stdout)


def test_node_browses_the_catalog(found):
    assert found["server"][0] == "Spark SQL"
    assert [row["TABLE_CAT"] for row in found["catalogs"]] == ["hive_metastore"]
    assert [row["TABLE_SCHEM"] for row in found["schemas"]] == [SCHEMA]
    assert {row["TABLE_NAME"]: row["TABLE_TYPE"] for row in found["tables"]} == {TABLE: "TABLE", "a_view": "VIEW"}
    columns = {row["COLUMN_NAME"]: row for row in found["columns"]}
    assert columns["amount"]["TYPE_NAME"] == "DECIMAL(18,2)" and columns["number"]["REMARKS"] == "A key"
    assert columns["pair"]["TYPE_NAME"] == "STRUCT<A: INT, b: STRING>"
    assert [row["ORDINAL_POSITION"] for row in found["columns"]] == list(range(14))
    assert {row["TABLE_TYPE"] for row in found["tableTypes"]} == {"TABLE", "VIEW"}
    assert {"DECIMAL", "TIMESTAMP"} <= {row["TYPE_NAME"] for row in found["typeInfo"]}
    assert found["functions"] == found["primaryKeys"] == []


def test_node_reads_every_type(found):
    first = found["first"]
    assert first.pop("raw") == {"type": "Buffer", "data": [97, 98]}
    assert first == {
        "number": 1, "yes": True, "tiny": 1, "small": 2, "big": 4, "single": 1.5, "half": 2.5, "amount": 12.34, "text": "ü",
        "day": "2024-02-29T00:00:00.000Z", "moment": "2024-02-29T12:34:56.500Z", "list": [1, 2], "pair": {"A": 1, "b": "x"},
    }  # fmt: skip
    assert found["classes"]["moment"] == found["classes"]["day"] == "Date"
    assert found["rows"] == 2 and found["values"] == {name: 2 if name == "number" else 1 for name in found["classes"]}


def test_node_binds_parameters(found):
    assert found["named"] == {
        "text": "it's \\ a \"text\" ü", "whole": 42, "half": -0.5, "yes": True, "big": "-9223372036854775807",
        "day": "2024-02-29T00:00:00.000Z", "moment": "2024-02-29T12:34:56.789Z", "nothing": None, "literal": "why :text",
    }  # fmt: skip
    assert found["ordinal"] == {"text": "x", "whole": 42}


def test_node_reads_a_large_result_in_chunks(found):
    large = found["large"]
    assert large.pop("chunks") >= 5
    characters = sum(len(str(i)) for i in range(250_000))
    assert large == {"rows": 250_000, "sum": sum(range(250_000)), "characters": characters}


def test_node_is_told_errors_and_cancels(found):
    assert "TABLE_OR_VIEW_NOT_FOUND" in found["errors"]["table"]["message"]
    assert "DIVIDE_BY_ZERO" in found["errors"]["division"]["message"]
    assert "PARSE_SYNTAX_ERROR" in found["errors"]["syntax"]["message"]
    assert "canceled" in found["cancelled"]


def test_node_does_not_connect_without_the_ca(endpoint_with_a_table, read_by_node):
    done = read_by_node(endpoint_with_a_table("sail"), SCHEMA, TABLE, {})
    assert done.returncode == 1 and "certificate" in done.stderr


# ---- gold


def test_both_read_gold_as_python_does(gold, read_by_jdbc, read_by_node):
    """Each column of every invoice: how many values, and what they sum up to."""
    with connect(gold) as connection, connection.cursor() as cursor:
        cursor.execute("select * from gold.fct_invoices")
        facts = cursor.fetchall_arrow()
        cursor.execute("show tables in gold")
        tables = {row.tableName for row in cursor.fetchall()}
    assert len(facts) > 1000

    printed = read_by_jdbc(gold, "gold", "fct_invoices")
    assert {name for name, _ in printed.all("table")} == tables
    assert [fields[0] for fields in printed.all("column")] == facts.column_names
    assert printed.one("rows") == [str(len(facts))]
    for name, values, total in printed.all("sum"):
        column = facts[name].to_pylist()
        assert int(values) == sum(value is not None for value in column), name
        if any(isinstance(value, decimal.Decimal) for value in column):
            assert decimal.Decimal(total) == sum(value for value in column if value is not None) != 0, name

    done = read_by_node(gold, "gold", "fct_invoices", {"NODE_EXTRA_CA_CERTS": gold["LOCAL_DATABRICKS_CA_FILE"]})
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert {row["TABLE_NAME"] for row in found["tables"]} == tables
    assert found["rows"] == len(facts)
    assert found["values"] == {name: len(facts) - facts[name].null_count for name in facts.column_names}


def test_steep_s_metrics_give_what_gold_says(gold):
    """The SQL that Steep is given for each metric, over all invoices, against the aggregates that dbt makes of them."""
    module = yaml.safe_load((ROOT / "deploy" / "steep" / "fct_invoices.yaml").read_text())["module"]
    metrics = {m["identifier"]: m["sql_expression"] for m in module["metrics"] if "sql_expression" in m}
    columns = ", ".join(f"{sql} as {name}" for name, sql in metrics.items())
    with connect(gold) as connection, connection.cursor() as cursor:
        cursor.execute(f"select {columns} from gold.fct_invoices")
        found = cursor.fetchone().asDict()
        cursor.execute(
            "select sum(net_revenue_reporting) as revenue, sum(net_amount_reporting) as net_amount,"
            " sum(tax_amount_reporting) as tax_amount, sum(total_amount_reporting) as total_amount,"
            " sum(invoice_count) as invoices, sum(credit_note_count) as credit_notes,"
            " sum(without_rate_count) as documents_without_rate from gold.agg_invoices_country_month"
        )
        expected = cursor.fetchone().asDict()
        cursor.execute(
            "select sum(if(status = 'overdue', invoice_count, 0)) as overdue_invoices,"
            " sum(if(status in ('draft', 'cancelled'), 0, invoice_count)) as issued_invoices"
            " from gold.agg_invoices_country_month_status"
        )
        expected |= cursor.fetchone().asDict()
    assert expected.keys() | {"average_invoice_value"} == found.keys()
    assert {name: found[name] for name in expected} == expected
    assert 0 < found["average_invoice_value"] < found["total_amount"]


# ---- Python's own parameters


@pytest.mark.parametrize("engine", ["spark", "sail"])
def test_python_binds_parameters_and_is_told_a_missing_one(endpoint_with_a_table, engine):
    with connect(endpoint_with_a_table(engine)) as connection, connection.cursor() as cursor:
        cursor.execute(
            "select :a as a, :b as b, :c as c", {"a": decimal.Decimal("1.50"), "b": datetime.date(2024, 2, 29), "c": None}
        )
        assert list(cursor.fetchone()) == [decimal.Decimal("1.50"), datetime.date(2024, 2, 29), None]
        cursor.execute("select count(*) as n from range(10) where id > ? and id < ?", [3, 8])
        assert cursor.fetchone().n == 4
        with pytest.raises(Exception, match="UNBOUND_SQL_PARAMETER.*:b"):
            cursor.execute("select :a, :b", {"a": 1})
        cursor.execute("select current_catalog(), current_schema() as here")
        assert tuple(cursor.fetchone()) == ("hive_metastore", "default")
        assert [column[0] for column in cursor.description] == ["current_catalog()", "here"]
        cursor.execute("set time zone 'UTC'")  # some tools begin with it
        cursor.execute("describe query select 1 as one, 'x' as two")
        assert [(row.col_name, row.data_type) for row in cursor.fetchall()] == [("one", "int"), ("two", "string")]
