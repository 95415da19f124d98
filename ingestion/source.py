"""The source database: what is configured, what it looks like, and how it is read.

Bronze's contract names the columns; a real source may call them otherwise and lack the optional ones. One SELECT per
table maps the names and asks for exact text where a driver would round or fail (see ingestion.values).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from dlt.common.configuration import configspec
from dlt.common.configuration.exceptions import (
    ConfigFieldMissingException,
    ConfigValueCannotBeCoercedException,
    InvalidNativeValue,
)
from dlt.common.configuration.resolve import resolve_configuration
from dlt.common.configuration.specs import BaseConfiguration, ConnectionStringCredentials
from dlt.common.schema import Schema
from dlt.common.schema.typing import TColumnSchema
from dlt.sources.sql_database.schema_types import sqla_col_to_column_schema
from sqlalchemy.sql import sqltypes

from ingestion.settings import IngestionError, PassingError, first_line
from ingestion.values import DELETED, METADATA, RESCUED, pinned

SECTIONS = ("sources", "sql_database")
PREFIX = "SOURCES__SQL_DATABASE__"
CURSOR = "updated_at"
MAX_LAG_SECONDS = 10 * 366 * 86_400
_REFUSED = re.compile(r"authentication failed|access denied|login failed|does not exist|no password", re.IGNORECASE)
# PostgreSQL's URL without a driver means psycopg 3 to SQLAlchemy 2.1; the driver that is installed here is psycopg2.
_DRIVERS = {"postgresql": "postgresql+psycopg2", "postgres": "postgresql+psycopg2"}


@dataclass(frozen=True)
class TableContract:
    """A table of bronze.

    Attributes: name; key: its key column; columns: by name, in bronze's order, with the type that a column has if the
    source lacks it; required: the columns that the source must have.
    """

    name: str
    key: str
    columns: dict[str, TColumnSchema]
    required: frozenset[str]


def _typed(**types: str) -> dict[str, TColumnSchema]:
    amount = {"data_type": "decimal", "precision": 18, "scale": 2}
    return {
        name: {"name": name, "nullable": True, **(amount if kind == "amount" else {"data_type": kind})}
        for name, kind in types.items()
    }


INVOICES = TableContract(
    "invoices",
    "invoice_id",
    _typed(
        invoice_id="bigint",
        invoice_number="text",
        customer_id="text",
        country="text",
        invoice_date="date",
        due_date="date",
        currency_code="text",
        net_amount="amount",
        tax_amount="amount",
        total_amount="amount",
        status="text",
        created_at="timestamp",
        updated_at="timestamp",
    ),
    frozenset({"invoice_id", "country", "invoice_date", "currency_code", "total_amount", CURSOR}),
)
COUNTRIES = TableContract(
    "countries",
    "country_code",
    _typed(
        country_code="text",
        country_name="text",
        region="text",
        sub_region="text",
        currency_code="text",
        updated_at="timestamp",
    ),
    frozenset({"country_code", "country_name", CURSOR}),
)
CONTRACTS = (COUNTRIES, INVOICES)


@configspec
class SourceSettings(BaseConfiguration):
    """Settings of the source, in dlt's configuration section `sources.sql_database`; ingestion.load explains them."""

    credentials: ConnectionStringCredentials = None
    schema: str | None = None
    chunk_size: int = 50_000
    lag_seconds: float = 86_400.0
    compare_keys: bool = False
    max_deleted_share: float = 0.2


@configspec
class TableSettings(BaseConfiguration):
    """Settings of one table, in section `sources.sql_database.<table of bronze>`."""

    table_name: str | None = None
    column_names: dict[str, Any] | None = None


def settings() -> SourceSettings:
    """Return the source's settings from dlt's configuration; raises IngestionError naming a missing or bad one."""
    found = _resolve(SourceSettings(), SECTIONS)
    for name, fits, wish in (
        ("chunk_size", found.chunk_size >= 1, "at least 1"),
        ("lag_seconds", 0 <= found.lag_seconds <= MAX_LAG_SECONDS, "between 0 and ten years of seconds"),
        ("max_deleted_share", 0 <= found.max_deleted_share <= 1, "between 0 and 1"),
    ):
        if not fits:
            raise IngestionError(f"{PREFIX}{name.upper()} must be {wish}, not {getattr(found, name)}")
    return found


def engine(found: SourceSettings) -> sa.Engine:
    """Return an engine for the source that has answered once; raises IngestionError if it cannot be reached."""
    url = sa.make_url(found.credentials.to_native_representation())
    url = url.set(drivername=_DRIVERS.get(url.drivername, url.drivername))
    try:
        result = sa.create_engine(url)
    except sa.exc.NoSuchModuleError:
        raise IngestionError(f"{PREFIX}CREDENTIALS names the unknown kind of database {url.drivername!r}") from None
    except ImportError as error:
        raise IngestionError(
            f"the Python driver {error.name!r} for {url.drivername!r} is not installed ({PREFIX}CREDENTIALS)"
        ) from None
    try:
        with result.connect():
            return result
    except sa.exc.SQLAlchemyError as error:
        why = first_line(getattr(error, "orig", None) or error)
        # a server that refuses will refuse again; before there is a connection, the drivers' errors carry no code
        kind = IngestionError if _REFUSED.search(why) else PassingError
        raise kind(f"cannot reach the source database {url.render_as_string()} ({PREFIX}CREDENTIALS): {why}") from error


