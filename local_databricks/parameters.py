"""Parameters of a statement, `?` in their order or `:name`, put into it as literals of their types.

Both engines then see a plain statement. The protocol sends each value as text beside the name of its type (TSparkParameter of
databricks/sql/thrift_api); what a client may send is in databricks.sql.parameters.native and in the drivers for Java and Node.
"""

import datetime
import math
import re
from collections.abc import Sequence

from databricks.sql.thrift_api.TCLIService import ttypes as T
from sqlglot.tokens import TokenType

from local_databricks.results import SqlError
from local_databricks.session import quote
from local_databricks.words import Words

_INTEGERS = {"TINYINT": "Y", "BYTE": "Y", "SMALLINT": "S", "SHORT": "S", "INT": "", "INTEGER": "", "BIGINT": "L", "LONG": "L"}
#: A colon right after one of these is a path into a value (`raw:name`), not a parameter.
_ENDS_A_VALUE = (TokenType.R_PAREN, TokenType.R_BRACKET, TokenType.IDENTIFIER, TokenType.VAR)


def bind(statement: str, parameters: Sequence[T.TSparkParameter]) -> str:
    """The statement with a literal in the place of each parameter marker.

    parameters: as the client sent them, all with a name or all without one. Raises SqlError where a marker has no parameter,
    and for a value that is none of its type.
    """
    words, changes = Words(statement), {}
    named = {p.name.lower(): p for p in parameters if p.name}
    in_order = iter([p for p in parameters if not p.name])
    tokens = words.tokens
    for at, token in enumerate(tokens):
        if token.token_type == TokenType.PLACEHOLDER and not named:
            parameter = next(in_order, None)
            changes[at, at + 1] = _literal(_bound(parameter, f"the marker ? at position {token.start}"))
        elif named and token.token_type == TokenType.COLON and at + 1 < len(tokens) and tokens[at + 1].start == token.end + 1:
            before = tokens[at - 1] if at else None
            if before and before.end + 1 == token.start and before.token_type in _ENDS_A_VALUE:
                continue
            name = tokens[at + 1].text
            changes[at, at + 2] = _literal(_bound(named.get(name.lower()), f"the marker :{name}"))
    return words.replaced(changes)


def _bound(parameter: T.TSparkParameter | None, what: str) -> T.TSparkParameter:
    if parameter is None:
        raise SqlError("UNBOUND_SQL_PARAMETER", f"No value was given for {what}.")
    return parameter


def _literal(parameter: T.TSparkParameter) -> str:
    """The SQL of a value with its type; in parentheses where a sign could run into what stands before it."""
    kind = (parameter.type or "STRING").upper().strip()
    value = parameter.value.stringValue if parameter.value else None
    if not re.fullmatch(r"[A-Z_]+( ?\(\s*\d+\s*(,\s*-?\d+\s*)?\))?", kind) or parameter.arguments:
        raise SqlError("UNSUPPORTED_FEATURE", f"A parameter of the type {kind} is not taken by local_databricks.")
    name = kind.partition("(")[0].strip()
    if value is None or name in ("VOID", "NULL"):
        return "NULL" if name in ("VOID", "NULL") else f"CAST(NULL AS {kind})"
    try:
        if name in _INTEGERS:
            return f"({int(value)}{_INTEGERS[name]})"
        if name in ("DOUBLE", "FLOAT"):
            number = float(value)
            text = f"{number!r}D" if math.isfinite(number) else f"CAST({quote(str(number))} AS DOUBLE)"
            return f"CAST({text} AS FLOAT)" if name == "FLOAT" else f"({text})"
        if name == "BOOLEAN":
            return {"true": "TRUE", "false": "FALSE", "1": "TRUE", "0": "FALSE"}[value.lower()]
        if name == "DATE":
            return f"DATE{quote(datetime.date.fromisoformat(value[:10]).isoformat())}"
        if name in ("TIMESTAMP", "TIMESTAMP_NTZ"):
            return _timestamp(name, value)
    except (ValueError, KeyError):
        raise SqlError("CAST_INVALID_INPUT", f"The parameter's value {value!r} cannot be cast to {kind}.") from None
    if name == "STRING":
        return quote(value)
    return f"CAST({quote(value)} AS {kind})"


def _timestamp(name: str, value: str) -> str:
    """A moment in UTC where its offset is given; else the session's zone is meant, as on Databricks."""
    moment = datetime.datetime.fromisoformat(value.strip().replace(" UTC", "Z"))
    zone = ""
    if moment.tzinfo:
        moment, zone = moment.astimezone(datetime.UTC).replace(tzinfo=None), "Z" if name == "TIMESTAMP" else ""
    return f"{name}{quote(f'{moment:%Y-%m-%d %H:%M:%S.%f}{zone}')}"
