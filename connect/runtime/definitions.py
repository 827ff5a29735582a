"""Definitions of settings on their way from a plugin host to the worker.

Apart from the plugin host, so that the worker need not import what plugins need.
"""

from collections.abc import Mapping
from typing import Any

from connect.api import Definition, Kind
from connect.api.config import REQUIRED, Importance, Width


def definition_json(definition: Definition) -> dict[str, Any]:
    """A definition without its check."""
    return {
        "name": definition.name,
        "kind": definition.kind.value,
        "required": definition.required,
        "default": None if definition.required else definition.default,
        "importance": definition.importance.value,
        "doc": definition.doc,
        "group": definition.group,
        "order_in_group": definition.order_in_group,
        "width": definition.width.value,
        "display_name": definition.display_name,
        "dependents": list(definition.dependents),
        "recommended": list(definition.recommended),
    }


def definition_from_json(told: Mapping[str, Any]) -> Definition:
    """The counterpart of `definition_json`."""
    return Definition(
        told["name"],
        Kind(told["kind"]),
        REQUIRED if told["required"] else told["default"],
        Importance(told["importance"]),
        told["doc"],
        told["group"],
        told["order_in_group"],
        Width(told["width"]),
        told["display_name"],
        tuple(told["dependents"]),
        tuple(told["recommended"]),
    )
