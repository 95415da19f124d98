"""Statements that change tables, where the engine is Sail: Sail computes the rows, delta-rs commits them.

Sail's own writing lets UPDATE and MERGE break constraints, takes nullability from expressions and lacks most of ALTER; what
it does write is not needed then. DELETE, UPDATE and MERGE are the query of the rows that the table holds afterwards, which
replaces its content in one commit: as costly as the table, and as right as SELECT.
"""

import datetime
import json
from collections.abc import Iterable

import deltalake
import pyarrow as pa
import sqlglot
from deltalake.exceptions import CommitFailedError, DeltaError
from pyspark.sql.connect.plan import CreateView, LocalRelation
from sqlglot import exp
from sqlglot.tokens import TokenType

from local_databricks import delta
from local_databricks.catalog import Name, Relation
from local_databricks.results import NOTHING, Result, SqlError, run
from local_databricks.sail_sql import refuse
from local_databricks.session import Session
from local_databricks.settings import RUNTIME_VERSION
from local_databricks.statements import Handler, path_of, place, text_of
from local_databricks.statements import alter as alter_view
from local_databricks.statements import comment_on as comment_on_view
from local_databricks.statements import create as create_view
from local_databricks.words import Words

_STATEMENT = "local_databricks.statement"
_LITERALS = "local_databricks_literals"  # the temporary view of an INSERT's VALUES


# ---- types


def delta_type(kind: exp.DataType | str) -> str | dict:
    """A SQL type as Delta's schema JSON has it. Raises SqlError for a type that no column can have."""
    if isinstance(kind, str):
        try:
            kind = exp.DataType.build(kind, dialect="databricks")
        except sqlglot.errors.ParseError:
            raise refuse(f"The type {kind}") from None
    name = kind.this.value.lower()
    inner = kind.expressions
    match name:
        case "array":
            return {"type": "array", "elementType": delta_type(inner[0]), "containsNull": True}
        case "map":
            key, value = (delta_type(part) for part in inner)
            return {"type": "map", "keyType": key, "valueType": value, "valueContainsNull": True}
        case "struct":
            fields = [{"name": f.name, "type": delta_type(f.args["kind"]), "nullable": True, "metadata": {}} for f in inner]
            return {"type": "struct", "fields": fields}
        case "decimal":
            precision, scale = [int(p.name) for p in inner] + [10, 0][len(inner) :]
            return f"decimal({precision},{scale})"
        case "timestamptz" | "timestampltz" | "timestamp":
            return "timestamp"
        case "timestampntz":
            return "timestamp_ntz"
        case "text":
            return "string"
        case "varchar" | "char" | "nchar" | "nvarchar":
            raise refuse(f"A column of type {kind.sql('databricks')}")
    name = kind.sql("databricks").lower()
    name = delta.OF_SQL.get(name, name)
    if name not in (*delta.OF_SQL.values(), "string", "float", "double", "boolean", "binary", "date"):
        raise SqlError("DATATYPE_MISMATCH", f"A column cannot have the type {name.upper()}.")
    return name


def _field(name: str, kind: exp.DataType | str, nullable: bool = True, comment: str | None = None) -> dict:
    metadata = {"comment": comment} if comment else {}
    return {"name": name, "type": delta_type(kind), "nullable": nullable, "metadata": metadata}


def _schema(fields: list[dict]) -> deltalake.Schema:
    return deltalake.Schema.from_json(json.dumps({"type": "struct", "fields": fields}))


def _rows(session: Session, adapted: str, schema: deltalake.Schema) -> pa.Table:
    """The rows of a query in Sail's words, which has as many columns as the schema, in its Arrow types."""
    table = run(session.client(), adapted).table()
    target = pa.schema(schema.to_arrow())
    arrays = [column.cast(field.type) for column, field in zip(table.columns, target, strict=True)]
    # nulls where there must be none are found by delta-rs, which names the constraint
    return pa.Table.from_arrays(arrays, schema=pa.schema([f.with_nullable(True) for f in target]))


def _commit(table: str | deltalake.DeltaTable, rows: pa.Table, statement: str, **options) -> None:
    """Write rows in one commit; `statement` is what DESCRIBE HISTORY here calls it, since delta-rs knows WRITE only."""
    named = deltalake.CommitProperties(custom_metadata={_STATEMENT: statement})
    try:
        deltalake.write_deltalake(table, rows, commit_properties=named, **options)
    except CommitFailedError as error:
        raise SqlError("DELTA_CONCURRENT_WRITE", f"Another writer changed the table meanwhile: {error}") from error
    except DeltaError as error:
        if "validation check" in str(error):
            raise SqlError(
                "DELTA_VIOLATE_CONSTRAINT_WITH_VALUES", f"CHECK or NOT NULL constraint violated: {error}"[:400]
            ) from error
        raise SqlError("DELTA_WRITE_FAILED", str(error)[:400]) from error


