"""Which ISO country a typed text means, by a ladder that stops at the first rung that holds:
code, name, alias, fuzzy, unknown. The yml beside this file describes each."""

import re
import unicodedata

import pandas as pd
from rapidfuzz import fuzz, process

FUZZY_THRESHOLD = 85.0  # similarity in percent that the best candidate must reach
FUZZY_MARGIN = 5.0  # and by which it must beat the best candidate of any other country
FUZZY_MIN_LENGTH = 5  # shorter texts are one typo away from too many countries


def fold(text):
    """The form in which texts are compared: no case, accents, punctuation, repeated blanks or leading "the"."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    plain = "".join(c for c in plain if not unicodedata.combining(c))
    plain = re.sub(r"[.'’`]", "", plain).replace("&", " and ")
    return " ".join(re.sub(r"[^\w]+", " ", plain).split()).removeprefix("the ")


def build_matcher(iso, company, aliases):
    """A function that takes a typed text and returns (country_code or None, method, score in percent or None).

    iso, company, aliases: frames of iso_countries, silver_countries and country_aliases.
    """
    codes = {fold(code): row.country_code for row in iso.itertuples() for code in (row.country_code, row.country_code3)}
    names = {}
    for row in iso.itertuples():
        for name in (row.country_name, row.iso_name, row.official_name):
            names[fold(name)] = row.country_code
    for row in company.itertuples():  # the company's own names count where ISO's do not already claim them
        names.setdefault(fold(row.country_name), row.country_code)
    alias_codes = {fold(row.alias): row.country_code or None for row in aliases.itertuples()}
    candidates = {**{text: code for text, code in alias_codes.items() if code}, **names}
    spellings = [text for text in candidates if len(text) >= FUZZY_MIN_LENGTH]

    def match(text):
        folded = fold(text)
        if not folded:
            return None, "missing", None
        if folded in codes:
            return codes[folded], "code", 100.0
        if folded in names:
            return names[folded], "name", 100.0
        if folded in alias_codes:
            code = alias_codes[folded]
            return code, "alias" if code else "no_country", 100.0
        if len(folded) < FUZZY_MIN_LENGTH:
            return None, "unknown", None
        ranked = process.extract(folded, spellings, scorer=fuzz.ratio, limit=20)
        spelling, score, _ = ranked[0]
        code = candidates[spelling]
        runner_up = max((other for name, other, _ in ranked if candidates[name] != code), default=0.0)
        if score >= FUZZY_THRESHOLD and score - runner_up >= FUZZY_MARGIN:
            return code, "fuzzy", round(score, 1)
        return None, "unknown", round(score, 1)

    return match


def model(dbt, spark):
    """One row per distinct text that an invoice carries."""
    dbt.config(
        materialized="incremental",
        incremental_strategy="insert_overwrite",
        submission_method="all_purpose_cluster",
        create_notebook=False,
    )
    texts = dbt.ref("silver_invoices").select("country_text").dropna().distinct().toPandas()["country_text"]
    match = build_matcher(
        dbt.ref("iso_countries").toPandas(),
        dbt.ref("silver_countries").where("not is_deleted").select("country_code", "country_name").toPandas(),
        dbt.ref("country_aliases").toPandas(),
    )
    columns = ["country_text", "country_code", "method", "score"]
    matches = pd.DataFrame([(text, *match(text)) for text in sorted(texts)], columns=columns)
    return spark.createDataFrame(matches, "country_text string, country_code string, method string, score double")
