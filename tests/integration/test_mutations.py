"""Every fault of tests/mutations.py, made in a copy of its model, is caught by the test that it names.

The project is copied; in the copy each fault gets a model of its own, fct_invoices__7 beside fct_invoices, with the one test
that must catch it, and with the models on the way to that test. So faults do not touch each other, one dbt run tries all of
them, and nothing has to be restored. Every such set of copies is there once more without the fault: that one must pass.
"""

import functools
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import yaml

from local_databricks.packages import STAND_INS, resolve
from tests.conftest import connect
from tests.fixtures_dbt import ROOT, copy_of_the_project, dbt, environment_of
from tests.mutations import Fault, all_faults, report, source

FAULTS = all_faults()
PREFIX = "mutations_"
TAG = "mutations"

# (invoice_id, country, invoice_date, due_date, currency, net, tax, total, status, updated_at, rescued, deleted, load, row id)
LOAD_1, LOAD_2 = "1772323200.0", "1772409600.0"  # 2026-03-01 and the day after
GOOD = (1, "'DE'", "2026-02-10", "2026-03-12", "EUR", "10.00", "2.00", "12.00", "paid", "2026-02-11", None, None, LOAD_1)
INVOICES = [
    (*GOOD, "r1"),
    (2, "'Germany'", "2026-01-10", "2026-02-10", "USD", "33.33", "6.67", "40.00", "open", *GOOD[9:], "r2"),
    (3, "'Atlantis'", "2025-12-10", "2026-01-10", "GBP", "17.77", "3.37", "21.14", "overdue", *GOOD[9:], "r3"),
    (4, "null", *GOOD[2:], "r4"),
    (5, "'Frankreich'", *GOOD[2:5], "-5.00", "-1.00", "-6.00", "credit_note", *GOOD[9:], "r5"),
    (6, "'FRA'", *GOOD[2:8], "draft", *GOOD[9:], "r6"),
    (7, "'Unspecified'", *GOOD[2:8], "cancelled", *GOOD[9:], "r7"),
    (8, *GOOD[1:4], "AED", *GOOD[5:], "r8"),  # a currency that the ECB does not quote
    (9, *GOOD[1:], "r9"),
    (10, *GOOD[1:], "r10"),
    (11, *GOOD[1:], "r11"),
    (11, *GOOD[1:], "r11"),  # the same delivery, twice
    (None, *GOOD[1:], "no key"),
    (12, *GOOD[1:4], "EUX", *GOOD[5:], "strange currency"),
    (12, *GOOD[1:4], "EUX", *GOOD[5:], "strange currency"),
    (9, "null", None, None, None, None, None, None, None, "2026-03-01", None, "true", LOAD_2, "deletes r9"),
    (10, *GOOD[1:9], "2026-03-01", None, None, LOAD_2, "newer than r10"),
    (11, *GOOD[1:9], "2026-02-01", None, None, LOAD_2, "late, older than r11"),
]
COUNTRIES = [
    ("DE", "Germany", "2026-01-01", "c1"),
    ("DE", "Deutschland", "2026-02-01", "c2"),
    ("FR", "Frankreich", "2026-02-01", "c3"),
    ("XX", "Nowhere", "2026-02-01", "c4"),
    ("XX", "Nowhere", "2026-02-01", "c4"),
]


@functools.cache
def properties(path: Path) -> dict:
    return yaml.safe_load(path.read_text())


