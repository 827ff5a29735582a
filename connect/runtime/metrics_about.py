"""What a task is made of, for the texts among Connect's metrics: classes and versions (KIP-891)."""

from collections.abc import Mapping
from typing import Any

from connect.api import Connector, Plugin, SinkConnector
from connect.runtime.plugins import Plugins
from connect.transforms.chain import TransformChain

About = dict[str, list[tuple[dict[str, str], dict[str, str]]]]


def describe(
    connector: type[Connector[Any]],
    task_class: str,
    converters: Mapping[str, Plugin],
    transforms: TransformChain | None,
    plugins: Plugins,
) -> About:
    """By Connect's group: labels that come beside connector and task, and attributes. `converters` are those
    of key, value and header."""
    task = {
        "connector-class": plugins.name_of(connector),
        "connector-type": "sink" if issubclass(connector, SinkConnector) else "source",
        "connector-version": connector.version,
        "task-class": task_class,
        "task-version": connector.version,
    }
    for role, converter in converters.items():
        task |= _class_and_version(f"{role}-converter", converter, plugins)
    about: About = {"connector-task-metrics": [({}, task)]}
    if transforms is not None:
        for what, made in (("transform", transforms.transforms), ("predicate", transforms.predicates)):
            about[f"connector-{what}-metrics"] = [
                ({what: alias}, _class_and_version(what, plugin, plugins)) for alias, plugin in made.items()
            ]
    return about


def _class_and_version(what: str, plugin: Plugin, plugins: Plugins) -> dict[str, str]:
    return {f"{what}-class": plugins.name_of(plugin), f"{what}-version": plugin.version}
