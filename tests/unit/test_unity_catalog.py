"""Who may see what in production: deploy/unity_catalog's SQL and dbt's grants and masks, held against what dbt parsed.

Only a workspace can run the SQL; what can be shown without one is that it parses, that it names what exists and nothing is left
out, what dbt's adapter sends for a masked column, and what the masks' expressions give on an engine.
"""

import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest
import sqlglot
import yaml
from sqlglot import exp

from local_databricks import sql_service
from local_databricks.packages import resolve
from local_databricks.results import NOTHING, Result
from local_databricks.server import Server
from local_databricks.session import quote
from local_databricks.settings import HTTP_PATH, Settings
from tests.conftest import ROOT, connect, free_port

FOLDER = Path(__file__).resolve().parent.parent.parent / "deploy" / "unity_catalog"
WORKSPACE = {
    "DATABRICKS_ENVIRONMENT": "production",
    "DATABRICKS_READERS": "analysts,bi_readers",
    "DATABRICKS_STEWARDS": "country_stewards",
    "DATABRICKS_MASKS": "a_catalog.governance",
}
#: Columns that hold customers: each is masked wherever it is a column of a table in silver or gold.
OF_CUSTOMERS = {"customer_key", "customer_id"}
#: Groups that see what is not masked, or not dbt's.
ENGINEERS, BUILDERS = "data_engineers", "data_platform"


def statements(name: str) -> list[exp.Expression]:
    """The statements of a file, EXECUTE IMMEDIATE ones as what they execute in the catalog a_catalog.

    sqlglot knows no GRANT … ON CATALOG: it is told DATABASE, which no statement here grants on.
    """
    text = (FOLDER / name).read_text()

    def executed(found: re.Match) -> str:
        parts = [part.strip() for part in found[1].split("||")]
        assert all(part == ":catalog" or re.fullmatch(r"'[^']*'", part) for part in parts), found[0]
        sql = "".join("a_catalog" if part == ":catalog" else part[1:-1] for part in parts) + ";"
        assert " ON CATALOG `a_catalog` " in sql
        return sql.replace(" ON CATALOG ", " ON DATABASE ")

    text = re.sub(r"^EXECUTE IMMEDIATE ([^;]+);", executed, text, flags=re.M)
    return sqlglot.parse(text, dialect="databricks")


def grants() -> dict[str, set[tuple[str, str, str]]]:
    """What each group is granted, as (privilege, kind, name)."""
    found: dict[str, set] = {}
    for statement in statements("roles.sql"):
        if isinstance(statement, exp.Grant):
            [principal] = statement.args["principals"]
            for privilege in statement.args["privileges"]:
                kind = statement.args["kind"].upper().replace("DATABASE", "CATALOG")
                name = statement.args["securable"].sql("databricks").strip("`")
                found.setdefault(principal.this.name, set()).add((privilege.sql().upper(), kind, name))
    return found


def functions() -> dict[str, exp.Create]:
    """The masks by name."""
    made = [s for s in statements("masks.sql") if isinstance(s, exp.Create) and s.kind == "FUNCTION"]
    return {s.this.this.name: s for s in made}


@pytest.fixture(scope="module")
def models(parsed) -> list[dict]:
    """The project's models as production has them."""
    nodes = parsed(**WORKSPACE)["nodes"].values()
    return [node for node in nodes if node["resource_type"] == "model" and node["package_name"] == "invoices_countries"]


def test_every_statement_is_understood():
    for name in ("roles.sql", "masks.sql"):
        for statement in statements(name):
            assert not isinstance(statement, exp.Command), statement.sql()
            assert isinstance(statement, (exp.Use, exp.Create, exp.Grant, exp.Insert)), statement.sql()
        assert "USE CATALOG IDENTIFIER(:catalog)" in statements(name)[0].sql("databricks")


def test_every_schema_that_is_written_is_made_and_only_those(parsed):
    made = {s.this.db for s in statements("roles.sql") if isinstance(s, exp.Create)}
    written = {
        node["schema"] for node in parsed(**WORKSPACE)["nodes"].values()
        if node["resource_type"] in ("model", "seed", "snapshot", "test") and node["config"].get("enabled")
    }  # fmt: skip
    stored = {schema for schema in written if schema != "dev_tester"}  # tests that store nothing are of no schema
    # with the stand-ins of packages nobody writes what is about Elementary
    assert made == stored | {"bronze", "governance", "test_failures", "elementary", "observability"}
    granted = {name for what in grants().values() for _, kind, name in what if kind == "SCHEMA"}
    assert granted == made


