"""Deliberate faults, each with the dbt test that must catch it: tests/integration/test_mutations.py tries them all.

`python -m tests.mutations` writes docs/mutations.md.
"""

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Fault:
    """One fault in one model, tried on a copy of the model.

    caught_by: a unit test of the model; a test in tests/dbt/; a generic test of the last of the copied models, by its name or
    its kind, behind the column's name if it is a column's, such as "country_key: relationships"; or "contract".
    through: the models that are built anew on the faulty one, in order.

    A fault in SQL replaces the text `old` by `new` in the model, or in the macro that it calls. merges: the model's table is
    there already, and the newest load not yet processed. A fault in data is a `statement` that changes the table {t}.
    """

    name: str
    model: str
    caught_by: str
    through: tuple[str, ...] = ()
    old: str = ""
    new: str = ""
    macro: str = ""
    merges: bool = False
    statement: str = ""

    @property
    def models(self) -> tuple[str, ...]:
        """The models that have copies, in the order in which they are built."""
        return (self.model, *self.through)

    @property
    def is_unit_tested(self) -> bool:
        properties = source(self.models[-1]).with_suffix(".yml")
        return properties.is_file() and f"- name: {self.caught_by}\n" in properties.read_text()

    @property
    def singular_test(self) -> Path | None:
        """The file in tests/dbt/ of the test that must catch it, where it is one of those."""
        path = ROOT / "tests" / "dbt" / f"{self.caught_by}.sql"
        return path if path.is_file() else None


def source(name: str) -> Path:
    """The file of a model, seed or macro."""
    folders = ("models", "python_models", "seeds", "macros")
    found = (
        path for folder in folders for path in (ROOT / folder).rglob(f"{name}.*") if path.suffix in (".sql", ".py", ".csv")
    )
    return next(found, ROOT / "there is no file" / name)


def sql(model: str, name: str, old: str, new: str, caught_by: str, *through: str, **options) -> Fault:
    return Fault(name, model, caught_by, through, old, new, **options)


def data(model: str, name: str, statement: str, caught_by: str, *through: str) -> Fault:
    return Fault(name, model, caught_by, through, statement=statement)


REASONS = "each_fault_of_an_invoice_gives_its_reason"
NEWEST = "the_newest_version_of_an_invoice_wins"
LEAVES = "a_rejected_row_leaves_when_a_newer_version_of_its_invoice_is_used"
PLACES = "a_row_that_is_nowhere_or_in_two_places_is_unaccounted"
FITS = "an_amount_that_does_not_fit_is_a_reason_and_never_rounded_away"
STATUS = "a_status_is_one_of_the_known_ones"
COUNTRY_REASONS = "each_fault_of_a_country_gives_its_reason"
WEEKS = "weeks_are_iso_8601_s_around_new_year"
RATES = "a_missing_rate_is_the_latest_earlier_one"
REVIEW = "what_was_not_matched_for_certain_is_shown_with_what_it_is_worth"
FACTS = "amounts_are_converted_and_credit_notes_and_unknown_countries_are_flagged"
OVERDUE = "days_overdue_are_counted_up_to_the_newest_load"
LINKS = "a_credit_note_is_linked_by_its_number_and_customer_to_one_invoice_or_to_none"
COUNTRIES = "the_company_s_facts_win_over_iso_s_and_the_unknown_member_exists"
HISTORY = "versions_follow_each_other_and_corrections_leave_none"
CUSTOMERS = "a_customer_is_what_its_invoices_tell_and_the_unknown_member_exists"
GROWTH = "growth_goes_by_the_calendar_and_a_missing_month_is_zero"
STATUSES = "each_status_of_a_month_has_its_counts_and_amounts"
LOADS = "a_load_s_rows_are_counted_by_what_became_of_them"
REJECTIONS = "a_rejected_row_counts_under_each_of_its_reasons_and_adds_up_under_the_first"
IN_GOLD = "every_rejected_row_is_in_gold"
ACCOUNTED = "every_landed_row_is_accounted_for"
RECONCILE = "totals_reconcile_from_bronze_to_gold"
ADD_UP = "net_and_tax_add_up_to_the_total_in_the_reporting_currency"
ALL_FACTS = "every_live_invoice_of_silver_is_one_fact"

