"""The catalog's tables, and how a database gets to the newest schema.

One row of `meta` holds the schema version. Creating and migrating happen in one transaction each, so
that a kill leaves the database at one version or the other.
"""

import sqlite3
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Uuid,
    create_engine,
    event,
    insert,
    inspect,
    select,
    update,
)
from sqlalchemy.exc import DatabaseError

from broker.catalog.errors import CatalogError

SCHEMA_VERSION = 2

_metadata = MetaData()

meta = Table(
    "meta",
    _metadata,
    Column("name", String, primary_key=True),
    Column("value", String, nullable=False),
)

topics = Table(
    "topics",
    _metadata,
    Column("name", String, primary_key=True),
    Column("topic_id", Uuid, nullable=False, unique=True),
    Column("partitions", Integer, nullable=False),
)

topic_configs = Table(
    "topic_configs",
    _metadata,
    Column("topic", String, ForeignKey("topics.name", ondelete="CASCADE"), primary_key=True),
    Column("name", String, primary_key=True),
    Column("value", String, nullable=False),
)

# What a coordinator knows of a group, in a form of its own: the catalog only keeps it.
groups = Table(
    "groups",
    _metadata,
    Column("group_id", String, primary_key=True),
    Column("document", LargeBinary, nullable=False),
)

# No reference to topics: a commit that is in flight while its topic is deleted must not fail. The
# coordinator removes such offsets after the deletion.
offsets = Table(
    "offsets",
    _metadata,
    Column("group_id", String, primary_key=True),
    Column("topic", String, primary_key=True, index=True),
    Column("partition", Integer, primary_key=True),
    Column("committed_offset", BigInteger, nullable=False),
    Column("leader_epoch", Integer, nullable=False),
    Column("metadata", String, nullable=False),
    Column("commit_time_ms", BigInteger, nullable=False),
    Column("expire_time_ms", BigInteger),
    sqlite_with_rowid=False,
)

# Offsets that transactions have written and not ended yet: markers move them to `offsets`, or drop them.
pending_offsets = Table(
    "pending_offsets",
    _metadata,
    Column("group_id", String, primary_key=True),
    Column("producer_id", BigInteger, primary_key=True),
    Column("topic", String, primary_key=True, index=True),
    Column("partition", Integer, primary_key=True),
    Column("producer_epoch", Integer, nullable=False),
    Column("committed_offset", BigInteger, nullable=False),
    Column("leader_epoch", Integer, nullable=False),
    Column("metadata", String, nullable=False),
    Column("commit_time_ms", BigInteger, nullable=False),
    Column("expire_time_ms", BigInteger),
    sqlite_with_rowid=False,
)

# What the transaction coordinator knows of a transactional id, in a form of its own.
transactions = Table(
    "transactions",
    _metadata,
    Column("transactional_id", String, primary_key=True),
    Column("document", LargeBinary, nullable=False),
)

# Dynamic configs of groups (KIP-848).
group_configs = Table(
    "group_configs",
    _metadata,
    Column("group_id", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("value", String, nullable=False),
)


def _add_transactions(connection: Connection) -> None:
    for statement in (
        """CREATE TABLE pending_offsets (
            group_id VARCHAR NOT NULL, producer_id BIGINT NOT NULL, topic VARCHAR NOT NULL,
            partition INTEGER NOT NULL, producer_epoch INTEGER NOT NULL, committed_offset BIGINT NOT NULL,
            leader_epoch INTEGER NOT NULL, metadata VARCHAR NOT NULL, commit_time_ms BIGINT NOT NULL,
            expire_time_ms BIGINT, PRIMARY KEY (group_id, producer_id, topic, partition)
        ) WITHOUT ROWID""",
        "CREATE INDEX ix_pending_offsets_topic ON pending_offsets (topic)",
        """CREATE TABLE transactions (
            transactional_id VARCHAR NOT NULL, document BLOB NOT NULL, PRIMARY KEY (transactional_id)
        )""",
        """CREATE TABLE group_configs (
            group_id VARCHAR NOT NULL, name VARCHAR NOT NULL, value VARCHAR NOT NULL,
            PRIMARY KEY (group_id, name)
        )""",
    ):
        connection.exec_driver_sql(statement)


MIGRATIONS: dict[int, Callable[[Connection], None]] = {1: _add_transactions}
"""From version n to n + 1, by n. Write them in SQL of their own: the tables above are the newest."""


def open_engine(path: Path) -> Engine:
    """An engine on the SQLite file, made and migrated as needed, with every commit synced to disk.

    Raises CatalogError when the file is no catalog, or one of a newer Millstream.
    """
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": 30})
    event.listen(engine, "connect", _set_up_connection)
    event.listen(engine, "begin", _begin)
    try:
        with engine.begin() as connection:
            _migrate(connection, path)
    except DatabaseError as exc:
        engine.dispose()
        raise CatalogError(f"cannot open the catalog {path}: {exc.orig}") from exc
    except CatalogError:
        engine.dispose()
        raise
    return engine


def _set_up_connection(connection: sqlite3.Connection, _record: Any) -> None:
    # Transactions begin where we say (_begin), tables included, not where the driver guesses.
    connection.isolation_level = None
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def _migrate(connection: Connection, path: Path) -> None:
    if not inspect(connection).has_table("meta"):
        _metadata.create_all(connection)
        connection.execute(
            insert(meta),
            [
                {"name": "schema_version", "value": str(SCHEMA_VERSION)},
                {"name": "cluster_id", "value": _new_cluster_id()},
                {"name": "next_producer_id", "value": "0"},
            ],
        )
        return
    version = int(
        connection.execute(select(meta.c.value).where(meta.c.name == "schema_version")).scalar_one()
    )
    if version > SCHEMA_VERSION:
        raise CatalogError(
            f"the catalog {path} has schema version {version}, and this Millstream knows versions up to "
            f"{SCHEMA_VERSION}: start the newer Millstream that wrote it"
        )
    while version < SCHEMA_VERSION:
        MIGRATIONS[version](connection)
        version += 1
        connection.execute(update(meta).where(meta.c.name == "schema_version").values(value=str(version)))


def _new_cluster_id() -> str:
    """As Kafka's: a random UUID in 22 characters of URL-safe base64."""
    return urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