class SourceTable:
    """A table of the source, reflected and mapped onto its contract.

    Attributes: contract; table: the reflected table; columns: name in bronze -> column; pinned: name in bronze -> type
    in bronze; selection: a subquery with bronze's names that reads exact values.
    Raises: IngestionError naming a missing table or column, or a setting that does not fit.
    """

    def __init__(self, source: sa.Engine, schema: str | None, contract: TableContract):
        self.engine, self.contract = source, contract
        found = _resolve(TableSettings(), (*SECTIONS, contract.name))
        setting = f"{PREFIX}{contract.name.upper()}__"
        name = found.table_name or contract.name
        schema, name = name.rsplit(".", 1) if "." in name else (schema, name)
        self.name = f"{schema}.{name}" if schema else name
        try:
            self.table = sa.Table(name, sa.MetaData(schema=schema), autoload_with=source, resolve_fks=False)
        except sa.exc.NoSuchTableError:
            raise IngestionError(
                f"the source has no table {self.name} ({setting}TABLE_NAME or {PREFIX}SCHEMA names another)"
            ) from None
        self.columns = self._mapped(found.column_names or {}, setting)
        self.pinned = {
            name: pinned({**sqla_col_to_column_schema(column, "full_with_precision"), "name": name})
            for name, column in self.columns.items()
        }
        if self.pinned[CURSOR]["data_type"] not in ("timestamp", "date"):
            raise IngestionError(
                f"column {self.columns[CURSOR].name} of {self.name} has type {self.columns[CURSOR].type}, but the "
                f"incremental load needs a timestamp; {setting}COLUMN_NAMES can name another column as {CURSOR}"
            )
        self.selection = sa.select(*(self._exact(name, column).label(name) for name, column in self.columns.items())).subquery(
            contract.name
        )

    def keys(self, chunk_size: int) -> Iterator[pa.Array]:
        """Yield all keys that the source holds now, null ones left out, in Arrow arrays of `chunk_size` keys."""
        key = self.selection.c[self.contract.key]
        with self.engine.connect() as connection:
            result = connection.execution_options(yield_per=chunk_size).execute(sa.select(key).where(key.is_not(None)))
            for rows in result.partitions():
                yield pa.array([row[0] for row in rows])

    def _mapped(self, names: dict[str, str], setting: str) -> dict[str, sa.Column]:
        contract, present = self.contract.columns, self.table.columns
        if not isinstance(names, dict) or unknown_names(names, contract):
            raise IngestionError(
                f"{setting}COLUMN_NAMES must be a JSON object from columns of bronze ({', '.join(contract)}) to "
                f"columns of the source, not {names!r}"
            )
        columns: dict[str, sa.Column] = {}
        for name in contract:
            source_name = names.get(name, name)
            if source_name in present:
                columns[name] = present[source_name]
            elif name in names or name in self.contract.required:
                raise IngestionError(
                    f"the source table {self.name} has no column {source_name!r}; it has {', '.join(present.keys())} "
                    f"({setting}COLUMN_NAMES maps other names)"
                )
        used = {column.name for column in columns.values()}
        normalise = Schema("bronze").naming.normalize_identifier
        for column in present:
            if column.name not in used:
                name = normalise(column.name)
                # A column that only happens to have a contract's name, or one of ours, keeps its values under another.
                if name in columns or name in contract or name in (RESCUED, DELETED, *METADATA):
                    name = f"source_{name.lstrip('_')}"
                if name in columns:
                    raise IngestionError(f"two columns of {self.name} would both be called {name!r} in bronze")
                columns[name] = column
        return columns

    def _exact(self, name: str, column: sa.Column) -> sa.ColumnElement:
        kind = column.type
        if name == CURSOR and isinstance(kind, sqltypes.Date) and not isinstance(kind, sqltypes.DateTime):
            return sa.cast(column, sa.DateTime())
        floating = isinstance(kind, sqltypes.Numeric) and kind.asdecimal is False
        native = (sqltypes.Integer, sqltypes.String, sqltypes.Boolean, sqltypes.DateTime, sqltypes.LargeBinary)
        plain = floating or (isinstance(kind, native) and not isinstance(kind, sqltypes.Enum))
        return column if plain else sa.cast(column, sa.Text())


def unknown_names(names: dict[str, str], contract: dict[str, TColumnSchema]) -> list[str]:
    """Return the names of a mapping that the contract does not know or that do not map to text."""
    return [name for name, value in names.items() if name not in contract or not isinstance(value, str)]


def _resolve(spec: BaseConfiguration, sections: tuple[str, ...]) -> Any:
    prefix = "__".join(sections).upper() + "__"
    try:
        return resolve_configuration(spec, sections=sections)
    except (ConfigFieldMissingException, InvalidNativeValue):
        # dlt's own text would repeat the value, and with it the password.
        raise IngestionError(
            f"{prefix}CREDENTIALS is not set to a SQLAlchemy URL such as postgresql://user:password@host:5432/database"
        ) from None
    except ConfigValueCannotBeCoercedException as error:
        wish = {bool: "true or false", int: "a whole number", float: "a number"}.get(error.hint, "a JSON object")
        raise IngestionError(f"{prefix}{error.field_name.upper()} must be {wish}, not {error.field_value!r}") from None
