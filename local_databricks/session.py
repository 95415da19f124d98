"""A client's session: where its names lead, and the engine's session behind it, which is told what a statement names."""

import logging
import threading
import uuid
from collections.abc import Callable, Iterable
from dataclasses import replace

from pyspark.sql.connect.client.core import SparkConnectClient
from pyspark.sql.connect.plan import SQL
from pyspark.sql.connect.proto import ConfigRequest, KeyValue

from local_databricks.catalog import Catalog, Known, Name, Relation, View
from local_databricks.delta import newest_size
from local_databricks.engine import Engine
from local_databricks.results import Result, SqlError, run
from local_databricks.words import Words, as_relation

LOG = logging.getLogger(__name__)

#: Functions that make rows without a table, as many as their arguments say.
_MAKERS, _ENDLESS = {"RANGE", "SEQUENCE"}, 1 << 62


class Session:
    """`schema` is the current one. The engine's session is taken at the first need, and anew after the engine's restart."""

    def __init__(self, engine: Engine, catalog: Catalog, schema: str | None = None, configuration: dict | None = None):
        self.id, self.engine, self.catalog = uuid.uuid4(), engine, catalog
        self.schema = (schema or "default").strip("`").lower()
        self.configuration = {k: v for k, v in (configuration or {}).items() if k.startswith("spark.sql.")}
        self._client: SparkConnectClient | None = None
        self._generation, self._lock, self._used, self._known = 0, threading.RLock(), "", Known()
        self._volume, self._settings = -1, {}
        #: `thread.tag` marks what the current thread asks of the engine, so that it can be interrupted.
        self.thread = threading.local()

    def client(self) -> SparkConnectClient:
        """The engine's session. While the engine is started again, this waits instead of failing."""
        self.engine.await_ready()
        with self._lock:
            if self._client is None or self._generation != self.engine.generation:
                client = self.engine.client(str(self.id))
                self._generation, self._used, self._known = self.engine.generation, "", Known()
                self._settings = self.engine.settings_for(_ENDLESS)
                if not self.engine.handlers:  # else the settings are the endpoint's business
                    for key, value in self.configuration.items():
                        run(client, f"SET {key} = {value}")
                self._client = client
            client = self._client
        if (tag := getattr(self.thread, "tag", None)) and tag not in client.get_tags():
            client.add_tag(tag)
        return client

    @property
    def known(self) -> Known:
        """What the engine was told: all of its sessions, or this one."""
        self.client()
        return self.engine.known if self.engine.is_shared else self._known

    def interrupt(self, tag: str) -> None:
        """Stop in the engine what a thread with this tag asked for."""
        if (client := self._client) and self.engine.ready:
            try:
                client.interrupt_tag(tag)
            except Exception as error:  # the session or the engine is gone, and with it the statement
                LOG.debug("interrupt: %s", error)

    def close(self) -> None:
        """Give up the engine's session and whatever still runs in it."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None and self._generation == self.engine.generation and self.engine.ready:
            try:
                client.release_session()
            except Exception as error:
                LOG.debug("release: %s", error)

    # ---- statements

    def run(self, words: Words, told: bool = False, instead: Callable[[str], str] | None = None) -> Result:
        """Run a statement on the engine, after telling it (if it was not told) what the statement names.

        instead: makes the statement that is run of the adapted one.
        """
        sql = self.adapt(words, told)
        if self.engine.heeds_size:
            self._prepare(words)
        return run(self.client(), instead(sql) if instead else sql)

    def _prepare(self, words: Words) -> None:
        """Give the engine's session the settings for the largest table that it was told of, or for what may be of any size."""
        may_be_large = self._volume < 0 or any(token.text.upper() in _MAKERS for token in words.tokens)
        settings = self.engine.settings_for(_ENDLESS if may_be_large else self._volume)
        if settings != self._settings and not settings.keys() & self.configuration.keys():
            pairs = [KeyValue(key=key, value=value) for key, value in settings.items()]
            self.client().config(ConfigRequest.Operation(set=ConfigRequest.Set(pairs=pairs)))
            self._settings = settings

    def adapt(self, words: Words, told: bool = False) -> str:
        """A statement in the engine's words, after telling it (if it was not told) what the statement names."""
        if not told:
            self.tell(words.parts(), self.schema)
        if self.catalog.has_schema(self.schema):  # Databricks lets a session start in a schema that does not exist yet
            self._use(self.schema)
        return self.engine.adapt(words, self.analyze)

    def analyze(self, sql: str) -> list[tuple[str, str]]:
        """The names and SQL types of the columns of a query in the engine's words; the engine does not run it."""
        client = self.client()
        plan = SQL(sql, [], {}, []).to_proto(client)
        return [(field.name, field.dataType.simpleString()) for field in client.schema(plan)]

    def setting(self, key: str, default: str) -> str:
        return self.configuration.get(key, default)

    def tell(self, names: Iterable[list[str]], schema: str) -> None:
        """Make what these may name, with `schema` as the current one, known to the engine."""
        for parts in names:
            for length in (3, 2, 1):  # a.b.c may be table c, or a column of table a.b or of table a
                try:
                    relation = self.catalog.get(as_relation(parts[:length], schema)) if len(parts) >= length else None
                except SqlError:
                    continue
                if relation:
                    self.tell_relation(relation)

    def tell_relation(self, relation: Relation) -> None:
        """Make a table, or a view with all that it reads, known to the engine."""
        known = self.known.relations
        if relation.view:
            self.tell(Words(relation.view.query).parts(), relation.view.schema)
        elif self.engine.heeds_size:
            # for the whole session: a temporary view that is named later reads it too
            self._volume = max(self._volume, newest_size(relation.location))
        if known.get(relation.key) == relation:
            return
        with self.catalog.lock(relation.key):
            if known.get(relation.key) == relation:
                return
            client, name = self.client(), self.engine.quoted(*relation.key)
            self.tell_schema(relation.schema)
            if relation.key in known:
                self.forget(relation.key)
            if relation.view:
                self._use(relation.view.schema)
                query = self.engine.adapt(Words(relation.view.query), self.analyze)
                run(client, definition(relation.key, replace(relation.view, query=query)))
            else:
                run(client, f"CREATE TABLE {name} USING DELTA LOCATION {quote(relation.location)}")
            known[relation.key] = relation

    def tell_schema(self, schema: str) -> None:
        if schema not in self.known.schemas:
            run(self.client(), f"CREATE SCHEMA IF NOT EXISTS {self.engine.quoted(schema)}")
            self.known.schemas.add(schema)

    def forget(self, key: Name) -> None:
        """Make the engine forget a table or view. Files stay: all of its tables are external ones."""
        relation = self.known.relations.pop(key, None)
        if relation:
            run(self.client(), f"DROP {relation.kind} IF EXISTS {self.engine.quoted(*key)}")

    def _use(self, schema: str) -> None:
        if self._used != schema:
            self.tell_schema(schema)
            run(self.client(), f"USE DATABASE `{schema}`")
            self._used = schema


def quote(text: str) -> str:
    """A string literal."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def property_list(properties: dict[str, str]) -> str:
    return "(" + ", ".join(f"{quote(key)} = {quote(value)}" for key, value in properties.items()) + ")"


def definition(key: Name, view: View) -> str:
    """A view as the statement that makes it."""
    columns = ", ".join(f"`{name}`" + (f" COMMENT {quote(comment)}" if comment else "") for name, comment in view.columns)
    return (
        f"CREATE OR REPLACE VIEW `{key[0]}`.`{key[1]}`"
        + (f" ({columns})" if columns else "")
        + (f" COMMENT {quote(view.comment)}" if view.comment else "")
        + (f" TBLPROPERTIES {property_list(view.properties)}" if view.properties else "")
        + f" AS {view.query}"
    )
