"""The schema of schemaless JSON, worked out from all values that it must hold.

Each field has the type that all its values have: whole numbers and fractions together are doubles; what has
nothing in common (and a whole number beyond 64 bits) becomes text, as JSON. Every field may be null.
"""

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from connect.api import Field, Schema, SchemaType

_MANY_DIGITS: Final = re.compile(rb"\d{19}")
_INT64: Final = range(-(1 << 63), 1 << 63)

# Makes names of fields that a format allows, each another one.
Rename = Callable[[Iterable[str]], Sequence[str]]

BOOLEAN, LONG, DOUBLE, TEXT = SchemaType.BOOLEAN, SchemaType.INT64, SchemaType.FLOAT64, SchemaType.STRING
_PRIMITIVES: Final = (BOOLEAN, LONG, DOUBLE)


def loads(line: bytes) -> Any:
    """JSON, whole numbers of any size exactly."""
    return json.loads(line) if _MANY_DIGITS.search(line) else orjson.loads(line)


@dataclass(slots=True)
class Kind:
    """What is known of the values of one place. `type` None: they were all null. `is_mixed`: some become text
    that are none."""

    type: SchemaType | None = None
    is_mixed: bool = False
    fields: dict[str, "Kind"] = field(default_factory=dict)
    items: "Kind | None" = None
    _names: Sequence[str] = ()

    def add(self, value: Any) -> None:
        """Take one more value into account."""
        if value is None or (self.type is TEXT and self.is_mixed):
            return
        self.add_type(_type_of(value))
        self.is_mixed |= self.type is TEXT and not isinstance(value, str)
        if self.type is SchemaType.STRUCT:
            for name, item in value.items():
                self.fields.setdefault(name, Kind()).add(item)
        elif self.type is SchemaType.ARRAY:
            self.items = self.items or Kind()
            for item in value:
                self.items.add(item)

    def add_type(self, found: SchemaType) -> None:
        """Take the type of more values into account."""
        if self.type is None:
            self.type = found
        elif self.type is not found:
            numbers = {self.type, found} == {LONG, DOUBLE}
            self.type = DOUBLE if numbers else TEXT
            self.is_mixed |= not numbers

    @property
    def is_plain(self) -> bool:
        """Whether every value is of its schema's type as it stands."""
        if self.type is SchemaType.STRUCT:
            return bool(self.fields) and all(kind.is_plain for kind in self.fields.values())
        return not self.is_mixed and (self.items is None or self.items.is_plain)

    def schema(self, rename: Rename) -> Schema:
        """The schema that holds all of them."""
        if self.type is SchemaType.STRUCT and self.fields:
            self._names = rename(self.fields)
            kinds = enumerate(zip(self._names, self.fields.values(), strict=True))
            fields = tuple(Field(name, number, kind.schema(rename)) for number, (name, kind) in kinds)
            return Schema(SchemaType.STRUCT, optional=True, fields=fields)
        if self.type is SchemaType.ARRAY and self.items is not None:
            return Schema(SchemaType.ARRAY, optional=True, value_schema=self.items.schema(rename))
        return Schema(self.type if self.type in _PRIMITIVES else TEXT, optional=True)

    def fit(self, value: Any) -> Any:
        """One of them as that schema wants it."""
        if value is None:
            return None
        if self._names:
            kinds = zip(self._names, self.fields.items(), strict=True)
            return {name: kind.fit(value.get(given)) for name, (given, kind) in kinds}
        if self.type is SchemaType.ARRAY and self.items is not None:
            return [self.items.fit(item) for item in value]
        if self.type is DOUBLE:
            return float(value)
        if self.type in _PRIMITIVES or isinstance(value, str):
            return value
        return _text(value)


def _text(value: Any) -> str:
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # orjson's whole numbers end at 64 bits
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _type_of(value: Any) -> SchemaType:
    if isinstance(value, bool):
        return BOOLEAN
    if isinstance(value, int):
        return LONG if value in _INT64 else TEXT
    if isinstance(value, float):
        return DOUBLE
    if isinstance(value, dict):
        return SchemaType.STRUCT
    return SchemaType.ARRAY if isinstance(value, list) else TEXT
