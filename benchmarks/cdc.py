"""PostgreSQL capture: snapshot and backlog of rows of 181 bytes, Millstream beside Debezium."""

import uuid

import psycopg

from benchmarks.platforms import JSON_WITHOUT_SCHEMAS, Platform, filled, platforms, wait_for
from benchmarks.report import Row, print_rows
from connect.testing.postgres import PostgresServer

ROWS = 300_000
TABLE = """
CREATE TABLE wide (
  id bigint PRIMARY KEY, account int NOT NULL, amount numeric(12, 2) NOT NULL, rate double precision,
  created timestamp NOT NULL, changed timestamptz NOT NULL, name text NOT NULL, city text, note text)
"""
INSERT = """
INSERT INTO wide SELECT n, n % 1000, n * 0.37, n / 7.0, timestamp '2026-01-01' + n * interval '1 second',
  timestamptz '2026-01-01 00:00Z' + n * interval '1 second', 'name of row number ' || n,
  'a city with a name ' || n % 500, repeat('x', 60) FROM generate_series({}, {}) n
"""
# What the documentation of Debezium recommends for throughput.
TUNED = {
    "max.batch.size": "20480",
    "max.queue.size": "81920",
    "producer.override.batch.size": "1000000",
    "producer.override.linger.ms": "20",
    "producer.override.compression.type": "lz4",
}


def config(postgres: PostgresServer, database: str, more: dict[str, str]) -> dict[str, str]:
    """A source connector of its own slot, publication and topics, all named like the database."""
    return (
        {
            "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
            "tasks.max": "1",
            "plugin.name": "pgoutput",
            "database.hostname": postgres.host,
            "database.port": str(postgres.port),
            "database.user": postgres.user,
            "database.password": postgres.password,
            "database.dbname": database,
            "topic.prefix": database,
            "slot.name": database,
            "publication.name": database,
        }
        | JSON_WITHOUT_SCHEMAS
        | more
    )


def snapshot(postgres: PostgresServer, platform: Platform, more: dict[str, str]) -> tuple[float, float]:
    """(rows/s, CPU seconds per million rows) from the first record to the last."""
    database = f"snap_{uuid.uuid4().hex[:8]}"
    postgres.create_database(database)
    with postgres.connect(database) as connection:
        connection.execute(TABLE)
        connection.execute(INSERT.format(1, ROWS))
    platform.deploy(database, config(postgres, database, more))
    usage = filled(platform, f"{database}.public.wide", ROWS)
    platform.remove(database)
    return ROWS / usage.wall, usage.cpu / ROWS * 1e6


def backlog(postgres: PostgresServer, platform: Platform, more: dict[str, str]) -> tuple[float, float]:
    """The same for inserts that piled up in the slot while the connector was stopped."""
    database = f"back_{uuid.uuid4().hex[:8]}"
    postgres.create_database(database)
    with postgres.connect(database) as connection:
        connection.execute(TABLE)
        platform.deploy(database, config(postgres, database, more | {"snapshot.mode": "no_data"}))
        platform.wait_running(database)
        wait_for(lambda: slot_active(connection, database), 60, "the slot")
        platform.target(database, "stop")
        wait_for(lambda: not slot_active(connection, database), 60, "the slot to be let go")
        for first in range(1, ROWS, 1000):
            connection.execute(INSERT.format(first, first + 999))
        platform.target(database, "resume")
        usage = filled(platform, f"{database}.public.wide", ROWS)
    platform.remove(database)
    return ROWS / usage.wall, usage.cpu / ROWS * 1e6


def slot_active(connection: psycopg.Connection[tuple[object, ...]], slot: str) -> bool:
    query = "SELECT active FROM pg_replication_slots WHERE slot_name = %s"
    found = connection.execute(query, (slot,)).fetchone()
    return bool(found and found[0])


def main() -> list[Row]:
    """Measure, print, and return the rows."""
    rows: list[Row] = []
    with (
        PostgresServer({"max_wal_size": "8GB", "synchronous_commit": "off"}) as postgres,
        platforms() as both,
    ):
        for name, job in (("snapshot", snapshot), ("backlog", backlog)):
            for label, more in (("default", {}), ("tuned", TUNED)):
                for platform in both:
                    rate, cpu = job(postgres, platform, more)
                    rows.append(
                        Row(f"CDC {name}, {label}", platform.name, rate, "rows/s", cpu, platform.memory())
                    )
    print_rows("PostgreSQL capture (CPU of broker and worker together)", rows)
    return rows


if __name__ == "__main__":
    main()
