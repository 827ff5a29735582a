"""xmin.fetch.interval.ms: the slot's xmin in the source block, read again once in a while."""

import time
from typing import Any

import psycopg

from connectors.postgres.config import PostgresSourceConfig
from connectors.postgres.envelope import SourceBlocks


class SlotXmin:
    """Keeps `sources.xmin` fresh; does nothing where the interval is 0."""

    def __init__(
        self, config: PostgresSourceConfig, connection: psycopg.Connection[Any], sources: SourceBlocks
    ) -> None:
        self._interval_s = config.xmin_fetch_interval_ms / 1000
        self._slot = config.slot_name
        self._connection = connection
        self._sources = sources
        self._due = 0.0

    def refresh(self) -> None:
        """Read it if it is due; transactions that begin afterwards have it."""
        if not self._interval_s or time.monotonic() < self._due:
            return
        self._due = time.monotonic() + self._interval_s
        row = self._connection.execute(
            "SELECT catalog_xmin::text::bigint FROM pg_replication_slots WHERE slot_name = %s", (self._slot,)
        ).fetchone()
        self._sources.xmin = row[0] if row else None
