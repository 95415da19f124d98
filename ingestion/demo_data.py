"""Deterministic, realistic and dirty invoices and countries for the demo source.

Every row depends on the seed and the number of its chunk only: any size needs flat memory, and the same seed gives the
same rows. Dates are relative to HISTORY_END, never to today.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

CHUNK_ROWS = 100_000
HISTORY_END = np.datetime64("2026-06-30T18:00:00", "us")
HISTORY_DAYS = 3 * 365
FAR_FUTURE = np.datetime64("2099-12-31T00:00:00", "us")

# Share of invoices that carry each kind of dirt, and whether silver is expected to reject such a row.
DIRT = {
    # kind                     (share,  rejected)
    "null_invoice_id": (0.0020, True),
    "null_invoice_date": (0.0020, True),
    "null_total_amount": (0.0020, True),
    "nan_total_amount": (0.0002, True),
    "amounts_do_not_add_up": (0.0030, True),
    "unknown_currency": (0.0020, True),
    "far_future_invoice_date": (0.0020, True),
    "null_updated_at": (0.0002, True),
    "far_future_updated_at": (0.0001, False),
    "missing_customer": (0.0100, False),
    "status_in_odd_case": (0.0200, False),
    "unspecified_country": (0.0040, False),
    "mistyped_country": (0.0050, False),
    "country_with_blanks": (0.0200, False),
    "exact_duplicate": (0.0030, False),
    "older_version": (0.0100, False),
}
CREDIT_NOTE_SHARE = 0.02


class Country(NamedTuple):
    """A country of the demo: ISO 3166 code and names, ISO 4217 currency with units per euro, VAT, share of invoices."""

    code: str
    name: str
    region: str
    sub_region: str
    currency: str
    per_euro: float
    vat_percent: int
    weight: float
    spellings: tuple[str, ...]


COUNTRIES = tuple(
    Country(*row)
    for row in (
        ("AE", "United Arab Emirates", "Asia", "Western Asia", "AED", 4.0, 5, 0.8, ("UAE", "U.A.E.", "Emirates")),
        ("AR", "Argentina", "Americas", "South America", "ARS", 1000.0, 21, 0.5, ("Republica Argentina",)),
        ("AT", "Austria", "Europe", "Western Europe", "EUR", 1.0, 20, 2.5, ("Österreich", "Oesterreich")),
        (
            "AU",
            "Australia",
            "Oceania",
            "Australia and New Zealand",
            "AUD",
            1.65,
            10,
            1.6,
            ("Commonwealth of Australia",),
        ),
        (
            "BE",
            "Belgium",
            "Europe",
            "Western Europe",
            "EUR",
            1.0,
            21,
            2.6,
            ("België", "Belgique", "Kingdom of Belgium"),
        ),
        ("BG", "Bulgaria", "Europe", "Eastern Europe", "EUR", 1.0, 20, 0.5, ("Republic of Bulgaria",)),
        ("BR", "Brazil", "Americas", "South America", "BRL", 5.4, 17, 1.5, ("Brasil", "Federative Republic of Brazil")),
        ("CA", "Canada", "Americas", "Northern America", "CAD", 1.48, 5, 1.8, ("CAN",)),
        (
            "CH",
            "Switzerland",
            "Europe",
            "Western Europe",
            "CHF",
            0.96,
            8,
            2.2,
            ("Schweiz", "Suisse", "Swiss Confederation"),
        ),
        ("CL", "Chile", "Americas", "South America", "CLP", 1000.0, 19, 0.3, ("Republic of Chile",)),
        ("CN", "China", "Asia", "Eastern Asia", "CNY", 7.8, 13, 1.5, ("People's Republic of China", "PRC")),
        ("CY", "Cyprus", "Asia", "Western Asia", "EUR", 1.0, 19, 0.2, ("Republic of Cyprus",)),
        ("CZ", "Czechia", "Europe", "Eastern Europe", "CZK", 25.0, 21, 1.2, ("Czech Republic", "The Czech Republic")),
        (
            "DE",
            "Germany",
            "Europe",
            "Western Europe",
            "EUR",
            1.0,
            19,
            14.0,
            ("Deutschland", "Federal Republic of Germany", "BRD", "GER"),
        ),
        ("DK", "Denmark", "Europe", "Northern Europe", "DKK", 7.46, 25, 1.3, ("Danmark", "Kingdom of Denmark")),
        ("EE", "Estonia", "Europe", "Northern Europe", "EUR", 1.0, 22, 0.3, ("Republic of Estonia",)),
        ("EG", "Egypt", "Africa", "Northern Africa", "EGP", 52.0, 14, 0.3, ("Arab Republic of Egypt",)),
        ("ES", "Spain", "Europe", "Southern Europe", "EUR", 1.0, 21, 5.0, ("España", "Kingdom of Spain", "ESP")),
        ("FI", "Finland", "Europe", "Northern Europe", "EUR", 1.0, 25, 1.0, ("Suomi", "Republic of Finland")),
        (
            "FR",
            "France",
            "Europe",
            "Western Europe",
            "EUR",
            1.0,
            20,
            9.5,
            ("French Republic", "République française", "FRA"),
        ),
        (
            "GB",
            "United Kingdom",
            "Europe",
            "Northern Europe",
            "GBP",
            0.85,
            20,
            10.0,
            ("UK", "U.K.", "Great Britain", "England", "United Kingdom of Great Britain and Northern Ireland"),
        ),
        ("GR", "Greece", "Europe", "Southern Europe", "EUR", 1.0, 24, 0.7, ("Hellas", "Hellenic Republic")),
        ("HR", "Croatia", "Europe", "Southern Europe", "EUR", 1.0, 25, 0.4, ("Hrvatska",)),
        ("HU", "Hungary", "Europe", "Eastern Europe", "HUF", 395.0, 27, 0.7, ("Magyarország",)),
        ("ID", "Indonesia", "Asia", "South-eastern Asia", "IDR", 17500.0, 11, 0.4, ("Republic of Indonesia",)),
        ("IE", "Ireland", "Europe", "Northern Europe", "EUR", 1.0, 23, 1.8, ("EIRE", "Republic of Ireland")),
        ("IL", "Israel", "Asia", "Western Asia", "ILS", 4.0, 17, 0.5, ("State of Israel",)),
        ("IN", "India", "Asia", "Southern Asia", "INR", 91.0, 18, 1.8, ("Republic of India", "Bharat")),
        ("IT", "Italy", "Europe", "Southern Europe", "EUR", 1.0, 22, 5.0, ("Italia", "Italian Republic", "ITA")),
        ("JP", "Japan", "Asia", "Eastern Asia", "JPY", 163.0, 10, 2.2, ("Nippon", "JPN")),
        (
            "KR",
            "Korea, Republic of",
            "Asia",
            "Eastern Asia",
            "KRW",
            1480.0,
            10,
            0.9,
            ("South Korea", "Republic of Korea"),
        ),
        ("LT", "Lithuania", "Europe", "Northern Europe", "EUR", 1.0, 21, 0.3, ("Republic of Lithuania",)),
        ("LU", "Luxembourg", "Europe", "Western Europe", "EUR", 1.0, 17, 0.5, ("Grand Duchy of Luxembourg",)),
        ("LV", "Latvia", "Europe", "Northern Europe", "EUR", 1.0, 21, 0.2, ("Republic of Latvia",)),
        ("MT", "Malta", "Europe", "Southern Europe", "EUR", 1.0, 18, 0.1, ("Republic of Malta",)),
        ("MX", "Mexico", "Americas", "Central America", "MXN", 19.5, 16, 1.1, ("México", "United Mexican States")),
        ("NG", "Nigeria", "Africa", "Western Africa", "NGN", 1700.0, 7, 0.2, ("Federal Republic of Nigeria",)),
        (
            "NL",
            "Netherlands",
            "Europe",
            "Western Europe",
            "EUR",
            1.0,
            21,
            5.0,
            ("Holland", "The Netherlands", "Nederland", "Kingdom of the Netherlands"),
        ),
        ("NO", "Norway", "Europe", "Northern Europe", "NOK", 11.6, 25, 1.0, ("Norge", "Kingdom of Norway")),
        ("NZ", "New Zealand", "Oceania", "Australia and New Zealand", "NZD", 1.8, 15, 0.4, ("Aotearoa",)),
        ("PL", "Poland", "Europe", "Eastern Europe", "PLN", 4.3, 23, 3.0, ("Polska", "Republic of Poland")),
        ("PT", "Portugal", "Europe", "Southern Europe", "EUR", 1.0, 23, 1.0, ("Portuguese Republic",)),
        ("RO", "Romania", "Europe", "Eastern Europe", "RON", 4.97, 19, 0.7, ("România",)),
        ("SA", "Saudi Arabia", "Asia", "Western Asia", "SAR", 4.1, 15, 0.5, ("KSA", "Kingdom of Saudi Arabia")),
        ("SE", "Sweden", "Europe", "Northern Europe", "SEK", 11.3, 25, 2.0, ("Sverige", "Kingdom of Sweden")),
        ("SG", "Singapore", "Asia", "South-eastern Asia", "SGD", 1.45, 9, 0.8, ("Republic of Singapore",)),
        ("SI", "Slovenia", "Europe", "Southern Europe", "EUR", 1.0, 22, 0.2, ("Slovenija",)),
        ("SK", "Slovakia", "Europe", "Eastern Europe", "EUR", 1.0, 20, 0.4, ("Slovak Republic", "Slovensko")),
        ("TR", "Türkiye", "Asia", "Western Asia", "TRY", 36.0, 20, 1.0, ("Turkey", "TURKIYE", "Republic of Türkiye")),
        ("UA", "Ukraine", "Europe", "Eastern Europe", "UAH", 44.0, 20, 0.4, ("Ukrayina",)),
        (
            "US",
            "United States",
            "Americas",
            "Northern America",
            "USD",
            1.08,
            0,
            13.0,
            ("USA", "U.S.A.", "United States of America", "America"),
        ),
        ("VN", "Viet Nam", "Asia", "South-eastern Asia", "VND", 27000.0, 10, 0.3, ("Vietnam",)),
        ("ZA", "South Africa", "Africa", "Southern Africa", "ZAR", 19.8, 15, 0.7, ("RSA", "Republic of South Africa")),
    )
)
#: How people write Germany, in lower case (mistyped ones apart).
GERMAN_SPELLINGS = [text.lower() for each in COUNTRIES if each.code == "DE" for text in ("DE", each.name, *each.spellings)]
WHOLE_UNIT_CURRENCIES = frozenset({"JPY", "KRW", "CLP", "HUF", "IDR", "VND"})
UNSPECIFIED = ("Unspecified", "", "N/A", "-", None)
PAYMENT_DAYS = (14, 30, 30, 30, 60, 90)

INVOICE_COLUMNS = {
    "invoice_id": "bigint",
    "invoice_number": "text",
    "customer_id": "text",
    "country": "text",
    "invoice_date": "date",
    "due_date": "date",
    "currency_code": "text",
    "net_amount": "numeric(18,2)",
    "tax_amount": "numeric(18,2)",
    "total_amount": "numeric(18,2)",
    "status": "text",
    "created_at": "timestamptz",
    "updated_at": "timestamptz",
}
COUNTRY_COLUMNS = {
    "country_code": "text",
    "country_name": "text",
    "region": "text",
    "sub_region": "text",
    "currency_code": "text",
    "updated_at": "timestamptz not null",
}


@dataclass(frozen=True)
class Span:
    """The invoices to make: `count` of them with ids from `first_id`, created between `start` and `end` in order."""

    first_id: int
    count: int
    start: np.datetime64
    end: np.datetime64


HISTORY_START = HISTORY_END - np.timedelta64(HISTORY_DAYS, "D")


def business(days: np.ndarray) -> np.ndarray:
    """How busy each day is (datetime64[D]); an ordinary weekday is 1: little is invoiced at weekends, much at a month's end."""
    weekday = (days.astype(np.int64) + 3) % 7  # the day 0 of the epoch was a Thursday
    is_month_end = (days + 3).astype("datetime64[M]") != days.astype("datetime64[M]")
    rhythm = np.array([1.0, 1.0, 1.0, 1.0, 1.0, 0.3, 0.15])[weekday] * np.where(is_month_end, 1.5, 1.0)
    return rhythm * _LUCK[days.astype(np.int64)]


