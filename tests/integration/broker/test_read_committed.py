"""Transactions as consumers see them: read_committed over a socket, and what a restart makes of it."""

import select
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kio.schema.errors import ErrorCode
from support.batches import make_batch
from support.kafka_wire import Wire
from support.raw_kafka import RawKafka, create_topic, fetch, produce
from support.raw_transactions import TransactionalProducer
from support.read_committed import shown

from connect.testing.millstream import Broker

DEADLINE_S = 60
LONG_MS = 60_000
"""Longer than the deadline: an answer that came has not waited for it."""


@pytest.fixture
def wire(broker: Broker) -> Iterator[Wire]:
    with Wire(broker.bootstrap) as connection:
        yield connection


def plain(count: int = 1, **more: Any) -> bytes:
    """A batch of now: a marker, which is of now too, starts a new segment after an old one."""
    return bytes(make_batch(count, timestamps=[int(time.time() * 1000)] * count, **more))


def partition_of(response: Any) -> Any:
    (topic,) = response.responses
    (partition,) = topic.partitions
    return partition


def aborted_of(partition: Any) -> list[tuple[int, int]] | None:
    if partition.aborted_transactions is None:
        return None
    return [(aborted.producer_id, aborted.first_offset) for aborted in partition.aborted_transactions]


def read(wire: RawKafka, topic: str, offset: int = 0, version: int = 12, **more: Any) -> Any:
    """kio's answer for partition 0."""
    return partition_of(fetch(wire, topic, {0: offset}, version, committed=True, **more))


def shown_of(partition: Any) -> list[int]:
    return shown(partition.records or b"", aborted_of(partition) or [])


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline


def stable_offset(wire: RawKafka, topic: str) -> int:
    offset = read(wire, topic).last_stable_offset
    assert isinstance(offset, int)
    return offset


def test_only_what_is_committed_is_shown_in_every_version(wire: Wire, kafka_topic: str) -> None:
    topic_id = create_topic(wire, kafka_topic)
    first = TransactionalProducer(wire, f"{kafka_topic}-1", kafka_topic)
    second = TransactionalProducer(wire, f"{kafka_topic}-2", kafka_topic)
    assert produce(wire, kafka_topic, plain()).base_offset == 0
    assert (first.write(3), second.write(2), first.write()) == (1, 4, 6)
    first.end(commit=False)
    until(lambda: stable_offset(wire, kafka_topic) == 4)
    second.end(commit=True)
    until(lambda: stable_offset(wire, kafka_topic) == 9)
    for version in range(4, 19):
        topic: Any = topic_id if version >= 13 else kafka_topic
        partition = read(wire, topic, 0, version)
        assert (partition.high_watermark, partition.last_stable_offset) == (9, 9)
        assert aborted_of(partition) == [(first.producer_id, 1)]
        assert shown_of(partition) == [0, 4]
        everything = partition_of(fetch(wire, topic, {0: 0}, version))
        assert (everything.records, everything.aborted_transactions) == (partition.records, None)


def test_an_open_transaction_is_the_end_for_read_committed(wire: Wire, kafka_topic: str) -> None:
    create_topic(wire, kafka_topic)
    producer = TransactionalProducer(wire, kafka_topic, kafka_topic)
    produce(wire, kafka_topic, plain(2))
    producer.write(2)
    produce(wire, kafka_topic, plain())
    for offset, bases in ((0, [0]), (1, [0]), (2, []), (3, []), (5, [])):
        partition = read(wire, kafka_topic, offset)
        assert (partition.error_code, partition.high_watermark) == (ErrorCode.none, 5)
        assert (partition.last_stable_offset, aborted_of(partition)) == (2, [])
        assert shown_of(partition) == bases
    beyond = read(wire, kafka_topic, 6)
    assert (beyond.error_code, beyond.high_watermark, beyond.last_stable_offset) == (
        ErrorCode.offset_out_of_range, -1, -1,
    )  # fmt: skip
    assert beyond.aborted_transactions is None


def test_only_the_aborted_transactions_of_what_is_sent_are_named(wire: Wire, kafka_topic: str) -> None:
    create_topic(wire, kafka_topic)
    producer = TransactionalProducer(wire, kafka_topic, kafka_topic)
    for number in range(4):  # batch of one at 2n, marker at 2n + 1
        assert producer.write() == 2 * number
        producer.end(commit=number == 2)
        until(lambda number=number: stable_offset(wire, kafka_topic) == 2 * number + 2)  # type: ignore[misc]
    named = [
        [first for _, first in aborted_of(read(wire, kafka_topic, offset, partition_max_bytes=limit)) or []]
        for offset, limit in ((0, 1), (1, 1), (2, 1), (4, 1), (5, 1), (0, 10**6), (4, 10**6), (7, 10**6))
    ]
    assert named == [[0], [0], [2], [], [], [0, 2, 6], [6], [6]]