@dataclass(frozen=True)
class Copy:
    """The copies of one fault's models, with their test. number: in their names; fault: what is copied, with or without the
    fault itself."""

    number: int
    fault: Fault

    @property
    def tag(self) -> str:
        """What dbt's results are told apart by."""
        return f"{TAG}_{self.number}"

    def named(self, model: str) -> str:
        """A model's name among these copies, which is its own where it has no copy."""
        return f"{model}__{self.number}" if model in self.fault.models else model

    def write(self, project: Path) -> None:
        for model in self.fault.models:
            self._write_model(project, model)
        if test := self.fault.singular_test:
            text = self._jinja(test.read_text(), {"tags": [TAG, self.tag]})
            (project / test.relative_to(ROOT)).with_stem(f"{test.stem}__{self.number}").write_text(text)

    def _write_model(self, project: Path, model: str) -> None:
        path, fault = source(model), self.fault
        text = path.read_text()
        if model == fault.model and fault.macro:
            macro = source(fault.macro).read_text().replace(fault.old, fault.new)
            changed = re.sub(rf"\bmacro {fault.macro}\b", f"macro {fault.macro}__{self.number}", macro)
            (project / "macros" / f"{fault.macro}__{self.number}.sql").write_text(changed)
            text = re.sub(rf"\b{fault.macro}\(", f"{fault.macro}__{self.number}(", text)
        elif model == fault.model and fault.old:
            text = text.replace(fault.old, fault.new)
        copy = (project / path.relative_to(ROOT)).with_stem(self.named(model))
        copy.write_text(self._jinja(text) if path.suffix == ".sql" else self._references(text))
        copy.with_suffix(".yml").write_text(self._references(yaml.safe_dump(self._properties(path), sort_keys=False)))

    def _references(self, text: str) -> str:
        """With references to these copies, where names are written out."""
        return re.sub(r"""\bref\((["'])(\w+)\1\)""", lambda m: f"ref({m[1]}{self.named(m[2])}{m[1]})", text)

    def _jinja(self, text: str, config: dict | None = None) -> str:
        """With references to these copies, also where a template computes the name."""
        names = {model: self.named(model) for model in self.fault.models}
        head = (f"{{{{ config(**{config}) }}}}" if config else "") + f"{{%- set copies = {names} %}}\n"
        return head + re.sub(r"\bref\(([^()]+)\)", r"ref(copies.get(\1, \1))", text)

    def _properties(self, path: Path) -> dict:
        """The copy's yml: what the model needs to be built, and the one test."""
        kind, fault = ("seeds" if path.suffix == ".csv" else "models"), self.fault
        whole = properties(path.parent / "seeds.yml" if kind == "seeds" else path.with_suffix(".yml"))
        (model,) = (model for model in whole[kind] if model["name"] == path.stem)
        is_last = path.stem == fault.models[-1]
        *column, wanted = fault.caught_by.split(": ")
        tags = {"tags": [TAG, self.tag]}

        def tests(of: dict, name: str | None) -> list[dict]:
            if not is_last or name != (column[0] if column else None):
                return []
            found = [next(iter(t.items())) for t in of.get("data_tests", []) if isinstance(t, dict)]
            return [
                {kind: {k: v for k, v in what.items() if k != "name"} | {"config": what.get("config", {}) | tags}}
                for kind, what in found
                if wanted in (kind, what.get("name"))
            ]

        columns = [
            {k: v for k, v in each.items() if k in ("name", "data_type", "constraints")}
            | {"data_tests": tests(each, each["name"])}
            for each in model["columns"]
        ]
        is_built = not fault.is_unit_tested and not (fault.statement and path.stem == fault.model)
        config = model.get("config", {}) | (tags if is_built else {})
        copy = {"name": self.named(path.stem), "config": config, "data_tests": tests(model, None), "columns": columns}
        units = [
            unit | {"model": self.named(path.stem), "config": tags}
            for unit in whole.get("unit_tests", [])
            if unit["name"] == wanted
        ]
        return {kind: [copy]} | ({"unit_tests": units} if units else {})


def without_fault(fault: Fault) -> Fault:
    """What a fault and its likes have in common: their models, untouched, with their test."""
    return replace(fault, name="", old="", new="", macro="", statement="select 1" if fault.statement else "")


COPIES = {fault: Copy(number, fault) for number, fault in enumerate(dict.fromkeys([*FAULTS, *map(without_fault, FAULTS)]), 1)}


def literal(value: object) -> str:
    return "null" if value is None else value if value == "null" or str(value)[0] == "'" else f"'{value}'"


