"""The replication slot and the publication: looked up, made, and explained when they are not right."""

import time
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from psycopg import errors

from connect.api import ConnectError
from connectors.postgres.catalog import Catalog
from connectors.postgres.config import PostgresSourceConfig
from connectors.postgres.connection import ReplicationConnection, quote_name
from connectors.postgres.filters import Filters
from connectors.postgres.offsets import Lsn, Position, parse_lsn, show_lsn

_DROP_TIMEOUT_S: Final = 5.0
_DROP_RETRY_S: Final = 0.02
_SLOT: Final = """
SELECT plugin, database, confirmed_flush_lsn::text, restart_lsn::text, wal_status
  FROM pg_replication_slots WHERE slot_name = %s
"""


class LostWalError(ConnectError):
    """The slot is there, but the server has removed WAL that it needs."""


@dataclass(frozen=True, slots=True)
class Slot:
    """A slot as the server knows it; transactions that committed before `confirmed_lsn` do not come again."""

    confirmed_lsn: Lsn


@dataclass(frozen=True, slots=True)
class NewSlot:
    """A slot just made, with the exported snapshot that shows the data as of `lsn`."""

    lsn: Lsn
    snapshot_name: str


def find_slot(connection: psycopg.Connection[Any], config: PostgresSourceConfig) -> Slot | None:
    """The connector's slot or None; raises `ConnectError` for one that cannot serve."""
    row = connection.execute(_SLOT, (config.slot_name,)).fetchone()
    if row is None:
        return None
    plugin, database, confirmed, restart, wal_status = row
    name = config.slot_name
    if plugin != config.plugin_name or database != config.dbname:
        actual = f"plugin {plugin} in database {database}" if plugin else "physical replication"
        raise ConnectError(
            f"replication slot {name} is for {actual}, not for {config.plugin_name} in {config.dbname}: "
            f"set slot.name to another one, or drop it with {drop_statement(name)}"
        )
    if wal_status == "lost" or confirmed is None or restart is None:
        raise LostWalError(
            f"replication slot {name} (confirmed at {confirmed}, restart at {restart}) has lost WAL that it "
            f"needs, as the server's max_slot_wal_keep_size allows no more: drop it with "
            f"{drop_statement(name)}, reset the connector's offsets and start again with a snapshot"
        )
    return Slot(parse_lsn(confirmed))


def drop_statement(slot: str) -> str:
    return f"SELECT pg_drop_replication_slot('{slot}');"


def drop_slot(connection: psycopg.Connection[Any], slot: str) -> None:
    """Drop the slot; a reader that has just gone is given some seconds to be noticed by the server."""
    deadline = time.monotonic() + _DROP_TIMEOUT_S
    while True:
        try:
            connection.execute("SELECT pg_drop_replication_slot(%s)", (slot,))
            return
        except errors.UndefinedObject:
            return
        except errors.ObjectInUse:
            if time.monotonic() >= deadline:
                raise
        time.sleep(_DROP_RETRY_S)


def create_slot(replication: ReplicationConnection, config: PostgresSourceConfig) -> NewSlot:
    """Make the slot; its snapshot can be used until the next command on `replication`."""
    failover = " (SNAPSHOT 'export', FAILOVER true)" if config.slot_failover else " EXPORT_SNAPSHOT"
    try:
        rows = replication.execute(
            f"CREATE_REPLICATION_SLOT {quote_name(config.slot_name)} LOGICAL {config.plugin_name}{failover}"
        )
    except errors.ObjectNotInPrerequisiteState as exc:
        raise ConnectError(
            f"{str(exc).strip()}: run ALTER SYSTEM SET wal_level = 'logical'; and restart the server"
        ) from exc
    except errors.ConfigurationLimitExceeded as exc:
        raise ConnectError(
            f"{str(exc).strip()}: drop a slot that is not used, or raise max_replication_slots and restart "
            "the server"
        ) from exc
    except (errors.InsufficientPrivilege, errors.FeatureNotSupported, errors.SyntaxError) as exc:
        raise ConnectError(
            f"cannot create the replication slot {config.slot_name}: {str(exc).strip()}; the user needs "
            f"ALTER ROLE {quote_name(config.user)} REPLICATION;"
        ) from exc
    _, lsn, snapshot_name, _ = rows[0]
    if lsn is None or snapshot_name is None:
        raise ConnectError(f"the server made the slot {config.slot_name} without a snapshot: {rows[0]}")
    return NewSlot(parse_lsn(lsn), snapshot_name)


