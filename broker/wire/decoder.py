"""Requests from bytes to a handler's domain objects, driven by kio's class of the version.

kio's own decoder is native, but a compact array count that no frame could hold makes it allocate for
that count and abort the process. So its classes serve as the schema only, and every length is
checked here against the bytes that are really there. As in Kafka: bytes after the body, unknown tags
and a null array where none is allowed are tolerated, and text that is no UTF-8 is read with
replacement characters.

The domain class is the union of all served versions, its fields named as kio names them: a field
that the version lacks gets the domain class's default, one that only the version has is read and
dropped.
"""

import dataclasses
import datetime
import struct
import types
import typing
import uuid
from collections.abc import Callable
from typing import Any, TypeVar

from broker.wire.errors import ErrorCode, ProtocolViolation

ARRAY_ITEMS_MAX = 250_000
"""More items than that in one array is no request that a client means."""

Reader = Callable[[memoryview, int], tuple[Any, int]]
D = TypeVar("D")

_UUID_ZERO = bytes(16)


def request_decoder(kio_class: Any, domain_class: type[D]) -> Callable[[memoryview, int], D]:
    """A function `(frame, position) -> domain request`, which raises ProtocolViolation and nothing else."""
    read = _entity_reader(kio_class, domain_class)

    def decode(frame: memoryview, position: int) -> D:
        try:
            request: D = read(frame, position)[0]
        except (struct.error, IndexError, ValueError, OverflowError) as exc:
            raise ProtocolViolation(f"{kio_class.__name__} version {kio_class.__version__}: {exc}") from exc
        return request

    return decode


def item_class(annotation: Any) -> tuple[type | None, bool]:
    """The dataclass in `X`, `X | None`, `tuple[X, ...]` or `tuple[X, ...] | None`, and whether in a tuple."""
    origin = typing.get_origin(annotation)
    if origin in (types.UnionType, typing.Union):
        (annotation,) = (a for a in typing.get_args(annotation) if a is not types.NoneType)
        origin = typing.get_origin(annotation)
    in_tuple = origin is tuple
    if in_tuple:
        annotation = typing.get_args(annotation)[0]
    is_class = isinstance(annotation, type) and dataclasses.is_dataclass(annotation)
    return (annotation if is_class else None), in_tuple


# --- lengths and the primitive types ---


def read_uvarint(frame: memoryview, position: int) -> tuple[int, int]:
    """An unsigned varint of at most five bytes."""
    byte = frame[position]
    if byte < 0x80:
        return byte, position + 1
    value, shift = byte & 0x7F, 7
    while True:
        position += 1
        byte = frame[position]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position + 1
        shift += 7
        if shift > 28:
            raise ValueError("varint of more than five bytes")


def _number(form: str) -> Reader:
    layout = struct.Struct(form)
    unpack, size = layout.unpack_from, layout.size

    def read(frame: memoryview, position: int) -> tuple[Any, int]:
        return unpack(frame, position)[0], position + size

    return read


_read_int16 = _number(">h")
_read_int32 = _number(">i")
_read_int64 = _number(">q")


def _read_compact_length(frame: memoryview, position: int) -> tuple[int, int]:
    length, position = read_uvarint(frame, position)
    return length - 1, position


def _converted(read: Reader, convert: Callable[[Any], Any]) -> Reader:
    def read_converted(frame: memoryview, position: int) -> tuple[Any, int]:
        value, position = read(frame, position)
        return convert(value), position

    return read_converted


def _sized(read_length: Reader, convert: Callable[[memoryview], Any], *, nullable: bool = False) -> Reader:
    def read(frame: memoryview, position: int) -> tuple[Any, int]:
        length, position = read_length(frame, position)
        if length < 0:
            if not nullable:
                raise ValueError("null where none is allowed")
            return None, position
        end = position + length
        if end > len(frame):
            raise ValueError(f"{length} bytes announced, {len(frame) - position} there")
        return convert(frame[position:end]), end

    return read


def _array(read_length: Reader, read_item: Reader, *, nullable: bool) -> Reader:
    def read(frame: memoryview, position: int) -> tuple[tuple[Any, ...] | None, int]:
        count, position = read_length(frame, position)
        if count < 0:
            return (None if nullable else ()), position
        if count > min(len(frame) - position, ARRAY_ITEMS_MAX):
            raise ValueError(f"{count} array items announced, {len(frame) - position} bytes there")
        items = []
        for _ in range(count):
            item, position = read_item(frame, position)
            items.append(item)
        return tuple(items), position

    return read