def _affected(rows: int) -> Result:
    return Result.rows({"num_affected_rows": pa.int64(), "num_inserted_rows": pa.int64()}, [(rows, rows)])


def _table(session: Session, key: Name) -> Relation:
    relation = session.catalog.need(key)
    if relation.view:
        raise SqlError("WRONG_COMMAND_FOR_OBJECT_TYPE", f"{text_of(key)} is a view.")
    return relation


def _writable(relation: Relation) -> deltalake.DeltaTable:
    """Raises SqlError for a table with a feature that delta-rs cannot honour."""
    table = delta.open_table(relation.location)
    features = set(table.protocol().writer_features or ())
    unknown = features - {"appendOnly", "invariants", "checkConstraints", "timestampNtz", "changeDataFeed"}
    if unknown:
        raise refuse(f"Writing {text_of(relation.key)}, a table with {', '.join(sorted(unknown))},")
    if table.metadata().configuration.get("delta.appendOnly") == "true":
        raise refuse(f"Writing {text_of(relation.key)}, an append-only table,")
    return table


def _check_properties(properties: dict[str, str]) -> None:
    """Raises SqlError for a property that switches on what delta-rs does not have."""
    for name in properties:
        if name.startswith("delta.feature.") or "columnMapping" in name:
            raise refuse(f"TBLPROPERTIES ('{name}')")


# ---- creating


def create_table(session: Session, words: Words) -> Result:
    """CREATE [OR REPLACE] TABLE, with columns or AS a query."""
    replaces = words.take("OR", "REPLACE")
    words.need("TABLE")
    keep, key = words.take("IF", "NOT", "EXISTS"), words.relation(session.schema)
    fields: list[dict] | None = None
    if words.take("LIKE"):
        source = _table(session, words.relation(session.schema))
        fields = json.loads(delta.open_table(source.location).schema().to_json())["fields"]
    elif words.take("("):
        fields = list(_definitions(words))
    partitions, properties, comment, given = [], {}, None, None
    while not (words.done or any(map(words.peek, ("AS", "SELECT", "WITH", "(")))):
        if words.take("USING"):
            if (provider := words.name()[0].upper()) != "DELTA":
                raise SqlError("UNSUPPORTED_FEATURE", f"USING {provider}: tables of this workspace are Delta tables.")
        elif words.take("PARTITIONED", "BY") or words.take("PARTITIONED BY"):
            words.need("(")
            while not words.take(")"):
                partitions += words.name()
                words.take(",")
        elif words.take("COMMENT"):
            comment = words.string()
        elif words.take("TBLPROPERTIES"):
            properties = words.properties()
        elif words.take("LOCATION"):
            given = words.string()
        else:
            raise refuse(f"CREATE TABLE … {words.word()}")
    words.take("AS")
    query = words.rest()
    _check_properties(properties)
    existing, stays = place(session, key, "TABLE", keep, replaces)
    if stays:
        return Result.of(NOTHING)
    rows = None
    if query:
        if fields:
            raise refuse("CREATE TABLE with columns AS a query")
        adapted = session.adapt(Words(query))
        fields = [_field(name, kind) for name, kind in session.analyze(adapted)]
        rows = _rows(session, adapted, _schema(fields))
    if fields is None and given:
        return _register(session, key, path_of(given))
    with session.catalog.lock(key):
        existing, stays = place(session, key, "TABLE", keep, replaces)
        if stays:
            return Result.of(NOTHING)
        location = path_of(given) if given else existing.location if existing else session.catalog.new_location(key)
        described = {"partition_by": partitions or None, "description": comment, "configuration": properties}
        if rows is not None and not existing and not properties:  # delta-rs takes a stranger's properties only at CREATE
            _commit(location, rows, "CREATE TABLE AS SELECT", mode="error", **described)
        elif rows is not None and existing and _same_table(location, **described):
            _commit(location, rows, "CREATE OR REPLACE TABLE AS SELECT", mode="overwrite", schema_mode="overwrite")
        else:
            mode = "overwrite" if existing else "error"
            deltalake.DeltaTable.create(location, _schema(fields or []), mode=mode, raise_if_key_not_exists=False, **described)
            if rows is not None and rows.num_rows:
                _commit(location, rows, "WRITE", mode="append")
        session.catalog.put(Relation(*key, location, managed=existing.managed if existing else not given))
    return _affected(rows.num_rows) if rows is not None else Result.of(NOTHING)