FAULTS: dict[str, list[Fault]] = {}

FAULTS["Silver: judging rows"] = [
    sql("stg_invoices", "a reason loses its code",
        "then 'missing_amount' end", "then 'missing' end", REASONS),
    sql("stg_invoices", "a time in the future is taken for true",
        "interval 1 day then 'updated_at_in_future'", "interval 9999 day then 'updated_at_in_future'", REASONS),
    sql("stg_invoices", "the future date of a deletion stays, to win for ever",
        "then _loaded_at + interval 1 day", "then try_cast(updated_at as timestamp)", REASONS),
    sql("stg_invoices", "amounts may differ by ten cents",
        "- total_amount) > 0.01", "- total_amount) > 0.10", REASONS),
    sql("stg_invoices", "an invoice may be dated a day more ahead",
        "date_add(to_date(_loaded_at), 366)", "date_add(to_date(_loaded_at), 367)", REASONS),
    sql("stg_invoices", "a status counts only as it is written in the list",
        "when lower(trim(status)) in", "when status in", STATUS),
    sql("stg_countries", "any code is a country",
        "not is_known_country then", "is_known_country is null then", COUNTRY_REASONS),
    sql("stg_invoices", "any three letters are a currency",
        "and not is_known_currency", "and is_known_currency is null", REASONS),
    sql("stg_invoices", "a NaN counts as no value at all",
        "and get_json_object(_rescued_data, '$.{{ column }}') is null", "", REASONS, macro="is_missing"),
    sql("stg_invoices", "a value that did not fit its type is let through",
        "(_rescued_data is not null and get_json_object(_rescued_data, '$.{{ column }}') is not null)", "false",
        REASONS, macro="does_not_fit"),
    sql("stg_invoices", "an amount with more decimals is rounded",
        "try_cast({{ column }} as {{ data_type }}) <> try_cast({{ column }} as decimal(38, 12))", "false",
        FITS, macro="does_not_fit"),
    sql("stg_invoices", "an amount with too many digits is no amount",
        "({{ column }} is not null and try_cast({{ column }} as {{ data_type }}) is null)", "false",
        FITS, macro="does_not_fit"),
]  # fmt: skip

FAULTS["Silver: the newest version"] = [
    sql("silver_invoices", "the oldest version wins",
        '{{ row_version("usable") }} desc', '{{ row_version("usable") }} asc', NEWEST),
    sql("silver_invoices", "rows with reasons are used",
        "size(reasons) = 0", "size(reasons) >= 0", NEWEST),
    sql("silver_invoices", "a row that arrives late wins by its load",
        ".updated_at, {{ relation_alias }}._loaded_at,", "._loaded_at, {{ relation_alias }}.updated_at,", NEWEST,
        macro="row_version"),
    sql("silver_invoices", "of two equal times, any load wins",
        "{{ relation_alias }}._loaded_at,", "", NEWEST, macro="row_version"),
    sql("silver_invoices", "a deletion loses a tie",
        "{{ relation_alias }}.is_deleted,", "not {{ relation_alias }}.is_deleted,", NEWEST, macro="row_version"),
    sql("silver_invoices", "the two newest versions stay",
        "where version_rank = 1", "where version_rank <= 2", "primary_key"),
    sql("silver_invoices", "a merge lets an older row replace a newer one",
        "matched_condition=", 'matched_condition="true or " ~ ', ACCOUNTED, "silver_row_accounting", merges=True),
    sql("silver_countries", "the oldest version of a country wins",
        '{{ row_version("usable") }} desc', '{{ row_version("usable") }} asc', ACCOUNTED, "silver_row_accounting"),
]  # fmt: skip

