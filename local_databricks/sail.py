"""Sail: a Spark Connect server in Rust (https://docs.lakesail.com), which starts and answers in a fraction of Spark's time."""

import sys
from collections.abc import Callable

from local_databricks.engine import Engine
from local_databricks.sail_sql import refuse, to_sail
from local_databricks.sail_statements import SAIL_HANDLERS
from local_databricks.words import Words

_QUERIES = {"SELECT", "WITH", "VALUES", "(", "FROM", "TABLE"}


class Sail(Engine):
    """Sail's server. Its catalog lives as long as a session, which is told what each statement names.

    It asks for no token: while it runs, every user of this machine can reach the lakehouse through its port.
    """

    title, catalog, is_shared, handlers = "Sail", "sail", False, SAIL_HANDLERS

    def command(self, port: int, say: Callable[[str], None]) -> list[str]:
        """Sail comes whole with the pip package pysail."""
        return [sys.executable, "-m", "pysail", "spark", "server", "--ip", "127.0.0.1", "--port", str(port)]

    def adapt(self, words: Words, analyze: Callable[[str], list[tuple[str, str]]]) -> str:
        """A query is rewritten; of the other statements only those of which Sail keeps no trace are let through."""
        first = [token.text.upper() for token in words.tokens[:2]]
        if first and first[0] not in _QUERIES:
            if first[0] in ("DESCRIBE", "DESC") or first == ["DROP", "VIEW"]:
                return self.rename_catalog(words)
            raise refuse(" ".join(first))
        return to_sail(words.sql, self.catalog, analyze)
