"""What an engine behind the endpoint must answer: statements with the results that Spark 4.1 and Databricks give.

ANSI mode is on and the session's time zone is UTC. `python -m tests.conformance.cases` writes docs/engines.md.

In a statement, {t} and {u} stand for tables, {v} and {w} for views, and {x} for a schema that belong to the case alone.
"""

import datetime
import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal as D
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
SCHEMA = "conformance"


@dataclass(frozen=True)
class Rows:
    """A result. types: of its columns, as the metadata tells them, None where they do not matter; pick: the columns to
    compare where not all of them matter; part: True where the result may have other rows as well."""

    rows: list[tuple]
    types: list[str] | None = None
    pick: list[str] | None = None
    part: bool = False


@dataclass(frozen=True)
class Names:
    """The names of a result's columns."""

    names: list[str]


@dataclass(frozen=True)
class Holds:
    """What must be true of a result's rows, each a tuple, where the values cannot be known before."""

    test: Callable[[list[tuple]], bool]


@dataclass(frozen=True)
class Fails:
    """An error, by its condition and SQLSTATE; a few of Spark's oldest errors have no SQLSTATE."""

    condition: str
    state: str


@dataclass(frozen=True)
class Case:
    """One case. before: statements that must succeed; sql: the one whose outcome is `expected`.

    own_session: it changes its session; databricks_only: the error's condition on Apache Spark, which lacks it.
    """

    name: str
    sql: str
    expected: Rows | Names | Holds | Fails
    before: tuple[str, ...] = ()
    own_session: bool = False
    databricks_only: str | None = None

    def statements(self) -> list[str]:
        """All statements, with the names that belong to this case alone."""
        slug = re.sub(r"\W+", "_", self.name.lower()).strip("_")
        names = {name: f"{SCHEMA}.{slug}_{name}" for name in "tuvw"} | {"x": f"{SCHEMA}_{slug}", "slug": slug, "shared": SHARED}
        return [re.sub(r"\{(\w+)\}", lambda m: names.get(m[1], m[0]), sql) for sql in (*self.before, self.sql)]


def at(text: str) -> datetime.datetime:
    """A timestamp in UTC, or without a zone: the two are compared alike."""
    return datetime.datetime.fromisoformat(text)


def day(text: str) -> datetime.date:
    return datetime.date.fromisoformat(text)


def _types(types: str | None) -> list[str] | None:
    return types.split() if types else None


def value(name: str, sql: str, expected: object, kind: str | None = None) -> Case:
    """A query for one value; kind: its type, like "INT" or "DECIMAL(10,2)"."""
    return Case(name, sql, Rows([(expected,)], _types(kind)))


def row(name: str, sql: str, expected: Sequence, types: str | None = None) -> Case:
    """A query for one row; types: of its columns, separated by blanks."""
    return Case(name, sql, Rows([tuple(expected)], _types(types)))


def rows(name: str, sql: str, expected: Sequence, types: str | None = None) -> Case:
    """A query for rows, in any order unless it says ORDER BY; a row of one column may be written without its tuple."""
    return Case(name, sql, Rows([r if isinstance(r, tuple) else (r,) for r in expected], _types(types)))


def fails(name: str, sql: str, condition: str, state: str) -> Case:
    """A statement that must fail."""
    return Case(name, sql, Fails(condition, state))


def named(name: str, sql: str, *names: str) -> Case:
    """A query whose columns must have these names."""
    return Case(name, sql, Names(list(names)))


def holds(name: str, sql: str, test: Callable[[list[tuple]], bool]) -> Case:
    """A query whose rows must pass a test."""
    return Case(name, sql, Holds(test))


def script(name: str, before: Sequence[str], sql: str, expected: Sequence, types: str | None = None) -> Case:
    """Statements, and then a query for rows."""
    return replace(rows(name, sql, expected, types), before=tuple(before))


def shows(name: str, before: Sequence[str], sql: str, pick: str | None, expected: Sequence, whole: bool = False) -> Case:
    """Statements, and then one that must show these rows (among others, unless whole) in the picked columns."""
    result = Rows([r if isinstance(r, tuple) else (r,) for r in expected], None, pick.split() if pick else None, not whole)
    return Case(name, sql, result, tuple(before))


def told(name: str, before: Sequence[str], sql: str, test: Callable[[list[tuple]], bool]) -> Case:
    """Statements, and then a query whose rows must pass a test."""
    return Case(name, sql, Holds(test), tuple(before))


def script_fails(name: str, before: Sequence[str], sql: str, condition: str, state: str) -> Case:
    """Statements, and then one that must fail."""
    return Case(name, sql, Fails(condition, state), tuple(before))


def own_session(case: Case) -> Case:
    """The case changes its session and so gets one of its own."""
    return replace(case, own_session=True)


def databricks_only(condition: str, case: Case) -> Case:
    """Databricks gives the case's result; Apache Spark 4.1 has no such thing and says so with this condition."""
    return replace(case, databricks_only=condition)


T3 = "values (1, 'a', 10), (2, 'b', 20), (3, 'c', 30) as x(id, name, n)"
MAKE3 = f"create table {{t}} as select * from {T3}"
#: A table with those rows that all cases share: for what changes nothing.
SHARED = f"{SCHEMA}.shared"
MAKE_SHARED = f"create table {SHARED} as select * from {T3}"

CASES: dict[str, list[Case]] = {}

CASES["Literals and types"] = [
    row("integer literals", "select 1Y, 2S, 3, 4L", (1, 2, 3, 4), "TINYINT SMALLINT INT BIGINT"),
    value("integer literal beyond int", "select 3000000000", 3000000000, "BIGINT"),
    value("integer literal beyond bigint", "select 9223372036854775808", D("9223372036854775808"), "DECIMAL(19,0)"),
    row("decimal literals", "select 1.50, 0.01, 2.5BD", (D("1.50"), D("0.01"), D("2.5")),
        "DECIMAL(3,2) DECIMAL(2,2) DECIMAL(2,1)"),
    row("floating literals", "select 1e3, 1.5D, 2.5F", (1000.0, 1.5, 2.5), "DOUBLE DOUBLE FLOAT"),
    row("boolean and null literals", "select true, false, null", (True, False, None), "BOOLEAN BOOLEAN NULL"),
    value("binary literal", "select x'00ff'", b"\x00\xff", "BINARY"),
    value("date literal", "select date'2024-02-29'", day("2024-02-29"), "DATE"),
    value("timestamp literal", "select timestamp'2024-02-29 12:34:56.789'", at("2024-02-29 12:34:56.789"), "TIMESTAMP"),
    value("timestamp literal with an offset", "select timestamp'2024-02-29 12:00:00+02:00'", at("2024-02-29 10:00:00")),
    value("timestamp literal with a region", "select timestamp'2024-07-01 12:00:00 Europe/Berlin'", at("2024-07-01 10:00:00")),
    value("timestamp_ntz literal", "select timestamp_ntz'2024-02-29 12:00:00'", at("2024-02-29 12:00:00")),
    value("day-time interval", "select interval '1 02:03:04' day to second",
        "1 02:03:04.000000000", "INTERVAL_DAY_TIME"),
    value("year-month interval as text", "select cast(interval '1-2' year to month as string)",
        "INTERVAL '1-2' YEAR TO MONTH", "STRING"),
    value("string escapes", r"select 'a\tb\n\'c\u00e9'", "a\tb\n'cé", "STRING"),
    value("raw string", r"select r'a\tb'", "a\\tb", "STRING"),
    value("doubled quote in a string", "select 'It''s'", "It's", "STRING"),
    value("double-quoted string", 'select "text"', "text", "STRING"),
    value("adjacent strings are one", "select 'a' 'b'", "ab", "STRING"),
    rows("typeof of literals",
        "select typeof(v) from values (array(1)) as t(v) union all select typeof(map('a', 1.5)) union all select"
        " typeof(named_struct('a', 1, 'b', 'x')) union all select typeof(timestamp_ntz'2024-01-01')",
        ["array<int>", "map<string,decimal(2,1)>", "struct<a:int,b:string>", "timestamp_ntz"]),
    value("typeof of an empty array", "select typeof(array())", "array<void>"),
    value("typeof of interval", "select typeof(interval 1 month)", "interval month"),
    value("typeof of mixed values", "select typeof(coalesce(1, 2L, 1.5))", "decimal(21,1)"),
    value("bigint and float meet in double", "select typeof(coalesce(1L, 1.5F))", "double"),
    fails("invalid date literal", "select date'2024-02-30'", "INVALID_TYPED_LITERAL", "42604"),
    row("extreme values", "select -128Y, -9223372036854775808L, cast('NaN' as double) = cast('NaN' as double)",
        (-128, -(2**63), True), "TINYINT BIGINT BOOLEAN"),
    value("unicode beyond the basic plane", "select '😀ü'", "😀ü", "STRING"),
    named("generated column names", "select 1 + 1, upper('a'), count(*), cast(1 as string), 'x'",
        "(1 + 1)", "upper(a)", "count(1)", "CAST(1 AS STRING)", "x"),
    named("aliases keep their case", "select 1 as Ab, 2 as `a b`, 3 `ü`", "Ab", "a b", "ü"),
]  # fmt: skip

CASES["Division and remainder"] = [
    value("div is integral and bigint", "select 7 div 2", 3, "BIGINT"),
    value("div goes towards zero", "select -7 div 2", -3, "BIGINT"),
    value("slash of ints is double", "select 7 / 2", 3.5, "DOUBLE"),
    value("slash of bigints is double", "select 7L / 2L", 3.5, "DOUBLE"),
    row("remainder has the sign of the dividend", "select 7 % -3, -7 % 3, mod(-7, 3) as m", (1, -1, -1), "INT INT INT"),
    row("pmod is never negative for a positive divisor", "select pmod(-7, 3), pmod(7, 3)", (2, 1), "INT INT"),
    value("remainder of doubles", "select 5.5D % 2", 1.5, "DOUBLE"),
    value("remainder of decimals", "select 10.00 % 3", D("1.00"), "DECIMAL(3,2)"),
    fails("slash by zero", "select 1 / 0", "DIVIDE_BY_ZERO", "22012"),
    fails("div by zero", "select 1 div 0", "DIVIDE_BY_ZERO", "22012"),
    fails("double by zero", "select 1D / 0D", "DIVIDE_BY_ZERO", "22012"),
    fails("decimal by zero", "select 1.5 / 0.0", "DIVIDE_BY_ZERO", "22012"),
    fails("remainder by zero", "select 1 % 0", "REMAINDER_BY_ZERO", "22012"),
    fails("division by zero in a row", "select 10 / (id - 3) from range(10)", "DIVIDE_BY_ZERO", "22012"),
    row("try_divide and try_mod", "select try_divide(1, 0), try_divide(1, 4), try_mod(1, 0)", (None, 0.25, None)),
    value("null divided by zero is null", "select cast(null as int) / 0", None, "DOUBLE"),
    value("nullif keeps division safe", "select 1 / nullif(0, 0)", None, "DOUBLE"),
    fails("div of the smallest bigint by minus one", "select -9223372036854775808L div -1L", "ARITHMETIC_OVERFLOW", "22003"),
]  # fmt: skip

CASES["Overflow"] = [
    *(fails(f"overflow of {kind}: {sql}", f"select {sql}", condition, "22003") for kind, sql, condition in [
        ("tinyint", "127Y + 1Y", "BINARY_ARITHMETIC_OVERFLOW"), ("tinyint", "-128Y - 1Y", "BINARY_ARITHMETIC_OVERFLOW"),
        ("tinyint", "64Y * 2Y", "BINARY_ARITHMETIC_OVERFLOW"), ("smallint", "32767S + 1S", "BINARY_ARITHMETIC_OVERFLOW"),
        ("smallint", "256S * 128S", "BINARY_ARITHMETIC_OVERFLOW"), ("int", "2147483647 + 1", "ARITHMETIC_OVERFLOW"),
        ("int", "-2147483648 - 1", "ARITHMETIC_OVERFLOW"), ("int", "65536 * 65536", "ARITHMETIC_OVERFLOW"),
        ("bigint", "9223372036854775807L + 1L", "ARITHMETIC_OVERFLOW"),
        ("bigint", "-9223372036854775808L - 1L", "ARITHMETIC_OVERFLOW"),
        ("bigint", "9223372036854775807L * 2L", "ARITHMETIC_OVERFLOW"),
        ("int", "abs(-2147483648)", "ARITHMETIC_OVERFLOW"), ("int", "-(-2147483648)", "ARITHMETIC_OVERFLOW"),
    ]),
    value("a wider type does not overflow", "select 127Y + 1", 128, "INT"),
    value("int plus bigint is bigint", "select 2147483647 + 1L", 2147483648, "BIGINT"),
    value("smallint plus tinyint is smallint", "select 1S + 1Y", 2, "SMALLINT"),
    value("sum of ints is bigint", "select sum(v) from values (2147483647), (2147483647) as t(v)", 4294967294, "BIGINT"),
    fails("sum of bigints overflows", "select sum(v) from values (9223372036854775807L), (1L) as t(v)",
        "ARITHMETIC_OVERFLOW", "22003"),
    value("try_sum gives null", "select try_sum(v) from values (9223372036854775807L), (1L) as t(v)", None, "BIGINT"),
    row("try_add, try_subtract and try_multiply",
        "select try_add(2147483647, 1), try_subtract(1, 2), try_multiply(65536, 65536)", (None, -1, None), "INT INT INT"),
    fails("int overflow over a column", "select cast(id as int) * 1000000000 from range(5)", "ARITHMETIC_OVERFLOW", "22003"),
    fails("cast of int to tinyint", "select cast(300 as tinyint)", "CAST_OVERFLOW", "22003"),
    fails("cast of bigint to int", "select cast(3000000000 as int)", "CAST_OVERFLOW", "22003"),
    fails("cast of double to bigint", "select cast(1e20 as bigint)", "CAST_OVERFLOW", "22003"),
    fails("cast of decimal to tinyint", "select cast(128.5 as tinyint)", "CAST_OVERFLOW", "22003"),
    fails("cast of text beyond int", "select cast('3000000000' as int)", "CAST_INVALID_INPUT", "22018"),
    fails("cast to a narrow decimal", "select cast(1234.5 as decimal(5,2))", "NUMERIC_VALUE_OUT_OF_RANGE", "22003"),
    value("try_cast to a narrow decimal", "select try_cast(1234.5 as decimal(5,2))", None, "DECIMAL(5,2)"),
    value("double overflows to infinity", "select 1e308D * 10 = double('Infinity')", True),
    row("shifts wrap", "select shiftleft(1, 31), shiftright(-8, 1), shiftrightunsigned(-1, 28)", (-2147483648, -4, 15)),
]  # fmt: skip

DEC = "cast({} as decimal({}))".format

