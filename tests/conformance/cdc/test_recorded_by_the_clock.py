"""The recorded scenarios whose number of records depends on time: what can come is as recorded."""

import re
import time
from collections.abc import Callable

from confluent_kafka import Producer
from support.capture import DEADLINE_S
from support.cdc_replay import Replay, compare, recorded

from connect.api import SourceRecord
from connect.testing.millstream import Broker
from connect.testing.postgres import PostgresServer

_COUNTS = r"\S*heartbeat\S*: \d+ records"


def poll_until(replay: Replay, done: Callable[[list[SourceRecord]], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not done(replay.capture.records):
        assert time.monotonic() < deadline
        replay.capture.poll()


def unexpected(found: list[str], *wanted: str) -> list[str]:
    return [line for line in found if not any(re.match(pattern, line) for pattern in (_COUNTS, *wanted))]


def test_heartbeats(postgres: PostgresServer) -> None:
    class Beating(Replay):
        def _drain(self) -> None:
            if self.capture.task is not None:
                beats = len(self.capture.records) + 8
                poll_until(self, lambda records: len(records) >= beats)
                self.capture.store(self.capture.records[-1])

    replay = Beating(postgres, "heartbeat")
    replay.capture.change({"heartbeat.interval.ms": "100"})
    replay.run()
    # A heartbeat has the offset of the change before it, or of its transaction's end.
    assert unexpected(compare(replay, recorded("heartbeat")), r"offset\[\d\]\.messageType") == []


def test_an_incremental_snapshot_without_writes(postgres: PostgresServer, broker: Broker) -> None:
    class Signalled(Replay):
        def _do(self, kind: str, text: str) -> None:
            if kind == "produce":
                topic, key, value = text.split(" ", 2)
                producer = Producer({"bootstrap.servers": broker.bootstrap})
                producer.produce(topic, value, key)
                assert producer.flush(DEADLINE_S) == 0
                poll_until(self, lambda records: sum(":r" in _operation(record) for record in records) == 5)
            elif kind != "topic":
                super()._do(kind, text)

    replay = Signalled(postgres, "incremental_readonly")
    replay.capture.change({
        "signal.kafka.bootstrap.servers": broker.bootstrap, "signal.kafka.groupId": replay.capture.name,
        "signal.poll.interval.ms": "10", "signal.consumer.fetch.wait.max.ms": "10",
    })  # fmt: skip
    replay.run()
    # Which of them is stored last depends on the heartbeats.
    assert unexpected(compare(replay, recorded("incremental_readonly")), r"offset\[\d\]\.messageType") == []


def _operation(record: SourceRecord) -> str:
    value = record.value
    return f":{value['op']}" if value and "op" in value else ""


def test_a_snapshot_that_is_stopped_in_the_middle_starts_over(postgres: PostgresServer) -> None:
    """Where it cannot go on: its rows come from a SELECT of their own."""

    class Stopped(Replay):
        def _do(self, kind: str, text: str) -> None:
            if kind == "create":
                self.capture.start()
                poll_until(self, lambda records: len(records) >= 20)
                self.capture.store(self.capture.records[-1])
                self.first = len(self.capture.records)
            else:
                super()._do(kind, text)

    replay = Stopped(postgres, "snapshot_offsets_mid")
    override = "snapshot.select.statement.overrides.public.a"
    replay.capture.change({override: "SELECT id FROM public.a WHERE pg_sleep(0.005) IS NOT NULL"})
    replay.run()

    recording = recorded("snapshot_offsets_mid")
    ids = [record["key"]["payload"]["id"] for record in recording["records"]]
    again = ids.index(1, 1)
    shared = min(replay.first, again)
    for records, first in ((replay.capture.records, replay.first), (recording["records"], again)):
        del records[shared:first]
    assert compare(replay, recording) == []
