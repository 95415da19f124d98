"""The few places where the text of a statement must differ between Databricks and open-source Spark.

Databricks calls the catalog that is not Unity Catalog's `hive_metastore`, open-source Spark calls it `spark_catalog`.
Both texts are read token by token, so that strings and comments stay as they are.
"""

import re
from collections.abc import Iterator

from local_databricks.settings import CATALOG, SPARK_CATALOG

# Spark's lexer, as far as it matters here: https://spark.apache.org/docs/latest/sql-ref-literals.html and -identifier.html
_TOKEN = re.compile(
    r"""(?P<other>
          [rR]'[^']*' | [rR]"[^"]*"                      # raw strings: a backslash is a backslash
        | '(?:[^'\\]|\\.)*' | "(?:[^"\\]|\\.)*"
        | --[^\n]* | /\*.*?\*/ | \s+ )
      | (?P<name> `(?:[^`]|``)*` | \w+ )
      | (?P<mark> . )""",
    re.S | re.X,
)
#: What stands before a catalog's name where no dot follows it.
_BEFORE_A_CATALOG = {"catalog", "in", "from", "use", "namespace", "schemas", "databases"}


def _rename(text: str, old: str, new: str) -> Iterator[str]:
    tokens = list(_TOKEN.finditer(text))
    solid = [i for i, token in enumerate(tokens) if token.lastgroup != "other"]
    rename = set()
    for n, i in enumerate(solid):
        if tokens[i].lastgroup == "name" and tokens[i][0].strip("`").lower() == old:
            before = tokens[solid[n - 1]][0].lower() if n else ""
            after = tokens[solid[n + 1]][0] if n + 1 < len(solid) else ""
            if before != "." and (after == "." or before in _BEFORE_A_CATALOG):
                rename.add(i)
    for i, token in enumerate(tokens):
        yield f"`{new}`" if i in rename else token[0]


def to_spark(statement: str) -> str:
    """A Databricks statement as Spark wants it: the catalog's name, and USE CATALOG as SET CATALOG."""
    if CATALOG not in statement.lower():
        return statement
    sql = "".join(_rename(statement, CATALOG, SPARK_CATALOG))
    return re.sub(r"\A(\s*(?:/\*.*?\*/\s*)?)use\s+catalog\b", r"\1SET CATALOG", sql, flags=re.S | re.I)


def python_to_spark(code: str) -> str:
    """The same for the code of a Python model, in which table names stand in strings."""
    return re.sub(rf"`{CATALOG}`(?=\.)|\b{CATALOG}(?=\.)", SPARK_CATALOG, code)


def from_spark(message: str) -> str:
    """An error's text with the catalog under the name that the client used."""
    return message.replace(SPARK_CATALOG, CATALOG)


def not_null_as_check(statement: str) -> str | None:
    """ALTER TABLE … SET NOT NULL as an equal CHECK constraint, None for any other statement.

    Open-source Delta refuses to make an existing nullable column NOT NULL ("Cannot change nullable column to
    non-nullable"); Databricks does it, and dbt-databricks asks for it after every CREATE TABLE AS of a contract.
    """
    match = re.search(r"\balter\s+table\s+(\S+)\s+(?:change|alter)\s+column\s+(\S+)\s+set\s+not\s+null\b", statement, re.I)
    if not match:
        return None
    table, column = match.groups()
    return f"ALTER TABLE {table} ADD CONSTRAINT `{column.strip('`')}_not_null` CHECK ({column} IS NOT NULL)"
