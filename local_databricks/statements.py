"""What a statement does to the catalog. Those that only ask the catalog are answered here; the others run on the engine.

`HANDLERS` finds who is responsible by a statement's first words; a statement without a handler runs on the engine as it is.
"""

import datetime
import fnmatch
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import pyarrow as pa
from pyspark.errors import PySparkException

from local_databricks import delta
from local_databricks.catalog import Name, Relation, View
from local_databricks.delta import Column
from local_databricks.results import NOTHING, Result, SqlError
from local_databricks.session import Session, definition, quote
from local_databricks.settings import CATALOG, USER
from local_databricks.words import CATALOGS, Words


def execute(session: Session, statement: str) -> Result:
    """Run a Databricks statement in a session. Raises SqlError or the engine's own error."""
    words = Words(statement)
    for length in range(4, 0, -1):
        first = tuple(words.word(i) for i in range(length))
        handler = session.engine.handlers.get(first) or HANDLERS.get(first)
        if handler:
            words.at = length
            return handler(session, words)
    return session.run(words)


def _done() -> Result:
    return Result.of(NOTHING)


def _matches(pattern: str | None, name: str) -> bool:
    """SHOW's patterns: * is any text, | separates alternatives, case does not matter."""
    parts = (pattern or "*").lower().replace("[", "[[]").split("|")
    return any(fnmatch.fnmatch(name, part.strip()) for part in parts)


def _pattern(words: Words) -> str | None:
    """What is left of SHOW …: [LIKE] 'pattern', or nothing."""
    like = words.take("LIKE")
    pattern = words.string() if like or not words.done else None
    words.end()
    return pattern


def _in_schema(session: Session, words: Words) -> str:
    return words.schema() if words.take("IN") or words.take("FROM") else session.schema


# ---- sessions and schemas


def select(session: Session, words: Words) -> Result:
    """SELECT of nothing but who and where one is, which clients ask when they connect; any other query is the engine's.

    Engines know neither the catalog's name nor the current schema as the client does.
    """
    values = {
        "CURRENT_CATALOG": CATALOG, "CURRENT_SCHEMA": session.schema, "CURRENT_DATABASE": session.schema,
        "CURRENT_USER": USER, "SESSION_USER": USER, "USER": USER,
    }  # fmt: skip
    found: list[tuple[str, str]] = []
    while (name := words.word()) in values and words.take(name):
        value = values[name]
        name = f"{name.lower()}()" if words.take("(", ")") else name.lower()
        if words.take("AS") or (not words.done and words.word() != "," and words.word(1) in ("", ",")):
            [name] = words.name()
        found.append((name, value))
        if words.done:
            return Result.of(pa.table([pa.array([text]) for _, text in found], names=[name for name, _ in found]))
        if not words.take(","):
            break
    return session.run(words)


def use(session: Session, words: Words) -> Result:
    if not (words.take("SCHEMA") or words.take("DATABASE") or words.take("NAMESPACE")):
        if len(words.tokens) == words.at + 1 and words.tokens[words.at].text.lower() in CATALOGS:
            return _done()
    schema = words.schema()
    words.end()
    session.catalog.need_schema(schema)
    session.schema = schema
    return _done()


def use_catalog(session: Session, words: Words) -> Result:
    name = words.string() if not words.word() and words.sql[words.tokens[-1].start] == "'" else words.name()[0]
    words.end()
    if name.lower() not in CATALOGS:
        raise SqlError("CATALOG_NOT_FOUND", f"The catalog `{name}` not found; this workspace has `{CATALOG}`.")
    return _done()


def show_catalogs(session: Session, words: Words) -> Result:
    return Result.rows("catalog", [(CATALOG,)] if _matches(_pattern(words), CATALOG) else [])


def show_schemas(session: Session, words: Words) -> Result:
    if words.take("IN") or words.take("FROM"):
        use_catalog(session, Words(words.name()[-1]))
    pattern = _pattern(words)
    return Result.rows("databaseName", [(name,) for name in session.catalog.schemas() if _matches(pattern, name)])


def create_schema(session: Session, words: Words) -> Result:
    keep = words.take("IF", "NOT", "EXISTS")
    name, comment, properties = words.schema(), None, {}
    while not words.done:
        if words.take("COMMENT"):
            comment = words.string()
        elif words.take("WITH", "DBPROPERTIES"):
            properties = words.properties()
        elif words.peek("LOCATION") or words.peek("MANAGED"):
            raise words.error("a schema's location is the warehouse's here")
        else:
            words.end()
    if not session.catalog.has_schema(name):
        session.catalog.put_schema(name, comment, properties)
    elif not keep:
        raise SqlError("SCHEMA_ALREADY_EXISTS", f"The schema `{CATALOG}`.`{name}` exists already.")
    return _done()


