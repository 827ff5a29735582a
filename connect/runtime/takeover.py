"""Whether Millstream can go on where a Java Connect cluster stopped, said before anything is touched."""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, cast

from connect.api import ConnectError, Connector, SinkConnector, SourceConnector
from connect.api.config import Kind
from connect.herder.states import TargetState, TaskId
from connect.runtime import group_offsets, source_offsets
from connect.runtime.client_overrides import overrides
from connect.runtime.config import WorkerConfig
from connect.runtime.config_providers import ConfigResolver
from connect.runtime.errors import trace_of
from connect.runtime.java_cluster import JavaCluster
from connect.runtime.offset_format import merged
from connect.runtime.offset_topics import is_elsewhere, offset_topic
from connect.runtime.plugins import PluginKind, Plugins, connector_type
from connect.runtime.secret_names import hide, sounds_secret
from connect.runtime.validation import Validator

_MAY_BE_SECRET: Final = re.compile(r"pass(word|phrase)|secret|token|jaas|credential|\.key$", re.IGNORECASE)
_OURS: Final = "millstream"  # the distribution whose connectors check offsets without side effects
_NEAR: Final = 0.8  # a slip of the pen; with less every sink would be near another
_REFUSED_LATER: Final = "changes of the config are refused until the setting is changed or deleted"
_CONVERTERS: Final = ("key.converter", "value.converter", "header.converter")


class Level(StrEnum):
    ERROR = "error"  # does not work
    WARNING = "warning"  # works, and not in every respect as before
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """`where` is a setting's name, `offsets` or `status`."""

    level: Level
    where: str
    message: str


@dataclass(slots=True)
class ConnectorReport:
    """What is to be said of one connector. `offsets`: of a source, (source partition, source offset) pairs;
    of a sink, (topic, partition, offset); None where they were not asked for."""

    name: str
    class_name: str
    type: str = "unknown"
    version: str | None = None
    target: TargetState = TargetState.STARTED
    last_state: str | None = None
    tasks: int = 0
    offsets: Sequence[Any] | None = None
    findings: list[Finding] = field(default_factory=list)

    @property
    def works(self) -> bool:
        return works(self.findings)


def works(findings: Iterable[Finding]) -> bool:
    return all(finding.level is not Level.ERROR for finding in findings)


class Takeover:
    """Checks the connectors of a cluster. `look_outside` also lets them connect to what they name."""

    def __init__(
        self, worker: WorkerConfig, plugins: Plugins, cluster: JavaCluster, *, look_outside: bool
    ) -> None:
        self._worker = worker
        self._plugins = plugins
        self._cluster = cluster
        self._look_outside = look_outside

    def reports(self) -> list[ConnectorReport]:
        return [self._report(name) for name in sorted(self._cluster.connectors)]

    def _report(self, name: str) -> ConnectorReport:
        cluster = self._cluster
        config = {**cluster.connectors[name], "name": name}
        report = ConnectorReport(
            name,
            config.get("connector.class") or "",
            target=cluster.config.target(name),
            last_state=cluster.states.get(name),
            tasks=len(cluster.config.tasks.get(name, ())),
        )
        checks = _Checks(self._worker, self._plugins, name, config, report.findings)
        connector = checks.connector()
        if connector is None:
            checks.look_up_the_rest()
        else:
            report.type, report.version = connector_type(connector), connector.version
            checks.settings(connector, look_outside=self._look_outside)
            if issubclass(connector, SinkConnector):
                report.offsets = checks.committed_offsets(look_outside=self._look_outside)
            else:
                report.offsets = checks.stored_offsets(cluster.offsets(name), look_outside=self._look_outside)
                checks.source_offsets(connector, report.offsets)
        tasks = [TaskId(name, number) for number in range(report.tasks)]
        if failed := [str(task) for task in tasks if cluster.states.get(task) == "FAILED"]:
            why = f"{', '.join(failed)} FAILED when last heard of: what stopped it there may stop it here"
            report.findings.append(Finding(Level.NOTE, "status", why))
        report.findings[:] = checks.without_secrets(report.findings)
        return report


