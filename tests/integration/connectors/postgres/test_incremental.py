"""Incremental snapshots: chunks between the changes of a busy table, and whatever may interrupt them."""

import json
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg
import pytest
from support.capture import DEADLINE_S, Capture

from connect.api import RetriableError, SourceRecord
from connect.testing.postgres import PostgresServer

SIGNALS = "CREATE TABLE debezium_signal (id varchar(64) PRIMARY KEY, type varchar(32) NOT NULL, data text);"
ROWS = 300
PLACEHOLDER = "__debezium_unavailable_value"
READ_ONLY = {"read.only": "true"}
MARKS = {
    "insert_insert": {},
    "insert_delete": {"incremental.snapshot.watermarking.strategy": "insert_delete"},
    "read_only": READ_ONLY,
}


def open_capture(server: PostgresServer, setup: str = "", **properties: str) -> Iterator[Capture]:
    """A connector without an initial snapshot, whose table `t` has some rows."""
    given = {
        "signal.data.collection": "public.debezium_signal", "snapshot.mode": "no_data",
        "incremental.snapshot.chunk.size": "20", "signal.poll.interval.ms": "10",
    }  # fmt: skip
    capture = Capture(server)
    capture.change({**given, **{name.replace("__", "."): value for name, value in properties.items()}})
    capture.sql(SIGNALS + setup)
    yield capture
    capture.close()


def with_rows(rows: int = ROWS) -> str:
    return (
        "CREATE TABLE t (id int PRIMARY KEY, v text);"
        f"INSERT INTO t SELECT g, 'v' || g FROM generate_series(1, {rows}) g;"
    )


@pytest.fixture
def capture(postgres: PostgresServer) -> Iterator[Capture]:
    yield from open_capture(postgres, with_rows())


def signal(capture: Capture, kind: str, **data: Any) -> None:
    """Insert a signal; `data_collections` and so on are the fields of its data."""
    fields = {name.replace("_", "-"): value for name, value in data.items()}
    with capture.server.connect(capture.name) as connection:
        connection.execute(
            "INSERT INTO debezium_signal SELECT 'sig' || count(*), %s, %s FROM debezium_signal",
            (kind, json.dumps(fields)),
        )


def execute(capture: Capture, *tables: str, **data: Any) -> None:
    signal(capture, "execute-snapshot", data_collections=tables or ["public.t"], **data)


def rows_read(capture: Capture, table: str = "t") -> list[int]:
    """The ids of the rows that snapshots wrote."""
    topic = f"{capture.name}.public.{table}"
    return [
        record.value["after"]["id"] for record in capture.records
        if record.topic == topic and record.value and record.value["op"] == "r"
    ]  # fmt: skip


def rebuilt(records: list[SourceRecord]) -> dict[int, str]:
    """The table `t` that a consumer builds."""
    table: dict[int, str] = {}
    for record in records:
        if not record.topic.endswith(".public.t") or record.value is None:
            continue
        if record.value["after"] is None:
            table.pop(record.value["before"]["id"], None)
        else:
            table[record.value["after"]["id"]] = record.value["after"]["v"]
    return table


def content(capture: Capture) -> dict[int, str]:
    with capture.server.connect(capture.name) as connection:
        return dict(connection.execute("SELECT id, v FROM t").fetchall())


