"""Arrow arrays of a record's types as arrays of a table's types.

Whatever Arrow can cast without loss is taken: a narrower number, milliseconds as microseconds, text as the
date, time, decimal or UUID that it spells.
"""

import base64
import datetime
import uuid
from collections.abc import Callable, Sequence
from typing import Any, Final

import pyarrow as pa
from pyarrow import compute

UUID: Final = pa.uuid()
_UTC: Final = "UTC"


def conform(array: pa.Array, target: pa.DataType, name: str) -> pa.Array:
    """The same values as `target`; raises `ValueError`, which names the place, for one that does not fit."""
    if array.type == target:
        return array
    if array.null_count == len(array):
        return _nulls(len(array), target)
    try:
        if pa.types.is_struct(target) and pa.types.is_struct(array.type):
            return _struct(array, target, name)
        if _is_list(target) and _is_list(array.type):
            return _list(array, target, name)
        if pa.types.is_map(target) and (pa.types.is_map(array.type) or pa.types.is_struct(array.type)):
            return _map(array, target, name)
        return _cast(array, target)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as exc:
        raise ValueError(f"{name} is no {target}: {exc}") from exc


def conform_rows(rows: pa.StructArray, target: pa.Schema) -> pa.Table:
    """Rows (none of them null) as those of a table; columns that they have not are null."""
    columns = _children(rows, list(target), "the value")
    return pa.Table.from_arrays(columns, schema=target)


def _children(array: pa.StructArray, fields: Sequence[pa.Field], name: str) -> list[pa.Array]:
    found = dict(zip([field.name for field in array.type], array.flatten(), strict=True))
    present = len(array) - array.null_count
    children = []
    for field in fields:
        inner = found.get(field.name)
        where = f"{name}.{field.name}"
        child = _nulls(len(array), field.type) if inner is None else conform(inner, field.type, where)
        if not field.nullable and len(child) - child.null_count < present:
            raise ValueError(f"{where} is null or missing, and the table requires it")
        children.append(child)
    return children


def _struct(array: pa.StructArray, target: pa.DataType, name: str) -> pa.Array:
    fields = list(target)
    children = map(_filled, _children(array, fields, name), fields)
    return pa.StructArray.from_arrays(list(children), fields=fields, mask=array.is_null())


def _nulls(count: int, target: pa.DataType) -> pa.Array:
    if not pa.types.is_struct(target):
        return pa.nulls(count, target)
    fields = list(target)
    children = [_filled(_nulls(count, field.type), field) for field in fields]
    return pa.StructArray.from_arrays(children, fields=fields, mask=pa.array([True] * count, pa.bool_()))


def _filled(child: pa.Array, field: pa.Field) -> pa.Array:
    """Parquet's writer wants no null in a field that may not be null, even where the struct itself is."""
    if field.nullable or child.null_count == 0:
        return child
    whole = pa.concat_arrays([child, pa.array([_any_value(field.type)], field.type)])
    return whole.take(compute.if_else(child.is_null(), len(child), pa.array(range(len(child)))))


def _any_value(type_: pa.DataType) -> Any:
    """A value that nobody sees."""
    if pa.types.is_struct(type_):
        return {field.name: _any_value(field.type) for field in type_}
    if _is_list(type_) or pa.types.is_map(type_):
        return []
    if type_ == UUID:
        return bytes(16)
    if pa.types.is_fixed_size_binary(type_):
        return bytes(type_.byte_width)
    if pa.types.is_large_binary(type_) or pa.types.is_large_string(type_):
        return b""
    return False if pa.types.is_boolean(type_) else 0


def _list(array: pa.Array, target: pa.DataType, name: str) -> pa.Array:
    element = target.value_field
    values = conform(array.values, element.type, f"{name}[]")
    if not element.nullable and array.flatten().null_count:
        raise ValueError(f"{name}[] is null, and the table requires a value")
    kind = pa.LargeListArray if pa.types.is_large_list(target) else pa.ListArray
    offsets = array.offsets.cast(pa.int64() if kind is pa.LargeListArray else pa.int32())
    return kind.from_arrays(offsets, values, type=target, mask=array.is_null())


def _map(array: pa.Array, target: pa.DataType, name: str) -> pa.Array:
    if pa.types.is_struct(array.type):  # a JSON object
        rows = [None if row is None else list(row.items()) for row in array.to_pylist()]
        present = [None if row is None else [(k, v) for k, v in row if v is not None] for row in rows]
        return pa.array(present, target)
    keys = conform(array.keys, target.key_type, f"{name} (key)")
    items = conform(array.items, target.item_type, f"{name}{{}}")
    if not target.item_field.nullable and items.null_count:
        raise ValueError(f"{name}{{}} is null, and the table requires a value")
    return pa.MapArray.from_arrays(array.offsets, keys, items, type=target, mask=array.is_null())


def _cast(array: pa.Array, target: pa.DataType) -> pa.Array:
    source = array.type
    if target == UUID:
        as_bytes = _each(array, lambda value: uuid.UUID(value).bytes, pa.binary(16))
        return pa.ExtensionArray.from_storage(UUID, as_bytes)
    if pa.types.is_string(source):
        if pa.types.is_timestamp(target):
            return _text_as_timestamp(array, target)
        if pa.types.is_time64(target):
            return _each(array, datetime.time.fromisoformat, target)
        if pa.types.is_large_binary(target) or pa.types.is_fixed_size_binary(target):
            # As JSON of Connect has bytes.
            return _each(array, lambda value: base64.b64decode(value, validate=True), target)
    if pa.types.is_integer(source):
        # Numbers mean what they mean in Connect's logical types: days and milliseconds.
        if pa.types.is_timestamp(target):
            return array.cast(pa.int64()).cast(pa.timestamp("ms", target.tz)).cast(target)
        if pa.types.is_time64(target):
            return array.cast(pa.int32()).cast(pa.time32("ms")).cast(target)
        if pa.types.is_date32(target):
            return array.cast(pa.int32()).cast(target)
    return array.cast(target)


def _text_as_timestamp(array: pa.Array, target: pa.DataType) -> pa.Array:
    """ISO 8601; without an offset it is UTC, and a column without zone has the time in UTC."""
    unit = target.unit
    with_zone, without = pa.timestamp(unit, _UTC), pa.timestamp(unit)
    first, second = (with_zone, without) if target.tz is not None else (without, with_zone)
    try:
        return array.cast(first).cast(target)
    except pa.ArrowInvalid:
        if len(array) == 1:
            return array.cast(second).cast(target)
        return pa.concat_arrays([_text_as_timestamp(array[i : i + 1], target) for i in range(len(array))])


def _each(array: pa.Array, convert: Callable[[Any], Any], target: pa.DataType) -> pa.Array:
    return pa.array([None if value is None else convert(value) for value in array.to_pylist()], target)


def _is_list(type_: pa.DataType) -> bool:
    return bool(pa.types.is_list(type_) or pa.types.is_large_list(type_))
