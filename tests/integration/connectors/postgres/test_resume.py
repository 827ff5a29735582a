"""Interrupted anywhere, the source goes on without loss, and without repeating what was stored."""

import contextlib
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from support.capture import DEADLINE_S, Capture

from connect.api import ConnectError, RetriableError, SourceRecord
from connect.testing.postgres import PostgresServer

CHANGES = """
INSERT INTO t VALUES (1, 'one'), (2, 'two');
BEGIN; INSERT INTO t VALUES (3, 'three'); UPDATE t SET id = 30 WHERE id = 3;
DELETE FROM t WHERE id = 2; COMMIT;
COPY t FROM STDIN;
4	four
5	five
6	six
\\.
TRUNCATE u, t;
BEGIN; INSERT INTO u VALUES (1); INSERT INTO t VALUES (7, 'seven'); COMMIT;
SELECT pg_logical_emit_message(false, 'p', 'between');
BEGIN; SELECT pg_logical_emit_message(true, 'p', 'inside'); UPDATE t SET v = 'eight' WHERE id = 7; COMMIT;
DELETE FROM u;
"""
CHANGE_RECORDS = 20


def open_capture(server: PostgresServer, **properties: str) -> Iterator[Capture]:
    capture = Capture(server, skipped__operations="none", **properties)
    capture.sql("CREATE TABLE t (id int PRIMARY KEY, v text); CREATE TABLE u (id int PRIMARY KEY);")
    yield capture
    capture.close()


@pytest.fixture
def capture(postgres: PostgresServer) -> Iterator[Capture]:
    yield from open_capture(postgres)


def told(record: SourceRecord) -> tuple[Any, ...]:
    """What a record says, without when it was said."""
    value = record.value
    if value is None:
        return record.topic, record.key, None
    kept = {name: value.get(name) for name in ("op", "before", "after", "message")}
    return record.topic, record.key, kept, value["source"]["lsn"]


def ended(capture: Capture) -> bool:
    """The slot's last reader has gone."""
    with capture.server.connect() as connection:
        row = connection.execute(
            "SELECT active FROM pg_replication_slots WHERE slot_name = %s", (capture.properties["slot.name"],)
        ).fetchone()
    return row is None or not row[0]


def test_goes_on_after_every_record(capture: Capture) -> None:
    """From the offset of each record come all records after it; records that share a position with the
    next one may come again."""
    capture.sql("INSERT INTO t VALUES (0, 'snapshot')")
    capture.start().drain()
    first = capture.offset
    capture.sql(CHANGES)
    all_records = until_quiet(capture)
    assert len(all_records) == CHANGE_RECORDS
    capture.stop()
    wanted = [told(record) for record in all_records]

    positions: list[Mapping[str, Any] | None] = [first, *(record.source_offset for record in all_records)]
    for done, offset in enumerate(positions):
        capture.offset = offset
        again = [told(record) for record in until_quiet(capture.start())]
        capture.stop()
        missing = wanted[done:]
        assert again[len(again) - len(missing) :] == missing, f"after record {done}"
        repeated = again[: len(again) - len(missing)]
        assert repeated == wanted[done - len(repeated) : done]
        unfinished = offset is not None and offset.get("lsn_proc", offset["lsn"]) < offset["lsn"]
        assert not repeated or unfinished


def until_quiet(capture: Capture) -> list[SourceRecord]:
    """Everything that the server has, without storing an offset."""
    return capture.drain(store=False)


@pytest.mark.parametrize("batch_size", ["1", "2", "3", "7"])
def test_batches_of_any_size_hold_the_same_records(postgres: PostgresServer, batch_size: str) -> None:
    for capture in open_capture(postgres, max__batch__size=batch_size):
        capture.start().drain()
        capture.sql(CHANGES)
        records = capture.drain()
        assert len(records) == CHANGE_RECORDS
        assert records[-1].value is None
        assert capture.offset is not None
        assert capture.offset["lsn_proc"] == capture.offset["lsn"]