@pytest.fixture(scope="module")
def query(fast_endpoint) -> Iterator[Callable[[str], None]]:
    """A function that runs a statement in which {p} is the schemas' prefix. The tables go with the session's lakehouse."""
    connection = connect(fast_endpoint)

    def run(statement: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(statement.replace("{p}", PREFIX))

    yield run
    connection.close()


def land(query: Callable[[str], None]) -> None:
    """Bronze with a few rows: two loads of invoices, one of countries."""
    query("create schema if not exists {p}bronze")
    query(
        "create table {p}bronze.invoices (invoice_id bigint, country string, invoice_date date, due_date date,"
        " currency_code string, net_amount decimal(18,2), tax_amount decimal(18,2), total_amount decimal(18,2), status string,"
        " updated_at timestamp, _rescued_data string, _is_deleted boolean, _dlt_load_id string, _dlt_id string,"
        " invoice_number string, customer_id string, created_at timestamp) using delta"
    )
    types = (
        "bigint string date date string decimal(18,2) decimal(18,2) decimal(18,2) string timestamp string boolean string string"
    )
    for_sql = [", ".join(f"cast({literal(v)} as {t})" for v, t in zip(row, types.split(), strict=True)) for row in INVOICES]
    query("insert into {p}bronze.invoices values " + ", ".join(f"({row}, null, null, null)" for row in for_sql))
    query(
        "create table {p}bronze.countries using delta as select country_code, country_name, cast(null as string) as region,"
        " cast(null as string) as sub_region, 'EUR' as currency_code, cast(updated_at as timestamp) as updated_at,"
        f" cast(null as string) as _rescued_data, cast(null as boolean) as _is_deleted, '{LOAD_1}' as _dlt_load_id, _dlt_id"
        f" from values {', '.join(map(str, COUNTRIES))} as t (country_code, country_name, updated_at, _dlt_id)"
    )


def table(project_model: str, number: str = "") -> str:
    """A model's table, or the table of its copy."""
    layer = "gold" if "gold" in source(project_model).parts else "silver"
    return f"{{p}}{layer}.{project_model.removeprefix('silver_')}{number}"


@pytest.fixture(scope="module")
def outcomes(fast_endpoint, query, tmp_path_factory) -> dict[str, list[tuple[str, str, str]]]:
    """For every copy's tag, what dbt said of its models and of its test: (kind of node, status, message)."""
    project = copy_of_the_project(tmp_path_factory.mktemp("project"))
    (project / "dbt_packages").mkdir()
    resolve()
    for package in (ROOT / "dbt_packages").iterdir():  # Elementary, which would look on, takes seconds and is not at stake here
        is_off = package.name == "elementary"
        (project / "dbt_packages" / package.name).symlink_to(STAND_INS / "elementary" if is_off else package)
    for copy in COPIES.values():
        copy.write(project)
    environment = environment_of(fast_endpoint, tmp_path_factory.mktemp("dbt"))

    def run(*arguments: str, **options) -> list:
        variables = json.dumps({"schema_prefix": PREFIX})
        return dbt(*arguments, "--vars", variables, env=environment, project=project, **options).results

    land(query)
    needed = {model for fault in FAULTS for model in fault.models}
    tests = {fault.caught_by for fault in FAULTS if fault.singular_test}
    select = [f"+{name}" for name in sorted(needed | tests)]
    run("build", "--select", *select, "--exclude-resource-type", "test", "--exclude-resource-type", "unit_test")
    for fault, copy in COPIES.items():
        if fault.statement or fault.merges:
            name = table(fault.model, f"__{copy.number}")
            query(f"create table {name} using delta as select * from {table(fault.model)}")
            if fault.statement:
                query(fault.statement.replace("{t}", name))
    # as if the last run had been killed before it accounted for the newest load: merges process that load again
    query(f"delete from {table('silver_row_accounting')} where load_id = '{LOAD_2}'")
    said: dict[str, list[tuple[str, str, str]]] = {copy.tag: [] for copy in COPIES.values()}
    results = [result for verb in ("run", "test") for result in run(verb, "--select", f"tag:{TAG}", may_fail=True)]
    for result in results:
        # the node of a unit test has no tags
        for tag in said.keys() & (result.node.tags or {f"{TAG}_{result.node.tested_node_unique_id.split('__')[-1]}"}):
            said[tag].append((str(result.node.resource_type), str(result.status), f"{result.node.name}: {result.message}"))
    return said


def is_caught(fault: Fault, outcome: list[tuple[str, str, str]]) -> bool:
    """Whether the fault's test failed, and nothing else did."""
    models = [(status, message) for kind, status, message in outcome if kind == "model"]
    tests = [status for kind, status, _ in outcome if kind != "model"]
    if fault.caught_by == "contract":
        return [status for status, _ in models] == ["error"] and "enforced contract" in models[0][1]
    return all(status == "success" for status, _ in models) and bool({"fail", "warn"} & set(tests)) and "error" not in tests


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.model}: {fault.name}")
def test_the_fault_can_still_be_made(fault):
    assert source(fault.model).is_file(), f"{fault.name}: there is no model {fault.model} any more"
    if fault.old:
        found = source(fault.macro or fault.model).read_text().count(fault.old)
        assert found, f"{fault.name}: {fault.macro or fault.model} no longer has the text {fault.old!r}; see tests/mutations.py"


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.model}: {fault.name}")
def test_the_fault_is_caught(outcomes, fault):
    sound = outcomes[COPIES[without_fault(fault)].tag]
    assert sound and all(status in ("success", "pass") for _, status, _ in sound), f"without the fault: {sound}"
    assert fault.caught_by == "contract" or {kind for kind, _, _ in sound} & {"test", "unit_test"}, "it names no test"
    outcome = outcomes[COPIES[fault].tag]
    assert is_caught(fault, outcome), f"{fault.caught_by} did not catch it: {outcome}"


def test_the_page_is_what_the_list_says():
    assert (ROOT / "docs" / "mutations.md").read_text() == report(), "run python -m tests.mutations"