def invoices_a_day(invoices: int, day: np.datetime64) -> float:
    """How many invoices a day after HISTORY_END brings on average, where the history has `invoices`: its rhythm goes on."""
    days, weights = _busy_days(HISTORY_START, HISTORY_END)
    return invoices / weights.sum() * business(np.array([day], "datetime64[D]"))[0]


def day_after(days: int) -> date:
    """The date of the business day that many days after the history's last."""
    return (HISTORY_END.astype("datetime64[D]") + np.timedelta64(days, "D")).item()


def history(invoices: int) -> Span:
    """Return the span of the initial load: `invoices` invoices over the three years up to HISTORY_END."""
    return Span(1, invoices, HISTORY_START, HISTORY_END)


def country_rows() -> list[tuple]:
    """Return the rows of `countries` (order of COUNTRY_COLUMNS), dirty as reference data is once people edit it."""
    start = "2023-01-15T09:00:00+00:00"
    rows = [(c.code, c.name, c.region, c.sub_region, c.currency, start) for c in COUNTRIES]
    at = {row[0]: number for number, row in enumerate(rows)}
    rows[at["LU"]] = ("lu", *rows[at["LU"]][1:])
    rows[at["SI"]] = (" SI ", *rows[at["SI"]][1:])
    rows[at["GR"]] = ("GR", " Greece", *rows[at["GR"]][2:])
    return rows + [
        (None, "Atlantis", "Europe", None, "EUR", start),
        ("TR", "Turkey", "Asia", "Western Asia", "TRY", "2021-03-01T09:00:00+00:00"),
    ]