class Waiting:
    """A connection with a Fetch under way."""

    def __init__(self, wire: Wire, broker: Broker) -> None:
        self._other = wire
        self._wire = Wire(broker.bootstrap)
        self._topic = ""

    def __enter__(self) -> "Waiting":
        return self

    def __exit__(self, *_: object) -> None:
        self._wire.socket.close()

    def ask(self, topic: str, offset: int, *, min_bytes: int = 1, max_bytes: int = 10**6) -> None:
        wanted = {"partition": 0, "fetch_offset": offset, "partition_max_bytes": max_bytes}
        wanted |= {"current_leader_epoch": -1, "last_fetched_epoch": -1, "log_start_offset": -1}
        self._topic = topic
        self._wire.request(
            1, 12, replica_id=-1, max_wait=LONG_MS, min_bytes=min_bytes, max_bytes=10**6, isolation_level=1,
            session_id=0, session_epoch=-1, topics=[{"topic": topic, "partitions": [wanted]}],
        )  # fmt: skip

    @property
    def is_answered(self) -> bool:
        """Whether there is an answer; the broker has had time to give one."""
        stable_offset(self._other, self._topic)
        return bool(select.select([self._wire.socket], [], [], 0)[0])

    def answer(self) -> Any:
        return partition_of(self._wire.response(1, 12))


@pytest.mark.parametrize("commit", [True, False])
def test_a_waiting_fetch_wakes_when_the_transaction_ends(
    wire: Wire, broker: Broker, kafka_topic: str, commit: bool
) -> None:
    create_topic(wire, kafka_topic)
    producer = TransactionalProducer(wire, kafka_topic, kafka_topic)
    with Waiting(wire, broker) as waiting:
        waiting.ask(kafka_topic, 0)
        producer.write(2)
        produce(wire, kafka_topic, plain())
        assert not waiting.is_answered
        producer.end(commit=commit)
        answered = waiting.answer()
        assert answered.last_stable_offset == 4
        assert shown_of(answered) == ([0, 2] if commit else [2])


def test_min_bytes_count_what_can_be_read(wire: Wire, broker: Broker, kafka_topic: str) -> None:
    create_topic(wire, kafka_topic)
    batch = plain()
    first = TransactionalProducer(wire, f"{kafka_topic}-1", kafka_topic)
    second = TransactionalProducer(wire, f"{kafka_topic}-2", kafka_topic)
    with Waiting(wire, broker) as waiting:
        waiting.ask(kafka_topic, 0, min_bytes=3 * len(batch))
        produce(wire, kafka_topic, batch)
        first.write()
        second.write(10)
        assert not waiting.is_answered
        first.end(commit=True)  # what the second one has written is still hidden
        until(lambda: stable_offset(wire, kafka_topic) == 2)
        assert not waiting.is_answered
        second.end(commit=True)
        assert shown_of(waiting.answer()) == [0, 1, 2]


def test_nothing_is_waited_for_when_there_is_more_than_fits(
    wire: Wire, broker: Broker, kafka_topic: str
) -> None:
    """Batches are sent whole, so that `min_bytes` may be just missed with any amount behind them."""
    create_topic(wire, kafka_topic)
    for _ in range(3):
        produce(wire, kafka_topic, plain())
    limit = 2 * len(plain()) + 1
    with Waiting(wire, broker) as waiting:
        waiting.ask(kafka_topic, 0, min_bytes=limit, max_bytes=limit)
        until(lambda: waiting.is_answered)
        assert shown_of(waiting.answer()) == [0, 1]


def test_producers_expire_unless_their_transaction_is_open(tmp_path: Path) -> None:
    settings = {"producer.id.expiration.ms": "1", "producer.id.expiration.check.interval.ms": "50"}
    with Broker(tmp_path / "d", settings) as broker, Wire(broker.bootstrap) as wire:
        create_topic(wire, "t")
        transactional = TransactionalProducer(wire, "open", "t")
        transactional.write()
        assert produce(wire, "t", plain(producer_id=900, producer_epoch=0, sequence=7)).base_offset == 1

        def known() -> list[int]:
            topics = [{"name": "t", "partition_indexes": [0]}]
            (partition,) = wire.ask(61, 0, topics=topics).topics[0].partitions
            return [producer.producer_id for producer in partition.active_producers]

        until(lambda: known() == [transactional.producer_id])
        assert produce(wire, "t", plain(producer_id=900, producer_epoch=0, sequence=99)).base_offset == 2
        transactional.end(commit=True)
        until(lambda: known() == [])


