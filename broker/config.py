"""The broker's settings: Kafka's property names, with Kafka's defaults unless the text says otherwise.

A property that this broker does not know is warned about and left alone, so that an existing
`server.properties` can be used as it is. `broker/catalog/topic_config.py` has the configs of topics
and which of these settings is the default of each.
"""

import difflib
import re
import sys
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

_LISTENER = re.compile(r"(?P<name>[A-Za-z0-9_]+)://(?P<host>\[[^\]]*\]|[^:/]*):(?P<port>-?\d+)")
_DURATION_MAX = 2**63 - 1


class SettingsError(Exception):
    """A bad setting: one sentence with its name, its value and what is expected."""


class Listener(BaseModel):
    """`NAME://host:port`; an empty host is every interface, port 0 any free one."""

    model_config = ConfigDict(frozen=True)

    name: str
    host: str
    port: int = Field(ge=0, le=65535)

    def __str__(self) -> str:
        return f"{self.name}://{self.host}:{self.port}"


def _listeners(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    listeners = []
    for part in filter(None, (part.strip() for part in value.split(","))):
        match = _LISTENER.fullmatch(part)
        if match is None:
            raise ValueError(f"{part!r} is no listener: write NAME://host:port")
        listeners.append(
            Listener(name=match["name"], host=match["host"].strip("[]"), port=int(match["port"]))
        )
    return listeners


def _bool(value: Any) -> Any:
    if isinstance(value, str):
        if value.strip().lower() not in ("true", "false"):
            raise ValueError("write true or false")
        return value.strip().lower() == "true"
    return value


def _list(value: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


Listeners = Annotated[tuple[Listener, ...], BeforeValidator(_listeners)]
Bool = Annotated[bool, BeforeValidator(_bool)]
Strings = Annotated[tuple[str, ...], BeforeValidator(_list)]
MigrationPolicy = Annotated[
    Literal["disabled", "upgrade", "downgrade", "bidirectional"],
    BeforeValidator(lambda value: value.lower() if isinstance(value, str) else value),
]
Assignors = Annotated[tuple[Literal["uniform", "range"], ...], BeforeValidator(_list), Field(min_length=1)]


def _setting(name: str, default: Any, **limits: Any) -> Any:
    return Field(default=default, alias=name, **limits)


class BrokerSettings(BaseModel):
    """Sizes in bytes, times in the unit of the name. Build it by property names or by field names."""

    model_config = ConfigDict(frozen=True, populate_by_name=True, extra="ignore")

    node_id: int = _setting("node.id", 1, ge=0)
    listeners: Listeners = _setting("listeners", (Listener(name="PLAINTEXT", host="127.0.0.1", port=9092),))
    advertised_listeners: Listeners = _setting("advertised.listeners", ())
    """Where clients find the listeners of the same names; without it, where they are bound."""
    data_dir: Path = _setting("log.dirs", Path("millstream-data"))
    """One directory: the logs, the catalog and the lock. Kafka's list of several is not supported."""

    auto_create_topics_enable: Bool = _setting("auto.create.topics.enable", True)
    num_partitions: int = _setting("num.partitions", 1, ge=1)
    default_replication_factor: int = _setting("default.replication.factor", 1, ge=1)
    delete_topic_enable: Bool = _setting("delete.topic.enable", True)

    log_segment_bytes: int = _setting("log.segment.bytes", 1 << 30, ge=1024 * 1024)
    log_roll_ms: int | None = _setting("log.roll.ms", None, ge=1)
    log_roll_hours: int = _setting("log.roll.hours", 168, ge=1)
    log_roll_jitter_ms: int | None = _setting("log.roll.jitter.ms", None, ge=0)
    log_roll_jitter_hours: int = _setting("log.roll.jitter.hours", 0, ge=0)
    log_index_size_max_bytes: int = _setting("log.index.size.max.bytes", 10 * 1024 * 1024, ge=4)
    log_preallocate: Bool = _setting("log.preallocate", False)
    log_segment_delete_delay_ms: int = _setting("log.segment.delete.delay.ms", 60_000, ge=0)
    log_retention_ms: int | None = _setting("log.retention.ms", None, ge=-1)
    log_retention_minutes: int | None = _setting("log.retention.minutes", None, ge=-1)
    log_retention_hours: int = _setting("log.retention.hours", 168, ge=-1)
    log_retention_bytes: int = _setting("log.retention.bytes", -1, ge=-1)
    log_retention_check_interval_ms: int = _setting("log.retention.check.interval.ms", 300_000, ge=1)
    log_cleanup_policy: Strings = _setting("log.cleanup.policy", ("delete",))
    log_cleaner_enable: Bool = _setting("log.cleaner.enable", True)
    log_cleaner_threads: Literal[0, 1] = _setting("log.cleaner.threads", 1)
    """Kafka has several; here logs are cleaned one after the other, in a process of its own."""
    log_cleaner_backoff_ms: int = _setting("log.cleaner.backoff.ms", 15_000, ge=1)
    log_cleaner_dedupe_buffer_size: int = _setting(
        "log.cleaner.dedupe.buffer.size", 128 * 1024 * 1024, ge=1024 * 1024
    )
    """Memory for the keys of one round, 32 bytes each; more keys take more rounds."""
    log_cleaner_io_max_bytes_per_second: float = _setting(
        "log.cleaner.io.max.bytes.per.second", sys.float_info.max, gt=0
    )
    log_cleaner_delete_retention_ms: int = _setting("log.cleaner.delete.retention.ms", 86_400_000, ge=0)
    log_cleaner_min_cleanable_ratio: float = _setting("log.cleaner.min.cleanable.ratio", 0.5, ge=0, le=1)
    log_cleaner_min_compaction_lag_ms: int = _setting("log.cleaner.min.compaction.lag.ms", 0, ge=0)
    log_cleaner_max_compaction_lag_ms: int = _setting(
        "log.cleaner.max.compaction.lag.ms", _DURATION_MAX, ge=1
    )
    log_index_interval_bytes: int = _setting("log.index.interval.bytes", 4096, ge=0)
    log_flush_interval_messages: int = _setting("log.flush.interval.messages", _DURATION_MAX, ge=1)
    log_flush_interval_ms: int = _setting("log.flush.interval.ms", _DURATION_MAX, ge=0)
    log_flush_offset_checkpoint_interval_ms: int = _setting(
        "log.flush.offset.checkpoint.interval.ms", 60_000, ge=1
    )
    log_message_timestamp_type: Literal["CreateTime", "LogAppendTime"] = _setting(
        "log.message.timestamp.type", "CreateTime"
    )
    log_message_timestamp_before_max_ms: int = _setting(
        "log.message.timestamp.before.max.ms", _DURATION_MAX, ge=0
    )
    log_message_timestamp_after_max_ms: int = _setting("log.message.timestamp.after.max.ms", 3_600_000, ge=0)
    message_max_bytes: int = _setting("message.max.bytes", 1024 * 1024 + 12, ge=0)
    compression_type: str = _setting("compression.type", "producer")
    compression_gzip_level: int = _setting("compression.gzip.level", -1, ge=-1, le=9)
    compression_lz4_level: int = _setting("compression.lz4.level", 9, ge=1, le=17)
    compression_zstd_level: int = _setting("compression.zstd.level", 3, ge=-131072, le=22)
    min_insync_replicas: int = _setting("min.insync.replicas", 1, ge=1)

    group_initial_rebalance_delay_ms: int = _setting("group.initial.rebalance.delay.ms", 0, ge=0)
    """Kafka waits 3 s for more members; with 0 a small group starts at once, and late ones rebalance."""
    group_min_session_timeout_ms: int = _setting("group.min.session.timeout.ms", 6000, ge=1)
    group_max_session_timeout_ms: int = _setting("group.max.session.timeout.ms", 1_800_000, ge=1)
    group_max_size: int = _setting("group.max.size", 2**31 - 1, ge=1)
    group_consumer_session_timeout_ms: int = _setting("group.consumer.session.timeout.ms", 45_000, ge=1)
    group_consumer_min_session_timeout_ms: int = _setting(
        "group.consumer.min.session.timeout.ms", 45_000, ge=1
    )
    group_consumer_max_session_timeout_ms: int = _setting(
        "group.consumer.max.session.timeout.ms", 60_000, ge=1
    )
    group_consumer_heartbeat_interval_ms: int = _setting("group.consumer.heartbeat.interval.ms", 5000, ge=1)
    group_consumer_min_heartbeat_interval_ms: int = _setting(
        "group.consumer.min.heartbeat.interval.ms", 5000, ge=1
    )
    group_consumer_max_heartbeat_interval_ms: int = _setting(
        "group.consumer.max.heartbeat.interval.ms", 15_000, ge=1
    )
    group_consumer_assignment_interval_ms: int = _setting("group.consumer.assignment.interval.ms", 1000, ge=0)
    group_consumer_min_assignment_interval_ms: int = _setting(
        "group.consumer.min.assignment.interval.ms", 0, ge=0
    )
    group_consumer_max_assignment_interval_ms: int = _setting(
        "group.consumer.max.assignment.interval.ms", 15_000, ge=0
    )
    group_consumer_max_size: int = _setting("group.consumer.max.size", 2**31 - 1, ge=1)
    group_consumer_assignors: Assignors = _setting("group.consumer.assignors", ("uniform", "range"))
    """The first is for members that ask for none."""
    group_consumer_migration_policy: MigrationPolicy = _setting(
        "group.consumer.migration.policy", "bidirectional"
    )
    offsets_retention_minutes: int = _setting("offsets.retention.minutes", 10080, ge=1)
    offsets_retention_check_interval_ms: int = _setting("offsets.retention.check.interval.ms", 600_000, ge=1)
    offset_metadata_max_bytes: int = _setting("offset.metadata.max.bytes", 4096, ge=0)

    transaction_max_timeout_ms: int = _setting("transaction.max.timeout.ms", 900_000, ge=1)
    transactional_id_expiration_ms: int = _setting("transactional.id.expiration.ms", 604_800_000, ge=1)
    transaction_remove_expired_transaction_cleanup_interval_ms: int = _setting(
        "transaction.remove.expired.transaction.cleanup.interval.ms", 3_600_000, ge=1
    )

    producer_id_expiration_ms: int = _setting("producer.id.expiration.ms", 86_400_000, ge=1)
    producer_id_expiration_check_interval_ms: int = _setting(
        "producer.id.expiration.check.interval.ms", 600_000, ge=1
    )

    fetch_max_bytes: int = _setting("fetch.max.bytes", 55 * 1024 * 1024, ge=1024)
    max_incremental_fetch_session_cache_slots: int = _setting(
        "max.incremental.fetch.session.cache.slots", 1000, ge=0
    )
    socket_request_max_bytes: int = _setting("socket.request.max.bytes", 100 * 1024 * 1024, ge=1)
    connections_max_idle_ms: int = _setting("connections.max.idle.ms", 600_000, ge=-1)
    max_connections: int = _setting("max.connections", 2**31 - 1, ge=0)

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [listener.name for listener in self.listeners]
        if not names:
            raise ValueError("listeners is empty: write NAME://host:port")
        for listener in self.listeners:
            if listener.name.upper() != "PLAINTEXT":
                raise ValueError(f"listeners: {listener} is not PLAINTEXT, the one protocol served so far")
        if len(set(names)) < len(names):
            raise ValueError(f"listeners: each needs a name of its own, not {', '.join(names)}")
        for listener in self.advertised_listeners:
            if listener.name not in names:
                raise ValueError(f"advertised.listeners: {listener.name} is not in listeners")
        if "," in str(self.data_dir):
            raise ValueError(f"log.dirs={self.data_dir}: one directory is supported, not several")
        if self.group_min_session_timeout_ms > self.group_max_session_timeout_ms:
            raise ValueError("group.min.session.timeout.ms is larger than group.max.session.timeout.ms")
        self._check_group_consumer()
        return self

    def _check_group_consumer(self) -> None:
        for what, value, least, most in (
            (
                "session.timeout.ms",
                self.group_consumer_session_timeout_ms,
                self.group_consumer_min_session_timeout_ms,
                self.group_consumer_max_session_timeout_ms,
            ),
            (
                "heartbeat.interval.ms",
                self.group_consumer_heartbeat_interval_ms,
                self.group_consumer_min_heartbeat_interval_ms,
                self.group_consumer_max_heartbeat_interval_ms,
            ),
            (
                "assignment.interval.ms",
                self.group_consumer_assignment_interval_ms,
                self.group_consumer_min_assignment_interval_ms,
                self.group_consumer_max_assignment_interval_ms,
            ),
        ):
            if not least <= value <= most:
                raise ValueError(
                    f"group.consumer.{what}={value} is not between "
                    f"group.consumer.min.{what}={least} and group.consumer.max.{what}={most}"
                )
        if self.group_consumer_heartbeat_interval_ms >= self.group_consumer_session_timeout_ms:
            raise ValueError(
                "group.consumer.heartbeat.interval.ms is not smaller than group.consumer.session.timeout.ms"
            )

    @property
    def retention_ms(self) -> int:
        """The finest of ms, minutes and hours that is set; -1 is for ever."""
        if self.log_retention_ms is not None:
            return self.log_retention_ms
        if self.log_retention_minutes is not None:
            return self.log_retention_minutes * 60_000 if self.log_retention_minutes >= 0 else -1
        return self.log_retention_hours * 3_600_000 if self.log_retention_hours >= 0 else -1

    @property
    def segment_ms(self) -> int:
        return self.log_roll_ms if self.log_roll_ms is not None else self.log_roll_hours * 3_600_000


SYNONYMS = {"broker.id": "node.id", "log.dir": "log.dirs"}


def load_settings(properties: dict[str, str]) -> tuple[BrokerSettings, list[str]]:
    """The settings, and a warning for each property that means nothing here. Raises SettingsError."""
    named = {SYNONYMS.get(name, name): value for name, value in properties.items()}
    known = {field.alias or name: name for name, field in BrokerSettings.model_fields.items()}
    warnings = []
    for name in named:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.85)
            hint = f"; did you mean {near[0]}?" if near else ""
            warnings.append(f"setting {name} is not known to this broker and is ignored{hint}")
    try:
        return BrokerSettings.model_validate(named), warnings
    except ValidationError as exc:
        error = exc.errors()[0]
        name = ".".join(str(part) for part in error["loc"][:1])
        reason = error["msg"].removeprefix("Value error, ")
        value = named.get(name)
        raise SettingsError(f"{name}={value}: {reason}" if name else reason) from exc
