"""Metrics as an analyst asks for them: MetricFlow's answers over a running endpoint, compared with SQL of its own."""

import json
import random
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from tests.conftest import connect, python
from tests.fixtures_dbt import answers_of_metricflow, dbt, environment_of, metricflow

SEED = 20260301
PREFIX = "metrics_"
#: Each metric that the aggregate table has too, with its column there.
AGGREGATED = {
    "revenue": "net_revenue_reporting",
    "net_amount": "net_amount_reporting",
    "tax_amount": "tax_amount_reporting",
    "total_amount": "total_amount_reporting",
    "invoices": "invoice_count",
    "credit_notes": "credit_note_count",
    "documents_without_rate": "without_rate_count",
}
#: The others: SQL over fct_invoices, or over the month's revenue and that of the month before.
COMPUTED = {
    "issued_invoices": "count(case when status in ('open', 'paid', 'overdue') and not is_credit_note then 1 end)",
    "overdue_invoices": "count(case when status = 'overdue' and not is_credit_note then 1 end)",
    "overdue_share": "count(case when status = 'overdue' and not is_credit_note then 1 end)"
    " / nullif(count(case when status in ('open', 'paid', 'overdue') and not is_credit_note then 1 end), 0)",
    "average_invoice_value": "sum(case when status in ('open', 'paid', 'overdue') and not is_credit_note"
    " then net_amount_reporting end) / count(case when status in ('open', 'paid', 'overdue') and not is_credit_note"
    " then net_amount_reporting end)",
}
GROWTH = "revenue_month_over_month"


def invoices() -> Iterator[str]:
    """Rows of fct_invoices as SQL: every day of seven months, last ones included, and of every kind that a metric treats in
    its own way. April has no row at all, and France owes more in May than it bought."""
    random_ = random.Random(SEED)
    for number in range(600):
        day = date(2026, 1, 1) + timedelta(days=random_.randrange(212))
        if day.month == 4:
            continue
        country = random_.choice(["DE", "DE", "FR", "ZZ"])
        status = random_.choice(["open", "paid", "paid", "overdue", "draft", "cancelled", "credit_note"])
        is_credit_note = status == "credit_note" or random_.random() < 0.05 or (country == "FR" and day.month == 5)
        net = Decimal(random_.randrange(1, 1_000_000)) / 100 * (-1 if is_credit_note else 1)
        amounts = "null, null, null, null" if random_.random() < 0.1 else f"1, {net}, {net / 5:.2f}, {net + net / 5:.2f}"
        yield (
            f"({number}, '{country}', date'{day}', date'{day.replace(day=1)}', '{status}', {str(is_credit_note).lower()},"
            f" 'EUR', 'EUR', {amounts})"
        )


ALL = ("--metrics", ",".join([*AGGREGATED, *COMPUTED, GROWTH]), "--group-by", "country,metric_time__month")
PAID = (
    *("--metrics", "revenue,overdue_share,average_invoice_value", "--group-by", "country__region,country__country_code"),
    *("--where", "{{ Dimension('invoice__status') }} = 'paid'"),
)
SAVED = ("--saved-query", "countries_by_month", "--where", "{{ Dimension('country__country_name') }} = 'Germany'")


@dataclass(frozen=True)
class Metrics:
    """Gold in a schema of its own, {gold} in what `query` runs, and MetricFlow: `mf` runs commands and gives their output,
    `answers` are the rows of its queries ALL, PAID and SAVED, as texts by column."""

    query: Callable[[str], list[tuple]]
    mf: Callable[..., str]
    answers: dict[tuple, list[dict[str, str]]]
    manifest: dict


@pytest.fixture(scope="module")
def metrics(fast_endpoint, tmp_path_factory) -> Iterator[Metrics]:
    folder = Path(tmp_path_factory.mktemp("dbt"))
    environment = environment_of(fast_endpoint, folder)

    def mf(*commands: list[str]) -> str:
        return metricflow(*commands, env=environment)

    def ask(*queries: tuple[str, ...]) -> dict[tuple, list[dict[str, str]]]:
        return answers_of_metricflow(*queries, env=environment, folder=folder)

    with closing(connect(fast_endpoint)) as connection:

        def query(statement: str) -> list[tuple]:
            with connection.cursor() as cursor:
                cursor.execute(statement.replace("{gold}", f"{PREFIX}gold"))
                return [tuple(row) for row in cursor.fetchall()] if cursor.description else []

        query("create schema if not exists {gold}")
        query(
            "create table {gold}.fct_invoices (invoice_id bigint, country_key string, invoice_date date, invoice_month date,"
            " status string, is_credit_note boolean, currency_code string, reporting_currency string,"
            " exchange_rate decimal(20,10), net_amount_reporting decimal(24,2), tax_amount_reporting decimal(24,2),"
            " total_amount_reporting decimal(24,2)) using delta"
        )
        query("insert into {gold}.fct_invoices values " + ", ".join(invoices()))
        query(
            "create table {gold}.dim_countries using delta as select * from values ('DE', 'DE', 'Germany', 'Europe', 'DACH',"
            " true), ('FR', 'FR', 'France', 'Europe', 'West', false), ('ZZ', cast(null as string), 'Unknown', 'Unknown',"
            " 'Unknown', false) as t(country_key, country_code, country_name, region, sub_region, is_company_country)"
        )
        variables = ("--vars", json.dumps({"schema_prefix": PREFIX}))
        dbt("run", "--select", "dim_dates", "agg_invoices_country_month", *variables, env=environment)
        manifest = json.loads((folder / "semantic_manifest.json").read_text())
        yield Metrics(query, mf, ask(ALL, PAID, SAVED), manifest)
        query("drop schema {gold} cascade")


