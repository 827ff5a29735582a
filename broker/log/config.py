"""The settings of one partition's log: a topic's configs merged with the broker's defaults."""

from dataclasses import dataclass
from enum import Enum

NO_LIMIT = -1
FOREVER_MS = 2**63 - 1
PRODUCER = "producer"
"""The compression type that leaves batches as they come."""


class TimestampType(Enum):
    """Whose clock a record's timestamp is from (`message.timestamp.type`)."""

    CREATE_TIME = "CreateTime"
    LOG_APPEND_TIME = "LogAppendTime"


@dataclass(frozen=True, slots=True)
class LogConfig:
    """Named after Kafka's topic configs, same defaults. Limits of -1 (NO_LIMIT) mean none."""

    segment_bytes: int = 1024 * 1024 * 1024
    segment_ms: int = 7 * 24 * 3600 * 1000
    segment_jitter_ms: int = 0
    """How much `segment_ms` is shortened at most, at random."""
    segment_index_bytes: int = 10 * 1024 * 1024
    """The size of an index at which a new segment is started."""
    preallocate: bool = False
    file_delete_delay_ms: int = 60_000
    """How long the files of a deleted segment stay on disk."""
    retention_ms: int = 7 * 24 * 3600 * 1000
    retention_bytes: int = NO_LIMIT
    index_interval_bytes: int = 4096
    max_message_bytes: int = 1024 * 1024 + 12
    timestamp_type: TimestampType = TimestampType.CREATE_TIME
    timestamp_before_max_ms: int = FOREVER_MS
    """How much older than the broker's clock a record may be."""
    timestamp_after_max_ms: int = 3600 * 1000
    """How much newer than the broker's clock a record may be."""
    flush_messages: int = FOREVER_MS
    """Sync after so many records, whatever the acks."""
    flush_ms: int = FOREVER_MS
    """Sync what was written at the latest after that time, whatever the acks."""
    delete: bool = True
    """Whether `cleanup.policy` includes delete, so that retention applies."""
    compact: bool = False
    """Whether `cleanup.policy` includes compact."""
    min_cleanable_dirty_ratio: float = 0.5
    min_compaction_lag_ms: int = 0
    max_compaction_lag_ms: int = FOREVER_MS
    delete_retention_ms: int = 24 * 3600 * 1000
    """How long compaction keeps a tombstone."""
    compression_type: str = PRODUCER
    """`producer` keeps batches as they come; a codec, or `uncompressed`, re-encodes those that differ."""
    compression_level: int | None = None
    """Of that codec; None is the codec's own default."""

    @property
    def looks_into_batches(self) -> bool:
        """Whether a batch cannot be stored without a look at its records."""
        return self.compact or self.compression_type != PRODUCER

    @property
    def roll_ms(self) -> int:
        """The age at which a segment is full: compaction cannot look into an active one."""
        return min(self.segment_ms, self.max_compaction_lag_ms) if self.compact else self.segment_ms