def invoice_chunks(span: Span, seed: int) -> Iterator[pa.Table]:
    """Yield the invoices of a span as Arrow tables (columns of INVOICE_COLUMNS) of about CHUNK_ROWS rows each."""
    for offset in range(0, span.count, CHUNK_ROWS):
        yield _chunk(span, offset, min(CHUNK_ROWS, span.count - offset), seed)


def typed_countries(rng: np.random.Generator, countries: np.ndarray, dirty: bool = True) -> pa.Array:
    """Return what people typed for each country, given as indices into COUNTRIES: code, name or alias in any case."""
    kind = rng.choice(len(_SPELLING_SHARES), len(countries), p=_SPELLING_SHARES)
    choice = rng.integers(0, 1 << 16, len(countries))
    picked = _SPELLING_START[countries, kind] + choice % _SPELLING_COUNT[countries, kind]
    if dirty:
        mistyped = _pick(rng, "mistyped_country", len(countries))
        picked[mistyped] = _TYPO_START[countries[mistyped]] + choice[mistyped] % _TYPO_COUNT[countries[mistyped]]
        unspecified = _pick(rng, "unspecified_country", len(countries))
        picked[unspecified] = _UNSPECIFIED_START + choice[unspecified] % len(UNSPECIFIED)
    text = _SPELLINGS.take(pa.array(picked))
    if not dirty:
        return text
    padded = pa.array(_pick(rng, "country_with_blanks", len(countries)))
    return pc.if_else(padded, pc.binary_join_element_wise(text, " ", " ", ""), text)


