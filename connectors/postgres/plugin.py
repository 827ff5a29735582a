"""The connector: one task per database, as one slot has one reader."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from connect.api import ConnectError, FieldError, SourceConnector
from connect.api.config import Config
from connect.version import __version__
from connectors.postgres.config import PostgresSourceConfig
from connectors.postgres.offsets import read_offset
from connectors.postgres.source import PostgresSourceTask
from connectors.postgres.validation import check_server


class PostgresConnector(SourceConnector[PostgresSourceConfig]):
    """Captures the changes of a PostgreSQL database, event for event as Debezium does."""

    version: ClassVar[str] = __version__
    config_class: ClassVar[type[Config]] = PostgresSourceConfig
    task_class: ClassVar[type] = PostgresSourceTask
    java_task_class: ClassVar[str] = "io.debezium.connector.postgresql.PostgresConnectorTask"

    def task_configs(self, config: PostgresSourceConfig, max_tasks: int) -> Sequence[Mapping[str, str]]:
        return [config.originals]

    def check_connection(self, config: PostgresSourceConfig) -> Iterable[FieldError]:
        return check_server(config)

    def exactly_once_support(self, config: PostgresSourceConfig) -> bool:
        """A stored offset says which change of which transaction comes next. Only of a snapshot that was cut
        short, or a chunk of an incremental one, some rows are read again."""
        return True

    def alter_offsets(
        self,
        config: PostgresSourceConfig,
        offsets: Sequence[tuple[Mapping[str, Any], Mapping[str, Any] | None]],
    ) -> bool:
        expected = {"server": config.topic_prefix}
        for partition, offset in offsets:
            if partition != expected:
                raise ConnectError(
                    f"the source partition {dict(partition)} is not this connector's: {expected}"
                )
            if offset is not None:
                read_offset(offset)
        return True
