"""What came of a run: where every landed row went, why rows were rejected, revenue by country; from the warehouse's tables."""

import contextlib
import dataclasses
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from ingestion import warehouse

TOP_COUNTRIES = 10


@dataclass(frozen=True)
class Accounting:
    """Landed rows of one bronze table, by what became of them."""

    table: str
    landed: int
    accepted: int
    superseded: int
    rejected: int


@dataclass(frozen=True)
class Country:
    """Invoices of one country, and their totals of every status in the reporting currency."""

    name: str
    invoices: int
    amount: Decimal


@dataclass(frozen=True)
class Summary:
    """The state of the tables. `reasons`: each reason of rejected invoices with its number of rows, most first;
    `newest_load`: when the newest load was made (UTC); `currency`: the reporting currency. Both None without any row."""

    accounting: list[Accounting]
    reasons: list[tuple[str, int]]
    countries: list[Country]
    currency: str | None
    newest_load: datetime | None


def read() -> Summary:
    """Ask the warehouse that the variables of the environment name. Raises WarehouseError without one."""

    def table(layer: str, name: str) -> str:
        return f"`{warehouse.catalog()}`.`{warehouse.schema(layer)}`.`{name}`"

    with contextlib.closing(warehouse.connect()) as connection, connection.cursor() as cursor:

        def rows(statement: str) -> list:
            cursor.execute(statement)
            return cursor.fetchall()

        accounting = rows(
            "select table_name, sum(row_count), sum(row_count) filter (where outcome = 'accepted'),"
            " sum(row_count) filter (where outcome = 'superseded'), sum(row_count) filter (where outcome = 'rejected'),"
            f" max(loaded_at) from {table('silver', 'row_accounting')} group by table_name order by table_name desc"
        )
        reasons = rows(
            f"select reason, count(*) from {table('silver', 'rejected_invoices')} lateral view explode(reasons) as reason"
            " group by reason order by 2 desc, 1"
        )
        countries = rows(
            "select country_name, sum(invoice_count), sum(total_amount_reporting) from"
            f" {table('gold', 'agg_invoices_country_month')} group by country_name order by 3 desc limit {TOP_COUNTRIES}"
        )
        currency = rows(f"select max(reporting_currency) from {table('gold', 'fct_invoices')}")[0][0]
    return Summary(
        accounting=[Accounting(name, *(count or 0 for count in counts)) for name, *counts, _ in accounting],
        reasons=[(reason, count) for reason, count in reasons],
        countries=[Country(name or "unknown", invoices, amount) for name, invoices, amount in countries],
        currency=currency,
        newest_load=max((row[-1] for row in accounting if row[-1]), default=None),
    )


def text(summary: Summary) -> str:
    """The summary as lines for a terminal."""
    lines = [f"  {'Rows':<12}{'landed':>12}{'accepted':>12}{'superseded':>12}{'rejected':>12}"]
    for row in summary.accounting:
        name, *counts = dataclasses.astuple(row)
        lines.append(f"  {name:<12}" + "".join(f"{count:>12,}" for count in counts))
    if summary.reasons:
        lines += ["", "  Rejected invoices, by reason (a row may have several)"]
        lines += [f"  {reason:<36}{count:>12,}" for reason, count in summary.reasons]
    amounts = f"{summary.currency or ''} gross"
    lines += ["", f"  Revenue by country, top {TOP_COUNTRIES}{'invoices':>16}{amounts:>20}"]
    lines += [f"  {each.name:<28.28}{each.invoices:>12,}{each.amount:>20,.2f}" for each in summary.countries]
    return "\n".join(lines)
