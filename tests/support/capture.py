"""Drives the PostgreSQL source without a worker: connector, task and the offsets that a worker would keep."""

import os
import subprocess
import time
import uuid
from collections.abc import Mapping
from typing import Any

from support.task_contexts import SourceContext

from connect.api import SourceRecord
from connect.testing.postgres import PostgresServer
from connectors.postgres.config import PostgresSourceConfig
from connectors.postgres.plugin import PostgresConnector
from connectors.postgres.source import PostgresSourceTask

DEADLINE_S = 60
QUIET_POLLS = 2
"""What was sent before a poll may need another one to be read."""


class Context(SourceContext):
    """`wait` really waits, as retries need the time to pass."""

    connector_name = "capture"

    def wait(self, seconds: float) -> bool:
        if not self.stopping:
            time.sleep(seconds)
        return self.stopping


class Capture:
    """One connector on a database of its own. `records` are all that came, `offset` what is stored."""

    def __init__(self, server: PostgresServer, name: str | None = None, **properties: str | None) -> None:
        self.server = server
        self.name = name or f"c{uuid.uuid4().hex[:12]}"
        server.create_database(self.name)
        self.properties: dict[str, str] = {}
        self.change(
            {
                "database.hostname": server.host, "database.port": str(server.port),
                "database.user": server.user,
                "database.password": server.password, "database.dbname": self.name, "topic.prefix": self.name,
                "slot.name": self.name, "publication.name": self.name, "poll.interval.ms": "20",
            }
        )  # fmt: skip
        self.change({name.replace("__", "."): value for name, value in properties.items()})
        self.records: list[SourceRecord] = []
        self.offset: Mapping[str, Any] | None = None
        self.record_offset: Mapping[str, Any] | None = None
        """The last one stored that came with a record; an idle stream moves `offset` on without one."""
        self.task: PostgresSourceTask | None = None
        self.context = Context(None)

    def change(self, properties: Mapping[str, str | None]) -> None:
        """Set properties; None removes one."""
        for name, value in properties.items():
            if value is None:
                self.properties.pop(name, None)
            else:
                self.properties[name] = value

    def sql(self, text: str) -> str:
        """Run a script as psql does, statement by statement; what it printed."""
        environment = dict(os.environ, PGPASSWORD=self.server.password, PGTZ="UTC")
        done = subprocess.run(
            [self.server.bin / "psql", "-qAtX", "-h", self.server.host, "-p", str(self.server.port), "-U",
             self.server.user, "-d", self.name, "-f", "-"],
            input=text, text=True, capture_output=True, env=environment, check=False,
        )  # fmt: skip
        return (done.stdout + done.stderr).strip()

    def start(self) -> "Capture":
        """Start the task at the stored offset."""
        config = PostgresSourceConfig.parse(self.properties)
        (properties,) = PostgresConnector().task_configs(config, 1)
        self.context = Context(self.offset)
        self.task = PostgresSourceTask()
        self.task.start(self.context, PostgresSourceConfig.parse(properties))
        return self

    def poll(self) -> list[SourceRecord]:
        """One poll; its records are kept, their offset is not yet stored."""
        assert self.task is not None
        batch = list(self.task.poll())
        self.records += batch
        return batch

    def store(self, record: SourceRecord) -> None:
        """The record and all before it are durable."""
        assert self.task is not None
        self.offset = self.record_offset = record.source_offset
        self.task.commit([(record.source_partition, record.source_offset)])

    def drain(self, store: bool = True) -> list[SourceRecord]:
        """Poll until everything committed so far has come; store its offset, if wanted; what came."""
        with self.server.connect() as connection:
            row = connection.execute("SELECT pg_current_wal_lsn()").fetchone()
            assert row is not None
            taken: list[SourceRecord] = []
            deadline = time.monotonic() + DEADLINE_S
            quiet = 0
            while quiet < QUIET_POLLS:
                assert time.monotonic() < deadline, f"{self.name}: not caught up with {row[0]}"
                sent = self._sent(connection, row[0])
                batch = self.poll()
                taken += batch
                if self._takes_signals:  # what they ask for writes marks itself
                    row = connection.execute("SELECT pg_current_wal_lsn()").fetchone()
                    assert row is not None
                    sent = self._sent(connection, row[0]) and not self._reads_incrementally
                quiet = quiet + 1 if sent and not batch else 0
        if taken and store:
            self.store(taken[-1])
        if store:
            self.store_advance()
        return taken

    def store_advance(self) -> None:
        """The offset that the task gave without a record, if any, is durable."""
        assert self.task is not None
        if self.context.advanced is not None:
            self.offset, self.context.advanced = self.context.advanced, None
            self.task.commit([({"server": self.properties["topic.prefix"]}, self.offset)])

    @property
    def _takes_signals(self) -> bool:
        return "signal.data.collection" in self.properties or "signal.enabled.channels" in self.properties

    @property
    def _reads_incrementally(self) -> bool:
        """An incremental snapshot is under way, and not paused."""
        assert self.task is not None
        offset = self.task._last_offset or {}
        return "incremental_snapshot_collections" in offset and "incremental_snapshot_paused" not in offset

    def _sent(self, connection: Any, lsn: str) -> bool:
        if self.properties.get("snapshot.mode") == "initial_only":
            return not self.records or bool(self.records[-1].source_offset["snapshot_completed"])
        sent = connection.execute(
            "SELECT r.sent_lsn >= %s::pg_lsn FROM pg_replication_slots s JOIN pg_stat_replication r"
            " ON r.pid = s.active_pid WHERE s.slot_name = %s",
            (lsn, self.properties["slot.name"]),
        ).fetchone()
        return bool(sent and sent[0])

    def stop(self) -> None:
        if self.task is not None:
            self.context.stopping = True
            self.task.stop()
            self.task = None

    def close(self) -> None:
        """Stop and give the slot back to the server."""
        self.stop()
        slot = self.properties["slot.name"]
        with self.server.connect() as connection:
            deadline = time.monotonic() + DEADLINE_S
            while True:
                row = connection.execute(
                    "SELECT active FROM pg_replication_slots WHERE slot_name = %s", (slot,)
                ).fetchone()
                if row is None:
                    break
                if not row[0]:
                    connection.execute("SELECT pg_drop_replication_slot(%s)", (slot,))
                    break
                assert time.monotonic() < deadline, f"slot {slot} stays active"
            connection.execute(f'DROP DATABASE "{self.name}" WITH (FORCE)'.encode())
