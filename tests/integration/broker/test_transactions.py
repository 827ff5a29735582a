"""Transactions over a socket, request by request: what pipelining, kills and deletions do to them."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from kio.schema.errors import ErrorCode
from support.batches import make_batch
from support.kafka_wire import Wire
from support.raw_kafka import create_topic, decode_body, fetch, produce, produce_body

from broker.wire.batch import BatchHeader
from connect.testing.millstream import Broker

LIST_OFFSETS, DELETE_TOPICS, INIT, END, DESCRIBE = 2, 20, 22, 26, 65
PRODUCE_V2 = 12
DEADLINE_S = 60


@pytest.fixture
def wire(broker: Broker) -> Iterator[Wire]:
    with Wire(broker.bootstrap) as wire:
        yield wire


def start(wire: Wire, name: str, timeout_ms: int = 60_000) -> tuple[int, int]:
    """The producer's id and epoch."""
    values = {"transactional_id": name, "transaction_timeout": timeout_ms}
    result = wire.ask(INIT, 5, producer_id=-1, producer_epoch=-1, **values)
    assert result.error_code is ErrorCode.none
    return result.producer_id, result.producer_epoch


def batch(producer: tuple[int, int], sequence: int) -> bytes:
    return bytes(
        make_batch(
            producer_id=producer[0],
            producer_epoch=producer[1],
            sequence=sequence,
            transactional=True,
            timestamps=[int(time.time() * 1000)],
        )
    )


def end(wire: Wire, name: str, producer: tuple[int, int], *, commit: bool = True) -> tuple[int, int]:
    """With transactions v2; the producer's id and epoch from then on."""
    result = wire.ask(
        END, 5, transactional_id=name, producer_id=producer[0], producer_epoch=producer[1], committed=commit
    )
    assert result.error_code is ErrorCode.none
    return result.producer_id, result.producer_epoch


def state(wire: Wire, name: str) -> str:
    (found,) = wire.ask(DESCRIBE, 0, transactional_ids=[name]).transaction_states
    return str(found.transaction_state)


def answers(wire: Wire, count: int) -> list[tuple[ErrorCode, int]]:
    """Error and base offset of the next answers to Produce requests with one partition each."""
    found = []
    for _ in range(count):
        (topic,) = decode_body(0, PRODUCE_V2, wire.receive()[1]).responses
        (partition,) = topic.partition_responses
        found.append((partition.error_code, partition.base_offset))
    return found


def test_requests_do_not_overtake_one_that_waits_for_the_coordinator(wire: Wire, kafka_topic: str) -> None:
    create_topic(wire, kafka_topic, 2)
    producer = start(wire, kafka_topic)
    for sequence in range(20):
        for partition in (0, 1):
            body = produce_body(
                PRODUCE_V2,
                kafka_topic,
                batch(producer, sequence),
                partition=partition,
                transactional_id=kafka_topic,
            )
            wire.send(0, PRODUCE_V2, body)
    expected = [(ErrorCode.none, offset) for offset in range(20) for _ in (0, 1)]
    assert answers(wire, 40) == expected
    end(wire, kafka_topic, producer)


def test_a_thousand_refused_requests_are_answered(wire: Wire, kafka_topic: str) -> None:
    create_topic(wire, kafka_topic)
    body = produce_body(PRODUCE_V2, kafka_topic, batch((7, 0), 0), transactional_id="nobody")
    for _ in range(1000):
        wire.send(0, PRODUCE_V2, body)
    assert set(answers(wire, 1000)) == {(ErrorCode.invalid_producer_id_mapping, -1)}


def test_producers_do_not_wait_for_each_other(wire: Wire, kafka_topic: str) -> None:
    create_topic(wire, kafka_topic)
    names = [f"{kafka_topic}-{number}" for number in range(20)]
    producers = {name: start(wire, name) for name in names}
    for _ in range(3):
        for name in names:
            body = produce_body(PRODUCE_V2, kafka_topic, batch(producers[name], 0), transactional_id=name)
            wire.send(0, PRODUCE_V2, body)
        assert {error for error, _ in answers(wire, 20)} == {ErrorCode.none}
        producers = {name: end(wire, name, producers[name]) for name in names}
    assert {epoch for _, epoch in producers.values()} == {3}


