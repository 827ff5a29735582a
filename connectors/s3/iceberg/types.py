"""Iceberg types of Connect schemas, and how a table must change to hold records of a schema.

Beside Connect's own logical types those of Debezium are known, so that captured tables keep their columns'
meaning.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Final

import pyarrow as pa
from pyiceberg.schema import Schema as IcebergSchema
from pyiceberg.types import (
    BinaryType,
    BooleanType,
    DateType,
    DecimalType,
    DoubleType,
    FloatType,
    IcebergType,
    IntegerType,
    ListType,
    LongType,
    MapType,
    NestedField,
    PrimitiveType,
    StringType,
    StructType,
    TimestampType,
    TimestamptzType,
    TimeType,
    UUIDType,
)

from connect.api import DataError, Schema, SchemaType
from connect.api.schemas import DATE, DECIMAL, TIME, TIMESTAMP

# Iceberg's own limit, and the precision where the schema has none in `connect.decimal.precision`.
DECIMAL_PRECISION_MAX: Final = 38


@dataclass(frozen=True, slots=True)
class _Kind:
    """The type of a column, and what Arrow makes of the Python values of a record."""

    iceberg: PrimitiveType
    arrow: pa.DataType


_PRIMITIVES: Final[Mapping[SchemaType, _Kind]] = {
    SchemaType.INT8: _Kind(IntegerType(), pa.int32()),
    SchemaType.INT16: _Kind(IntegerType(), pa.int32()),
    SchemaType.INT32: _Kind(IntegerType(), pa.int32()),
    SchemaType.INT64: _Kind(LongType(), pa.int64()),
    SchemaType.FLOAT32: _Kind(FloatType(), pa.float32()),
    SchemaType.FLOAT64: _Kind(DoubleType(), pa.float64()),
    SchemaType.BOOLEAN: _Kind(BooleanType(), pa.bool_()),
    SchemaType.STRING: _Kind(StringType(), pa.string()),
    SchemaType.BYTES: _Kind(BinaryType(), pa.binary()),
}
_LOGICAL: Final[Mapping[str, _Kind]] = {
    DATE: _Kind(DateType(), pa.date32()),
    TIME: _Kind(TimeType(), pa.time32("ms")),
    TIMESTAMP: _Kind(TimestamptzType(), pa.timestamp("ms", "UTC")),
    "io.debezium.time.Date": _Kind(DateType(), pa.date32()),
    "io.debezium.time.Time": _Kind(TimeType(), pa.time32("ms")),
    "io.debezium.time.MicroTime": _Kind(TimeType(), pa.time64("us")),
    "io.debezium.time.Timestamp": _Kind(TimestampType(), pa.timestamp("ms")),
    "io.debezium.time.MicroTimestamp": _Kind(TimestampType(), pa.timestamp("us")),
    "io.debezium.time.ZonedTimestamp": _Kind(TimestamptzType(), pa.string()),
    "io.debezium.data.Uuid": _Kind(UUIDType(), pa.string()),
}


def table_schema(schema: Schema, *, all_optional: bool = False) -> IcebergSchema:
    """The columns of a table for records of a struct. The ids are unique and otherwise of no meaning: the
    catalog gives a new table its own. Raises `DataError` for what Iceberg cannot hold."""
    if schema.type is not SchemaType.STRUCT:
        raise DataError(f"a table holds structs, and this is a value of type {schema.type.value}")
    struct = iceberg_type(schema, count(1), all_optional=all_optional)
    assert isinstance(struct, StructType), "a STRUCT becomes one"
    return IcebergSchema(*struct.fields)


def iceberg_type(schema: Schema, ids: Iterator[int], *, all_optional: bool = False) -> IcebergType:
    """The type of a column; its inner fields get `ids`."""

    def inner(of: Schema) -> IcebergType:
        return iceberg_type(of, ids, all_optional=all_optional)

    if schema.name == DECIMAL:
        return DecimalType(_precision(schema), _scale(schema))
    if schema.type is SchemaType.STRUCT:
        if not schema.fields:
            raise DataError(f"Iceberg cannot hold the struct {schema.name or ''}, which has no fields")
        return StructType(
            *(
                NestedField(
                    next(ids), field.name, inner(field.schema), doc=field.schema.doc,
                    required=not (field.schema.optional or all_optional),
                )
                for field in schema.fields
            )
        )  # fmt: skip
    if schema.type is SchemaType.ARRAY:
        element = _present(schema.value_schema)
        required = not (element.optional or all_optional)
        return ListType(next(ids), inner(element), element_required=required)
    if schema.type is SchemaType.MAP:
        key, value = _present(schema.key_schema), _present(schema.value_schema)
        required = not (value.optional or all_optional)
        return MapType(next(ids), inner(key), next(ids), inner(value), value_required=required)
    return _kind(schema).iceberg


def arrow_type(schema: Schema) -> pa.DataType:
    """What Arrow makes of the Python values of a schema; nulls are allowed everywhere."""
    if schema.name == DECIMAL:
        return pa.decimal128(_precision(schema), _scale(schema))
    if schema.type is SchemaType.STRUCT:
        return pa.struct([(field.name, arrow_type(field.schema)) for field in schema.fields])
    if schema.type is SchemaType.ARRAY:
        return pa.list_(arrow_type(_present(schema.value_schema)))
    if schema.type is SchemaType.MAP:
        return pa.map_(arrow_type(_present(schema.key_schema)), arrow_type(_present(schema.value_schema)))
    return _kind(schema).arrow


@dataclass(frozen=True, slots=True)
class Change:
    """What a table needs to hold the values of a schema: a column it has not (`type` with `is_new`), a wider
    type (`type`), or nulls (`optional`)."""

    path: tuple[str, ...]
    type: IcebergType | None = None
    is_new: bool = False
    optional: bool = False

    def __str__(self) -> str:
        name = ".".join(self.path)
        if self.is_new:
            return f"the column {name} of type {self.type}"
        return f"the type {self.type} for {name}" if self.type is not None else f"nulls in {name}"


def changes(table: StructType, wanted: StructType, path: tuple[str, ...] = ()) -> Iterator[Change]:
    """How the columns of `table` must change for values of `wanted`. Types that have no wider one in common
    are left alone: whether a value fits is found when it is written."""
    known = {field.name: field for field in table.fields}
    for field in wanted.fields:
        where = (*path, field.name)
        column = known.get(field.name)
        if column is None:
            yield Change(where, field.field_type, is_new=True)
            continue
        if column.required and not field.required:
            yield Change(where, optional=True)
        yield from _type_changes(column.field_type, field.field_type, where)


def _type_changes(has: IcebergType, wanted: IcebergType, path: tuple[str, ...]) -> Iterator[Change]:
    if isinstance(has, StructType) and isinstance(wanted, StructType):
        yield from changes(has, wanted, path)
    elif isinstance(has, ListType) and isinstance(wanted, ListType):
        yield from _type_changes(has.element_type, wanted.element_type, (*path, "element"))
    elif isinstance(has, MapType) and isinstance(wanted, MapType):
        yield from _type_changes(has.value_type, wanted.value_type, (*path, "value"))
    elif _is_wider(wanted, has):
        yield Change(path, wanted)


def _is_wider(wanted: IcebergType, has: IcebergType) -> bool:
    """Whether Iceberg allows a column of the type `has` to become `wanted`."""
    if isinstance(has, DecimalType) and isinstance(wanted, DecimalType):
        return wanted.scale == has.scale and wanted.precision > has.precision
    pairs = ((IntegerType, LongType), (FloatType, DoubleType))
    return any(isinstance(has, narrow) and isinstance(wanted, wide) for narrow, wide in pairs)


def _kind(schema: Schema) -> _Kind:
    logical = _LOGICAL.get(schema.name) if schema.name is not None else None
    return logical or _PRIMITIVES[schema.type]


def _scale(schema: Schema) -> int:
    return int(schema.parameters.get("scale", "0"))


def _precision(schema: Schema) -> int:
    precision = int(schema.parameters.get("connect.decimal.precision", DECIMAL_PRECISION_MAX))
    if precision > DECIMAL_PRECISION_MAX or not 0 <= _scale(schema) <= precision:
        raise DataError(
            f"Iceberg cannot hold a decimal of precision {precision} and scale {_scale(schema)}: "
            f"the precision may be {DECIMAL_PRECISION_MAX}, the scale from 0 to the precision"
        )
    return precision


def _present(schema: Schema | None) -> Schema:
    assert schema is not None, "an array or map says what it holds"
    return schema
