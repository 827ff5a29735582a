"""What can be wrong with the settings of signals and notifications."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from connect.api import FieldError

if TYPE_CHECKING:  # the config itself is what asks
    from connectors.postgres.config import PostgresSourceConfig

# `jmx` is accepted, as configs name it, and does nothing: there is no JVM.
_CHANNELS: Final = {
    "signal_channels": ("source", "kafka", "file", "jmx"), "notification_channels": ("sink", "log", "jmx"),
}  # fmt: skip


def check_signals(config: "PostgresSourceConfig") -> Iterable[FieldError]:
    """Channels that are not there, and what those that are there miss."""
    for attribute, known in _CHANNELS.items():
        for channel in getattr(config, attribute):
            if channel not in known:
                yield config.error(attribute, f"only {', '.join(known)} are allowed, not {channel}")
    if "kafka" in config.signal_channels and not config.signal_kafka_bootstrap_servers:
        yield FieldError(
            "signal.kafka.bootstrap.servers",
            "signal.kafka.bootstrap.servers is missing: the channel kafka needs the brokers of its topic",
        )
    if config.signal_data_collection is not None and config.signal_data_collection.count(".") != 1:
        yield config.error("signal_data_collection", "give one table as schema.table")
    if "sink" in config.notification_channels and not config.notification_topic:
        yield FieldError(
            "notification.sink.topic.name",
            "notification.sink.topic.name is missing: the channel sink needs a topic",
        )