def test_an_interrupted_snapshot_starts_over_and_deletes_are_not_lost(postgres: PostgresServer) -> None:
    for capture in open_capture(postgres, max__batch__size="2"):
        capture.sql("INSERT INTO t SELECT g, 'x' FROM generate_series(1, 10) g")
        capture.start()
        while len(capture.records) < 4:
            capture.poll()
        capture.store(capture.records[-1])
        assert capture.offset is not None
        assert capture.offset["snapshot_completed"] is False
        capture.stop()

        capture.sql("DELETE FROM t WHERE id = 1; UPDATE t SET v = 'y' WHERE id = 2")
        capture.start().drain()
        assert state(capture.records) == {n: "y" if n == 2 else "x" for n in range(2, 11)}


def state(records: list[SourceRecord]) -> dict[int, str]:
    """The table that a consumer would build."""
    table: dict[int, str] = {}
    for record in records:
        if record.value is None:
            table.pop(record.key["id"], None)
        elif record.value["after"] is not None:
            table[record.key["id"]] = record.value["after"]["v"]
    return table


def test_a_killed_backend_is_replaced(capture: Capture) -> None:
    capture.start().drain()
    capture.sql("INSERT INTO t VALUES (1, 'before')")
    capture.drain()
    capture.sql(
        "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = "
        f"'{capture.properties['slot.name']}'; INSERT INTO t VALUES (2, 'after')"
    )
    with pytest.raises(RetriableError, match=r"connection to 127\.0\.0\.1 lost"):
        capture.drain()
    capture.drain()
    assert [record.key["id"] for record in capture.records] == [1, 2]


def test_a_server_crash_is_survived() -> None:
    with PostgresServer() as server:
        for capture in open_capture(server):
            capture.sql("INSERT INTO t VALUES (1, 'snapshot')")
            capture.start().drain()
            server.restart(signal.SIGQUIT)
            capture.sql("INSERT INTO t VALUES (2, 'after')")
            deadline = time.monotonic() + DEADLINE_S
            while len(capture.records) < 2:
                assert time.monotonic() < deadline
                with contextlib.suppress(RetriableError):
                    capture.drain()
            assert [record.key["id"] for record in capture.records] == [1, 2]


def test_an_unreachable_server_is_an_error_worth_a_retry(postgres: PostgresServer) -> None:
    capture = Capture(postgres)
    capture.properties["database.port"] = "1"
    capture.start()
    with pytest.raises(RetriableError, match=r"connection to 127\.0\.0\.1 lost or refused: .*port 1"):
        capture.poll()
    capture.stop()


def test_only_what_is_durable_is_forgotten_by_the_server(capture: Capture) -> None:
    capture.start().drain()
    capture.sql("INSERT INTO t VALUES (1, 'a')")
    before = confirmed(capture)
    while not capture.poll():
        pass
    capture.poll()
    assert confirmed(capture) == before

    last = capture.records[-1]
    capture.store(last)
    await_confirmed(capture, last.source_offset["lsn"])


def test_the_slot_moves_on_while_nothing_captured_changes(postgres: PostgresServer) -> None:
    for capture in open_capture(
        postgres, table__include__list="public.t", publication__autocreate__mode="filtered"
    ):
        capture.start().drain()
        capture.sql("INSERT INTO u SELECT generate_series(1, 1000)")
        with postgres.connect() as connection:
            row = connection.execute("SELECT pg_current_wal_lsn() - '0/0'").fetchone()
        assert row is not None
        await_confirmed(capture, int(row[0]) - 1)


def test_the_slot_moves_on_only_once_the_position_is_stored(postgres: PostgresServer) -> None:
    for capture in open_capture(
        postgres, table__include__list="public.t", publication__autocreate__mode="filtered"
    ):
        capture.start().drain()
        capture.sql("INSERT INTO t VALUES (1, 'a')")
        capture.drain()
        capture.sql("INSERT INTO u SELECT generate_series(1, 1000)")
        capture.drain(store=False)
        advanced = capture.context.advanced
        assert advanced is not None
        assert confirmed(capture) < advanced["lsn"]
        capture.store_advance()
        await_confirmed(capture, advanced["lsn"])
        capture.stop()
        capture.start()
        capture.sql("INSERT INTO t VALUES (2, 'b')")
        capture.drain()
        assert [record.value["after"]["id"] for record in capture.records] == [1, 2]


def confirmed(capture: Capture) -> int:
    with capture.server.connect() as connection:
        row = connection.execute(
            "SELECT confirmed_flush_lsn - '0/0' FROM pg_replication_slots WHERE slot_name = %s",
            (capture.properties["slot.name"],),
        ).fetchone()
    assert row is not None
    return int(row[0])