@pytest.fixture(scope="module")
def by_country_and_month(metrics) -> dict[tuple[str, str], dict[str, str]]:
    """Every metric by country and month, as one query of MetricFlow answers it."""
    answers = {(row["country"], row["metric_time__month"][:10]): row for row in metrics.answers[ALL]}
    assert len(answers) == len(metrics.answers[ALL]) > 15
    return answers


def test_every_metric_is_known_labelled_described_and_tested_here(metrics):
    described = {metric["name"]: metric for metric in metrics.manifest["metrics"]}
    assert set(described) == {*AGGREGATED, *COMPUTED, GROWTH}
    assert all(metric["label"] and metric["description"] for metric in described.values())


def test_metrics_equal_the_aggregate_table_row_by_row(metrics, by_country_and_month):
    rows = metrics.query(
        f"select country_key, invoice_month, {', '.join(AGGREGATED.values())} from {{gold}}.agg_invoices_country_month"
    )
    table = {(country, str(month)): values for country, month, *values in rows}
    # the month after the last one has a growth, which is null, and nothing else
    answers = {key: [Decimal(row[name]) for name in AGGREGATED] for key, row in by_country_and_month.items() if row["revenue"]}
    assert answers == table and len({month for _, month in table}) == 6


def numbers(texts: list[str]) -> list[float | None]:
    return [float(text) if text else None for text in texts]


@pytest.mark.parametrize("name", COMPUTED)
def test_a_metric_equals_its_own_sql(metrics, by_country_and_month, name):
    rows = metrics.query(f"select country_key, invoice_month, {COMPUTED[name]} from {{gold}}.fct_invoices group by 1, 2")
    answers = {key: row[name] for key, row in by_country_and_month.items() if row["revenue"]}
    assert {(country, str(month)) for country, month, _ in rows} == set(answers)
    expected = [None if value is None else pytest.approx(float(value), abs=1e-6) for _, _, value in rows]
    assert numbers([answers[country, str(month)] for country, month, _ in rows]) == expected
    assert len({answer for answer in answers.values()}) > 3


def test_growth_is_over_the_calendar_month_before_and_needs_revenue_there(metrics, by_country_and_month):
    revenue = {key: Decimal(row["revenue"]) for key, row in by_country_and_month.items() if row["revenue"]}
    for (country, month), row in by_country_and_month.items():
        first = date.fromisoformat(month)
        before = revenue.get((country, str((first - timedelta(days=1)).replace(day=1))))
        if (country, month) in revenue and before is not None and before > 0:
            expected = pytest.approx(float(revenue[country, month] / before - 1))
        else:
            expected = None
        assert numbers([row[GROWTH]]) == [expected], (country, month)
    assert min(revenue.values()) < 0 and ("DE", "2026-04-01") not in revenue, "both cases of null happen"


def test_dimensions_of_the_country_group_filter_and_keep_the_unknown_member(metrics):
    rows = metrics.query(
        "select region, country_code, sum(net_amount_reporting) from {gold}.fct_invoices join {gold}.dim_countries"
        " using (country_key) where status = 'paid' group by 1, 2"
    )
    answers = metrics.answers[PAID]
    found = {(row["country__region"], row["country__country_code"] or None, Decimal(row["revenue"])) for row in answers}
    assert found == set(rows) and len(answers) == len(rows) == 3


def test_the_saved_query_answers(metrics, by_country_and_month):
    (saved,) = metrics.manifest["saved_queries"]
    names = saved["query_params"]["metrics"]
    expected = {month: row for (country, month), row in by_country_and_month.items() if country == "DE" and row["revenue"]}
    answers = {row["metric_time__month"][:10]: row for row in metrics.answers[SAVED]}
    assert set(answers) == set(expected)
    assert all([answers[month][name] for name in names] == [row[name] for name in names] for month, row in expected.items())


def test_metricflow_validates_every_definition(metrics):
    # without the tables: Sail has no EXPLAIN, by which MetricFlow asks whether they have what a definition names
    output = metrics.mf(["validate-configs", "--skip-dw"])
    assert output.count("(ERRORS: 0, FUTURE_ERRORS: 0, WARNINGS: 0)") == 1, output


def test_the_command_line_parses_the_project_and_tells_what_is_wrong(fast_endpoint, tmp_path):
    wrong = python("-m", "ingestion.metrics", "query", "--metrics", "profit", env=environment_of(fast_endpoint, tmp_path))
    assert wrong.returncode == 1, wrong.stdout + wrong.stderr
    assert "does not exactly match any known metrics" in wrong.stdout and "'credit_notes'" in wrong.stdout
