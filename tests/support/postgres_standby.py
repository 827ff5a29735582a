"""A standby of a PostgreSQL server, with its failover slots (PostgreSQL 17+)."""

import os
import subprocess

from connect.testing.postgres import PostgresServer

SLOT = "standby"
"""The physical slot; a primary with synchronized_standby_slots=standby keeps nothing from the standby."""


class Standby(PostgresServer):
    """Follows `primary`, and copies its failover slots."""

    def __init__(self, primary: PostgresServer) -> None:
        self._primary = primary
        super().__init__({
            "primary_slot_name": SLOT, "primary_conninfo": f"{primary.conninfo()} application_name=standby",
            "hot_standby_feedback": "on", "sync_replication_slots": "on", "wal_receiver_status_interval": "1",
        })  # fmt: skip

    def _init(self) -> None:
        with self._primary.connect() as connection:
            connection.execute("SELECT pg_create_physical_replication_slot(%s, true)", (SLOT,))
        if self._account is not None:
            os.chown(self.directory, self._account.pw_uid, self._account.pw_gid)
        done = subprocess.run(
            [self.bin / "pg_basebackup", "-D", self._data, "-R", "-S", SLOT, "-c", "fast", "--no-sync",
             "-d", self._primary.conninfo()],
            capture_output=True, text=True, check=False, cwd=self.directory, **self._identity(),
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"pg_basebackup failed: {done.stderr}")

    def copied_slots(self) -> set[str]:
        """The failover slots that would be there after `promote`. One is copied as soon as the primary's has
        moved behind where the standby began to copy it."""
        with self._primary.connect() as connection:
            connection.execute("SELECT pg_log_standby_snapshot()")  # slots move from one to the next
        with self.connect() as connection:
            found = connection.execute(
                "SELECT slot_name FROM pg_replication_slots WHERE synced AND NOT temporary"
            )
            return {name for (name,) in found}

    def promote(self) -> None:
        """Make it a primary of its own; returns when it is."""
        with self.connect() as connection:
            connection.execute("SELECT pg_promote()")
