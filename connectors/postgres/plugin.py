"""The connector: one task per database, as one slot has one reader."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Final

import psycopg

from connect.api import ConnectError, FieldError, SourceConnector
from connect.api.config import Config
from connect.version import __version__
from connectors.postgres.config import PostgresSourceConfig
from connectors.postgres.connection import connect
from connectors.postgres.offsets import read_offset
from connectors.postgres.slots import find_slot
from connectors.postgres.source import PostgresSourceTask

# On Amazon RDS nobody has the attribute; there a role gives the right.
_MAY_REPLICATE: Final = """
SELECT rolreplication OR rolsuper OR EXISTS (
         SELECT FROM pg_roles r
          WHERE r.rolname = 'rds_replication' AND pg_has_role(u.rolname, r.oid, 'member'))
  FROM pg_roles u WHERE rolname = current_user
"""


class PostgresConnector(SourceConnector[PostgresSourceConfig]):
    """Captures the changes of a PostgreSQL database, event for event as Debezium does."""

    version: ClassVar[str] = __version__
    config_class: ClassVar[type[Config]] = PostgresSourceConfig
    task_class: ClassVar[type] = PostgresSourceTask
    java_task_class: ClassVar[str] = "io.debezium.connector.postgresql.PostgresConnectorTask"

    def task_configs(self, config: PostgresSourceConfig, max_tasks: int) -> Sequence[Mapping[str, str]]:
        return [config.originals]

    def check_connection(self, config: PostgresSourceConfig) -> Iterable[FieldError]:
        try:
            with connect(config) as connection:
                yield from _check_server(connection, config)
        except psycopg.Error as exc:
            yield FieldError(
                "database.hostname", f"Error while validating connector config: {str(exc).strip()}"
            )

    def exactly_once_support(self, config: PostgresSourceConfig) -> bool:
        """A stored offset says which change of which transaction comes next. Only a snapshot that was cut
        short is taken anew, as Debezium's."""
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


def _check_server(connection: psycopg.Connection[Any], config: PostgresSourceConfig) -> Iterable[FieldError]:
    level = connection.execute("SHOW wal_level").fetchone()
    if level and level[0] != "logical":
        yield FieldError(
            "database.hostname",
            f"wal_level of the server is {level[0]} and must be logical: "
            "run ALTER SYSTEM SET wal_level = 'logical'; and restart the server",
        )
    allowed = connection.execute(_MAY_REPLICATE).fetchone()
    if allowed and not allowed[0]:
        yield FieldError(
            "database.user",
            f'user {config.user} may not replicate: run ALTER ROLE "{config.user}" REPLICATION;',
        )
    try:
        find_slot(connection, config)
    except ConnectError as exc:
        yield FieldError("slot.name", str(exc))
    if config.publication_autocreate_mode == "disabled":
        found = connection.execute(
            "SELECT 1 FROM pg_publication WHERE pubname = %s", (config.publication_name,)
        ).fetchone()
        if found is None:
            yield FieldError(
                "publication.name",
                f"publication {config.publication_name} does not exist and publication.autocreate.mode is "
                "disabled: run "
                f'CREATE PUBLICATION "{config.publication_name}" FOR ALL TABLES;',
            )