def drop_schema(session: Session, words: Words) -> Result:
    optional, name = words.take("IF", "EXISTS"), words.schema()
    cascade = words.take("CASCADE") or (words.take("RESTRICT") and False)
    words.end()
    if not session.catalog.has_schema(name) and optional:
        return _done()
    session.catalog.need_schema(name)
    relations = session.catalog.relations(name)
    if relations and not cascade:
        raise SqlError("SCHEMA_NOT_EMPTY", f"The schema `{CATALOG}`.`{name}` is not empty; CASCADE drops what is in it.")
    for relation in relations:
        _drop(session, relation)
    session.catalog.drop_schema(name)
    return _done()


def describe_schema(session: Session, words: Words) -> Result:
    words.take("EXTENDED")
    name = words.schema()
    comment, properties = session.catalog.schema(name)
    rows = [("Catalog Name", CATALOG), ("Namespace Name", name), ("Comment", comment or "")]
    rows.append(("Location", str(session.catalog.warehouse / name)))
    rows.append(("Properties", ", ".join(f"({k},{v})" for k, v in properties.items())))
    return Result.rows("database_description_item database_description_value", rows)


def alter_schema(session: Session, words: Words) -> Result:
    name = words.schema()
    comment, properties = session.catalog.schema(name)
    words.need("SET")
    if not words.take("DBPROPERTIES"):
        words.need("PROPERTIES")
    session.catalog.put_schema(name, comment, properties | words.properties())
    return _done()


# ---- what is there


def show_tables(session: Session, words: Words) -> Result:
    schema = _in_schema(session, words)
    session.catalog.need_schema(schema)
    pattern = _pattern(words)
    rows = [(r.schema, r.name, False) for r in session.catalog.relations(schema) if _matches(pattern, r.name)]
    return Result.rows({"database": pa.string(), "tableName": pa.string(), "isTemporary": pa.bool_()}, rows)


def show_views(session: Session, words: Words) -> Result:
    schema = _in_schema(session, words)
    session.catalog.need_schema(schema)
    pattern = _pattern(words)
    rows = [(r.schema, r.name, False) for r in session.catalog.relations(schema) if r.view and _matches(pattern, r.name)]
    return Result.rows({"namespace": pa.string(), "viewName": pa.string(), "isTemporary": pa.bool_()}, rows)


def columns(session: Session, relation: Relation) -> list[Column]:
    """A table's columns from its log; a view's types from the engine, which must analyze it for that."""
    if not relation.view:
        return delta.columns(delta.open_table(relation.location))
    session.tell_relation(relation)
    described = session.run(Words(f"DESCRIBE TABLE `{relation.schema}`.`{relation.name}`")).table().to_pylist()
    comments = dict(relation.view.columns)
    return [
        Column(
            row["col_name"],
            row["data_type"],
            comments.get(row["col_name"]) or row["comment"],
            tree=delta.tree(row["data_type"]),
        )
        for row in described
    ]


def comment(relation: Relation) -> str:
    """A table's or view's comment, empty where it has none; a table's that is gone from its place has none either."""
    if relation.view:
        return relation.view.comment or ""
    try:
        return delta.open_table(relation.location).metadata().description or ""
    except SqlError:
        return ""


def _details(session: Session, relation: Relation) -> list[tuple[str, str]]:
    """What DESCRIBE EXTENDED and SHOW TABLE EXTENDED tell of a table or view as a whole."""
    created = datetime.datetime.fromtimestamp(relation.created_at, datetime.UTC)
    rows = [
        ("Catalog", CATALOG), ("Database", relation.schema), ("Table", relation.name), ("Owner", USER),
        ("Created Time", f"{created:%a %b %d %H:%M:%S UTC %Y}"),
        ("Type", "VIEW" if relation.view else "MANAGED" if relation.managed else "EXTERNAL"),
    ]  # fmt: skip
    if relation.view:
        rows += [("Comment", relation.view.comment)] if relation.view.comment else []
        rows += [("View Text", relation.view.query), ("View Original Text", relation.view.query)]
        found = relation.view.properties
    else:
        table = delta.open_table(relation.location)
        rows += [("Provider", "delta")]
        rows += [("Comment", table.metadata().description)] if table.metadata().description else []
        rows += [("Location", Path(relation.location).as_uri()), ("Statistics", f"{delta.size_in_bytes(table)} bytes")]
        found = delta.properties(table)
    return [*rows, ("Table Properties", "[" + ",".join(f"{key}={value}" for key, value in found.items()) + "]")]


