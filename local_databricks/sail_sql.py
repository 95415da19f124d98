"""Databricks' queries as Sail wants them: the same answer, or a refusal that names what Sail cannot do.

A query is let through only if every construct and function in it is in the lists below, which a conformance case has shown
to be equal on both engines (tests/conformance). What Sail does differently is rewritten: by form, and where it depends on
types (Sail wraps integer overflows, cuts decimal quotients and averages) by type. Types are asked from Sail, which
analyzes a query without running it, a scope at a time.
"""

import re
from collections.abc import Callable, Iterator
from itertools import takewhile

from sqlglot import exp, parse_one
from sqlglot.dialects.databricks import Databricks
from sqlglot.errors import ParseError, TokenError
from sqlglot.tokens import TokenType
from sqlglot.transforms import eliminate_qualify

from local_databricks.results import SqlError
from local_databricks.settings import CATALOG
from local_databricks.words import Words

_DATE = (
    "[UNSUPPORTED_FEATURE] A date or time written in this way is not known to be read right by Sail; run it with ENGINE=spark."
)
_TOO_LARGE = "[NUMERIC_VALUE_OUT_OF_RANGE] A sum needs more than 38 digits, or nearly; ENGINE=spark tells. SQLSTATE: 22003"
_NESTED = "[UNSUPPORTED_FEATURE] get_json_object() of more than a plain value: run it with ENGINE=spark."
_EXPONENT = (
    "[UNSUPPORTED_FEATURE] A text with an exponent as a decimal is not known to be right on Sail; run it with ENGINE=spark."
)

_MAYBE_IN = "[UNSUPPORTED_FEATURE] IN (query) in a SELECT list where either side has a null: run it with ENGINE=spark."

_LARGE = "[UNSUPPORTED_FEATURE] A double from 1e15 on as a decimal is not known to be right on Sail; run it with ENGINE=spark."


class _Databricks(Databricks):
    """Databricks' dialect with doubled quotes in strings, which sqlglot takes for two strings."""

    class Tokenizer(Databricks.Tokenizer):
        STRING_ESCAPES = ["\\", "'", '"']


#: From a query to the names and SQL types of its columns.
Analyze = Callable[[str], list[tuple[str, str]]]


def refuse(what: str) -> SqlError:
    return SqlError("UNSUPPORTED_FEATURE", f"{what} is not known to be right on Sail; run it with ENGINE=spark.")


# Syntax, operators and functions by sqlglot's name of them; each is exercised by a conformance case.
_SYNTAX = """
Identifier Column Literal Alias DataType DataTypeParam Null Star Table TableAlias Select From Where Join Group Having Order
Ordered Limit Offset With CTE Subquery Union Except Intersect Paren And Or Not EQ NEQ GT GTE LT LTE NullSafeEQ Is In Between
Case If Cast TryCast Boolean Values Tuple Var Distinct Window WindowSpec Filter Qualify Exists Interval IntervalSpan Lateral
Explode Posexplode Dot ColumnDef Neg Add Sub Mul Div IntDiv Mod DPipe Like ILike RegexpLike
""".split()
_FUNCTIONS = """
Count CountIf Sum Avg Min Max RowNumber Rank Lead Lag FirstValue LastValue Coalesce Nullif Least Greatest Upper Lower Trim
Concat Length Array ArraySize ArrayCompact ArrayContains Struct GenerateSeries AddMonths CurrentDate CurrentTimestamp Year
Quarter Month WeekOfYear Extract TimestampTrunc TimeToStr TimeStrToTime StrToTime TsOrDsToDate TsOrDsAdd DateDiff Round Abs
Ceil Floor JSONExtractScalar JSONPath JSONPathRoot JSONPathKey JSONFormat MD5 Stddev ArrayAgg Typeof PropertyEQ TimestampAdd
Nvl2 StrToUnix GroupConcat RegexpSplit Bracket
Quantile
""".split()
#: Functions that sqlglot has no name for, with the type that each gives where it is always the same.
_ANONYMOUS = {"timestamp_seconds": "timestamp", "weekday": "int", "pmod": "", "range": "", "assert_true": "void"}
_ALLOWED = {*_SYNTAX, *_FUNCTIONS}

#: Texts that both engines read as the same date or time, and those that Spark may read as one.
_DATE_TEXTS = {
    exp.DataType.Type.DATE: ("^ *[0-9]{4}-[0-9]{2}-[0-9]{2}([ T].*)?$", "^ *[+-]?[0-9]{4}"),
    **dict.fromkeys(
        (exp.DataType.Type.TIMESTAMP, exp.DataType.Type.TIMESTAMPTZ, exp.DataType.Type.TIMESTAMPLTZ),
        (
            "^ *[0-9]{4}-[0-9]{2}-[0-9]{2}([ T][0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2})?)? *$",
            "^ *([+-]?[0-9]{4}|T?[0-9]{1,2}:)",
        ),
    ),
}
_INTS = {"tinyint": 3, "smallint": 5, "int": 10, "bigint": 20}  # and the digits of a decimal that holds each
_AGGREGATES = (exp.AggFunc, exp.Window)
#: Types that Spark gives to functions whatever they are called with, and what `_Scope.type` has a rule for.
_RETURNS = {
    **dict.fromkeys((exp.Count, exp.CountIf, exp.StrToUnix, exp.TimeToUnix), "bigint"),
    **dict.fromkeys((exp.RowNumber, exp.Rank, exp.DenseRank, exp.Length, exp.ArraySize, exp.Year, exp.Quarter, exp.Month,
                     exp.Day, exp.WeekOfYear, exp.DayOfWeek, exp.DateDiff, exp.Extract), "int"),
    **dict.fromkeys((exp.Upper, exp.Lower, exp.Trim, exp.Concat, exp.ConcatWs, exp.Substring, exp.Replace,
                     exp.JSONExtractScalar, exp.TimeToStr, exp.JSONFormat,
                     exp.MD5, exp.SHA2, exp.Initcap, exp.Typeof), "string"),
    **dict.fromkeys((exp.Stddev, exp.StddevSamp, exp.Variance, exp.Sqrt, exp.Quantile), "double"),
    exp.CurrentDate: "date", exp.TsOrDsToDate: "date", exp.AddMonths: "date", exp.LastDay: "date",
    exp.CurrentTimestamp: "timestamp",
    exp.TimestampTrunc: "timestamp",
}  # fmt: skip
_RULED = (
    exp.Paren, exp.Neg, exp.Abs, exp.Max, exp.Min, exp.Filter, exp.Window, exp.AnyValue, exp.Distinct, exp.Lead, exp.Lag,
    exp.FirstValue, exp.LastValue, exp.Cast, exp.TryCast, exp.Sum, exp.Avg, exp.Coalesce, exp.Nullif, exp.Least, exp.Greatest,
    exp.If, exp.Case, exp.Nvl2, exp.Connector, exp.Predicate, exp.Not, exp.Floor, exp.Ceil, exp.Bracket,
    exp.Round,
)  # fmt: skip


