"""The catalog: which schemas, tables and views there are. The endpoint owns it, as Unity Catalog owns a workspace's.

One SQLite file holds it; engines keep nothing and are told what a statement names. A table is the place of a Delta folder,
whose log has the columns, comment and properties; a view is its text. Names are kept in lower case, as Databricks does.
"""

import json
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from local_databricks.results import SqlError
from local_databricks.settings import CATALOG

Name = tuple[str, str]


@dataclass(frozen=True)
class View:
    """What a view was made of: its query, the schema in which that was said, column comments, comment, properties."""

    query: str
    schema: str
    columns: list[tuple[str, str | None]] = field(default_factory=list)
    comment: str | None = None
    properties: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Relation:
    """A table or a view. `id` is another one whenever what an engine was told of the relation is no longer true."""

    schema: str
    name: str
    location: str | None = None
    managed: bool = True
    view: View | None = None
    created_at: float = field(default_factory=time.time)
    id: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def key(self) -> Name:
        return self.schema, self.name

    @property
    def kind(self) -> str:
        return "VIEW" if self.view else "TABLE"

    def changed(self, **values) -> "Relation":
        """The relation with other values and another id."""
        return replace(self, id=uuid.uuid4().hex, **values)


class Known:
    """What an engine, or one of its sessions, was told: which schemas, and each relation as it was then."""

    def __init__(self) -> None:
        self.schemas: set[str] = set()
        self.relations: dict[Name, Relation] = {}


_TABLES = """
create table if not exists schemas (name text primary key, comment text, properties text not null);
create table if not exists relations (
    schema text not null references schemas (name) on update cascade, name text not null, location text,
    managed integer not null, view text, created_at real not null, id text not null, primary key (schema, name)
);
insert or ignore into schemas values ('default', 'Default schema', '{}');
"""


class Catalog:
    """The store; every change is one transaction. Safe to use from many threads."""

    def __init__(self, file: Path, warehouse: Path):
        self.warehouse = warehouse
        file.parent.mkdir(parents=True, exist_ok=True)
        self._lock, self._locks = threading.RLock(), {}
        self._db = sqlite3.connect(file, check_same_thread=False, isolation_level=None)
        self._db.execute("pragma foreign_keys = on")
        self._db.executescript(_TABLES)

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._db.execute("begin immediate")
            try:
                yield self._db
                self._db.execute("commit")
            except BaseException:
                self._db.execute("rollback")
                raise

    def _rows(self, sql: str, *values) -> list[tuple]:
        with self._lock:
            return self._db.execute(sql, values).fetchall()

    # ---- schemas

    def schemas(self) -> list[str]:
        return [name for (name,) in self._rows("select name from schemas order by name")]

    def has_schema(self, name: str) -> bool:
        return bool(self._rows("select 1 from schemas where name = ?", name))

    def need_schema(self, name: str) -> None:
        """Raises SqlError where there is no such schema."""
        if not self.has_schema(name):
            raise SqlError("SCHEMA_NOT_FOUND", f"The schema `{CATALOG}`.`{name}` cannot be found.")

    def schema(self, name: str) -> tuple[str | None, dict[str, str]]:
        """A schema's comment and properties. Raises SqlError where there is none."""
        self.need_schema(name)
        [(comment, properties)] = self._rows("select comment, properties from schemas where name = ?", name)
        return comment, json.loads(properties)

    def put_schema(self, name: str, comment: str | None, properties: dict[str, str]) -> None:
        with self._change() as db:
            db.execute(
                "insert into schemas values (?, ?, ?) on conflict do update set comment = excluded.comment,"
                " properties = excluded.properties",
                (name, comment, json.dumps(properties)),
            )  # fmt: skip

    def drop_schema(self, name: str) -> None:
        """Forget a schema that has no relations."""
        with self._change() as db:
            db.execute("delete from schemas where name = ?", (name,))

    # ---- relations

    def relations(self, schema: str) -> list[Relation]:
        return [_relation(row) for row in self._rows("select * from relations where schema = ? order by name", schema)]

    def get(self, key: Name) -> Relation | None:
        rows = self._rows("select * from relations where schema = ? and name = ?", *key)
        return _relation(rows[0]) if rows else None

    def need(self, key: Name) -> Relation:
        """Raises SqlError where there is no such table or view."""
        relation = self.get(key)
        if relation is None:
            raise SqlError("TABLE_OR_VIEW_NOT_FOUND", f"The table or view `{CATALOG}`.`{key[0]}`.`{key[1]}` cannot be found.")
        return relation

    def put(self, relation: Relation) -> Relation:
        """Add a relation or put it in the place of the one of its name. Raises SqlError where its schema is missing."""
        self.need_schema(relation.schema)
        view = json.dumps(asdict(relation.view)) if relation.view else None
        with self._change() as db:
            db.execute(
                "insert or replace into relations values (?, ?, ?, ?, ?, ?, ?)",
                (*relation.key, relation.location, relation.managed, view, relation.created_at, relation.id),
            )
        return relation

    def drop(self, key: Name) -> None:
        with self._change() as db:
            db.execute("delete from relations where schema = ? and name = ?", key)

    def rename(self, old: Name, new: Name) -> None:
        """Raises SqlError where the new name is taken or its schema is missing."""
        self.need_schema(new[0])
        if self.get(new):
            raise SqlError("TABLE_OR_VIEW_ALREADY_EXISTS", f"`{CATALOG}`.`{new[0]}`.`{new[1]}` exists already.")
        with self._change() as db:
            db.execute(
                "update relations set schema = ?, name = ?, id = ? where schema = ? and name = ?",
                (*new, uuid.uuid4().hex, *old),
            )

    def lock(self, key: Name) -> threading.RLock:
        """Held by whoever makes a relation, or makes it known: one at a time for each name."""
        return self._locks.setdefault(key, threading.RLock())

    def new_location(self, key: Name) -> str:
        """A folder that was never used, so that what a killed statement left behind is in nobody's way."""
        return str(self.warehouse / key[0] / f"{key[1]}-{uuid.uuid4().hex[:12]}")

    def close(self) -> None:
        with self._lock:
            self._db.close()


def _relation(row: tuple) -> Relation:
    schema, name, location, managed, view, created_at, id_ = row
    values = json.loads(view) if view else None
    if values:
        values["columns"] = [tuple(column) for column in values["columns"]]
    return Relation(schema, name, location, bool(managed), View(**values) if values else None, created_at, id_)
