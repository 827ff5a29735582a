"""Topic configs: Kafka's names, types, defaults, ranges and error texts, and the broker settings behind them.

A topic stores only what was set for it, as text. What holds for it is that, else the broker setting of
the config's synonym (`retention.ms` has `log.retention.ms`, `.minutes` and `.hours`), else the default.
Source: https://kafka.apache.org/documentation/#topicconfigs and the answers of Apache Kafka 4.3.1.
"""

from collections.abc import Iterator, Mapping

from broker.catalog.config_types import (
    LONG_MAX,
    ConfigDefinition,
    ConfigSource,
    ConfigType,
    ConfigValue,
    ConfigValueSource,
    InvalidConfig,
    Synonym,
    to_text,
)

_HOUR_MS = 3_600_000
_MINUTE_MS = 60_000

_BOOLEAN, _STRING, _INT, _LONG, _DOUBLE, _LIST = (
    ConfigType.BOOLEAN,
    ConfigType.STRING,
    ConfigType.INT,
    ConfigType.LONG,
    ConfigType.DOUBLE,
    ConfigType.LIST,
)


def _synonyms(name: str) -> tuple[Synonym, ...]:
    return (Synonym(name),)


_ALL = (
    ConfigDefinition(
        "cleanup.policy",
        _LIST,
        "delete",
        "What happens to old segments: delete by age and size, compact to the newest of each key, or both.",
        _synonyms("log.cleanup.policy"),
        choices=("compact", "delete"),
    ),
    ConfigDefinition(
        "compression.gzip.level",
        _INT,
        "-1",
        "The gzip level, when compression.type is gzip.",
        _synonyms("compression.gzip.level"),
        minimum=1,
        maximum=9,
    ),
    ConfigDefinition(
        "compression.lz4.level",
        _INT,
        "9",
        "The lz4 level, when compression.type is lz4.",
        _synonyms("compression.lz4.level"),
        minimum=1,
        maximum=17,
    ),
    ConfigDefinition(
        "compression.type",
        _STRING,
        "producer",
        "How batches are stored: as the producer compressed them, or always with this codec.",
        _synonyms("compression.type"),
        choices=("uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"),
    ),
    ConfigDefinition(
        "compression.zstd.level",
        _INT,
        "3",
        "The zstd level, when compression.type is zstd.",
        _synonyms("compression.zstd.level"),
        minimum=-131072,
        maximum=22,
    ),
    ConfigDefinition(
        "delete.retention.ms",
        _LONG,
        "86400000",
        "How long compaction keeps a tombstone.",
        _synonyms("log.cleaner.delete.retention.ms"),
        minimum=0,
    ),
    ConfigDefinition(
        "file.delete.delay.ms",
        _LONG,
        "60000",
        "How long a deleted segment's files stay on disk.",
        _synonyms("log.segment.delete.delay.ms"),
        minimum=0,
    ),
    ConfigDefinition(
        "flush.messages",
        _LONG,
        str(LONG_MAX),
        "Sync the log to disk after this many records.",
        _synonyms("log.flush.interval.messages"),
        minimum=1,
    ),
    ConfigDefinition(
        "flush.ms",
        _LONG,
        str(LONG_MAX),
        "Sync the log to disk after this time.",
        (Synonym("log.flush.interval.ms"), Synonym("log.flush.scheduler.interval.ms")),
        minimum=0,
    ),
    ConfigDefinition(
        "follower.replication.throttled.replicas",
        _LIST,
        "",
        "Accepted for tools that set it; one broker has no followers.",
    ),
    ConfigDefinition(
        "index.interval.bytes",
        _INT,
        "4096",
        "How many bytes of log there are between two index entries.",
        _synonyms("log.index.interval.bytes"),
        minimum=0,
    ),
    ConfigDefinition(
        "leader.replication.throttled.replicas",
        _LIST,
        "",
        "Accepted for tools that set it; one broker has no followers.",
    ),
    ConfigDefinition(
        "local.retention.bytes",
        _LONG,
        "-2",
        "Accepted; without tiered storage, retention.bytes holds.",
        _synonyms("log.local.retention.bytes"),
        minimum=-2,
    ),
    ConfigDefinition(
        "local.retention.ms",
        _LONG,
        "-2",
        "Accepted; without tiered storage, retention.ms holds.",
        _synonyms("log.local.retention.ms"),
        minimum=-2,
    ),
    ConfigDefinition(
        "max.compaction.lag.ms",
        _LONG,
        str(LONG_MAX),
        "The longest time that a record may stay uncompacted.",
        _synonyms("log.cleaner.max.compaction.lag.ms"),
        minimum=1,
    ),
    ConfigDefinition(
        "max.message.bytes",
        _INT,
        "1048588",
        "The largest record batch accepted, as sent.",
        _synonyms("message.max.bytes"),
        minimum=0,
    ),
    ConfigDefinition(
        "message.timestamp.after.max.ms",
        _LONG,
        "3600000",
        "How far a record's timestamp may be ahead of the broker's clock.",
        _synonyms("log.message.timestamp.after.max.ms"),
        minimum=0,
    ),
    ConfigDefinition(
        "message.timestamp.before.max.ms",
        _LONG,
        str(LONG_MAX),
        "How far a record's timestamp may be behind the broker's clock.",
        _synonyms("log.message.timestamp.before.max.ms"),
        minimum=0,
    ),
    ConfigDefinition(
        "message.timestamp.type",
        _STRING,
        "CreateTime",
        "Whose time records carry: the producer's or the broker's.",
        _synonyms("log.message.timestamp.type"),
        choices=("CreateTime", "LogAppendTime"),
    ),
    ConfigDefinition(
        "min.cleanable.dirty.ratio",
        _DOUBLE,
        "0.5",
        "The part of a log that is uncompacted before compaction starts.",
        _synonyms("log.cleaner.min.cleanable.ratio"),
        minimum=0,
        maximum=1,
    ),
    ConfigDefinition(
        "min.compaction.lag.ms",
        _LONG,
        "0",
        "The shortest time that a record stays uncompacted.",
        _synonyms("log.cleaner.min.compaction.lag.ms"),
        minimum=0,
    ),
    ConfigDefinition(
        "min.insync.replicas",
        _INT,
        "1",
        "How many replicas must have a record before acks=all is answered.",
        _synonyms("min.insync.replicas"),
        minimum=1,
    ),
    ConfigDefinition(
        "preallocate",
        _BOOLEAN,
        "false",
        "Whether a new segment's file gets its full size at once.",
        _synonyms("log.preallocate"),
    ),
    ConfigDefinition(
        "remote.log.copy.disable",
        _BOOLEAN,
        "false",
        "Accepted; there is no tiered storage.",
    ),
    ConfigDefinition(
        "remote.log.delete.on.disable",
        _BOOLEAN,
        "false",
        "Accepted; there is no tiered storage.",
    ),
    ConfigDefinition(
        "remote.storage.enable",
        _BOOLEAN,
        "false",
        "There is no tiered storage: only false is accepted.",
    ),
    ConfigDefinition(
        "retention.bytes",
        _LONG,
        "-1",
        "The size that a partition may grow to before old segments go; -1 has no limit.",
        _synonyms("log.retention.bytes"),
    ),
    ConfigDefinition(
        "retention.ms",
        _LONG,
        "604800000",
        "The age at which segments go; -1 keeps them for ever.",
        (
            Synonym("log.retention.ms"),
            Synonym("log.retention.minutes", _MINUTE_MS),
            Synonym("log.retention.hours", _HOUR_MS),
        ),
        minimum=-1,
    ),
    ConfigDefinition(
        "segment.bytes",
        _INT,
        "1073741824",
        "The size at which a new segment is started.",
        _synonyms("log.segment.bytes"),
        minimum=1024 * 1024,
    ),
    ConfigDefinition(
        "segment.index.bytes",
        _INT,
        "10485760",
        "The size that an index may grow to before a new segment is started.",
        _synonyms("log.index.size.max.bytes"),
        minimum=4,
    ),
    ConfigDefinition(
        "segment.jitter.ms",
        _LONG,
        "0",
        "How much segment.ms is shortened at most, at random.",
        (Synonym("log.roll.jitter.ms"), Synonym("log.roll.jitter.hours", _HOUR_MS)),
        minimum=0,
    ),
    ConfigDefinition(
        "segment.ms",
        _LONG,
        "604800000",
        "The age at which a new segment is started.",
        (Synonym("log.roll.ms"), Synonym("log.roll.hours", _HOUR_MS)),
        minimum=1,
    ),
    ConfigDefinition(
        "unclean.leader.election.enable",
        _BOOLEAN,
        "false",
        "Accepted; with one replica there is no election.",
        _synonyms("unclean.leader.election.enable"),
    ),
)