FAULTS["Silver: no row is lost"] = [
    sql("silver_rejected_invoices", "a rejected row that landed twice stays twice",
        "delivery = 1", "delivery >= 1", "primary_key"),
    sql("silver_rejected_invoices", "a corrected row stays among the rejected ones",
        'and not coalesce({{ is_outdone("numbered", "kept") }}, false)', "", LEAVES),
    sql("silver_rejected_invoices", "a time in the future keeps a corrected row among the rejected ones",
        "or array_contains({{ landed }}.reasons, 'updated_at_in_future')", "", LEAVES, macro="is_outdone"),
    sql("silver_row_accounting", "a delivery that landed twice is accepted twice",
        "landed.delivery > 1 as", "landed.delivery > 99 as", ACCOUNTED),
    sql("silver_row_accounting", "rejected rows count as superseded",
        "then 'rejected'", "then 'superseded'", ACCOUNTED),
    sql("silver_row_accounting", "a lost row counts as superseded",
        "else 'unaccounted'", "else 'superseded'", PLACES),
    sql("silver_row_accounting", "a row in two places counts as accepted",
        "is_accepted and not is_rejected and not is_outdone", "is_accepted", PLACES),
    data("silver_invoices", "an invoice is lost",
        "delete from {t} where invoice_id = 1", ACCOUNTED, "silver_row_accounting"),
    data("silver_invoices", "an invoice has no key",
        "update {t} set invoice_id = null where invoice_id = 1", "primary_key"),
    data("silver_invoices", "an invoice is there twice",
        "insert into {t} select * from {t} where invoice_id = 1", "primary_key"),
    data("silver_invoices", "an amount is a cent off in silver",
        "update {t} set total_amount = total_amount + 0.01 where invoice_id = 1", RECONCILE),
    data("silver_rejected_invoices", "a rejected row is deleted",
        "delete from {t} where _row_id = 'no key'", ACCOUNTED, "silver_row_accounting"),
    data("silver_rejected_invoices", "an accepted row is among the rejected ones too",
        "update {t} set _row_id = 'r1' where _row_id = 'no key'", ACCOUNTED, "silver_row_accounting"),
    data("silver_row_accounting", "a load has a row too few",
        "update {t} set row_count = row_count - 1 where table_name = 'invoices' and outcome = 'accepted'", ACCOUNTED),
]  # fmt: skip

FAULTS["Silver: countries and rates"] = [
    sql("silver_country_matches", "a method that nobody knows",
        '"no_country", 100.0', '"none", 100.0', "method: accepted_values"),
    data("silver_country_matches", "a text has two countries",
        "insert into {t} select * from {t} where country_text = 'Germany'", "primary_key"),
    sql("silver_country_review", "a steward is asked what Unspecified means",
        "and no_country_kind <> 'not_stated'", "", REVIEW),
    sql("silver_country_review", "deleted invoices are worth something",
        "where not is_deleted", "", REVIEW),
    sql("silver_exchange_rates", "rates are upside down",
        "reporting.units_per_eur / filled.units_per_eur", "filled.units_per_eur / reporting.units_per_eur", RATES),
    sql("silver_exchange_rates", "a month without a rate has none",
        "add_months(next_rate_month, -1)", "rate_month", RATES),
    sql("silver_exchange_rates", "rates end with the last quoted month",
        "{{ last_rate_month() }}", "rate_month", RATES),
    sql("silver_exchange_rates", "carrying forward is not flagged",
        "< filled.invoice_month as is_rate_carried_forward", "< filled.rate_month as is_rate_carried_forward", RATES),
    sql("silver_exchange_rates", "a rate lasts into the next one's month",
        "add_months(next_rate_month, -1)", "next_rate_month", "primary_key"),
    data("ecb_exchange_rates", "a rate is zero",
        "update {t} set units_per_eur = 0 where currency_code = 'USD' and rate_month = date'2026-01-01'",
        "units_per_eur: dbt_expectations.expect_column_values_to_be_between"),
]  # fmt: skip

