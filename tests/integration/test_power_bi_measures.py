"""The measures of the Power BI project: what their DAX gives, evaluated over gold, is what MetricFlow and gold's tables say."""

import json
import math
import random
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from serving import power_bi
from tests.conftest import clients, connect
from tests.fixtures_dbt import answers_of_metricflow, dbt, environment_of
from tests.fixtures_power_bi import Dax, in_power_bi

SEED = 20260701
#: How many cells of each grouping are evaluated, of those there are.
CELLS = 150
MONTH, YEAR, COUNTRY, STATUS = "Dates.Month start", "Dates.Year", "Countries.Country key", "Invoices.Status"
#: What MetricFlow is asked to group by, with the columns of the semantic model that are the same.
GROUPINGS = {
    "country,metric_time__month": {"country": COUNTRY, "metric_time__month": MONTH},
    "metric_time__month": {"metric_time__month": MONTH},
    "country,invoice__status": {"country": COUNTRY, "invoice__status": STATUS},
}
GROWTH = "revenue_month_over_month"


@dataclass(frozen=True)
class Cell:
    """What is expected where the columns of `filters` have these values: an answer by the measure's name."""

    filters: dict[str, Any]
    expected: dict[str, Any]


@dataclass(frozen=True)
class Gold:
    """Gold of a running endpoint: `query` runs SQL, `environment` are the variables of its clients."""

    query: Callable[[str], list[tuple]]
    environment: dict[str, str]


@pytest.fixture(scope="module")
def gold(undisturbed) -> Iterator[Gold]:
    environment = clients(undisturbed.environment)
    with closing(connect(environment)) as connection:

        def query(statement: str) -> list[tuple]:
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return [tuple(row) for row in cursor.fetchall()]

        yield Gold(query, environment)


@pytest.fixture(scope="module")
def asked(gold, tmp_path_factory) -> tuple[dict[str, Any], dict[str, list[dict[str, str]]]]:
    """dbt's manifest, and MetricFlow's answers by what they are grouped by: rows of texts."""
    folder = Path(tmp_path_factory.mktemp("dbt"))
    environment = environment_of(gold.environment, folder)
    metrics = [entry["metric"] for entry in power_bi.read_mapping("model.yml")["measures"] if "metric" in entry]
    queries = {}
    for grouping in GROUPINGS:
        names = [name for name in metrics if name != GROWTH or "month" in grouping]  # growth needs a month
        queries[grouping] = ("--metrics", ",".join(names), "--group-by", grouping)
    dbt("parse", env=environment)
    found = answers_of_metricflow(*queries.values(), env=environment, folder=folder)
    answers = {grouping: found[query] for grouping, query in queries.items()}
    return json.loads((folder / "manifest.json").read_text()), answers


@pytest.fixture(scope="module")
def model(asked) -> power_bi.Model:
    return power_bi.semantic_model(asked[0], power_bi.read_mapping("model.yml"))


@pytest.fixture(scope="module")
def dax(gold, model) -> Dax:
    """The semantic model over gold, with the years that have invoices, those before and those after."""
    ((first, last),) = gold.query("select min(invoice_date), max(greatest(invoice_date, due_date)) from gold.fct_invoices")
    return Dax(model, gold.query, (date(first.year - 2, 1, 1), date(last.year + 2, 12, 31)))


def some(cells: list[Cell]) -> list[Cell]:
    """The same cells at every run: an engine may give its rows in any order."""
    return random.Random(SEED).sample(sorted(cells, key=lambda cell: repr(cell.filters)), min(CELLS, len(cells)))


