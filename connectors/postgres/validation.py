"""What only the server can tell of a config: each thing that is wrong, with the SQL that mends it.

Errors are what would make the connector fail; what only makes it capture less than it seems is a warning.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

import psycopg

from connect.api import ConnectError, FieldError, FieldWarning
from connectors.postgres.catalog import Catalog
from connectors.postgres.config import PostgresSourceConfig
from connectors.postgres.connection import connect, quote_name
from connectors.postgres.filters import Filters, unmatched
from connectors.postgres.identity import identity_rules
from connectors.postgres.slots import FAILOVER_SINCE, find_slot

_QUERY_S: Final = 5
_OLDEST: Final = 140000
_ORIGIN_SINCE: Final = 160000

# On Amazon RDS nobody has the attribute; there a role gives the right.
_MAY_REPLICATE: Final = """
SELECT rolreplication OR rolsuper OR EXISTS (
         SELECT FROM pg_roles r
          WHERE r.rolname = 'rds_replication' AND pg_has_role(u.rolname, r.oid, 'member'))
  FROM pg_roles u WHERE rolname = current_user
"""
_MAY_PUBLISH_ALL: Final = """
SELECT rolsuper OR EXISTS (
         SELECT FROM pg_roles r
          WHERE r.rolname = 'rds_superuser' AND pg_has_role(u.rolname, r.oid, 'member'))
  FROM pg_roles u WHERE rolname = current_user
