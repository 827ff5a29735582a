"""Partition specs: read from settings as Iceberg's Kafka Connect sink has them, and applied to rows."""

import uuid
from collections.abc import Callable, Sequence
from typing import Any, Final

import pyarrow as pa
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema as IcebergSchema
from pyiceberg.transforms import (
    BucketTransform,
    DayTransform,
    HourTransform,
    IdentityTransform,
    MonthTransform,
    Transform,
    TruncateTransform,
    YearTransform,
)
from pyiceberg.typedef import Record

from connect.api import ConnectError
from connectors.s3.iceberg.arrays import UUID
from connectors.s3.iceberg.terms import Term

_FIRST_ID: Final = 1000  # Iceberg's own, for fields of partitions


def spec_for(terms: Sequence[Term], schema: IcebergSchema) -> PartitionSpec:
    """The spec of a new table; raises `ConnectError` if a column is not there or cannot be partitioned so."""
    fields = []
    for number, term in enumerate(terms):
        suffix, transform = _transform(term)
        try:
            source = schema.find_field(term.column)
        except ValueError as exc:
            columns = ", ".join(field.name for field in schema.fields)
            raise ConnectError(f"cannot partition by {term.text}: the columns are {columns}") from exc
        if not source.field_type.is_primitive or not transform.can_transform(source.field_type):
            raise ConnectError(f"cannot partition by {term.text}: it is of type {source.field_type}")
        name = term.column.replace(".", "_") + suffix
        fields.append(PartitionField(source.field_id, _FIRST_ID + number, transform, name))
    return PartitionSpec(*fields)


def _transform(term: Term) -> tuple[str, Transform[Any, Any]]:
    """What follows the column in the field's name, and the transform."""
    match term.transform:
        case "bucket":
            return "_bucket", BucketTransform(term.number or 0)
        case "truncate":
            return "_trunc", TruncateTransform(term.number or 0)
        case "year":
            return "_year", YearTransform()
        case "month":
            return "_month", MonthTransform()
        case "day":
            return "_day", DayTransform()
        case "hour":
            return "_hour", HourTransform()
        case _:
            return "", IdentityTransform()


class Partitioning:
    """Which partition of a table a row belongs to."""

    def __init__(self, spec: PartitionSpec, schema: IcebergSchema) -> None:
        self.spec = spec
        self._schema = schema
        self._columns: list[tuple[list[str], Callable[[Any], Any]]] = []
        for field in spec.fields:
            path = schema.find_column_name(field.source_id)
            assert path is not None, "a spec names columns that there are"
            source = schema.find_field(field.source_id).field_type
            self._columns.append((path.split("."), field.transform.transform(source)))

    def split(self, rows: pa.Table) -> dict[tuple[Any, ...], pa.Table]:
        """The rows of each partition, by the partition's values."""
        if not self._columns:
            return {(): rows}
        keys = list(zip(*(self._values(rows, path, do) for path, do in self._columns), strict=True))
        if keys.count(keys[0]) == len(keys):
            return {keys[0]: rows}
        places: dict[tuple[Any, ...], list[int]] = {}
        for index, key in enumerate(keys):
            places.setdefault(key, []).append(index)
        return {key: rows.take(pa.array(indices)) for key, indices in places.items()}

    def path(self, key: tuple[Any, ...]) -> str:
        """The folders of a partition, empty for a table without any."""
        return self.spec.partition_to_path(Record(*key), self._schema) if key else ""

    @staticmethod
    def _values(rows: pa.Table, path: Sequence[str], transform: Callable[[Any], Any]) -> list[Any]:
        array = rows.column(path[0]).combine_chunks()
        for name in path[1:]:
            array = array.flatten()[array.type.get_field_index(name)]
        encoded = _internal(array).dictionary_encode()
        results = [transform(value) for value in encoded.dictionary.to_pylist()]
        if array.type == UUID:
            results = [uuid.UUID(bytes=result) if isinstance(result, bytes) else result for result in results]
        return [None if index is None else results[index] for index in encoded.indices.to_pylist()]


def _internal(array: pa.Array) -> pa.Array:
    """Iceberg's own form of values: days and microseconds."""
    if isinstance(array, pa.ExtensionArray):
        return array.storage
    if pa.types.is_date32(array.type):
        return array.cast(pa.int32())
    if pa.types.is_timestamp(array.type) or pa.types.is_time64(array.type):
        return array.cast(pa.int64())
    return array