def to_sail(sql: str, catalog: str, analyze: Analyze) -> str:
    """A query as Sail wants it; `catalog` is the name that Sail's catalog has.

    Raises SqlError where the query is not understood, or uses what is not known to be right on Sail.
    """
    try:
        tree = parse_one(sql, dialect=_Databricks)
    except (ParseError, TokenError) as error:
        raise _syntax_error(sql, error) from None
    for node in list(tree.find_all(exp.CurrentCatalog)):
        node.replace(exp.Literal.string(CATALOG))
    for node in list(tree.find_all(exp.Filter)):
        if isinstance(node.this, exp.CountIf):  # Sail counts without the filter, and does not say so
            condition = exp.and_(node.this.this, node.expression.this)
            node.replace(exp.Filter(this=exp.Count(this=exp.Star()), expression=exp.Where(this=condition)))
    for node in tree.walk():
        _check(node)
    _check_formats(sql)
    for table in tree.find_all(exp.Table):
        if table.db and "/" not in table.name:  # Sail's names know upper and lower case; a path, as in delta.`/A/b`, does too
            table.set("db", exp.to_identifier(table.db.lower(), quoted=True))
            table.set("this", exp.to_identifier(table.name.lower(), quoted=True))
        if table.catalog.lower() == CATALOG:
            table.set("catalog", exp.to_identifier(catalog, quoted=True))
    for column in tree.find_all(exp.Column):
        if column.catalog.lower() == CATALOG:
            column.set("catalog", exp.to_identifier(catalog, quoted=True))
    tree = tree.transform(_by_form)
    named: dict[int, str] = {}
    for select in _scopes(tree):
        _Scope(select, analyze, named).rewrite()
    return _text(tree, copy=False)


def _text(node: exp.Expression, copy: bool = True) -> str:
    """copy: leave the node usable; sqlglot changes what it writes."""
    return node.sql(dialect="spark", comments=False, normalize_functions="lower", copy=copy)


def _scopes(tree: exp.Expression) -> Iterator[exp.Select]:
    """Every SELECT after all that it reads, so that it sees them rewritten. By a stack: a long chain of OR is a deep tree."""
    todo, found = [tree], []
    while todo:
        node = todo.pop()
        if isinstance(node, exp.Select):
            found.append(node)
        named = node.args.get("with_")
        todo += [*([named] if named else []), *(child for child in node.iter_expressions() if child is not named)]
    return reversed(found)


def _syntax_error(sql: str, error: Exception) -> SqlError:
    where = re.sub(r"\x1b\[\d*m", "", str(error).splitlines()[0])
    return SqlError("PARSE_SYNTAX_ERROR", f"{where} If the statement is right, ENGINE=spark will take it.")


def _check(node: exp.Expression) -> None:
    name = type(node).__name__
    if isinstance(node, exp.Anonymous):
        if node.name.lower() not in _ANONYMOUS:
            raise refuse(f"The function {node.name}()")
    elif isinstance(node, exp.Dot) and not isinstance(node.this, (exp.Column, exp.Dot, exp.Identifier, exp.Paren, exp.Struct)):
        raise refuse(f"{node.sql(dialect='databricks')[:60]!r}")
    elif isinstance(node, exp.Bracket):
        [index] = node.expressions if len(node.expressions) == 1 else [None]
        if not (isinstance(node.this, (exp.RegexpSplit, exp.Column)) and isinstance(index, exp.Literal) and index.is_int):
            raise refuse(f"{node.sql(dialect='databricks')[:60]!r}")
    elif isinstance(node, exp.RegexpSplit):  # by one character, since the engines' regular expressions are not the same
        by = node.expression
        single = isinstance(by, exp.Literal) and re.fullmatch(r"\[[^]^\\[]\]|[\w ,;:/@#%&=~_-]", by.this)
        if not (single and isinstance(node.parent, exp.Bracket)) or node.args.get("limit"):
            raise refuse(f"{node.sql(dialect='databricks')[:60]!r}")
    elif isinstance(node, exp.Order) and any(o.this.sql().upper() == "ALL" for o in node.expressions):
        raise refuse("ORDER BY ALL")
    elif name not in _ALLOWED:
        raise refuse(f"{node.sql(dialect='databricks')[:60]!r} ({name})")


def _check_formats(sql: str) -> None:
    """Patterns of dates are looked at as they were written: sqlglot takes YYYY for yyyy, which are two years to Spark."""
    words = Words(sql)
    for i, token in enumerate(words.tokens):
        if token.text.lower() == "date_format":
            end = next((j for j in range(i, len(words.tokens)) if words.tokens[j].token_type == TokenType.STRING), None)
            if end and re.search(r"[^-yMdHhmsSEa /:.,]", re.sub(r"'[^']*'", "", words.tokens[end].text)):
                raise refuse(f"date_format(…, '{words.tokens[end].text}')")