def _same_table(location: str, partition_by: list[str] | None, description: str | None, configuration: dict[str, str]) -> bool:
    """Whether a table is what it would be made to be, but for its columns and rows."""
    metadata = delta.open_table(location).metadata()
    found = (metadata.partition_columns, metadata.description, metadata.configuration)
    return found == (partition_by or [], description, configuration)


def _register(session: Session, key: Name, location: str) -> Result:
    delta.open_table(location)
    session.catalog.put(Relation(*key, location, managed=False))
    return Result.of(NOTHING)


def _definitions(words: Words, until: str = ")") -> Iterable[dict]:
    """name type [NOT NULL] [COMMENT 'text'], … up to the closing parenthesis."""
    while not words.take(until):
        [name] = words.name()
        start, depth = words.at, 0
        while depth or not any(
            map(words.peek, (",", until, "NOT", "COMMENT", "DEFAULT", "GENERATED", "PRIMARY", "CONSTRAINT", "FIRST", "AFTER"))
        ):
            depth += {"(": 1, "<": 1, ")": -1, ">": -1}.get(words.word(), 0)
            words.at += 1
            if words.done:
                break
        kind = words.sql[words.tokens[start].start : words.tokens[words.at - 1].end + 1]
        nullable, comment = True, None
        while not (words.peek(",") or words.peek(until) or words.done):
            if words.take("NOT", "NULL"):
                nullable = False
            elif words.take("COMMENT"):
                comment = words.string()
            else:
                raise refuse(f"A column with {words.word()}")
        words.take(",")
        yield _field(name, kind, nullable, comment)
        if words.done:
            return


def create(session: Session, words: Words) -> Result:
    start = words.at
    words.take("OR", "REPLACE")
    if words.peek("TABLE"):
        words.at = start
        return create_table(session, words)
    if words.take("TEMPORARY", "VIEW") or words.take("TEMP", "VIEW"):
        name = words.name()[-1]
        if not words.take("AS"):
            raise refuse("CREATE TEMPORARY VIEW with columns")
        query = words.rest()
        session.run(Words(query), instead=lambda sql: f"CREATE OR REPLACE TEMPORARY VIEW `{name}` AS {sql}")
        return Result.of(NOTHING)
    words.at = start
    return create_view(session, words)


# ---- rows


def insert(session: Session, words: Words) -> Result:
    """INSERT INTO | OVERWRITE [TABLE] name [BY NAME | (columns)] query."""
    overwrites = words.take("OVERWRITE")
    if not overwrites:
        words.need("INTO")
    words.take("TABLE")
    key = words.relation(session.schema)
    relation = _table(session, key)
    table = _writable(relation)
    targets, partitions = delta.columns(table), table.metadata().partition_columns
    predicate, by_name, chosen = None, False, targets
    if words.peek("PARTITION"):
        raise refuse("INSERT … PARTITION")
    if words.take("BY", "NAME"):
        by_name = True
    elif words.peek("(") and not any(words.word(1) == w for w in ("SELECT", "WITH", "VALUES")):
        words.take("(")
        names = []
        while not words.take(")"):
            names += words.name()
            words.take(",")
        chosen = [_named(key, targets, name) for name in names]
    if words.take("REPLACE", "WHERE"):
        raise refuse("INSERT … REPLACE WHERE")
    query = words.rest()
    if literals := _literals(words):
        view = CreateView(LocalRelation(literals), _LITERALS, is_global=False, replace=True)
        session.client().execute_command(view.command(session.client()))
        query = f"SELECT * FROM {_LITERALS}"
    adapted = session.adapt(Words(query))
    sources = session.analyze(adapted)
    if by_name:
        chosen = [_named(key, targets, name) for name, _ in sources]
    if len(sources) != len(chosen):
        raise SqlError(
            "INSERT_COLUMN_ARITY_MISMATCH.NOT_ENOUGH_DATA_COLUMNS" if len(sources) < len(chosen)
            else "INSERT_COLUMN_ARITY_MISMATCH.TOO_MANY_DATA_COLUMNS",
            f"Cannot write to {text_of(key)}: the table has {len(chosen)} columns, the data {len(sources)}.",
        )  # fmt: skip
    if [(target.name, target.type) for target in targets] != [
        (t.name, kind) for t, (_, kind) in zip(chosen, sources, strict=True)
    ]:
        given = {target.name: (f"_{i}", kind) for i, ((_, kind), target) in enumerate(zip(sources, chosen, strict=True))}
        rest = [given.get(target.name) for target in targets]
        aliases = ", ".join(f"`_{i}`" for i in range(len(sources)))
        parts = [
            f"CAST(NULL AS {t.type}) AS `{t.name}`" if source is None
            else f"CAST(`{source[0]}` AS {t.type}) AS `{t.name}`" if source[1] != t.type else f"`{source[0]}` AS `{t.name}`"
            for t, source in zip(targets, rest, strict=True)
        ]  # fmt: skip
        adapted = session.adapt(Words(f"SELECT {', '.join(parts)} FROM ({query}) AS _source({aliases})"))
    rows = _rows(session, adapted, table.schema())
    mode = "overwrite" if overwrites else "append"
    if overwrites and partitions and session.setting("spark.sql.sources.partitionOverwriteMode", "static").lower() == "dynamic":
        predicate = _of_partitions(rows, partitions)
        if predicate is None:
            return _affected(0)
    if rows.num_rows or overwrites:
        _commit(relation.location, rows, "WRITE", mode=mode, **({"predicate": predicate} if predicate else {}))
    return _affected(rows.num_rows)