def await_confirmed(capture: Capture, lsn: int) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while confirmed(capture) < lsn:
        assert time.monotonic() < deadline, "the slot does not move"
        capture.poll()
        if capture.context.advanced is not None:
            capture.store_advance()


def test_a_slot_that_is_still_held_is_waited_for(capture: Capture) -> None:
    """As after kill -9: the server has not noticed yet that the old reader is gone."""
    capture.start().drain()
    old = capture.task
    assert old is not None
    capture.sql("INSERT INTO t VALUES (1, 'a')")
    capture.start()
    waits = count_waits(capture, stop_after=3, stop=old.stop)
    while not any(record.value["op"] == "c" for record in capture.records):
        capture.poll()
    assert waits == [0.05, 0.1, 0.2]


def count_waits(capture: Capture, stop_after: int, stop: Any) -> list[float]:
    """Record the task's waits for the slot, and end its other reader during the given one."""
    waits: list[float] = []
    wait = capture.context.wait

    def counting(seconds: float) -> bool:
        if seconds:
            waits.append(seconds)
            if len(waits) == stop_after:
                stop()
                deadline = time.monotonic() + DEADLINE_S
                while not ended(capture):
                    assert time.monotonic() < deadline
        return wait(0)

    capture.context.wait = counting  # type: ignore[method-assign]
    return waits


def test_two_connectors_on_one_slot(capture: Capture) -> None:
    capture.change({"slot.max.retries": "1", "slot.retry.delay.ms": "100"})
    capture.start().drain()
    first = capture.task
    assert first is not None
    capture.start()
    expected = r"is active for PID \d+: another connector or tool reads from the slot"
    try:
        with pytest.raises(ConnectError, match=expected):
            await_records(capture, "none will come", 1)
    finally:
        first.stop()


def test_a_lost_slot_is_an_error_that_names_both_positions(capture: Capture) -> None:
    drop_slot_while_stopped(capture)
    with pytest.raises(
        ConnectError,
        match=r"does not exist any more: .* read up to \w+/\w+ and the server is at \w+/\w+.*when_needed",
    ):
        capture.start().drain()


def test_a_slot_that_was_made_anew_is_an_error_that_names_both_positions(capture: Capture) -> None:
    make_slot_anew_while_stopped(capture)
    with pytest.raises(
        ConnectError,
        match=r"begins at \w+/\w+, but the connector has read up to \w+/\w+ only.*when_needed",
    ):
        capture.start().drain()


def make_slot_anew_while_stopped(capture: Capture) -> None:
    drop_slot_while_stopped(capture)
    slot = capture.properties["slot.name"]
    capture.sql(f"SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')")


def drop_slot_while_stopped(capture: Capture) -> None:
    capture.start().drain()
    capture.sql("INSERT INTO t VALUES (1, 'streamed')")
    capture.drain()
    capture.stop()
    deadline = time.monotonic() + DEADLINE_S
    while not ended(capture):
        assert time.monotonic() < deadline
    capture.sql(f"SELECT pg_drop_replication_slot('{capture.properties['slot.name']}')")
    capture.sql("INSERT INTO t VALUES (2, 'unseen')")


@pytest.mark.parametrize("lose", [drop_slot_while_stopped, make_slot_anew_while_stopped])
def test_lost_changes_make_a_new_snapshot_when_needed(
    postgres: PostgresServer, lose: Callable[[Capture], None]
) -> None:
    for capture in open_capture(postgres, snapshot__mode="when_needed"):
        lose(capture)
        capture.start().drain()
        capture.sql("INSERT INTO t VALUES (3, 'streamed')")
        capture.drain()
        assert [(r.key["id"], r.value["op"]) for r in capture.records] == [
            (1, "c"), (1, "r"), (2, "r"), (3, "c"),
        ]  # fmt: skip


def test_an_offset_ahead_of_the_server_is_refused(capture: Capture) -> None:
    capture.start().drain()
    capture.sql("INSERT INTO t VALUES (1, 'a')")
    capture.drain()
    capture.stop()
    assert capture.offset is not None
    capture.offset = {**capture.offset, "lsn": 1 << 60, "lsn_proc": 1 << 60}
    with pytest.raises(ConnectError, match="stored offset 10000000/0 is ahead of the server"):
        capture.start().drain()


