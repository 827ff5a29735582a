"""Validates a connector's config: what is wrong with each setting, as `PUT …/config/validate` shows it.

Runs in the plugin host, since it loads plugins and may look outside (`check_connection`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from connect.api import (
    Config,
    ConfigError,
    Connector,
    Converter,
    Definition,
    FieldError,
    FieldWarning,
    HeaderConverter,
    Importance,
    Kind,
    Plugin,
    SinkConnector,
    SourceConnector,
    Width,
)
from connect.api.config import REQUIRED
from connect.runtime.client_definitions import client_definitions
from connect.runtime.client_overrides import override_refusal, overrides, refused_overrides
from connect.runtime.config import WorkerConfig
from connect.runtime.config_providers import ConfigResolver
from connect.runtime.connector_config import ConnectorConfig, SinkConnectorConfig, SourceConnectorConfig
from connect.runtime.errors import trace_of
from connect.runtime.exactly_once_validation import exactly_once_errors, exactly_once_warnings
from connect.runtime.kafka_clients import librdkafka_settings
from connect.runtime.plugin_versions import check_version
from connect.runtime.plugins import PluginEntry, PluginKind, Plugins
from connect.runtime.service import ConfigValue, Validation
from connect.runtime.task_config import TaskConfig
from connect.runtime.topic_creation import PREFIX as TOPIC_CREATION
from connect.runtime.unknown_settings import UnknownSettings
from connect.transforms.chain import build_chain

_ROLES = {"key.converter": Converter, "value.converter": Converter, "header.converter": HeaderConverter}


@dataclass(slots=True)
class _Row:
    """One setting of the answer."""

    definition: Definition | None
    name: str
    value: str | None = None
    errors: list[str] = field(default_factory=list)
    recommended: Sequence[str] = ()
    visible: bool = True


def _serves(entry: PluginEntry, role: type[Plugin]) -> bool:
    """Whether a converter can be used in this role."""
    try:
        return issubclass(entry.load(), role)
    except ConfigError:
        return False


def common_config(connector: type[Plugin]) -> type[ConnectorConfig]:
    """The settings that a connector of this type has besides its own."""
    return SinkConnectorConfig if issubclass(connector, SinkConnector) else SourceConnectorConfig


def connector_definitions(connector: type[Plugin]) -> list[Definition]:
    """A connector's own definitions, then the common ones, as `GET …/config` lists them."""
    own = dict(connector.config_class.definitions())
    version = replace(
        common_config(connector).definitions()["connector.plugin.version"], default=connector.version
    )
    common = {**common_config(connector).definitions(), "connector.plugin.version": version}
    definitions = {**own, **{name: definition for name, definition in common.items() if name not in own}}
    return [definition for definition in definitions.values() if not definition.internal]