DEFINITIONS: Mapping[str, ConfigDefinition] = {definition.name: definition for definition in _ALL}
"""By name, in alphabetical order."""


class TopicConfigs:
    """Topic configs on top of a broker's settings.

    `broker_settings` are the properties that were set for the broker, as text by dotted name; names
    that have nothing to do with topics are ignored. InvalidConfig when one has no valid value.
    """

    def __init__(self, broker_settings: Mapping[str, str] | None = None) -> None:
        settings = broker_settings or {}
        self._broker = {config.name: tuple(_broker_sources(config, settings)) for config in _ALL}
        self._defaults = {config.name: _default(config, settings) for config in _ALL}

    def validate(self, configs: Mapping[str, str | None]) -> dict[str, str]:
        """The configs to store for a topic. Raises InvalidConfig with Kafka's text."""
        if nulls := [name for name, text in configs.items() if text is None]:
            raise InvalidConfig(f"Null value not supported for topic configs: {','.join(nulls)}")
        checked = {name: text for name, text in configs.items() if text is not None}
        for name in checked:
            if name not in DEFINITIONS:
                raise InvalidConfig(f"Unknown topic config name: {name}")
        values = self.values(checked)
        lag_min, lag_max = values["min.compaction.lag.ms"], values["max.compaction.lag.ms"]
        assert isinstance(lag_min, int)
        assert isinstance(lag_max, int)
        if lag_min > lag_max:
            raise InvalidConfig(
                f"conflict topic config setting min.compaction.lag.ms ({lag_min}) "
                f"> max.compaction.lag.ms ({lag_max})"
            )
        if values["remote.storage.enable"]:
            raise InvalidConfig(
                "Tiered Storage functionality is disabled in the broker. "
                "Topic cannot be configured with remote log storage."
            )
        return checked

    def values(self, configs: Mapping[str, str]) -> dict[str, ConfigValue]:
        """Every config of a topic that has `configs` set, parsed, by name."""
        return self._defaults | {name: DEFINITIONS[name].parse(text) for name, text in configs.items()}

    def sources(self, name: str, configs: Mapping[str, str]) -> list[ConfigValueSource]:
        """All places that name a value for config `name`, the one in force first.

        As in Kafka, there is no entry for a default that belongs to no single broker setting.
        """
        definition = DEFINITIONS[name]
        sources: list[ConfigValueSource] = []
        if name in configs:
            sources.append(ConfigValueSource(name, self.text(name, configs), ConfigSource.TOPIC))
        sources += self._broker[name]
        if len(definition.synonyms) == 1:
            default = definition.synonyms[0].name
            sources.append(ConfigValueSource(default, definition.default, ConfigSource.DEFAULT))
        return sources

    def source(self, name: str, configs: Mapping[str, str]) -> ConfigSource:
        """Where the value in force comes from."""
        sources = self.sources(name, configs)
        return sources[0].source if sources else ConfigSource.DEFAULT

    def text(self, name: str, configs: Mapping[str, str]) -> str:
        """The value in force, in the config's own unit."""
        return to_text(DEFINITIONS[name].parse(configs[name]) if name in configs else self._defaults[name])


def _broker_sources(config: ConfigDefinition, settings: Mapping[str, str]) -> Iterator[ConfigValueSource]:
    for synonym in config.synonyms:
        if synonym.name in settings:
            yield ConfigValueSource(synonym.name, settings[synonym.name], ConfigSource.STATIC_BROKER)


def _default(config: ConfigDefinition, settings: Mapping[str, str]) -> ConfigValue:
    """What holds for a topic that does not set this config."""
    for synonym in config.synonyms:
        if synonym.name not in settings:
            continue
        text = settings[synonym.name]
        try:
            if synonym.scale == 1:
                return config.parse(text)
            hours_or_minutes = int(text)
        except InvalidConfig as exc:
            raise InvalidConfig(f"setting {synonym.name}={text}: {exc}") from exc
        except ValueError as exc:
            raise InvalidConfig(f"setting {synonym.name}={text}: not a whole number") from exc
        # Kafka takes any negative number of hours as "for ever".
        return config.parse(str(-1 if hours_or_minutes < 0 else hours_or_minutes * synonym.scale))
    return config.parse(config.default)