def test_a_session_goes_on_over_the_end_of_a_transaction(wire: Wire, kafka_topic: str) -> None:
    create_topic(wire, kafka_topic)
    producer = TransactionalProducer(wire, kafka_topic, kafka_topic)
    producer.write()
    begun = fetch(wire, kafka_topic, {0: 0}, committed=True, session=(0, 0))
    assert (partition_of(begun).last_stable_offset, shown_of(partition_of(begun))) == (0, [])
    session_id = begun.session_id
    assert fetch(wire, None, {}, committed=True, session=(session_id, 1)).responses == ()
    producer.end(commit=True)
    until(lambda: stable_offset(wire, kafka_topic) == 2)
    news = partition_of(fetch(wire, None, {}, committed=True, session=(session_id, 2)))
    assert (news.last_stable_offset, shown_of(news)) == (2, [0])


def list_offset(wire: Wire, topic: str, timestamp: int, *, committed: bool) -> int:
    partition = {"partition_index": 0, "current_leader_epoch": -1, "timestamp": timestamp}
    topics = [{"name": topic, "partitions": [partition]}]
    response = wire.ask(2, 7, replica_id=-1, isolation_level=int(committed), topics=topics)
    found = response.topics[0].partitions[0]
    assert found.error_code is ErrorCode.none
    assert isinstance(found.offset, int)
    return found.offset


def test_read_committed_lists_no_offsets_of_an_open_transaction(wire: Wire, kafka_topic: str) -> None:
    create_topic(wire, kafka_topic)
    producer = TransactionalProducer(wire, kafka_topic, kafka_topic)
    now_ms = int(time.time() * 1000)
    produce(wire, kafka_topic, bytes(make_batch(timestamps=[now_ms])))
    producer.write(2, timestamps=[now_ms + 5, now_ms + 9])
    asked = (-1, -2, -3, now_ms, now_ms + 1, now_ms + 9)
    listed = {
        committed: [list_offset(wire, kafka_topic, timestamp, committed=committed) for timestamp in asked]
        for committed in (True, False)
    }
    assert listed == {True: [1, 0, -1, 0, -1, -1], False: [3, 0, 2, 0, 1, 2]}
    producer.end(commit=False)
    until(lambda: list_offset(wire, kafka_topic, -1, committed=True) == 4)
    assert list_offset(wire, kafka_topic, now_ms + 9, committed=True) == 2


def test_a_kill_changes_nothing_for_transactions_and_idempotent_producers(tmp_path: Path) -> None:
    with Broker(tmp_path / "d") as broker:
        with Wire(broker.bootstrap) as wire:
            create_topic(wire, "t", segment_bytes="1048576")
            aborting = TransactionalProducer(wire, "aborting", "t")
            open_one = TransactionalProducer(wire, "open", "t")
            aborting.write(2)
            aborting.end(commit=False)
            until(lambda: stable_offset(wire, "t") == 3)
            assert open_one.write(2) == 3
            batches = [plain(producer_id=900, producer_epoch=0, sequence=n) for n in range(8)]
            assert [produce(wire, "t", batch).base_offset for batch in batches[:7]] == list(range(5, 12))
        broker.kill()
        broker.start()
        with Wire(broker.bootstrap) as wire:
            partition = read(wire, "t")
            # The coordinator may not have known that its marker was written, and have written it again.
            assert partition.high_watermark in (12, 13)
            assert partition.last_stable_offset == 3
            assert aborted_of(partition) == [(aborting.producer_id, 0)]
            assert shown_of(partition) == []
            # The producer that heard no answer sends its batch again, and goes on.
            assert produce(wire, "t", batches[6]).base_offset == 11
            next_offset = produce(wire, "t", batches[7]).base_offset
            gap = plain(producer_id=900, producer_epoch=0, sequence=9)
            assert produce(wire, "t", gap).error_code is ErrorCode.out_of_order_sequence_number
            # The one with the open transaction is fenced by its successor, which aborts it.
            TransactionalProducer(wire, "open", "t")
            until(lambda: stable_offset(wire, "t") > next_offset)
            open_one.wire = wire
            late = open_one.send(open_one.batch())
            assert late.error_code is not ErrorCode.none
            assert shown_of(read(wire, "t")) == [*range(5, 12), next_offset]