class Validator:
    """One validation. `config` is what the user wrote; references to secrets are resolved to check them and
    shown as they were written."""

    def __init__(
        self, worker: WorkerConfig, plugins: Plugins, connector_name: str, config: Mapping[str, str | None]
    ) -> None:
        self._worker = worker
        self._plugins = plugins
        self._name = connector_name
        self._raw = config
        self._config = ConfigResolver(worker.originals, plugins).resolve(config)
        self._rows: dict[str, _Row] = {}
        self._groups: dict[str, None] = {}
        self._warnings: list[str] = []
        self._used: dict[str, type[Plugin] | None] = {}  # by the prefix of their settings

    def validate(self, connector: type[Connector[Any]], *, look_outside: bool) -> Validation:
        common = common_config(connector)
        for definition in common.definitions().values():
            self._add(self._with_version(definition, connector.version))
        self._check_version("connector.plugin.version", connector)
        self._add_transforms()
        for definition in connector.config_class.definitions().values():
            if not definition.internal:
                self._add(definition)
        for client in self._clients():
            self._add_overrides(client)
        for role in _ROLES:
            self._add_converter(role)
        for definition in TaskConfig.definitions().values():
            if self._config.get(definition.name) is not None:
                self._add(definition)
        self._check_clients()
        self._check_chain()
        self._cross_check(common)
        config = self._cross_check(connector.config_class)
        if issubclass(connector, SourceConnector):
            self._check_exactly_once(connector, config)
        self._warn_of_unknown(connector.config_class, common)
        if look_outside and config is not None and not self._has_errors():
            found = _look_outside(connector, config)
            self._blame(each for each in found if not isinstance(each, FieldWarning))
            self._warnings += [each.message for each in found if isinstance(each, FieldWarning)]
        return self._result()

    # Rows

    def _add(self, definition: Definition, prefix: str = "") -> None:
        name = f"{prefix}{definition.name}"
        shown = definition if not prefix else replace(definition, name=name)
        row = _Row(shown, name, recommended=definition.recommended)
        raw = self._config.get(name)
        if raw is None:
            if definition.required:
                row.errors.append(f'Missing required configuration "{name}" which has no default value.')
            else:
                row.value = definition.show(definition.default)
        else:
            self._read(definition, raw, row)
            written = self._raw.get(name)
            if written is not None and "${" in written and row.value is not None:
                row.value = written
        self._rows[name] = row
        if definition.group is not None:
            self._groups[definition.group] = None

    @staticmethod
    def _read(definition: Definition, raw: str, row: _Row) -> None:
        try:
            value = definition.parse(raw)
        except ConfigError as exc:
            row.errors.append(str(exc))
            value = None
        row.value = definition.show(value)
        if definition.check is not None and (why := definition.check(value)) is not None:
            shown = (
                "null" if value is None else f"[{', '.join(value)}]" if isinstance(value, list) else row.value
            )
            row.errors.append(str(ConfigError.invalid(definition.name, shown, why)))

    def _with_version(self, definition: Definition, version: str) -> Definition:
        if definition.name == "connector.plugin.version":
            return replace(definition, default=version, recommended=(version,))
        if definition.name in _ROLES:
            role = _ROLES[definition.name]
            known = tuple(
                entry.class_name for entry in self._plugins.all(PluginKind.CONVERTER) if _serves(entry, role)
            )
            default = getattr(self._worker, definition.name.replace(".", "_"))
            return replace(definition, default=default, recommended=known)
        return definition

    def _add_converter(self, role: str) -> None:
        """The converter's own settings, if the connector names it and it can be loaded."""
        if self._config.get(role) is not None:
            self._used[f"{role}."] = None
        row = self._rows[role]
        version_row = self._rows[f"{role}.plugin.version"]
        class_name = self._config.get(role) or getattr(self._worker, role.replace(".", "_"))
        try:
            entry = self._plugins.get(PluginKind.CONVERTER, class_name)
            plugin = entry.load()
        except ConfigError as exc:
            row.value, version_row.visible = None, False
            row.errors.append(str(ConfigError.invalid(role, class_name, str(exc))))
            return
        if not issubclass(plugin, _ROLES[role]):
            row.errors.append(f"Class {class_name} does not implement the {_ROLES[role].__name__} interface")
            return
        row.value = entry.class_name  # an alias is shown as what it stands for
        version_row.value = version_row.value or plugin.version
        if version_row.definition is not None:
            version_row.definition = replace(version_row.definition, default=plugin.version)
            version_row.recommended = (plugin.version,)
        self._check_version(f"{role}.plugin.version", plugin)
        if self._config.get(role) is not None:
            self._add_plugin(plugin, f"{role}.")

    def _clients(self) -> list[str]:
        """The Kafka clients that the connector's tasks make: the overrides of the others mean nothing."""
        if "topics" in self._rows:
            letters = bool(self._config.get("errors.deadletterqueue.topic.name"))
            return ["producer", "admin", "consumer"] if letters else ["consumer"]
        creates = any(name.startswith(TOPIC_CREATION) for name in self._config)
        return ["producer", "admin"] if creates and self._worker.topic_creation_enable else ["producer"]

    def _add_overrides(self, client: str) -> None:
        """The connector's settings for one kind of client; those that Kafka does not know have no
        definition."""
        definitions = client_definitions(client)
        refused = refused_overrides(self._worker, client, self._config)
        for name, value in overrides(client, self._config).items():
            full = f"{client}.override.{name}"
            if definition := definitions.get(name):
                self._add(definition, f"{client}.override.")
            else:
                self._rows[full] = _Row(None, full, self._raw.get(full))
            if name in refused:
                self._rows[full].errors.append(override_refusal(self._worker, name))
            try:
                warnings = librdkafka_settings({name: value}).warnings
            except ConfigError as exc:
                self._rows[full].errors.append(str(exc))
            else:
                self._warnings += [f'"{full}": {warning}' for warning in warnings]

    def _add_transforms(self) -> None:
        for what, kind, title in (
            ("transforms", PluginKind.TRANSFORM, "Transformation"),
            ("predicates", PluginKind.PREDICATE, "Predicate"),
        ):
            row = self._rows[what]
            for alias in dict.fromkeys(part.strip() for part in (row.value or "").split(",") if part.strip()):
                self._add_transform(what, kind, title, alias)

    def _add_transform(self, what: str, kind: PluginKind, title: str, alias: str) -> None:
        prefix, group = f"{what}.{alias}.", f"{what.capitalize()}: {alias}"
        known = tuple(entry.class_name for entry in self._plugins.all(kind))
        described = f"the '{alias}' {title.lower()}"
        self._add(
            Definition(
                f"{prefix}type", Kind.CLASS, REQUIRED, Importance.HIGH, f"Class for {described}.", group, 0,
                Width.LONG, f"{title} type for {alias}", recommended=known,
            )
        )  # fmt: skip
        row = self._rows[f"{prefix}type"]
        plugin: type[Plugin] | None = None
        if row.value is not None:
            try:
                plugin = self._plugins.get(kind, row.value).load()
            except ConfigError as exc:
                row.errors.append(str(ConfigError.invalid(row.name, row.value, str(exc))))
                row.value = None
        version = plugin.version if plugin is not None else None
        self._add(
            Definition(
                f"{prefix}plugin.version", Kind.STRING, version, Importance.HIGH, f"Version of {described}.",
                group, 1, Width.LONG, f"{title} version for {alias}",
                recommended=(version,) if version else (),
            )
        )  # fmt: skip
        self._used[prefix] = plugin
        if plugin is None:
            return
        self._check_version(f"{prefix}plugin.version", plugin)
        own = list(plugin.config_class.definitions().values())
        if kind is PluginKind.TRANSFORM:
            own += [
                Definition("predicate", Kind.STRING, None, Importance.MEDIUM, "The alias of a predicate "
                           "used to determine whether to apply this transformation."),
                Definition("negate", Kind.BOOLEAN, False, Importance.MEDIUM,
                           "Whether the configured predicate should be negated."),
            ]  # fmt: skip
        for order, definition in enumerate(sorted(own, key=lambda d: d.name), 2):
            placed = replace(definition, name=f"{prefix}{definition.name}", group=group, order_in_group=order,
                             display_name=definition.display_name or definition.name)  # fmt: skip
            self._add(placed)

    def _check_version(self, name: str, plugin: type[Plugin]) -> None:
        """That the setting asks for the version that there is (KIP-891)."""
        required = self._config.get(name)
        try:
            check_version(self._plugins.name_of(plugin), plugin.version, required)
        except ConfigError as exc:
            self._rows[name].errors.append(str(ConfigError.invalid(name, required, str(exc))))

    def _add_plugin(self, plugin: type[Plugin], prefix: str) -> None:
        self._used[prefix] = plugin
        for definition in plugin.config_class.definitions().values():
            if not definition.internal:
                self._add(definition, prefix)

    # Checks between settings

    def _cross_check(self, config_class: type[Config]) -> Config | None:
        """Errors between several settings; only where each alone is right."""
        names = config_class.definitions().keys()
        if any(self._rows[name].errors for name in names if name in self._rows):
            return None
        config, errors = config_class.examine(self._config)
        self._blame(errors)
        if config is not None:
            self._warnings += [warning.message for warning in config.warnings()]
        return None if errors else config

    def _check_chain(self) -> None:
        """What only shows when the transforms are put together; where each setting alone is right."""
        rows = [row for name, row in self._rows.items() if name.startswith(("transforms", "predicates"))]
        if any(row.errors for row in rows):
            return
        find = self._plugins.finder
        try:
            chain = build_chain(self._config, find(PluginKind.TRANSFORM), find(PluginKind.PREDICATE))
        except ConfigError as exc:
            self._blame([FieldError("transforms", str(exc))])
        else:
            if chain is not None:
                chain.close()

    def _check_exactly_once(self, connector: type[SourceConnector[Any]], config: Config | None) -> None:
        common = ("exactly.once.support", "transaction.boundary")
        if not any(self._rows[name].errors for name in common):
            self._blame(exactly_once_errors(self._worker, connector(), config, self._config))
        self._warnings += exactly_once_warnings(self._worker, self._name, self._config)

    def _check_clients(self) -> None:
        group = self._config.get("consumer.override.group.id") or f"connect-{self._name}"
        if group == self._worker.group_id and "topics" in self._rows:
            why = f"Consumer group {group} conflicts with Connect worker group {self._worker.group_id}"
            self._blame([FieldError("name", why)])

    def _warn_of_unknown(self, own: type[Config], common: type[ConnectorConfig]) -> None:
        groups = (self._config.get("topic.creation.groups") or "").split(",")
        unknown = UnknownSettings(own, common, self._rows, self._used, [group.strip() for group in groups])
        self._warnings += unknown.warnings(self._raw)

    def _blame(self, errors: Iterable[FieldError]) -> None:
        for error in errors:
            row = self._rows.get(error.name)
            if row is None:
                row = self._rows[error.name] = _Row(None, error.name, self._raw.get(error.name))
            row.errors.append(error.message)

    def _has_errors(self) -> bool:
        return any(row.errors for row in self._rows.values())

    def _result(self) -> Validation:
        rows = list(self._rows.values())
        return Validation(
            self._config.get("connector.class") or "",
            sum(len(row.errors) for row in rows),
            list(self._groups),
            [row.definition for row in rows],
            [ConfigValue(row.name, row.value, row.errors, row.recommended, row.visible) for row in rows],
            self._warnings,
        )


def _look_outside(connector: type[Connector[Any]], config: Config) -> list[FieldError]:
    try:
        return list(connector().check_connection(config))
    except Exception as exc:  # noqa: BLE001 - a plugin may raise anything
        return [FieldError("connector.class", trace_of(exc).splitlines()[0])]
