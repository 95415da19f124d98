"""The ladder of silver_country_matches over the real seeds: what people type, and the country it means."""

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


@pytest.fixture(scope="module")
def match(module):
    def seed(name: str) -> pd.DataFrame:
        frame = pd.read_csv(ROOT / "seeds" / f"{name}.csv", keep_default_na=False, dtype=str)
        return frame.mask(frame == "", None)

    return module.build_matcher(seed("iso_countries"), COMPANY, seed("country_aliases"))


@pytest.mark.parametrize(
    ("text", "code", "method"),
    [
        *[(text, "DE", "code") for text in ("DE", "de", " De ", "DEU", "deu")],
        *[(text, "DE", "name") for text in ("Germany", "GERMANY ", "Federal Republic of Germany", "bundesrepublik")],
        *[(text, "DE", "alias") for text in ("Deutschland", "DEUTSCHLAND", "Alemania", "Allemagne", "GER")],
        *[(text, "DE", "fuzzy") for text in ("Germnay", "Germanny", "Deutchland")],
        ("NA", "NA", "code"),
        ("Spain", "ES", "name"),  # ISO's name, although the company calls France so
        ("EIRE", "IE", "alias"),
        ("RSA", "ZA", "alias"),
        ("USA", "US", "code"),
        ("U.S.A.", "US", "code"),
        ("United States of America", "US", "name"),
        ("UK", "GB", "alias"),
        ("Great Britain", "GB", "alias"),
        ("the Netherlands", "NL", "name"),
        ("Holland", "NL", "alias"),
        ("Czechia", "CZ", "name"),
        ("Czech Republic", "CZ", "name"),
        ("Türkiye", "TR", "name"),
        ("turkiye", "TR", "name"),
        ("Turkey", "TR", "alias"),
        ("Ivory coast", "CI", "alias"),
        ("Cote d'Ivoire", "CI", "name"),
        ("Kosovo", "XK", "name"),
        ("中国", "CN", "alias"),
        ("Россия", "RU", "alias"),
        ("Ελλάδα", "GR", "alias"),
        ("São Tomé & Príncipe", "ST", "name"),
        ("Swtzerland", "CH", "fuzzy"),
        ("Channel Islands", None, "no_country"),
        ("European Community", None, "no_country"),
        ("Unspecified", None, "no_country"),
        ("Korea", None, "no_country"),
        ("N/A", None, "no_country"),
        ("", None, "missing"),
        ("  ", None, "missing"),
        ("??", None, "missing"),
        ("Atlantis", None, "unknown"),
        ("QQ", None, "unknown"),
        ("12345", None, "unknown"),
    ],
)
def test_what_people_type(match, text, code, method):
    assert match(text)[:2] == (code, method)


@pytest.mark.parametrize("text", ["Austrlia", "Nigr", "Guin", "Republic", "Saint"])
def test_a_text_that_is_close_to_two_countries_or_too_short_is_not_guessed(match, text):
    assert match(text)[:2] == (None, "unknown")


def test_every_country_is_found_by_its_codes_and_names(match):
    countries = pd.read_csv(ROOT / "seeds" / "iso_countries.csv", keep_default_na=False, dtype=str)
    for row in countries.itertuples():
        for text in (row.country_code, row.country_code3, row.country_name, row.iso_name, row.official_name):
            assert match(text)[0] == row.country_code, text


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