"""
_SLOTS: Final = """
SELECT (SELECT count(*) FROM pg_replication_slots), current_setting('max_replication_slots')::int
"""
_SENDERS: Final = """
SELECT (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walsender'),
       current_setting('max_wal_senders')::int
"""
_READER: Final = """
SELECT s.active_pid, coalesce(a.application_name, ''), coalesce(host(a.client_addr), 'a local socket')
  FROM pg_replication_slots s LEFT JOIN pg_stat_activity a ON a.pid = s.active_pid
 WHERE s.slot_name = %s AND s.active
"""
_RIGHTS: Final = """
SELECT c.oid::bigint, nspname, relname, has_schema_privilege(relnamespace, 'USAGE'),
       has_table_privilege(c.oid, 'SELECT') OR has_any_column_privilege(c.oid, 'SELECT'),
       pg_has_role(relowner, 'USAGE'), relreplident::text,
       EXISTS (SELECT FROM pg_index WHERE indrelid = c.oid AND indisprimary), relkind::text
  FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
 WHERE c.oid = ANY(%s) ORDER BY nspname, relname
"""
_PUBLICATION: Final = """
SELECT puballtables, pubinsert, pubupdate, pubdelete, pubtruncate, pg_has_role(pubowner, 'USAGE')
  FROM pg_publication WHERE pubname = %s
"""
# A partitioned table is published by its name or by those of its partitions.
_COVERED: Final = """
WITH published AS (SELECT format('%%I.%%I', schemaname, tablename)::regclass AS oid
                     FROM pg_publication_tables WHERE pubname = %s)
SELECT EXISTS (SELECT FROM published WHERE oid = %s
                  OR oid IN (SELECT relid FROM pg_partition_tree(%s))
                  OR oid IN (SELECT relid FROM pg_partition_ancestors(%s)))
"""
_IDENTITY: Final = """
SELECT attname FROM pg_class c
  JOIN pg_index i ON indrelid = c.oid
   AND CASE relreplident WHEN 'd' THEN indisprimary WHEN 'i' THEN indisreplident ELSE false END
  JOIN pg_attribute a ON attrelid = c.oid AND attnum = ANY(indkey)
 WHERE c.oid = %s
"""
_COLUMNS: Final = "SELECT attname FROM pg_attribute WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped"
_OPERATIONS: Final = {"c": "insert", "u": "update", "d": "delete", "t": "truncate"}


class _Table(NamedTuple):
    """A captured table and what the user may do with it."""

    oid: int
    schema: str
    name: str
    usable_schema: bool
    readable: bool
    owned: bool
    identity: str
    has_primary_key: bool
    kind: str

    @property
    def full_name(self) -> str:
        return f"{self.schema}.{self.name}"

    @property
    def quoted(self) -> str:
        return f"{quote_name(self.schema)}.{quote_name(self.name)}"


def check_server(config: PostgresSourceConfig) -> Iterator[FieldError]:
    """All that is wrong, and what deserves a warning; bounded in time."""
    try:
        with connect(config) as connection:
            connection.execute(f"SET statement_timeout = '{_QUERY_S}s'".encode())
            yield from _Checks(connection, config).all()
    except psycopg.Error as exc:
        yield FieldError("database.hostname", f"Error while validating connector config: {str(exc).strip()}")


class _Checks:
    """The checks of one config on one connection."""

    def __init__(self, connection: psycopg.Connection[Any], config: PostgresSourceConfig) -> None:
        self._connection = connection
        self._config = config
        self._user = quote_name(config.user)
        self._filters = Filters(config)
        self._all_tables = Catalog(connection).tables()
        self._streams = config.snapshot_mode != "initial_only"

    def all(self) -> Iterator[FieldError]:
        yield from self._version()
        tables = self._tables()
        yield from self._unknown_tables()
        yield from self._readable(tables)
        if self._streams:
            yield from self._server()
            yield from self._slot()
            yield from self._publication(tables)
            yield from self._identities(tables)

    def _row(self, sql: str, *values: Any) -> Any:
        return self._connection.execute(sql.encode(), values).fetchone()

    def _version(self) -> Iterable[FieldError]:
        version = self._connection.info.server_version
        shown = f"the server is PostgreSQL {version // 10000}"
        if version < _OLDEST:
            yield FieldError("database.hostname", f"{shown}; 14 and later can be captured")
        if self._config.slot_failover and version < FAILOVER_SINCE:
            yield FieldError("slot.failover", f"{shown}, failover slots need 17: remove slot.failover")
        if self._config.stream_params() and version < _ORIGIN_SINCE:
            yield FieldError("slot.stream.params", f"{shown}, the option origin needs 16: remove it")

    def _tables(self) -> list[_Table]:
        captured = [oid for oid, schema, name in self._all_tables if self._filters.keeps_table(schema, name)]
        return [_Table(*row) for row in self._connection.execute(_RIGHTS, (captured,))]

    def _unknown_tables(self) -> Iterable[FieldError]:
        names = [(schema, name) for _, schema, name in self._all_tables]
        for setting, pattern, what in unmatched(self._config, names):
            yield FieldWarning(
                setting, f"{setting}: {pattern} matches no {what} of {self._config.dbname}, yet"
            )

    def _readable(self, tables: Iterable[_Table]) -> Iterable[FieldError]:
        if self._config.snapshot_mode in ("no_data", "never"):
            return
        for table in tables:
            if not self._filters.in_snapshot(table.schema, table.name):
                continue
            if not table.usable_schema:
                schema = quote_name(table.schema)
                yield self._needs(table, f"GRANT USAGE ON SCHEMA {schema} TO {self._user};")
            elif not table.readable:
                yield self._needs(table, f"GRANT SELECT ON {table.quoted} TO {self._user};")

    def _needs(self, table: _Table, statement: str) -> FieldError:
        return FieldError(
            "database.user", f"user {self._config.user} may not read {table.full_name}: run {statement}"
        )

    def _server(self) -> Iterable[FieldError]:
        (level,) = self._row("SHOW wal_level")
        if level != "logical":
            yield FieldError(
                "database.hostname",
                f"wal_level of the server is {level} and must be logical: "
                "run ALTER SYSTEM SET wal_level = 'logical'; and restart the server",
            )
        if not self._row(_MAY_REPLICATE)[0]:
            yield FieldError(
                "database.user",
                f"user {self._config.user} may not replicate: run ALTER ROLE {self._user} REPLICATION;",
            )

    def _slot(self) -> Iterable[FieldError]:
        name = self._config.slot_name
        try:
            slot = find_slot(self._connection, self._config)
        except ConnectError as exc:
            yield FieldError("slot.name", str(exc))
            return
        if slot is None:
            hint = "drop one that is not needed, see SELECT slot_name, active FROM pg_replication_slots;"
            yield from self._one_left("slot.name", _SLOTS, "replication_slots", hint)
        if reader := self._row(_READER, name):
            pid, application, host = reader
            yield FieldWarning(
                "slot.name",
                f"slot.name: {name} is read by PID {pid} ({application}, from {host}); unless that is this "
                "connector itself, give it a slot.name and publication.name of its own",
            )
            return
        hint = "end one, see SELECT pid, application_name FROM pg_stat_replication;"
        yield from self._one_left("database.hostname", _SENDERS, "wal_senders", hint)

    def _one_left(self, setting: str, count: str, what: str, hint: str) -> Iterable[FieldError]:
        used, limit = self._row(count)
        if used >= limit:
            yield FieldError(
                setting,
                f"all {limit} {what.replace('_', ' ')} of the server are in use: {hint} or run "
                f"ALTER SYSTEM SET max_{what} = {limit + 1}; and restart the server",
            )

    # --- the publication

    def _publication(self, tables: list[_Table]) -> Iterable[FieldError]:
        found = self._row(_PUBLICATION, self._config.publication_name)
        mode = self._config.publication_autocreate_mode
        if found is None:
            yield from self._missing_publication(tables)
            return
        for_all, *published, owned = found
        if mode == "filtered" and not for_all:
            if not owned:
                yield FieldWarning(
                    "publication.name",
                    f"publication.name: {self._config.publication_name} belongs to another user, so tables "
                    f"cannot be added to it: run {self._alter} OWNER TO {self._user};",
                )
        elif not for_all:
            yield from self._uncovered(tables)
        captured = [op for op in _OPERATIONS if op not in self._config.skipped_operations]
        missing = [
            name
            for (op, name), there in zip(_OPERATIONS.items(), published, strict=True)
            if op in captured and not there
        ]
        if missing:
            everything = ", ".join(_OPERATIONS.values())
            yield FieldWarning(
                "publication.name",
                f"publication.name: {self._config.publication_name} does not publish {', '.join(missing)}: "
                f"run {self._alter} SET (publish = '{everything}');",
            )

    @property
    def _alter(self) -> str:
        return f"ALTER PUBLICATION {quote_name(self._config.publication_name)}"

    def _missing_publication(self, tables: list[_Table]) -> Iterable[FieldError]:
        config = self._config
        mode = config.publication_autocreate_mode
        create = f"CREATE PUBLICATION {quote_name(config.publication_name)}"
        every = ", ".join(table.quoted for table in tables)
        if mode == "disabled":
            what = f"FOR TABLE {every};" if every and config.table_include else "FOR ALL TABLES;"
            yield FieldError(
                "publication.name",
                f"publication {config.publication_name} does not exist and publication.autocreate.mode is "
                f"disabled: run {create} {what}",
            )
            return
        if not self._row("SELECT has_database_privilege(current_database(), 'CREATE')")[0]:
            yield FieldError(
                "database.user",
                f"user {config.user} may not create a publication: run GRANT CREATE ON DATABASE "
                f"{quote_name(config.dbname)} TO {self._user}; or make it yourself and set "
                "publication.autocreate.mode=disabled",
            )
        if mode == "all_tables" and not self._row(_MAY_PUBLISH_ALL)[0]:
            yield FieldError(
                "publication.autocreate.mode",
                f"only a superuser may create a publication FOR ALL TABLES: run {create} FOR ALL TABLES; as "
                "one, or set publication.autocreate.mode=filtered",
            )
        if mode == "filtered":
            yield from self._not_owned(tables)

    def _not_owned(self, tables: list[_Table]) -> Iterable[FieldError]:
        if not tables:
            yield FieldError(
                "table.include.list",
                "No table filters found for filtered publication: no table matches table.include.list",
            )
        for table in tables:
            if not table.owned:
                yield FieldError(
                    "database.user",
                    f"user {self._config.user} may not publish {table.full_name}, which belongs to another "
                    f"user: run ALTER TABLE {table.quoted} OWNER TO {self._user}; or make the publication "
                    "yourself and set publication.autocreate.mode=disabled",
                )

    def _uncovered(self, tables: Iterable[_Table]) -> Iterable[FieldError]:
        name = self._config.publication_name
        missing = [t for t in tables if not self._row(_COVERED, name, t.oid, t.oid, t.oid)[0]]
        if missing:
            shown = ", ".join(table.quoted for table in missing)
            yield FieldWarning(
                "publication.name",
                f"publication.name: {name} does not publish {shown}, whose changes will not come: run "
                f"{self._alter} ADD TABLE {shown};",
            )

    # --- replica identities

    def _identities(self, tables: Iterable[_Table]) -> Iterable[FieldError]:
        rules = identity_rules(self._config)
        for table in tables:
            if any(rule.fullmatch(table.full_name) for rule, _ in rules) or table.kind == "p":
                continue
            if table.identity == "n" or (table.identity == "d" and not table.has_primary_key):
                yield FieldWarning(
                    "table.include.list",
                    f"{table.full_name} has no replica identity, so the server refuses UPDATE and DELETE on "
                    f"it once it is published: give it a primary key, or run ALTER TABLE {table.quoted} "
                    "REPLICA IDENTITY FULL;",
                )
            elif table.identity != "f":
                yield from self._key_without_identity(table)

    def _key_without_identity(self, table: _Table) -> Iterable[FieldError]:
        """The old row has the columns of the replica identity only, and a key may need others."""
        known = {name for (name,) in self._connection.execute(_IDENTITY, (table.oid,))}
        columns = [name for (name,) in self._connection.execute(_COLUMNS, (table.oid,))]
        missing = [name for name in self._filters.custom_key(table.full_name, columns) if name not in known]
        if missing:
            yield FieldWarning(
                "message.key.columns",
                f"message.key.columns: {', '.join(missing)} of {table.full_name} is not in its replica "
                "identity, so a delete has the column's default or null in its key, and an update of it does "
                f"not delete the old key: run ALTER TABLE {table.quoted} REPLICA IDENTITY FULL;",
            )