def _by_form(node: exp.Expression) -> exp.Expression:
    """What Sail lacks, said with what it has, whatever the types are."""
    if isinstance(node, exp.Select):
        group = node.args.get("group")
        if group and group.args.get("all"):
            keys = [p.unalias() for p in node.expressions if not p.find(*_AGGREGATES)]
            node.set("group", exp.Group(expressions=[key.copy() for key in keys]) if keys else None)
        if node.args.get("qualify"):
            return eliminate_qualify(node)
    if isinstance(node, exp.Extract):
        day, part = node.expression.sql("spark"), node.name.upper()
        if part in ("YEAROFWEEK", "ISOYEAR"):  # the ISO week's year is that of its Thursday
            return parse_one(f"YEAR(DATE_ADD(CAST(DATE_TRUNC('WEEK', {day}) AS DATE), 3))", dialect="databricks")
        if part in ("DOW", "DAYOFWEEK"):
            return parse_one(f"DAYOFWEEK({day})", dialect="databricks")
        if part not in ("YEAR", "QUARTER", "MONTH", "WEEK", "DAY", "DOY", "HOUR", "MINUTE"):
            raise refuse(f"extract({part} …)")
    if isinstance(node, exp.ArrayContains):  # Spark: null where it is not found and might be one of the nulls
        array, value = node.this.sql("spark"), node.expression.sql("spark")
        return parse_one(
            f"CASE WHEN ARRAY_CONTAINS({array}, {value}) THEN TRUE WHEN {array} IS NULL OR {value} IS NULL"
            f" OR SIZE(ARRAY_COMPACT({array})) < SIZE({array}) THEN NULL ELSE FALSE END",
            dialect="databricks",
        ).transform(lambda n: exp.Anonymous(this="array_contains", expressions=[n.this, n.expression])
                    if isinstance(n, exp.ArrayContains) else n)  # fmt: skip
    if isinstance(node, exp.Neg) and isinstance(node.this, exp.Cast) and isinstance(node.this.this, exp.Literal):
        return exp.Cast(this=exp.Neg(this=node.this.this), to=node.this.to)  # -128Y is no TINYINT before its minus
    if isinstance(node, exp.Anonymous):
        match node.name.lower():
            case "weekday":  # Sail answers -1 on Sundays
                return parse_one(
                    f"CAST(pmod(dayofweek({node.expressions[0].sql('spark')}) + 5, 7) AS INT)", dialect="databricks"
                )
    return node