FAULTS["Gold: facts"] = [
    sql("fct_invoices", "only what is negative is a credit note",
        "status = 'credit_note' or total_amount < 0 as", "total_amount < 0 as", FACTS),
    sql("fct_invoices", "every due date has a key",
        "due_date between date '{{ var(\"first_date\") }}' and date '{{ var(\"last_date\") }}'", "due_date is not null", FACTS),
    sql("fct_invoices", "deleted invoices are facts",
        "where not is_deleted", "", FACTS),
    sql("fct_invoices", "an invoice without a known text is lost",
        "left join matches on", "inner join matches on", ALL_FACTS),
    sql("fct_invoices", "an invoice without a rate is lost",
        "left join rates", "inner join rates", ALL_FACTS),
    sql("fct_invoices", "the unknown country is dropped",
        "coalesce(matches.country_code, 'ZZ')", "matches.country_code", FACTS),
    sql("fct_invoices", "the unknown country has a key of its own",
        "coalesce(matches.country_code, 'ZZ')", "coalesce(matches.country_code, 'QQ')", "country_key: relationships"),
    sql("fct_invoices", "the rate divides",
        "{{ amount }} * {{ rates }}.exchange_rate", "{{ amount }} / {{ rates }}.exchange_rate", FACTS,
        macro="in_reporting_currency"),
    sql("fct_invoices", "the rate of any month is taken",
        "and invoices.invoice_month = rates.invoice_month", "", "primary_key"),
    sql("fct_invoices", "net is rounded by itself",
        "cast(total_amount_reporting - tax_amount_reporting as decimal(24, 2)) as net_amount_reporting",
        "cast(round(net_amount * exchange_rate, 2) as decimal(24, 2)) as net_amount_reporting", ADD_UP),
    sql("fct_invoices", "a negative total is an invoice",
        "status = 'credit_note' or total_amount < 0", "status = 'credit_note'", FACTS),
    sql("fct_invoices", "days have keys that the calendar does not know",
        "cast(date_format(invoice_date, 'yyyyMMdd') as int) as invoice_date_key",
        "cast(date_format(invoice_date, 'yyyyddMM') as int) as invoice_date_key", FACTS),
    sql("fct_invoices", "paid invoices are overdue",
        "status in ('open', 'overdue') and", "", OVERDUE),
    sql("fct_invoices", "an invoice is overdue on its due date",
        "due_date < as_of_date", "due_date <= as_of_date", OVERDUE),
    sql("fct_invoices", "overdue goes by the clock",
        "cast(max(_loaded_at) as date) as as_of_date", "max(current_date()) as as_of_date", OVERDUE),
    sql("fct_invoices", "a credit note credits another customer's invoice",
        "credit_notes.customer_key = creditable.customer_key\n            and", "", LINKS),
    sql("fct_invoices", "of several invoices with its number, a credit note credits one",
        "having min(creditable.invoice_id) = max(creditable.invoice_id)", "", LINKS),
    sql("fct_invoices", "a type is not the contract's",
        "cast(date_format(invoice_date, 'yyyyMMdd') as int) as invoice_date_key",
        "date_format(invoice_date, 'yyyyMMdd') as invoice_date_key", "contract"),
    sql("fct_invoices", "a column is renamed",
        "invoice_month,\n    status,", "invoice_month as month,\n    status,", "contract"),
    sql("fct_invoices", "amounts have six decimals",
        "    total_amount,\n    '{{ var", "    cast(total_amount as decimal(38, 6)) as total_amount,\n    '{{ var", "contract"),
    sql("agg_invoices_country_month", "an aggregate has fewer digits",
        "as decimal(34, 2)) as net_amount_reporting", "as decimal(24, 2)) as net_amount_reporting", "contract"),
    data("fct_invoices", "a fact is there twice",
        "insert into {t} select * from {t} where invoice_id = 1", "primary_key"),
    data("fct_invoices", "a fact is lost",
        "delete from {t} where invoice_id = 1", ALL_FACTS),
    data("fct_invoices", "a fact's country is no country",
        "update {t} set country_key = 'XX' where invoice_id = 1", "country_key: relationships"),
    data("fct_invoices", "a total is a cent off in gold",
        "update {t} set total_amount = total_amount + 0.01 where invoice_id = 1", RECONCILE),
    data("fct_invoices", "a converted tax is a cent off",
        "update {t} set tax_amount_reporting = tax_amount_reporting + 0.01 where invoice_id = 1", ADD_UP),
    data("fct_invoices", "a credit note credits an invoice that is not there",
        "update {t} set credited_invoice_id = 999 where invoice_id = 5", "credited_invoice_id: every_credited_invoice_exists"),
    data("fct_invoices", "an invoice is overdue by no day",
        "update {t} set overdue_days = 0 where invoice_id = 2",
        "overdue_days: an_overdue_invoice_is_overdue_by_a_day_or_more"),
    data("fct_invoices", "an invoice that is not due is called overdue",
        "update {t} set status = 'overdue' where invoice_id = 1",
        "an_invoice_that_the_source_calls_overdue_is_past_its_due_date"),
]  # fmt: skip

