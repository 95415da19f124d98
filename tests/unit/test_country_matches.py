"""The ladder of silver_country_matches over the real seeds: what people type, and the country it means."""

import csv
import importlib.util
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
COMPANY = pd.DataFrame([("DE", "Bundesrepublik"), ("FR", "Spain")], columns=["country_code", "country_name"])


@pytest.fixture(scope="module")
def module():
    path = ROOT / "python_models" / "silver" / "silver_country_matches.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def seed(name: str) -> pd.DataFrame:
    frame = pd.read_csv(ROOT / "seeds" / f"{name}.csv", keep_default_na=False, dtype=str)
    return frame.mask(frame == "", None)


@pytest.fixture(scope="module")
def match(module):
    return module.build_matcher(seed("iso_countries"), COMPANY, seed("country_aliases"))


def read(name: str) -> list[dict[str, str]]:
    with (ROOT / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_what_people_type(match):
    """country_spellings.csv says what a person who knows the countries makes of each text, and by which rung."""
    reviewed = read("tests/unit/country_spellings.csv")
    assert len({row["text"] for row in reviewed}) == len(reviewed) >= 300
    expected = {row["text"]: (row["country_code"] or None, row["method"]) for row in reviewed}
    got = {text: match(text)[:2] for text in expected}
    assert {text: (got[text], expected[text]) for text in got if got[text] != expected[text]} == {}


def test_the_company_s_own_names_count_where_iso_does_not_claim_them(match):
    assert match("bundesrepublik")[:2] == ("DE", "name")
    assert match("Spain")[:2] == ("ES", "name")  # although the company calls France so


def test_every_alias_means_what_its_line_says(match):
    for row in read("seeds/country_aliases.csv"):
        found = match(row["alias"])
        expected = (row["country_code"], "alias", None) if row["country_code"] else (None, "no_country", row["kind"])
        assert (found.country_code, found.method, found.no_country_kind) == expected, row


def test_a_steward_s_line_decides_for_every_way_of_typing_the_text(module):
    line = pd.DataFrame([("Polland", "PL", "country", "steward")], columns=["alias", "country_code", "kind", "source"])
    match = module.build_matcher(seed("iso_countries"), COMPANY, pd.concat([seed("country_aliases"), line]))
    assert {match(text)[:2] for text in ("Polland", "POLLAND ", "polland.")} == {("PL", "alias")}


def test_the_best_guess_is_told_where_it_is_not_taken(match):
    assert match("Guinnea")[:5] == (None, "unknown", 92.3, "GN", "guinea")
    assert match("Germnay")[3:5] == ("DE", "germany")
    assert match("Virgin Island")[3:5] == (None, "virgin islands")


def test_one_typo_is_hardly_ever_taken_for_another_country(match, module):
    """Every short name with one letter left out, doubled or swapped with the next, or one vowel put in or in its place."""
    guesses, right, wrong = 0, 0, {}
    for row in read("seeds/iso_countries.csv"):
        name = module.fold(row["country_name"])
        places = range(len(name))
        typos = {name[:i] + name[i + 1 :] for i in places}
        typos |= {name[:i] + name[i : i + 2][::-1] + name[i + 2 :] for i in places}
        typos |= {name[:i] + letter + name[i + skip :] for i in places for letter in "aeinrs" + name[i] for skip in (0, 1)}
        for typo in sorted(typos - {name}):
            found = match(typo)
            guesses += 1
            right += found.country_code == row["country_code"]
            if found.method == "fuzzy" and found.country_code != row["country_code"]:
                wrong[typo] = found.country_code
    assert wrong == {"alaos": "PW", "malai": "MW"}  # Laos and Mali are too short to be compared themselves
    assert right / guesses > 0.85


def test_every_country_is_found_by_its_codes_and_names(match):
    countries = pd.read_csv(ROOT / "seeds" / "iso_countries.csv", keep_default_na=False, dtype=str)
    for row in countries.itertuples():
        for text in (row.country_code, row.country_code3, row.country_name, row.iso_name, row.official_name):
            assert match(text)[0] == (row.country_code if text != "Congo" else None), text


def test_scores_are_percent_and_only_where_texts_were_compared(match):
    assert match("Germany")[2] == 100.0
    assert 85.0 <= match("Germnay")[2] < 100.0
    assert match("")[2] is None


def test_the_seeds_are_folded_as_the_model_folds(module):
    spec = importlib.util.spec_from_file_location("generate", ROOT / "seeds" / "generate_reference_data.py")
    source = Path(spec.origin).read_text(encoding="utf-8")
    model = Path(module.__file__).read_text(encoding="utf-8")
    body = 'plain = unicodedata.normalize("NFKD", text.casefold())'
    assert source[source.index(body) :].split("\n\n\n")[0] == model[model.index(body) :].split("\n\n\n")[0]
