"""Slots and publications: made, moved, lost, held by somebody else; tables that come later."""

import contextlib
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.capture import DEADLINE_S, Capture

from connect.api import ConfigError, ConnectError, RetriableError
from connect.testing.postgres import PostgresServer, system_postgres
from connectors.postgres import publication


@pytest.fixture
def capture(postgres: PostgresServer) -> Iterator[Capture]:
    capture = Capture(postgres)
    capture.sql("CREATE TABLE t (id int PRIMARY KEY, v text)")
    yield capture
    capture.close()


def keys(capture: Capture) -> list[Any]:
    return [record.key["id"] for record in capture.records]


def slot(capture: Capture, column: str) -> Any:
    with capture.server.connect() as connection:
        row = connection.execute(
            f"SELECT {column} FROM pg_replication_slots WHERE slot_name = %s".encode(),
            (capture.properties["slot.name"],),
        ).fetchone()
    return row and row[0]


def version(capture: Capture) -> int:
    with capture.server.connect() as connection:
        return connection.info.server_version


def poll_until(capture: Capture, done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not done():
        assert time.monotonic() < deadline
        with contextlib.suppress(RetriableError):
            capture.poll()


def stop_and_wait(capture: Capture) -> None:
    capture.stop()
    deadline = time.monotonic() + DEADLINE_S
    while slot(capture, "active"):
        assert time.monotonic() < deadline


# --- the slot


def test_a_failover_slot(capture: Capture) -> None:
    capture.change({"slot.failover": "true"})
    if version(capture) < 170000:
        with pytest.raises(ConnectError, match=r"slot\.failover=true needs PostgreSQL 17"):
            capture.start().drain()
    else:
        capture.start().drain()
        assert slot(capture, "failover") is True


def test_a_slot_waits_for_open_transactions_and_polls_return_meanwhile(capture: Capture) -> None:
    with capture.server.connect(capture.name) as connection:
        connection.execute("BEGIN")
        connection.execute("INSERT INTO t VALUES (1)")
        capture.start()
        for _ in range(3):
            assert capture.poll() == []
        connection.execute("COMMIT")
    capture.drain()
    assert keys(capture) == [1]


def test_a_slot_that_somebody_else_is_just_making(capture: Capture) -> None:
    """As after kill -9 in the middle of it: the server has not noticed yet."""
    with capture.server.connect(capture.name) as connection:
        connection.execute("BEGIN")
        connection.execute("INSERT INTO t VALUES (1)")
        capture.start()
        capture.poll()
        first = capture.task
        assert first is not None
        poll_until(capture, lambda: slot(capture, "slot_name") is not None)
        capture.start()
        with pytest.raises(RetriableError, match=r"is just being made by PID \d+"):
            capture.poll()
        first.stop()
        connection.execute("COMMIT")
    poll_until(capture, lambda: keys(capture) == [1])


def test_origin_of_changes_as_a_stream_param(capture: Capture) -> None:
    capture.change({"slot.stream.params": "origin=none"})
    if version(capture) < 160000:
        with pytest.raises(ConnectError, match="unrecognized pgoutput option: origin"):
            capture.start().drain()
        return
    capture.start().drain()
    replay = "SELECT pg_replication_origin_session_{0}({1});"
    origin = f"'{capture.name}'"
    capture.sql(
        f"SELECT pg_replication_origin_create({origin});" + replay.format("setup", origin)
        + "INSERT INTO t VALUES (1, 'from elsewhere');" + replay.format("reset", "")
        + f"SELECT pg_replication_origin_drop({origin}); INSERT INTO t VALUES (2, 'from here');"
    )  # fmt: skip
    capture.drain()
    assert keys(capture) == [2]


@pytest.mark.parametrize("params", ["binary=true", "streaming=on", "include-lsn=true"])
def test_stream_params_that_are_not_to_be_had(capture: Capture, params: str) -> None:
    capture.change({"slot.stream.params": params})
    with pytest.raises(ConfigError, match=rf"slot\.stream\.params: {params.partition('=')[0]}: "):
        capture.start()


def invalidated(server: PostgresServer, **properties: str) -> Capture:
    """A connector whose slot has lost WAL while it was stopped."""
    capture = Capture(server, **properties)
    capture.sql("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1)")
    capture.start().drain()
    stop_and_wait(capture)
    with server.connect(capture.name) as connection:
        connection.execute("INSERT INTO t VALUES (2)")
        deadline = time.monotonic() + DEADLINE_S
        while slot(capture, "wal_status") != "lost":
            assert time.monotonic() < deadline
            connection.execute("SELECT pg_logical_emit_message(false, 'x', repeat('x', 1000000))")
            connection.execute("SELECT pg_switch_wal()")
            connection.execute("CHECKPOINT")
    return capture


def test_a_slot_that_lost_wal() -> None:
    settings = {"max_slot_wal_keep_size": "1MB", "min_wal_size": "32MB", "max_wal_size": "32MB"}
    with PostgresServer(settings) as server:
        capture = invalidated(server)
        expected = (
            r"lost changes after \w+/\w+, as max_slot_wal_keep_size .* read up to \w+/\w+ and the server is "
            r"at \w+/\w+.*snapshot\.mode=when_needed.*SELECT pg_drop_replication_slot"
        )
        with pytest.raises(ConnectError, match=expected):
            capture.start().drain()
        capture.stop()

        capture.change({"snapshot.mode": "when_needed"})
        capture.start().drain()
        assert keys(capture) == [1, 1, 2]
        capture.sql("INSERT INTO t VALUES (3)")
        assert [record.key["id"] for record in capture.drain()] == [3]
        capture.close()


# --- the stored offset and the slot


def move_the_slot_on(capture: Capture) -> None:
    capture.start().drain()
    capture.sql("INSERT INTO t VALUES (1)")
    capture.drain()
    stop_and_wait(capture)
    capture.sql("INSERT INTO t VALUES (2)")
    name = capture.properties["slot.name"]
    capture.sql(f"SELECT pg_replication_slot_advance('{name}', pg_current_wal_lsn())")
    capture.sql("INSERT INTO t VALUES (3)")


@pytest.mark.parametrize("strategy", ["no_validation", "trust_offset"])
def test_a_slot_ahead_of_the_offset_is_refused(capture: Capture, strategy: str) -> None:
    capture.change({"offset.mismatch.strategy": strategy})
    move_the_slot_on(capture)
    expected = r"begins at \w+/\w+, but .* up to \w+/\w+ only.*offset\.mismatch\.strategy=trust_slot"
    with pytest.raises(ConnectError, match=expected):
        capture.start().drain()


@pytest.mark.parametrize("strategy", ["trust_slot", "trust_greater_lsn"])
def test_a_slot_ahead_of_the_offset_is_trusted(capture: Capture, strategy: str) -> None:
    capture.change({"offset.mismatch.strategy": strategy, "snapshot.mode": "when_needed"})
    move_the_slot_on(capture)
    capture.start().drain()
    assert keys(capture) == [1, 3]


@pytest.mark.parametrize("strategy", ["no_validation", "trust_offset", "trust_slot", "trust_greater_lsn"])
def test_an_offset_ahead_of_the_slot(capture: Capture, strategy: str) -> None:
    """As with lsn.flush.mode=manual, or after a crash: nothing is repeated that was stored."""
    capture.change({"offset.mismatch.strategy": strategy, "lsn.flush.mode": "manual"})
    capture.start().drain()
    before = slot(capture, "confirmed_flush_lsn")
    capture.sql("INSERT INTO t VALUES (1)")
    capture.drain()
    stop_and_wait(capture)
    assert slot(capture, "confirmed_flush_lsn") == before
    capture.sql("INSERT INTO t VALUES (2)")
    capture.start().drain()
    assert keys(capture) == [1, 2]


# --- the publication


def published(capture: Capture) -> list[str]:
    with capture.server.connect(capture.name) as connection:
        rows = connection.execute(
            "SELECT tablename FROM pg_publication_tables WHERE pubname = %s ORDER BY 1",
            (capture.properties["publication.name"],),
        ).fetchall()
    return [row[0] for row in rows]


def test_tables_that_come_later_are_published(capture: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publication, "_LOOK_S", 0.1)
    capture.change({"publication.autocreate.mode": "filtered", "table.include.list": "public.t.*"})
    capture.start().drain()
    capture.sql("CREATE TABLE t2 (id int PRIMARY KEY); CREATE TABLE other (id int PRIMARY KEY)")
    poll_until(capture, lambda: published(capture) == ["t", "t2"])
    capture.sql("INSERT INTO t2 VALUES (7)")
    capture.drain()
    assert keys(capture) == [7]


def test_a_table_that_cannot_be_published_does_not_stop_the_others(
    capture: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publication, "_LOOK_S", 0.1)
    user = f"{capture.name}_user"
    capture.sql(
        f"CREATE ROLE {user} LOGIN REPLICATION PASSWORD 'p'; ALTER TABLE t OWNER TO {user};"
        f'GRANT CREATE ON DATABASE "{capture.name}" TO {user}'
    )
    capture.change({
        "database.user": user, "database.password": "p", "publication.autocreate.mode": "filtered",
        "table.include.list": "public.t.*",
    })  # fmt: skip
    capture.start().drain()
    capture.sql("CREATE TABLE t2 (id int PRIMARY KEY)")
    for _ in range(20):
        capture.poll()
    capture.sql("INSERT INTO t2 VALUES (1); INSERT INTO t VALUES (2)")
    capture.drain()
    assert keys(capture) == [2]
    capture.stop()
    capture.sql(f"DROP OWNED BY {user} CASCADE; DROP ROLE {user}")


def test_a_filtered_publication_that_is_right_is_left_alone(capture: Capture) -> None:
    """Its row filters and column lists stay, and nobody needs to own the tables."""
    only = "t (id) WHERE (id > 1)" if version(capture) >= 150000 else "t"
    capture.sql(f"""CREATE PUBLICATION "{capture.name}" FOR TABLE {only} WITH (publish = 'insert')""")
    capture.change({"publication.autocreate.mode": "filtered", "table.include.list": "public.t"})
    capture.start().drain()
    capture.sql("INSERT INTO t VALUES (1, 'a'), (2, 'b'); DELETE FROM t WHERE id = 2")
    capture.drain()
    every = [{"id": 1, "v": "a"}, {"id": 2, "v": "b"}]
    assert [record.value["after"] for record in capture.records] == ([{"id": 2}] if only != "t" else every)


def test_a_dropped_publication_stops_the_stream(capture: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL 18 sends nothing then, without a word."""
    monkeypatch.setattr(publication, "_LOOK_S", 0.1)
    capture.start().drain()
    capture.sql(f'DROP PUBLICATION "{capture.name}"; INSERT INTO t VALUES (1)')
    with pytest.raises(ConnectError, match="written while it was missing cannot be read") as failure:
        poll_until(capture, lambda: False)
    assert "The next start of the task makes it again" in str(failure.value)
    read_again(capture, str(failure.value))


def test_when_needed_reads_again_what_a_missing_publication_left_out(capture: Capture) -> None:
    capture.change({"snapshot.mode": "when_needed"})
    capture.start().drain()
    capture.sql("INSERT INTO t VALUES (1)")
    capture.drain()
    stop_and_wait(capture)
    capture.sql(f'DROP PUBLICATION "{capture.name}"; INSERT INTO t VALUES (2)')
    capture.start().drain()
    capture.sql("INSERT INTO t VALUES (3)")
    capture.drain()
    assert keys(capture) == [1, 1, 2, 3]


@pytest.mark.skipif(system_postgres() is None, reason="no PostgreSQL of the system")
def test_a_publication_that_was_missing_for_a_while_on_an_older_server() -> None:
    """Before PostgreSQL 18 a change cannot be decoded where its publication was not there, for ever."""
    with PostgresServer(programs=system_postgres()) as server:
        capture = Capture(server)
        capture.sql("CREATE TABLE t (id int PRIMARY KEY)")
        capture.start().drain()
        capture.sql(
            f'DROP PUBLICATION "{capture.name}"; INSERT INTO t VALUES (1);'
            f'CREATE PUBLICATION "{capture.name}" FOR ALL TABLES'
        )
        with pytest.raises(ConnectError, match="written while it was missing cannot be read") as failure:
            poll_until(capture, lambda: False)
        read_again(capture, str(failure.value))
        capture.close()


def read_again(capture: Capture, told: str) -> None:
    """What the error says to do helps."""
    statement = re.search(r"SELECT .*?;", told)
    assert statement is not None, told
    stop_and_wait(capture)
    assert capture.sql(statement[0]) == ""
    capture.change({"snapshot.mode": "when_needed"})
    capture.start().drain()
    capture.sql("INSERT INTO t VALUES (2)")
    capture.drain()
    assert keys(capture) == [1, 2]


def test_rows_of_partitions_by_the_name_of_their_table(capture: Capture) -> None:
    capture.sql(
        "CREATE TABLE p (id int PRIMARY KEY) PARTITION BY RANGE (id);"
        "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);"
    )
    capture.change({
        "publish.via.partition.root": "true", "publication.autocreate.mode": "filtered",
        "table.include.list": "public.p",
    })  # fmt: skip
    capture.start().drain()
    capture.sql("INSERT INTO p VALUES (1); CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20);"
                "INSERT INTO p VALUES (11)")  # fmt: skip
    capture.drain()
    assert [(record.topic, record.key["id"]) for record in capture.records] == [
        (f"{capture.name}.public.p", 1), (f"{capture.name}.public.p", 11),
    ]  # fmt: skip