class _Scope:
    """One SELECT, in which what depends on types is rewritten. `named`: the texts of the named queries (WITH) so far, by id."""

    def __init__(self, select: exp.Select, analyze: Analyze, named: dict[int, str]):
        self.select, self._analyze, self._named = select, analyze, named
        self._known: dict[str, str] = {}

    def _own(self) -> Iterator[exp.Expression]:
        """The expressions of this SELECT, outermost first, without those of the queries in it."""
        todo = [self.select]
        while todo:
            node = todo.pop()
            if node is not self.select:
                yield node
            for key, child in node.args.items():
                if key in ("with_", "from_") and node is self.select:
                    continue
                for part in child if isinstance(child, list) else [child]:
                    if isinstance(part, exp.Expression) and not isinstance(part, (exp.Query, exp.CTE)):
                        todo.append(part)

    def rewrite(self) -> None:
        self._expand_stars()
        if not any(type(n) in _BY_TYPE or isinstance(n, (exp.Is, exp.Not)) for n in self._own()):
            return
        self._name_projections()
        own = [n for n in self._own() if type(n) in _BY_TYPE]
        self._ask([leaf for node in own for leaf in _leaves(node)])
        for node in reversed(own):  # inner expressions first
            new = _BY_TYPE[type(node)](self, node)
            if new is not node:
                node.replace(new)

    def _name_projections(self) -> None:
        """A projection without a name keeps the one that it has without being rewritten, which is Spark's."""
        plain = [p for p in self.select.expressions if not isinstance(p, (exp.Alias, exp.Column, exp.Star, exp.Literal))]
        for projection in plain:
            name = _text(projection)
            if not isinstance(
                projection, (exp.Mod, exp.Filter, exp.Between, exp.In, exp.Is, exp.Not)
            ):  # all of one name to Sail
                try:
                    [(name, _)] = self._analyze(self._query([_text(projection)]))
                except Exception:  # a generator, say
                    continue
            projection.replace(exp.alias_(projection.copy(), name, quoted=True))

    def _ask(self, leaves: list[exp.Expression]) -> None:
        texts = sorted({leaf.sql("spark") for leaf in leaves})
        if not texts:
            return
        try:
            kinds = [
                kind
                for _, kind in self._analyze(
                    self._query([f"{text} AS c{i}" for i, text in enumerate(texts)], with_both_sides=True)
                )
            ]
            self._known |= dict(zip(texts, kinds, strict=True))
        except Exception:  # a correlated query, say: what depends on these types is then refused
            return

    def _query(self, projections: list[str], with_both_sides: bool = False) -> str:
        """SELECT the projections from what this SELECT reads, row by row.

        with_both_sides: what a SEMI or ANTI JOIN only looks at can be selected too; for types, since the rows are others.
        """
        joins = [join.copy() for join in self.select.args.get("joins") or []]
        for join in joins:
            if with_both_sides and join.kind in ("SEMI", "ANTI"):
                join.set("side", None)
                join.set("kind", None)
        reads = [self.select.args.get("from_"), *joins, *(self.select.args.get("laterals") or [])]
        return " ".join([f"{self._with()}SELECT {', '.join(projections)}", *(_text(part) for part in reads if part)])

    def _with(self) -> str:
        """WITH and the named queries that this SELECT sees."""
        inside = {id(self.select), *map(id, _parents(self.select))}
        named: list[exp.CTE] = []
        scope = self.select
        while scope is not None:  # the named queries that this one sees
            if with_ := scope.args.get("with_"):
                named = [*takewhile(lambda cte: id(cte) not in inside, with_.expressions), *named]
            scope = scope.parent
        for cte in named:
            if id(cte) not in self._named:
                self._named[id(cte)] = _text(cte)
        return f"WITH {', '.join(self._named[id(cte)] for cte in named)} " if named else ""

    def _expand_stars(self) -> None:
        """`* EXCEPT (…)`, which Sail does not parse, as the columns that it means."""
        for star in list(self.select.expressions):
            inner = star.this if isinstance(star, exp.Column) else star
            without = isinstance(inner, exp.Star) and (inner.args.get("except_") or inner.args.get("except"))
            if not without:
                if isinstance(inner, exp.Star) and any(inner.args.values()):
                    raise refuse(star.sql("databricks")[:60])
                continue
            table = star.args.get("table") if isinstance(star, exp.Column) else None
            whole = exp.Column(this=exp.Star(), table=table.copy()) if table else exp.Star()
            names = [name for name, _ in self._analyze(self._query([_text(whole)]))]
            dropped = {name.name.lower() for name in without}
            if len({name.lower() for name in names}) < len(names):
                raise refuse(f"{star.sql('databricks')[:60]!r} where two columns have one name")
            kept = [exp.column(exp.to_identifier(n, quoted=True), table=table and table.copy())
                    for n in names if n.lower() not in dropped]  # fmt: skip
            position = self.select.expressions.index(star)
            self.select.set(
                "expressions", [*self.select.expressions[:position], *kept, *self.select.expressions[position + 1 :]]
            )

    def type(self, node: exp.Expression) -> str:
        """The SQL type that Spark gives to an expression. Raises SqlError where it cannot be told."""
        if isinstance(node, exp.Neg) and isinstance(node.this, exp.Literal):
            return _literal("-" + node.this.this)
        match node:
            case (
                exp.Paren()
                | exp.Neg()
                | exp.Abs()
                | exp.Max()
                | exp.Min()
                | exp.Filter()
                | exp.Window()
                | exp.AnyValue()
                | exp.Distinct()
            ):
                return self.type(node.this or node.expressions[0])
            case exp.Lead() | exp.Lag() | exp.FirstValue() | exp.LastValue():
                return self.type(node.this)
            case exp.Cast() | exp.TryCast():
                return node.to.sql("databricks").lower().replace(" ", "").replace("long", "bigint").replace("integer", "int")
            case exp.Literal() if not node.is_string:
                return _literal(node.this)
            case exp.Literal():
                return "string"
            case exp.Interval():
                return "interval"
            case exp.Connector() | exp.Predicate() | exp.Not() | exp.Boolean():
                return "boolean"
            case exp.Null():
                return "void"
            case exp.Sum():
                kind = self.type(node.this)
                if d := _decimal(kind):
                    return f"decimal({min(d[0] + 10, 38)},{d[1]})"
                return "bigint" if kind in _INTS else "double"
            case exp.Avg():
                d = _decimal(self.type(node.this))
                return "decimal({},{})".format(*_bounded(d[0] + 4, d[1] + 4)) if d else "double"
            case exp.Bracket() if isinstance(node.this, exp.RegexpSplit):
                return "string"
            case exp.Bracket():
                kind = self.type(node.this)
                if not kind.startswith("array<"):
                    raise refuse(f"{node.sql('databricks')[:60]!r} of {kind}")
                return kind[len("array<") : -1]
            case exp.Round():
                kind = self.type(node.this)
                d, digits = _decimal(kind), int((node.args.get("decimals") or exp.Literal.number(0)).name)
                return f"decimal({min(d[0] - d[1] + 1 + digits, 38)},{digits})" if d else kind
            case exp.Floor() | exp.Ceil() if not node.args.get("decimals"):
                kind = self.type(node.this)
                if _family(kind) not in ("number", "void"):
                    raise refuse(f"{node.sql('databricks')[:60]!r} of {kind}")
                d = _decimal(kind)
                return "bigint" if d is None else f"decimal({d[0] - d[1] + 1 if d[1] else d[0]},0)"
            case exp.Coalesce():
                return self._common([node.this, *node.expressions])
            case exp.Nullif():
                return self.type(node.this)
            case exp.Nvl2():
                return self._common([node.args["true"], node.args["false"]])
            case exp.Least() | exp.Greatest():
                return self._common([node.this, *node.expressions] if node.this else node.expressions)
            case exp.If():
                return self._common([node.args["true"], *([node.args["false"]] if node.args.get("false") else [])])
            case exp.Case():
                default = [node.args["default"]] if node.args.get("default") else []
                return self._common([*(branch.args["true"] for branch in node.args["ifs"]), *default])
            case exp.Add() | exp.Sub() | exp.Mul() | exp.Div() | exp.Mod() | exp.IntDiv():
                return self._arithmetic(node)[2]
        kind = (
            _RETURNS.get(type(node))
            or _ANONYMOUS.get(node.name.lower() if isinstance(node, exp.Anonymous) else "")
            or self._known.get(node.sql("spark"))
        )
        if kind is None:
            raise refuse(f"{node.sql('databricks')[:60]!r}, whose type could not be told,")
        return kind

    def _common(self, nodes: list[exp.Expression]) -> str:
        kinds = {self.type(node) for node in nodes} - {"void"} or {"void"}
        if len(kinds) == 1:
            return kinds.pop()
        if kinds <= set(_INTS):
            return max(kinds, key=_INTS.get)
        if all(kind in _INTS or _decimal(kind) for kind in kinds):
            pairs = [_as_decimal(kind) for kind in kinds]
            scale = max(s for _, s in pairs)
            return "decimal({},{})".format(*_bounded(max(p - s for p, s in pairs) + scale, scale))
        if kinds <= {*_INTS, "float", "double"}:
            return "double"
        raise refuse(f"Values of types {', '.join(sorted(kinds))} in one column")

    def _arithmetic(self, node: exp.Binary) -> tuple[str, str, str]:
        """The types of both operands and of the result."""
        left, right = self.type(node.left), self.type(node.right)
        kinds = {left, right}
        if any(kind in ("date", "timestamp", "timestamp_ntz") or kind.startswith("interval") for kind in kinds):
            times = [kind for kind in (left, right) if kind in ("date", "timestamp", "timestamp_ntz")]
            if len(times) != 1 or not isinstance(node, (exp.Add, exp.Sub)):
                raise refuse(f"{node.sql('databricks')[:60]!r} on {left} and {right}")
            other = node.right if left in times else node.left
            unit = str(other.args.get("unit")).upper().rstrip("S") if isinstance(other, exp.Interval) else "DAY"
            if times[0] == "date" and unit not in ("DAY", "WEEK", "MONTH", "YEAR", "QUARTER"):
                raise refuse(f"{node.sql('databricks')[:60]!r}, hours added to a date,")
            return left, right, times[0]
        if not all(kind in _INTS or kind in ("float", "double", "void") or _decimal(kind) for kind in kinds):
            raise refuse(f"{node.sql('databricks')[:60]!r} on {left} and {right}")
        if "double" in kinds or "float" in kinds:
            return left, right, "double" if "double" in kinds or kinds != {"float"} else "float"
        if isinstance(node, exp.IntDiv):
            return left, right, "bigint"
        if kinds <= set(_INTS):
            return left, right, "double" if isinstance(node, exp.Div) else max(kinds, key=_INTS.get)
        (p1, s1), (p2, s2) = _operand(node.left, left), _operand(node.right, right)
        match node:
            case exp.Mul():
                p, s = p1 + p2 + 1, s1 + s2
            case exp.Div():
                s = max(6, s1 + p2 + 1)
                p = p1 - s1 + s2 + s
            case exp.Mod():
                s = max(s1, s2)
                p = min(p1 - s1, p2 - s2) + s
            case _:
                s = max(s1, s2)
                p = max(p1 - s1, p2 - s2) + s + 1
        self._wide = s if p > 38 else None  # the scale that 38 digits may not hold
        return left, right, "decimal({},{})".format(*_bounded(p, s))

    # ---- what is rewritten

    def add(self, node: exp.Binary) -> exp.Expression:
        self._wide = None
        left, right, result = self._arithmetic(node)
        if result in _INTS:  # Sail wraps silently
            wide = "BIGINT" if result != "bigint" else "DECIMAL(19,0)"
            operands = [_cast(operand.copy(), wide) for operand in (node.left, node.right)]
            return _cast(type(node)(this=operands[0], expression=operands[1]), result)
        if _decimal(result):
            if self._wide is not None and not (isinstance(node, exp.Mul) and _decimal(result)[1] < self._wide):
                raise refuse(f"{node.sql('databricks')[:60]!r}, which may need more than 38 digits,")
            operands = [_cast(o.copy(), "DECIMAL({},{})".format(*_operand(o, k))) if k in _INTS else o.copy()
                        for o, k in ((node.left, left), (node.right, right))]  # fmt: skip
            return _cast(type(node)(this=operands[0], expression=operands[1]), result)
        return node

    def div(self, node: exp.Div) -> exp.Expression:
        left, right, result = self._arithmetic(node)
        d = _decimal(result)
        if d:
            # Sail's quotient has four digits more than the dividend, and the rest is cut off: ask for one digit too many, round
            dividend = _cast(node.left.copy(), f"DECIMAL(38,{max(d[1] - 3, 0)})")
            divisor = _cast(self._divisor(node), "DECIMAL({},{})".format(*_operand(node.right, right)))
            return _cast(exp.Div(this=dividend, expression=divisor, typed=False, safe=False), result)
        operands = [_cast(operand, "DOUBLE") for operand in (node.left.copy(), self._divisor(node))]
        return exp.Div(this=operands[0], expression=operands[1], typed=False, safe=False)

    def mod(self, node: exp.Binary) -> exp.Expression:
        left, right, result = self._arithmetic(node)
        whole = type(node)(this=node.left.copy(), expression=self._divisor(node))
        return _cast(whole, result) if _decimal(result) else whole

    def _divisor(self, node: exp.Binary) -> exp.Expression:
        """Null divided by zero is null in Spark, and an error in Sail."""
        if isinstance(node.left, exp.Literal) or (isinstance(node.right, exp.Literal) and node.right.this.strip("0.")):
            return node.right.copy()
        left, right = node.left.sql("spark"), node.right.sql("spark")
        return parse_one(f"CASE WHEN {left} IS NULL THEN NULL ELSE {right} END", dialect="databricks")

    def sum(self, node: exp.Sum) -> exp.Expression:
        if isinstance(node.this, exp.Distinct):
            raise refuse("sum(distinct …)")
        kind = self.type(node.this)
        if d := _decimal(kind):
            if d[0] > 28:  # 38 digits may not hold the sum, and Sail goes on with more
                return self._outside(node, lambda whole: _within(whole, d[1]))
            return node
        if kind not in _INTS:
            if kind not in ("float", "double", "void"):
                raise refuse(f"sum() of {kind}")
            return node
        if kind == "bigint":
            node.set("this", _cast(node.this.copy(), "DECIMAL(19,0)"))
            return self._outside(node, lambda whole: _cast(whole, "BIGINT"))
        return node

    def avg(self, node: exp.Avg) -> exp.Expression:
        d = _decimal(self.type(node.this))
        if d is None:
            return node
        if isinstance(node.parent, (exp.Window, exp.Filter)):
            raise refuse("avg() of a decimal over a window or with a filter")
        p, s = _bounded(d[0] + 4, d[1] + 4)
        text = node.this.sql("spark")
        total, count = f"CAST(SUM({text}) AS DECIMAL(38,{s - 3}))", f"CAST(NULLIF(COUNT({text}), 0) AS DECIMAL(19,0))"
        return parse_one(f"CAST({total} / {count} AS DECIMAL({p},{s}))", dialect="databricks")

    def percentile(self, node: exp.Quantile) -> exp.Expression:
        """percentile() as Spark computes it; Sail's weights of the two values in the middle have few digits."""
        quantile = node.args["quantile"]
        if isinstance(node.parent, (exp.Window, exp.Filter)) or isinstance(node.this, exp.Distinct):
            raise refuse("percentile() over a window or with a filter")
        if not (isinstance(quantile, exp.Literal) and quantile.is_number and 0 <= float(quantile.this) <= 1):
            raise refuse(repr(node.sql("databricks")[:80]))
        if (kind := self.type(node.this)) not in (*_INTS, "float", "double"):
            raise refuse(f"percentile() of {kind}")
        values = f"COLLECT_LIST(CAST({node.this.sql('spark')} AS DOUBLE))"
        at = f"((SIZE({values}) - 1) * CAST('{quantile.this}' AS DOUBLE))"
        low, high = (f"ELEMENT_AT(SORT_ARRAY({values}), CAST({side}({at}) AS INT) + 1)" for side in ("FLOOR", "CEIL"))
        between = f"(CEIL({at}) - {at}) * {low} + ({at} - FLOOR({at})) * {high}"
        return parse_one(
            f"CASE WHEN SIZE({values}) = 0 THEN NULL WHEN {low} = {high} THEN {low} ELSE {between} END", dialect="databricks"
        )

    @staticmethod
    def _outside(node: exp.Expression, change: Callable[[exp.Expression], exp.Expression]) -> exp.Expression:
        """Change not an aggregate itself but it with its FILTER and OVER."""
        whole = node
        while isinstance(whole.parent, (exp.Window, exp.Filter)) and whole.parent.this is whole:
            whole = whole.parent
        if whole is node:
            return change(node.copy())
        whole.replace(change(whole.copy()))
        return node

    def negate(self, node: exp.Expression) -> exp.Expression:
        if isinstance(node.this, exp.Literal) and isinstance(node, exp.Neg):
            return node
        kind = self.type(node.this)
        if kind in _INTS:
            wide = "BIGINT" if kind != "bigint" else "DECIMAL(19,0)"
            return _cast(type(node)(this=_cast(node.this.copy(), wide)), kind)
        return node

    def compare(self, node: exp.Expression) -> exp.Expression:
        """A string beside another type: Spark casts the string; which way Sail goes is not known."""
        if isinstance(node, exp.In) and node.args.get("query") and self._is_selected(node):
            return self._is_among(node)
        others = node.expressions if isinstance(node, exp.In) else [node.args.get(k) for k in ("expression", "low", "high")]
        kinds = [self._maybe(n) for n in (node.this, *others) if n is not None and not isinstance(n, (exp.Null, exp.Query))]
        families = {_family(kind) for kind in kinds if kind}
        if len(families - {"void"}) > 1 and "text" in families:
            raise refuse(f"{node.sql('databricks')[:80]!r}, which compares a string with another type,")
        return node

    def _is_selected(self, node: exp.Expression) -> bool:
        """Whether an expression is part of what this SELECT gives, and not of a condition on its rows."""
        while node.parent is not self.select:
            node = node.parent
        return node.arg_key == "expressions"

    def _is_among(self, node: exp.In) -> exp.Expression:
        """x IN (query) as a value, which Sail knows as a condition only.

        Where SQL says null, Spark says true or false by what its optimizer made of what is around it: an error here.
        """
        query, value = node.args["query"].unnest(), node.this.sql("spark")
        try:
            [(_, found)] = self._analyze(f"{self._with()}SELECT * FROM ({_text(query)}) AS _in")
        except Exception:  # it looks at the row outside, say
            raise refuse(f"{node.sql('databricks')[:80]!r} in a SELECT list") from None
        if found not in (*_INTS, "string", "date", "timestamp", "boolean") or self.type(node.this) != found:
            raise refuse(f"{node.sql('databricks')[:80]!r} of {self.type(node.this)} and {found} in a SELECT list")
        values = f"FROM (SELECT DISTINCT * FROM ({_text(query)})) AS _in(c)"
        return parse_one(
            f"CASE WHEN (SELECT COUNT(*) {values}) = 0 THEN FALSE"
            f" WHEN ARRAY_CONTAINS((SELECT COLLECT_LIST(c) {values}), {value}) THEN TRUE"
            f" WHEN {value} IS NULL OR (SELECT COUNT(*) - COUNT(c) {values}) > 0"
            f" THEN raise_error('{_MAYBE_IN}') ELSE FALSE END",
            dialect="databricks",
        )

    def _maybe(self, node: exp.Expression) -> str | None:
        try:
            return self.type(node)
        except SqlError:
            return None

    def mixed(self, node: exp.Expression) -> exp.Expression:
        """Values of several types in one: which type they get together is not known to be the same."""
        match node:
            case exp.Case():
                parts = [branch.args["true"] for branch in node.args["ifs"]] + [node.args.get("default")]
            case exp.If():
                if isinstance(node.parent, exp.Case):
                    return node
                parts = [node.args["true"], node.args.get("false")]
            case _:
                parts = [node.this, *node.expressions]
        parts = [part for part in parts if isinstance(part, exp.Expression)]
        kinds = {kind for part in parts if (kind := self._maybe(part))} - {"void"}
        if isinstance(node, (exp.Case, exp.If)):
            conditions = [b.this for b in node.args["ifs"]] if isinstance(node, exp.Case) and not node.this else []
            for condition in [node.this] if isinstance(node, exp.If) else conditions:
                if self._maybe(condition) not in (None, "boolean", "void"):
                    raise SqlError("DATATYPE_MISMATCH", f"{condition.sql('databricks')[:60]!r} is no condition.")
        if len(kinds) > 1:
            if len({_family(kind) for kind in kinds}) > 1:
                raise refuse(f"{node.sql('databricks')[:60]!r}, which mixes {', '.join(sorted(kinds))},")
            common = self._common(parts)
            for part in parts:
                if self._maybe(part) not in (None, common, "void"):
                    part.replace(_cast(part.copy(), common))
        return node

    def refused(self, node: exp.Expression) -> exp.Expression:
        """What is only right in some forms."""
        match node:
            case exp.Round():
                digits = (node.args.get("decimals") or exp.Literal.number(0)).sql()
                number = int(digits) if re.fullmatch(r"-?\d+", digits) else None
                kind = self.type(node.this)
                d = _decimal(kind)
                wrong = number is None or bool(d and not 0 <= number <= d[1]) or (kind in ("float", "double") and number != 0)
                if d and not wrong:  # Sail's has other digits before the point
                    return _cast(node.copy(), self.type(node))
            case exp.Typeof():
                wrong = self.type(node.this).startswith("interval")
            case exp.Window():
                spec = node.args.get("spec")
                ranked = isinstance(node.this, (exp.Rank, exp.DenseRank, exp.RowNumber, exp.Lead, exp.Lag))
                sides = [spec.args.get(side) for side in ("start", "end")] if spec else []
                by_range = bool(spec) and str(spec.args.get("kind")).upper() == "RANGE"
                wrong = (ranked and not node.args.get("order")) or (
                    by_range and any(isinstance(side, exp.Expression) for side in sides)
                )
            case exp.Bracket():
                wrong = not self.type(node)
            case exp.Concat():
                wrong = any(self._maybe(part) in ("float", "double") for part in node.expressions)
            case _:
                wrong = False
        if wrong:
            raise refuse(repr(node.sql("databricks")[:80]))
        return node

    def extract(self, node: exp.JSONExtractScalar) -> exp.Expression:
        """An object, list or fraction comes out of Sail as it was written, out of Spark without blanks and as a double."""
        text, document = node.sql("spark"), node.this.sql("spark")
        fraction = f"({text} RLIKE '^-?[0-9]+[.eE]' AND NOT {document} LIKE CONCAT('%\"', {text}, '\"%'))"
        nested = f"LEFT({text}, 1) IN ('{{', '[') OR {fraction}"
        return parse_one(f"CASE WHEN {nested} THEN raise_error('{_NESTED}') ELSE {text} END", dialect="databricks")

    def seconds(self, node: exp.Anonymous) -> exp.Expression:
        """Sail's timestamp_seconds cuts the fraction off."""
        if node.name.lower() != "timestamp_seconds":
            return node
        kind, text = self.type(node.expressions[0]), node.expressions[0].sql("spark")
        if kind in _INTS:
            return node
        d = _decimal(kind)
        if d is None or d[1] > 6 or d[0] > 31:
            raise refuse(f"timestamp_seconds() of {kind}")
        return parse_one(f"timestamp_micros(CAST({text} * CAST(1000000 AS DECIMAL(7,0)) AS BIGINT))", dialect="databricks")

    def truncate(self, node: exp.Expression) -> exp.Expression:
        """date_trunc of a date is a timestamp in Spark."""
        if self._maybe(node.this) == "date":
            node.set("this", _cast(node.this.copy(), "TIMESTAMP"))
        return node

    def cast(self, node: exp.Cast) -> exp.Expression:
        """Sail reads some texts otherwise that are cast to a date, a time or a decimal: a value in doubt is an error."""
        source, target = self._maybe(node.this) or "", node.to.this
        if source in ("float", "double") and target in exp.DataType.TEXT_TYPES:
            raise refuse(f"A {source} as text")
        if _family(source) == "number" and target == exp.DataType.Type.DATE:
            raise SqlError("DATATYPE_MISMATCH", f"{source} cannot be cast to DATE.")
        text, kind = node.this.sql("spark"), node.to.sql("spark")
        plain = f"CAST({text} AS STRING)"
        if source in ("float", "double") and target == exp.DataType.Type.DECIMAL:  # by its digits in Spark
            plain, cast = f"CAST({text} AS DOUBLE)", "TRY_CAST" if isinstance(node, exp.TryCast) else "CAST"
            digits = f"CAST({plain} AS STRING)"
            zeros = f"REPEAT('0', TRY_CAST(REGEXP_EXTRACT({digits}, 'e-([0-9]+)$', 1) AS INT) - 1)"
            small = f"CONCAT(IF({plain} < 0, '-', ''), '0.', {zeros}, REGEXP_REPLACE({digits}, 'e.*|[-.]', ''))"
            known = f"WHEN ABS({plain}) < CAST('1e15' AS DOUBLE) OR {text} IS NULL THEN {digits}"
            return parse_one(
                f"{cast}(CASE WHEN {digits} LIKE '%e-%' THEN {small} {known} ELSE raise_error('{_LARGE}') END AS {kind})",
                dialect="databricks",
            )
        if source not in ("string", ""):
            return node
        if target in _DATE_TEXTS:
            good, suspicious = _DATE_TEXTS[target]
            doubt, error = f"{plain} RLIKE '{suspicious}' AND NOT {plain} RLIKE '{good}'", _DATE
        elif target == exp.DataType.Type.DECIMAL:
            doubt, error = f"{plain} RLIKE '^ *[+-]?[0-9.]+[eE][+-]?[0-9]+ *$'", _EXPONENT
        else:
            return node
        if target == exp.DataType.Type.DATE:  # Spark reads no further than the day
            text = f"CASE WHEN {plain} RLIKE '{good}' THEN LEFT(LTRIM({plain}), 10) ELSE {text} END"
        cast = "TRY_CAST" if isinstance(node, exp.TryCast) else "CAST"
        guarded = f"CASE WHEN {doubt} THEN raise_error('{error}') ELSE {text} END"
        return parse_one(f"{cast}({guarded} AS {kind})", dialect="databricks")

    def json(self, node: exp.Expression) -> exp.Expression:
        """to_json of a struct that is made in place, field by field: Sail writes decimals and timestamps in its own way."""
        if not isinstance(node.this, exp.Struct):
            raise refuse("to_json() of what is no struct(…)")
        pieces, fields = [], node.this.expressions
        if [type(field) for field in fields] == [exp.Star]:
            found = self._analyze(self._query(["*"]))
            fields = [exp.column(exp.to_identifier(name, quoted=True)) for name, _ in found]
            self._known |= {field.sql("spark"): kind for field, (_, kind) in zip(fields, found, strict=True)}
        for field in fields:
            name, value = (
                (field.this.name, field.expression)
                if isinstance(field, exp.PropertyEQ)
                else (field.alias_or_name, field.unalias())
            )
            kind, text = self.type(value), value.sql("spark")
            if d := _decimal(kind):
                if d[1] > 6:  # Java prints small ones with an exponent
                    raise refuse(f"to_json() of {kind}")
                rendered = f"CAST({text} AS STRING)"
            elif kind == "timestamp":
                rendered = f"CONCAT('\"', DATE_FORMAT({text}, 'yyyy-MM-dd'), 'T', DATE_FORMAT({text}, 'HH:mm:ss.SSS'), 'Z\"')"
            elif kind in ("tinyint", "smallint", "int", "bigint", "string", "boolean", "date"):
                plain = f"TO_JSON(NAMED_STRUCT('v', {text}))"
                rendered = f"SUBSTRING({plain}, 6, LENGTH({plain}) - 6)"
            else:
                raise refuse(f"to_json() of {kind[:60]}")
            pieces.append(f"CASE WHEN {text} IS NULL THEN NULL ELSE CONCAT('\"{name}\":', {rendered}) END")
        return parse_one(f"CONCAT('{{', CONCAT_WS(',', {', '.join(pieces)}), '}}')", dialect="databricks")

    def order(self, node: exp.Ordered) -> exp.Expression:
        """Sail cannot order by a struct: its fields, one after the other, are the same order."""
        kind = self._maybe(node.this)
        if not (isinstance(node.this, exp.Struct) or (kind or "").startswith("struct<")):
            return node
        if isinstance(node.this, exp.Struct):
            fields = [f.expression if isinstance(f, exp.PropertyEQ) else f.unalias() for f in node.this.expressions]
        else:
            names = re.findall(r"[<,](\w+):", re.sub(r"\([^)]*\)", "", kind))
            if kind.count("<") > 1:
                raise refuse(f"Ordering by {kind[:60]}")
            fields = [exp.Dot(this=node.this.copy(), expression=exp.to_identifier(name, quoted=True)) for name in names]
        order = node.parent
        ordered = [exp.Ordered(this=field.copy(), **{k: v for k, v in node.args.items() if k != "this"}) for field in fields]
        at = order.expressions.index(node)
        order.set("expressions", [*order.expressions[:at], *ordered, *order.expressions[at + 1 :]])
        return node

    def whole(self, node: exp.Expression) -> exp.Expression:
        """floor and ceil in Spark's type: of a decimal without scale, Sail's has a digit more."""
        return node if node.args.get("decimals") else _cast(node.copy(), self.type(node))

    def integer(self, node: exp.Expression) -> exp.Expression:
        """A function that gives an INT in Spark and a BIGINT in Sail."""
        return _cast(node.copy(), "INT") if not isinstance(node.parent, exp.Cast) else node