def _literals(words: Words) -> pa.Table | None:
    """VALUES of nothing but strings and NULL, as a seed has thousands of; None for anything else, which is Sail's to read."""
    if not words.take("VALUES"):
        return None
    rows, tokens = [], words.tokens
    kinds = {TokenType.STRING, TokenType.NULL}
    while words.take("("):
        row, separator = [], TokenType.COMMA
        while separator == TokenType.COMMA and words.at + 1 < len(tokens):
            value, separator = tokens[words.at], tokens[words.at + 1].token_type
            if value.token_type not in kinds:
                return None
            row.append(value.text if value.token_type == TokenType.STRING else None)
            words.at += 2
        rows.append(row)
        if separator != TokenType.R_PAREN:
            return None
        if not words.take(","):
            break
    else:
        return None
    columns = list(zip(*rows, strict=False))
    if not words.done or len({len(row) for row in rows}) > 1 or any(set(column) == {None} for column in columns):
        return None
    return pa.table([pa.array(column, pa.string()) for column in columns], [f"col{i + 1}" for i in range(len(columns))])


def _named(key: Name, targets: list[delta.Column], name: str) -> delta.Column:
    for target in targets:
        if target.name.lower() == name.lower():
            return target
    raise SqlError("UNRESOLVED_COLUMN.WITH_SUGGESTION", f"{text_of(key)} has no column `{name}`.")


def _of_partitions(rows: pa.Table, partitions: list[str]) -> str | None:
    """The predicate that holds in the partitions of these rows; None where there are no rows."""
    found = rows.select(partitions).group_by(partitions).aggregate([]).to_pylist()
    return " OR ".join("(" + " AND ".join(_equals(k, v) for k, v in row.items()) + ")" for row in found) or None


def _equals(name: str, value) -> str:
    if value is None:
        return f'"{name}" IS NULL'
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return f'"{name}" = {value}'
    text = str(value).replace("'", "''")
    return f"\"{name}\" = '{text}'"


def _replace(session: Session, relation: Relation, statement: str, query: str, affected: str) -> Result:
    """Put the rows of `query` in the place of the table's; `affected` counts what the statement changed."""
    with session.catalog.lock(relation.key):  # what is read here must be what is replaced
        table = _writable(relation)
        [count] = session.run(Words(affected)).table().to_pylist()[0].values()
        if count:
            _commit(table, _rows(session, session.adapt(Words(query)), table.schema()), statement, mode="overwrite")
    return _affected(count or 0)


def _alias(words: Words, until: tuple[str, ...]) -> str | None:
    words.take("AS")
    return words.name()[0] if not words.done and not any(map(words.peek, until)) else None