@pytest.fixture(scope="module")
def metric_cells(asked, model) -> list[Cell]:
    """MetricFlow's answers. A key that MetricFlow gives as null would be no value of a column here; there is none."""
    names = {measure.metric: measure.name for measure in model.measures if measure.metric}
    cells = []
    for grouping, columns in GROUPINGS.items():
        rows = []
        for row in asked[1][grouping]:
            keys = {column: row[key] for key, column in columns.items()}
            if MONTH in keys:
                keys[MONTH] = date.fromisoformat(keys[MONTH][:10])
            answers = {names[metric]: float(value) if value else None for metric, value in row.items() if metric not in columns}
            rows.append(Cell(keys, answers))
        cells += some(rows)
    return cells


def cells_of(gold: Gold, keys: list[str], statement: str) -> list[Cell]:
    """Cells of an SQL query whose first columns are the keys, and whose others are named as measures, in backticks."""
    names = re.findall(r"as `([^`]+)`", statement)
    return [
        Cell(dict(zip(keys, row, strict=False)), dict(zip(names, row[len(keys) :], strict=True)))
        for row in gold.query(statement)
    ]


@pytest.fixture(scope="module")
def table_cells(gold) -> list[Cell]:
    """What gold's own tables say of the measures that are no metrics."""
    ((as_of, newest, currency),) = gold.query(
        "select max(as_of_date), max(invoice_date) filter (where invoice_date <= as_of_date), max(reporting_currency)"
        " from gold.fct_invoices"
    )
    month = newest.replace(day=1)  # it may have only begun
    complete = (month - timedelta(days=1)).replace(day=1)
    revenue = "sum(cast(case when status not in ('draft', 'cancelled') then net_amount_reporting end as double))"
    issued = "sum(case when not is_credit_note and status not in ('draft', 'cancelled') then 1 else 0 end)"

    def within(what: str, first: int, last: int) -> str:
        """`what` of the months from `first` to `last`, counted from the last complete one."""
        months = " and ".join(f"add_months(date'{complete}', {number})" for number in (first, last))
        return f"{what} filter (where invoice_month between {months})"

    def growth(now: str, before: str) -> str:
        return f"case when {before} > 0 then coalesce({now}, 0) / {before} - 1 end"

    cells = some(
        cells_of(
            gold,
            [COUNTRY, MONTH],
            f"""
            select
                months.country_key,
                months.invoice_month,
                months.net_revenue_year_change_percent / 100 as `Revenue year over year`,
                months.net_revenue_rolling_12_months as `Revenue of 12 months`,
                months.net_revenue_share_percent / 100 as `Revenue share`,
                months.invoice_count + months.credit_note_count as `Documents`,
                statuses.overdue_count as `Invoices past due`,
                statuses.overdue_amount as `Amount past due`,
                facts.customers as `Customers with documents`,
                facts.overdue_days as `Most days past due`
            from gold.agg_invoices_country_month as months
            inner join (
                select
                    country_key, invoice_month, sum(overdue_count) as overdue_count,
                    sum(overdue_amount_reporting) as overdue_amount
                from gold.agg_invoices_country_month_status group by country_key, invoice_month
            ) as statuses on months.country_key = statuses.country_key and months.invoice_month = statuses.invoice_month
            inner join (
                select country_key, invoice_month, count(distinct customer_id) as customers, max(overdue_days) as overdue_days
                from gold.fct_invoices group by country_key, invoice_month
            ) as facts on months.country_key = facts.country_key and months.invoice_month = facts.invoice_month
            where months.invoice_month < date'{month}'
            """,
        )
    )
    # a month or year that has only begun is held against the same days of the year before, and not against all of it
    for column, first, value in ((MONTH, month, f"date'{month}'"), (YEAR, newest.replace(month=1, day=1), str(newest.year))):
        now = f"{revenue} filter (where invoice_date between date'{first}' and date'{newest}')"
        year_before = f"invoice_date between add_months(date'{first}', -12) and add_months(date'{newest}', -12)"
        grown = growth(now, f"{revenue} filter (where {year_before})")
        cells += cells_of(gold, [column], f"select {value}, {grown} as `Revenue year over year` from gold.fct_invoices")
    cells += some(
        cells_of(
            gold,
            [COUNTRY],
            f"""
            select
                country_key,
                {within(revenue, 0, 0)} as `Revenue of last complete month`,
                {growth(within(revenue, 0, 0), within(revenue, -1, -1))} as `Revenue change of last complete month`,
                {within(issued, 0, 0)} as `Issued invoices of last complete month`,
                {growth(within(issued, 0, 0), within(issued, -1, -1))} as `Issued invoices change of last complete month`,
                {growth(within(revenue, -11, 0), within(revenue, -23, -12))} as `Revenue growth of last 12 months`
            from gold.fct_invoices group by country_key
            """,
        )
    )
    cells += some(
        cells_of(
            gold,
            [COUNTRY, MONTH],
            """
            select country_key, due_month, sum(total_amount_reporting) as `Unpaid amount by due date`
            from (
                select *, cast(date_trunc('month', due_date) as date) as due_month from gold.fct_invoices
                where not is_credit_note and status in ('open', 'overdue') and due_date_key is not null
            ) group by country_key, due_month
            """,
        )
    )
    told = f"Amounts in {currency}, as of {as_of}; last complete month {complete:%Y-%m}"
    always = {"As of": as_of, "Newest invoice date": newest, "Last complete month": complete, "Note": told}
    # whatever is chosen, these are the same
    return [*cells, Cell({}, always), Cell({MONTH: complete, COUNTRY: "DE"}, always)]