CASES["Decimals"] = [
    value("decimal sum", "select 1.5 + 2.25", D("3.75"), "DECIMAL(4,2)"),
    value("decimal difference", "select 1.5 - 2.25", D("-0.75"), "DECIMAL(4,2)"),
    value("decimal product", "select 1.5 * 2.25", D("3.375"), "DECIMAL(6,3)"),
    value("decimal quotient", "select 1.0 / 3", D("0.333333"), "DECIMAL(7,6)"),
    value("decimal quotient rounds half up", "select 2.00 / 3", D("0.666667"), "DECIMAL(7,6)"),
    value("quotient of decimal(18,2)", f"select {DEC(10, '18,2')} / {DEC(3, '18,2')}", D("3.33333333333333333333"),
        "DECIMAL(38,20)"),
    value("quotient of decimal(38,2) loses scale", f"select {DEC(10, '38,2')} / {DEC(3, '38,2')}", D("3.333333"),
        "DECIMAL(38,6)"),
    value("wide product loses scale", f"select {DEC(1, '38,10')} * {DEC(1, '38,10')}", D("1.000000"), "DECIMAL(38,6)"),
    value("wide sum loses scale", f"select {DEC(1, '38,18')} + {DEC(1, '38,18')}", D("2.00000000000000000"), "DECIMAL(38,17)"),
    value("product of decimal(18,2) and (20,10)", f"select {DEC('1.25', '18,2')} * {DEC('1.1', '20,10')}",
        D("1.37500000000"), "DECIMAL(38,11)"),
    value("decimal plus int literal", f"select {DEC(2, '10,2')} + 1", D("3.00"), "DECIMAL(11,2)"),
    value("decimal plus int", f"select {DEC(2, '10,2')} + cast(1 as int)", D("3.00"), "DECIMAL(13,2)"),
    value("decimal times bigint", f"select {DEC(2, '10,2')} * cast(3 as bigint)", D("6.00"), "DECIMAL(31,2)"),
    value("decimal plus double is double", f"select {DEC(2, '10,2')} + 0.5D", 2.5, "DOUBLE"),
    value("decimal remainder", f"select {DEC('7.50', '10,2')} % {DEC(2, '5,1')}", D("1.50"), "DECIMAL(6,2)"),
    value("sum of decimals", f"select sum(v) from values ({DEC('1.10', '10,2')}), ({DEC('2.20', '10,2')}) as t(v)",
        D("3.30"), "DECIMAL(20,2)"),
    value("sum of wide decimals", f"select sum({DEC('1.10', '34,2')})", D("1.10"), "DECIMAL(38,2)"),
    value("average of decimals", f"select avg(v) from values ({DEC('1.00', '10,2')}), ({DEC('2.01', '10,2')}) as t(v)",
        D("1.505000"), "DECIMAL(14,6)"),
    fails("sum of decimals overflows",
        "select sum(v) from values (cast('99999999999999999999999999999999999999' as decimal(38,0))), (cast(1 as"
        " decimal(38,0))) as t(v)", "NUMERIC_VALUE_OUT_OF_RANGE", "22003"),
    fails("product of decimals overflows", f"select cast('{'9' * 38}' as decimal(38,0)) * {DEC(10, '38,0')}",
        "NUMERIC_VALUE_OUT_OF_RANGE", "22003"),
    row("round of decimals", "select round(2.5, 0), round(-2.5, 0), round(12.345, 2)", (D(3), D(-3), D("12.35")),
        "DECIMAL(2,0) DECIMAL(2,0) DECIMAL(5,2)"),
    row("round without scale", "select round(2.5) as a, round(2.5D) as b", (D(3), 3.0), "DECIMAL(2,0) DOUBLE"),
    value("round to more digits", f"select round({DEC('1.5', '10,1')}, 3)", D("1.5"), "DECIMAL(11,1)"),
    row("bround rounds half even", "select bround(2.5, 0), bround(3.5, 0), bround(2.5D) as d", (D(2), D(4), 2.0),
        "DECIMAL(2,0) DECIMAL(2,0) DOUBLE"),
    row("round to tens", "select round(125, -1), bround(125, -1), round(125.5, -1)", (130, 120, D(130)),
        "INT INT DECIMAL(4,0)"),
    row("round of doubles goes by their digits", "select round(1.005D, 2), round(2.675D, 2), round(-0.5D)", (1.01, 2.68, -1.0)),
    row("ceil and floor of decimals", "select ceil(1.5), floor(-1.5), ceil(-1.5), floor(1.5)", (D(2), D(-2), D(-1), D(1)),
        "DECIMAL(2,0) DECIMAL(2,0) DECIMAL(2,0) DECIMAL(2,0)"),
    row("ceil and floor of doubles", "select ceil(1.5D), floor(-1.5D), ceiling(2)", (2, -2, 2), "BIGINT BIGINT BIGINT"),
    row("floor and ceil in arithmetic", "select floor(v) + 1, ceil(w) * 2, floor(n) - 1, floor(cast(2 as decimal(5,0)))"
        " from values (cast(1.5 as decimal(38,10)), 2.5D, 7) as t(v, w, n)", (D(2), 6, 6, D(2)),
        "DECIMAL(30,0) BIGINT BIGINT DECIMAL(5,0)"),
    value("round of a wide decimal", "select round(cast(12.345678 as decimal(28,6)), 3)", D("12.346"), "DECIMAL(26,3)"),
    row("double to decimal goes by its digits at every size", "select cast(1.005D as decimal(28,2)), cast(v * 1.005D as"
        " decimal(28,2)), cast(1.5e-9 as decimal(10,9)), cast(-2.5e-7 as decimal(10,7)), cast(cast(123.4565 as float) as"
        " decimal(28,3)) from values (1) as t(v)", (D("1.01"), D("1.01"), D("0.000000002"), D("-0.0000003"), D("123.456"))),
    value("NaN as a decimal is null", "select cast(double('NaN') as decimal(10,2))", None, "DECIMAL(10,2)"),
    value("large double to decimal", "select cast(1e15 as decimal(38,2))", D("1000000000000000.00"), "DECIMAL(38,2)"),
    row("ceil and floor to a digit", "select ceil(12.345, 1), floor(12.345, 1)", (D("12.4"), D("12.3")),
        "DECIMAL(4,1) DECIMAL(4,1)"),
    value("text to decimal rounds half up", "select cast('2.345' as decimal(4,2))", D("2.35"), "DECIMAL(4,2)"),
    value("double to decimal goes by its digits", "select cast(2.345D as decimal(4,2))", D("2.35"), "DECIMAL(4,2)"),
    value("negative halves round away from zero", "select cast(-0.125 as decimal(4,2))", D("-0.13"), "DECIMAL(4,2)"),
    value("coalesce widens", f"select coalesce({DEC(1, '10,2')}, {DEC(1, '12,4')})", D("1.0000"), "DECIMAL(12,4)"),
    value("case widens to the int", f"select case when true then {DEC(1, '10,2')} else 5 end", D("1.00"), "DECIMAL(12,2)"),
    rows("union widens", f"select {DEC(1, '4,2')} as v union all select {DEC(100, '6,1')}", [D("1.00"), D("100.00")],
        "DECIMAL(7,2)"),
    row("decimals compare by value", "select 1.0 = 1, 1.10 = 1.1, 0.1 + 0.2 = 0.3, 0.1D + 0.2D = 0.3D as d",
        (True, True, True, False)),
    row("decimals as text keep their scale", "select cast(1.50 as string), cast(0.0000001 as string), cast(-0.50 as string)",
        ("1.50", "0.0000001", "-0.50")),
    row("abs, sign and negation", "select abs(-1.5), sign(-1.5), -(1.5), positive(1.5)", (D("1.5"), -1.0, D("-1.5"), D("1.5")),
        "DECIMAL(2,1) DOUBLE DECIMAL(2,1) DECIMAL(2,1)"),
    row("greatest and least widen", "select greatest(1.5, 2.25, 1), least(1.5, 2)", (D("2.25"), D("1.5")),
        "DECIMAL(12,2) DECIMAL(11,1)"),
]  # fmt: skip

CASES["Numbers"] = [
    row("powers and roots are double", "select power(2, 10), sqrt(16), cbrt(27), exp(0), ln(1), log(2, 8), log10(1000)",
        (1024.0, 4.0, 3.0, 1.0, 0.0, 3.0, 3.0), "DOUBLE DOUBLE DOUBLE DOUBLE DOUBLE DOUBLE DOUBLE"),
    row("logarithm of what has none is null", "select ln(0), log(10, -1), sqrt(-1) = double('NaN')", (None, None, True)),
    row("NaN is the largest and equal to itself", "select double('NaN') > double('Infinity'), double('NaN') = double('NaN')",
        (True, True)),
    row("isnan and nanvl", "select isnan(double('NaN')), isnan(null), nanvl(double('NaN'), 1D)", (True, False, 1.0)),
    row("bits", "select 5 & 3, 5 | 3, 5 ^ 3, ~5, bit_count(7)", (1, 7, 6, -6, 3), "INT INT INT INT INT"),
    row("bases", "select bin(13), hex(255), conv('ff', 16, 10), unhex('4142'), conv('11', 2, 16)",
        ("1101", "FF", "255", b"AB", "3"), "STRING STRING STRING BINARY STRING"),
    row("width_bucket and factorial", "select width_bucket(5.3, 0.2, 10.6, 5), factorial(5)", (3, 120), "BIGINT BIGINT"),
    holds("rand is within [0, 1)", "select rand() as a, random() as b, rand(1) as c from range(50)",
        lambda r: all(0 <= v < 1 for line in r for v in line)),
    holds("rand with a seed repeats", "select rand(7) = rand(7) as same from range(3)", lambda r: all(v for (v,) in r)),
    holds("uuid is new for every row", "select uuid() as u from range(10)",
        lambda r: len({v for (v,) in r}) == 10 and all(len(v) == 36 for (v,) in r)),
    row("hash and xxhash64 and crc32", "select hash('Spark', array(123), 2), xxhash64('Spark', array(123), 2), crc32('Spark')",
        (-1321691492, 5602566077635097486, 1557323817), "INT BIGINT BIGINT"),
    row("trigonometry", "select round(sin(1), 6), round(atan2(1, 1), 6), round(degrees(pi()), 1), round(radians(180), 6)",
        (0.841471, 0.785398, 180.0, 3.141593)),
]  # fmt: skip

CASES["Casts"] = [
    row("text to numbers", "select cast('12' as int), cast(' 12 ' as bigint), cast('-1.5' as double), cast('+7' as tinyint)",
        (12, 12, -1.5, 7), "INT BIGINT DOUBLE TINYINT"),
    fails("text to int", "select cast('x' as int)", "CAST_INVALID_INPUT", "22018"),
    fails("fraction as text to int", "select cast('1.5' as int)", "CAST_INVALID_INPUT", "22018"),
    fails("empty text to int", "select cast('' as int)", "CAST_INVALID_INPUT", "22018"),
    fails("text to double", "select cast('1,5' as double)", "CAST_INVALID_INPUT", "22018"),
    fails("text to decimal", "select cast('abc' as decimal(10,2))", "CAST_INVALID_INPUT", "22018"),
    row("special doubles from text", "select cast('1e3' as double), cast('inf' as double), cast('-Infinity' as double)",
        (1000.0, float("inf"), float("-inf"))),
    row("exponent as text to decimal", "select cast('1.5e2' as decimal(10,2)), cast(' 3 ' as decimal(3,0))",
        (D("150.00"), D(3))),
    row("text to boolean", "select cast('true' as boolean), cast('T' as boolean), cast('yes' as boolean), cast('0' as boolean)",
        (True, True, True, False)),
    fails("other text to boolean", "select cast('on it' as boolean)", "CAST_INVALID_INPUT", "22018"),
    row("numbers to boolean and back", "select cast(2 as boolean), cast(0.0 as boolean), cast(true as int), int(false)",
        (True, False, 1, 0)),
    row("double to int truncates", "select cast(2.9D as int), cast(-2.9D as int), cast(2.9 as int) as c, cast(-2.9 as bigint)",
        (2, -2, 2, -2), "INT INT INT BIGINT"),
    fails("NaN to int", "select cast(double('NaN') as int)", "CAST_OVERFLOW", "22003"),
    row("text to date", "select cast('2024-02-29' as date), cast('2024-2-9' as date), cast('2024-02' as date), date('2024')",
        (day("2024-02-29"), day("2024-02-09"), day("2024-02-01"), day("2024-01-01"))),
    value("timestamp as text to date", "select cast('2024-02-29T23:59:59' as date)", day("2024-02-29"), "DATE"),
    fails("impossible date", "select cast('2024-02-30' as date)", "CAST_INVALID_INPUT", "22018"),
    fails("german date", "select cast('29.02.2024' as date)", "CAST_INVALID_INPUT", "22018"),
    row("text to timestamp", "select cast('2024-02-29' as timestamp), cast('2024-02-29 1:2' as timestamp),"
        " cast('2024-02-29T12:00:00.123456Z' as timestamp), cast('2024-02-29 12:00:00+05:30' as timestamp)",
        (at("2024-02-29"), at("2024-02-29 01:02"), at("2024-02-29 12:00:00.123456"), at("2024-02-29 06:30"))),
    fails("text to timestamp fails", "select cast('yesterday at 5' as timestamp)", "CAST_INVALID_INPUT", "22018"),
    row("date and timestamp to text", "select cast(date'2024-02-09' as string), cast(timestamp'2024-02-09 01:02:03' as"
        " string), cast(timestamp'2024-02-09 01:02:03.500' as string)",
        ("2024-02-09", "2024-02-09 01:02:03", "2024-02-09 01:02:03.5")),
    row("date and timestamp to each other", "select cast(timestamp'2024-02-29 23:59:59' as date), cast(date'2024-02-29' as"
        " timestamp)", (day("2024-02-29"), at("2024-02-29")), "DATE TIMESTAMP"),
    row("timestamp to numbers", "select cast(timestamp'1970-01-01 00:01:00.5' as bigint), cast(timestamp'1970-01-01"
        " 00:00:01.5' as double)", (60, 1.5), "BIGINT DOUBLE"),
    row("numbers to timestamp", "select cast(60L as timestamp), cast(1.5D as timestamp)",
        (at("1970-01-01 00:01"), at("1970-01-01 00:00:01.5"))),
    row("text with a time to date", "select cast('2026-06-29T00:00:00+00:00' as date), date('2026-06-29 xx'), cast(x as date)"
        " from values (' 2024-02-29T10') as t(x)", (day("2026-06-29"), day("2026-06-29"), day("2024-02-29"))),
    fails("text with a time that is no date", "select cast('2026-02-30T00:00' as date)", "CAST_INVALID_INPUT", "22018"),
    fails("int to date", "select cast(1 as date)", "DATATYPE_MISMATCH", "42K09"),
    fails("date to int", "select cast(date'2024-01-01' as int)", "DATATYPE_MISMATCH", "42K09"),
    fails("boolean to date", "select cast(true as date)", "DATATYPE_MISMATCH", "42K09"),
    row("doubles to text", "select cast(1D as string), cast(0.1D as string), cast(1e7 as string), cast(123456.789D as string),"
        " cast(1e-5 as string)", ("1.0", "0.1", "1.0E7", "123456.789", "1.0E-5")),
    row("floats", "select cast(0.1F as double), cast(0.1F as string), cast(0.1F as decimal(4,2))",
        (0.10000000149011612, "0.1", D("0.10"))),
    row("text and binary", "select cast('aü' as binary), cast(x'61' as string)", ("aü".encode(), "a"), "BINARY STRING"),
    row("nested values to text", "select cast(array(1, null) as string), cast(map('a', 1) as string), cast(named_struct('a',"
        " 1, 'b', 'x') as string)", ("[1, null]", "{a -> 1}", "{1, x}")),
    value("array of text to array of int", "select cast(array('1', '2') as array<int>)", [1, 2], "ARRAY"),
    row("try_cast", "select try_cast('x' as int), try_cast('2024-02-30' as date), try_cast(300 as tinyint), try_cast('1' as"
        " int)", (None, None, None, 1), "INT DATE TINYINT INT"),
    row("double colon and functions", "select '5'::int, 1::string, int('7'), string(1), double('1.5'), bigint(3)",
        (5, "1", 7, "1", 1.5, 3), "INT STRING INT STRING DOUBLE BIGINT"),
    value("text is a bigint beside an int", "select 1 + '2'", 3, "BIGINT"),
    fails("text that is no number beside an int", "select 'a' = 1", "CAST_INVALID_INPUT", "22018"),
    fails("fraction as text beside an int", "select '1.5' + 1", "CAST_INVALID_INPUT", "22018"),
    row("text compares as the other side", "select '10' > 9, '2024-01-02' > date'2024-01-01', '1.50' = 1.5",
        (True, True, True)),
    value("concat makes text", "select concat('a', 1, true, null is null)", "a1truetrue", "STRING"),
]  # fmt: skip