def delete(session: Session, words: Words) -> Result:
    words.need("FROM")
    relation = _table(session, words.relation(session.schema))
    alias = _alias(words, ("WHERE",))
    if not words.take("WHERE"):
        words.end()
    condition = words.rest() or "true"
    source = f"`{relation.schema}`.`{relation.name}`" + (f" AS `{alias}`" if alias else "")
    return _replace(
        session, relation, "DELETE", f"SELECT * FROM {source} WHERE NOT COALESCE(({condition}), false)",
        f"SELECT count(*) AS n FROM {source} WHERE {condition}",
    )  # fmt: skip


def _assignments(words: Words, alias: str, until: tuple[str, ...]) -> dict[str, str]:
    """column = expression, … as {column in lower case: expression}."""
    found = {}
    while True:
        *before, name = (part.lower() for part in words.name())
        if before and before != [alias.lower()]:
            raise refuse(f"SET {'.'.join([*before, name])} = …")
        words.need("=")
        found[name] = _until(words, (",", *until))
        if not words.take(","):
            return found


def update(session: Session, words: Words) -> Result:
    relation = _table(session, words.relation(session.schema))
    alias = _alias(words, ("SET",)) or relation.name
    words.need("SET")
    sets = _assignments(words, alias, ("WHERE",))
    condition = words.rest() if words.take("WHERE") else "true"
    source = f"`{relation.schema}`.`{relation.name}` AS `{alias}`"
    targets = delta.columns(delta.open_table(relation.location))
    for name in sets:
        _named(relation.key, targets, name)
    parts = []
    for target in targets:
        name, old = target.name.lower(), f"`{alias}`.`{target.name}`"
        if name in sets:
            parts.append(f"CASE WHEN {condition} THEN CAST({sets[name]} AS {target.type}) ELSE {old} END AS `{target.name}`")
        else:
            parts.append(f"{old} AS `{target.name}`")
    return _replace(
        session,
        relation,
        "UPDATE",
        f"SELECT {', '.join(parts)} FROM {source}",
        f"SELECT count(*) AS n FROM {source} WHERE {condition}",
    )