def _parents(node: exp.Expression) -> Iterator[exp.Expression]:
    while node.parent is not None:
        node = node.parent
        yield node


def _within(node: exp.Expression, scale: int) -> exp.Expression:
    """A decimal sum, or an error where it comes near to what 38 digits cannot hold: Sail goes on with 39."""
    text = node.sql("spark")
    near = f"ABS(CAST({text} AS DOUBLE)) >= CAST('1e{38 - scale}' AS DOUBLE)"
    return parse_one(f"CASE WHEN {near} THEN raise_error('{_TOO_LARGE}') ELSE {text} END", dialect="databricks")


def _cast(node: exp.Expression, kind: str) -> exp.Expression:
    return exp.Cast(this=node, to=exp.DataType.build(kind, dialect="databricks"))


def _leaves(node: exp.Expression) -> Iterator[exp.Expression]:
    """The parts of an expression whose types must be asked: columns, and what no rule of `type` knows."""
    for child in node.iter_expressions():
        if isinstance(child, (exp.Query, exp.DataType, exp.Literal, exp.Null, exp.Star, exp.Identifier)):
            continue
        if isinstance(child, exp.Column):
            yield child
            continue
        if (
            isinstance(child, (exp.Func, exp.Bracket, exp.Dot))
            and not isinstance(child, _RULED)
            and type(child) not in _RETURNS
        ):
            if not child.find(*_AGGREGATES):
                yield child
        yield from _leaves(child)