def test_readers_cannot_write_and_read_no_schema_but_gold():
    found = grants()
    assert set(found) == {BUILDERS, ENGINEERS, "analysts", "bi_readers", "country_stewards"}
    for group, what in found.items():
        assert ("USE CATALOG", "CATALOG", "a_catalog") in what, group
        privileges = {privilege for privilege, _, _ in what}
        if group != BUILDERS:
            assert privileges <= {"USE CATALOG", "USE SCHEMA", "SELECT"}, group
        if group not in (BUILDERS, ENGINEERS):
            assert "SELECT" not in privileges, f"{group}: tables are dbt's to grant"
    schemas = {group: {name for _, kind, name in what if kind == "SCHEMA"} for group, what in found.items()}
    assert schemas["analysts"] == schemas["bi_readers"] == {"gold"}
    assert schemas["country_stewards"] == {"gold", "silver"}
    assert "governance" not in schemas[ENGINEERS], "who reads the key can undo the pseudonyms"


def test_every_gold_model_is_granted_to_its_readers_and_nothing_else_is(models):
    """A new model of gold that is not granted fails here, and so does one elsewhere that is."""
    for model in models:
        granted = model["config"].get("grants", {}).get("select", [])
        if model["schema"] == "gold":
            assert granted == ["analysts", "bi_readers"], model["name"]
        else:
            assert granted == (["country_stewards"] if model["name"] == "silver_country_review" else []), model["name"]


def test_without_stewards_the_readers_review_countries_and_without_groups_nobody_is_granted(parsed):
    def granted(**variables: str) -> list:
        return parsed(**variables)["nodes"]["model.invoices_countries.silver_country_review"]["config"]["grants"].get(
            "select", []
        )

    assert granted(DATABRICKS_READERS="analysts") == ["analysts"]
    assert granted() == []


def test_every_column_with_customers_is_masked(models):
    """In tables: a view has no masks, and its readers see by their own rights what it reads."""
    masked = {}
    for model in models:
        if model["config"]["materialized"] not in ("view", "ephemeral"):
            for column in model["columns"].values():
                mask = column.get("column_mask")
                if column["name"] in OF_CUSTOMERS or (column["name"] == "landed_row" and "invoices" in model["name"]):
                    assert mask, f"{model['name']}.{column['name']} is not masked"
                if mask:
                    masked[model["name"], column["name"]] = mask["function"].rsplit(".", 1)[1]
    assert masked == {
        ("fct_invoices", "customer_key"): "customer_pseudonym",
        ("fct_invoices", "customer_id"): "customer_pseudonym",
        ("dim_customers", "customer_key"): "customer_pseudonym",
        ("dim_customers", "customer_id"): "customer_pseudonym",
        ("silver_invoices", "customer_id"): "customer_or_null",
        ("silver_rejected_invoices", "customer_id"): "customer_or_null",
        ("silver_rejected_invoices", "landed_row"): "customer_or_null",
    }
    assert set(masked.values()) == set(functions())
    merged = {m["name"] for m in models if m["config"].get("incremental_strategy") == "merge"}
    for (model, _), function in masked.items():
        if model in merged:
            assert not functions()[function].find(exp.Subquery), "Databricks refuses MERGE into a table with such a mask"


def test_no_column_is_masked_where_the_variable_is_not_set(parsed):
    for node in parsed()["nodes"].values():
        for column in node.get("columns", {}).values():
            assert not column.get("column_mask"), node["name"]


# ---- what dbt sends

#: No other test's path: dbt-databricks keeps what each path's cluster can do for as long as the process lives.
PATH = f"{HTTP_PATH}-masks"
BUILT = ("silver_invoices", "fct_invoices", "dim_customers")


