"""A short-lived process for what a connector does besides moving records: definitions, validation, task
configs, checks of offsets; and for Kafka's administrative calls, which need a client of their own.

One request, one answer, both a line of JSON; before the answer comes a line that says how to see where it
hangs (`StackOffer`). The worker kills it when it takes too long.
"""

import json
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Final, NamedTuple, cast

from connect.api import ConfigError, ConnectError, Connector, Definition, SourceConnector
from connect.runtime import group_offsets, source_offsets
from connect.runtime.config import WorkerConfig
from connect.runtime.config_providers import ConfigResolver
from connect.runtime.connector_config import ConnectorConfig
from connect.runtime.definitions import definition_json
from connect.runtime.errors import trace_of
from connect.runtime.forkserver import name_process
from connect.runtime.plugins import PluginEntry, PluginKind, Plugins, connector_type
from connect.runtime.stacks import offer_stacks
from connect.runtime.validation import Validator, connector_definitions

_READ_BYTES: Final = 1 << 16

Request = Mapping[str, Any]
Answer = dict[str, Any]


def main(control: socket.socket) -> int:
    """Answer the one request of this channel."""
    name_process("plugin host")
    data = b""
    while not data.endswith(b"\n"):
        if not (more := control.recv(_READ_BYTES)):
            return 1
        data += more
    request = json.loads(data)
    try:
        control.sendall(json.dumps(asdict(offer_stacks())).encode() + b"\n")
        control.sendall(json.dumps(_answer(request)).encode() + b"\n")
    except BrokenPipeError:  # nobody waits any more: the worker has ended
        return 1
    return 0


def _answer(request: Request) -> Answer:
    try:
        return {"ok": _OPERATIONS[request["op"]](request)}
    except Exception as exc:  # noqa: BLE001 - a plugin may raise anything; it becomes the answer
        return {"error": str(exc), "kind": type(exc).__name__, "trace": trace_of(exc)}


def _describe(request: Request) -> Answer:
    """Type, version and definitions of every plugin; `error` for one that cannot be loaded."""
    described = {}
    plugins = Plugins.discover()
    for kind in PluginKind:
        for entry in plugins.all(kind):
            described[f"{kind.name}:{entry.class_name}"] = _described(entry)
    return described


def _described(entry: PluginEntry) -> Answer:
    try:
        plugin = entry.load()
        return {
            "version": plugin.version,
            "type": connector_type(plugin) if entry.kind is PluginKind.CONNECTOR else _role(plugin),
            "definitions": [definition_json(d) for d in _definitions(entry, plugin)],
        }
    except Exception as exc:  # noqa: BLE001 - a plugin's import may raise anything
        return {"error": str(exc)}


def _describe_one(request: Request) -> Answer:
    entry = Plugins.discover().get(PluginKind[request["kind"]], request["plugin"])
    return _described(entry)


def _definitions(entry: PluginEntry, plugin: Any) -> Sequence[Definition]:
    if entry.kind is PluginKind.CONNECTOR:
        return connector_definitions(plugin)
    return [d for d in plugin.config_class.definitions().values() if not d.internal]


def _role(plugin: type) -> list[str]:
    roles = {"Converter": "converter", "HeaderConverter": "header_converter", "Transform": "transformation",
             "Predicate": "predicate"}  # fmt: skip
    return [role for name, role in roles.items() if any(base.__name__ == name for base in plugin.__mro__)]


class _Loaded(NamedTuple):
    """What a request is about. `ttl_ms` says how long the looked-up values in `config` are good for."""

    connector: type[Connector[Any]]
    worker: WorkerConfig
    config: dict[str, str | None]
    plugins: Plugins
    ttl_ms: int | None


def _load(request: Request) -> _Loaded:
    worker, plugins = WorkerConfig.parse(request["worker"]), Plugins.discover()
    entry = plugins.get(PluginKind.CONNECTOR, request["config"].get("connector.class") or "")
    resolver = ConfigResolver(worker.originals, plugins)
    config = resolver.resolve(request["config"])
    return _Loaded(cast(type[Connector[Any]], entry.load()), worker, config, plugins, resolver.ttl_ms)


def _validate(request: Request) -> Answer:
    loaded = _load(request)
    name = request["config"].get("name") or ""
    validator = Validator(loaded.worker, loaded.plugins, name, request["config"])
    result = validator.validate(loaded.connector, look_outside=request["look_outside"])
    return {
        "validation": asdict(replace(result, definitions=())),
        "definitions": [d and definition_json(d) for d in result.definitions],
    }


def _task_configs(request: Request) -> Answer:
    connector, _, config, plugins, ttl_ms = _load(request)
    name, raw = request["connector"], request["config"]
    common = ConnectorConfig.parse({**config, "name": name})
    made = connector().task_configs(connector.config_class.parse(config), common.tasks_max)
    if len(made) > common.tasks_max and common.tasks_max_enforce:
        raise ConnectError(
            f"The connector {name} has generated {len(made)} tasks, which is greater than "
            f"{common.tasks_max}, the maximum number of tasks it is configured to create "
            "(tasks.max). Set 'tasks.max.enforce' to false to permit it."
        )
    task_class = _task_class_name(plugins, connector, raw["connector.class"])
    return {
        "tasks": [_written_back({**task, "task.class": task_class}, raw) for task in made],
        "reload_ms": ttl_ms if common.config_action_reload == "restart" else None,
    }


def _written_back(task: Mapping[str, str], raw: Mapping[str, str | None]) -> dict[str, str]:
    """A task's config without secrets: where the user wrote a reference, the reference stands again."""
    return {
        key: reference if (reference := raw.get(key)) is not None and "${" in reference else value
        for key, value in task.items()
    }


def _task_class_name(plugins: Plugins, connector: type[Connector[Any]], written: str) -> str:
    """The Java class that Connect's task configs name."""
    if connector.java_task_class is not None:
        return connector.java_task_class
    entry = plugins.get(PluginKind.CONNECTOR, written)
    return f"{entry.class_name.removesuffix('Connector')}Task"


def _alter_offsets(request: Request) -> Answer:
    """Whether the connector says that it took care of the offsets."""
    loaded = _load(request)
    connector = loaded.connector
    if not issubclass(connector, SourceConnector):
        raise ConfigError("only a source connector has offsets of its own")
    offsets = [(partition, offset) for partition, offset in request["offsets"]]
    try:
        done = connector().alter_offsets(connector.config_class.parse(loaded.config), offsets)
    except ConnectError as exc:
        raise ConfigError(str(exc)) from exc  # what the user gave was refused; the connector is fine
    return {"done": bool(done)}


_OPERATIONS: Final[Mapping[str, Callable[[Request], Any]]] = {
    "describe": _describe,
    "describe_one": _describe_one,
    "validate": _validate,
    "task_configs": _task_configs,
    "alter_offsets": _alter_offsets,
    "group_offsets": group_offsets.read,
    "alter_group_offsets": group_offsets.alter,
    "reset_group_offsets": group_offsets.reset,
    "fence": source_offsets.fence,
    "source_offsets": source_offsets.read,
    "write_source_offsets": source_offsets.write,
}