def test_acks(wire: Wire, broker: Broker, kafka_topic: str) -> None:
    create_topic(wire, kafka_topic)
    producer = start(wire, kafka_topic)
    result = produce(wire, kafka_topic, batch(producer, 0), PRODUCE_V2, transactional_id=kafka_topic, acks=1)
    assert result.error_code is ErrorCode.none
    with Wire(broker.bootstrap) as careless:
        body = produce_body(PRODUCE_V2, kafka_topic, batch(producer, 1), transactional_id=kafka_topic, acks=0)
        careless.send(0, PRODUCE_V2, body)
        assert careless.is_closed()
    end(wire, kafka_topic, producer)


def test_a_topic_that_is_deleted_drops_out_of_its_transactions(wire: Wire, kafka_topic: str) -> None:
    other = f"{kafka_topic}-other"
    producer = start(wire, kafka_topic)
    for topic in (kafka_topic, other):
        create_topic(wire, topic)
        written = produce(wire, topic, batch(producer, 0), PRODUCE_V2, transactional_id=kafka_topic)
        assert written.error_code is ErrorCode.none
    wire.ask(DELETE_TOPICS, 5, topic_names=[other], timeout=DEADLINE_S * 1000)
    producer = end(wire, kafka_topic, producer)
    assert state(wire, kafka_topic) == "CompleteCommit"
    create_topic(wire, other)
    written = produce(wire, other, batch(producer, 0), PRODUCE_V2, transactional_id=kafka_topic)
    assert (written.error_code, written.base_offset) == (ErrorCode.none, 0)
    end(wire, kafka_topic, producer)


def test_an_open_transaction_survives_a_kill(tmp_path: Path) -> None:
    with Broker(tmp_path) as broker:
        with Wire(broker.bootstrap) as wire:
            create_topic(wire, "t")
            producers = {name: start(wire, name) for name in ("commit", "abort")}
            for name, producer in producers.items():
                produce(wire, "t", batch(producer, 0), PRODUCE_V2, transactional_id=name)
        broker.kill()
        broker.start()
        with Wire(broker.bootstrap) as wire:
            assert {state(wire, name) for name in producers} == {"Ongoing"}
            for name, producer in producers.items():
                written = produce(wire, "t", batch(producer, 1), PRODUCE_V2, transactional_id=name)
                assert written.error_code is ErrorCode.none
                producers[name] = end(wire, name, producer, commit=name == "commit")
            assert {epoch for _, epoch in producers.values()} == {1}
        broker.kill()
        broker.start()
        with Wire(broker.bootstrap) as wire:
            assert state(wire, "commit") == "CompleteCommit"
            assert state(wire, "abort") == "CompleteAbort"
            records = fetch(wire, "t", {0: 0}).responses[0].partitions[0].records
            assert BatchHeader(records).producer_id == producers["commit"][0]


def test_a_transaction_that_was_open_at_a_kill_still_has_its_timeout(tmp_path: Path) -> None:
    with Broker(tmp_path, {"transaction.max.timeout.ms": "1000"}) as broker:
        with Wire(broker.bootstrap) as wire:
            create_topic(wire, "t")
            refused = wire.ask(INIT, 5, transactional_id="late", transaction_timeout=1001)
            assert refused.error_code is ErrorCode.invalid_transaction_timeout
            producer = start(wire, "late", timeout_ms=1000)
            produce(wire, "t", batch(producer, 0), PRODUCE_V2, transactional_id="late")
        broker.kill()
        broker.start()
        with Wire(broker.bootstrap) as wire:
            deadline = time.monotonic() + DEADLINE_S
            while state(wire, "late") != "CompleteAbort":
                assert time.monotonic() < deadline
                time.sleep(0.02)
            refused = produce(wire, "t", batch(producer, 1), PRODUCE_V2, transactional_id="late")
            assert refused.error_code is ErrorCode.invalid_producer_epoch