def same(expected: Any, found: Any) -> bool:
    """Whether DAX says what SQL says. To nothing that counts, SQL says 0 and DAX blank."""
    expected = in_power_bi(expected)
    if isinstance(expected, float | int) or isinstance(found, float | int):
        return math.isclose(expected or 0, found or 0, rel_tol=1e-9, abs_tol=5e-5)
    return expected == found


def differences(dax: Dax, cells: list[Cell], only: str | None = None, **changed: str) -> list[str]:
    """One text for each answer of DAX that is not the expected one; of the measure `only` where it is named."""
    found = []
    for cell in cells:
        names = [name for name in cell.expected if only in (None, name)]
        for name, value in (dax.evaluate(names, cell.filters, **changed) if names else {}).items():
            if not same(cell.expected[name], value):
                found.append(f"{name} at {cell.filters}: {value} and not {cell.expected[name]}")
    return found


def test_every_measure_is_compared(model, metric_cells, table_cells):
    compared = {name: [] for name in (measure.name for measure in model.measures)}
    for cell in metric_cells + table_cells:
        for name, value in cell.expected.items():
            compared[name].append(value)
    # with answers of its own kind, and not only with null or 0
    assert [name for name, values in compared.items() if not any(values)] == []


def test_a_measure_with_a_metric_answers_as_metricflow_does(dax, metric_cells):
    assert differences(dax, metric_cells) == []


def test_the_other_measures_answer_as_golds_tables_do(dax, table_cells):
    assert differences(dax, table_cells) == []


FAULTS = [
    (
        "Revenue",
        'KEEPFILTERS(NOT Invoices[Status] IN {"draft", "cancelled"})',
        'NOT Invoices[Status] IN {"draft", "cancelled"}',
    ),
    ("Revenue", '"draft", "cancelled"', '"draft"'),
    ("Revenue", "Net (reporting", "Total (reporting"),
    ("Net amount", "reporting currency", "invoice currency"),
    ("Issued invoices", "= FALSE()", "= TRUE()"),
    ("Average invoice value", "AVERAGE", "MAX"),
    ("Overdue share", "[Issued invoices]", "[Invoices]"),
    ("Revenue, month over month", "-1, MONTH", "-1, YEAR"),
    ("Revenue, month over month", "NOT ISEMPTY(Invoices) && ", ""),
    ("Revenue year over year", "FILTER(VALUES(Dates[Date]), Dates[Date] <= NewestDay)", "Dates[Date]"),
    ("Revenue of 12 months", "-12, MONTH", "-11, MONTH"),
    ("Revenue share", "REMOVEFILTERS(Countries)", "REMOVEFILTERS()"),
    ("Customers with documents", 'KEEPFILTERS(Invoices[Customer key] <> "unknown")', "KEEPFILTERS(TRUE())"),
    ("Unpaid amount by due date", "USERELATIONSHIP(Invoices[Due date key], Dates[Date key])", "KEEPFILTERS(TRUE())"),
    ("Most days past due", "MIN(", "MAX("),
    ("Last complete month", "-2)", "-1)"),
    ("Revenue of last complete month", "REMOVEFILTERS(Dates), Dates[Month start] = LastMonth", "REMOVEFILTERS(Dates)"),
    ("Revenue growth of last 12 months", "EDATE(LastMonth, -24)", "EDATE(LastMonth, -23)"),
]