def _chunk(span: Span, offset: int, rows: int, seed: int) -> pa.Table:
    rng = np.random.default_rng([seed, span.first_id, offset])
    ids = np.arange(span.first_id + offset, span.first_id + offset + rows, dtype=np.int64)
    country = rng.choice(len(COUNTRIES), rows, p=_WEIGHTS)

    # Ids follow time, as a sequence in a real system does.
    position = (offset + np.arange(rows) + rng.random(rows)) / span.count
    created = _moments(span, position)
    age = span.end - created
    touched = (rng.exponential(12 * 86_400e6, rows)).astype("timedelta64[us]")
    updated = np.minimum(created + touched, created + (age * rng.random(rows)).astype("timedelta64[us]"))
    updated = np.maximum(_at_work(updated, span), created)
    issued = created.astype("datetime64[D]")
    due = issued + rng.choice(PAYMENT_DAYS, rows).astype("timedelta64[D]")

    credit = rng.random(rows) < CREDIT_NOTE_SHARE
    whole = _WHOLE[country]
    cents = np.maximum(rng.lognormal(6.0, 1.2, rows) * 100 * _PER_EURO[country], 100).astype(np.int64)
    net = np.where(whole, cents // 100 * 100, cents) * np.where(credit, -1, 1)
    tax = net * _VAT[country] // 100
    tax = np.where(whole, tax // 100 * 100, tax)
    total = net + tax
    total[_pick(rng, "amounts_do_not_add_up", rows)] += 1000

    status = _status(rng, age, due, span.end, credit)
    original = np.maximum(ids - rng.integers(1, 500, rows), 1)
    number = _numbers(ids, original, credit)
    payer = rng.zipf(1.3, rows) % 50_000
    same = credit & (original >= ids[0])  # the note goes to who got the invoice, where this chunk knows that
    payer[same] = payer[original[same] - ids[0]]
    customer = pc.binary_join_element_wise("C", pc.utf8_lpad(pa.array(payer).cast(pa.string()), 6, "0"), "")
    currency = _CURRENCIES.take(pa.array(country))
    currency = pc.if_else(_mask(rng, "unknown_currency", rows), "XXX", currency)
    issued = np.where(_pick(rng, "far_future_invoice_date", rows), FAR_FUTURE.astype("datetime64[D]"), issued)

    total_text = _decimal(total).cast(pa.string())
    total_text = pc.if_else(_mask(rng, "nan_total_amount", rows), "NaN", total_text)
    table = pa.table(
        {
            "invoice_id": _null_where(_pick(rng, "null_invoice_id", rows), pa.array(ids)),
            "invoice_number": number,
            "customer_id": _null_where(_pick(rng, "missing_customer", rows), customer),
            "country": typed_countries(rng, country),
            "invoice_date": _null_where(_pick(rng, "null_invoice_date", rows), pa.array(issued)),
            "due_date": pa.array(due),
            "currency_code": currency,
            "net_amount": _decimal(net).cast(pa.string()),
            "tax_amount": _decimal(tax).cast(pa.string()),
            "total_amount": _null_where(_pick(rng, "null_total_amount", rows), total_text),
            "status": status,
            "created_at": pa.array(created).cast(pa.timestamp("us", "UTC")),
            "updated_at": _updated(rng, updated, first=offset == 0),
        }
    )
    duplicates = table.filter(_mask(rng, "exact_duplicate", rows))
    older = table.filter(_mask(rng, "older_version", rows))
    older = older.set_column(older.schema.get_field_index("status"), "status", pa.repeat("draft", older.num_rows))
    older = older.set_column(older.schema.get_field_index("updated_at"), "updated_at", older["created_at"])
    return pa.concat_tables([table, duplicates, older.cast(table.schema)])


def _busy_days(start: np.datetime64, end: np.datetime64) -> tuple[np.ndarray, np.ndarray]:
    """The moments that bound the days of a span, and each day's share of the business: it grows, to its most at HISTORY_END."""
    midnights = np.arange(start.astype("datetime64[D]") + 1, end.astype("datetime64[D]") + 1).astype("datetime64[us]")
    bounds = np.concatenate([[start], midnights, [end]])
    days = bounds[:-1].astype("datetime64[D]")
    since = (days - HISTORY_START.astype("datetime64[D]")).astype(np.int64)
    growth = (np.clip(since + 1, 1, HISTORY_DAYS) / HISTORY_DAYS) ** 0.25
    return bounds, business(days) * growth


def _moments(span: Span, position: np.ndarray) -> np.ndarray:
    """When each invoice is created, for positions from 0 (the start of the span) to 1 (its end) in its amount of business."""
    bounds, weights = _busy_days(span.start, span.end)
    done = np.concatenate([[0.0], np.cumsum(weights)]) / weights.sum()
    since = np.interp(position, done, (bounds - span.start).astype(np.int64))
    return _at_work(span.start + since.astype(np.int64).astype("timedelta64[us]"), span)


def _at_work(moments: np.ndarray, span: Span) -> np.ndarray:
    """The moments of a span of many days moved into the hours of work, 08:00 to 18:00, of their day, in their order."""
    if span.end - span.start <= np.timedelta64(1, "D"):
        return moments
    days = moments.astype("datetime64[D]")
    return days + np.timedelta64(8, "h") + (moments - days) * 5 // 12


def _pick(rng: np.random.Generator, kind: str, rows: int) -> np.ndarray:
    return rng.random(rows) < DIRT[kind][0]


def _mask(rng: np.random.Generator, kind: str, rows: int) -> pa.Array:
    return pa.array(_pick(rng, kind, rows))


def _null_where(mask: np.ndarray, values: pa.Array) -> pa.Array:
    return pc.if_else(pa.array(mask), pa.scalar(None, values.type), values)


def _decimal(cents: np.ndarray) -> pa.Array:
    # Two's complement 128-bit words laid out by hand: making Python Decimals would cost most of the run.
    words = np.empty((len(cents), 2), np.int64)
    words[:, 0] = cents
    words[:, 1] = cents >> 63
    return pa.Array.from_buffers(pa.decimal128(18, 2), len(cents), [None, pa.py_buffer(words)])


def _status(rng: np.random.Generator, age: np.ndarray, due: np.ndarray, end: np.datetime64, credit: np.ndarray) -> pa.Array:
    rows = len(age)
    draw = rng.random(rows)
    overdue = due < end.astype("datetime64[D]")
    code = np.where(draw < 0.04, 3, np.where(overdue, np.where(draw < 0.08, 2, 1), np.where(draw < 0.45, 1, 0)))
    code = np.where((age < np.timedelta64(5, "D")) & (draw > 0.8), 4, code)
    code = np.where(credit, 5, code)
    odd = _pick(rng, "status_in_odd_case", rows)
    code = np.where(odd, code + (1 + rng.integers(0, 2, rows)) * len(_STATUSES), code)
    return _STATUS_SPELLINGS.take(pa.array(code))


def _numbers(ids: np.ndarray, original: np.ndarray, credit: np.ndarray) -> pa.Array:
    def numbered(prefix: str, of_ids: np.ndarray) -> pa.Array:
        return pc.binary_join_element_wise(prefix, pc.utf8_lpad(pa.array(of_ids).cast(pa.string()), 9, "0"), "")

    # A credit note names its own number and the invoice that it takes back.
    note = pc.binary_join_element_wise(numbered("CN-", ids), numbered("INV-", original), "/")
    return pc.if_else(pa.array(credit), note, numbered("INV-", ids))


def _updated(rng: np.random.Generator, updated: np.ndarray, first: bool) -> pa.Array:
    rows = len(updated)
    future = _pick(rng, "far_future_updated_at", rows)
    if first and rows > 5:
        future[5] = True  # at least one, whatever the size: it must not stop the incremental load
    updated = np.where(future, FAR_FUTURE, updated)
    return _null_where(_pick(rng, "null_updated_at", rows), pa.array(updated).cast(pa.timestamp("us", "UTC")))


def _swapped(text: str, at: int) -> str:
    return text[:at] + text[at + 1] + text[at] + text[at + 2 :]


#: No two days of business are equal, whatever the seed; by days since 1970.
_LUCK = 1 + 0.06 * np.clip(np.random.default_rng(1970).standard_normal(50_000), -2.5, 2.5)
_WEIGHTS = np.array([c.weight for c in COUNTRIES])
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()
_PER_EURO = np.array([c.per_euro for c in COUNTRIES])
_VAT = np.array([c.vat_percent for c in COUNTRIES], np.int64)
_WHOLE = np.array([c.currency in WHOLE_UNIT_CURRENCIES for c in COUNTRIES])
_CURRENCIES = pa.array([c.currency for c in COUNTRIES])

_STATUSES = ("open", "paid", "overdue", "cancelled", "draft", "credit_note")
_STATUS_SPELLINGS = pa.array([*_STATUSES, *(s.upper() for s in _STATUSES), *(f" {s.capitalize()} " for s in _STATUSES)])

# All spellings in one dictionary; every (country, kind of spelling) is a run in it.
_SPELLING_SHARES = (0.55, 0.05, 0.22, 0.04, 0.14)  # code, code in another case, name, name in another case, alias
_flat: list[str | None] = []


def _run(texts: tuple[str | None, ...]) -> tuple[int, int]:
    _flat.extend(texts)
    return len(_flat) - len(texts), len(texts)


_runs = np.array(
    [
        [
            _run((c.code,)),
            _run((c.code.lower(), c.code.capitalize())),
            _run((c.name,)),
            _run((c.name.upper(), c.name.lower())),
            _run(c.spellings),
        ]
        for c in COUNTRIES
    ]
)
_SPELLING_START, _SPELLING_COUNT = _runs[:, :, 0], _runs[:, :, 1]
_typos = np.array([_run((_swapped(c.name, 2), c.name[:3] + c.name[4:], c.name + c.name[-1])) for c in COUNTRIES])
_TYPO_START, _TYPO_COUNT = _typos[:, 0], _typos[:, 1]
_UNSPECIFIED_START = _run(UNSPECIFIED)[0]
_SPELLINGS = pa.array(_flat, pa.string())