class _Checks:
    """The checks of one connector; what they find goes into `findings`."""

    def __init__(
        self,
        worker: WorkerConfig,
        plugins: Plugins,
        name: str,
        config: Mapping[str, str | None],
        findings: list[Finding],
    ) -> None:
        self._worker = worker
        self._plugins = plugins
        self._name = name
        self._raw = config
        self._config: Mapping[str, str | None] = config
        self._resolved = False
        self._findings = findings
        self._secrets = {value for key, value in config.items() if value and may_be_secret(key)}

    def _blame(self, where: str, message: str, level: Level = Level.ERROR) -> None:
        finding = Finding(level, where, message)
        if finding not in self._findings:
            self._findings.append(finding)

    @contextmanager
    def _blaming(self, where: str) -> Iterator[None]:
        """What a plugin raises becomes a finding."""
        try:
            yield
        except ConnectError as exc:
            self._blame(where, str(exc))
        except Exception as exc:  # noqa: BLE001 - a plugin may raise anything
            self._blame(where, trace_of(exc).splitlines()[0])

    # Plugins

    def connector(self) -> type[Connector[Any]] | None:
        """The class, if there is one that can be used."""
        where = "connector.class"
        if not (class_name := self._raw.get(where)):
            self._blame(where, "the config names no class")
            return None
        if self._look_up(PluginKind.CONNECTOR, where, class_name):
            with self._blaming(where):
                return cast(type[Connector[Any]], self._plugins.get(PluginKind.CONNECTOR, class_name).load())
        return None

    def look_up_the_rest(self) -> None:
        """Converters, transforms and predicates of a connector that cannot be validated as a whole."""
        for role in _CONVERTERS:
            if class_name := self._raw.get(role):
                self._look_up(PluginKind.CONVERTER, role, class_name)
        for what, kind in (("transforms", PluginKind.TRANSFORM), ("predicates", PluginKind.PREDICATE)):
            for alias in filter(None, map(str.strip, (self._raw.get(what) or "").split(","))):
                where = f"{what}.{alias}.type"
                if class_name := self._raw.get(where):
                    self._look_up(kind, where, class_name)
                else:
                    self._blame(where, f"{what} names {alias}, but {where} is not set")
        self._references()

    def _look_up(self, kind: PluginKind, where: str, class_name: str) -> bool:
        found = self._plugins.find(kind, class_name) is not None
        if not found:
            self._blame(where, missing_class(self._plugins, kind, class_name))
        return found

    # Settings

    def settings(self, connector: type[Connector[Any]], *, look_outside: bool) -> None:
        """All that validation finds, and what only matters when a cluster is taken over."""
        self._references()
        if works(self._findings):
            with self._blaming("config.providers"):
                self._resolve()
        if not works(self._findings):
            self._blame("config", "the settings are checked once all references have values", Level.NOTE)
            return
        self._secrets |= {
            value
            for key, definition in connector.config_class.definitions().items()
            if definition.kind is Kind.PASSWORD and (value := self._config.get(key))
        }
        with self._blaming("connector.class"):
            validator = Validator(self._worker, self._plugins, self._name, self._raw)
            result = validator.validate(connector, look_outside=look_outside)
            for setting in result.values:
                for error in setting.errors:
                    if pins_version(setting.name) and setting.recommended:
                        why = other_version(self._config[setting.name], setting.recommended[0])
                        self._blame(setting.name, f"{why}; {_REFUSED_LATER}", Level.WARNING)
                    else:
                        self._blame(setting.name, error)
            for warning in result.warnings:
                self._blame(_setting_in(warning) or "config", warning, Level.WARNING)

    def _resolve(self) -> None:
        resolver = ConfigResolver(self._worker.originals, self._plugins)
        self._config = resolver.resolve(self._raw)
        self._resolved = True
        self._secrets |= resolver.found

    def _references(self) -> None:
        """References to config providers that nobody here resolves; an unknown one would reach the connector
        as it is written."""
        with self._blaming("config.providers"):
            resolver = ConfigResolver(self._worker.originals, self._plugins)
            for key, value in self._raw.items():
                with self._blaming(key):
                    for why in resolver.look_up(value or "")[1]:
                        self._blame(key, why)

    # Offsets

    def stored_offsets(
        self, workers: Sequence[tuple[Any, Any]], *, look_outside: bool
    ) -> Sequence[tuple[Any, Any]]:
        """Those of a source: in its own topic, where it has one, and for the rest in the worker's."""
        where = "offsets"
        if not self._resolved or offset_topic(self._worker, self._config).is_workers:
            return workers
        if is_elsewhere(self._worker, self._config) and not look_outside:
            why = "its offsets topic is on another cluster, which is looked at with --connect only"
            self._blame(where, why, Level.NOTE)
            return workers
        asked = {"worker": self._worker.originals, "connector": self._name, "config": self._config}
        with self._blaming(where):
            return merged(workers, source_offsets.read(asked))
        return workers

    def source_offsets(self, connector: type[Connector[Any]], offsets: Sequence[tuple[Any, Any]]) -> None:
        """Whether the connector can go on from what is stored."""
        where = "offsets"
        if not offsets:
            self._blame(where, "none are stored: it begins as a new connector does", Level.NOTE)
            return
        entry = self._plugins.get(PluginKind.CONNECTOR, self._raw.get("connector.class") or "")
        if entry.package is None or entry.package.name != _OURS:
            # Others may reach outside here: KIP-875 lets `alter_offsets` change what is stored elsewhere.
            self._blame(where, "whether the connector can go on from them is not known", Level.WARNING)
            return
        config, errors = connector.config_class.examine(self._config)
        if config is None or errors or not issubclass(connector, SourceConnector):
            return  # the settings are to blame, and have been
        refusals = [why for pair in offsets if (why := _refusal(connector, config, pair)) is not None]
        # A strange offset beside the connector's own does no harm; Java leaves it there too.
        level = Level.ERROR if len(refusals) == len(offsets) else Level.WARNING
        for why in refusals:
            self._blame(where, why, level)
        for _, offset in offsets:
            if isinstance(offset, Mapping) and offset.get("snapshot_completed") is False:
                why = "the snapshot was not finished and begins anew: let Debezium finish it to avoid that"
                self._blame(where, why, Level.WARNING)

    def committed_offsets(self, *, look_outside: bool) -> list[tuple[str, int, int]] | None:
        """Those of the sink's consumer group."""
        if not self._resolved:
            return None
        if "bootstrap.servers" in overrides("admin", self._config) and not look_outside:
            why = "its consumer group is on another cluster, which is looked at with --connect only"
            self._blame("offsets", why, Level.NOTE)
            return None
        asked = {"worker": self._worker.originals, "connector": self._name, "config": self._config}
        with self._blaming("offsets"):
            found = group_offsets.read(asked)
            if not found:
                why = "its consumer group has committed none: it begins where auto.offset.reset says"
                self._blame("offsets", why, Level.NOTE)
            return found
        return None

    def without_secrets(self, findings: Iterable[Finding]) -> list[Finding]:
        """The findings, no message of which shows a secret of the config."""
        return [Finding(each.level, each.where, hide(each.message, self._secrets)) for each in findings]