@pytest.mark.parametrize(("name", "right", "wrong"), FAULTS, ids=[f"{name}: {wrong or 'nothing'}" for name, _, wrong in FAULTS])
def test_a_wrong_measure_is_told(dax, metric_cells, table_cells, name, right, wrong):
    assert right in dax.measures[name]
    assert differences(dax, metric_cells + table_cells, name, **{name: dax.measures[name].replace(right, wrong)})


def fingerprint(text: str, table: str, start: date, end: date) -> str:
    """The SQL that the M expression of the polling makes for a range of days, with another table."""
    for name, day in (("RangeStart", start), ("RangeEnd", end)):
        text = text.replace(f'Date.ToText(Date.From({name}), [Format = "yyyy-MM-dd"])', f'"{day}"')
    text = text.replace("Catalog &", '"c" &').replace("GoldSchema &", '"s" &')
    made = re.search(r"Query =\n(.*?),\n    Result", text, re.DOTALL)[1]
    parts = re.split(r"\s+&\s+", made.strip())
    assert all(re.fullmatch(r'"[^"]*"', part) for part in parts), parts
    return "".join(part[1:-1] for part in parts).replace("`c`.`s`.fct_invoices", table)


def test_the_fingerprint_of_a_month_changes_with_any_change_in_it_and_with_nothing_else(gold, model, asked):
    facts = model.tables[0]
    ((month, invoice),) = gold.query(
        "select invoice_month, min(invoice_id) from gold.fct_invoices where exchange_rate is not null"
        " group by invoice_month order by invoice_month desc limit 1"
    )
    end = (month + timedelta(days=31)).replace(day=1)
    columns = list(asked[0]["nodes"]["model.invoices_countries.fct_invoices"]["columns"])

    def told(where: str = "true", **changes: str) -> str:
        listed = ", ".join(f"{changes.get(name, name)} as {name}" for name in columns)
        rows = f"(select {listed} from gold.fct_invoices where {where})"
        ((text,),) = gold.query(fingerprint(power_bi.fingerprint_query(facts), rows, month, end))
        return text

    def for_one(value: str, name: str) -> dict[str, str]:
        return {name: f"case when invoice_id = {invoice} then {value} else {name} end"}

    before = told()
    assert re.fullmatch(r"[1-9]\d* -?\d+", before) and told() == before
    assert told(f"invoice_id <> {invoice}") != before, "a deletion"
    assert told(**for_one("'ZZ'", "country_key")) != before, "an alias"
    assert told(**for_one("net_amount_reporting + 0.01", "net_amount_reporting")) != before, "a rate"
    assert told(**for_one("'cancelled'", "status")) != before
    assert told(**for_one("not is_overdue", "is_overdue")) != before, "a day that passed"
    assert told(**for_one("cast(null as decimal(20, 10))", "exchange_rate")) != before
    assert told(as_of_date="date_add(as_of_date, 1)") == before, "a load that brought something for other months"
    assert told(overdue_days="overdue_days + 1") == before
    assert told(f"invoice_month <> date'{month - timedelta(days=1):%Y-%m-01}'") == before, "another month"