def lost_slot(config: PostgresSourceConfig, position: Position, current_lsn: str) -> ConnectError:
    """The slot is gone although changes were read from it before."""
    return ConnectError(
        f"replication slot {config.slot_name} does not exist any more: the connector has read up to "
        f"{show_lsn(position.lsn)} and the server is at {current_lsn}, so changes in between may be lost. "
        "Either set snapshot.mode=when_needed, which reads the tables again, or reset the connector's "
        "offsets and start again"
    )


def slot_ahead(config: PostgresSourceConfig, position: Position, slot: Slot) -> ConnectError:
    """The slot begins behind what was read last: it was made anew, moved on, or the offset was set back."""
    return ConnectError(
        f"replication slot {config.slot_name} begins at {show_lsn(slot.confirmed_lsn)}, but the connector "
        f"has read up to {show_lsn(position.start)} only: the slot was made anew or moved by somebody else, "
        "and changes in between are lost. Either set snapshot.mode=when_needed, which reads the tables "
        "again, or reset the connector's offsets and start again"
    )


def prepare_publication(
    connection: psycopg.Connection[Any], config: PostgresSourceConfig, filters: Filters, catalog: Catalog
) -> None:
    """Make the publication as publication.autocreate.mode says; raises `ConnectError` with the SQL to run."""
    name = quote_name(config.publication_name)
    row = connection.execute(
        "SELECT puballtables FROM pg_publication WHERE pubname = %s", (config.publication_name,)
    ).fetchone()
    mode = config.publication_autocreate_mode
    if row is None and mode == "disabled":
        raise ConnectError(
            "Publication autocreation is disabled, please create one and restart the connector: "
            f"CREATE PUBLICATION {name} FOR TABLE …; or FOR ALL TABLES;"
        )
    tables = _captured(catalog, filters) if mode == "filtered" else ""
    if row is None:
        what = {"all_tables": " FOR ALL TABLES", "filtered": f" FOR TABLE {tables}", "no_tables": ""}[mode]
        root = " WITH (publish_via_partition_root = true)" if config.publish_via_partition_root else ""
        _run(connection, f"CREATE PUBLICATION {name}{what}{root};")
    elif mode == "filtered":
        if row[0]:
            raise ConnectError(
                f"publication {config.publication_name} is FOR ALL TABLES, which "
                "publication.autocreate.mode=filtered cannot change: "
                f"run DROP PUBLICATION {name}; or set the mode to all_tables"
            )
        _run(connection, f"ALTER PUBLICATION {name} SET TABLE {tables};")


def _captured(catalog: Catalog, filters: Filters) -> str:
    names = [
        f"{quote_name(schema)}.{quote_name(table)}"
        for _, schema, table in catalog.tables()
        if filters.keeps_table(schema, table)
    ]
    if not names:
        raise ConnectError(
            "No table filters found for filtered publication: no table matches table.include.list"
        )
    return ", ".join(names)


def _run(connection: psycopg.Connection[Any], statement: str) -> None:
    try:
        connection.execute(statement.encode())
    except errors.DuplicateObject:
        return  # another connector made it at the same time
    except psycopg.DatabaseError as exc:
        if isinstance(exc, psycopg.OperationalError):
            raise
        raise ConnectError(
            f"{str(exc).strip()}: run this as a user who may: {statement} and set "
            "publication.autocreate.mode=disabled"
        ) from exc
