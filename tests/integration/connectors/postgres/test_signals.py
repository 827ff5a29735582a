"""Signals by all channels, blocking snapshots, and notifications."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from support.capture import DEADLINE_S, Capture

from connect.testing.millstream import Broker
from connect.testing.postgres import PostgresServer
from connectors.postgres import snapshot

SETUP = """
CREATE TABLE debezium_signal (id varchar(64) PRIMARY KEY, type varchar(32) NOT NULL, data text);
CREATE TABLE t (id int PRIMARY KEY, v text); CREATE TABLE u (id int PRIMARY KEY, v text);
INSERT INTO t SELECT g, 't' FROM generate_series(1, 50) g;
INSERT INTO u SELECT g, 'u' FROM generate_series(1, 5) g;
"""


def open_capture(server: PostgresServer, **properties: str) -> Iterator[Capture]:
    capture = Capture(server)
    given = {"snapshot.mode": "no_data", "signal.poll.interval.ms": "10"}
    capture.change({**given, **{name.replace("__", "."): value for name, value in properties.items()}})
    capture.sql(SETUP)
    yield capture
    capture.close()


def execute(*tables: str, kind: str = "incremental", **more: Any) -> str:
    data = {"data-collections": tables, "type": kind, **more}
    return json.dumps({"id": "s", "type": "execute-snapshot", "data": data})


def by_table(capture: Capture, signal: str) -> None:
    """Send a signal by the table."""
    found = json.loads(signal)
    with capture.server.connect(capture.name) as connection:
        connection.execute(
            "INSERT INTO debezium_signal SELECT 'sig' || count(*), %s, %s FROM debezium_signal",
            (found["type"], json.dumps(found["data"])),
        )


def read(capture: Capture) -> list[tuple[str, int]]:
    """(table, id) of the rows that snapshots wrote."""
    return [
        (record.topic.rpartition(".")[2], record.value["after"]["id"]) for record in capture.records
        if record.value and record.value.get("op") == "r"
    ]  # fmt: skip


def await_rows(capture: Capture, rows: int) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while len(read(capture)) < rows:
        assert time.monotonic() < deadline
        capture.poll()


@pytest.mark.parametrize("read_only", ["true", "false"])
def test_a_file_of_signals(postgres: PostgresServer, tmp_path: Path, read_only: str) -> None:
    """A line is cut off once what it asked for is stored, and not before."""
    file = tmp_path / "signals.txt"
    for capture in open_capture(
        postgres, signal__enabled__channels="file", signal__file=str(file), read__only=read_only
    ):
        capture.start().drain()
        file.write_text(f"no json\n{execute('public.u')}\n" + '{"type": "log", "data": {"message": "half')
        await_rows(capture, 5)
        assert "execute-snapshot" in file.read_text()
        capture.drain(store=False)
        capture.stop()
        capture.records.clear()
        capture.start()
        await_rows(capture, 5)  # nothing was stored, so it is obeyed again
        capture.drain()
        assert file.read_text() == '{"type": "log", "data": {"message": "half'
        with file.open("a") as out:
            out.write('"}}\n')
        deadline = time.monotonic() + DEADLINE_S
        while file.read_text():
            assert time.monotonic() < deadline
            capture.poll()
            capture.store_advance()


def test_a_topic_of_signals(postgres: PostgresServer, broker: Broker) -> None:
    for capture in open_capture(
        postgres, signal__enabled__channels="kafka,source", read__only="true",
        signal__data__collection="public.debezium_signal",
    ):  # fmt: skip
        capture.change(
            {"signal.kafka.bootstrap.servers": broker.bootstrap, "signal.kafka.groupId": capture.name,
             "signal.kafka.topic": f"{capture.name}-signals", "signal.consumer.fetch.wait.max.ms": "10"}
        )  # fmt: skip
        producer = Producer({"bootstrap.servers": broker.bootstrap})
        for key in ("another connector", capture.name):
            producer.produce(
                f"{capture.name}-signals", execute("public.u" if key == capture.name else "public.t"), key
            )
        assert producer.flush(DEADLINE_S) == 0
        capture.start()
        await_rows(capture, 5)
        capture.drain()
        assert read(capture) == [("u", n) for n in range(1, 6)]
        capture.stop()
        capture.start()
        by_table(capture, execute("public.t"))
        await_rows(capture, 55)
        capture.drain()
        assert len(read(capture)) == 55, "the signal in the topic is not obeyed twice"


def test_connectors_that_share_a_topic_of_signals(postgres: PostgresServer, broker: Broker) -> None:
    """One that is down finds its signals later, wherever the other one is by then; what Debezium has obeyed
    under its common group is not obeyed again."""
    properties = {"signal.enabled.channels": "kafka", "signal.kafka.bootstrap.servers": broker.bootstrap,
                  "signal.consumer.fetch.wait.max.ms": "10", "read.only": "true"}  # fmt: skip
    for one in open_capture(postgres):
        for two in open_capture(postgres):
            topic = f"{one.name}-shared"
            producer = Producer({"bootstrap.servers": broker.bootstrap})
            for capture in (one, two):
                capture.change(properties | {"signal.kafka.topic": topic})
                producer.produce(topic, execute("public.t"), capture.name)  # obeyed by Debezium
            for capture in (one, two):
                producer.produce(topic, execute("public.u"), capture.name)
            assert producer.flush(DEADLINE_S) == 0
            common = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "kafka-signal"})
            common.commit(offsets=[TopicPartition(topic, 0, 2)], asynchronous=False)
            common.close()
            for capture in (two, one):
                capture.start()
                await_rows(capture, 5)
                capture.drain()
                assert read(capture) == [("u", n) for n in range(1, 6)]


def test_a_blocking_snapshot_goes_on_after_a_restart(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At its chunk, and with the one that waits behind it."""
    monkeypatch.setattr(snapshot, "CHUNK_BYTES_MAX", 16 << 10)
    monkeypatch.setattr(snapshot, "_CHUNK_BYTES_MIN", 16 << 10)
    for capture in open_capture(
        postgres, signal__data__collection="public.debezium_signal", max__batch__size="100"
    ):
        capture.sql("INSERT INTO t SELECT g, md5(g::text) FROM generate_series(51, 1500) g")
        capture.start().drain()
        condition = {"data-collection": "public.u", "filter": "SELECT * FROM u WHERE id <> 3"}
        by_table(capture, execute("public.t", kind="blocking"))
        by_table(capture, execute("public.[u]", kind="BLOCKING", **{"additional-conditions": [condition]}))
        await_rows(capture, 700)
        capture.store(capture.records[-1])
        capture.stop()
        before = len(read(capture))
        assert capture.offset is not None
        assert (capture.offset["snapshot"], capture.offset["snapshot_completed"]) == ("BLOCKING", False)
        capture.sql("UPDATE t SET v = 'changed' WHERE id = 1; DELETE FROM t WHERE id = 1499")
        capture.start().drain()
        rows = read(capture)
        assert {row for table, row in rows if table == "t"} >= {*range(1, 1501)} - {1499}
        assert len(rows) < 1500 + 300 + 4
        assert rows[before:][-4:] == [("u", 1), ("u", 2), ("u", 4), ("u", 5)]
        ops = [r.value["op"] for r in capture.records if r.topic.endswith(".t") and r.value]
        assert ops[-2:] == ["u", "d"]
        assert capture.offset is not None
        assert "snapshot" not in capture.offset
        assert "snapshot_requests" not in capture.offset


