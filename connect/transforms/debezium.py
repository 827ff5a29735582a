"""What Debezium's transforms share: what a change event is, settings of their kind, names for Avro."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Final

from pydantic import BeforeValidator

from connect.api import DataError, Field, Schema, SchemaType, setting

BEFORE: Final = "before"
AFTER: Final = "after"
SOURCE: Final = "source"


def is_envelope(schema: Schema | None) -> bool:
    """Whether values of this schema are change events: heartbeats and transaction markers are not."""
    return schema is not None and schema.name is not None and schema.name.endswith(".Envelope")


def typed_field(struct: Schema, name: str, kind: SchemaType | None = None) -> Field:
    """A field that must be there, and of that type; otherwise Connect's own words."""
    field = struct.field(name)
    if field is None:
        raise DataError(f"{name} is not a valid field name")
    if kind is not None and field.schema.type is not kind:
        raise DataError(f"Field '{name}' is not of type {kind.name}")
    return field


def get(row: Mapping[str, Any], field: Field) -> Any:
    """The value of a field, its default in place of null."""
    value = row.get(field.name)
    return field.schema.default if value is None else value


# The value of a setting made by `one_of`, in lower case.
Choice = Annotated[str, BeforeValidator(str.lower)]


def one_of(name: str, default: str | None, choices: Sequence[str], **details: Any) -> Any:
    """A setting with one of a few values, in upper or lower case; declare its field as `Choice`.
    With None for the default it is required."""

    def check(value: str) -> str | None:
        return None if value.lower() in choices else f"Value must be one of {', '.join(choices)}"

    if default is not None:
        details["default"] = default
    return setting(name, check=check, recommended=choices, **details)


def required(value: str) -> str | None:
    """The `check` of a text that must not be empty."""
    return None if value else "A value is required"


_LETTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_DIGITS: Final = "0123456789"
ADJUSTMENTS: Final = ("none", "avro", "avro_unicode")


def schema_namer(mode: str) -> Callable[[str], str]:
    """What `schema.name.adjustment.mode` makes of the name of a schema."""
    return _namer(mode, "." + _DIGITS)


def field_namer(mode: str) -> Callable[[str], str]:
    """What `field.name.adjustment.mode` makes of the name of a field."""
    return _namer(mode, _DIGITS)


def _namer(mode: str, also_inside: str) -> Callable[[str], str]:
    if mode == "none":
        return lambda name: name
    is_unicode = mode == "avro_unicode"
    first = frozenset(_LETTERS if is_unicode else _LETTERS + "_")
    inside = first | frozenset(also_inside)
    replacement = _escaped if is_unicode else lambda unit: "_"

    def adjusted(name: str) -> str:
        units = _utf16_units(name)
        parts = [unit if unit in inside else replacement(unit) for unit in units]
        if units and units[0] not in first:
            # The underscore does not replace a digit here, it goes before it: `1a` becomes `_1a`.
            keeps_digit = not is_unicode and units[0].isdigit()
            parts[0] = replacement(units[0]) + (units[0] if keeps_digit else "")
        return "".join(parts)

    return adjusted


def _utf16_units(name: str) -> list[str]:
    """Java's characters: those beyond U+FFFF are two."""
    data = name.encode("utf-16-be", "surrogatepass")
    return [chr(int.from_bytes(data[at : at + 2])) for at in range(0, len(data), 2)]


def _escaped(unit: str) -> str:
    digits = f"{ord(unit):x}"
    return f"_u00{digits}" if len(digits) <= 2 else f"_u{digits}"
