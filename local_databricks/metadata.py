"""What a client's browser of the catalog asks by the protocol's own calls: the columns of the answers, and the rows.

The columns are JDBC's (java.sql.DatabaseMetaData), as Spark's thrift server gives them (SparkGetColumnsOperation.scala and
its neighbours in apache/spark, sql/hive-thriftserver); the drivers read them by position.
"""

import re
from collections.abc import Iterator

import pyarrow as pa
from sqlglot import exp

from local_databricks.delta import Column
from local_databricks.settings import CATALOG

_TEXT, _INT, _SMALL, _BOOL = pa.string(), pa.int32(), pa.int16(), pa.bool_()


def _columns(texts: str, **others: pa.DataType) -> dict[str, pa.DataType]:
    return {name: others.get(name, _TEXT) for name in texts.split()}


CATALOGS = _columns("TABLE_CAT")
SCHEMAS = _columns("TABLE_SCHEM TABLE_CATALOG")
TABLES = _columns(
    "TABLE_CAT TABLE_SCHEM TABLE_NAME TABLE_TYPE REMARKS TYPE_CAT TYPE_SCHEM TYPE_NAME SELF_REFERENCING_COL_NAME REF_GENERATION"
)
TABLE_TYPES = _columns("TABLE_TYPE")
COLUMNS = _columns(
    "TABLE_CAT TABLE_SCHEM TABLE_NAME COLUMN_NAME DATA_TYPE TYPE_NAME COLUMN_SIZE BUFFER_LENGTH DECIMAL_DIGITS NUM_PREC_RADIX"
    " NULLABLE REMARKS COLUMN_DEF SQL_DATA_TYPE SQL_DATETIME_SUB CHAR_OCTET_LENGTH ORDINAL_POSITION IS_NULLABLE SCOPE_CATALOG"
    " SCOPE_SCHEMA SCOPE_TABLE SOURCE_DATA_TYPE IS_AUTO_INCREMENT",
    DATA_TYPE=_INT, COLUMN_SIZE=_INT, BUFFER_LENGTH=_INT, DECIMAL_DIGITS=_INT, NUM_PREC_RADIX=_INT, NULLABLE=_INT,
    SQL_DATA_TYPE=_INT, SQL_DATETIME_SUB=_INT, CHAR_OCTET_LENGTH=_INT, ORDINAL_POSITION=_INT, SOURCE_DATA_TYPE=_SMALL,
)  # fmt: skip
TYPE_INFO = _columns(
    "TYPE_NAME DATA_TYPE PRECISION LITERAL_PREFIX LITERAL_SUFFIX CREATE_PARAMS NULLABLE CASE_SENSITIVE SEARCHABLE"
    " UNSIGNED_ATTRIBUTE FIXED_PREC_SCALE AUTO_INCREMENT LOCAL_TYPE_NAME MINIMUM_SCALE MAXIMUM_SCALE SQL_DATA_TYPE"
    " SQL_DATETIME_SUB NUM_PREC_RADIX",
    DATA_TYPE=_INT, PRECISION=_INT, NULLABLE=_SMALL, CASE_SENSITIVE=_BOOL, SEARCHABLE=_SMALL, UNSIGNED_ATTRIBUTE=_BOOL,
    FIXED_PREC_SCALE=_BOOL, AUTO_INCREMENT=_BOOL, MINIMUM_SCALE=_SMALL, MAXIMUM_SCALE=_SMALL, SQL_DATA_TYPE=_INT,
    SQL_DATETIME_SUB=_INT, NUM_PREC_RADIX=_INT,
)  # fmt: skip
FUNCTIONS = _columns("FUNCTION_CAT FUNCTION_SCHEM FUNCTION_NAME REMARKS FUNCTION_TYPE SPECIFIC_NAME", FUNCTION_TYPE=_INT)
PRIMARY_KEYS = _columns("TABLE_CAT TABLE_SCHEM TABLE_NAME COLUMN_NAME KEY_SEQ PK_NAME", KEY_SEQ=_INT)
CROSS_REFERENCE = _columns(
    "PKTABLE_CAT PKTABLE_SCHEM PKTABLE_NAME PKCOLUMN_NAME FKTABLE_CAT FKTABLE_SCHEM FKTABLE_NAME FKCOLUMN_NAME KEY_SEQ"
    " UPDATE_RULE DELETE_RULE FK_NAME PK_NAME DEFERRABILITY",
    KEY_SEQ=_INT, UPDATE_RULE=_INT, DELETE_RULE=_INT, DEFERRABILITY=_INT,
)  # fmt: skip

#: Of each SQL type: its code in java.sql.Types, the digits or characters of its longest value, digits behind the point.
_TYPES: dict[str, tuple[int, int | None, int | None]] = {
    "BOOLEAN": (16, 1, None), "TINYINT": (-6, 3, 0), "SMALLINT": (5, 5, 0), "INT": (4, 10, 0), "BIGINT": (-5, 19, 0),
    "FLOAT": (6, 7, 7), "DOUBLE": (8, 15, 15), "DECIMAL": (3, 38, 38), "STRING": (12, None, None), "BINARY": (-2, None, None),
    "DATE": (91, 10, None), "TIMESTAMP": (93, 29, 6), "TIMESTAMP_NTZ": (93, 29, 6), "ARRAY": (2003, None, None),
    "MAP": (2000, None, None), "STRUCT": (2002, None, None), "VOID": (0, None, None), "INTERVAL": (1111, None, None),
}  # fmt: skip
_NUMBERS = ("TINYINT", "SMALLINT", "INT", "BIGINT", "FLOAT", "DOUBLE", "DECIMAL")
_NULLABLE, _NOT_NULL, _SEARCHABLE, _UNSEARCHABLE = 1, 0, 3, 0


def column_row(schema: str, table: str, column: Column, position: int) -> tuple:
    """A row of COLUMNS; position: from 0 on, as Spark's thrift server counts and the JDBC driver expects."""
    # the words of a type in upper case, and the names in it as they are
    kind = (
        exp.DataType.build(column.type, dialect="databricks").sql("databricks") if "<" in column.type else column.type.upper()
    )
    name = re.split(r"[<( ]", kind)[0]
    code, size, digits = _TYPES.get(name, (1111, None, None))
    if found := re.fullmatch(r"DECIMAL\((\d+),\s*(\d+)\)", kind):
        size, digits = int(found[1]), int(found[2])
    radix = 10 if name in _NUMBERS else None
    nullable, word = (_NULLABLE, "YES") if column.nullable else (_NOT_NULL, "NO")
    return (
        CATALOG, schema, table, column.name, code, kind, size, None, digits, radix, nullable, column.comment or "", None,
        None, None, None, position, word, None, None, None, None, "NO",
    )  # fmt: skip


def type_rows() -> Iterator[tuple]:
    """The rows of TYPE_INFO."""
    for name, (code, size, digits) in _TYPES.items():
        is_number = name in _NUMBERS
        quoted = "'" if name in ("STRING", "DATE", "TIMESTAMP", "TIMESTAMP_NTZ") else None
        search = _UNSEARCHABLE if name in ("ARRAY", "MAP", "STRUCT", "VOID") else _SEARCHABLE
        yield (
            name, code, size, quoted, quoted, "precision,scale" if name == "DECIMAL" else None, _NULLABLE, name == "STRING",
            search, not is_number, False, False, name, 0 if is_number else None, digits if is_number else None, None, None,
            10 if is_number else None,
        )  # fmt: skip
