"""The schema of schemaless JSON, worked out from all values that it must hold.

Each field has the type that all its values have: whole numbers and fractions together are doubles; what has
nothing in common (and a whole number beyond 64 bits) becomes text, as JSON. Every field may be null.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from connect.api import Field, Schema, SchemaType

_INT64: Final = range(-(1 << 63), 1 << 63)

# Makes names of fields that a format allows, each another one.
Rename = Callable[[Iterable[str]], Sequence[str]]

BOOLEAN, LONG, DOUBLE, TEXT = SchemaType.BOOLEAN, SchemaType.INT64, SchemaType.FLOAT64, SchemaType.STRING
_PRIMITIVES: Final = (BOOLEAN, LONG, DOUBLE)


@dataclass(slots=True)
class Kind:
    """What is known of the values of one place. `type` None: they were all null."""

    type: SchemaType | None = None
    fields: dict[str, "Kind"] = field(default_factory=dict)
    items: "Kind | None" = None
    _names: Sequence[str] = ()

    def add(self, value: Any) -> None:
        """Take one more value into account."""
        if value is None or self.type is TEXT:
            return
        found = _type_of(value)
        if self.type is None:
            self.type = found
        elif self.type is not found:
            numbers = {self.type, found} == {LONG, DOUBLE}
            self.type = DOUBLE if numbers else TEXT
        if self.type is SchemaType.STRUCT:
            for name, item in value.items():
                self.fields.setdefault(name, Kind()).add(item)
        elif self.type is SchemaType.ARRAY:
            self.items = self.items or Kind()
            for item in value:
                self.items.add(item)

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
        return orjson.dumps(value).decode()


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