def show_table_extended(session: Session, words: Words) -> Result:
    schema = _in_schema(session, words)
    session.catalog.need_schema(schema)
    pattern, rows = _pattern(words), []
    for relation in session.catalog.relations(schema):
        if _matches(pattern, relation.name):
            text = "".join(f"{key}: {value}\n" for key, value in _details(session, relation))
            tree = "".join(
                f" |-- {c.name}: {c.tree} (nullable = {str(c.nullable).lower()})\n" for c in columns(session, relation)
            )
            rows.append((schema, relation.name, False, f"{text}Schema: root\n{tree}\n"))
    names = {"database": pa.string(), "tableName": pa.string(), "isTemporary": pa.bool_(), "information": pa.string()}
    return Result.rows(names, rows)


def describe(session: Session, words: Words) -> Result:
    """DESCRIBE [TABLE] [EXTENDED | FORMATTED] name; temporary views and queries are the engine's."""
    words.take("TABLE")
    extended = words.take("EXTENDED") or words.take("FORMATTED")
    is_query = words.peek("SELECT") or words.peek("WITH")
    if is_query or (words.word(1) and words.take("QUERY")):  # a prepared statement's client asks it
        found = session.analyze(session.adapt(Words(words.rest())))
        return Result.rows("col_name data_type comment", [(name, kind, None) for name, kind in found])
    key = words.relation(session.schema)
    if words.take("AS", "JSON"):
        raise SqlError("UNSUPPORTED_FEATURE", "DESCRIBE … AS JSON is not of this runtime.")
    relation = session.catalog.get(key)
    if relation is None:
        return session.run(words)
    if not words.done:
        return _describe_column(columns(session, relation), words)
    rows = [(c.name, c.type, c.comment) for c in columns(session, relation)]
    if not relation.view:
        partitions = delta.open_table(relation.location).metadata().partition_columns
        if partitions:
            rows += [("# Partition Information", "", ""), ("# col_name", "data_type", "comment")]
            rows += [row for name in partitions for row in rows if row[0] == name]
    if extended:
        rows += [("", "", ""), ("# Detailed Table Information", "", "")]
        rows += [(key, value, "") for key, value in _details(session, relation)]
    return Result.rows("col_name data_type comment", rows)


def _describe_column(found: list[Column], words: Words) -> Result:
    name = ".".join(words.name())
    words.end()
    for column in found:
        if column.name.lower() == name.lower():
            rows = [("col_name", column.name), ("data_type", column.type), ("comment", column.comment or "NULL")]
            return Result.rows("info_name info_value", rows)
    raise SqlError("UNRESOLVED_COLUMN.WITH_SUGGESTION", f"A column with the name `{name}` cannot be found.")


def show_columns(session: Session, words: Words) -> Result:
    if not words.take("IN"):
        words.need("FROM")
    key = words.relation(session.schema)
    words.end()
    return Result.rows("col_name", [(c.name,) for c in columns(session, session.catalog.need(key))])


def show_properties(session: Session, words: Words) -> Result:
    relation = session.catalog.need(words.relation(session.schema))
    found = relation.view.properties if relation.view else delta.properties(delta.open_table(relation.location))
    if words.take("("):
        wanted = words.string() if not words.word() else ".".join(words.name())
        words.need(")")
        text = f"Table {CATALOG}.{relation.schema}.{relation.name} does not have property: {wanted}"
        found = {wanted: found.get(wanted, text)}
    words.end()
    return Result.rows("key value", found.items())


# ---- tables and views


def create(session: Session, words: Words) -> Result:
    """CREATE [OR REPLACE] TABLE | VIEW …; anything else that can be made, temporary views too, is the engine's."""
    replaces = words.take("OR", "REPLACE")
    if words.take("TABLE") or words.take("EXTERNAL", "TABLE"):
        return _create_table(session, words, replaces)
    if words.take("VIEW"):
        return _create_view(session, words, replaces)
    return session.run(words)


def place(session: Session, key: Name, kind: str, keep: bool, replaces: bool) -> tuple[Relation | None, bool]:
    """What is at this name now, and whether it stays as it is. Raises SqlError where nothing can be made there."""
    session.catalog.need_schema(key[0])
    existing = session.catalog.get(key)
    if existing and (existing.kind != kind or not (keep or replaces)):
        raise SqlError("TABLE_OR_VIEW_ALREADY_EXISTS", f"The {existing.kind.lower()} {text_of(key)} exists already.")
    return existing, bool(existing and keep)