FAULTS["Gold: dimensions"] = [
    sql("dim_countries", "ISO's region wins over the company's",
        "coalesce({{ company }}.region, {{ iso }}.region)", "coalesce({{ iso }}.region, {{ company }}.region)", COUNTRIES,
        macro="country_facts"),
    sql("dim_countries", "a country that the company deleted is the company's",
        "where not is_deleted", "", COUNTRIES),
    sql("dim_countries", "there is no unknown member",
        "union all\nselect * from unknown_member", "", COUNTRIES),
    sql("dim_countries", "invoices of the unknown member have no place in the aggregate",
        "union all\nselect * from unknown_member", "", RECONCILE, "agg_invoices_country_month"),
    sql("dim_countries_history", "a deleted country keeps the company's facts",
        "and not company.is_deleted", "", HISTORY),
    sql("dim_countries_history", "a version that was corrected in place stays",
        "where valid_to is null or valid_from < valid_to", "", HISTORY),
    sql("dim_customers", "a customer of two years ago is active",
        "newest.newest_invoice_date, -12", "newest.newest_invoice_date, -24", CUSTOMERS),
    sql("dim_customers", "an invoice that is dated ahead makes everybody look idle",
        "and invoice_date <= as_of_date", "", CUSTOMERS),
    sql("dim_customers", "there is no unknown customer",
        "where\n        not exists (", "where\n        false and not exists (", CUSTOMERS),
    data("dim_countries", "a country has two rows",
        "insert into {t} select * from {t} where country_key = 'DE'", "primary_key"),
    sql("dim_dates", "the days of a week begin with 0",
        "weekday(calendar_date) + 1 as", "weekday(calendar_date) as", WEEKS),
    sql("dim_dates", "a week belongs to the year of its day",
        "extract(yearofweek from calendar_date)", "year(calendar_date)", WEEKS),
    data("dim_dates", "a day is missing",
        "delete from {t} where calendar_date = date'2026-02-10'", "invoice_date_key: relationships", "fct_invoices"),
]  # fmt: skip

FAULTS["Gold: aggregates"] = [
    sql("agg_invoices_country_month", "totals leave out drafts",
        "sum(total_amount_reporting), 0)", "sum(case when status <> 'draft' then total_amount_reporting end), 0)", RECONCILE),
    sql("agg_invoices_country_month", "tax is summed from net amounts",
        "sum(tax_amount_reporting)", "sum(net_amount_reporting)", "a_country_s_net_and_tax_add_up_to_its_total"),
    sql("agg_invoices_country_month", "drafts are revenue",
        "filter (where status not in ('draft', 'cancelled'))", "", GROWTH),
    sql("agg_invoices_country_month", "credit notes count as invoices",
        "count_if(not is_credit_note)", "count(*)", GROWTH),
    sql("agg_invoices_country_month", "a year ago is eleven months ago",
        "= add_months(by_country_month.invoice_month, -12)", "= add_months(by_country_month.invoice_month, -11)", GROWTH),
    sql("agg_invoices_country_month", "before the first month was nothing",
        "when add_months(looking_back.invoice_month, -1) >= first_month.first_month then", "when true then", GROWTH),
    sql("agg_invoices_country_month", "from less than nothing, revenue grew by a rate",
        "when compared.previous_month > 0", "when compared.previous_month <> 0", GROWTH),
    sql("agg_invoices_country_month_status", "every document is overdue",
        "count_if(is_overdue)", "count(*)", STATUSES),
    sql("agg_invoices_country_month_status", "cancelled invoices are in no status",
        "from invoices\n    group by all", "from invoices\n    where status <> 'cancelled'\n    group by all",
        "statuses_add_up_to_the_country_s_month"),
    data("agg_invoices_country_month", "an aggregate is a cent off",
        "update {t} set total_amount_reporting = total_amount_reporting + 0.01 where country_key = 'DE'", RECONCILE),
]  # fmt: skip