CASES["Dates and timestamps"] = [
    row("datediff and date_add", "select datediff('2024-03-01', '2024-02-28'), date_add('2024-02-28', 2),"
        " date_sub(date'2024-03-01', 1)", (2, day("2024-03-01"), day("2024-02-29")), "INT DATE DATE"),
    row("date plus number", "select date'2024-02-28' + 1, date'2024-03-01' - 1", (day("2024-02-29"), day("2024-02-29")),
        "DATE DATE"),
    value("date minus date", "select date'2024-03-01' - date'2024-02-28'", "2 00:00:00.000000000", "INTERVAL_DAY_TIME"),
    row("add_months keeps to the month's end", "select add_months('2024-01-31', 1), add_months(date'2024-02-29', 12),"
        " add_months('2024-03-31', -1)", (day("2024-02-29"), day("2025-02-28"), day("2024-02-29"))),
    row("months_between", "select months_between('1997-02-28 10:30:00', '1996-10-30'), months_between('2024-03-31',"
        " '2024-02-29')", (3.94959677, 1.0), "DOUBLE DOUBLE"),
    row("last_day and next_day", "select last_day('2023-02-10'), next_day('2024-02-29', 'MON')",
        (day("2023-02-28"), day("2024-03-04"))),
    value("make_date", "select make_date(2024, 2, 29)", day("2024-02-29"), "DATE"),
    fails("make_date of no day", "select make_date(2024, 2, 30)", "DATETIME_FIELD_OUT_OF_BOUNDS", "22023"),
    value("make_timestamp", "select make_timestamp(2024, 2, 29, 1, 2, 3.5)", at("2024-02-29 01:02:03.5"), "TIMESTAMP"),
    row("trunc", "select trunc('2024-08-15', 'MM'), trunc('2024-08-15', 'QUARTER'), trunc('2024-08-15', 'YEAR'),"
        " trunc('2024-08-15', 'WEEK'), trunc('2024-08-15', 'nothing')",
        (day("2024-08-01"), day("2024-07-01"), day("2024-01-01"), day("2024-08-12"), None)),
    row("date_trunc", "select date_trunc('hour', timestamp'2024-08-15 13:14:15'), date_trunc('MONTH', date'2024-08-15'),"
        " date_trunc('week', '2024-08-15'), date_trunc('quarter', timestamp'2024-08-15 01:00:00')",
        (at("2024-08-15 13:00"), at("2024-08-01"), at("2024-08-12"), at("2024-07-01")),
        "TIMESTAMP TIMESTAMP TIMESTAMP TIMESTAMP"),
    row("unix time", "select unix_timestamp('2024-01-01', 'yyyy-MM-dd'), from_unixtime(0), from_unixtime(86400, 'yyyy/MM/dd'),"
        " to_unix_timestamp('2024-01-01 00:00:01')", (1704067200, "1970-01-01 00:00:00", "1970/01/02", 1704067201),
        "BIGINT STRING STRING BIGINT"),
    row("unix parts", "select unix_seconds(timestamp'1970-01-01 00:00:01'), unix_millis(timestamp'1970-01-01 00:00:01.5'),"
        " unix_micros(timestamp'1970-01-01 00:00:01'), unix_date(date'1970-01-11'), date_from_unix_date(10)",
        (1, 1500, 1000000, 10, day("1970-01-11"))),
    row("timestamps from numbers", "select timestamp_seconds(1.5), timestamp_millis(1500), timestamp_micros(1)",
        (at("1970-01-01 00:00:01.5"), at("1970-01-01 00:00:01.5"), at("1970-01-01 00:00:00.000001"))),
    row("to_date", "select to_date('2024-02-29'), to_date('29/02/2024', 'dd/MM/yyyy'), to_date('20240229', 'yyyyMMdd')",
        (day("2024-02-29"),) * 3, "DATE DATE DATE"),
    row("to_timestamp", "select to_timestamp('2024-02-29 01:02:03'), to_timestamp('29/02/2024 01:02', 'dd/MM/yyyy HH:mm')",
        (at("2024-02-29 01:02:03"), at("2024-02-29 01:02")), "TIMESTAMP TIMESTAMP"),
    fails("to_date of no date", "select to_date('x')", "CAST_INVALID_INPUT", "22018"),
    fails("to_date that does not fit the format", "select to_date('2024-02-29', 'dd/MM/yyyy')", "CANNOT_PARSE_TIMESTAMP",
        "22007"),
    fails("to_timestamp that does not fit the format", "select to_timestamp('x', 'yyyy-MM-dd')", "CANNOT_PARSE_TIMESTAMP",
        "22007"),
    row("try_to_timestamp and try_to_date", "select try_to_timestamp('x'), try_to_timestamp('2024-02-30', 'yyyy-MM-dd'),"
        " try_to_date('x'), try_to_date('29.02.2024', 'dd.MM.yyyy')", (None, None, None, day("2024-02-29"))),
    row("timestampdiff counts whole units", "select timestampdiff(MONTH, timestamp'2024-01-31', timestamp'2024-02-29'),"
        " timestampdiff(DAY, timestamp'2024-01-01 12:00', timestamp'2024-01-03 11:00'), datediff(HOUR, '2024-01-01',"
        " '2024-01-02')", (0, 1, 24), "BIGINT BIGINT BIGINT"),
    row("timestampadd", "select timestampadd(HOUR, -1, timestamp'2024-03-01 00:30:00'), timestampadd(MONTH, 1, '2024-01-31'),"
        " dateadd(DAY, 1, date'2024-02-28')", (at("2024-02-29 23:30"), at("2024-02-29"), at("2024-02-29"))),
    value("dateadd gives a timestamp", "select typeof(dateadd(DAY, 1, date'2024-02-28'))", "timestamp"),
    row("extract", "select extract(year from date'2024-12-30'), extract(yearofweek from date'2024-12-30'), extract(week from"
        " date'2024-12-30'), extract(doy from date'2024-03-01'), extract(dow from date'2024-03-03')",
        (2024, 2025, 1, 61, 1), "INT INT INT INT INT"),
    row("extract of seconds is a decimal", "select extract(second from timestamp'2024-01-01 00:00:12.5'),"
        " second(timestamp'2024-01-01 00:00:12.5')", (D("12.500000"), 12), "DECIMAL(8,6) INT"),
    row("date_part", "select date_part('hour', timestamp'2024-01-01 13:00:00'), date_part('quarter', date'2024-08-01')", (13,
        3)),
    row("days of the week", "select dayofweek('2024-02-29'), weekday('2024-02-29'), weekofyear('2024-02-29'),"
        " dayofyear('2024-02-29'), dayofmonth('2024-02-29'), day('2024-02-29')", (5, 3, 9, 60, 29, 29)),
    row("parts of a timestamp", "select year(t), quarter(t), month(t), hour(t), minute(t), second(t) from (select"
        " timestamp'2024-08-15 13:14:15' as t)", (2024, 3, 8, 13, 14, 15), "INT INT INT INT INT INT"),
    row("names of days and months", "select dayname(date'2024-02-29'), monthname(date'2024-02-29')", ("Thu", "Feb")),
    row("date_format", "select date_format(t, 'yyyy-MM-dd HH:mm:ss.SSS'), date_format(t, 'EEEE, d MMMM yy'), date_format(t,"
        " 'h:mm a'), date_format(t, 'E MMM D'), date_format(t, \"yyyy'T'q\") from (select timestamp'2024-02-09 13:04:05.678'"
        " as t)", ("2024-02-09 13:04:05.678", "Friday, 9 February 24", "1:04 PM", "Fri Feb 40", "2024T1")),
    fails("week-based year in a format", "select date_format(date'2024-02-29', 'YYYY')", "INCONSISTENT_BEHAVIOR_CROSS_VERSION",
        "42K0B"),
    row("from and to utc", "select from_utc_timestamp('2024-07-01 12:00:00', 'Europe/Berlin'), to_utc_timestamp('2024-01-01"
        " 12:00:00', 'America/New_York')", (at("2024-07-01 14:00"), at("2024-01-01 17:00")), "TIMESTAMP TIMESTAMP"),
    value("convert_timezone", "select convert_timezone('America/New_York', 'Asia/Tokyo', timestamp_ntz'2024-01-01 00:00:00')",
        at("2024-01-01 14:00")),
    row("timestamp_ntz and timestamp", "select typeof(cast('2024-01-01' as timestamp_ntz)), cast(timestamp_ntz'2024-01-01"
        " 05:00:00' as timestamp), timestamp_ntz'2024-01-01' < timestamp'2024-01-02'", ("timestamp_ntz", at("2024-01-01"
        " 05:00"), True)),
    row("intervals", "select date'2024-01-31' + interval 1 month, timestamp'2024-01-31 12:00' + interval '1' day,"
        " timestamp'2024-01-01' - interval 90 minutes, date'2024-01-01' + interval 1 week",
        (day("2024-02-29"), at("2024-02-01 12:00"), at("2023-12-31 22:30"), day("2024-01-08")), "DATE TIMESTAMP TIMESTAMP"
        " DATE"),
    value("date plus hours is a timestamp", "select date'2024-01-01' + interval 1 hour", at("2024-01-01 01:00"), "TIMESTAMP"),
    value("timestamp minus timestamp", "select timestamp'2024-01-02 01:00:00' - timestamp'2024-01-01'",
        "1 01:00:00.000000000", "INTERVAL_DAY_TIME"),
    row("interval arithmetic", "select cast(interval '1' day * 1.5 as string), cast(make_dt_interval(1, 2) as string),"
        " extract(day from interval '3 04:00:00' day to second)",
        ("INTERVAL '1 12:00:00' DAY TO SECOND", "INTERVAL '1 02:00:00' DAY TO SECOND", 3)),
    value("sequence of months", "select sequence(date'2024-01-31', date'2024-04-30', interval 1 month)",
        [day("2024-01-31"), day("2024-02-29"), day("2024-03-31"), day("2024-04-30")], "ARRAY"),
    row("far dates", "select date'0001-01-01', date'9999-12-31', cast(date'1582-10-04' as string), date'1900-01-01' - 1",
        (day("0001-01-01"), day("9999-12-31"), "1582-10-04", day("1899-12-31"))),
    value("microseconds survive", "select timestamp'2024-01-01 00:00:00.123456'", at("2024-01-01 00:00:00.123456"),
        "TIMESTAMP"),
    holds("now and today", "select current_date() = to_date(current_timestamp()), now() = current_timestamp(), curdate() ="
        " current_date", lambda r: r == [(True, True, True)]),
    value("session time zone is UTC", "select current_timezone()", "UTC"),
    own_session(script("set time zone", ["set time zone 'America/New_York'"],
        "select cast(timestamp'2024-01-01 00:00:00' as bigint), date_format(timestamp'2024-01-01 12:00:00Z', 'HH:mm'),"
        " cast(to_date(timestamp'2024-01-01 02:00:00Z') as string), current_timezone()",
        [(1704085200, "07:00", "2023-12-31", "America/New_York")])),
    own_session(script("set the session's time zone by its setting", ["set spark.sql.session.timeZone = Asia/Tokyo"],
        "select cast(timestamp'2024-01-01 00:00:00' as bigint), hour(timestamp'2024-01-01 00:00:00Z')", [(1704034800, 9)])),
]  # fmt: skip

