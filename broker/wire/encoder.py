"""Responses from a handler's domain objects to bytes, driven by kio's class of the version.

The other direction of `decoder.py`, with the same rules: a domain class is a dataclass whose fields are
named as kio names them, the union of all served versions. A field that the version lacks is left out,
one that only the version has gets kio's default. Numbers that stand side by side are packed in one call,
so that a long list of partitions costs little. Values are as kio's: durations are timedeltas, a zero UUID
is None, errors are `ErrorCode`; but points in time are Unix milliseconds, for -1 means none.
"""

import dataclasses
import datetime
import struct
import types
import typing
import uuid
from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import Any

from broker.wire.decoder import item_class
from broker.wire.packing import uvarint

Put = Callable[[bytes], object]
Step = Callable[[Any, Put], object]
"""Puts a part of the structure it is given."""

Encode = Callable[[Any], bytes]

_NUMBERS = {
    "int8": "b",
    "int16": "h",
    "int32": "i",
    "int64": "q",
    "uint16": "H",
    "uint32": "I",
    "float64": "d",
    "bool": "?",
    "datetime_i64": "q",
    "error_code": "h",
}

_MILLISECOND = datetime.timedelta(milliseconds=1)
_UUID_ZERO = bytes(16)


def response_encoder(kio_class: Any, domain_class: type) -> Encode:
    """A function from a domain response to the body of kio's version of it.

    ValueError when a field is None that the version does not allow to be null.
    """
    write = _structure_writer(kio_class, domain_class)

    def encode(response: Any) -> bytes:
        parts: list[bytes] = []
        write(response, parts.append)
        return b"".join(parts)

    return encode


def _structure_writer(kio_class: Any, domain_class: type) -> Step:
    fields = [_Field(kio_class, field, domain_class) for field in dataclasses.fields(kio_class)]
    steps = list(_steps([field for field in fields if field.tag is None]))
    if kio_class.__flexible__:
        steps.append(_tags_writer([field for field in fields if field.tag is not None]))

    def write(value: Any, put: Put) -> None:
        for step in steps:
            step(value, put)

    return write


class _Field:
    """A field of kio's class, and what the domain class has for it."""

    def __init__(self, kio_class: Any, field: Any, domain_class: type) -> None:
        annotation = typing.get_type_hints(kio_class)[field.name]
        domain_annotation = typing.get_type_hints(domain_class).get(field.name)
        self.name: str = field.name
        self.tag: int | None = field.metadata.get("tag")
        self.default = field.default
        self.is_given = domain_annotation is not None
        self._where = f"{kio_class.__qualname__}.{field.name} of version {kio_class.__version__}"
        self._flexible: bool = kio_class.__flexible__
        self._nullable = types.NoneType in typing.get_args(annotation)
        self._kafka_type: str | None = field.metadata.get("kafka_type")
        kio_item, self._is_array = item_class(annotation)
        domain_item, _ = item_class(domain_annotation)
        self._write_item: Step | None = None
        if kio_item is not None and self.is_given:
            if domain_item is None:
                raise TypeError(f"{self._where} is a structure, the domain class has {domain_annotation}")
            self._write_item = _structure_writer(kio_item, domain_item)

    @property
    def number(self) -> str | None:
        """The format of a lone number from the domain object; None for anything else."""
        is_lone = self.is_given and not self._is_array
        return _NUMBERS.get(self._kafka_type or "") if is_lone else None

    def encoder(self) -> Encode:
        """From the field's value to its bytes."""
        if self._is_array:
            encode = self._array_encoder()
        elif self._write_item is not None:
            encode = self._structure_encoder(self._write_item)
        else:
            encode = _primitive_encoder(self._kafka_type or "", flexible=self._flexible)
        return encode if self._nullable or self._kafka_type == "uuid" else self._never_null(encode)

    def constant(self) -> bytes:
        """The bytes of a field that the domain object does not have."""
        if self.default is not dataclasses.MISSING:
            return self.encoder()(self.default)
        if self.name == "throttle_time":  # every response carries it; no handler throttles by itself
            return bytes(4)
        raise TypeError(f"{self._where} has no default and the domain class lacks it")

    def _array_encoder(self) -> Encode:
        flexible = self._flexible
        encode_items = self._items_encoder()
        null = b"\x00" if flexible else b"\xff\xff\xff\xff"

        def encode(items: tuple[Any, ...] | None) -> bytes:
            if items is None:
                return null
            count = uvarint(len(items) + 1) if flexible else len(items).to_bytes(4, "big")
            return count + encode_items(items) if items else count

        return encode

    def _items_encoder(self) -> Encode:
        write_item = self._write_item
        if write_item is not None:

            def encode_structures(items: Iterable[Any]) -> bytes:
                parts: list[bytes] = []
                for item in items:
                    write_item(item, parts.append)
                return b"".join(parts)

            return encode_structures
        number = _NUMBERS.get(self._kafka_type or "")
        if number is not None:
            return lambda items: struct.pack(f">{len(items)}{number}", *items)
        encode_item = _primitive_encoder(self._kafka_type or "", flexible=self._flexible)
        return lambda items: b"".join(map(encode_item, items))

    def _structure_encoder(self, write: Step) -> Encode:
        """A structure that may be null has a marker in front of it (KIP-893)."""
        nullable = self._nullable

        def encode(value: Any) -> bytes:
            if value is None:
                return b"\xff"
            parts = [b"\x01"] if nullable else []
            write(value, parts.append)
            return b"".join(parts)

        return encode

    def _never_null(self, encode: Encode) -> Encode:
        where = self._where

        def encode_value(value: Any) -> bytes:
            if value is None:
                raise ValueError(f"{where} must not be null")
            return encode(value)

        return encode_value


