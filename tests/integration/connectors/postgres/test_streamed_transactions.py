"""Transactions that the server streams while they are open give the events that all others give."""

import contextlib
from collections.abc import Iterator

import pytest
from support.capture import Capture

from connect.api import ConnectError, SourceRecord
from connect.testing.postgres import PostgresServer

WORK = """
INSERT INTO v VALUES (0);
BEGIN; INSERT INTO t SELECT g, repeat('r', 100) FROM generate_series(1, 400) g; ROLLBACK;
BEGIN;
INSERT INTO t SELECT g, repeat('a', 100) FROM generate_series(1, 400) g;
SAVEPOINT s1; INSERT INTO t SELECT g, repeat('b', 100) FROM generate_series(1001, 1400) g;
SAVEPOINT s2; INSERT INTO v SELECT g FROM generate_series(1, 400) g; UPDATE t SET v = 'gone' WHERE id < 200;
ROLLBACK TO s2;
INSERT INTO v SELECT g FROM generate_series(1, 400) g;
ROLLBACK TO s1; INSERT INTO t SELECT g, 'after' FROM generate_series(2001, 2400) g;
SELECT pg_logical_emit_message(true, 'p', 'inside'); SELECT pg_logical_emit_message(false, 'p', 'outside');
TRUNCATE u; INSERT INTO uncaptured SELECT generate_series(1, 1000);
ALTER TABLE t ADD COLUMN w int DEFAULT 7; UPDATE t SET w = id WHERE id < 300;
SAVEPOINT s3; ALTER TABLE t ADD COLUMN x text; UPDATE t SET x = 'undone'; ROLLBACK TO s3;
UPDATE t SET id = id + 10000 WHERE id > 2200; DELETE FROM t WHERE id < 100;
CREATE TABLE made (id int PRIMARY KEY); INSERT INTO made SELECT generate_series(1, 300);
COMMIT;
INSERT INTO v VALUES (9999);
DO $$ BEGIN FOR i IN 1..300 LOOP
  BEGIN INSERT INTO u VALUES (i); IF i % 3 = 0 THEN RAISE EXCEPTION 'undo'; END IF;
  EXCEPTION WHEN raise_exception THEN NULL; END; END LOOP; END $$;
"""
SETUP = """
CREATE TABLE t (id int PRIMARY KEY, v text); CREATE TABLE u (id int PRIMARY KEY);
CREATE TABLE v (id int PRIMARY KEY); CREATE TABLE uncaptured (id int);
"""


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """It streams what is larger than 64 kB."""
    with PostgresServer({"logical_decoding_work_mem": "64kB"}) as server:
        yield server


@contextlib.contextmanager
def opened(server: PostgresServer, database: str | None = None, **properties: str) -> Iterator[Capture]:
    capture = Capture(
        server, skipped__operations="none", table__exclude__list="public.uncaptured",
        snapshot__mode="no_data", **properties,
    )  # fmt: skip
    if database is None:
        capture.sql(SETUP)
    else:
        capture.change({"database.dbname": database})
    try:
        yield capture
    finally:
        capture.close()


def shown(record: SourceRecord) -> tuple[object, ...]:
    """All but when it was processed, and names that differ."""
    value = dict(record.value) if record.value else None
    if value is not None:
        for name in ("ts_ms", "ts_us", "ts_ns"):
            value.pop(name, None)
        if "source" in value:
            value["source"] = {**value["source"], "name": "", "db": ""}
    topic = record.topic.split(".", 1)[1]
    headers = [(h.name, h.value) for h in record.headers if not h.name.startswith("__debezium.context")]
    return topic, record.key, value, record.source_offset, headers


@pytest.mark.parametrize("memory_bytes", ["0", "100000", "100000000"])
def test_streamed_and_whole_transactions_are_the_same(server: PostgresServer, memory_bytes: str) -> None:
    with opened(server, provide__transaction__metadata="true") as whole:
        properties = {"streaming.transactions": "on", "streaming.transactions.memory.bytes": memory_bytes}
        with opened(server, whole.name) as streamed:
            streamed.change({**properties, "provide.transaction.metadata": "true"})
            whole.start().drain()
            streamed.start().drain()
            whole.sql("INSERT INTO v VALUES (-1)")  # so that both know the same last commit
            whole.drain()
            streamed.drain()
            whole.sql(WORK)
            wanted = [shown(record) for record in whole.drain()]
            found = [shown(record) for record in streamed.drain()]
            with server.connect() as connection:
                row = connection.execute(
                    "SELECT stream_bytes FROM pg_stat_replication_slots WHERE slot_name = %s",
                    (streamed.name,),
                ).fetchone()
            streamed.stop()
    assert found == wanted
    assert len(found) > 2000
    assert row is not None
    assert row[0] > 100_000


STREAMED = {"streaming.transactions": "on", "streaming.transactions.memory.bytes": "10000"}


def told(records: list[SourceRecord]) -> list[tuple[int, int]]:
    return [(record.key["id"], record.source_offset["lsn"]) for record in records]


def test_open_transactions_come_in_the_order_of_their_commits(server: PostgresServer) -> None:
    with opened(server) as capture:
        capture.change(STREAMED)
        capture.start().drain()
        fill = "INSERT INTO t SELECT g, repeat('x', 200) FROM generate_series({0} + 1, {0} + 500) g"
        first, second, undone = (server.connect(capture.name) for _ in range(3))
        with first, second, undone:
            for number, session in enumerate((first, second, undone)):
                session.execute("BEGIN")
                session.execute(fill.format(number * 10_000).encode())
            assert capture.drain() == []
            for number, session in enumerate((first, second, undone)):
                session.execute(fill.format(number * 10_000 + 500).encode())
            undone.execute("ROLLBACK")
            second.execute("COMMIT")
            first.execute("COMMIT")
        keys = [record.key["id"] for record in capture.drain()]
    assert keys == [*range(10_001, 11_001), *range(1, 1_001)]


def test_a_restart_in_the_middle_of_a_streamed_transaction(server: PostgresServer) -> None:
    with opened(server, max__batch__size="100") as capture:
        capture.change(STREAMED)
        capture.start().drain()
        capture.sql("INSERT INTO t SELECT g, repeat('x', 200) FROM generate_series(1, 1000) g")
        while len(capture.records) < 500:
            capture.poll()
        capture.store(capture.records[299])
        handed_out = told(capture.records[:300])
        capture.stop()
        again = told(capture.start().drain())
    assert [key for key, _ in handed_out + again] == list(range(1, 1001))


def test_a_directory_that_takes_no_files(server: PostgresServer) -> None:
    with opened(server) as capture:
        capture.change({**STREAMED, "streaming.transactions.directory": "/nonexistent"})
        capture.start().drain()
        capture.sql("INSERT INTO t SELECT g, repeat('x', 200) FROM generate_series(1, 1000) g")
        expected = (
            r"cannot be written to /nonexistent: .*No such file.*set streaming\.transactions\.directory"
        )
        with pytest.raises(ConnectError, match=expected):
            capture.drain()