def _literal(text: str) -> str:
    if "e" in text.lower():
        return "double"
    if "." in text:
        whole, part = text.lstrip("-").split(".")
        return f"decimal({max(len(whole.lstrip('0')) + len(part), 1)},{len(part)})"
    if -(2**31) <= int(text) < 2**31:
        return "int"
    return "bigint" if -(2**63) <= int(text) < 2**63 else f"decimal({len(text.lstrip('-'))},0)"


def _decimal(kind: str) -> tuple[int, int] | None:
    found = re.fullmatch(r"decimal\((\d+),(\d+)\)", kind)
    return (int(found[1]), int(found[2])) if found else (10, 0) if kind == "decimal" else None


def _as_decimal(kind: str) -> tuple[int, int]:
    return _decimal(kind) or (_INTS[kind], 0)


def _operand(node: exp.Expression, kind: str) -> tuple[int, int]:
    """The decimal as which Spark takes an operand: an integer literal is as long as it is, another integer as its type."""
    if isinstance(node, exp.Literal) and kind in _INTS:
        return len(node.this), 0
    if kind == "void":
        return 1, 0
    return _as_decimal(kind)


def _bounded(precision: int, scale: int) -> tuple[int, int]:
    """Spark's DecimalType.adjustPrecisionScale: what does not fit into 38 digits loses scale, down to 6."""
    if precision <= 38:
        return precision, scale
    return 38, max(38 - (precision - scale), min(scale, 6))


