"""Which ISO country a typed text means, by a ladder that stops at the first rung that holds:
code, no_country, name, alias, fuzzy, unknown. The yml beside this file describes each."""

import re
import unicodedata
from typing import NamedTuple

import pandas as pd
from rapidfuzz import fuzz, process
from rapidfuzz.distance import OSA

FUZZY_THRESHOLD = 85.0  # similarity in percent that the best candidate must reach
FUZZY_MARGIN = 5.0  # and by which it must beat the best candidate of any other country
FUZZY_MIN_LENGTH = 5  # shorter texts are one typo away from too many countries


def fold(text):
    """The form in which texts are compared: no case, accents, punctuation, repeated blanks or leading "the"."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    plain = "".join(c for c in plain if not unicodedata.combining(c))
    plain = re.sub(r"[.'’`]", "", plain).replace("&", " and ")
    return " ".join(re.sub(r"[^\w]+", " ", plain).split()).removeprefix("the ")


class Match(NamedTuple):
    """What a text means, and what a person who has to decide it should know."""

    country_code: str | None
    method: str
    score: float | None = None  # similarity in percent to `nearest_spelling`, 100 where nothing had to be guessed
    nearest_code: str | None = None  # only where texts were compared: the country of the most similar spelling
    nearest_spelling: str | None = None
    no_country_kind: str | None = None


def build_matcher(iso, company, aliases):
    """A function that takes a typed text and returns its Match.

    iso, company, aliases: frames of iso_countries, silver_countries and country_aliases.
    """
    codes = {fold(code): row.country_code for row in iso.itertuples() for code in (row.country_code, row.country_code3)}
    no_country = {fold(row.alias): row.kind for row in aliases.itertuples() if not row.country_code}
    names, short_names, used_in_names = {}, {}, {}
    for row in iso.itertuples():
        for name in (row.country_name, row.iso_name, row.official_name):
            names[fold(name)] = row.country_code
        short_names[row.country_code] = fold(row.country_name)
        for word in short_names[row.country_code].split():
            used_in_names.setdefault(word, set()).add(row.country_code)
    for row in company.itertuples():  # the company's own names count where ISO's do not already claim them
        names.setdefault(fold(row.country_name), row.country_code)
    alias_codes = {fold(row.alias): row.country_code for row in aliases.itertuples() if row.country_code}
    # A text that is most similar to one that names no country is not guessed either: those stand among the candidates.
    candidates = {**alias_codes, **names, **dict.fromkeys(no_country)}
    spellings = [text for text in candidates if len(text) >= FUZZY_MIN_LENGTH]

    def match(text):
        folded = fold(text)
        if not folded:
            return Match(None, "missing")
        # A code has nothing but blanks around it: "n.a." is not Namibia, "St." not Sao Tome.
        if folded in codes and len(text.strip()) == len(folded):
            return Match(codes[folded], "code", 100.0)
        if folded in no_country:  # before the names, because ISO calls one of the two Congos just so
            return Match(None, "no_country", 100.0, no_country_kind=no_country[folded])
        if folded in names:
            return Match(names[folded], "name", 100.0)
        if folded in alias_codes:
            return Match(alias_codes[folded], "alias", 100.0)
        if len(folded) < FUZZY_MIN_LENGTH:
            return Match(None, "unknown")
        ranked = process.extract(folded, spellings, scorer=fuzz.ratio, limit=20)
        spelling, score, _ = ranked[0]
        nearest = (round(score, 1), candidates[spelling], spelling)
        code = candidates[spelling]
        others = [(other, OSA.distance(folded, name)) for name, other, _ in ranked if candidates[name] != code]
        is_ahead = score - max((other for other, _ in others), default=0.0) >= FUZZY_MARGIN
        # As many typos away from another country: "paland" is Poland or Åland, "seria" Serbia or Syria.
        is_nearest = OSA.distance(folded, spelling) < min((edits for _, edits in others), default=len(folded))
        # A word that other countries' names contain too (Guinea, Sudan, Island) is matched exactly or not at all.
        is_shared = any(used_in_names.get(word, set()) - {code} for word in (spelling, short_names.get(code)))
        if code and score >= FUZZY_THRESHOLD and is_ahead and is_nearest and not is_shared:
            return Match(code, "fuzzy", *nearest)
        return Match(None, "unknown", *nearest)

    return match


def model(dbt, spark):
    """One row per distinct text that an invoice carries."""
    dbt.config(
        materialized="incremental",
        incremental_strategy="insert_overwrite",
        on_schema_change="append_new_columns",
        submission_method="all_purpose_cluster",
        create_notebook=False,
    )
    texts = dbt.ref("silver_invoices").select("country_text").dropna().distinct().toPandas()["country_text"]
    match = build_matcher(
        dbt.ref("iso_countries").toPandas(),
        dbt.ref("silver_countries").where("not is_deleted").select("country_code", "country_name").toPandas(),
        dbt.ref("country_aliases").toPandas(),
    )
    matches = pd.DataFrame([(text, *match(text)) for text in sorted(texts)], columns=["country_text", *Match._fields])
    types = [f"{name} {'double' if name == 'score' else 'string'}" for name in matches.columns]
    return spark.createDataFrame(matches, ", ".join(types))
