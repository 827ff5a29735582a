"""How values of a schema are walked through, worked out once: shared by the writer and the reader of JSON.

What must be done with a value depends on its schema and on its Python type. A *chooser* answers that for a
type: an action, or None where the value is right as it is; it raises `DataError` for a type that does not
fit. A struct remembers the answers for each mix of its fields' types, so that of a record only those
parts are looked at that have something to be done. Actions return the very same object when they find
nothing to change, and a changed copy otherwise.
"""

from collections.abc import Callable, Mapping, Sequence
from operator import is_
from typing import Any, Final, Literal

from connect.api import DataError, Schema, SchemaType

Action = Callable[[Any], Any]
Chooser = Callable[[type], Action | None]

# How many mixes of types one struct remembers.
_MIXES_MAX: Final = 256


def part_of(schema: Schema, part: Literal["key_schema", "value_schema"]) -> Schema:
    """The schema of the elements, keys or values of an array or map."""
    found: Schema | None = getattr(schema, part)
    if found is None:
        raise DataError(f"A schema of type {schema.type} does not say what it is made of")
    return found


def key_of(schema: Schema) -> Schema:
    """The schema of a map's keys, which must be one whose values a dict can have as keys."""
    key = part_of(schema, "key_schema")
    if key.type in (SchemaType.STRUCT, SchemaType.ARRAY, SchemaType.MAP):
        raise DataError(f"Maps with keys of type {key.type.name} are not supported")
    return key


def perform(choose: Chooser) -> Action:
    """The action for values of any type."""

    def act(value: Any) -> Any:
        action = choose(type(value))
        return value if action is None else action(value)

    return act


def struct_action(
    schema: Schema, members: Sequence[Chooser], in_order: Callable[[dict[str, Any]], dict[str, Any]]
) -> Action:
    """The action for a struct. `in_order` makes the dict with all fields in the schema's order."""
    names = tuple(member.name for member in schema.fields)
    known: dict[tuple[type, ...], list[tuple[str, Action]]] = {}

    def act(value: dict[str, Any]) -> Any:
        if (*value,) != names:
            value = in_order(value)
        mix = (*map(type, value.values()),)
        steps = known.get(mix)
        if steps is None:
            chosen = [(name, choose(kind)) for name, choose, kind in zip(names, members, mix, strict=True)]
            steps = [(name, action) for name, action in chosen if action is not None]
            if len(known) < _MIXES_MAX:
                known[mix] = steps
        changed = value
        for name, action in steps:
            part = value[name]
            new = action(part)
            if new is not part:
                if changed is value:
                    changed = value.copy()
                changed[name] = new
        return changed

    return act


def array_action(element: Chooser) -> Action:
    """The action for a list."""

    def act(value: Sequence[Any]) -> Any:
        actions = {kind: element(kind) for kind in set(map(type, value))}
        if not any(actions.values()):
            return value
        changed = _each(value, actions)
        return value if all(map(is_, changed, value)) else changed

    return act


def map_action(key: Chooser, member: Chooser) -> Action:
    """The action for a dict that JSON has as an object."""

    def act(value: Mapping[Any, Any]) -> Any:
        keys = {kind: key(kind) for kind in set(map(type, value))}
        members = {kind: member(kind) for kind in set(map(type, value.values()))}
        if not any(keys.values()) and not any(members.values()):
            return value
        names, parts = _each(value, keys), _each(value.values(), members)
        same = all(map(is_, names, value)) and all(map(is_, parts, value.values()))
        return value if same else dict(zip(names, parts, strict=True))

    return act


def _each(values: Any, actions: Mapping[type, Action | None]) -> list[Any]:
    return [value if (action := actions[type(value)]) is None else action(value) for value in values]
