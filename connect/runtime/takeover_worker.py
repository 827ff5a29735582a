"""What of a Java worker's properties file means something here."""

from collections.abc import Collection, Iterable, Mapping
from typing import Final

from connect.api import ConfigError
from connect.runtime.client_overrides import client_settings
from connect.runtime.config import OFFSETS_FILE, WorkerConfig
from connect.runtime.config_providers import ConfigResolver
from connect.runtime.idle_settings import IdleSettings
from connect.runtime.kafka_clients import aiokafka_settings
from connect.runtime.plugin_versions import check_version
from connect.runtime.plugins import PluginKind, Plugins
from connect.runtime.secret_names import hide
from connect.runtime.takeover import Finding, Level, may_be_secret, missing_class, other_version, works
from connect.runtime.worker_settings import doubts, resolved

_CONVERTERS: Final = ("key.converter", "value.converter", "header.converter")


def check_worker(
    written: Mapping[str, str], rest: Collection[str]
) -> tuple[WorkerConfig | None, list[Finding]]:
    """The settings in force, without those that are refused (None if there are too many), and what is to be
    said of the file. `rest` names the settings that the REST layer reads."""
    settings = resolved(written)
    without_value = {error.name for error in settings.errors}
    properties = {name: value for name, value in settings.values.items() if name not in without_value}
    standalone = properties.pop(OFFSETS_FILE, None) is not None
    config, errors = WorkerConfig.examine(properties)
    errors += IdleSettings.examine(properties)[1]
    findings = [Finding(Level.ERROR, error.name, error.message) for error in (*settings.errors, *errors)]
    if errors:
        refused = {error.name for error in errors}
        config, left = WorkerConfig.examine({k: v for k, v in properties.items() if k not in refused})
        config = None if left else config
    if "bootstrap.servers" in without_value:
        config = None  # the default would be another cluster
    findings += [Finding(Level.WARNING, name, why) for name, why in doubts(written, rest)]
    if standalone:
        findings.append(Finding(Level.WARNING, OFFSETS_FILE, "has no effect without --standalone"))
    if config is not None:
        findings += _clients(config)
    secrets = settings.secrets | {value for name, value in written.items() if value and may_be_secret(name)}
    return config, [Finding(each.level, each.where, hide(each.message, secrets)) for each in findings]


def check_worker_plugins(worker: WorkerConfig, plugins: Plugins) -> list[Finding]:
    """Converters and config providers that the file names."""
    findings = []
    for name in _CONVERTERS:
        class_name = getattr(worker, name.replace(".", "_"))
        if plugins.find(PluginKind.CONVERTER, class_name) is None:
            why = missing_class(plugins, PluginKind.CONVERTER, class_name)
            findings.append(Finding(Level.ERROR, name, why))
            continue
        findings += _pinned(worker, plugins, name, class_name)
    for provider in worker.config_providers:
        name = f"config.providers.{provider}.class"
        class_name = worker.originals.get(name)
        if class_name and plugins.find(PluginKind.CONFIG_PROVIDER, class_name) is None:
            why = missing_class(plugins, PluginKind.CONFIG_PROVIDER, class_name)
            findings.append(Finding(Level.ERROR, name, why))
    if works(findings):
        try:
            ConfigResolver(worker.originals, plugins)
        except ConfigError as exc:
            findings.append(Finding(Level.ERROR, "config.providers", str(exc)))
    return findings


def _pinned(worker: WorkerConfig, plugins: Plugins, name: str, class_name: str) -> Iterable[Finding]:
    """A version of a converter that is not the one there is."""
    where = f"{name}.plugin.version"
    wanted = worker.originals.get(where)
    try:
        available = plugins.get(PluginKind.CONVERTER, class_name).load().version
    except ConfigError as exc:
        yield Finding(Level.ERROR, name, str(exc))
        return
    try:
        check_version(class_name, available, wanted)
    except ConfigError:
        yield Finding(Level.WARNING, where, other_version(wanted, available))


def _clients(worker: WorkerConfig) -> Iterable[Finding]:
    """Settings of the Kafka clients that cannot be translated, or mean nothing."""
    for kind in ("producer", "consumer", "admin"):
        try:
            warnings = client_settings(worker, kind, {}).warnings
            aiokafka_settings(worker.client(kind))
        except ConfigError as exc:
            yield Finding(Level.ERROR, f"{kind}.*", str(exc))
        else:
            for warning in warnings:
                yield Finding(Level.WARNING, f"{kind}.*", warning)
