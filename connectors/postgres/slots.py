"""The replication slot: looked up, made, and explained when it is not right."""

import time
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Final

import psycopg
import structlog
from psycopg import errors

from connect.api import ConnectError, RetriableError
from connectors.postgres.config import PostgresSourceConfig
from connectors.postgres.connection import ReplicationConnection, quote_name
from connectors.postgres.offsets import Lsn, Position, parse_lsn, show_lsn

_CURRENT: Final = """
SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END::text
"""
FAILOVER_SINCE: Final = 170000
_TURN_S: Final = 0.5
_DROP_TIMEOUT_S: Final = 5.0
_DROP_RETRY_S: Final = 0.02
_SLOT: Final = """
SELECT plugin, database, confirmed_flush_lsn::text, restart_lsn::text, wal_status, active_pid,
       coalesce(to_jsonb(s) ->> 'invalidation_reason', to_jsonb(s) ->> 'conflicting', ''),
       pg_is_in_recovery() AND coalesce((to_jsonb(s) ->> 'synced')::boolean, false)
  FROM pg_replication_slots s WHERE slot_name = %s
"""

log = structlog.get_logger(__name__)


# https://www.postgresql.org/docs/current/view-pg-replication-slots.html
_KEPT_TOO_LITTLE: Final = "max_slot_wal_keep_size allows the server to keep no more WAL"
_WHY_LOST: Final = {
    "": _KEPT_TOO_LITTLE, "false": _KEPT_TOO_LITTLE, "wal_removed": _KEPT_TOO_LITTLE,
    # PostgreSQL 16 does not tell one from the other.
    "true": f"{_KEPT_TOO_LITTLE}, or, on a standby, rows of the catalog that it needs were removed",
    "rows_removed": "rows of the catalog that it needs were removed",
    "wal_level_insufficient": "wal_level of the primary was not logical for a while",
    "idle_timeout": "nobody read from it for longer than idle_replication_slot_timeout",
}  # fmt: skip


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


def find_slot(
    connection: psycopg.Connection[Any], config: PostgresSourceConfig, position: Position | None = None
) -> Slot | None:
    """The connector's slot or None; raises `ConnectError` for one that cannot serve. `position` is what was
    read last, for its words."""
    row = connection.execute(_SLOT, (config.slot_name,)).fetchone()
    if row is None:
        return None
    plugin, database, confirmed, restart, wal_status, reader, reason, is_copy = row
    name = config.slot_name
    if plugin != config.plugin_name or database != config.dbname:
        actual = f"plugin {plugin} in database {database}" if plugin else "physical replication"
        raise ConnectError(
            f"replication slot {name} is for {actual}, not for {config.plugin_name} in {config.dbname}: "
            f"set slot.name to another one, or drop it with {drop_statement(name)}"
        )
    if is_copy:
        raise RetriableError(
            f"replication slot {name} is the copy of a failover slot, and the server still a standby: it can "
            "be read when the server is promoted"
        )
    if confirmed is None and wal_status != "lost":
        raise RetriableError(f"replication slot {name} is just being made by PID {reader}")
    if wal_status == "lost" or restart is None:
        because = _WHY_LOST.get(reason, f"it is invalid ({reason})")
        raise LostWalError(
            f"replication slot {name} lost changes after {confirmed}, as {because}; the connector has read "
            f"up to {show_lsn(position.lsn) if position else 'nothing'} and the server is at "
            f"{current_lsn(connection)}. Either set snapshot.mode=when_needed, which reads the tables again, "
            f"or drop the slot with {drop_statement(name)}, reset the connector's offsets and start again"
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


def create_slot(
    replication: ReplicationConnection, config: PostgresSourceConfig
) -> Generator[tuple[()], None, NewSlot]:
    """Make the slot; its snapshot can be used until the next command on `replication`.

    The server waits for the end of all transactions that are open, which may take long: this yields an
    empty tuple every now and then.
    """
    if config.slot_failover and replication.server_version < FAILOVER_SINCE:
        raise ConnectError("slot.failover=true needs PostgreSQL 17: remove the setting")
    failover = " (SNAPSHOT 'export', FAILOVER true)" if config.slot_failover else " EXPORT_SNAPSHOT"
    log.info("the slot is made as soon as all open transactions have ended", slot=config.slot_name)
    try:
        rows = yield from replication.execute(
            f"CREATE_REPLICATION_SLOT {quote_name(config.slot_name)} LOGICAL {config.plugin_name}{failover}",
            _TURN_S,
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
    except errors.InsufficientPrivilege as exc:
        raise ConnectError(
            f"cannot create the replication slot {config.slot_name}: {str(exc).strip()}; the user needs "
            f"ALTER ROLE {quote_name(config.user)} REPLICATION;"
        ) from exc
    _, lsn, snapshot_name, _ = rows[0]
    if lsn is None or snapshot_name is None:
        raise ConnectError(f"the server made the slot {config.slot_name} without a snapshot: {rows[0]}")
    return NewSlot(parse_lsn(lsn), snapshot_name)


def current_lsn(connection: psycopg.Connection[Any]) -> str:
    """Where the server's WAL ends."""
    row = connection.execute(_CURRENT).fetchone()
    return str(row[0]) if row else "0/0"


def is_behind(config: PostgresSourceConfig, position: Position, slot: Slot) -> bool:
    """Whether the slot does not have all changes after `position` any more, and that is not agreed to."""
    trusted = config.offset_mismatch_strategy in ("trust_slot", "trust_greater_lsn")
    return slot.confirmed_lsn > position.start and not trusted


def resume_at(
    connection: psycopg.Connection[Any], config: PostgresSourceConfig, position: Position, slot: Slot | None
) -> Lsn:
    """Where the stream goes on after `position`; raises `ConnectError` where changes would be missing."""
    current = current_lsn(connection)
    if slot is None:
        raise lost_slot(config, position, current)
    if is_behind(config, position, slot):
        raise slot_ahead(config, position, slot)
    if position.lsn > parse_lsn(current):
        raise ConnectError(
            f"the stored offset {show_lsn(position.lsn)} is ahead of the server, which is at {current}: "
            "it is another server, or one restored from a backup. Reset the connector's offsets and "
            "start again"
        )
    if slot.confirmed_lsn > position.start:
        log.warning(
            "the slot is trusted more than the stored offset: changes in between are not read",
            offset=show_lsn(position.start), slot=show_lsn(slot.confirmed_lsn),
        )  # fmt: skip
    return max(position.start, slot.confirmed_lsn)


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
        "again, or reset the connector's offsets and start again, or set "
        "offset.mismatch.strategy=trust_slot to go on without those changes"
    )