def _text(data: memoryview) -> str:
    return str(data, "utf-8", "replace")


def _uuid(data: memoryview) -> uuid.UUID | None:
    return None if data == _UUID_ZERO else uuid.UUID(bytes=bytes(data))


def _milliseconds(value: int) -> datetime.timedelta:
    return datetime.timedelta(milliseconds=value)


_FIXED: dict[str, Reader] = {
    "int8": _number(">b"),
    "int16": _read_int16,
    "int32": _read_int32,
    "int64": _read_int64,
    "uint16": _number(">H"),
    "uint32": _number(">I"),
    "float64": _number(">d"),
    "bool": _number(">?"),
    "error_code": _converted(_read_int16, ErrorCode),
    "timedelta_i32": _converted(_read_int32, _milliseconds),
    "timedelta_i64": _converted(_read_int64, _milliseconds),
    "uuid": _sized(lambda frame, position: (16, position), _uuid),
}


def _primitive_reader(kafka_type: str, *, flexible: bool, nullable: bool) -> Reader:
    if kafka_type == "string":
        return _sized(_read_compact_length if flexible else _read_int16, _text, nullable=nullable)
    if kafka_type in ("bytes", "records"):
        return _sized(_read_compact_length if flexible else _read_int32, bytes, nullable=nullable)
    return _FIXED[kafka_type]


# --- structures ---


def _field_reader(field: Any, annotation: Any, domain_annotation: Any, *, flexible: bool) -> Reader:
    kio_item, in_tuple = item_class(annotation)
    nullable = types.NoneType in typing.get_args(annotation)
    if kio_item is not None:
        read = _entity_reader(kio_item, item_class(domain_annotation)[0])
        if nullable and not in_tuple:
            read = _nullable(read)
    else:
        # In an array the null is the array's, never an item's.
        kafka_type = field.metadata["kafka_type"]
        read = _primitive_reader(kafka_type, flexible=flexible, nullable=nullable and not in_tuple)
    if in_tuple:
        read = _array(_read_compact_length if flexible else _read_int32, read, nullable=nullable)
    return read


def _nullable(read_entity: Reader) -> Reader:
    """A structure that may be null has a marker in front of it (KIP-893)."""

    def read(frame: memoryview, position: int) -> tuple[Any, int]:
        if frame[position] >= 0x80:
            return None, position + 1
        return read_entity(frame, position + 1)

    return read


def _entity_reader(kio_class: Any, domain_class: type | None) -> Reader:
    """Reads one structure. Without a domain class its values are read and dropped."""
    flexible: bool = kio_class.__flexible__
    annotations = typing.get_type_hints(kio_class)
    wanted = typing.get_type_hints(domain_class) if domain_class else {}
    plain: list[tuple[str | None, Reader]] = []
    tagged: dict[int, tuple[str | None, Reader]] = {}
    for field in dataclasses.fields(kio_class):
        name = field.name if field.name in wanted else None
        read_field = _field_reader(field, annotations[field.name], wanted.get(field.name), flexible=flexible)
        if "tag" in field.metadata:
            tagged[field.metadata["tag"]] = (name, read_field)
        else:
            plain.append((name, read_field))

    def read(frame: memoryview, position: int) -> tuple[Any, int]:
        values: dict[str, Any] = {}
        for name, read_field in plain:
            value, position = read_field(frame, position)
            if name is not None:
                values[name] = value
        if flexible:
            position = _read_tags(frame, position, tagged, values)
        return (domain_class(**values) if domain_class else None), position

    return read


def _read_tags(
    frame: memoryview,
    position: int,
    tagged: dict[int, tuple[str | None, Reader]],
    values: dict[str, Any],
) -> int:
    count = frame[position]
    if count == 0:
        return position + 1
    count, position = read_uvarint(frame, position)
    for _ in range(count):
        tag, position = read_uvarint(frame, position)
        size, position = read_uvarint(frame, position)
        end = position + size
        if end > len(frame):
            raise ValueError(f"tag {tag}: {size} bytes announced, {len(frame) - position} there")
        if tag in tagged:
            name, read_field = tagged[tag]
            value, _ = read_field(frame[:end], position)
            if name is not None:
                values[name] = value
        position = end
    return position