def test_a_stream_goes_on_exactly_after_a_blocking_snapshot(postgres: PostgresServer) -> None:
    for capture in open_capture(postgres, signal__data__collection="public.debezium_signal"):
        capture.start().drain()
        with capture.server.connect(capture.name) as connection, connection.transaction():
            connection.execute("INSERT INTO u VALUES (6, 'before')")
            connection.execute(
                "INSERT INTO debezium_signal VALUES ('b', 'execute-snapshot', "
                """'{"type": "blocking", "data-collections": ["public.u"]}')"""
            )
            connection.execute("INSERT INTO u VALUES (7, 'in the same transaction')")
        capture.sql("INSERT INTO u VALUES (8, 'after')")
        capture.drain()
        told = [(r.value["op"], r.value["after"]["id"]) for r in capture.records if r.topic.endswith(".u")]
        assert told[:2] == [("c", 6), ("c", 7)]
        assert [row for op, row in told if op == "c"] == [6, 7, 8]
        assert [row for op, row in told if op == "r"][:7] == [1, 2, 3, 4, 5, 6, 7]


def test_a_snapshot_that_is_not_needed_is_told_of(postgres: PostgresServer) -> None:
    for capture in open_capture(
        postgres, snapshot__mode="initial", notification__enabled__channels="sink",
        notification__sink__topic__name="notes",
    ):  # fmt: skip
        capture.start().drain()
        capture.stop()
        capture.start().drain()
        told = [record.value["type"] for record in capture.records if record.topic == "notes"]
        assert (told[0], told[-2:]) == ("STARTED", ["COMPLETED", "SKIPPED"])
