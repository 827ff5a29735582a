"""What the PostgreSQL source reads besides the stream, and who asks for it: snapshots and signals."""

import re
from typing import Final

from connect.api import Config, Importance, setting

LOW = Importance.LOW
OVERRIDE_NAME: Final = re.compile(r"snapshot\.select\.statement\.overrides\.(.+)")
SIGNAL_CONSUMER_NAME: Final = re.compile(r"signal\.consumer\.(.+)")


class SnapshotSettings(Config):
    """The part of `PostgresSourceConfig` for snapshots and signals."""

    # Snapshot
    snapshot_mode: str = setting(
        "snapshot.mode", default="initial", doc="When to read the tables before the stream.",
        choices=["initial", "always", "initial_only", "no_data", "never", "when_needed",
                 "configuration_based", "custom"],
    )  # fmt: skip
    configured_snapshot_data: bool = setting(
        "snapshot.mode.configuration.based.snapshot.data", default=False,
        doc="With configuration_based: read the tables at each start.",
    )  # fmt: skip
    configured_snapshot_schema: bool = setting(
        "snapshot.mode.configuration.based.snapshot.schema", default=False, importance=LOW,
        doc="With configuration_based. Not needed: schemas are always known.",
    )  # fmt: skip
    configured_start_stream: bool = setting(
        "snapshot.mode.configuration.based.start.stream", default=False,
        doc="With configuration_based: stream changes.",
    )  # fmt: skip
    configured_on_schema_error: bool = setting(
        "snapshot.mode.configuration.based.snapshot.on.schema.error", default=False, importance=LOW,
        doc="With configuration_based. Not needed: schemas are always known.",
    )  # fmt: skip
    configured_on_data_error: bool = setting(
        "snapshot.mode.configuration.based.snapshot.on.data.error", default=False,
        doc="With configuration_based: read the tables again when the slot has lost changes.",
    )  # fmt: skip
    snapshot_isolation_mode: str = setting(
        "snapshot.isolation.mode", default="serializable",
        choices=["serializable", "repeatable_read", "read_committed", "read_uncommitted"],
        doc="The snapshot is one REPEATABLE READ transaction that writes nothing: serializable is the same. "
        "With the others each piece of a table shows a moment of its own, and the stream corrects it.",
    )  # fmt: skip
    snapshot_locking_mode: str = setting(
        "snapshot.locking.mode",
        default="none",
        choices=["none", "shared", "custom"],
        doc="Table locks of the snapshot.",
    )
    snapshot_lock_timeout_ms: int = setting(
        "snapshot.lock.timeout.ms", default=10_000, at_least=0, doc="Wait for a table lock."
    )
    snapshot_include: list[str] = setting(
        "snapshot.include.collection.list",
        default=[],
        doc="Regexes of the tables to read; all captured ones when empty.",
    )
    snapshot_overrides: list[str] = setting(
        "snapshot.select.statement.overrides",
        default=[],
        doc="Tables whose SELECT is given by snapshot.select.statement.overrides.<table>.",
    )
    snapshot_fetch_size: int = setting(
        "snapshot.fetch.size", default=10_240, at_least=1, doc="Not needed: rows are streamed by COPY."
    )
    snapshot_max_threads: int = setting(
        "snapshot.max.threads", default=1, at_least=1, doc="Connections that read at once."
    )
    snapshot_order_by_row_count: str = setting(
        "snapshot.tables.order.by.row.count", default="disabled",
        choices=["disabled", "ascending", "descending"], doc="Order of the tables.",
    )  # fmt: skip
    snapshot_delay_ms: int = setting(
        "snapshot.delay.ms", default=0, at_least=0, doc="Wait before the snapshot."
    )
    streaming_delay_ms: int = setting(
        "streaming.delay.ms", default=0, at_least=0, doc="Wait between snapshot and stream."
    )

    # Signals
    signal_data_collection: str | None = setting(
        "signal.data.collection", default=None,
        doc="`schema.table` of signals, with three columns: id, type, data. It is always captured.",
    )  # fmt: skip
    signal_channels: list[str] = setting(
        "signal.enabled.channels", default=["source"], doc="Where signals come from: source, kafka, file."
    )
    signal_poll_interval_ms: int = setting(
        "signal.poll.interval.ms", default=5000, at_least=1, doc="How often to look for signals."
    )
    signal_kafka_topic: str | None = setting(
        "signal.kafka.topic", default=None,
        doc="Topic of signals, of one partition; `<topic.prefix>-signal` by default.",
    )  # fmt: skip
    signal_kafka_bootstrap_servers: str | None = setting(
        "signal.kafka.bootstrap.servers", default=None, doc="Brokers of the topic of signals."
    )
    signal_kafka_group_id: str = setting(
        "signal.kafka.groupId", default="kafka-signal",
        doc="Consumer group that keeps the position. Where it is not set, each connector has its own: "
        "`kafka-signal-<topic.prefix>`, which begins where `kafka-signal` is.",
    )  # fmt: skip
    signal_kafka_poll_timeout_ms: int = setting(
        "signal.kafka.poll.timeout.ms", default=100, at_least=0, importance=LOW,
        doc="Not needed: what has come is taken.",
    )  # fmt: skip
    signal_file: str = setting(
        "signal.file", default="file-signals.txt", doc="File of signals, a JSON object per line."
    )
    incremental_chunk_size: int = setting(
        "incremental.snapshot.chunk.size", default=1024, at_least=1, doc="Rows of a chunk."
    )
    incremental_watermarking: str = setting(
        "incremental.snapshot.watermarking.strategy", default="insert_insert",
        choices=["insert_insert", "insert_delete"], doc="How chunks are marked.",
    )  # fmt: skip
    read_only: bool = setting("read.only", default=False, doc="Incremental snapshots without writing.")

    def override(self, table: str) -> str | None:
        """The SELECT that a user gave for `schema.table`, or None."""
        return self.originals.get(f"snapshot.select.statement.overrides.{table}")

    @property
    def takes_signals(self) -> bool:
        """Somebody can ask for a snapshot."""
        return self.signal_data_collection is not None or bool({"kafka", "file"} & {*self.signal_channels})

    def signal_consumer(self) -> dict[str, str]:
        """What the settings `signal.consumer.*` say, without that prefix."""
        return {
            found[1]: value for name, value in self.originals.items()
            if (found := SIGNAL_CONSUMER_NAME.fullmatch(name))
        }  # fmt: skip
