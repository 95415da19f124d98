"""What is let through to Sail is what the conformance suite has shown to be equal on both engines."""

from collections.abc import Iterator

import pytest
from sqlglot import exp, parse
from sqlglot.errors import SqlglotError

from local_databricks import sail_sql
from local_databricks.results import SqlError
from local_databricks.sail_sql import to_sail
from tests.conformance.cases import Fails, all_cases, differences


def shown_equal() -> Iterator[str]:
    """The names of every construct and function in the cases that Sail answers as Spark does."""
    different = {name for kind in differences().values() for name in kind}
    for case in all_cases():
        if case.name not in different and not isinstance(case.expected, Fails):
            for statement in case.statements():
                try:
                    trees = parse(statement, dialect=sail_sql._Databricks)
                except SqlglotError:
                    continue
                for tree in filter(None, trees):
                    for node in tree.walk():
                        yield node.name.lower() if isinstance(node, exp.Anonymous) else type(node).__name__


def test_every_construct_that_is_let_through_has_a_case():
    assert sail_sql._ALLOWED | set(sail_sql._ANONYMOUS) <= set(shown_equal())


@pytest.mark.parametrize(
    "query", ["select soundex('a')", "select * from t version as of 1", "select x'00'", "select a.b from t order by all"]
)
def test_what_is_not_known_is_refused_by_name(query):
    with pytest.raises(SqlError, match="ENGINE=spark"):
        to_sail(query, "sail", lambda query: [])


def test_what_depends_on_types_that_cannot_be_told_is_refused():
    def analyze(query: str) -> list[tuple[str, str]]:
        raise ValueError("a correlated query, say")

    with pytest.raises(SqlError, match="whose type could not be told"):
        to_sail("select a + b from t", "sail", analyze)


def test_integers_are_added_in_a_wider_type_and_cast_back():
    query = to_sail("select a + b as c from t", "sail", lambda query: [("a", "int"), ("b", "int")])
    assert query == "SELECT CAST(CAST(a AS BIGINT) + CAST(b AS BIGINT) AS INT) AS c FROM t"


def test_names_of_tables_are_written_small_and_paths_as_they_are():
    query = to_sail("select * from Gold.Dim, delta.`/A/b`", "sail", lambda query: [])
    assert query == "SELECT * FROM `gold`.`dim` CROSS JOIN delta.`/A/b`"
