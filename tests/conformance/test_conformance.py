"""Every case of cases.py against an endpoint with each engine."""

import datetime
import math
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from databricks.sql.exc import Error

from tests.conformance.cases import MAKE_SHARED, SCHEMA, Case, Fails, Holds, Names, Rows, all_cases, differences
from tests.conftest import connect

CASES = all_cases()
#: Statements at a time.
CLIENTS = 8


@pytest.fixture(scope="module", params=("sail", "spark"))
def engine(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def environment(engine, endpoint_of) -> dict[str, str]:
    return endpoint_of(engine)


def plain(value):
    """A value as the cases write it: times without their zone, UTC's; maps as dict."""
    if isinstance(value, datetime.datetime):
        return value.astimezone(datetime.UTC).replace(tzinfo=None) if value.tzinfo else value
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        if value and all(isinstance(item, tuple) for item in value):  # Arrow's maps are lists of pairs
            return {key: plain(item) for key, item in value}
        return [plain(item) for item in value]
    return value


def same(got, expected) -> bool:
    """Equal, with the same Python type, and floats to 12 digits."""
    if isinstance(expected, (tuple, list)):
        return isinstance(got, (tuple, list)) and len(got) == len(expected) and all(map(same, got, expected))
    if isinstance(expected, float) and isinstance(got, float):
        return math.isclose(got, expected, rel_tol=1e-12) or (math.isnan(got) and math.isnan(expected))
    return type(got) is type(expected) and got == expected


def type_name(column: tuple) -> str:
    """A column's type by its metadata, a cursor's description, as the cases write it."""
    name = column[1].upper()
    return f"DECIMAL({column[4]},{column[5]})" if name == "DECIMAL" else name


def answer(connection, case: Case) -> tuple[list[str], list[str], list[tuple]]:
    """Run a case's statements; gives the last one's names, types and rows. Raises the server's error."""
    *before, last = case.statements()
    with connection.cursor() as cursor:
        for statement in before:
            try:
                cursor.execute(statement)
            except Error as error:  # as a failure where the last statement's error is expected
                if isinstance(case.expected, Fails):
                    raise AssertionError(f"{statement}\nfailed: {error}") from error
                raise
        cursor.execute(last)
        table = cursor.fetchall_arrow()
        columns = [[plain(value) for value in column.to_pylist()] for column in table.columns]
        description = cursor.description or []
        return [c[0] for c in description], [type_name(c) for c in description], list(zip(*columns, strict=True))


def compare(case: Case, names: list[str], types: list[str], rows: list[tuple]) -> None:
    expected = case.expected
    if isinstance(expected, Names):
        assert names == expected.names
    elif isinstance(expected, Holds):
        assert expected.test(rows), rows
    elif isinstance(expected, Rows):
        if expected.pick:
            assert not (missing := set(expected.pick) - set(names)), f"no {missing} in {names}"
            rows = [tuple(row[names.index(name)] for name in expected.pick) for row in rows]
        if expected.part:
            for row in expected.rows:
                assert any(same(each, row) for each in rows), f"{row} is not among {rows}"
        else:
            wanted = expected.rows
            if not expected.pick and "order by" not in case.sql:
                rows, wanted = sorted(rows, key=repr), sorted(wanted, key=repr)
            assert same(rows, wanted), f"got {rows}, expected {wanted}"
        if expected.types:
            assert types == expected.types
    else:
        raise AssertionError(f"no error; got {rows}")


def refused(connection, case: Case) -> str:
    """The text of the error that a case must end in."""
    with pytest.raises((Error, AssertionError)) as caught:  # of the last statement, or of one before it
        result = answer(connection, case)
        pytest.fail(f"answered instead: {result}")
    return str(caught.value)


@pytest.fixture(scope="module")
def outcomes(request, engine, environment):
    """The selected cases by name, each running in the background: an engine is idle for half of what one client asks."""
    with connect(environment) as connection:
        for statement in (f"create schema {SCHEMA}", MAKE_SHARED):
            connection.cursor().execute(statement)
    threads = threading.local()
    opened = []

    def work(case: Case) -> None:
        if case.own_session:
            with connect(environment) as own:
                return check(engine, own, case)
        if not hasattr(threads, "connection"):
            threads.connection = connect(environment)
            opened.append(threads.connection)
        return check(engine, threads.connection, case)

    parameters = [item.callspec.params for item in request.session.items if getattr(item, "callspec", None)]
    with ThreadPoolExecutor(CLIENTS) as pool:
        chosen = [p["case"] for p in parameters if isinstance(p.get("case"), Case) and p["engine"] == engine]
        yield {case.name: pool.submit(work, case) for case in chosen}
    for connection in opened:
        connection.close()


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_case(outcomes, case: Case):
    outcomes[case.name].result()


def check(engine: str, connection, case: Case) -> None:
    if engine == "sail" and case.name in differences()["refused"]:
        assert "ENGINE=spark" in refused(connection, case)
    elif engine == "sail" and case.name in differences()["another_error"]:
        assert isinstance(case.expected, Fails)
        refused(connection, case)
    elif engine == "spark" and case.databricks_only:
        assert f"[{case.databricks_only}" in refused(connection, case)
    elif isinstance(case.expected, Fails):
        text = refused(connection, case)
        assert f"[{case.expected.condition}]" in text or f"[{case.expected.condition}." in text, text
        assert not case.expected.state or f"SQLSTATE: {case.expected.state}" in text, text
    else:
        compare(case, *answer(connection, case))


def test_names_are_unique_and_differences_name_cases():
    names = [case.name for case in CASES]
    assert len(names) == len(set(names))
    assert {name for kind in differences().values() for name in kind} <= set(names)