def _refusal(connector: type[SourceConnector[Any]], config: Any, pair: tuple[Any, Any]) -> str | None:
    try:
        connector().alter_offsets(config, [pair])
    except ConnectError as exc:
        return str(exc)
    except (AttributeError, TypeError, ValueError) as exc:
        return f"the offset {pair} is not of the connector's shape: {exc}"
    return None


def pins_version(name: str) -> bool:
    """Whether a setting says which version of a plugin is wanted (KIP-891)."""
    return name.endswith("plugin.version")


def other_version(wanted: str | None, available: str) -> str:
    """What becomes of a plugin whose version is pinned to one of Java's."""
    return (
        f"asks for version {wanted}, and a Java plugin's version cannot be here: version {available}, "
        "Millstream's own, goes on in its place"
    )


def _setting_in(warning: str) -> str | None:
    """The setting that a warning quotes."""
    match = re.search(r'"([^"]+)"', warning)
    return match[1] if match else None


def missing_class(plugins: Plugins, kind: PluginKind, class_name: str) -> str:
    """That there is no such plugin, and the nearest that there is."""
    names = {entry.class_name.rpartition(".")[2].lower(): entry.class_name for entry in plugins.all(kind)}
    near = difflib.get_close_matches(class_name.rpartition(".")[2].lower(), names, 1, _NEAR)
    hint = f"; the nearest is {names[near[0]]}" if near else ""
    return f"Class {class_name} could not be found{hint}"


def may_be_secret(name: str) -> bool:
    """Whatever REST hides by its name, and more: a report needs no value."""
    return sounds_secret(name) or _MAY_BE_SECRET.search(name) is not None