def merge(session: Session, words: Words) -> Result:
    """MERGE INTO target USING source ON … WHEN …, as the query of the rows that the target holds afterwards."""
    if words.take("WITH"):
        raise refuse("MERGE WITH SCHEMA EVOLUTION")
    words.need("INTO")
    relation = _table(session, words.relation(session.schema))
    target = _alias(words, ("USING",)) or relation.name
    words.need("USING")
    if words.peek("("):
        start = words.at
        words.skip_parentheses()
        source = words.sql[words.tokens[start].start : words.tokens[words.at - 1].end + 1]
        source_name = _alias(words, ("ON",)) or "_s"
    else:
        start = words.at
        name = words.name()
        source = words.sql[words.tokens[start].start : words.tokens[words.at - 1].end + 1]
        source_name = _alias(words, ("ON",)) or name[-1]
    words.need("ON")
    on = _until(words, ("WHEN",))
    matched, unmatched, lost = [], [], []
    while words.take("WHEN"):
        negative = words.take("NOT")
        words.need("MATCHED")
        by_source = words.take("BY", "SOURCE")
        words.take("BY", "TARGET")
        condition = _until(words, ("THEN",)) if words.take("AND") else "true"
        words.need("THEN")
        clauses = lost if by_source else unmatched if negative else matched
        clauses.append((condition, *_action(words, target)))
    words.end()
    targets = delta.columns(delta.open_table(relation.location))
    names = [t.name for t in targets]
    everything = session.adapt(Words(f"SELECT * FROM {source} AS `{source_name}`"))
    source_columns = {name.lower() for name, _ in session.analyze(everything)}
    t = f"`{relation.schema}`.`{relation.name}` AS `{target}`"
    s = f"{source} AS `{source_name}`"
    both = f"{t} INNER JOIN {s} ON {on}"

    def values(sets: dict[str, str] | None) -> dict[str, str]:
        if sets is None:  # UPDATE SET *, INSERT *
            missing = [name for name in names if name.lower() not in source_columns]
            if missing:
                raise SqlError("DELTA_MERGE_UNRESOLVED_EXPRESSION", f"The source of MERGE has no column `{missing[0]}`.")
            return {name.lower(): f"`{source_name}`.`{name}`" for name in names}
        for name in sets:
            _named(relation.key, targets, name)
        return sets

    def changed(clauses: list) -> tuple[str, str]:
        """The SELECT list for rows that clauses may update, and the condition under which one of them deletes a row."""
        columns = {name: [] for name in names}
        deletes, before = [], []
        for condition, action, sets in clauses:
            holds = f"(({condition}) AND {' AND '.join(before)})" if before else f"({condition})"
            before.append(f"NOT COALESCE(({condition}), false)")
            if action == "DELETE":
                deletes.append(holds)
                continue
            sets = values(sets)
            for column in targets:
                if column.name.lower() in sets:
                    new = f"CAST({sets[column.name.lower()]} AS {column.type})"
                    columns[column.name].append(f"WHEN {holds} THEN {new}")
        parts = [
            f"CASE {' '.join(cases)} ELSE `{target}`.`{name}` END AS `{name}`" if cases else f"`{target}`.`{name}` AS `{name}`"
            for name, cases in columns.items()
        ]
        return ", ".join(parts), " OR ".join(deletes) or "false"

    any_matched = " OR ".join(f"({condition})" for condition, *_ in matched) or "false"
    any_lost = " OR ".join(f"({condition})" for condition, *_ in lost) or "false"
    with session.catalog.lock(relation.key):
        table = _writable(relation)
        touched = f"{t} LEFT SEMI JOIN {s} ON ({on}) AND ({any_matched})"
        rows_touched = _count(session, touched)
        unconditional = all(action == "DELETE" and condition == "true" for condition, action, _ in matched)
        if not unconditional and _count(session, f"{both} WHERE {any_matched}") > rows_touched:
            raise SqlError(
                "DELTA_MULTIPLE_SOURCE_ROW_MATCHING_TARGET_ROW_IN_MERGE",
                "Cannot perform Merge as multiple source rows matched and attempted to modify the same target row.",
            )
        list_m, deletes_m = changed(matched)
        only_target = f"{t} LEFT ANTI JOIN {s} ON {on}"
        list_l, deletes_l = changed(lost)
        plain = ", ".join(f"`{target}`.`{name}`" for name in names)
        pieces = [
            f"SELECT {list_m} FROM {both} WHERE ({any_matched}) AND NOT COALESCE({deletes_m}, false)",
            f"SELECT {plain} FROM (SELECT `{target}`.* FROM {t} LEFT SEMI JOIN {s} ON {on}) AS `{target}`"
            f" LEFT ANTI JOIN {s} ON ({on}) AND ({any_matched})",  # matched, and no clause holds
            f"SELECT {list_l} FROM {only_target} WHERE NOT COALESCE({deletes_l}, false)",
        ]
        deleted = _count(session, f"{both} WHERE ({any_matched}) AND ({deletes_m})") if deletes_m != "false" else 0
        deleted += _count(session, f"{only_target} WHERE {deletes_l}") if deletes_l != "false" else 0
        changes = rows_touched + _count(session, f"{only_target} WHERE {any_lost}")
        before: list[str] = []
        inserted = 0
        only_source = f"{s} LEFT ANTI JOIN {t} ON {on}"
        for condition, _, sets in unmatched:
            sets = values(sets)
            parts = [f"CAST({sets.get(c.name.lower(), 'NULL')} AS {c.type}) AS `{c.name}`" for c in targets]
            where = " AND ".join([f"({condition})", *before])
            before.append(f"NOT COALESCE(({condition}), false)")
            pieces.append(f"SELECT {', '.join(parts)} FROM {only_source} WHERE {where}")
            inserted += _count(session, f"{only_source} WHERE {where}")
        if changes + inserted:
            rows = _rows(session, session.adapt(Words(" UNION ALL ".join(pieces))), table.schema())
            _commit(table, rows, "MERGE", mode="overwrite")
    counts = {"num_affected_rows": changes + inserted, "num_updated_rows": changes - deleted, "num_deleted_rows": deleted,
              "num_inserted_rows": inserted}  # fmt: skip
    return Result.rows(dict.fromkeys(counts, pa.int64()), [tuple(counts.values())])


def _count(session: Session, relation: str) -> int:
    return session.run(Words(f"SELECT count(*) AS n FROM {relation}")).table().column(0)[0].as_py()


def _until(words: Words, stops: tuple[str, ...]) -> str:
    """The text up to the first of these words that stands in no parentheses and no CASE."""
    start, depth = words.at, 0
    while not words.done and (depth or not any(map(words.peek, stops))):
        depth += {"(": 1, ")": -1, "CASE": 1, "END": -1}.get(words.word(), 0)
        words.at += 1
    return words.sql[words.tokens[start].start : words.tokens[words.at - 1].end + 1]