def _steps(fields: Iterable[_Field]) -> Iterable[Step]:
    """Numbers that follow each other become one step."""
    run: list[_Field] = []
    for field in fields:
        if field.number is not None:
            run.append(field)
            continue
        if run:
            yield _numbers_step(run)
            run = []
        yield _field_step(field)
    if run:
        yield _numbers_step(run)


def _numbers_step(fields: list[_Field]) -> Step:
    pack = struct.Struct(">" + "".join(field.number or "" for field in fields)).pack
    get = attrgetter(*(field.name for field in fields))
    if len(fields) == 1:
        return lambda value, put: put(pack(get(value)))
    return lambda value, put: put(pack(*get(value)))


def _field_step(field: _Field) -> Step:
    if not field.is_given:
        constant = field.constant()
        return lambda _, put: put(constant)
    encode, get = field.encoder(), attrgetter(field.name)
    return lambda value, put: put(encode(get(value)))


def _tags_writer(fields: list[_Field]) -> Step:
    """The tagged fields that differ from their defaults; a flexible structure ends with their number."""
    tags = [
        (field.tag, attrgetter(field.name), field.default, field.encoder())
        for field in sorted(fields, key=lambda field: field.tag or 0)
        if field.is_given
    ]
    if not tags:
        return lambda _, put: put(b"\x00")

    def write(value: Any, put: Put) -> None:
        present = [(tag, encode(get(value))) for tag, get, default, encode in tags if get(value) != default]
        put(uvarint(len(present)))
        for tag, data in present:
            put(uvarint(tag or 0) + uvarint(len(data)) + data)

    return write


def _primitive_encoder(kafka_type: str, *, flexible: bool) -> Encode:
    match kafka_type:
        case "string":
            return _text_encoder(flexible=flexible)
        case "bytes":
            return _bytes_encoder(flexible=flexible)
        case "uuid":
            return _uuid
        case "timedelta_i32":
            return lambda value: (value // _MILLISECOND).to_bytes(4, "big", signed=True)
        case "timedelta_i64":
            return lambda value: (value // _MILLISECOND).to_bytes(8, "big", signed=True)
        case _:
            return struct.Struct(">" + _NUMBERS[kafka_type]).pack


def _text_encoder(*, flexible: bool) -> Encode:
    def encode(value: str | None) -> bytes:
        if value is None:
            return b"\x00" if flexible else b"\xff\xff"
        data = value.encode()
        return (uvarint(len(data) + 1) if flexible else len(data).to_bytes(2, "big")) + data

    return encode


def _bytes_encoder(*, flexible: bool) -> Encode:
    def encode(value: bytes | None) -> bytes:
        if value is None:
            return b"\x00" if flexible else b"\xff\xff\xff\xff"
        return (uvarint(len(value) + 1) if flexible else len(value).to_bytes(4, "big")) + value

    return encode


def _uuid(value: uuid.UUID | None) -> bytes:
    return _UUID_ZERO if value is None else value.bytes