def await_that(capture: Capture, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        capture.poll()


def await_rows(capture: Capture, count: int, table: str = "t") -> None:
    """Poll until snapshots have written so many different rows."""
    await_that(capture, lambda: len({*rows_read(capture, table)}) >= count)


class Writer(threading.Thread):
    """Changes rows of `t` at random until it is stopped: with transactions of several changes, changes of
    keys, deletes, and rows that come back."""

    def __init__(self, capture: Capture, seed: int) -> None:
        super().__init__(daemon=True)
        self._connection = capture.server.connect(capture.name)
        self._random = random.Random(seed)
        self._stopped = threading.Event()
        self.failure: Exception | None = None

    def run(self) -> None:
        try:
            while not self._stopped.is_set():
                with self._connection.transaction():
                    for _ in range(self._random.randint(1, 4)):
                        self._change()
        except Exception as exc:  # noqa: BLE001 - it is raised again in the test's thread
            self.failure = exc

    def _change(self) -> None:
        row, other = (self._random.randint(1, ROWS + 50) for _ in range(2))
        kind = self._random.random()
        value = f"w{self._random.random()}"
        if kind < 0.5:
            self._connection.execute("UPDATE t SET v = %s WHERE id = %s", (value, row))
        elif kind < 0.7:
            self._connection.execute("DELETE FROM t WHERE id = %s", (row,))
        elif kind < 0.9:
            self._connection.execute("INSERT INTO t VALUES (%s, %s) ON CONFLICT DO NOTHING", (row, value))
        else:
            self._connection.execute(
                "UPDATE t SET id = %s WHERE id = %s AND NOT EXISTS (SELECT FROM t WHERE id = %s)",
                (other, row, other),
            )

    def stop(self) -> None:
        self._stopped.set()
        self.join()
        self._connection.close()
        if self.failure is not None:
            raise self.failure


@pytest.mark.parametrize("marks", MARKS)
def test_the_state_is_right_while_the_table_changes(postgres: PostgresServer, marks: str) -> None:
    for capture in open_capture(postgres, with_rows(), **MARKS[marks]):
        capture.start().drain()
        writers = [Writer(capture, seed) for seed in range(2)]
        for writer in writers:
            writer.start()
        execute(capture)
        await_rows(capture, ROWS // 2)
        for writer in writers:
            writer.stop()
        capture.drain()
        assert rebuilt(capture.records) == content(capture)
        assert len(rows_read(capture)) == len(set(rows_read(capture)))


@pytest.mark.parametrize("marks", MARKS)
def test_goes_on_after_every_record(postgres: PostgresServer, marks: str) -> None:
    """Whatever offset was the last one stored, with the records before it and after nothing is missing."""
    for capture in open_capture(
        postgres, with_rows(9), incremental__snapshot__chunk__size="2", **MARKS[marks]
    ):
        capture.start().drain()
        first = capture.offset
        execute(capture)
        capture.drain(store=False)
        capture.stop()
        records = list(capture.records)
        assert rows_read(capture) == [*range(1, 10)]
        offsets: list[Mapping[str, Any] | None] = [first, *(record.source_offset for record in records)]
        for done, offset in enumerate(offsets):
            capture.offset = offset
            capture.records = records[:done]
            capture.start().drain(store=False)
            capture.stop()
            assert {*rows_read(capture)} == {*range(1, 10)}, f"after record {done}"
            assert len(rows_read(capture)) <= 9 + 2, f"after record {done}: it started over"


def test_a_paused_snapshot_stays_paused(capture: Capture) -> None:
    capture.start().drain()
    execute(capture)
    await_rows(capture, 40)
    signal(capture, "pause-snapshot", type="incremental")
    capture.drain()
    read = len(rows_read(capture))
    assert read < ROWS
    capture.stop()
    capture.start().drain()
    assert len(rows_read(capture)) == read
    signal(capture, "resume-snapshot", type="incremental")
    capture.drain()
    assert sorted(rows_read(capture)) == [*range(1, ROWS + 1)]


def test_stop_ends_one_table_or_all(postgres: PostgresServer) -> None:
    setup = with_rows() + "CREATE TABLE u AS SELECT * FROM t; ALTER TABLE u ADD PRIMARY KEY (id);"
    for capture in open_capture(postgres, setup):
        capture.start().drain()
        execute(capture, "public.t", "public.u")
        await_rows(capture, 40)
        signal(capture, "stop-snapshot", data_collections=["public.t"])
        await_rows(capture, 40, "u")
        assert len(rows_read(capture)) < ROWS
        signal(capture, "stop-snapshot")
        capture.drain()
        assert len(rows_read(capture, "u")) < ROWS
        assert capture.offset is not None
        assert "incremental_snapshot_collections" not in capture.offset
        execute(capture, "public.u")  # not where the old one was
        capture.drain()
        assert rows_read(capture, "u")[-ROWS:] == [*range(1, ROWS + 1)]


def test_goes_on_with_what_debezium_began(capture: Capture) -> None:
    """The offset is one that Debezium wrote after the first chunk."""
    recording = Path(__file__).parents[3] / "golden" / "cdc" / "incremental_snapshot_pause" / "recorded.json"
    theirs = json.loads(recording.read_text())["offsets"][0]
    capture.sql("CREATE TABLE t2 (id int PRIMARY KEY)")
    capture.start().drain()
    capture.sql("INSERT INTO t VALUES (1000, 'streamed')")
    capture.drain()
    capture.stop()
    assert capture.offset is not None
    fields = {name: value for name, value in theirs.items() if name.startswith("incremental_")}
    capture.offset = {**capture.offset, **fields}
    capture.start().drain()
    assert rows_read(capture) == [2, 3, 4, 5, 6]  # 1 was done, and 6 the last key when Debezium began


def test_a_table_without_a_key_is_told_of(postgres: PostgresServer) -> None:
    setup = (
        "CREATE TABLE n (id int, k int NOT NULL);INSERT INTO n SELECT g, g / 3 FROM generate_series(0, 29) g;"
    )
    for capture in open_capture(
        postgres, setup, notification__enabled__channels="sink", notification__sink__topic__name="notes",
        incremental__snapshot__chunk__size="4",
    ):  # fmt: skip
        capture.start().drain()
        execute(capture, "public.n", "public.missing")
        capture.drain()
        notes = [record.value for record in capture.records if record.topic == "notes"]
        told = [
            (note["additional_data"]["scanned_collection"], note["additional_data"]["status"])
            for note in notes if note["type"] == "TABLE_SCAN_COMPLETED"
        ]  # fmt: skip
        assert told == [("public.n", "NO_PRIMARY_KEY"), ("public.missing", "UNKNOWN_SCHEMA")]
        assert [note["type"] for note in notes][0::3] == ["STARTED", "COMPLETED"]

        # Rows that share the key are not torn apart.
        signal(
            capture, "execute-snapshot", data_collections=["public.n"], surrogate_key="k",
            additional_conditions=[{"data-collection": "public.n", "filter": "k <> 5 OR false"}],
        )  # fmt: skip
        capture.drain()
        assert sorted(rows_read(capture, "n")) == [n for n in range(30) if n // 3 != 5]


def test_a_wrong_condition_ends_the_table(postgres: PostgresServer) -> None:
    setup = with_rows(5) + "CREATE TABLE u AS SELECT * FROM t; ALTER TABLE u ADD PRIMARY KEY (id);"
    for capture in open_capture(postgres, setup):
        capture.start().drain()
        conditions = [{"data-collection": "public.t", "filter": "nothing = 1"}]
        execute(capture, "public.t", "public.u", additional_conditions=conditions)
        capture.drain()
        assert rows_read(capture) == []
        assert rows_read(capture, "u") == [1, 2, 3, 4, 5]


def test_a_schema_change_reads_the_chunk_again(capture: Capture) -> None:
    capture.start().drain()
    execute(capture)
    await_rows(capture, 40)
    capture.sql("ALTER TABLE t ADD n int DEFAULT 7; UPDATE t SET v = 'new' WHERE id = 1")
    capture.drain()
    assert {*rows_read(capture)} == {*range(1, ROWS + 1)}
    changed = next(
        place for place, record in enumerate(capture.records)
        if record.topic.endswith(".t") and record.value["op"] == "u"
    )  # fmt: skip
    later = [r.value["after"] for r in capture.records[changed:] if r.topic.endswith(".t")]
    assert all(row["n"] == 7 for row in later)


def test_a_truncate_in_the_window_leaves_nothing(capture: Capture) -> None:
    capture.start().drain()
    execute(capture)
    await_rows(capture, 40)
    capture.sql("TRUNCATE t; INSERT INTO t VALUES (5, 'after')")
    capture.drain()
    told = [(r.value["op"], r.value["after"]["id"]) for r in capture.records if r.topic.endswith(".t")]
    # The truncate itself is skipped by default, and rows of before it must not follow what came after.
    assert {row for _, row in told[told.index(("c", 5)) :]} == {5}


def test_operations_that_are_skipped_do_not_hide_signals(postgres: PostgresServer) -> None:
    for capture in open_capture(postgres, with_rows(50), skipped__operations="c,u,d,t"):
        capture.start().drain()
        execute(capture)
        capture.drain()
        assert sorted(rows_read(capture)) == [*range(1, 51)]
        assert {record.value["op"] for record in capture.records} == {"r"}
        capture.stop()
        capture.start().drain()
        assert len(rows_read(capture)) == 50


def test_lost_connections_repeat_at_most_a_chunk(capture: Capture) -> None:
    capture.start().drain()
    execute(capture)
    for rows in (40, 120, 200):
        await_rows(capture, rows)
        capture.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            f" WHERE datname = '{capture.name}' AND pid <> pg_backend_pid()"
        )
        with pytest.raises(RetriableError):
            capture.drain()
    capture.drain()
    assert {*rows_read(capture)} == {*range(1, ROWS + 1)}
    assert len(rows_read(capture)) <= ROWS + 3 * 20


def test_a_locked_table_is_read_later(capture: Capture) -> None:
    capture.start().drain()
    with capture.server.connect(capture.name) as other:
        other.execute("BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
        execute(capture)
        await_that(capture, lambda: len([r for r in capture.records if "signal" in r.topic]) >= 3)
        assert rows_read(capture) == []
        capture.sql("CREATE TABLE elsewhere (id int); INSERT INTO elsewhere VALUES (1)")
        await_that(capture, lambda: capture.records[-1].topic.endswith("elsewhere"))
        other.execute("COMMIT")
    await_rows(capture, ROWS)


def test_a_user_who_may_not_write_marks_is_told(postgres: PostgresServer) -> None:
    for capture in open_capture(postgres, with_rows(5)):
        capture.sql(
            f"CREATE ROLE \"{capture.name}\" LOGIN REPLICATION PASSWORD 'pw';"
            f'GRANT SELECT ON ALL TABLES IN SCHEMA public TO "{capture.name}";'
            f"SELECT pg_create_logical_replication_slot('{capture.name}', 'pgoutput');"
            f'CREATE PUBLICATION "{capture.name}" FOR ALL TABLES'
        )
        capture.change({"database.user": capture.name, "database.password": "pw"})
        capture.start().drain()
        execute(capture)
        with pytest.raises(Exception, match="permission denied for table debezium_signal"):
            capture.drain()
        capture.stop()
        with postgres.connect() as connection:
            connection.execute(f'DROP OWNED BY "{capture.name}"'.encode())
        with postgres.connect(capture.name) as connection:
            connection.execute(f'DROP OWNED BY "{capture.name}"; DROP ROLE "{capture.name}"'.encode())


def test_partitions_are_read_by_their_root(postgres: PostgresServer) -> None:
    setup = (
        "CREATE TABLE t (id int PRIMARY KEY, v text) PARTITION BY HASH (id);"
        "CREATE TABLE t0 PARTITION OF t FOR VALUES WITH (modulus 2, remainder 0);"
        "CREATE TABLE t1 PARTITION OF t FOR VALUES WITH (modulus 2, remainder 1);"
        "INSERT INTO t SELECT g, 'v' FROM generate_series(1, 90) g;"
    )
    for capture in open_capture(postgres, setup, publish__via__partition__root="true"):
        capture.start().drain()
        execute(capture, "public.t")
        capture.drain()
        assert rows_read(capture) == [*range(1, 91)]


def test_transactions_that_are_not_visible_yet_are_not_lost(capture: Capture) -> None:
    """A prepared transaction is in the stream when it is committed, while a chunk that was read before has
    not seen it."""
    capture.start().drain()
    with psycopg.connect(capture.server.conninfo(capture.name), autocommit=True) as other:
        other.execute("BEGIN; UPDATE t SET v = 'prepared' WHERE id IN (25, 250); PREPARE TRANSACTION 'p'")
        execute(capture)
        await_rows(capture, 40)
        other.execute("COMMIT PREPARED 'p'")
    capture.drain()
    assert rebuilt(capture.records) == content(capture)


@pytest.mark.parametrize("marks", ["insert_insert", "read_only"])
def test_a_value_that_the_stream_leaves_out_comes_from_the_chunk(
    postgres: PostgresServer, marks: str
) -> None:
    setup = (
        "CREATE TABLE t (id int PRIMARY KEY, v text, big text, n int GENERATED ALWAYS AS (id * 2) STORED);"
        "ALTER TABLE t ALTER big SET STORAGE EXTERNAL;"
        "INSERT INTO t SELECT g, 'v', repeat(md5(g::text), 100) FROM generate_series(1, 4) g;"
    )
    for capture in open_capture(postgres, setup, **MARKS[marks]):
        capture.start().drain()
        slowly = [{"data-collection": "public.t", "filter": "pg_sleep(0.4) IS NOT NULL"}]
        with postgres.connect(capture.name) as other:
            other.execute("BEGIN; UPDATE t SET v = 'first' WHERE id = 1; UPDATE t SET id = 20 WHERE id = 2")
            other.execute("DELETE FROM t WHERE id = 3")
            execute(capture, additional_conditions=slowly)
            await_copying(capture)
            other.execute("COMMIT")
        capture.drain()
        with postgres.connect(capture.name) as connection:
            expected = dict(connection.execute("SELECT id, big FROM t").fetchall())
        rows: dict[int, str] = {}
        gone: dict[int, str] = {}
        for record in capture.records:
            value = record.value
            if not record.topic.endswith(".t") or value is None:
                continue
            if value["after"] is None:
                old = value["before"]["id"]
                gone[old] = rows.pop(old, PLACEHOLDER)
                continue
            row, big = value["after"]["id"], value["after"]["big"]
            if big == PLACEHOLDER:  # what was there stays
                moved = [h.value["id"] for h in record.headers if h.name == "__debezium.oldkey"]
                big = gone[moved[0]] if moved else rows.get(row, PLACEHOLDER)
            rows[row] = big
        assert rows == expected


def await_copying(capture: Capture) -> None:
    await_that(capture, lambda: is_copying(capture))


def is_copying(capture: Capture) -> bool:
    with capture.server.connect(capture.name) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'COPY%'"
            " AND state = 'active' AND pid <> pg_backend_pid()"
        ).fetchone()
    return row is not None and row[0] > 0