CASES["Strings"] = [
    row("lower, upper and initcap", "select lower('ÄB'), upper('straße'), initcap('hELLO wORLD-x')",
        ("äb", "STRASSE", "Hello World-x")),
    row("trims", "select trim('  a '), ltrim('  a '), rtrim('  a '), trim(both 'x' from 'xxaxx'), trim(leading '0' from"
        " '0010'), btrim('  a  ')", ("a", "a ", "  a", "a", "10", "a")),
    row("trim takes blanks only", "select trim('\\t a \\n') = '\\t a \\n', length(trim('\\t a'))", (True, 3)),
    row("the empty string is not null", "select '' is null, length(''), '' = '', coalesce('', 'x'), nullif('', '')",
        (False, 0, True, "", None)),
    row("substring", "select substring('abcdef', 2, 3), substr('abcdef', -3), substr('abcdef', -3, 2), substring('abc', 0, 2),"
        " substring('abc' from 2 for 1), substring('abc', 5), substring('abc', -5, 3)",
        ("bcd", "def", "de", "ab", "b", "", "a")),
    row("left and right", "select left('abc', 2), right('abc', 2), left('abc', -1), right('abc', 10)", ("ab", "bc", "", "abc")),
    row("split", "select split('a,b,,c', ','), split('a1b2', '[0-9]'), split('a,b,c', ',', 2), split('', ',')",
        (["a", "b", "", "c"], ["a", "b", ""], ["a", "b,c"], [""])),
    row("part of a split", "select split(x, '[.]')[1], split(x, '[.]')[0], split('a,b,', ',')[2], split(null, ',')[0],"
        " upper(split(x, '[.]')[1]) from values ('a.b..c') as t(x)", ("b", "a", "", None, "B")),
    fails("part beyond a split", "select split('a.b', '[.]')[2]", "INVALID_ARRAY_INDEX", "22003"),
    value("part of a split by a pattern", "select split('a1b', '[0-9]')[1]", "b"),
    row("split_part and substring_index", "select split_part('a.b.c', '.', 2), split_part('a.b.c', '.', -1), split_part('a',"
        " '.', 3), substring_index('a.b.c', '.', 2), substring_index('a.b.c', '.', -1)", ("b", "c", "", "a.b", "c")),
    row("regexp_replace", r"select regexp_replace('2024-01-31', '(\\d+)-(\\d+)-(\\d+)', '$3.$2.$1'), regexp_replace('aBc',"
        r" '(?i)b', 'x'), regexp_replace('a1b22', r'\d+', '#')", ("31.01.2024", "axc", "a#b#")),
    row("regexp_extract", "select regexp_extract('a12b', '([a-z])([0-9]+)', 2), regexp_extract('abc', '([0-9]+)', 1),"
        " regexp_extract_all('1a2b', '([0-9])', 1)", ("12", "", ["1", "2"])),
    row("rlike", "select 'abc' rlike '^a.c$', 'abc' regexp 'b', regexp_like('abc', 'x'), 'a' rlike null", (True, True, False,
        None)),
    row("regexp_count, instr and substr", "select regexp_count('a1b2', '[0-9]'), regexp_instr('abc1', '[0-9]'),"
        " regexp_substr('abc12', '[0-9]+')", (2, 4, "12")),
    row("like", "select 'abc' like 'a%', 'abc' like '_b_', 'a%c' like 'a\\\\%c', 'abc' like 'a\\\\%c', 'a_c' like 'a!_c'"
        " escape '!'", (True, True, True, False, True)),
    row("like is case sensitive, ilike is not", "select 'ABC' like 'a%', 'ABC' ilike 'a%', 'abc' not like 'b%'",
        (False, True, True)),
    row("like any and all", "select 'abc' like any ('x%', 'a%'), 'abc' like all ('a%', 'x%')", (True, False)),
    row("concat with null", "select concat('a', null), 'a' || null as b, concat_ws(',', 'a', null, 'b'), concat_ws(',',"
        " array('x', null), 'y'), concat()", (None, None, "a,b", "x,y", "")),
    row("pads", "select lpad('7', 3, '0'), rpad('ab', 5, 'xy'), lpad('abc', 2), rpad('a', 3)", ("007", "abxyx", "ab", "a  ")),
    row("format_number and format_string", "select format_number(12332.123456, 4), format_number(12332.6, 0),"
        " format_number(0.5, 2), format_string('%s has %05d', 'x', 42)", ("12,332.1235", "12,333", "0.50", "x has 00042")),
    row("translate, replace and overlay", "select translate('AaBbCc', 'abc', '123'), replace('aXbX', 'X', '-'), replace('abc',"
        " 'b'), overlay('SQL' placing '_' from 2)", ("A1B2C3", "a-b-", "ac", "S_L")),
    row("levenshtein and soundex", "select levenshtein('kitten', 'sitting'), levenshtein('ü', 'u'), soundex('Miller')", (3, 1,
        "M460")),
    row("length counts characters", "select length('ü😀'), char_length('abc '), octet_length('ü'), bit_length('ü'),"
        " length(x'0102')", (2, 4, 2, 16, 2), "INT INT INT INT INT"),
    row("reverse, repeat and space", "select reverse('aü1'), repeat('ab', 2), space(2), repeat('a', -1)", ("1üa", "abab", "  ",
        "")),
    row("instr, locate and position", "select instr('abcb', 'b'), locate('b', 'abcb', 3), position('c' in 'abc'), instr('abc',"
        " '')", (2, 4, 3, 1)),
    databricks_only("UNRESOLVED_ROUTINE", value("charindex", "select charindex('c', 'abc')", 3, "INT")),
    row("startswith, endswith and contains", "select startswith('abc', 'ab'), endswith('abc', 'x'), contains('abc', ''),"
        " startswith('a', null)", (True, False, True, None)),
    row("md5 and sha", "select md5('abc'), sha1('abc'), sha2('abc', 256), sha2('abc', 0) = sha2('abc', 256)",
        ("900150983cd24fb0d6963f7d28e17f72", "a9993e364706816aba3e25717850c26c9cd0d89d",
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", True)),
    row("md5 of null and of number text", "select md5(null), md5(cast(1 as string))", (None,
        "c4ca4238a0b923820dcc509a6f75849b")),
    row("hex and base64", "select hex('ü'), unhex('c3bc'), base64('abc'), cast(unbase64('YWJj') as string)",
        ("C3BC", "ü".encode(), "YWJj", "abc")),
    row("encode and decode", "select encode('ü', 'UTF-8'), decode(x'c3bc', 'UTF-8'), ascii('a'), chr(65), char(97)",
        ("ü".encode(), "ü", 97, "A", "a")),
    row("text compares by bytes", "select 'a' < 'B', 'Z' < 'a', 'a' < 'ä', 'a' = 'A', '10' < '9', 'a' = 'a '",
        (False, True, True, False, True, False)),
    rows("text orders by bytes", "select v from values ('b'), ('a'), ('B'), ('ä'), ('') as t(v) order by v", ["", "B", "a", "b",
        "ä"]),
    row("column names ignore case", "select ABC, t.Abc, `abC` from (select 1 as abc) as T", (1, 1, 1)),
    row("url and json path text", "select parse_url('https://h/p?q=1', 'HOST'), parse_url('https://h/p?q=1', 'QUERY', 'q'),"
        " url_encode('a b')", ("h", "1", "a+b")),
    row("ucase, lcase, elt and find_in_set", "select ucase('a'), lcase('A'), elt(2, 'a', 'b'), find_in_set('b', 'a,b')",
        ("A", "a", "b", 2)),
    row("sentences and mask", "select mask('Ab1-x'), str_to_map('a:1,b:2')", ("Xxn-x", {"a": "1", "b": "2"})),
    row("to_number and to_char", "select to_number('1,234.5', '9,999.9'), to_char(1234.5, '9,999.9'), try_to_number('x', '9')",
        (D("1234.5"), "1,234.5", None)),
]  # fmt: skip

CASES["Nulls"] = [
    row("null-safe equal", "select null <=> null, 1 <=> null, 1 <=> 1, equal_null(null, null)", (True, False, True, True)),
    row("comparisons with null are null", "select null = null, 1 <> null, null > 1, not null", (None, None, None, None)),
    row("three-valued and and or", "select null and false, null and true, null or true, null or false", (False, None, True,
        None)),
    row("is distinct from", "select 1 is distinct from null, null is not distinct from null", (True, True)),
    row("coalesce, nvl and nullif", "select coalesce(null, 2, 3), nvl(null, 'x'), ifnull(null, 1), nvl2(null, 1, 2), nullif(1,"
        " 2), nullif(1, 1)", (2, "x", 1, 2, 1, None)),
    value("coalesce of nothing but nulls", "select coalesce(null, null)", None, "NULL"),
    row("greatest and least skip null", "select greatest(1, null, 3), least(null, 2), greatest(null, cast(null as int))",
        (3, 2, None)),
    row("in with null", "select 1 in (1, null), 2 in (1, null), 2 not in (1, null), null in (1)", (True, None, None, None)),
    value("not in with a null in the subquery", "select count(*) from range(3) where id not in (select explode(array(1,"
        " null)))", 0),
    rows("nulls first ascending", "select v from values (2), (null), (1) as t(v) order by v", [None, 1, 2]),
    rows("nulls last descending", "select v from values (2), (null), (1) as t(v) order by v desc", [2, 1, None]),
    rows("nulls where one asks for them", "select v from values (2), (null), (1) as t(v) order by v asc nulls last", [1, 2,
        None]),
    rows("nulls are one group", "select v, count(*) from values (null), (null), (1) as t(v) group by v", [(None, 2), (1, 1)]),
    value("nulls do not join", "select count(*) from values (null), (1) as a(v) join values (null), (1) as b(v) on a.v = b.v",
        1),
    value("nulls join null-safely", "select count(*) from values (null), (1) as a(v) join values (null), (1) as b(v) on a.v"
        " <=> b.v", 2),
    row("arithmetic and text with null", "select 1 + null, null || 'a', length(null), upper(null)", (None, None, None, None)),
    row("is true and is unknown", "select null is true, true is true, null is unknown, (1 = 1) is not false",
        (False, True, True, True)),
    value("where keeps only true", "select count(*) from values (true), (false), (null) as t(v) where not v", 1),
    row("zeroifnull and nullifzero", "select zeroifnull(null), nullifzero(0)", (0, None)),
]  # fmt: skip

CASES["Conditions"] = [
    rows("searched case", "select case when id = 0 then 'zero' when id > 1 then 'many' end from range(3) order by id",
        ["zero", None, "many"], "STRING"),
    row("simple case", "select case 2 when 1 then 'a' when 2 then 'b' else 'c' end, case null when null then 1 else 2 end", (
        "b", 2)),
    row("if", "select if(1 > 0, 'y', 'n'), if(null, 1, 2)", ("y", 2)),
    databricks_only("UNRESOLVED_ROUTINE", row("iff", "select iff(1 > 0, 'y', 'n')", ("y",))),
    row("decode compares null-safely", "select decode(2, 1, 'a', 2, 'b'), decode(null, null, 'n', 'x'), decode(5, 1, 'a')",
        ("b", "n", None)),
    value("case finds the wider type", "select typeof(case when true then 1 else 2.5D end)", "double"),
    fails("case of int and text", "select case when id > 0 then 'x' else 1 end from range(2)", "CAST_INVALID_INPUT", "22018"),
    value("case does not evaluate the other branch", "select sum(case when id = 0 then 0 else 10 / id end) from range(3)",
        15.0),
    row("between", "select 2 between 1 and 2, 3 not between 1 and 2, null between 1 and 2", (True, True, None)),
    fails("a condition that is none", "select if(1, 2, 3)", "DATATYPE_MISMATCH", "42K09"),
    fails("where on a number", "select * from range(3) where id", "DATATYPE_MISMATCH", "42K09"),
    fails("raise_error", "select raise_error('stop here')", "USER_RAISED_EXCEPTION", "P0001"),
    value("assert_true that holds", "select assert_true(1 = 1)", None),
    fails("assert_true that does not hold", "select assert_true(1 = 2, 'no')", "USER_RAISED_EXCEPTION", "P0001"),
]  # fmt: skip

V = "values (1, 'a', 10), (2, 'a', 20), (3, 'b', null), (4, 'b', 40), (5, null, 50) as t(id, g, n)"

CASES["Aggregates"] = [
    row("counts", f"select count(*), count(n), count(distinct g), count(1) as c, count(g, n), count_if(n > 15) from {V}",
        (5, 4, 2, 5, 3, 3), "BIGINT BIGINT BIGINT BIGINT BIGINT BIGINT"),
    row("sum, avg, min and max", f"select sum(n), avg(n), min(n), max(g), mean(id) from {V}", (120, 30.0, 10, "b", 3.0),
        "BIGINT DOUBLE INT STRING DOUBLE"),
    row("aggregates of nothing", "select count(*), sum(id), avg(id), max(id), collect_list(id), count_if(id > 0) from range(0)",
        (0, None, None, None, [], 0)),
    rows("groups of nothing", "select id, count(*) from range(0) group by id", []),
    row("count_if with a filter", "select count_if(n > 15) filter (where g = 'a'), count_if(n > 15),"
        f" count_if(n is null or g = 'b') filter (where id > 3) from {V}", (1, 3, 1), "BIGINT BIGINT BIGINT"),
    row("filter", f"select sum(n) filter (where g = 'a'), count(*) filter (where n is null), sum(n) filter (where false) from"
        f" {V}", (30, 1, None)),
    row("min_by and max_by", f"select min_by(id, n), max_by(g, id), max_by(g, n) from {V}", (1, None, None)),
    row("any_value, first and last", "select any_value(v), first(v), last(v, true), first(v) is null from values (7), (7) as"
        " t(v)", (7, 7, 7, False)),
    value("first that is not null", "select first(v, true) from values (cast(null as int)), (7) as t(v)", 7),
    row("collect_list and collect_set skip null", f"select sort_array(collect_list(n)), sort_array(collect_set(g)) from {V}",
        ([10, 20, 40, 50], ["a", "b"])),
    value("array_agg", f"select sort_array(array_agg(g)) from {V}", ["a", "a", "b", "b"]),
    row("deviation and variance", "select round(stddev(v), 6), round(stddev_pop(v), 6), round(variance(v), 6), var_pop(v) from"
        " values (1), (2), (4) as t(v)", (1.527525, 1.247219, 2.333333, 14 / 9), "DOUBLE DOUBLE DOUBLE DOUBLE"),
    row("deviation of one value", "select stddev(v), stddev_pop(v) from values (1) as t(v)", (None, 0.0)),
    row("percentiles", "select percentile(v, 0.5), percentile(v, array(0.0, 1.0)), median(v), percentile_cont(0.25) within"
        " group (order by v), percentile_disc(0.5) within group (order by v) from values (1), (2), (3), (4) as t(v)",
        (2.5, [1.0, 4.0], 2.5, 1.75, 2.0)),
    row("approximate ones", "select approx_count_distinct(v), approx_percentile(v, 0.5) from values (1), (2), (2), (3) as t(v)",
        (3, 2), "BIGINT INT"),
    row("boolean ones", "select bool_or(v), bool_and(v), every(v), some(v), any(v) from values (true), (false), (null) as t(v)",
        (True, False, False, True, True)),
    row("listagg and string_agg", f"select listagg(g, ',') within group (order by id desc), string_agg(g, '-') within group"
        f" (order by id), listagg(distinct g, '/') within group (order by g) from {V}", ("b,b,a,a", "a-a-b-b", "a/b")),
    row("mode, corr and covariance", "select mode(v), round(corr(v, w), 6), covar_pop(v, w) from values (1, 2), (1, 2), (4, 8)"
        " as t(v, w)", (1, 1.0, 4.0)),
    row("bit aggregates", "select bit_and(v), bit_or(v), bit_xor(v) from values (5), (3) as t(v)", (1, 7, 6)),
    row("skewness, kurtosis and regr", "select round(skewness(v), 6), regr_count(v, v), try_avg(v) from values (1), (2), (4)"
        " as t(v)", (0.381802, 3, 7 / 3)),
    rows("rollup", f"select g, sum(id), grouping(g) from {V} where g is not null group by rollup (g)",
        [("a", 3, 0), ("b", 7, 0), (None, 10, 1)]),
    rows("cube", "select a, b, count(*), grouping_id() from values (1, 2), (1, 3) as t(a, b) group by cube (a, b)",
        [(1, 2, 1, 0), (1, 3, 1, 0), (1, None, 2, 1), (None, 2, 1, 2), (None, 3, 1, 2), (None, None, 2, 3)]),
    rows("grouping sets", "select a, b, count(*) from values (1, 2), (1, 3) as t(a, b) group by grouping sets ((a), (b), ())",
        [(1, None, 2), (None, 2, 1), (None, 3, 1), (None, None, 2)]),
    rows("group by all", f"select g, count(*), sum(n) from {V} group by all", [("a", 2, 30), ("b", 2, 40), (None, 1, 50)]),
    rows("group by position and alias", f"select upper(g) as k, count(*) from {V} group by 1 having k is not null order by 1",
        [("A", 2), ("B", 2)]),
    rows("group by alias", f"select id % 2 as odd, count(*) from {V} group by odd order by odd", [(0, 2), (1, 3)]),
    rows("having", f"select g from {V} group by g having count(*) > 1 and max(n) > 20", ["b"]),
    value("having without group by", f"select count(*) from {V} having count(*) > 3", 5),
    row("distinct in aggregates", "select sum(distinct v), avg(distinct v), count(distinct v, w) from values (1, 1), (1, 2),"
        " (3, 1) as t(v, w)", (4, 2.0, 3)),
    row("count distinct skips null", "select count(distinct v), count(distinct v, 1) from values (1), (null), (1) as t(v)",
        (1, 1)),
    fails("column that is not grouped", f"select g, id from {V} group by g", "MISSING_AGGREGATION", "42803"),
    fails("aggregate in where", f"select g from {V} where count(*) > 1 group by g", "INVALID_WHERE_CONDITION", "42903"),
    fails("nested aggregate", f"select sum(count(*)) from {V}", "NESTED_AGGREGATE_FUNCTION", "42607"),
    fails("group by position that is none", f"select g from {V} group by 3", "GROUP_BY_POS_OUT_OF_RANGE", "42805"),
    value("average of bigints is double", "select avg(id) from range(4)", 1.5, "DOUBLE"),
    row("max of structs and booleans", "select max(struct(a, b)).b, max(a > 1), max(array(a)) from values (1, 'x'), (2, 'y')"
        " as t(a, b)", ("y", True, [2])),
    value("histogram by map", "select map_from_entries(sort_array(collect_list(struct(g, c)))) from (select g, count(*) as c"
        " from"
        f" {V} where g is not null group by g)", {"a": 2, "b": 2}),
]  # fmt: skip

W = "values ('a', 1), ('a', 2), ('a', 2), ('b', 5), ('b', null) as t(g, v)"

CASES["Windows"] = [
    rows("row_number, rank and dense_rank", "select v, row_number() over w, rank() over w, dense_rank() over w from values"
        " (1), (2), (2), (3) as t(v) window w as (order by v) order by 1, 2", [(1, 1, 1, 1), (2, 2, 2, 2), (2, 3, 2, 2), (3,
        4, 4, 3)], "INT INT INT INT"),
    rows("percent_rank, cume_dist and ntile", "select id, percent_rank() over (order by id), cume_dist() over (order by id),"
        " ntile(2) over (order by id) from range(3) order by id", [(0, 0.0, 1 / 3, 1), (1, 0.5, 2 / 3, 1), (2, 1.0, 1.0, 2)]),
    rows("lag and lead", "select id, lag(id) over (order by id), lag(id, 2, -1) over (order by id), lead(id, 1, 99) over"
        " (order by id) from range(3) order by id", [(0, None, -1, 1), (1, 0, -1, 2), (2, 1, 0, 99)]),
    rows("first and last value ignoring nulls", "select id, last_value(v) ignore nulls over (order by id), first_value(v,"
        " true) over (order by id) as b, first_value(v) over (order by id) as c from values (1, null), (2, 'x'), (3, null) as"
        " t(id, v) order by id", [(1, None, None, None), (2, "x", "x", None), (3, "x", "x", None)]),
    rows("default frame takes peers", f"select g, v, sum(v) over (partition by g order by v) from {W} order by g, v",
        [("a", 1, 1), ("a", 2, 5), ("a", 2, 5), ("b", None, None), ("b", 5, 5)]),
    rows("rows frame", "select id, sum(id) over (order by id rows between 1 preceding and current row), avg(id) over (order by"
        " id rows between unbounded preceding and unbounded following) from range(4) order by id",
        [(0, 0, 1.5), (1, 1, 1.5), (2, 3, 1.5), (3, 5, 1.5)]),
    rows("range frame", "select v, count(*) over (order by v range between 1 preceding and 1 following) from values (1), (2),"
        " (4), (5) as t(v) order by v", [(1, 2), (2, 2), (4, 2), (5, 2)]),
    rows("range frame over dates", "select cast(d as string), count(*) over (order by d range between interval 7 days"
        " preceding and current row) from values (date'2024-01-01'), (date'2024-01-05'), (date'2024-01-20') as t(d) order by"
        " d", [("2024-01-01", 1), ("2024-01-05", 2), ("2024-01-20", 1)]),
    rows("empty frame", "select id, sum(id) over (order by id rows between 3 following and 4 following) from range(4) order by"
        " id", [(0, 3), (1, None), (2, None), (3, None)]),
    rows("aggregates without order", f"select g, v, count(v) over (partition by g), max(v) over () from {W} order by g, v",
        [("a", 1, 3, 5), ("a", 2, 3, 5), ("a", 2, 3, 5), ("b", None, 1, 5), ("b", 5, 1, 5)]),
    rows("window over an aggregate", f"select g, sum(v), rank() over (order by sum(v) desc) from {W} group by g order by g",
        [("a", 5, 1), ("b", 5, 1)]),
    rows("share of the total", f"select g, sum(v) / sum(sum(v)) over () from {W} group by g order by g", [("a", 0.5), ("b",
        0.5)]),
    rows("deduplication", "select id, v from (select *, row_number() over (partition by id order by v desc) as n from values"
        " (1, 'a'), (1, 'b'), (2, 'c') as t(id, v)) where n = 1 order by id", [(1, "b"), (2, "c")]),
    databricks_only("PARSE_SYNTAX_ERROR", rows("qualify", "select id, v from values (1, 'a'), (1, 'b'), (2, 'c') as t(id, v)"
        " qualify row_number() over (partition by id order by v desc) = 1 order by id", [(1, "b"), (2, "c")])),
    rows("nth_value", "select id, nth_value(id, 2) over (order by id) from range(3) order by id", [(0, None), (1, 1), (2, 1)]),
    rows("moving deviation", "select id, round(stddev(id) over (order by id rows between 2 preceding and current row), 4) from"
        " range(3) order by id", [(0, None), (1, 0.7071), (2, 1.0)]),
    rows("collect_list over a window", "select id, collect_list(id) over (order by id) from range(3) order by id",
        [(0, [0]), (1, [0, 1]), (2, [0, 1, 2])]),
    fails("window function in where", "select id from range(3) where row_number() over (order by id) = 1",
        "_LEGACY_ERROR_TEMP_1034", ""),
    fails("rank without order", "select rank() over (partition by id) from range(3)", "_LEGACY_ERROR_TEMP_1037", ""),
    fails("window that is not defined", "select sum(id) over w from range(3)", "MISSING_WINDOW_SPECIFICATION", "42P20"),
]  # fmt: skip

CASES["Arrays, maps and structs"] = [
    row("array basics", "select size(array(1, 2)), cardinality(array()), array(1, 2)[0], element_at(array(1, 2), -1),"
        " get(array(1), 5)", (2, 0, 1, 2, None)),
    row("size of null", "select size(null), cardinality(cast(null as map<string, int>)), array_size(null)", (None, None, None)),
    fails("array index out of bounds", "select array(1, 2)[5]", "INVALID_ARRAY_INDEX", "22003"),
    rows("element of an array column", "select upper(r[0]), r[1] from (select array('a', x) as r from values ('b'), (null) as"
        " t(x)) order by 2", [("A", None), ("A", "b")]),
    fails("element beyond an array column", "select r[1] from (select array(x) as r from values ('b') as t(x))",
        "INVALID_ARRAY_INDEX", "22003"),
    fails("element_at out of bounds", "select element_at(array(1, 2), 5)", "INVALID_ARRAY_INDEX_IN_ELEMENT_AT", "22003"),
    fails("element_at zero", "select element_at(array(1, 2), 0)", "INVALID_INDEX_OF_ZERO", "22003"),
    row("try_element_at and missing map keys", "select try_element_at(array(1), 5), map('a', 1)['b'], element_at(map('a', 1),"
        " 'b')", (None, None, None)),
    row("array_contains", "select array_contains(array(1, 2), 2), array_contains(array(1, null), 2),"
        " array_contains(array('a'), 'A')", (True, None, False)),
    row("array_sort and sort_array", "select array_sort(array(3, null, 1)), sort_array(array(3, null, 1)), sort_array(array(1,"
        " 3), false), array_sort(array(1, 3, 2), (l, r) -> r - l)", ([1, 3, None], [None, 1, 3], [3, 1], [3, 2, 1])),
    row("array set functions", "select array_distinct(array(2, 1, 2, null, null)), array_union(array(1), array(1, 2)),"
        " array_intersect(array(1, 2), array(2)), array_except(array(1, 2), array(2)), arrays_overlap(array(1), array(1, 2))",
        ([2, 1, None], [1, 2], [2], [1], True)),
    row("array functions", "select flatten(array(array(1), array(2, 3))), slice(array(1, 2, 3), 2, 2),"
        " array_position(array('a', 'b'), 'b'), array_remove(array(1, 2, 1), 1), array_repeat('x', 2), reverse(array(1, 2)),"
        " concat(array(1), array(2))", ([1, 2, 3], [2, 3], 2, [2], ["x", "x"], [2, 1], [1, 2])),
    row("more array functions", "select array_join(array('a', null, 'b'), ','), array_join(array('a', null), ',', '?'),"
        " array_max(array(1, null, 3)), array_min(array(2, 1)), array_compact(array(1, null)), array_append(array(1), 2),"
        " array_prepend(array(1), 0), array_insert(array('a', 'c'), 2, 'b'), arrays_zip(array(1), array('x'))",
        ("a,b", "a,?", 3, 1, [1], [1, 2], [0, 1], ["a", "b", "c"], [{"0": 1, "1": "x"}])),
    row("sequence", "select sequence(1, 5, 2), sequence(3, 1), sequence(date'2024-01-01', date'2024-01-03')",
        ([1, 3, 5], [3, 2, 1], [day("2024-01-01"), day("2024-01-02"), day("2024-01-03")])),
    row("lambdas", "select transform(array(1, 2), x -> x + 1), transform(array(1, 2), (x, i) -> x * i), filter(array(1, 2,"
        " null), x -> x > 1), aggregate(array(1, 2, 3), 0, (s, x) -> s + x), reduce(array(1, 2), 10, (s, x) -> s + x, s -> s"
        " * 2)", ([2, 3], [0, 2], [2], 6, 26)),
    row("exists, forall and zip_with", "select exists(array(1, 2), x -> x > 1), forall(array(1, 2), x -> x > 1),"
        " zip_with(array(1, 2), array(3, 4), (a, b) -> a * b), any_match from (select exists(array(null), x -> x > 1) as"
        " any_match)", (True, False, [3, 8], None)),
    row("maps", "select map('a', 1, 'b', 2), map_keys(map('a', 1)), map_values(map('a', 1)), map_from_arrays(array('a'),"
        " array(1)), map_entries(map('a', 1)), map_concat(map('a', 1), map('b', 2)), map_contains_key(map('a', 1), 'a')",
        ({"a": 1, "b": 2}, ["a"], [1], {"a": 1}, [{"key": "a", "value": 1}], {"a": 1, "b": 2}, True)),
    row("map lambdas", "select transform_values(map('a', 1), (k, v) -> v + 1), transform_keys(map('a', 1), (k, v) ->"
        " upper(k)), map_filter(map('a', 1, 'b', 2), (k, v) -> v > 1), map_zip_with(map('a', 1), map('a', 2), (k, x, y) -> x"
        " + y)", ({"a": 2}, {"A": 1}, {"b": 2}, {"a": 3})),
    fails("duplicate map key", "select map('a', 1, 'a', 2)", "DUPLICATED_MAP_KEY", "23505"),
    fails("null map key", "select map(null, 1)", "NULL_MAP_KEY", "2200E"),
    row("structs", "select struct(1, 'x'), named_struct('a', 1, 'b', null), named_struct('a', 1).a, s.* from (select struct(5"
        " as c) as s)", ({"col1": 1, "col2": "x"}, {"a": 1, "b": None}, 1, 5), "STRUCT STRUCT INT INT"),
    row("structs compare field by field", "select struct(1, 2) < struct(1, 3), struct(1, 'a') = struct(1, 'a'), (1, 2) in ((1,"
        " 2), (3, 4))", (True, True, True)),
    fails("field that is not there", "select named_struct('a', 1).b", "FIELD_NOT_FOUND", "42704"),
    rows("explode", "select explode(array(1, 2)) as v", [1, 2], "INT"),
    rows("explode of a map", "select explode(map('a', 1, 'b', 2))", [("a", 1), ("b", 2)]),
    rows("explode of nothing", "select explode(cast(array() as array<int>)) as v", []),
    rows("explode_outer and posexplode", "select pos, col from (select posexplode(array('x', 'y'))) union all select -1,"
        " explode_outer(cast(null as array<string>))", [(0, "x"), (1, "y"), (-1, None)]),
    rows("lateral view", "select id, v from range(2) lateral view explode(array(id, id + 10)) as v", [(0, 0), (0, 10), (1, 1),
        (1, 11)]),
    rows("lateral view outer", "select id, v, p from range(1) lateral view outer posexplode(cast(null as array<int>)) t as p,"
        " v", [(0, None, None)]),
    rows("inline and stack", "select * from (select inline(array(struct(1, 'a'), struct(2, 'b')))) union all select * from"
        " (select stack(2, 3, 'c', 4, 'd'))", [(1, "a"), (2, "b"), (3, "c"), (4, "d")]),
    rows("table functions in from", "select col from explode(array(1, 2)) union all select id from range(5, 7)", [1, 2, 5, 6]),
    rows("lateral table function", "select id, col from range(2), lateral explode(array(id, 9))", [(0, 0), (0, 9), (1, 1), (1,
        9)]),
    row("from_json", """select from_json('{"a": 1, "b": ["x"]}', 'a int, b array<string>'), from_json('[1, 2]',"""
        """ 'array<int>'),"""
        """ from_json('{"a": "x"}', 'a int'), from_json('nonsense', 'a int').a, from_json('{"k": 1}', 'map<string,int>')""",
        ({"a": 1, "b": ["x"]}, [1, 2], {"a": None}, None, {"k": 1})),
    row("to_json", """select to_json(named_struct('a', 1, 'b', null, 'c', 'x"y')), to_json(array(1, null)),"""
        """ to_json(map('k', 1.50)),"""
        """ to_json(named_struct('d', date'2024-01-02', 't', timestamp'2024-01-02 03:04:05'))""",
        ('{"a":1,"c":"x\\"y"}', "[1,null]", '{"k":1.50}', '{"d":"2024-01-02","t":"2024-01-02T03:04:05.000Z"}')),
    row("get_json_object", """select get_json_object('{"a": {"b": [1, 2]}}', '$.a.b[1]'), get_json_object('{"a": "x"}',"""
        """ '$.a'),"""
        """ get_json_object('{"a": {"b": 1}}', '$.a'), get_json_object('x', '$.a'), get_json_object('{"a": 1}', '$.c')""",
        ("2", "x", '{"b":1}', None, None)),
    rows("json_tuple and keys", """select c0, c1, json_array_length('[1, 2]'), json_object_keys('{"a": 1, "b": 2}') from"""
        """ (select json_tuple('{"a": 1, "b": "x"}', 'a', 'b'))""", [("1", "x", 2, ["a", "b"])]),
    value("schema_of_json", """select schema_of_json('{"a": 1, "b": ["x"]}')""", "STRUCT<a: BIGINT, b: ARRAY<STRING>>"),
    row("nested access", "select s.a[0].b, m['k'].c from (select named_struct('a', array(named_struct('b', 7))) as s, map('k',"
        " named_struct('c', 8)) as m)", (7, 8)),
    value("a field of every struct in an array", "select array(named_struct('a', 1), named_struct('a', 2)).a", [1, 2], "ARRAY"),
    row("from_csv and to_csv", "select from_csv('1,x', 'a int, b string'), to_csv(named_struct('a', 1, 'b', 'x'))",
        ({"a": 1, "b": "x"}, "1,x")),
    row("variants", """select parse_json('{"a": 1}'):a::int, variant_get(parse_json('{"a": "x"}'), '$.a', 'string')""", (1,
        "x")),
    databricks_only("INTERNAL_ERROR", value("json path by colon", """select v:a.b from (select '{"a": {"b": "x"}}' as v)""",
        "x")),
]  # fmt: skip

CASES["Queries"] = [
    rows("union", "select 1 as v union select 1 union select 2", [1, 2]),
    rows("union all keeps duplicates and the first names", "select v from (select 1 as v union all select 1 as w)", [1, 1]),
    rows("intersect and except", "select * from range(4) intersect select * from range(2, 6) except select 3", [2]),
    rows("except all and minus", "select * from values (1), (1), (2) except all select 1 minus select 2", [1]),
    rows("nulls are equal in set operations", "select null intersect select null", [None]),
    fails("union of other widths", "select 1 union select 1, 2", "NUM_COLUMNS_MISMATCH", "42826"),
    fails("union of types that do not meet", "select array(1) union all select map('a', 1)", "INCOMPATIBLE_COLUMN_TYPE",
        "42825"),
    rows("correlated exists", "select id from range(4) a where exists (select 1 from range(2) b where b.id = a.id)", [0, 1]),
    rows("correlated not exists", "select id from range(4) a where not exists (select 1 from range(2) b where b.id = a.id)",
        [2, 3]),
    rows("in subquery", "select id from range(4) where id in (select id * 2 from range(2))", [0, 2]),
    rows("in subquery as a value", "select a, a in (select b from values (1), (2) as s(b)) as i, a in (select b from values (1)"
        " as s(b) where b > 5) as e, case when a not in (select b from values (1) as s(b)) then 'new' else 'old' end as c from"
        " values (1), (3) as t(a) order by a", [(1, True, False, "old"), (3, False, False, "new")]),
    rows("in subquery as a value beside nulls", "select a in (select b from values (1), (null) as s(b)) as i from values (1),"
        " (2) as t(a) order by a", [True, False]),
    rows("in subquery of its row as a value", "select a in (select b from values (1) as s(b) where b = t.a) as i from values"
        " (1), (2) as t(a) order by a", [True, False]),
    value("in subquery of another type as a value", "select a in (select b from values (1L) as s(b)) as i from values (1) as"
        " t(a)", True),
    rows("in subquery of two columns", "select id from range(4) where (id, id + 1) in (select 1, 2)", [1]),
    rows("correlated scalar subquery", "select id, (select max(b.id) from range(5) b where b.id < a.id) from range(3) a order"
        " by id", [(0, None), (1, 0), (2, 1)]),
    rows("correlated count is zero where nothing matches", "select id, (select count(*) from range(1) b where b.id = a.id)"
        " from range(2) a order by id", [(0, 1), (1, 0)]),
    fails("scalar subquery of many rows", "select (select id from range(2))", "SCALAR_SUBQUERY_TOO_MANY_ROWS", "21000"),
    fails("scalar subquery of many columns", "select (select 1, 2)", "INVALID_SUBQUERY_EXPRESSION", "42823"),
    rows("join using", "select * from values (1, 'a') as x(k, l) join values (1, 'b') as y(k, r) using (k)", [(1, "a", "b")]),
    rows("natural join", "select * from values (1, 'a') as x(k, l) natural join values (1, 'b') as y(k, r)", [(1, "a", "b")]),
    rows("left and right join", "select a.id, b.id as other from range(2) a left join range(1, 3) b on a.id = b.id union all"
        " select a.id, b.id from range(2) a right join range(1, 3) b on a.id = b.id", [(0, None), (1, 1), (1, 1), (None, 2)]),
    rows("full outer join using", "select k, l, r from values (1, 'a'), (2, 'b') as x(k, l) full outer join values (2, 'c'),"
        " (3, 'd') as y(k, r) using (k)", [(1, "a", None), (2, "b", "c"), (3, None, "d")]),
    rows("semi and anti join", "select id from range(4) a left semi join range(2) b on a.id = b.id union all select id from"
        " range(4) a anti join range(3) b using (id)", [0, 1, 3]),
    value("cross join", "select count(*) from range(3) cross join range(4)", 12),
    rows("lateral subquery", "select a.id, s.v from range(3) a, lateral (select a.id * 10 as v where a.id > 0) s", [(1, 10),
        (2, 20)]),
    rows("inequality join", "select a.id, b.id as other from range(3) a join range(3) b on a.id < b.id", [(0, 1), (0, 2), (1,
        2)]),
    value("left join keeps its filter in on", "select count(*) from range(3) a left join range(3) b on a.id = b.id and b.id >"
        " 5", 3),
    rows("common table expressions", "with a as (select 1 as v), b(w) as (select v + 1 from a), c as (select * from a, b)"
        " select * from c", [(1, 2)]),
    rows("nested and shadowed names", "with a as (select 1 as v) select * from (with a as (select 2 as v) select * from a)",
        [2]),
    rows("recursive cte", "with recursive r(n) as (values (1) union all select n + 1 from r where n < 4) select n from r", [1,
        2, 3, 4]),
    rows("values", "select * from values (1, 'a'), (2, null)", [(1, "a"), (2, None)]),
    named("names of values", "values (1, 'a')", "col1", "col2"),
    rows("range", "select * from range(1, 10, 4)", [1, 5, 9], "BIGINT"),
    rows("pivot", "select * from (select * from values ('x', 1, 10), ('x', 2, 20), ('y', 1, 5) as t(k, q, v)) pivot (sum(v)"
        " for q in (1 as q1, 2 as q2)) order by k", [("x", 10, 20), ("y", 5, None)]),
    rows("unpivot", "select * from (select 1 as k, 10 as a, null as b) unpivot (v for name in (a, b))", [(1, "a", 10)]),
    rows("unpivot with nulls", "select * from (select 1 as k, 10 as a, cast(null as int) as b) unpivot include nulls (v for"
        " name in (a, b))", [(1, "a", 10), (1, "b", None)]),
    rows("limit and offset", "select id from range(10) order by id limit 2 offset 3", [3, 4]),
    rows("order by several and by position", "select a, b from values (1, 'x'), (1, 'y'), (0, 'z') as t(a, b) order by 1 desc,"
        " b desc", [(1, "y"), (1, "x"), (0, "z")]),
    rows("order by what is not selected", "select a from values (1, 3), (2, 1) as t(a, b) order by b", [2, 1]),
    rows("order by all", "select a, b from values (2, 1), (1, 2), (1, 1) as t(a, b) order by all", [(1, 1), (1, 2), (2, 1)]),
    rows("distinct", "select distinct a % 2 from values (1), (2), (3) as t(a)", [1, 0]),
    row("star except", "select * except (b) from values (1, 2, 3) as t(a, b, c)", (1, 3)),
    row("lateral column alias", "select 1 as a, a + 1 as b, b * 10 as c", (1, 2, 20)),
    row("qualified star", "select t.*, u.v from values (1, 2) as t(a, b), values (3) as u(v)", (1, 2, 3)),
    rows("from first and parentheses", "(select 1 as v) union all (select 2 limit 1)", [1, 2]),
    value("comments and a semicolon", "select /* one */ 1 -- two\n + 1;", 2, "INT"),
    fails("order by position that is none", "select 1 order by 2", "ORDER_BY_POS_OUT_OF_RANGE", "42805"),
    fails("ambiguous column", "select id from range(1) a, range(1) b", "AMBIGUOUS_REFERENCE", "42704"),
    fails("missing column", "select nothing from range(1)", "UNRESOLVED_COLUMN", "42703"),
    fails("missing column of a table alias", "select a.nothing from range(1) a", "UNRESOLVED_COLUMN", "42703"),
    fails("missing table", "select * from conformance.no_such_table", "TABLE_OR_VIEW_NOT_FOUND", "42P01"),
    fails("missing schema", "select * from no_such_schema.t", "TABLE_OR_VIEW_NOT_FOUND", "42P01"),
    fails("missing function", "select no_such_function(1)", "UNRESOLVED_ROUTINE", "42883"),
    fails("wrong number of arguments", "select upper('a', 'b')", "WRONG_NUM_ARGS", "42605"),
    fails("wrong type of argument", "select sum(array(1))", "DATATYPE_MISMATCH", "42K09"),
    fails("syntax error", "selec 1", "PARSE_SYNTAX_ERROR", "42601"),
    fails("syntax error at the end", "select 1 +", "PARSE_SYNTAX_ERROR", "42601"),
    fails("unclosed parenthesis", "select (1", "PARSE_SYNTAX_ERROR", "42601"),
    fails("having without a column", "select count(*) from range(1) having nothing > 1", "UNRESOLVED_COLUMN", "42703"),
]  # fmt: skip

CASES["Sessions and schemas"] = [
    value("current_catalog", "select current_catalog()", "hive_metastore"),
    value("current_schema", "select current_schema()", "default"),
    value("current_database", "select current_database()", "default"),
    own_session(script("use schema", ["create schema {x}", "use {x}"], "select current_schema()", ["conformance_use_schema"])),
    own_session(script("use with a catalog", ["create schema {x}", "use hive_metastore.{x}", "create table t as select 1 as v"],
        "select v from hive_metastore.conformance_use_with_a_catalog.t", [1])),
    own_session(script("use catalog and schema", ["use catalog hive_metastore", "use schema default"], "select 1", [1])),
    fails("use of a missing schema", "use no_such_schema", "SCHEMA_NOT_FOUND", "42704"),
    fails("use of a missing catalog", "use catalog no_such_catalog", "CATALOG_NOT_FOUND", "42P08"),
    own_session(shows("set and show a setting", ["set spark.sql.session.timeZone = Europe/Berlin"],
        "set spark.sql.session.timeZone", "value", ["Europe/Berlin"])),
    shows("ansi mode is on", [], "set spark.sql.ansi.enabled", "value", ["true"]),
    shows("create schema with a comment", ["create schema if not exists {x} comment 'what it is'", "create schema if not"
        " exists {x}"],
        "describe schema {x}", "database_description_item database_description_value", [("Comment", "what it is")]),
    script_fails("create schema twice", ["create schema {x}"], "create schema {x}", "SCHEMA_ALREADY_EXISTS", "42P06"),
    shows("show schemas like", ["create schema {x}"], "show schemas like '{x}'", "databaseName", [
        "conformance_show_schemas_like"], True),
    shows("show schemas in the catalog", ["create schema {x}"], "show schemas in `hive_metastore` like"
        " 'conformance_show_schemas_in_*'", "databaseName", ["conformance_show_schemas_in_the_catalog"], True),
    shows("show catalogs", [], "show catalogs", "catalog", ["hive_metastore"]),
    script_fails("drop a schema that is not empty", ["create schema {x}", "create table {x}.t (a int)"], "drop schema {x}",
        "SCHEMA_NOT_EMPTY", "2BP01"),
    script_fails("drop schema cascade", ["create schema {x}", "create table {x}.t (a int)", "create view {x}.v as select *"
        " from {x}.t",
        "drop schema {x} cascade", "drop schema if exists {x}"], "select * from {x}.t", "TABLE_OR_VIEW_NOT_FOUND", "42P01"),
    fails("drop a missing schema", "drop schema no_such_schema", "SCHEMA_NOT_FOUND", "42704"),
    fails("create in a missing schema", "create table no_such_schema.t (a int)", "SCHEMA_NOT_FOUND", "42704"),
    told("current_user and version", [], "select current_user() is not null, length(version()) > 0", lambda r: r == [(True,
        True)]),
    own_session(script("temporary view", ["create or replace temporary view conf_temporary as select 1 as v"],
        "select * from conf_temporary", [1])),
    own_session(script("session variable", ["declare or replace variable conf_x int default 5", "set variable conf_x = conf_x"
        " + 1"], "select conf_x", [6])),
    # Spark Connect asks for the query a second time, without its parameters
    databricks_only("UNBOUND_SQL_PARAMETER", script("parameters by execute immediate", [], "execute immediate 'select ? + 1'"
        " using 41", [42])),
]  # fmt: skip

CASES["Creating tables"] = [
    script("create table as select keeps types", ["create table {t} as select 1Y as a, 2L as b, 1.50 as c, 'x' as d,"
        " date'2024-01-01' as e, timestamp'2024-01-01' as f, array(1) as g, map('k', named_struct('x', 1)) as h, x'00' as i,"
        " true as j, 1.5F as k"],
        "select * from {t}", [(1, 2, D("1.50"), "x", day("2024-01-01"), at("2024-01-01"), [1], {"k": {"x": 1}}, b"\0",
        True, 1.5)], "TINYINT BIGINT DECIMAL(3,2) STRING DATE TIMESTAMP ARRAY MAP BINARY BOOLEAN FLOAT"),
    shows("describe table", ["create table {t} (id bigint comment 'key', price decimal(10,2), tags array<string>, s struct<a:"
        " int, b: string>, at timestamp_ntz)"], "describe table {t}", None,
        [("id", "bigint", "key"), ("price", "decimal(10,2)", None), ("tags", "array<string>", None),
        ("s", "struct<a:int,b:string>", None), ("at", "timestamp_ntz", None)], True),
    shows("describe a partitioned table", ["create table {t} (a int, b string) using delta partitioned by (b)"],
        "describe {t}", None,
        [("a", "int", None), ("b", "string", None), ("# Partition Information", "", ""), ("# col_name", "data_type", "comment"),
        ("b", "string", None)], True),
    shows("describe extended", ["create table {t} (a int) comment 'what it is' tblproperties ('k.x' = 'v')"],
        "describe extended {t}",
        "col_name data_type", [("a", "int"), ("# Detailed Table Information", ""), ("Catalog", "hive_metastore"), (
        "Database", SCHEMA),
        ("Table", "describe_extended_t"), ("Type", "MANAGED"), ("Provider", "delta"), ("Comment", "what it is")]),
    shows("describe one column", ["create table {t} (a int comment 'why')"], "describe table {t} a", "info_name info_value",
        [("col_name", "a"), ("data_type", "int"), ("comment", "why")]),
    script_fails("create table twice", ["create table {t} (a int)"], "create table {t} (a int)", "TABLE_OR_VIEW_ALREADY_EXISTS",
        "42P07"),
    script("create if not exists keeps what is there", ["create table {t} as select 1 as v", "create table if not exists {t}"
        " as select 2 as v"], "select * from {t}", [1]),
    shows("create or replace keeps the history", ["create table {t} as select 1 as v", "create or replace table {t} as select"
        " 2 as v"], "describe history {t}", "version operation", [(1, "CREATE OR REPLACE TABLE AS SELECT"), (0,
        "CREATE TABLE AS SELECT")], True),
    script("replace from the table itself", ["create table {t} as select id from range(3)",
        "create or replace table {t} as select id + 1 as id from {t}"], "select * from {t}", [1, 2, 3]),
    script_fails("not null", ["create table {t} (a int not null, b string)"], "insert into {t} values (null, 'x')",
        "DELTA_NOT_NULL_CONSTRAINT_VIOLATED", "23502"),
    script("default values", ["create table {t} (a int, b string default 'none', c int default 1 + 1) tblproperties"
        " ('delta.feature.allowColumnDefaults' = 'supported')", "insert into {t} (a) values (1)",
        "insert into {t} values (2, default, 7)"], "select * from {t}", [(1, "none", 2), (2, "none", 7)]),
    databricks_only("UNSUPPORTED_FEATURE", script("generated column", ["create table {t} (at timestamp, d date generated"
        " always as (cast(at as date)))",
        "insert into {t} (at) values (timestamp'2024-02-29 10:00:00')"], "select d from {t}", [day("2024-02-29")])),
    databricks_only("UNSUPPORTED_FEATURE", script("identity column", ["create table {t} (id bigint generated always as"
        " identity, v string)", "insert into {t} (v) values ('a')", "insert into {t} (v) values ('b')"],
        "select count(distinct id), min(id) from {t}", [(2, 1)])),
    shows("partitioned table as select", ["create table {t} using delta partitioned by (b) as select 1 as a, 'x' as b"],
        "describe detail {t}", "format partitionColumns numFiles", [("delta", ["b"], 1)], True),
    shows("clustered table", ["create table {t} (a int, b string) cluster by (a)", "insert into {t} values (1, 'x')"],
        "describe detail {t}", "clusteringColumns", [(["a"],)], True),
    shows("create table like", ["create table {u} (a int not null comment 'c', b decimal(5,1))", "create table {t} like {u}"],
        "describe {t}", None, [("a", "int", "c"), ("b", "decimal(5,1)", None)], True),
    script_fails("unknown type", [], "create table {t} (a strange)", "UNSUPPORTED_DATATYPE", "0A000"),
    script_fails("duplicate column", [], "create table {t} (a int, A string)", "COLUMN_ALREADY_EXISTS", "42711"),
    script_fails("duplicate column in a select", [], "create table {t} as select 1 as a, 2 as a", "COLUMN_ALREADY_EXISTS",
        "42711"),
    script_fails("create from a select that fails", [], "create table {t} as select 1 div (id - 1) as a from range(2)",
        "DIVIDE_BY_ZERO", "22012"),
    script("names with backticks", ["create table {t} (`a b` int, `ü` string, `Cc` int) tblproperties"
        " ('delta.columnMapping.mode' = 'name')",
        "insert into {t} values (1, 'x', 2)"], "select `a b`, `ü`, cc from {t}", [(1, "x", 2)]),
    script("columns keep their case and ignore it", ["create table {t} as select 1 as CamelCase"], "select camelcase,"
        " CAMELCASE from {t}", [(1, 1)]),
    script("names in other cases", ["create table {t} as select 1 as v"], "select V from CONFORMANCE.NAMES_IN_OTHER_CASES_T",
        [1]),
    script("table of text with char and varchar", ["create table {t} (a varchar(3), b char(3))", "insert into {t} values"
        " ('abc', 'x')"], "select a, length(b) from {t}", [("abc", 3)]),
    script_fails("text too long for varchar", ["create table {t} (a varchar(3))"], "insert into {t} values ('abcd')",
        "DELTA_EXCEED_CHAR_VARCHAR_LIMIT", "22001"),
]  # fmt: skip

CASES["Views"] = [
    script("view", ["create view {v} as select 1 as a, 'x' as b"], "select * from {v}", [(1, "x")], "INT STRING"),
    shows("view with column comments", ["create or replace view {v} (a comment 'first', b) comment 'all of it' as select 1,"
        " 'x'"], "describe {v}", None, [("a", "int", "first"), ("b", "string", None)], True),
    script("replaced view", ["create view {v} as select 1 as a", "create or replace view {v} as select 2 as b"],
        "select b from {v}", [2]),
    script("view over a view and a replaced table", ["create table {t} as select 1 as a", "create view {v} as select a from"
        " {t}", "create view {w} as select a + 1 as a from {v}", "create or replace table {t} as select 10 as a, 2 as b"],
        "select v.a, w.a as b from {v} as v, {w} as w", [(10, 11)]),
    script("alter view", ["create view {v} as select 1 as a", "alter view {v} as select 2 as a"], "select * from {v}", [2]),
    script_fails("create view twice", ["create view {v} as select 1 as a"], "create view {v} as select 2 as a",
        "TABLE_OR_VIEW_ALREADY_EXISTS", "42P07"),
    script("create view if not exists", ["create view {v} as select 1 as a", "create view if not exists {v} as select 2 as a"],
        "select * from {v}", [1]),
    script_fails("view of a missing table", [], "create view {v} as select * from conformance.no_such_table",
        "TABLE_OR_VIEW_NOT_FOUND", "42P01"),
    script_fails("view whose table is gone", ["create table {t} as select 1 as a", "create view {v} as select a from {t}",
        "drop table {t}"], "select * from {v}", "TABLE_OR_VIEW_NOT_FOUND", "42P01"),
    script_fails("insert into a view", ["create view {v} as select 1 as a"], "insert into {v} values (2)",
        "EXPECT_TABLE_NOT_VIEW", "42809"),
    script_fails("drop table of a view", ["create view {v} as select 1 as a"], "drop table {v}",
        "WRONG_COMMAND_FOR_OBJECT_TYPE", "42809"),
    shows("view properties", ["create view {v} tblproperties ('k' = '1') as select 1 as a", "alter view {v} set tblproperties"
        " ('l' = '2')"], "show tblproperties {v}", "key value", [("k", "1"), ("l", "2")]),
    told("show create view", ["create view {v} as select 1 as a"], "show create table {v}",
        lambda r: "CREATE VIEW" in r[0][0] and "select 1 as a" in r[0][0].lower()),
    script("renamed view", ["create view {v} as select 1 as a", "alter view {v} rename to {w}"], "select a from {w}", [1]),
    shows("show views", ["create view {v} as select 1 as a"], "show views in conformance like 'show_views_v'", "viewName", [
        "show_views_v"], True),
    script("dropped view", ["create view {v} as select 1 as a", "drop view {v}", "drop view if exists {v}"], "select 1", [1]),
    script("view with a cte and a star", ["create table {t} as select 1 as a, 2 as b", "create view {v} as with c as (select *"
        " from {t}) select * from c where a > 0"], "select * from {v}", [(1, 2)]),
    script("view keeps the columns it had", ["create table {t} as select 1 as a", "create view {v} as select * from {t}",
        "alter table {t} add columns (b int)"], "select * from {v}", [1]),
]  # fmt: skip

CASES["Inserting"] = [
    script("insert by position", [MAKE3, "insert into {t} values (4, 'd', 40), (5, null, null)"], "select * from {t} where id"
        " > 3", [(4, "d", 40), (5, None, None)], "INT STRING INT"),
    script("insert by column list", [MAKE3, "insert into {t} (n, id) values (70, 7)"], "select * from {t} where id = 7", [(7,
        None, 70)]),
    script("insert by name", [MAKE3, "insert into {t} by name select 90 as n, 9 as id, 'i' as name"], "select * from {t} where"
        " id = 9", [(9, "i", 90)]),
    script("insert from a select casts", ["create table {t} (a int, b decimal(5,2), c date)",
        "insert into {t} select 1L, 2.345, timestamp'2024-01-02 03:04:05'"], "select * from {t}", [(1, D("2.35"), day(
        "2024-01-02"))]),
    script_fails("wrong number of columns", [], "insert into {shared} values (1, 'x')", "DELTA_INSERT_COLUMN_ARITY_MISMATCH",
        "42802"),
    script_fails("too many columns", [], "insert into {shared} values (1, 'x', 2, 3)", "DELTA_METADATA_MISMATCH", "42KDG"),
    script_fails("missing column in the list", [], "insert into {shared} (id, nothing) values (1, 2)", "UNRESOLVED_COLUMN",
        "42703"),
    script_fails("text into int", [], "insert into {shared} values ('x', 'y', 1)", "CAST_INVALID_INPUT", "22018"),
    script_fails("overflow into a narrower type", ["create table {t} (a tinyint)"], "insert into {t} values (300)",
        "CAST_OVERFLOW_IN_TABLE_INSERT", "22003"),
    script_fails("insert into a missing table", [], "insert into {t} values (1)", "TABLE_OR_VIEW_NOT_FOUND", "42P01"),
    script("insert overwrite", [MAKE3, "insert overwrite {t} values (9, 'z', 90)"], "select * from {t}", [(9, "z", 90)]),
    script("insert overwrite from itself", [MAKE3, "insert overwrite table {t} select id, name, n * 2 from {t} where id < 3"],
        "select * from {t}", [(1, "a", 20), (2, "b", 40)]),
    script("insert overwrite of one partition", ["create table {t} (a int, p string) partitioned by (p)",
        "insert into {t} values (1, 'x'), (2, 'y')", "insert overwrite {t} partition (p = 'x') select 10"], "select * from"
        " {t}", [(10, "x"), (2, "y")]),
    script("static overwrite of a partitioned table", ["create table {t} (a int, p string) partitioned by (p)",
        "insert into {t} values (1, 'x'), (2, 'y')", "insert overwrite {t} values (9, 'x')"], "select * from {t}", [(9, "x")]),
    own_session(script("dynamic overwrite of partitions", ["create table {t} (a int, p string) partitioned by (p)",
        "insert into {t} values (1, 'x'), (2, 'y')", "set spark.sql.sources.partitionOverwriteMode = dynamic",
        "insert overwrite {t} values (9, 'x')"], "select * from {t}", [(9, "x"), (2, "y")])),
    script("replace where", [MAKE3, "insert into {t} replace where id >= 2 values (2, 'new', 0), (8, 'new', 0)"],
        "select * from {t}", [(1, "a", 10), (2, "new", 0), (8, "new", 0)]),
    script_fails("replace where with a row outside", [], "insert into {shared} replace where id >= 2 values (1, 'x', 0)",
        "DELTA_REPLACE_WHERE_MISMATCH", "44000"),
    script("nested values", ["create table {t} (s struct<a: int, b: string>, m map<string, int>, l array<struct<x: int>>)",
        "insert into {t} select named_struct('a', 1, 'b', 'x'), map('k', 1), array(named_struct('x', 5))"], "select s.b,"
        " m['k'], l[0].x from {t}", [("x", 1, 5)]),
    databricks_only("PARSE_SYNTAX_ERROR", script("insert replace on", [MAKE3, "insert into table {t} as t replace on (t.id <=>"
        " s.id) (select 1 as id, 'new' as name, 0 as n) as s"], "select * from {t} where id = 1", [(1, "new", 0)])),
]  # fmt: skip

CASES["Updating and deleting"] = [
    script("update", [MAKE3, "update {t} set n = n + 1, name = upper(name) where id < 3"], "select * from {t}",
        [(1, "A", 11), (2, "B", 21), (3, "c", 30)]),
    shows("update tells its rows", [MAKE3], "update {t} set n = 0 where id > 1", "num_affected_rows", [2], True),
    databricks_only("DELTA_UNSUPPORTED_SUBQUERY", script("update by subquery", [MAKE3, "update {t} set n = 0 where id in"
        " (select max(id) from {t})"], "select n from {t} where id = 3", [0])),
    script_fails("update of a missing column", [], "update {shared} set nothing = 1", "UNRESOLVED_COLUMN", "42703"),
    script_fails("update with text for an int", [], "update {shared} set n = 'x'", "CAST_INVALID_INPUT", "22018"),
    script("delete", [MAKE3, "delete from {t} where n > 15 and name <> 'c'"], "select id from {t}", [1, 3]),
    shows("delete tells its rows", [MAKE3], "delete from {t} where id = 1", "num_affected_rows", [1], True),
    script("delete where null deletes nothing", [MAKE3, "delete from {t} where n > null"], "select count(*) from {t}", [3]),
    databricks_only("DELTA_UNSUPPORTED_SUBQUERY", script("delete by exists", [MAKE3, "create table {u} as select 2 as id",
        "delete from {t} where exists (select 1 from {u} where {u}.id = {t}.id)"], "select id from {t}", [1, 3])),
    script("truncate", [MAKE3, "truncate table {t}"], "select count(*) from {t}", [0]),
    script_fails("delete from a missing table", [], "delete from {t} where a = 1", "TABLE_OR_VIEW_NOT_FOUND", "42P01"),
    script("update a struct's field", ["create table {t} as select named_struct('a', 1, 'b', 'x') as s", "update {t} set s.a ="
        " 5"], "select s.a, s.b from {t}", [(5, "x")]),
]  # fmt: skip

S = "(select * from values (2, 'B', 21), (4, 'd', 40) as s(id, name, n))"

CASES["Merging"] = [
    script("merge with stars", [MAKE3, f"merge into {{t}} t using {S} s on t.id = s.id when matched then update set * when"
        f" not matched then"
        " insert *"], "select * from {t}", [(1, "a", 10), (2, "B", 21), (3, "c", 30), (4, "d", 40)]),
    shows("merge tells its rows", [MAKE3], f"merge into {{t}} t using {S} s on t.id = s.id when matched then update set n ="
        f" s.n when not"
        " matched then insert * when not matched by source and t.id = 3 then delete", "num_affected_rows num_updated_rows"
        " num_deleted_rows num_inserted_rows", [(3, 1, 1, 1)], True),
    script("merge with conditions in order", [MAKE3, "merge into {t} t using (select id + 1 as id, 'new' as name, 0 as n from"
        " range(4)) s on t.id = s.id when matched and t.n > 25 then delete when matched and t.n > 15 then update set name ="
        " s.name when not matched and s.id > 100 then insert *"], "select * from {t}", [(1, "a", 10), (2, "new", 20)]),
    script("merge with expressions and some columns", [MAKE3, f"merge into {{t}} t using {S} s on t.id = s.id when matched"
        f" then update set"
        " t.n = t.n + s.n when not matched then insert (id, n) values (s.id * 10, s.n)"], "select * from {t} where id not in"
        " (1, 3)", [(2, "b", 41), (40, None, 40)]),
    script("merge not matched by source", [MAKE3, f"merge into {{t}} t using {S} s on t.id = s.id when not matched by source"
        f" and t.id = 1 then"
        " update set name = 'gone' when not matched by source then delete"], "select * from {t}", [(1, "gone", 10), (2,
        "b", 20)]),
    script_fails("merge with duplicates in the source", [], "merge into {shared} t using (select * from values (2, 'x', 1),"
        " (2, 'y', 2) as s(id, name, n)) s on t.id = s.id when matched then update set *",
        "DELTA_MULTIPLE_SOURCE_ROW_MATCHING_TARGET_ROW_IN_MERGE", "21506"),
    script("merge duplicates that only delete", [MAKE3, "merge into {t} t using (select * from values (2), (2) as s(id)) s on"
        " t.id = s.id when matched then delete"], "select id from {t}", [1, 3]),
    script("merge never matches null keys", ["create table {t} as select cast(null as int) as id, 'old' as v",
        "merge into {t} t using (select cast(null as int) as id, 'new' as v) s on t.id = s.id when matched then update set *"
        " when not matched then insert *"], "select v from {t}", ["old", "new"]),
    script("merge matches null keys null-safely", ["create table {t} as select cast(null as int) as id, 'old' as v",
        "merge into {t} t using (select cast(null as int) as id, 'new' as v) s on t.id <=> s.id when matched then update set"
        " *"], "select v from {t}", ["new"]),
    script("merge on false inserts all", [MAKE3, f"merge into {{t}} t using {S} s on false when not matched then insert *"],
        "select count(*) from {t}", [5]),
    script("merge with schema evolution", [MAKE3, "merge with schema evolution into {t} t using (select 2 as id, 'B' as name,"
        " 1 as n, 'e' as extra) s on t.id = s.id when matched then update set * when not matched then insert *"], "select id,"
        " extra from {t}", [(1, None), (2, "e"), (3, None)]),
    script_fails("merge star without the columns", [], "merge into {shared} t using (select 2 as id) s on t.id = s.id when"
        " matched then update set *", "DELTA_MERGE_UNRESOLVED_EXPRESSION", "42601"),
    script_fails("merge on a missing column", [], f"merge into {{shared}} t using {S} s on t.nothing = s.id when matched then"
        f" delete", "DELTA_MERGE_UNRESOLVED_EXPRESSION", "42601"),
    script_fails("merge overflow", ["create table {t} (id int, n tinyint)"], "merge into {t} t using (select 1 as id, 300 as"
        " n) s on t.id = s.id when not matched then insert *", "DELTA_CAST_OVERFLOW_IN_TABLE_WRITE", "22003"),
    script_fails("merge against a check", ["create table {t} (id int, n int)", "alter table {t} add constraint positive check"
        " (n > 0)"], "merge into {t} t using (select 1 as id, -1 as n) s on t.id = s.id when not matched then insert *",
        "DELTA_VIOLATE_CONSTRAINT_WITH_VALUES", "23001"),
    script("merge of a partitioned table", [f"create table {{t}} partitioned by (name) as select * from {T3}", f"merge into"
        f" {{t}} t using {S} s"
        " on t.id = s.id when matched then update set * when not matched then insert *"], "select name, n from {t} where id in"
        " (2, 4)", [("B", 21), ("d", 40)]),
    shows("merge in the history", [MAKE3, f"merge into {{t}} t using {S} s on t.id = s.id when matched then delete"],
        "describe history {t}", "version operation", [(1, "MERGE"), (0, "CREATE TABLE AS SELECT")], True),
]  # fmt: skip

CHECK = "alter table {t} add constraint positive check (n > 0)"

CASES["Changing tables"] = [
    script("add columns", [MAKE3, "alter table {t} add columns (extra string comment 'why', more int)"], "select extra, more"
        " from {t} where id = 1", [(None, None)], "STRING INT"),
    shows("add column first and after", [MAKE3, "alter table {t} add column (z int first)", "alter table {t} add column (y int"
        " after id)"], "show columns in {t}", "col_name", ["z", "id", "y", "name", "n"], True),
    script_fails("add a column that is there", [], "alter table {shared} add columns (ID int)", "FIELD_ALREADY_EXISTS",
        "42710"),
    script("rename a column", [MAKE3, "alter table {t} set tblproperties ('delta.columnMapping.mode' = 'name',"
        " 'delta.minReaderVersion' = '2', 'delta.minWriterVersion' = '5')", "alter table {t} rename column name to title"],
        "select title from {t} where id = 1", ["a"]),
    shows("drop a column", [MAKE3, "alter table {t} set tblproperties ('delta.columnMapping.mode' = 'name')", "alter table {t}"
        " drop column name"], "show columns in {t}", "col_name", ["id", "n"], True),
    script_fails("drop a column without column mapping", [], "alter table {shared} drop column name",
        "DELTA_UNSUPPORTED_DROP_COLUMN", "0AKDC"),
    script_fails("rename a column without column mapping", [], "alter table {shared} rename column name to title",
        "DELTA_UNSUPPORTED_RENAME_COLUMN", "0AKDC"),
    shows("comment on a column", [MAKE3, "alter table {t} alter column n comment 'how many'"], "describe {t}",
        "col_name comment", [("n", "how many")]),
    shows("comment on a table", [MAKE3, "comment on table {t} is 'it''s'"], "describe detail {t}", "description", ["it's"],
        True),
    shows("set tblproperties", [MAKE3, "alter table {t} set tblproperties ('a.b' = 'x', 'c' = '1')", "alter table {t} unset"
        " tblproperties if exists ('c', 'd')"], "show tblproperties {t} ('a.b')", "key value", [("a.b", "x")], True),
    script("rename a table", [MAKE3, "alter table {t} rename to {u}"], "select count(*) from {u}", [3]),
    script_fails("the old name of a table is gone", [MAKE3, "alter table {t} rename to {u}"], "select * from {t}",
        "TABLE_OR_VIEW_NOT_FOUND", "42P01"),
    script("widen a type", ["create table {t} (a int) tblproperties ('delta.enableTypeWidening' = 'true')", "insert into {t}"
        " values (1)",
        "alter table {t} alter column a type bigint", "insert into {t} values (3000000000)"], "select a from {t}", [1,
        3000000000], "BIGINT"),
    script_fails("narrow a type", ["create table {t} (a bigint)"], "alter table {t} alter column a type int",
        "NOT_SUPPORTED_CHANGE_COLUMN", "0A000"),
    script_fails("check violated by an insert", [MAKE3, CHECK], "insert into {t} values (4, 'd', 0)",
        "DELTA_VIOLATE_CONSTRAINT_WITH_VALUES", "23001"),
    script_fails("check violated by an update", [MAKE3, CHECK], "update {t} set n = -1 where id = 1",
        "DELTA_VIOLATE_CONSTRAINT_WITH_VALUES", "23001"),
    script_fails("check that does not hold", [], "alter table {shared} add constraint few check (n < 20)",
        "DELTA_NEW_CHECK_CONSTRAINT_VIOLATION", "23512"),
    script_fails("check that is unknown", [MAKE3, CHECK], "insert into {t} values (4, 'd', null)",
        "DELTA_VIOLATE_CONSTRAINT_WITH_VALUES", "23001"),
    script("dropped check", [MAKE3, CHECK, "alter table {t} drop constraint positive", "insert into {t} values (4, 'd', 0)"],
        "select count(*) from {t}", [4]),
    script_fails("not null from drop not null", ["create table {t} (a int not null, b int not null)", "alter table {t} alter"
        " column a drop not null", "insert into {t} values (null, 1)"], "insert into {t} values (1, null)",
        "DELTA_NOT_NULL_CONSTRAINT_VIOLATED", "23502"),
    script_fails("alter a missing table", [], "alter table {t} add columns (a int)", "TABLE_OR_VIEW_NOT_FOUND", "42P01"),
    script_fails("dropped table is gone", [MAKE3, "drop table {t}", "drop table if exists {t}"], "select * from {t}",
        "TABLE_OR_VIEW_NOT_FOUND", "42P01"),
    script_fails("drop a missing table", [], "drop table {t}", "TABLE_OR_VIEW_NOT_FOUND", "42P01"),
    script("a dropped table's name is free", [MAKE3, "drop table {t}", "create table {t} as select 'new' as v"],
        "select * from {t}", ["new"]),
]  # fmt: skip

CASES["History and maintenance"] = [
    script("time travel by version", [MAKE3, "delete from {t} where id > 1", "insert into {t} values (9, 'z', 0)"],
        "select (select count(*) from {t} version as of 0) as a, (select count(*) from {t} version as of 1) as b, (select"
        " count(*) from {t})", [(3, 1, 2)]),
    databricks_only("PARSE_SYNTAX_ERROR", script("time travel by @", [MAKE3, "delete from {t}"],
        "select count(*) from {t}@v0", [3])),
    script_fails("time travel too far", [], "select * from {shared} version as of 7", "DELTA_VERSION_NOT_FOUND", "22003"),
    script("restore", [MAKE3, "delete from {t}", "restore table {t} to version as of 0"], "select count(*) from {t}", [3]),
    shows("history", ["create table {t} (a int)", "insert into {t} values (1)", "update {t} set a = 2", "delete from {t}",
        "optimize {t}"],
        "describe history {t}", "version operation", [(3, "DELETE"), (2, "UPDATE"), (1, "WRITE"), (0, "CREATE TABLE")]),
    shows("history with a limit", [MAKE3, "delete from {t}"], "describe history {t} limit 1", "version", [1], True),
    databricks_only("PARSE_SYNTAX_ERROR", script("history as a subquery", [MAKE3], "select max(version) from (describe history"
        " {t})", [0])),
    script("optimize and zorder", [MAKE3, "insert into {t} values (4, 'd', 40)", "optimize {t}", "optimize {t} zorder by (n)"],
        "select count(*) from {t}", [4]),
    shows("optimize leaves one file", [MAKE3, "insert into {t} values (4, 'd', 40)", "optimize {t}"], "describe detail {t}",
        "numFiles", [1], True),
    # Spark lists a table's files in 10000 tasks unless told otherwise, which takes half a minute here
    own_session(script("vacuum", ["set spark.sql.sources.parallelPartitionDiscovery.parallelism = 2", MAKE3, "delete from {t}"
        " where id = 1", "vacuum {t}"], "select count(*) from {t}", [2])),
    script_fails("vacuum that is too eager", [], "vacuum {shared} retain 0 hours", "DELTA_VACUUM_RETENTION_PERIOD_TOO_SHORT",
        "22003"),
    databricks_only("NOT_SUPPORTED_COMMAND_FOR_V2_TABLE", script("analyze", [MAKE3, "analyze table {t} compute statistics for"
        " all columns"], "select count(*) from {t}", [3])),
    script("changes", ["create table {t} (a int) tblproperties ('delta.enableChangeDataFeed' = 'true')", "insert into {t}"
        " values (1), (2)",
        "delete from {t} where a = 1"], "select a, _change_type, _commit_version from table_changes('{t}', 1)",
        [(1, "insert", 1), (2, "insert", 1), (1, "delete", 2)]),
    script("deletion vectors", [f"create table {{t}} tblproperties ('delta.enableDeletionVectors' = 'true') as select * from"
        f" {T3}",
        "delete from {t} where id = 2", "update {t} set n = 0 where id = 3"], "select id, n from {t}", [(1, 10), (3, 0)]),
    script("shallow clone", [MAKE3, "create table {u} shallow clone {t}", "delete from {u} where id = 1"],
        "select (select count(*) from {t}) as a, (select count(*) from {u}) as b", [(3, 2)]),
    shows("show tables", [MAKE3], "show tables in conformance like 'show_tables_*'", "database tableName isTemporary",
        [("conformance", "show_tables_t", False)], True),
    told("show table extended", [MAKE3], "show table extended in conformance like 'show_table_extended_t'",
        lambda r: len(r) == 1 and all(x in r[0][3] for x in ("Provider: delta", "Type: MANAGED", " |-- id: integer (nullable ="
        " true)"))),
    databricks_only("DELTA_OPERATION_NOT_ALLOWED", told("show create table", ["create table {t} (a int not null comment 'c', b"
        " string) partitioned by (b) tblproperties ('k' = 'v')"],
        "show create table {t}", lambda r: all(x in r[0][0] for x in ("CREATE TABLE", "NOT NULL", "USING delta",
        "PARTITIONED BY (b)")))),
    shows("show columns", [MAKE3], "show columns from {t}", "col_name", ["id", "name", "n"], True),
    databricks_only("INVALID_PARTITION_OPERATION", shows("show partitions", ["create table {t} (a int, p string) partitioned"
        " by (p)", "insert into {t} values (1, 'x'), (2, 'y')"], "show partitions {t}", "p", ["x", "y"], True)),
    shows("describe detail", [f"create table {{t}} comment 'what' tblproperties ('k' = 'v') as select * from {T3}"],
        "describe detail {t}", "format description partitionColumns", [("delta", "what", [])], True),
    fails("describe a missing table", "describe conformance.no_such_table", "TABLE_OR_VIEW_NOT_FOUND", "42P01"),
    shows("show functions and explain", [], "describe function upper", None, ["Function: upper"]),
    told("explain", [], "explain select 1 + 1 as v", lambda r: "Physical Plan" in r[0][0]),
]  # fmt: skip

KEY = "md5(cast(concat(coalesce(cast(id as string), '_dbt_utils_surrogate_key_null_'), '-', coalesce(cast(name as string),"
DEST = "hive_metastore.{t} as DBT_INTERNAL_DEST using `conf_{slug}__dbt_tmp` as DBT_INTERNAL_SOURCE"
TMP = "create or replace temporary view `conf_{slug}__dbt_tmp` as "


def _failures(test: str) -> str:
    """A dbt test's query, in the form in which dbt counts its failures."""
    return (
        "select count(*) as failures, count(*) != 0 as should_warn, count(*) != 0 as should_error from (\n"
        + test
        + "\n) dbt_internal_test"
    )


CASES["What dbt and its packages send"] = [
    script("table materialization", ["create or replace table `hive_metastore`.{t} using delta partitioned by (country)"
        " comment 'It\\'s' tblproperties ('delta.columnMapping.mode' = 'name') as\n with x as (select 1 as id, 'DE' as"
        " country) select * from x"], "select * from {t}", [(1, "DE")]),
    script("contract: create, then insert by name", ["create or replace table {t} (id bigint not null comment 'key', name"
        " string)", "insert into {t} by name select 'a' as name, 1 as id"], "select * from {t}", [(1, "a")], "BIGINT STRING"),
    script_fails("contract: not null on a column that is there", [MAKE3, "alter table hive_metastore.{t} change column id set"
        " not null"], "insert into {t} values (null, 'x', 1)", "DELTA_VIOLATE_CONSTRAINT_WITH_VALUES", "23001"),
    script("seed", ["create table {t} (code string comment 'c', rate double, day date, flag boolean, n bigint) using delta",
        "insert overwrite {t} values ('EUR', 1.5, '2024-01-01', true, 7), (null, null, null, null, null)"], "select * from"
        " {t}", [("EUR", 1.5, day("2024-01-01"), True, 7), (None,) * 5]),
    own_session(script("incremental merge from a temporary view", [MAKE3, TMP + f"select * from {S}",
        f"merge into {DEST} on DBT_INTERNAL_SOURCE.`id` <=> DBT_INTERNAL_DEST.`id` when matched and (DBT_INTERNAL_SOURCE.n >"
        " DBT_INTERNAL_DEST.n) then update set `id` = DBT_INTERNAL_SOURCE.`id`, `name` = DBT_INTERNAL_SOURCE.`name`, `n` ="
        " DBT_INTERNAL_SOURCE.`n` when not matched then insert (`id`, `name`, `n`) values (DBT_INTERNAL_SOURCE.`id`,"
        " DBT_INTERNAL_SOURCE.`name`, DBT_INTERNAL_SOURCE.`n`)"], "select * from {t} where id in (2, 4)", [(2, "B", 21), (4,
        "d", 40)])),
    own_session(shows("describe a temporary view", [TMP + "select 1 as id, 'x' as name, 1.5 as d"], "describe table"
        " `conf_{slug}__dbt_tmp`", "col_name data_type", [("id", "int"), ("name", "string"), ("d", "decimal(2,1)")], True)),
    own_session(script("insert overwrite strategy", [MAKE3, TMP + f"select * from {S}", "insert overwrite table {t} by name"
        " select * from `conf_{slug}__dbt_tmp`"], "select id from {t}", [2, 4])),
    own_session(script("microbatch strategy", ["create table {t} as select 1 as id, timestamp'2024-01-01 10:00:00' as at union"
        " all select 2, timestamp'2024-01-02 10:00:00'", TMP + "select 3 as id, timestamp'2024-01-01 11:00:00' as at",
        "insert into {t} replace where cast(at as timestamp) >= '2024-01-01 00:00:00+00:00' and cast(at as timestamp) <"
        " '2024-01-02 00:00:00+00:00' table `conf_{slug}__dbt_tmp`"], "select id from {t}", [3, 2])),
    databricks_only("DELTA_UNSUPPORTED_SUBQUERY", own_session(script("delete and insert strategy", [MAKE3, TMP +
        f"select * from {S}", "delete from {t} where {t}.`id` in (select `id` from `conf_{slug}__dbt_tmp`)", "insert into {t}"
        " by name select `id`, `name`, `n` from `conf_{slug}__dbt_tmp`"], "select * from {t}",
        [(1, "a", 10), (2, "B", 21), (3, "c", 30), (4, "d", 40)]))),
    own_session(script("append new columns", [MAKE3, "alter table {t} add columns (`extra` string, `more` decimal(10,2))", TMP +
        "select 4 as id, 'd' as name, 40 as n, 'e' as extra, cast(1.5 as decimal(10,2)) as more", f"merge into {DEST} on"
        f" DBT_INTERNAL_SOURCE.`id` <=>"
        " DBT_INTERNAL_DEST.`id` when matched then update set * when not matched then insert *"], "select extra, more from {t}"
        " where id > 2", [(None, None), ("e", D("1.50"))])),
    own_session(script("snapshot", ["create table {t} as select *, md5(coalesce(cast(id as string), '') || '|' ||"
        " coalesce(cast(n as string), '')) as dbt_scd_id, timestamp'2024-01-01' as dbt_updated_at, timestamp'2024-01-01' as"
        " dbt_valid_from, nullif(timestamp'2024-01-01', timestamp'2024-01-01') as dbt_valid_to from (select 1 as id, 10 as n)"
        " sbq", TMP + "select 'update' as dbt_change_type, t.*, timestamp'2024-02-01' as new_to from {t} t union all select"
        " 'insert', 1, 11, md5('1|11'), timestamp'2024-02-01', timestamp'2024-02-01', null, null",
        f"merge into {DEST} on DBT_INTERNAL_SOURCE.`dbt_scd_id` = DBT_INTERNAL_DEST.`dbt_scd_id` when matched and"
        " DBT_INTERNAL_DEST.`dbt_valid_to` is null and DBT_INTERNAL_SOURCE.`dbt_change_type` in ('update', 'delete') then"
        " update set"
        " `dbt_valid_to` = DBT_INTERNAL_SOURCE.new_to when not matched and DBT_INTERNAL_SOURCE.`dbt_change_type` ="
        " 'insert' then insert"
        " (id, n, dbt_scd_id, dbt_updated_at, dbt_valid_from, dbt_valid_to) values (id, n, dbt_scd_id, dbt_updated_at,"
        " dbt_valid_from,"
        " dbt_valid_to)"], "select n, dbt_valid_to from {t}", [(10, at("2024-02-01")), (11, None)])),
    shows("persisted docs", [MAKE3, "comment on table hive_metastore.{t} is 'It\\'s a table'", "alter table hive_metastore.{t}"
        " alter column `id` comment 'The \\'key\\''"], "describe table extended hive_metastore.{t}", "col_name data_type"
        " comment", [("id", "int", "The 'key'"), ("Comment", "It's a table", "")]),
    databricks_only("PARSE_SYNTAX_ERROR", shows("comment on column", [MAKE3, "comment on column hive_metastore.{t}.`id` is"
        " 'The key'"], "describe {t}", "col_name comment", [("id", "The key")])),
    shows("show tables and views in a schema", ["create schema {x}", "create table {x}.t (a int)", "create view {x}.v as"
        " select 1 as a"],
        "show tables in `hive_metastore`.`conformance_show_tables_and_views_in_a_schema`", "tableName", ["t", "v"], True),
    script("swap by rename", [MAKE3, "create table {u} as select 1 as v", "drop table if exists {t}", "alter table {u} rename"
        " to {t}"], "select * from {t}", [1]),
    row("test: unique", _failures("select id as unique_field, count(*) as n_records from values (1), (1), (null), (null) as"
        " t(id) where id is not null group by id having count(*) > 1"), (1, True, True), "BIGINT BOOLEAN BOOLEAN"),
    row("test: not null", _failures("select id from values (1), (null) as t(id) where id is null"), (1, True, True)),
    row("test: accepted values", _failures("with all_values as (select g as value_field, count(*) as n_records from values"
        " ('a'), ('x') as t(g) group by g) select * from all_values where value_field not in ('a', 'b')"), (1, True, True)),
    row("test: relationships", _failures("with child as (select v as from_field from values (1), (9), (null) as c(v) where v"
        " is not null), parent as (select id as to_field from range(3)) select from_field from child left join parent on"
        " child.from_field = parent.to_field where parent.to_field is null"), (1, True, True)),
    row("dbt_utils: expression is true", _failures("select 1 from values (1.10, 2.20, 3.30) as t(a, b, c) where not(a + b ="
        " c)"), (0, False, False)),
    row("dbt_utils: unique combination of columns", _failures("with validation_errors as (select a, b from values (1, 2), (1,"
        " 2), (1, 3) as t(a, b) group by a, b having count(*) > 1) select * from validation_errors"), (1, True, True)),
    rows("dbt_utils: surrogate key", f"select {KEY} '_dbt_utils_surrogate_key_null_')) as string)) from values (1, 'a'), (2,"
        f" null) as"
        " t(id, name) order by id", ["fd863b01647cb662580dd67b9839d8de", "529273ab1940ae5faa7c2c7ee6507d66"]),
    rows("dbt_utils: date spine", "with rawdata as (with p as (select 0 as generated_number union all select 1), unioned as"
        " (select p0.generated_number * power(2, 0) + p1.generated_number * power(2, 1) + 1 as generated_number from p as p0"
        " cross join p as p1) select * from unioned where generated_number <= 3 order by generated_number), all_periods as"
        " (select timestampadd(day, row_number() over (order by generated_number) - 1, cast('2024-02-28' as date)) as"
        " date_day from rawdata) select date_day from all_periods where date_day <= cast('2024-03-01' as date) order by"
        " date_day", [at("2024-02-28"), at("2024-02-29"), at(
        "2024-03-01")]),
    row("dbt_utils: mutually exclusive ranges", _failures("with w as (select a as lower_bound, b as upper_bound, lead(a) over"
        " (order by a, b) as next_lower_bound, row_number() over (order by a desc, b desc) = 1 as is_last_record from values"
        " (1, 3), (3, 5), (4, 9) as t(a, b)), c as (select *, coalesce(lower_bound < upper_bound, false) as lower_less,"
        " coalesce(upper_bound <= next_lower_bound, is_last_record, false) as upper_less from w) select * from c where not"
        " (lower_less and upper_less)"), (1, True, True)),
    row("dbt_utils: recency", _failures("with recency as (select max(cast(at as timestamp)) as most_recent from values"
        " ('2020-01-01') as t(at)) select most_recent, cast(timestampadd(day, -1, current_timestamp()) as timestamp) as"
        " threshold from recency where most_recent < cast(timestampadd(day, -1, current_timestamp()) as timestamp)"), (1,
        True, True)),
    row("dbt_utils: equal row count", "with a as (select 1 as id_dbtutils_test_equal_rowcount, count(*) as count_a from"
        " range(3) group by id_dbtutils_test_equal_rowcount), b as (select 1 as id_dbtutils_test_equal_rowcount, count(*) as"
        " count_b from range(2) group by id_dbtutils_test_equal_rowcount), final as (select a.id_dbtutils_test_equal_rowcount"
        " as id_a, b.id_dbtutils_test_equal_rowcount as id_b, count_a, count_b, abs(count_a - count_b) as diff_count from a"
        " full join b on a.id_dbtutils_test_equal_rowcount = b.id_dbtutils_test_equal_rowcount) select * from final", (1, 1,
        3, 2, 1)),
    row("dbt_utils: get column values and pivot", "select sum(case when g = 'a' then 1 else 0 end) as `a`, sum(case when g ="
        " 'b''s' then n else 0 end) as `b`, count(distinct g) from values ('a', 1), ('a', 2), ('b', 5) as t(g, n)", (2, 0, 2)),
    row("dbt_utils: sequential values", _failures("with w as (select id, lag(id) over (partition by id % 2 order by id) as"
        " previous from range(6)) select * from w where not (cast(id as timestamp) = cast(timestampadd(second, 2,"
        " cast(previous as timestamp)) as timestamp))"), (0, False, False)),
    row("dbt: split_part", "select get(split('a|b|c', case when regexp_extract('|', '([^A-Za-z0-9])(.*)', 1) != '_' then"
        " concat('\\\\', '|') else '|' end), 1), get(split('a_b', case when regexp_extract('_', '([^A-Za-z0-9])(.*)', 1) !="
        " '_' then concat('\\\\', '_') else '_' end), length('a_b') - length(replace('a_b', '_', '')) + 1 + -1)", ("b", "b")),
    row("dbt: datediff", "select timestampdiff(day, date_trunc('day', timestamp'2024-01-01 23:00:00'), date_trunc('day',"
        " timestamp'2024-01-02 01:00:00')), timestampdiff(month, date_trunc('month', date'2024-01-31'), date_trunc('month',"
        " date'2024-02-01'))", (1, 1)),
    row("expectations: between", _failures("with grouped_expression as (select (1 = 1 and v >= 1 and v <= 10) as expression"
        " from values (5), (11), (null) as t(v)), validation_errors as (select * from grouped_expression where"
        " not(expression)) select * from validation_errors"), (1, True, True)),
    row("expectations: regex", _failures("with g as (select regexp_instr(v, '^[A-Z]{2}$') > 0 as expression from values"
        " ('DE'), ('x') as t(v)) select * from g where not(expression)"), (1, True, True)),
    row("expectations: columns match an ordered list", _failures("with relation_columns as (select cast('ID' as string) as"
        " relation_column, 1.0 as relation_column_idx union all select cast('NAME' as string), 2.0), input_columns as (select"
        " cast('ID' as string) as input_column, 1.0 as input_column_idx) select * from relation_columns rc full outer join"
        " input_columns ic on rc.relation_column = ic.input_column and rc.relation_column_idx = ic.input_column_idx where"
        " rc.relation_column is null or ic.input_column is null"), (1, True, True)),
    row("expectations: quantile and moving deviation", "select percentile_cont(0.9) within group (order by v), stddev(v),"
        " (max(v) - avg(v)) / nullif(stddev(v), 0) > 0 from values (1D), (2D), (3D) as t(v)", (2.8, 1.0, True)),
    row("elementary: start of a bucket", "select cast(dateadd(day, cast(cast(floor(datediff(coalesce(date(at), nvl2(date(at),"
        " assert_true(date(at) is not null), null)), date('2026-06-29T00:00:00+00:00')) / 2) * 2 as integer) as integer),"
        " cast('2026-06-29T00:00:00+00:00' as timestamp)) as timestamp), case when at is null then 0 else cast(count(*) as"
        " float) end from values (timestamp'2026-07-02 10:00:00') as t(at) group by at", (at("2026-07-01"), 1.0),
        "TIMESTAMP DOUBLE"),
    rows("elementary: new columns", "with known as (select k, t from values ('A', 't'), ('B', 't') as t(k, t)) select"
        " column_name, case when upper(concat(column_name, '')) not in (select k from known where k > '') and 't' in (select"
        " distinct t from known) then true else false end as is_new from values ('a'), ('c') as t(column_name) order by 1",
        [("a", False), ("c", True)]),
    row("elementary: description of an anomaly", "select concat('is ', cast(abs(round(cast(v / 3600 as decimal(28,6)), 2)) as"
        " string), ' hours') from values (12345.0D) as t(v)", ("is 3.43 hours",)),
    rows("project: usual run time", "select k, percentile(v, 0.5), percentile(abs(v - 2), 0.9) from values (1, 1.0F), (1,"
        " 2.5F), (2, null), (3, 10.0F) as t(k, v) group by k order by k", [(1, 1.75, 0.95), (2, None, None), (3, 10.0, 8.0)],
        "INT DOUBLE DOUBLE"),
    script("elementary: empty table by types", ["create or replace table {t} using delta as select * from (select"
        " cast('dummy_string' as string) as id, cast('2091-02-17' as timestamp) as detected_at, cast(0 as int) as n,"
        " cast(31474836478 as bigint) as big, cast(123456789.99 as float) as f, cast(True as boolean) as flag,"
        " cast('this_is_just_a_long_dummy_string' as string) as text) as empty_table where 1 = 0"], "select * from {t}", [],
        "STRING TIMESTAMP INT BIGINT FLOAT BOOLEAN STRING"),
    script("elementary: insert rows", ["create table {t} (id string, at string, n int, flag boolean, text string)",
        "insert into {t} (id, at, n, flag, text) values ('model.x', '2024-01-01 00:00:00', 5, True, 'It\\'s {\"a\":"
        " \\\"b\\\\\\\\n\\\"}'), ('y', NULL, NULL, NULL, NULL)"], "select text from {t} where n = 5",
        ['It\'s {"a": "b\\\\n"}']),
    script("seed: insert of strings", ["create table {t} (d date, n decimal(10,2), i int, text string)",
        "insert overwrite {t} values ('2024-02-29','1.50','7','a\\tb\\\\n'),(NULL,NULL,'8','it\\'s \"x\"')"],
        "select * from {t}", [(day("2024-02-29"), D("1.50"), 7, "a\tb\\n"), (None, None, 8, 'it\'s "x"')]),
    script_fails("seed: a string that is no date", ["create table {t} (d date)"], "insert into {t} values ('2024-02-30')",
        "CAST_INVALID_INPUT", "22018"),
    script("comment with escapes", ["create table {t} (a int comment 'one\\ntwo \\'three\\'')"], "describe {t}",
        [("a", "int", "one\ntwo 'three'")]),
    row("elementary: time buckets", "select cast(date_trunc('day', timestampadd(day, -1 * 2, cast('2024-03-01 10:00:00' as"
        " timestamp))) as timestamp), cast(timestampadd(hour, 24, cast('2024-02-28' as timestamp)) as string),"
        " date_format(cast('2024-03-01 10:00:00' as timestamp), 'yyyy-MM-dd HH:mm:ss')", (at("2024-02-28"), "2024-02-29"
        " 00:00:00", "2024-03-01 10:00:00")),
    row("elementary: column monitors", "select cast(count(*) as float), cast(coalesce(sum(case when v is null then 1 else 0"
        " end), 0) as float) * 100 / nullif(count(*), 0), cast(max(length(v)) as float), cast(coalesce(sum(case when cast(v"
        " as string) = '' then 1 else 0 end), 0) as float) from values ('abc'), (null), (''), ('x') as t(v)", (4.0, 25.0,
        3.0, 1.0), "FLOAT DOUBLE FLOAT FLOAT"),
    rows("elementary: anomaly scores", "select id, case when training_stddev is null then null when training_stddev = 0 then 0"
        " else round((v - training_avg) / training_stddev, 4) end from (select *, avg(v) over (partition by 1 order by id"
        " rows between unbounded preceding and current row) as training_avg, stddev(v) over (partition by 1 order by id rows"
        " between unbounded preceding and current row) as training_stddev from values (1, 1D), (2, 1D), (3, 4D) as t(id, v))"
        " order by id", [(1, None), (2, 0.0), (3, 1.1547)]),
    script("project: merge of newer versions with dates", ["create table {t} (id int, d date, at timestamp) using delta",
        "insert into {t} values (1, date'2024-01-01', timestamp'2024-01-01 00:00:00')", "merge into {t} as t using (select 1 as"
        " id, date'2024-02-29' as d, timestamp'2024-02-01 10:00:00.5' as at union all select 2, null, timestamp'2024-03-01"
        " 00:00:00') as s on s.id <=> t.id when matched and struct(s.at, s.id) > struct(t.at, t.id) then update set * when not"
        " matched then insert *"], "select * from {t} order by id", [(1, day("2024-02-29"), at("2024-02-01 10:00:00.5")),
        (2, None, at("2024-03-01"))]),
    row("project: types of named queries", "with a as (select cast(size(array(1, 2)) as int) as n, avg(v) as m, sum(v) as s"
        " from values (1.10), (2.25) as t(v)), b as (select n * 2 as n, m / 3 as m, s + 1 as s from a)"
        " select n, m, s + n from b",
        (4, D("0.55833333"), D("8.35")), "INT DECIMAL(9,8) DECIMAL(15,2)"),
    row("project: array of reasons", "select array_compact(array(case when true then 'missing' end, case when false then 'x'"
        " end)) as reasons, size(array_compact(array(case when false then 'x' end))), to_json(struct(1 as a, cast(null as"
        " string) as b))", (["missing"], 0, '{"a":1}')),
    rows("project: exchange rates by month", "select currency, cast(month as string), cast(1.1 / rate as decimal(20,10)) from"
        " (select currency, rate, explode(sequence(m, coalesce(add_months(next, -1), date'2024-03-01'), interval 1 month)) as"
        " month from (select *, lead(m) over (partition by currency order by m) as next from values ('USD', date'2024-01-01',"
        " cast(1.1 as decimal(12,6))), ('USD', date'2024-02-01', cast(1.2 as decimal(12,6))) as t(currency, m, rate))) order"
        " by month",
        [("USD", "2024-01-01", D("1.0000000000")), ("USD", "2024-02-01", D("0.9166666667")), ("USD", "2024-03-01", D(
        "0.9166666667"))]),
    row("elementary: get_json_object of plain values", "select get_json_object('{\"a\": {\"b\": \"x\"}}', '$.a.b'),"
        " get_json_object('{\"s\": \"1.50\", \"n\": 100}', '$.s'), get_json_object('{\"n\": 100}', '$.n'),"
        " get_json_object('{}', '$.x')", ("x", "1.50", "100", None)),
    row("get_json_object of a fraction", "select get_json_object('{\"n\": 1.50}', '$.n')", ("1.5",)),
    row("elementary: smallest and lower", "select lower('ÄB'), min(v), max(v) from values (2), (1) as t(v)", ("äb", 1, 2)),
    row("elementary: standard deviation", "select stddev(v) from values (1.0D), (3.0D) as t(v)", (1.4142135623730951,)),
    row("elementary: seconds since 1970", "select unix_timestamp(timestamp'2024-01-01 00:00:00')", (1704067200,), "BIGINT"),
    row("elementary: first and last of a frame", "select first_value(v) over (order by v rows between unbounded preceding and"
        " current row), last_value(v) over (order by v rows between unbounded preceding and current row) from values (1) as"
        " t(v)", (1, 1)),
    row("project: load time of a load id", "select timestamp_seconds(cast('1767225600.250000' as decimal(20,6)))",
        (at("2026-01-01T00:00:00.250"),), "TIMESTAMP"),
    row("project: month and week", "select month(date'2024-12-30'), weekofyear(date'2024-12-30')", (12, 1), "INT INT"),
    row("project: reasons", "select size(array_compact(array('a', cast(null as string)))), array_contains(array('a', 'b'),"
        " 'b')", (1, True), "INT BOOLEAN"),
    row("project: date keys", "select cast(date_format(d, 'yyyyMMdd') as int), date_format(d, 'MMMM'), concat(year(d), '-Q',"
        " quarter(d)), extract(yearofweek from d), weekday(d) + 1, date_format(d, 'EEEE'), cast(date_trunc('month', d) as"
        " date) from (select date'2024-12-30' as d)", (20241230, "December", "2024-Q4", 2025, 1, "Monday", day("2024-12-01"))),
    rows("project: monthly totals", "select k, count_if(not credit), cast(coalesce(sum(a) filter (where s not in ('draft')),"
        " 0) as decimal(34,2)) from values ('DE', false, 1.10, 'paid'), ('DE', true, -0.10, 'draft'), ('FR', true, 5.00,"
        " 'draft') as t(k, credit, a, s) group by all", [("DE", 1, D("1.10")), ("FR", 0, D("0.00"))], "STRING BIGINT"
        " DECIMAL(34,2)"),
]  # fmt: skip


@functools.cache
def differences() -> dict[str, dict[str, str]]:
    """The cases in which Sail differs, by name: `refused`, with what is refused, and `another_error`, with which."""
    return yaml.safe_load((HERE / "sail_differences.yml").read_text())


def all_cases() -> list[Case]:
    return [case for cases in CASES.values() for case in cases]


INTRODUCTION = """# The engines

The endpoint runs statements on one of two engines, by the variable `ENGINE`: `spark` (Apache Spark 4.1 with Delta Lake, the
default) or `sail` (Sail, a Rust engine that speaks Spark's protocol). tests/conformance/ asks both the same statements and
compares values, column types and errors with what Spark 4.1 documents, in ANSI mode and with UTC as the time zone. What Sail
cannot do is named below: it fails there with an error that says to use `ENGINE=spark`, and never answers differently in
silence. This page is written by `python -m tests.conformance.cases`.
"""


def report() -> str:
    """docs/engines.md: how many cases of each subject each engine answers as Databricks does, and what the engines lack."""
    different = differences()
    names = {name for kind in different.values() for name in kind}
    counts = {
        subject: (len(cases), sum(not c.databricks_only for c in cases), sum(c.name not in names for c in cases))
        for subject, cases in CASES.items()
    }
    lines = [INTRODUCTION, "| Subject | Cases | Spark | Sail |", "| --- | ---: | ---: | ---: |"]
    lines += [f"| {subject} | {' | '.join(map(str, numbers))} |" for subject, numbers in counts.items()]
    total = [sum(column) for column in zip(*counts.values(), strict=True)]
    lines += [f"| **All** | {' | '.join(f'**{number}**' for number in total)} |", "", "## What Sail refuses", ""]
    lines += [f"- {name}: {' '.join(why.split())}" for name, why in different["refused"].items()]
    lines += ["", "## Where Sail's error has another condition", ""]
    lines += [f"- {name}: {' '.join(why.split())}" for name, why in different["another_error"].items()]
    lines += [
        "",
        "## What Spark refuses",
        "",
        "Databricks has these; Apache Spark 4.1 answers with an error.",
        "",
    ]
    lines += [f"- {case.name}: `{case.databricks_only}`" for case in all_cases() if case.databricks_only]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    text = report()
    (HERE.parent.parent / "docs" / "engines.md").write_text(text)
    print(text, end="")