FAULTS["Gold: quality of rows"] = [
    sql("agg_landed_rows_load", "superseded rows count as accepted",
        "where outcome = 'accepted'", "where outcome <> 'rejected'", LOADS),
    sql("agg_landed_rows_load", "the first time of a load is its time",
        "max(loaded_at)", "min(loaded_at)", LOADS),
    sql("agg_rejected_rows_reason_day", "a row counts under its first reason alone",
        "explode(reasons) as reason", "reasons[0] as reason", REJECTIONS),
    sql("agg_rejected_rows_reason_day", "a row with two reasons adds up twice",
        "count_if(reason = first_reason)", "count(*)", REJECTIONS),
    sql("agg_rejected_rows_reason_day", "amounts stay in the invoice's currency",
        '{{ in_reporting_currency("rejected.total_amount", "rates") }}', "rejected.total_amount", REJECTIONS),
    sql("agg_rejected_rows_reason_day", "a rejected row without a rate is lost",
        "left join rates", "inner join rates", IN_GOLD),
    sql("agg_rejected_rows_reason_day", "rejected countries are not counted",
        "union all\n    select * from countries", "", IN_GOLD),
    data("agg_rejected_rows_reason_day", "a reason is there twice",
        "insert into {t} select * from {t} where reason = 'missing_invoice_id'", "primary_key"),
    data("agg_landed_rows_load", "a load has a rejected row too few",
        "update {t} set rejected_count = rejected_count - 1 where rejected_count > 0 and table_name = 'invoices'", IN_GOLD),
    data("agg_landed_rows_load", "a load is there twice",
        "insert into {t} select * from {t} where table_name = 'countries'", "primary_key"),
    data("agg_country_review", "a text is there twice",
        "insert into {t} select * from {t}", "primary_key"),
]  # fmt: skip


def all_faults() -> list[Fault]:
    return [fault for faults in FAULTS.values() for fault in faults]


INTRODUCTION = """# Faults, and the tests that catch them

{count} deliberate faults, in the SQL of a model or macro and in the rows of a table. tests/integration/test_mutations.py makes
each in a copy of its model and shows that the named test fails there, and passes on a copy of the same model without the
fault. So a rule that loses its test is noticed. This page is written by `python -m tests.mutations`.
"""


def report() -> str:
    """docs/mutations.md: every fault, where it is, and which test caught it."""
    lines = [INTRODUCTION.format(count=len(all_faults()))]
    for subject, faults in FAULTS.items():
        lines += [f"## {subject}", "", "| Fault | In | Caught by |", "| --- | --- | --- |"]
        lines += [f"| {fault.name} | {_where(fault)} | {_test(fault)} |" for fault in faults]
        lines.append("")
    return "\n".join(lines)


def _where(fault: Fault) -> str:
    if fault.statement:
        return f"rows of `{fault.model}`"
    return f"macro `{fault.macro}`" if fault.macro else f"`{fault.model}`"


def _test(fault: Fault) -> str:
    if fault.caught_by == "contract":
        return f"contract of `{fault.models[-1]}`"
    if fault.is_unit_tested:
        return f"unit test `{fault.caught_by}`"
    if fault.singular_test:
        return f"`{fault.caught_by}`"
    *column, kind = fault.caught_by.split(": ")
    return f"`{kind.split('.')[-1]}` of `{'.'.join((fault.models[-1], *column))}`"


if __name__ == "__main__":
    (ROOT / "docs" / "mutations.md").write_text(report())
