"""Records as rows of a table: by their Connect schema, or, where they have none, by what their JSON holds."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import pyarrow as pa
from pyiceberg.schema import Schema as IcebergSchema
from pyiceberg.types import (
    BooleanType,
    DoubleType,
    FloatType,
    IcebergType,
    IntegerType,
    ListType,
    LongType,
    MapType,
    StringType,
    StructType,
)

from connect.api import DataError, JsonPayload, Schema, SchemaType, SinkRecord
from connectors.s3 import arrow_json
from connectors.s3.fields import where
from connectors.s3.formats import one_line
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
    """Values that a table takes once it has the columns that are wanted; None: it has them."""

    array: pa.StructArray
    columns: IcebergSchema | None
    first: SinkRecord
    is_inferred: bool = True

    def changes(self, table: StructType) -> list[Change]:
        """What a table needs before it can take them. An inferred schema has the widest types and allows
        nulls everywhere: of it only columns count that the table has not."""
        if self.columns is None:
            return []
        found = changes(table, self.columns.as_struct())
        return [change for change in found if change.is_new or not self.is_inferred]

    def fit(self, target: pa.Schema) -> pa.Table:
        """As rows of a table; raises `DataError`."""
        with _told(self.first, "does not fit the table"):
            return conform_rows(self.array, target)


class RowMaker:
    """Remembers the plan of each schema."""

    def __init__(self, *, all_optional: bool) -> None:
        def plan(schema: Schema) -> Plan:
            return Plan(table_schema(schema, all_optional=all_optional), arrow_type(schema))

        self._plan_of: Callable[[Schema], Plan] = lru_cache(_SCHEMAS_MAX)(plan)

    def rows(self, records: Sequence[SinkRecord], table: StructType | None) -> Rows:
        """The values of records of one schema, none of them null. `table` has the columns as they are now.
        Raises `DataError`."""
        schema, first = records[0].value_schema, records[0]
        if schema is None:
            columns = table or StructType()
            array = _read_lines(records, columns)
            return self._inferred(records, columns) if array is None else Rows(array, None, first)
        plan = self._plan_of(schema)
        with _told(first, "does not fit its schema"):
            array = pa.array([record.value for record in records], plan.arrow)
        return Rows(array, plan.columns, first, is_inferred=False)

    def _inferred(self, records: Sequence[SinkRecord], table: StructType) -> Rows:
        kind, first = _known(table), records[0]
        values = [record.value for record in records]
        for record, value in zip(records, values, strict=True):
            if type(value) is not dict:
                raise DataError(
                    f"{where(record)} has a value without schema that is no JSON object, and a table has rows"
                )
            kind.add(value)
        _prune(kind, table)
        if not kind.fields:
            raise DataError(f"{where(first)} has a value without any field that is not null")
        plan = self._plan_of(kind.schema(list))
        with _told(first, "does not fit the table"):
            array = pa.array([kind.fit(value) for value in values], plan.arrow)
        return Rows(array, plan.columns, first)


@contextmanager
def _told(record: SinkRecord, what: str) -> Iterator[None]:
    """Turns what Arrow and Python raise into `DataError`."""
    try:
        yield
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError, pa.ArrowException) as exc:
        raise DataError(f"the value of {where(record)} {what}: {exc}") from exc


def _read_lines(records: Sequence[SinkRecord], table: StructType) -> pa.StructArray | None:
    """JSON texts by Arrow's reader, which is several times as fast as Python's values; None if it cannot read
    them as what the columns are made of."""
    if not table.fields or any(type(record.raw_value) is not JsonPayload for record in records):
        return None
    lines = b"\n".join([*(one_line(record.raw_value.json) for record in records), b""])
    try:
        return arrow_json.rows(lines, pa.schema(_json_fields(table)))
    except TypeError:
        return None


def _json_fields(table: StructType) -> list[tuple[str, pa.DataType]]:
    return [(field.name, _json_type(field.field_type)) for field in table.fields]


def _json_type(column: IcebergType) -> pa.DataType:
    """As what a column's values are read from JSON; raises `TypeError` for one that Arrow cannot read."""
    if isinstance(column, StructType):
        return pa.struct(_json_fields(column))
    if isinstance(column, ListType):
        return pa.list_(_json_type(column.element_type))
    if isinstance(column, MapType):
        raise TypeError("a map is an object of any fields")
    if isinstance(column, IntegerType | LongType):
        return pa.int64()
    if isinstance(column, FloatType | DoubleType):
        return pa.float64()
    return pa.bool_() if isinstance(column, BooleanType) else pa.string()


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