def text_of(key: Name) -> str:
    return f"`{CATALOG}`.`{key[0]}`.`{key[1]}`"


def _create_table(session: Session, words: Words, replaces: bool) -> Result:
    """The endpoint chooses where a table without LOCATION lies; all else is the engine's."""
    keep, key = words.take("IF", "NOT", "EXISTS"), words.relation(session.schema)
    given = None
    if words.take("LIKE") or words.take("SHALLOW", "CLONE") or words.take("CLONE"):
        words.relation(session.schema)
    elif words.peek("("):
        words.skip_parentheses()
    while not (words.done or any(map(words.peek, ("AS", "SELECT", "WITH", "(")))):  # the clauses, in any order
        if words.take("LOCATION"):
            given = words.string()
        elif words.take("USING"):
            if (provider := words.name()[0].upper()) != "DELTA":
                raise SqlError("UNSUPPORTED_FEATURE", f"USING {provider}: tables of this workspace are Delta tables.")
        else:
            words.at += 1
            if words.peek("("):  # PARTITIONED BY (…), TBLPROPERTIES (…)
                words.skip_parentheses()
    session.tell(words.parts(), session.schema)
    known = session.known
    with session.catalog.lock(key):
        existing, stays = place(session, key, "TABLE", keep, replaces)
        if stays:
            return _done()
        location = path_of(given) if given else existing.location if existing else session.catalog.new_location(key)
        if existing:
            session.tell_relation(existing)
        else:
            session.tell_schema(key[0])
            session.forget(key)
        known.relations[key] = Relation(*key)  # whatever comes of it, the engine's idea of the name is made anew
        sql = words.sql if given else words.replaced({(words.at, words.at): f" LOCATION {quote(location)} "})
        try:
            result = session.run(Words(sql), told=True)
        except BaseException:
            if not existing and not given:
                shutil.rmtree(location, ignore_errors=True)
            raise
        made = session.catalog.put(Relation(*key, location, managed=existing.managed if existing else not given))
        known.relations[key] = made
    return result


def path_of(location: str) -> str:
    """A location as a path of this machine; other places keep their URI."""
    return unquote(location.removeprefix("file://")) if location.startswith("file:///") else location


def _create_view(session: Session, words: Words, replaces: bool) -> Result:
    keep, key = words.take("IF", "NOT", "EXISTS"), words.relation(session.schema)
    named, comment, properties = [], None, {}
    if words.take("("):
        while not words.take(")"):
            [name] = words.name()
            named.append((name, words.string() if words.take("COMMENT") else None))
            if not words.peek(")"):
                words.need(",")
    while not words.take("AS"):
        if words.take("COMMENT"):
            comment = words.string()
        elif words.take("TBLPROPERTIES"):
            properties = words.properties()
        elif words.take("WITH", "SCHEMA"):
            words.at += 1
        else:
            raise words.error("AS is expected")
    view = View(words.rest(), session.schema, named, comment, properties)
    _, stays = place(session, key, "VIEW", keep, replaces)
    return _done() if stays else _put_view(session, Relation(*key, view=view))


def _put_view(session: Session, relation: Relation) -> Result:
    session.tell_relation(relation)  # the engine finds what is wrong in it
    session.catalog.put(relation)
    return _done()


def drop(session: Session, words: Words) -> Result:
    """DROP TABLE | VIEW [IF EXISTS] name; temporary views and all else are the engine's."""
    kind = "VIEW" if words.take("VIEW") else "TABLE" if words.take("TABLE") else None
    if kind is None:
        return session.run(words)
    optional, key = words.take("IF", "EXISTS"), words.relation(session.schema)
    relation = session.catalog.get(key)
    if relation is None:
        return session.run(words) if kind == "VIEW" or not optional else _done()
    words.take("PURGE")
    words.end()
    if relation.kind != kind:
        raise SqlError("WRONG_COMMAND_FOR_OBJECT_TYPE", f"DROP {kind}: {text_of(key)} is a {relation.kind.lower()}.")
    _drop(session, relation)
    return _done()


def _drop(session: Session, relation: Relation) -> None:
    with session.catalog.lock(relation.key):
        session.catalog.drop(relation.key)
        session.forget(relation.key)
    if relation.location and relation.managed:
        shutil.rmtree(relation.location, ignore_errors=True)


