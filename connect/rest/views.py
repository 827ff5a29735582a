"""What answers look like: the worker's objects as Connect's JSON, keys in Connect's order."""

from collections.abc import Mapping, Sequence
from typing import Any

from connect.api import Definition
from connect.runtime import restart_budget
from connect.runtime.service import (
    ConnectorInfo,
    ConnectorStatus,
    InstanceStatus,
    Offsets,
    PluginInfo,
    Validation,
)


def info(of: ConnectorInfo, config: Mapping[str, str]) -> dict[str, Any]:
    """`config` is that of the connector with its secrets masked."""
    view: dict[str, Any] = {
        "name": of.name,
        "config": dict(config),
        "tasks": [{"connector": of.name, "task": task} for task in of.task_ids],
        "type": of.type,
    }
    return _with_warnings(view, of.warnings)


def instance(of: InstanceStatus) -> dict[str, Any]:
    view: dict[str, Any] = {"state": of.state, "worker_id": of.worker_id}
    if of.version is not None:
        view["version"] = of.version
    if of.trace is not None:
        view["trace"] = of.trace
    if of.restarts is not None:
        view["restarts"] = restart_budget.to_json(of.restarts)
    return view


def task(task_id: int, of: InstanceStatus) -> dict[str, Any]:
    view = {"id": task_id, **instance(of)}
    if of.metrics is not None:  # Connect has no such field; it comes last
        view["metrics"] = dict(of.metrics)
    return view


def status(of: ConnectorStatus) -> dict[str, Any]:
    return {
        "name": of.name,
        "connector": instance(of.connector),
        "tasks": [task(task_id, one) for task_id, one in sorted(of.tasks.items())],
        "type": of.type,
    }


def offsets(of: Offsets) -> dict[str, Any]:
    return {"offsets": [{"partition": partition, "offset": offset} for partition, offset in of]}


def plugin(of: PluginInfo) -> dict[str, Any]:
    view = {"class": of.class_name, "type": of.type}
    if of.version is not None:
        view["version"] = of.version
    return view


def definition(of: Definition) -> dict[str, Any]:
    return {
        "name": of.name,
        "type": of.kind,
        "required": of.required,
        "default_value": None if of.required else of.show(of.default),
        "importance": of.importance,
        "documentation": of.doc,
        "group": of.group,
        "order_in_group": of.order_in_group,
        "width": of.width,
        "display_name": of.display_name or of.name,
        "dependents": list(of.dependents),
    }


def validation(of: Validation) -> dict[str, Any]:
    view: dict[str, Any] = {
        "name": of.name,
        "error_count": of.error_count,
        "groups": list(of.groups),
        "configs": [
            {
                "definition": None if known is None else definition(known),
                "value": {
                    "name": value.name,
                    "value": value.value,
                    "recommended_values": list(value.recommended),
                    "errors": list(value.errors),
                    "visible": value.visible,
                },
            }
            for known, value in zip(of.definitions, of.values, strict=True)
        ],
    }
    return _with_warnings(view, of.warnings)


def _with_warnings(view: dict[str, Any], warnings: Sequence[str]) -> dict[str, Any]:
    """Connect has no place for warnings; strict clients must not meet an empty one."""
    return {**view, "warnings": list(warnings)} if warnings else view