def test_snapshot_mode_always_reads_the_tables_at_every_start(postgres: PostgresServer) -> None:
    for capture in open_capture(postgres, snapshot__mode="always"):
        capture.sql("INSERT INTO t VALUES (1, 'a')")
        capture.start().drain()
        capture.sql("INSERT INTO t VALUES (2, 'b')")
        capture.drain()
        capture.stop()
        capture.start().drain()
        ops = [(r.key["id"], r.value["op"]) for r in capture.records]
        assert ops[:4] == [(1, "r"), (2, "c"), (1, "r"), (2, "r")]


def test_slot_drop_on_stop(postgres: PostgresServer) -> None:
    for capture in open_capture(postgres, slot__drop__on__stop="true"):
        capture.start().drain()
        capture.stop()
        with postgres.connect() as connection:
            rows = connection.execute(
                "SELECT 1 FROM pg_replication_slots WHERE slot_name = %s", (capture.properties["slot.name"],)
            ).fetchall()
        assert rows == []

        capture.sql("INSERT INTO t VALUES (1, 'while there was no slot')")
        assert [record.value["op"] for record in capture.start().drain()] == ["r"]


def test_heartbeats_carry_the_offset_on(postgres: PostgresServer) -> None:
    for capture in open_capture(
        postgres, heartbeat__interval__ms="1", table__include__list="public.t",
        heartbeat__action__query="INSERT INTO u SELECT coalesce(max(id), 0) + 1 FROM u",
    ):  # fmt: skip
        capture.sql("INSERT INTO t VALUES (1, 'a')")
        beats = await_records(capture.start(), f"__debezium-heartbeat.{capture.name}", 3)
        assert beats[0].key == {"serverName": capture.name}
        assert list(beats[0].value) == ["ts_ms"]
        assert beats[-1].source_offset["lsn"] > beats[0].source_offset["lsn"]
        capture.store(beats[-1])
        capture.stop()
        capture.sql("INSERT INTO t VALUES (2, 'b')")
        capture.records.clear()
        (record,) = await_records(capture.start(), f"{capture.name}.public.t", 1)
        assert record.key["id"] == 2


def await_records(capture: Capture, topic: str, count: int) -> list[SourceRecord]:
    """Poll until `count` records of a topic have come."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        found = [record for record in capture.records if record.topic == topic]
        if len(found) >= count:
            return found
        assert time.monotonic() < deadline
        capture.poll()


def test_errors_max_retries_ends_the_tries(postgres: PostgresServer) -> None:
    capture = Capture(postgres, errors__max__retries="1")
    capture.properties["database.port"] = "1"
    capture.start()
    with pytest.raises(RetriableError):
        capture.poll()
    with pytest.raises(ConnectError, match=r"errors\.max\.retries=1 is used up") as failure:
        capture.poll()
    assert not isinstance(failure.value, RetriableError)
    capture.stop()


@pytest.mark.parametrize("metadata", ["false", "true"])
def test_a_transaction_older_than_what_is_confirmed(postgres: PostgresServer, metadata: str) -> None:
    """The slot moves on while the transaction is open, and must not look as if others had moved it."""
    properties = {"table.include.list": "public.t", "publication.autocreate.mode": "filtered"}
    capture = Capture(postgres, provide__transaction__metadata=metadata, **properties)
    try:
        capture.sql("CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE u (id int); INSERT INTO t VALUES (0)")
        capture.start().drain()
        capture.sql("INSERT INTO t VALUES (1)")
        capture.drain()
        with postgres.connect(capture.name) as connection, connection.transaction():
            connection.execute("INSERT INTO t VALUES (2)")
            connection.execute("INSERT INTO t VALUES (3)")
            capture.sql("INSERT INTO u VALUES (1); SELECT FROM pg_switch_wal(); INSERT INTO u VALUES (2)")
            capture.drain()
            capture.drain()
        capture.store(capture.drain(store=False)[0])
        capture.stop()
        rows = [record.key["id"] for record in capture.start().drain() if record.topic.endswith(".t")]
        assert rows == ([3] if metadata == "false" else [2, 3])
    finally:
        capture.close()
