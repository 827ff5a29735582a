"""include.schema.changes: what tables look like, in the topic named topic.prefix.

PostgreSQL's stream has no DDL; it describes a table before the first change that needs the description. The
events have the form of those of Debezium's other connectors, with `ddl` null: CREATE when a connector meets
the table for the first time since it was started, ALTER when it has changed since.
"""

import time
from collections.abc import Mapping
from typing import Any, Final

import orjson

from connect.api import JsonPayload, SourceRecord
from connect.api import schemas as connect
from connect.api.schemas import array, struct
from connectors.postgres.catalog import Column, TypeKind
from connectors.postgres.config import PostgresSourceConfig
from connectors.postgres.envelope import SOURCE
from connectors.postgres.naming import Names
from connectors.postgres.plan import Incoming, TablePlan
from connectors.postgres.source_types import UNLIMITED, source_type
from connectors.postgres.type_map import base_type
from connectors.postgres.values import decoder

_STRING, _INT, _BOOLEAN = connect.OPTIONAL_STRING, connect.OPTIONAL_INT32, connect.OPTIONAL_BOOLEAN
_COLUMN: Final = struct(
    {"name": connect.STRING, "jdbcType": connect.INT32, "nativeType": _INT, "typeName": connect.STRING,
     "typeExpression": _STRING, "charsetName": _STRING, "length": _INT, "scale": _INT,
     "position": connect.INT32, "optional": _BOOLEAN, "autoIncremented": _BOOLEAN, "generated": _BOOLEAN,
     "comment": _STRING, "defaultValueExpression": _STRING,
     "enumValues": array(connect.STRING, optional=True)},
    name="io.debezium.connector.schema.Column", version=1,
)  # fmt: skip
_TABLE: Final = struct(
    {"defaultCharsetName": _STRING, "primaryKeyColumnNames": array(connect.STRING, optional=True),
     "columns": array(_COLUMN), "comment": _STRING},
    name="io.debezium.connector.schema.Table", version=1, optional=True,
)  # fmt: skip
_CHANGE: Final = struct(
    {"type": connect.STRING, "id": connect.STRING, "table": _TABLE},
    name="io.debezium.connector.schema.Change", version=1,
)  # fmt: skip
_KEY: Final = struct(
    {"databaseName": connect.STRING}, name="io.debezium.connector.postgresql.SchemaChangeKey", version=1
)
_VALUE: Final = struct(
    {"source": SOURCE, "ts_ms": connect.INT64, "databaseName": _STRING, "schemaName": _STRING,
     "ddl": _STRING, "tableChanges": array(_CHANGE)},
    name="io.debezium.connector.postgresql.SchemaChangeValue", version=1,
)  # fmt: skip
# java.sql.Types of the JDBC driver.
_JDBC_ARRAY, _JDBC_VARCHAR, _JDBC_OTHER = 2003, 12, 1111
_JDBC_TYPES: Final = {
    "int2": 5, "int4": 4, "int8": -5, "oid": -5, "float4": 7, "float8": 8, "numeric": 2, "money": 8,
    "bool": -7, "bit": -7, "bpchar": 1, "char": 1, "varchar": 12, "text": 12, "name": 12, "bytea": -2,
    "date": 91, "time": 92, "timetz": 92, "timestamp": 93, "timestamptz": 93, "xml": 2009,
}  # fmt: skip


class SchemaChanges:
    """Makes the records, one for each structure of a table that was not told yet."""

    def __init__(self, config: PostgresSourceConfig, source_partition: Mapping[str, Any]) -> None:
        self._topic = Names(config).topic()
        self._source_partition = source_partition
        self._database = config.dbname
        self._key = JsonPayload(orjson.dumps({"databaseName": config.dbname}), decoder(_KEY))
        self._decode_value = decoder(_VALUE)
        self._told: dict[int, Any] = {}

    def record(self, plan: TablePlan, source: str, offset: Mapping[str, Any]) -> SourceRecord | None:
        """The record for a table that is described now, None where nothing is new; `source` is its block."""
        structure = (plan.table.full_name, _structure(plan))
        known = self._told.get(plan.table.oid)
        if known == structure:
            return None
        self._told[plan.table.oid] = structure
        change = {
            "type": "CREATE" if known is None else "ALTER",
            "id": f'"{plan.table.schema}"."{plan.table.name}"', "table": structure[1],
        }  # fmt: skip
        rest = {
            "ts_ms": time.time_ns() // 1_000_000, "databaseName": self._database,
            "schemaName": plan.table.schema, "ddl": None, "tableChanges": [change],
        }  # fmt: skip
        value = f'{{"source":{source},'.encode() + orjson.dumps(rest)[1:]
        return SourceRecord(
            self._source_partition, offset, self._topic, JsonPayload(value, self._decode_value),
            value_schema=_VALUE, key=self._key, key_schema=_KEY,
        )  # fmt: skip


def _structure(plan: TablePlan) -> dict[str, Any]:
    known = {column.name: column for column in plan.table.columns}
    columns = [
        _column(incoming, position, known.get(incoming.name))
        for position, incoming in enumerate(plan.incoming, 1)
    ]
    return {
        "defaultCharsetName": None, "primaryKeyColumnNames": list(plan.table.key), "columns": columns,
        "comment": None,
    }  # fmt: skip


def _column(incoming: Incoming, position: int, column: Column | None) -> dict[str, Any]:
    declared = source_type(incoming.type, incoming.typmod)
    base, _ = base_type(incoming.type, incoming.typmod)
    default = column.default if column else None
    return {
        "name": incoming.name, "jdbcType": _jdbc_type(incoming), "nativeType": base.oid,
        "typeName": declared.name, "typeExpression": declared.name, "charsetName": None,
        "length": None if declared.length == UNLIMITED else declared.length, "scale": declared.scale,
        "position": position, "optional": column is None or not column.not_null,
        "autoIncremented": default is not None and default.startswith("nextval("), "generated": None,
        "comment": None, "defaultValueExpression": default,
        "enumValues": list(base.labels) if base.kind is TypeKind.ENUM else None,
    }  # fmt: skip


def _jdbc_type(incoming: Incoming) -> int:
    base, _ = base_type(incoming.type, incoming.typmod)
    if base.element is not None:
        return _JDBC_ARRAY
    if base.kind is TypeKind.ENUM:
        return _JDBC_VARCHAR
    return _JDBC_TYPES.get(base.name, _JDBC_OTHER)