class Workspace:
    """A Databricks workspace that keeps nothing and writes down what it is told, over the local endpoint's own protocol.

    Of what is there it answers what dbt asks: the columns that the project's models have by `manifest`, tables where
    `has_tables`, no masks on them, and whether the principal is a member of every group by `is_member`.
    """

    def __init__(self, manifest: dict, home: Path):
        self.models = {n["alias"]: n for n in manifest["nodes"].values() if n["resource_type"] == "model"}
        self.statements: list[str] = []
        self.has_tables, self.is_member = False, True
        self.settings = Settings(home, free_port(), 512, "sail")
        engine = SimpleNamespace(ready=True, problem="", title="none", pid=0, handlers={}, on_death=None)
        self.server = Server(self.settings, engine)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def execute(self, _: object, statement: str) -> Result:
        text = " ".join(re.sub(r"/\*.*?\*/", "", statement, flags=re.S).split())
        self.statements.append(text)
        if "is_account_group_member" in text:
            return Result.rows({"member": pa.bool_()}, [(self.is_member,)])
        if "clusterUsageTags.sparkVersion" in text:
            return Result.rows("key value", [("spark.databricks.clusterUsageTags.sparkVersion", "16.4.x-scala2.13")])
        if found := re.fullmatch(r"DESCRIBE TABLE EXTENDED (\S+) AS JSON", text):
            name = re.sub("__(dbt_tmp|contract)$", "", found[1].replace("`", "").split(".")[-1])
            columns = [
                {"name": column["name"], "type": _type(column.get("data_type") or "string"), "nullable": True}
                for column in self.models[name]["columns"].values()
            ]
            facts = {"table_name": name, "type": "MANAGED", "provider": "delta", "table_properties": {}, "columns": columns}
            return Result.rows("json_metadata", [(json.dumps(facts),)])
        if "information_schema`.`tables" in text and self.has_tables:
            names = [n for n, model in self.models.items() if f"'{model['schema']}'" in text and model["name"] in BUILT]
            rows = [(name, "table", "delta", "data_platform", "managed") for name in names]
            return Result.rows("table_name table_type file_format table_owner databricks_table_type", rows)
        if text.startswith("SHOW SCHEMAS"):
            return Result.rows("databaseName", [("silver",), ("gold",)])
        if text.upper().startswith("SHOW GRANTS"):
            return Result.rows("Principal ActionType ObjectType ObjectKey", [("somebody", "SELECT", "TABLE", "t")])
        return Result.of(NOTHING)


def _type(name: str) -> dict:
    found = re.fullmatch(r"decimal\((\d+),\s*(\d+)\)", name)
    return {"name": "decimal", "precision": int(found[1]), "scale": int(found[2])} if found else {"name": name}


@pytest.fixture(scope="module")
def workspace(parsed, tmp_path_factory) -> Iterator[Workspace]:
    with pytest.MonkeyPatch.context() as patch:
        made = Workspace(parsed(**WORKSPACE), tmp_path_factory.mktemp("workspace"))
        patch.setattr(sql_service, "execute", made.execute)
        yield made
        made.server.shutdown()
        made.server.close()


def run_dbt(workspace: Workspace, **state: bool) -> tuple[dict[str, str], list[str]]:
    """Build masked models of both strategies; returns each one's outcome, and the statements that dbt sent."""
    from dbt.cli.main import dbtRunner

    workspace.has_tables, workspace.is_member = state["has_tables"], state["is_member"]
    workspace.statements.clear()
    settings, home = workspace.settings, workspace.settings.home
    output = {
        "type": "databricks", "catalog": "a_catalog", "schema": "dev_tester", "host": settings.address, "http_path": PATH,
        "token": settings.token(), "threads": 1,
        "connection_parameters": {
            "_connection_uri": f"https://{settings.address}/{PATH}", "_tls_trusted_ca_file": str(settings.ca_file),
            "enable_telemetry": False,
        },
    }  # fmt: skip
    profile = {"invoices_countries": {"target": "databricks", "outputs": {"databricks": output}}}
    (home / "profiles.yml").write_text(yaml.safe_dump(profile))
    variables = {"DBT_TARGET_PATH": str(home / "target"), "DBT_LOG_PATH": str(home / "logs")}
    resolve()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (WORKSPACE | variables | {"REQUESTS_CA_BUNDLE": str(settings.ca_bundle_file)}).items():
            patch.setenv(name, value)
        where = ("--project-dir", str(ROOT), "--profiles-dir", str(home))
        done = dbtRunner().invoke(["--quiet", "run", "--select", *BUILT, *where])
    results = done.result or []  # none where a hook at the start stops the run
    outcomes = {r.node.name: f"{r.status}: {r.message}" for r in results if r.node.resource_type == "model"}
    return outcomes or {"the run": f"error: {done.exception}"}, list(workspace.statements)


def positions(statements: list[str], pattern: str) -> list[int]:
    return [number for number, text in enumerate(statements) if re.search(pattern, text, re.I)]