def _family(kind: str) -> str:
    if kind in _INTS or _decimal(kind) or kind in ("float", "double"):
        return "number"
    return "text" if kind in ("string", "varchar", "char") else kind


_BY_TYPE = {
    exp.Add: _Scope.add, exp.Sub: _Scope.add, exp.Mul: _Scope.add, exp.Div: _Scope.div, exp.Mod: _Scope.mod,
    exp.Quantile: _Scope.percentile, exp.Sum: _Scope.sum, exp.Avg: _Scope.avg, exp.Neg: _Scope.negate, exp.Abs: _Scope.negate,
    exp.EQ: _Scope.compare, exp.NEQ: _Scope.compare, exp.GT: _Scope.compare, exp.GTE: _Scope.compare, exp.LT: _Scope.compare,
    exp.LTE: _Scope.compare, exp.NullSafeEQ: _Scope.compare, exp.In: _Scope.compare, exp.Between: _Scope.compare,
    exp.DateDiff: _Scope.integer, exp.Floor: _Scope.whole, exp.Ceil: _Scope.whole,
    exp.Case: _Scope.mixed, exp.If: _Scope.mixed, exp.Coalesce: _Scope.mixed,
    exp.Least: _Scope.mixed, exp.Greatest: _Scope.mixed, exp.Array: _Scope.mixed, exp.TimestampTrunc: _Scope.truncate,
    exp.Ordered: _Scope.order,
    exp.Cast: _Scope.cast, exp.TryCast: _Scope.cast, exp.JSONFormat: _Scope.json,
    exp.JSONExtractScalar: _Scope.extract, exp.Anonymous: _Scope.seconds, exp.Round: _Scope.refused,
    exp.Typeof: _Scope.refused, exp.Window: _Scope.refused, exp.Concat: _Scope.refused,
    exp.Bracket: _Scope.refused,
}  # fmt: skip