def alter(session: Session, words: Words) -> Result:
    """Renames and changes of views; changes of a table are the engine's, in the table's log."""
    key = words.relation(session.schema)
    relation = session.catalog.get(key)
    if words.take("RENAME", "TO"):
        new = words.relation(session.schema)
        words.end()
        session.catalog.need(key)
        session.catalog.rename(key, new)
        session.forget(key)
        return _done()
    if relation is None or not relation.view:
        try:
            return session.run(words)
        except PySparkException as error:
            check = _not_null_as_check(words) if "annot change nullable column" in str(error) else None
            if check is None:
                raise
            return session.run(Words(check))
    view = relation.view
    if words.take("AS"):
        view = replace(view, query=words.rest(), schema=session.schema)
    elif words.take("SET", "TBLPROPERTIES"):
        view = replace(view, properties=view.properties | words.properties())
        words.end()
    else:
        raise words.error("ALTER VIEW … AS, RENAME TO or SET TBLPROPERTIES is expected")
    return _put_view(session, relation.changed(view=view))


def _not_null_as_check(words: Words) -> str | None:
    """ALTER TABLE … COLUMN … SET NOT NULL as an equal CHECK constraint, None for any other change.

    Open-source Delta refuses to make an existing nullable column NOT NULL ("Cannot change nullable column to
    non-nullable"); Databricks does it, and dbt-databricks asks for it after every CREATE TABLE AS of a contract.
    """
    table = words.sql[words.tokens[2].start : words.tokens[words.at - 1].end + 1]
    if not (words.take("CHANGE", "COLUMN") or words.take("ALTER", "COLUMN")):
        return None
    [column] = words.name()
    if not words.take("SET", "NOT", "NULL"):
        return None
    return f"ALTER TABLE {table} ADD CONSTRAINT `{column}_not_null` CHECK (`{column}` IS NOT NULL)"


def comment_on(session: Session, words: Words) -> Result:
    if words.take("SCHEMA") or words.take("DATABASE"):
        name = words.schema()
        words.need("IS")
        comment = None if words.take("NULL") else words.string()
        session.catalog.put_schema(name, comment, session.catalog.schema(name)[1])
        return _done()
    if words.take("TABLE") or words.take("VIEW"):
        relation = session.catalog.need(words.relation(session.schema))
        words.need("IS")
        comment = None if words.take("NULL") else words.string()
        words.end()
        if relation.view:
            return _put_view(session, relation.changed(view=replace(relation.view, comment=comment)))
    return session.run(words)


def show_create(session: Session, words: Words) -> Result:
    relation = session.catalog.need(words.relation(session.schema))
    words.end()
    if relation.view:
        return Result.rows("createtab_stmt", [(definition(relation.key, relation.view).replace(" OR REPLACE", "", 1),)])
    return session.run(words)


Handler = Callable[[Session, Words], Result]

#: A statement's first words, and who takes it from there.
HANDLERS: dict[tuple[str, ...], Handler] = {
    ("SELECT",): select,
    ("USE",): use,
    ("USE", "CATALOG"): use_catalog,
    ("SET", "CATALOG"): use_catalog,
    ("SHOW", "CATALOGS"): show_catalogs,
    ("SHOW", "SCHEMAS"): show_schemas,
    ("SHOW", "DATABASES"): show_schemas,
    ("SHOW", "TABLES"): show_tables,
    ("SHOW", "VIEWS"): show_views,
    ("SHOW", "TABLE", "EXTENDED"): show_table_extended,
    ("SHOW", "COLUMNS"): show_columns,
    ("SHOW", "TBLPROPERTIES"): show_properties,
    ("SHOW", "CREATE", "TABLE"): show_create,
    ("CREATE",): create,
    ("CREATE", "SCHEMA"): create_schema,
    ("CREATE", "DATABASE"): create_schema,
    ("DROP",): drop,
    ("DROP", "SCHEMA"): drop_schema,
    ("DROP", "DATABASE"): drop_schema,
    ("ALTER", "TABLE"): alter,
    ("ALTER", "VIEW"): alter,
    ("ALTER", "SCHEMA"): alter_schema,
    ("ALTER", "DATABASE"): alter_schema,
    ("COMMENT", "ON"): comment_on,
}  # fmt: skip
for _verb in ("DESCRIBE", "DESC"):
    HANDLERS |= {
        (_verb,): describe, (_verb, "SCHEMA"): describe_schema, (_verb, "DATABASE"): describe_schema,
        (_verb, "HISTORY"): lambda session, words: session.run(words),
        (_verb, "DETAIL"): lambda session, words: session.run(words),
        (_verb, "FUNCTION"): lambda session, words: session.run(words),
    }  # fmt: skip
