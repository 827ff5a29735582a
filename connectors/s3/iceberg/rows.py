"""Records as rows of a table: by their Connect schema, or, where they have none, by what their JSON holds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import pyarrow as pa
from pyiceberg.schema import Schema as IcebergSchema
from pyiceberg.types import IcebergType, ListType, MapType, StringType, StructType

from connect.api import DataError, Schema, SchemaType, SinkRecord
from connectors.s3.fields import where
from connectors.s3.iceberg.arrays import conform_rows
from connectors.s3.iceberg.types import Change, arrow_type, changes, table_schema
from connectors.s3.inferred import Kind

_SCHEMAS_MAX: Final = 1_024


@dataclass(frozen=True)
class Plan:
    """What a schema comes down to."""

    columns: IcebergSchema
    arrow: pa.DataType


@dataclass(frozen=True)
class Rows:
    """Values that a table takes once it has the columns that the plan wants."""

    plan: Plan
    values: Sequence[Any]
    first: SinkRecord
    is_inferred: bool = False

    def changes(self, table: StructType) -> list[Change]:
        """What a table needs before it can take them. An inferred schema has the widest types and allows
        nulls everywhere: of it only columns count that the table has not."""
        found = changes(table, self.plan.columns.as_struct())
        return [change for change in found if change.is_new or not self.is_inferred]

    def fit(self, target: pa.Schema) -> pa.Table:
        """As rows of a table; raises `DataError`."""
        try:
            return conform_rows(pa.array(self.values, self.plan.arrow), target)
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError, pa.ArrowException) as exc:
            raise DataError(f"the value of {where(self.first)} does not fit the table: {exc}") from exc


class RowMaker:
    """Remembers the plan of each schema."""

    def __init__(self, *, all_optional: bool) -> None:
        def plan(schema: Schema) -> Plan:
            return Plan(table_schema(schema, all_optional=all_optional), arrow_type(schema))

        self._plan_of: Callable[[Schema], Plan] = lru_cache(_SCHEMAS_MAX)(plan)

    def rows(self, records: Sequence[SinkRecord], table: StructType | None) -> Rows:
        """The values of records of one schema, none of them null. `table` has the columns as they are now."""
        schema = records[0].value_schema
        values = [record.value for record in records]
        if schema is not None:
            return Rows(self._plan_of(schema), values, records[0])
        return self._inferred(records, values, table or StructType())

    def _inferred(self, records: Sequence[SinkRecord], values: list[Any], table: StructType) -> Rows:
        kind = _known(table)
        for record, value in zip(records, values, strict=True):
            if type(value) is not dict:
                raise DataError(
                    f"{where(record)} has a value without schema that is no JSON object, and a table has rows"
                )
            kind.add(value)
        _prune(kind, table)
        if not kind.fields:
            raise DataError(f"{where(records[0])} has a value without any field that is not null")
        schema = kind.schema(list)
        fitting = values if kind.is_plain else [kind.fit(value) for value in values]
        return Rows(self._plan_of(schema), fitting, records[0], is_inferred=True)


def _known(column: IcebergType) -> Kind:
    """What a column is known to hold: text takes any JSON; the rest is seen by its values."""
    if isinstance(column, StructType):
        fields = {field.name: _known(field.field_type) for field in column.fields}
        return Kind(SchemaType.STRUCT, fields=fields)
    if isinstance(column, ListType):
        return Kind(SchemaType.ARRAY, items=_known(column.element_type))
    return Kind(SchemaType.STRING) if isinstance(column, StringType) else Kind()


def _prune(kind: Kind, column: IcebergType | None) -> None:
    """Forget fields of which nothing is known: neither has the table such a column, nor had any a value."""
    if isinstance(column, MapType):
        return
    fields = column.fields if isinstance(column, StructType) else ()
    known = {field.name: field.field_type for field in fields}
    for name, inner in list(kind.fields.items()):
        _prune(inner, known.get(name))
        if name not in known and _is_unknown(inner):
            del kind.fields[name]
    if kind.items is not None:
        _prune(kind.items, column.element_type if isinstance(column, ListType) else None)


def _is_unknown(kind: Kind) -> bool:
    if kind.type is SchemaType.STRUCT:
        return not kind.fields
    if kind.type is SchemaType.ARRAY:
        return kind.items is None or _is_unknown(kind.items)
    return kind.type is None