def _action(words: Words, alias: str) -> tuple[str, dict[str, str] | None]:
    if words.take("DELETE"):
        return "DELETE", None
    if words.take("UPDATE"):
        words.need("SET")
        return "UPDATE", None if words.take("*") else _assignments(words, alias, ("WHEN",))
    words.need("INSERT")
    if words.take("*"):
        return "INSERT", None
    names, expressions = [], []
    words.need("(")
    while not words.take(")"):
        names.append(words.name()[-1].lower())
        words.take(",")
    words.need("VALUES")
    words.need("(")
    while True:
        expressions.append(_until(words, (",", ")")))
        if words.take(")"):
            break
        words.need(",")
    return "INSERT", dict(zip(names, expressions, strict=True))


# ---- tables as a whole


def alter(session: Session, words: Words) -> Result:
    start = words.at
    key = words.relation(session.schema)
    if words.peek("RENAME"):
        words.at = start
        return alter_view(session, words)
    relation = _table(session, key)
    table = _writable(relation)
    if words.take("ADD", "COLUMNS") or words.take("ADD", "COLUMN"):
        inside = words.take("(")
        fields = list(_definitions(words, ")" if inside else "\0"))
        table.alter.add_columns(list(_schema(fields).fields))
    elif words.take("ADD", "CONSTRAINT"):
        [name] = words.name()
        words.need("CHECK")
        _add_check(table, name, words.skip_parentheses())
    elif words.take("DROP", "CONSTRAINT"):
        optional = words.take("IF", "EXISTS")
        table.alter.drop_constraint(words.name()[0], raise_if_not_exists=not optional)
    elif words.take("SET", "TBLPROPERTIES"):
        properties = words.properties()
        _check_properties(properties)
        table.alter.set_table_properties(properties, raise_if_not_exists=False)
    elif words.take("CHANGE", "COLUMN") or words.take("ALTER", "COLUMN") or words.take("CHANGE") or words.take("ALTER"):
        column = _named(key, delta.columns(table), words.name()[-1])
        if words.take("COMMENT"):
            table.alter.set_column_metadata(column.name, {"comment": words.string()})
        elif words.take("SET", "NOT", "NULL"):
            _add_check(table, f"{column.name}_not_null", f"`{column.name}` IS NOT NULL")
        else:
            raise refuse(f"ALTER TABLE … COLUMN … {words.word()}")
    else:
        raise refuse(f"ALTER TABLE … {words.word()} {words.word(1)}")
    words.end()
    session.catalog.put(relation.changed())
    return Result.of(NOTHING)


def _add_check(table: deltalake.DeltaTable, name: str, condition: str) -> None:
    try:
        table.alter.add_constraint({name: condition.replace("`", '"')})
    except DeltaError as error:
        raise SqlError(
            "DELTA_NEW_CHECK_CONSTRAINT_VIOLATION", f"Rows violate the new CHECK constraint {name}: {error}"[:300]
        ) from error


def comment_on(session: Session, words: Words) -> Result:
    start = words.at
    if words.take("TABLE"):
        relation = session.catalog.need(words.relation(session.schema))
        if not relation.view:
            words.need("IS")
            comment = "" if words.take("NULL") else words.string()
            words.end()
            _writable(relation).alter.set_table_description(comment)
            return Result.of(NOTHING)
    words.at = start
    return comment_on_view(session, words)


def history(session: Session, words: Words) -> Result:
    relation = _table(session, words.relation(session.schema))
    limit = int(words.rest()) if words.take("LIMIT") else None
    columns = {"version": pa.int64(), "timestamp": pa.timestamp("us", "UTC"), "operation": pa.string(),
               "operationParameters": pa.string(), "operationMetrics": pa.string()}  # fmt: skip
    rows = []
    for entry in delta.open_table(relation.location).history(limit):
        when = datetime.datetime.fromtimestamp(entry["timestamp"] / 1000, datetime.UTC)
        parts = [json.dumps(entry.get(name) or {}) for name in ("operationParameters", "operationMetrics")]
        rows.append((entry["version"], when, entry.get(_STATEMENT) or entry.get("operation"), *parts))
    return Result.rows(columns, rows)


