"""Names of fields, nested ones with dots where `field.syntax.version` is V2 (KIP-821)."""

import re
from collections.abc import Mapping
from typing import Any, Final

from connect.api import ConfigError, DataError, Field, Importance, Schema, SchemaType, setting
from connect.transforms.base import field_of, require_map

# A step in backticks (a backslash keeps one from ending it), or one without dots.
_STEP: Final = re.compile(r"`(?P<quoted>(?:\\`|[^`]|`(?!\.|\Z))*)`(?=\.|\Z)|(?P<plain>[^.]*)")


class FieldPath:
    """The way to a field: one step, or several in syntax V2."""

    __slots__ = ("_steps", "_text")

    def __init__(self, text: str, syntax: str) -> None:
        self._text = text
        self._steps = _steps(text) if syntax == "V2" else [text]

    def __str__(self) -> str:
        return self._text

    def field_in(self, schema: Schema) -> Field | None:
        """The field that the path leads to; None if there is none."""
        found: Field | None = None
        for step in self._steps:
            if schema.type is not SchemaType.STRUCT:
                raise DataError(f"Cannot look up fields on non-struct type: {step} of {self._text}")
            found = schema.field(step)
            if found is None:
                return None
            schema = found.schema
        return found

    def value_in_struct(self, schema: Schema, value: Mapping[str, Any], null_as_default: bool) -> Any:
        """The value of that field; null where a struct on the way is null."""
        part: Any = value
        for step in self._steps:
            if part is None:
                return None
            field = schema.by_name[step]
            part = field_of(part, field, null_as_default)
            schema = field.schema
        return part

    def value_in_map(self, value: Mapping[str, Any]) -> Any:
        """The same without a schema."""
        part: Any = value
        for index, step in enumerate(self._steps):
            if part is None:
                return None
            part = require_map(part, "nested field access" if index else "field access").get(step)
        return part


def _steps(text: str) -> list[str]:
    steps: list[str] = []
    position = 0
    while position <= len(text):
        step = _STEP.match(text, position)
        assert step is not None, "the pattern matches the empty string"
        if step["quoted"] is None and text.startswith("`", position):
            raise ConfigError(
                f"Incomplete backtick pair in path: [{text}], consider adding a backslash before backtick "
                f"at position {position} to escape it"
            )
        steps.append((step["quoted"] if step["quoted"] is not None else step["plain"]).replace(r"\`", "`"))
        position = step.end() + 1
    return steps


def syntax_setting() -> Any:
    """The setting that chooses the syntax."""
    return setting(
        "field.syntax.version", default="V1", importance=Importance.HIGH, choices=("V1", "V2"),
        doc="Defines the version of the syntax to access fields. V1 takes names as they are; V2 takes dots "
            "as the way into nested structs, and backticks around names that have dots themselves.",
    )  # fmt: skip
