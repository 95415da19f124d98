"""A statement, token by token (sqlglot's tokens of Databricks SQL), for whoever must understand or change a part of it.

What is not understood stays as it was written: only the tokens that must differ are replaced in the text.
"""

from collections.abc import Iterator
from functools import lru_cache

from sqlglot.dialects.databricks import Databricks
from sqlglot.errors import TokenError
from sqlglot.tokens import Token, TokenType

from local_databricks.catalog import Name
from local_databricks.results import SqlError
from local_databricks.settings import CATALOG, SPARK_CATALOG

CATALOGS = {CATALOG, SPARK_CATALOG}


class _Tokenizer(Databricks.Tokenizer):
    COMMANDS = set()  # sqlglot would take SHOW and what follows it for one token
    STRING_ESCAPES = ["\\", "'", '"']  # a doubled quote is one too


@lru_cache(maxsize=32)  # a statement and what stands in it pass several hands
def _tokens(sql: str) -> list[Token]:
    try:
        return [t for t in _Tokenizer(dialect=Databricks).tokenize(sql) if t.token_type != TokenType.SEMICOLON]
    except TokenError:  # the engine says best what is wrong
        return []


class Words:
    """A cursor over a statement's tokens. `peek` and `take` compare key words; a quoted name is never one."""

    def __init__(self, sql: str):
        self.sql, self.at = sql, 0
        self.tokens: list[Token] = _tokens(sql)

    def word(self, ahead: int = 0) -> str:
        """The key word that comes next, in upper case; empty where a string, a quoted name or nothing comes."""
        if self.at + ahead >= len(self.tokens):
            return ""
        token = self.tokens[self.at + ahead]
        return "" if token.token_type in (TokenType.STRING, TokenType.IDENTIFIER) else token.text.upper()

    @property
    def done(self) -> bool:
        return self.at >= len(self.tokens)

    def peek(self, *words: str) -> bool:
        return all(self.word(i) == word for i, word in enumerate(words))

    def take(self, *words: str) -> bool:
        """Go past these words if they come next."""
        found = self.peek(*words)
        self.at += len(words) * found
        return found

    def need(self, *words: str) -> None:
        if not self.take(*words):
            raise self.error(f"{' '.join(words)} is expected")

    def error(self, what: str) -> SqlError:
        near = f"near '{self.tokens[self.at].text}'" if not self.done else "at the end"
        return SqlError("PARSE_SYNTAX_ERROR", f"Syntax error {near}: {what}.")

    def end(self) -> None:
        """Raises SqlError where something follows that was not understood."""
        if not self.done:
            raise self.error("this is not understood here")

    def string(self) -> str:
        """A string literal; several in a row are one, as in Spark."""
        if self.done or self.tokens[self.at].token_type not in (TokenType.STRING, TokenType.RAW_STRING):
            raise self.error("a string is expected")
        text = ""
        while not self.done and self.tokens[self.at].token_type in (TokenType.STRING, TokenType.RAW_STRING):
            text += self.tokens[self.at].text
            self.at += 1
        return text

    def _is_name(self, at: int) -> bool:
        token = self.tokens[at] if at < len(self.tokens) else None
        return token is not None and (
            token.token_type == TokenType.IDENTIFIER
            or (token.token_type not in (TokenType.STRING, TokenType.NUMBER) and token.text.replace("_", "a").isalnum())
        )

    def name(self) -> list[str]:
        """A name's parts, as they were written, without their backticks."""
        if not self._is_name(self.at):
            raise self.error("a name is expected")
        parts = [self.tokens[self.at].text]
        self.at += 1
        while not self.done and self.tokens[self.at].token_type == TokenType.DOT and self._is_name(self.at + 1):
            parts.append(self.tokens[self.at + 1].text)
            self.at += 2
        return parts

    def relation(self, schema: str) -> Name:
        """A table's or view's (schema, name), in lower case. Raises SqlError for a catalog that is not here."""
        return as_relation(self.name(), schema)

    def schema(self) -> str:
        """A schema's name, in lower case, with or without the catalog before it."""
        *catalog, schema = (part.lower() for part in self.name())
        _need_catalog(catalog)
        return schema

    def properties(self) -> dict[str, str]:
        """('key' = 'value', a.b = 1, ...)"""
        self.need("(")
        found: dict[str, str] = {}
        while not self.take(")"):
            literal = self.tokens[self.at].token_type == TokenType.STRING if not self.done else False
            key = self.string() if literal else ".".join(self.name())
            self.take("=")
            if not self.done and self.tokens[self.at].token_type in (TokenType.STRING, TokenType.RAW_STRING):
                found[key] = self.string()
            else:
                found[key] = self.word().lower()
                self.at += 1
            if not self.peek(")"):
                self.need(",")
        return found

    def skip_parentheses(self) -> str:
        """Go past ( ... ) and give what stands in it."""
        self.need("(")
        start, depth = self.tokens[self.at - 1].end + 1, 1
        while depth:
            if self.done:
                raise self.error(") is expected")
            depth += {"(": 1, ")": -1}.get(self.word(), 0)
            self.at += 1
        return self.sql[start : self.tokens[self.at - 1].start]

    def rest(self) -> str:
        """The text from here on, to its last token."""
        return "" if self.done else self.sql[self.tokens[self.at].start : self.tokens[-1].end + 1]

    def names(self) -> Iterator[tuple[int, int, list[str]]]:
        """Every chain of names in the statement: (index of its first token, of the one after it, its parts)."""
        at = 0
        while at < len(self.tokens):
            if not self._is_name(at):
                at += 1
                continue
            start, parts = at, [self.tokens[at].text]
            at += 1
            while at < len(self.tokens) and self.tokens[at].token_type == TokenType.DOT and self._is_name(at + 1):
                parts.append(self.tokens[at + 1].text)
                at += 2
            yield start, at, parts

    def parts(self) -> Iterator[list[str]]:
        """Every chain of names in the statement, as its parts."""
        return (parts for _, _, parts in self.names())

    def replaced(self, changes: dict[tuple[int, int], str]) -> str:
        """The text with the tokens from..to (the latter not included) replaced; where both are equal, something is put in."""
        text, position = [], 0
        for (first, last), new in sorted(changes.items()):
            start = self.tokens[first].start if first < len(self.tokens) else self.tokens[-1].end + 1
            text += [self.sql[position:start], new]
            position = self.tokens[last - 1].end + 1
        return "".join(text) + self.sql[position:]


def as_relation(parts: list[str], schema: str) -> Name:
    """(schema, name) of a written name, where `schema` is the current one."""
    *catalog, schema, name = [schema, *parts] if len(parts) == 1 else parts
    _need_catalog([part.lower() for part in catalog])
    return schema.lower(), name.lower()


def _need_catalog(parts: list[str]) -> None:
    if len(parts) > 1 or (parts and parts[0] not in CATALOGS):
        raise SqlError("CATALOG_NOT_FOUND", f"The catalog `{'.'.join(parts)}` not found; this workspace has `{CATALOG}`.")
