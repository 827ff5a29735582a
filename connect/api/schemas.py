"""Connect's data model: what a key, value or header value is.

A schema says what a value is; the value itself is plain Python:

| schema type | Python value |
|---|---|
| INT8 … INT64 | int |
| FLOAT32, FLOAT64 | float; a FLOAT32 as the shortest decimal that means it: 0.1, not 0.10000000149 |
| BOOLEAN, STRING, BYTES | bool, str, bytes |
| ARRAY, MAP | list, dict |
| STRUCT | dict with the fields' names as keys |

Logical types are told by the schema's name. `Decimal` values are `decimal.Decimal`; `Date`, `Time` and
`Timestamp` values stay the integers of their encoding (days; milliseconds of the day; milliseconds
since 1970), which hold every date that a database has, before year 1 and beyond 9999 too. Without a
schema, a value is what JSON has, and `decimal.Decimal`, `bytes` and `datetime.datetime` where a
converter or transform made one.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from typing import Any, Final


class SchemaType(StrEnum):
    """The types of Connect, spelled as JsonConverter spells them."""

    INT8 = "int8"
    INT16 = "int16"
    INT32 = "int32"
    INT64 = "int64"
    FLOAT32 = "float"
    FLOAT64 = "double"
    BOOLEAN = "boolean"
    STRING = "string"
    BYTES = "bytes"
    ARRAY = "array"
    MAP = "map"
    STRUCT = "struct"


DECIMAL: Final = "org.apache.kafka.connect.data.Decimal"
DATE: Final = "org.apache.kafka.connect.data.Date"
TIME: Final = "org.apache.kafka.connect.data.Time"
TIMESTAMP: Final = "org.apache.kafka.connect.data.Timestamp"


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a STRUCT; `index` is its place."""

    name: str
    index: int
    schema: "Schema"


@dataclass(frozen=True)
class Schema:
    """What a value is. Immutable; equal schemas compare equal, and the hash is computed once.

    `value_schema` is the element of an ARRAY and the value of a MAP; `key_schema` the key of a MAP.
    """

    type: SchemaType
    optional: bool = False
    name: str | None = None
    version: int | None = None
    doc: str | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)
    default: Any = None
    fields: tuple[Field, ...] = ()
    key_schema: "Schema | None" = None
    value_schema: "Schema | None" = None

    @cached_property
    def by_name(self) -> Mapping[str, Field]:
        """The fields of a STRUCT by name."""
        return {f.name: f for f in self.fields}

    @cached_property
    def defaults(self) -> Mapping[str, Any]:
        """The defaults of those fields of a STRUCT that have one."""
        return {f.name: f.schema.default for f in self.fields if f.schema.default is not None}

    @cached_property
    def _hash(self) -> int:
        return hash((self.type, self.optional, self.name, self.version, self.fields, self.key_schema,
                     self.value_schema))  # fmt: skip

    def __hash__(self) -> int:
        return self._hash

    def field(self, name: str) -> Field | None:
        """The field of a STRUCT of this name."""
        return self.by_name.get(name)

    def as_optional(self) -> "Schema":
        """The same schema, nullable."""
        return self if self.optional else replace(self, optional=True)

    def with_default(self, value: Any) -> "Schema":
        """The same schema with a default."""
        return replace(self, default=value)

    def walk(self) -> Iterator["Schema"]:
        """This schema and every schema inside it."""
        yield self
        for inner in (self.key_schema, self.value_schema):
            if inner is not None:
                yield from inner.walk()
        for member in self.fields:
            yield from member.schema.walk()


def struct(
    fields: Mapping[str, Schema] | Sequence[tuple[str, Schema]],
    *,
    name: str | None = None,
    optional: bool = False,
    version: int | None = None,
    doc: str | None = None,
    parameters: Mapping[str, str] | None = None,
) -> Schema:
    """A STRUCT schema of the named fields, in their order."""
    pairs = fields.items() if isinstance(fields, Mapping) else fields
    members = tuple(Field(field_name, index, schema) for index, (field_name, schema) in enumerate(pairs))
    return Schema(SchemaType.STRUCT, optional, name, version, doc, parameters or {}, fields=members)


def array(element: Schema, *, optional: bool = False, name: str | None = None) -> Schema:
    """An ARRAY schema."""
    return Schema(SchemaType.ARRAY, optional, name, value_schema=element)


def map_of(key: Schema, value: Schema, *, optional: bool = False, name: str | None = None) -> Schema:
    """A MAP schema."""
    return Schema(SchemaType.MAP, optional, name, key_schema=key, value_schema=value)


def decimal(scale: int, *, optional: bool = False, precision: int | None = None) -> Schema:
    """Connect's Decimal with `scale` digits behind the point."""
    parameters = {"scale": str(scale)}
    if precision is not None:
        parameters["connect.decimal.precision"] = str(precision)
    return Schema(SchemaType.BYTES, optional, DECIMAL, 1, None, parameters)


INT8: Final = Schema(SchemaType.INT8)
INT16: Final = Schema(SchemaType.INT16)
INT32: Final = Schema(SchemaType.INT32)
INT64: Final = Schema(SchemaType.INT64)
FLOAT32: Final = Schema(SchemaType.FLOAT32)
FLOAT64: Final = Schema(SchemaType.FLOAT64)
BOOLEAN: Final = Schema(SchemaType.BOOLEAN)
STRING: Final = Schema(SchemaType.STRING)
BYTES: Final = Schema(SchemaType.BYTES)
OPTIONAL_INT8: Final = INT8.as_optional()
OPTIONAL_INT16: Final = INT16.as_optional()
OPTIONAL_INT32: Final = INT32.as_optional()
OPTIONAL_INT64: Final = INT64.as_optional()
OPTIONAL_FLOAT32: Final = FLOAT32.as_optional()
OPTIONAL_FLOAT64: Final = FLOAT64.as_optional()
OPTIONAL_BOOLEAN: Final = BOOLEAN.as_optional()
OPTIONAL_STRING: Final = STRING.as_optional()
OPTIONAL_BYTES: Final = BYTES.as_optional()