def detail(session: Session, words: Words) -> Result:
    relation = _table(session, words.relation(session.schema))
    words.end()
    table = delta.open_table(relation.location)
    metadata, protocol = table.metadata(), table.protocol()
    columns = {"format": pa.string(), "id": pa.string(), "name": pa.string(), "description": pa.string(),
               "location": pa.string(), "partitionColumns": pa.list_(pa.string()), "numFiles": pa.int64(),
               "sizeInBytes": pa.int64(), "minReaderVersion": pa.int32(), "minWriterVersion": pa.int32()}  # fmt: skip
    row = ("delta", str(metadata.id), text_of(relation.key).replace("`", ""), metadata.description, f"file://{relation.location}",
           metadata.partition_columns, len(table.file_uris()), delta.size_in_bytes(table), protocol.min_reader_version,
           protocol.min_writer_version)  # fmt: skip
    return Result.rows(columns, [row])


def optimize(session: Session, words: Words) -> Result:
    table = _writable(_table(session, words.relation(session.schema)))
    if words.peek("WHERE"):
        raise refuse("OPTIMIZE … WHERE")
    if words.take("ZORDER", "BY"):
        words.need("(")
        names = []
        while not words.take(")"):
            names += words.name()
            words.take(",")
        metrics = table.optimize.z_order(names)
    else:
        metrics = table.optimize.compact()
    words.end()
    return Result.rows("path metrics", [(table.table_uri, json.dumps(metrics))])


def vacuum(session: Session, words: Words) -> Result:
    words.take("TABLE")
    table = _writable(_table(session, words.relation(session.schema)))
    hours = None
    if words.take("RETAIN"):
        hours = int(words.word())
        words.at += 1
        words.need("HOURS")
    dry_run = words.take("DRY", "RUN")
    words.end()
    try:
        paths = table.vacuum(retention_hours=hours, dry_run=dry_run)
    except DeltaError as error:
        raise SqlError("DELTA_VACUUM_RETENTION_PERIOD_TOO_SHORT", str(error)) from error
    return Result.rows("path", [(path,) for path in paths] if dry_run else [(table.table_uri,)])


def restore(session: Session, words: Words) -> Result:
    words.take("TABLE")
    relation = _table(session, words.relation(session.schema))
    table = _writable(relation)
    words.need("TO")
    words.need("VERSION")
    words.need("AS")
    words.need("OF")
    version = int(words.word())
    words.at += 1
    words.end()
    table.restore(version)
    session.catalog.put(relation.changed())
    return Result.of(NOTHING)


def show_partitions(session: Session, words: Words) -> Result:
    table = delta.open_table(_table(session, words.relation(session.schema)).location)
    names = table.metadata().partition_columns
    rows = sorted({tuple("" if p[n] is None else str(p[n]) for n in names) for p in table.partitions()})
    return Result.rows(" ".join(names), rows) if names else Result.of(NOTHING)


_DEFAULTS = {
    "spark.sql.ansi.enabled": "true",
    "spark.sql.session.timeZone": "UTC",
    "spark.databricks.clusterUsageTags.sparkVersion": RUNTIME_VERSION,
}


_UTC = ("UTC", "ETC/UTC")


def set_(session: Session, words: Words) -> Result:
    """SET key = value, SET key: the settings of this session."""
    if words.done:
        return Result.rows("key value", sorted(session.configuration.items()))
    if words.take("TIME", "ZONE"):
        if words.rest().strip("'\"").upper() not in _UTC:
            raise refuse("A session time zone other than UTC")
        return Result.of(NOTHING)
    key = ".".join(words.name())
    if not words.take("="):
        words.end()
        return Result.rows("key value", [(key, session.setting(key, _DEFAULTS.get(key, "<undefined>")))])
    value = words.rest().strip("'\"")
    if key == "spark.sql.ansi.enabled" and value.lower() != "true":
        raise refuse("SET spark.sql.ansi.enabled = false")
    if key == "spark.sql.session.timeZone" and value.upper() not in _UTC:
        raise refuse("A session time zone other than UTC")
    session.configuration[key] = value
    return Result.rows("key value", [(key, value)])


SAIL_HANDLERS: dict[tuple[str, ...], Handler] = {
    ("CREATE",): create,
    ("INSERT",): insert,
    ("DELETE",): delete,
    ("UPDATE",): update,
    ("MERGE",): merge,
    ("ALTER", "TABLE"): alter,
    ("COMMENT", "ON"): comment_on,
    ("DESCRIBE", "HISTORY"): history,
    ("DESC", "HISTORY"): history,
    ("DESCRIBE", "DETAIL"): detail,
    ("DESC", "DETAIL"): detail,
    ("OPTIMIZE",): optimize,
    ("VACUUM",): vacuum,
    ("RESTORE",): restore,
    ("SHOW", "PARTITIONS"): show_partitions,
    ("SET",): set_,
}
