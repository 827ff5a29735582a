"""replica.identity.autoset.values: set the replica identity of tables at start."""

import re
from typing import Any, Final

import psycopg

from connect.api import ConfigError, ConnectError
from connectors.postgres.catalog import Catalog
from connectors.postgres.config import PostgresSourceConfig
from connectors.postgres.connection import quote_name
from connectors.postgres.filters import Filters

_NAME: Final = "replica.identity.autoset.values"
_RULE: Final = re.compile(
    r"\s*(?P<table>[^:]+):(?P<identity>FULL|DEFAULT|NOTHING|INDEX\s+(?P<index>\S+))\s*", re.I
)


def set_identities(
    connection: psycopg.Connection[Any], config: PostgresSourceConfig, filters: Filters, catalog: Catalog
) -> None:
    """Set what differs. `schema.table:FULL`, `:DEFAULT`, `:NOTHING`, `:INDEX name`; tables are regexes."""
    rules = identity_rules(config)
    if not rules:
        return
    for oid, schema, table in catalog.tables():
        if not filters.keeps_table(schema, table):
            continue
        for pattern, identity in rules:
            if pattern.fullmatch(f"{schema}.{table}"):
                _set(connection, oid, f"{quote_name(schema)}.{quote_name(table)}", identity)
                break


def identity_rules(config: PostgresSourceConfig) -> list[tuple[re.Pattern[str], str]]:
    """The setting as (regex of `schema.table`, SQL of the identity)."""
    texts = (config.replica_identity_autoset_values or "").split(",")
    return [_rule(text) for text in texts if text.strip()]


def _rule(text: str) -> tuple[re.Pattern[str], str]:
    found = _RULE.fullmatch(text)
    if found is None:
        raise ConfigError.invalid(_NAME, text, "give schema.table:FULL, :DEFAULT, :NOTHING or :INDEX name")
    index = found["index"]
    identity = f"USING INDEX {quote_name(index)}" if index else found["identity"].upper()
    return re.compile(found["table"], re.IGNORECASE), identity


def _set(connection: psycopg.Connection[Any], oid: int, table: str, identity: str) -> None:
    row = connection.execute("SELECT relreplident::text FROM pg_class WHERE oid = %s", (oid,)).fetchone()
    if row is not None and {"f": "FULL", "d": "DEFAULT", "n": "NOTHING"}.get(row[0]) == identity:
        return
    statement = f"ALTER TABLE {table} REPLICA IDENTITY {identity};"
    try:
        connection.execute(statement.encode())
    except psycopg.ProgrammingError as exc:
        raise ConnectError(f"{str(exc).strip()}: run {statement} as the owner of the table") from exc