MASKED = [
    ("silver", "invoices", "customer_id", "customer_or_null"),
    ("gold", "fct_invoices", "customer_key", "customer_pseudonym"),
    ("gold", "fct_invoices", "customer_id", "customer_pseudonym"),
    ("gold", "dim_customers", "customer_key", "customer_pseudonym"),
    ("gold", "dim_customers", "customer_id", "customer_pseudonym"),
]


def test_a_table_that_dbt_makes_has_its_masks_before_its_first_row(workspace):
    outcomes, sent = run_dbt(workspace, has_tables=False, is_member=True)
    assert all(outcome.startswith("success") for outcome in outcomes.values()) and len(outcomes) == 3, outcomes
    for schema, table, column, function in MASKED:
        name = rf"`a_catalog`\.`{schema}`\.`{table}`"
        [made] = positions(sent, rf"create or replace table {name} ")
        [filled] = positions(sent, rf"insert into {name} ")
        comment = r"( COMMENT '(\\'|[^'])*')?"
        definition = rf"`{column}` string( NOT NULL)?{comment} MASK a_catalog\.governance\.{function}\b"
        assert made < filled and re.search(definition, sent[made], re.I), sent[made]


def test_a_table_that_is_there_gets_its_masks_before_new_rows_and_keeps_only_its_readers(workspace):
    outcomes, sent = run_dbt(workspace, has_tables=True, is_member=True)
    assert all(outcome.startswith("success") for outcome in outcomes.values()) and len(outcomes) == 3, outcomes
    assert not positions(sent, "create or replace table")
    for schema, table, column, function in MASKED:
        name = rf"`a_catalog`\.`{schema}`\.`{table}`"
        [masked] = positions(sent, rf"alter table {name} alter column `{column}` set mask a_catalog\.governance\.{function}")
        [filled] = positions(sent, rf"(merge .*into|insert overwrite( table)?) {name} ")
        assert masked < filled
    for group in ("analysts", "bi_readers"):
        assert positions(sent, rf"grant select on .*`fct_invoices` to .*`{group}`"), group
    assert positions(sent, r"revoke select on .*`fct_invoices` from `somebody`")
    assert not positions(sent, r"grant .*`silver`\.`invoices`")


def test_a_principal_that_would_write_pseudonyms_builds_nothing(workspace):
    outcomes, sent = run_dbt(workspace, has_tables=True, is_member=False)
    assert not any(outcome.startswith("success") for outcome in outcomes.values())
    assert not positions(sent, "merge|insert|create or replace table")
    assert "no member of the account group customer_data_readers" in outcomes["the run"]


# ---- what the masks give


def answer(function: str, environment: dict[str, str], values: list[str | None], is_member: bool, key: str) -> list[str | None]:
    """A mask's expression over values, with the two facts that only a workspace has put in."""
    body = functions()[function].args["expression"]
    body = body.this if isinstance(body, exp.Return) else body
    sql = body.sql("databricks")
    sql, members = re.subn(r"is_account_group_member\('customer_data_readers'\)", str(is_member).lower(), sql, flags=re.I)
    sql = re.sub(r"\(\s*SELECT\s+MAX\(key\)\s+FROM\s+governance\.pseudonym_key\s*\)", quote(key), sql, flags=re.I)
    assert members == 1 and "governance" not in sql
    rows = ", ".join(
        f"({number}, {'cast(null as string)' if value is None else quote(value)})" for number, value in enumerate(values)
    )
    with connect(environment) as connection, connection.cursor() as cursor:
        cursor.execute(f"select {sql} as masked from values {rows} as t(number, customer) order by number")
        return [row.masked for row in cursor.fetchall()]


CUSTOMERS = ["C0001", "C0002", "unknown", None, "C0001", "c0001"]


@pytest.mark.parametrize("function", ["customer_pseudonym", "customer_or_null"])
def test_members_see_customers(endpoint, function):
    assert answer(function, endpoint, CUSTOMERS, True, "a key") == CUSTOMERS


def test_others_see_stable_pseudonyms_that_differ_and_depend_on_the_key(endpoint):
    first, second, unknown, nothing, again, other_case = answer("customer_pseudonym", endpoint, CUSTOMERS, False, "a key")
    assert re.fullmatch("~[0-9a-f]{20}", first) and first == again
    assert len({first, second, other_case}) == 3
    assert (unknown, nothing) == ("unknown", None)
    assert answer("customer_pseudonym", endpoint, CUSTOMERS, False, "another key")[0] != first
    assert answer("customer_or_null", endpoint, CUSTOMERS, False, "a key") == [None] * len(CUSTOMERS)
