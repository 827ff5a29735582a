"""The publication: which tables the server puts into the stream.

https://www.postgresql.org/docs/current/logical-replication-publication.html
"""

import time
from typing import Any, Final

import psycopg
import structlog
from psycopg import errors

from connect.api import ConnectError
from connectors.postgres.catalog import Catalog
from connectors.postgres.config import PostgresSourceConfig
from connectors.postgres.connection import quote_name
from connectors.postgres.filters import Filters
from connectors.postgres.slots import drop_statement

_LOOK_S: Final = 10.0
_FOUND: Final = "SELECT oid::bigint, puballtables FROM pg_publication WHERE pubname = %s"
_TABLES: Final = """
SELECT r.prrelid::bigint FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid
 WHERE p.pubname = %s
"""

log = structlog.get_logger(__name__)


class Publication:
    """Makes the connector's publication as publication.autocreate.mode says, and keeps a filtered one up to
    date; raises `ConnectError` with the SQL to run where it may not."""

    def __init__(
        self, connection: psycopg.Connection[Any], config: PostgresSourceConfig, filters: Filters,
        catalog: Catalog,
    ) -> None:  # fmt: skip
        self._connection = connection
        self._name = config.publication_name
        self._slot = config.slot_name
        self._mode = config.publication_autocreate_mode
        self._via_root = config.publish_via_partition_root
        self._filters = filters
        self._catalog = catalog
        self._look_at = time.monotonic() + _LOOK_S
        self._refused: set[int] = set()
        self._oid: int | None = None

    def prepare(self, *, goes_on: bool) -> bool:
        """Before the stream starts; `goes_on` where one was read before. Whether that one may have a gap now,
        as the publication was missing."""
        gap = False
        row = self._connection.execute(_FOUND, (self._name,)).fetchone()
        if row is None:
            self._create()
            row = self._connection.execute(_FOUND, (self._name,)).fetchone()
            gap = goes_on
            if gap:
                self._warn_of_a_gap()
        elif self._mode == "filtered":
            if row[1]:
                raise ConnectError(
                    f"publication {self._name} is FOR ALL TABLES, which publication.autocreate.mode=filtered "
                    f"cannot change: run DROP PUBLICATION {quote_name(self._name)}; or set the mode to "
                    "all_tables"
                )
            wanted = self._some_captured()
            if self._published() != wanted.keys():
                tables = ", ".join(wanted.values())
                self._run(f"ALTER PUBLICATION {quote_name(self._name)} SET TABLE {tables};")
        self._oid = row[0] if row is not None else None
        return gap

    def follow(self) -> None:
        """Once in a while: publish captured tables that were made since. What was written to them before is
        not in the stream. Raises `ConnectError` where the publication is gone: PostgreSQL 18 then sends
        nothing, and says nothing."""
        if time.monotonic() < self._look_at:
            return
        self._look_at = time.monotonic() + _LOOK_S
        row = self._connection.execute(_FOUND, (self._name,)).fetchone()
        if row is None:
            raise self.missing("it was dropped")
        if row[0] != self._oid:
            self._oid = row[0]
            self._warn_of_a_gap()
        if self._mode == "filtered":
            self._publish_new_tables()

    def missing(self, why: str) -> ConnectError:
        """The stream needs a publication that is not there, or was not there when a change was written."""
        make = (
            f"Make it again (CREATE PUBLICATION {quote_name(self._name)} …;) if it is not there"
            if self._mode == "disabled"
            else "The next start of the task makes it again if it is not there"
        )
        return ConnectError(
            f"publication {self._name}: {why}. Changes that were written while it was missing cannot be "
            f"read. {make}; {self._read_again}"
        )

    def _warn_of_a_gap(self) -> None:
        log.warning(
            "the publication was made anew: changes that were written while it was missing do not come; "
            + self._read_again,
            publication=self._name,
        )

    @property
    def _read_again(self) -> str:
        return (
            f"to read the tables again, stop the connector, drop the slot with {drop_statement(self._slot)} "
            "and start it with snapshot.mode=when_needed"
        )

    def _publish_new_tables(self) -> None:
        published = self._published()
        for oid, table in self._captured().items():
            if oid not in published and oid not in self._refused:
                self._add(oid, table)

    def _add(self, oid: int, table: str) -> None:
        try:
            self._run(f"ALTER PUBLICATION {quote_name(self._name)} ADD TABLE {table};")
        except ConnectError as exc:  # no reason to stop reading the others; the next start complains
            self._refused.add(oid)
            log.warning("a new table cannot be published, so it is not captured", table=table, error=str(exc))
        else:
            log.warning("a new table is published; rows that it had before are not captured", table=table)

    def _create(self) -> None:
        name = quote_name(self._name)
        match self._mode:
            case "disabled":
                raise ConnectError(
                    "Publication autocreation is disabled, please create one and restart the connector: "
                    f"CREATE PUBLICATION {name} FOR TABLE …; or FOR ALL TABLES;"
                )
            case "filtered":
                tables = f" FOR TABLE {', '.join(self._some_captured().values())}"
            case "all_tables":
                tables = " FOR ALL TABLES"
            case _:
                tables = ""
        root = " WITH (publish_via_partition_root = true)" if self._via_root else ""
        self._run(f"CREATE PUBLICATION {name}{tables}{root};")

    def _published(self) -> set[int]:
        return {oid for (oid,) in self._connection.execute(_TABLES, (self._name,))}

    def _captured(self) -> dict[int, str]:
        """The captured tables by oid, quoted."""
        return {
            oid: f"{quote_name(schema)}.{quote_name(table)}"
            for oid, schema, table in self._catalog.tables()
            if self._filters.keeps_table(schema, table)
        }

    def _some_captured(self) -> dict[int, str]:
        tables = self._captured()
        if not tables:
            raise ConnectError(
                "No table filters found for filtered publication: no table matches table.include.list"
            )
        return tables

    def _run(self, statement: str) -> None:
        try:
            self._connection.execute(statement.encode())
        except errors.DuplicateObject:
            log.info("another connector was quicker", statement=statement)
        except psycopg.DatabaseError as exc:
            if isinstance(exc, psycopg.OperationalError):
                raise
            raise ConnectError(
                f"{str(exc).strip()}: run this as a user who may: {statement} and set "
                "publication.autocreate.mode=disabled"
            ) from exc
