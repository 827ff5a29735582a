"""The disk is full, or fails, for what the broker keeps in its catalog: topics, groups, transactions.

A file size limit stands in for the full disk; the signal that comes with it is ignored by Python. Whatever
was refused has not happened, also after a kill, and all works again when there is space.
"""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kio.schema.errors import ErrorCode
from support.batches import make_batch
from support.eventually import eventually
from support.kafka_wire import Wire
from support.raw_kafka import create_topic, produce
from support.raw_transactions import TransactionalProducerV2
from support.read_committed import read_committed_over

from connect.testing.millstream import Broker

NONE = ErrorCode.none


@contextmanager
def full_disk(broker: Broker) -> Iterator[None]:
    before = resource.prlimit(broker.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(broker.pid, resource.RLIMIT_FSIZE, (1, before[1]))
    try:
        yield
    finally:
        resource.prlimit(broker.pid, resource.RLIMIT_FSIZE, before)


def ask_to_create(wire: Wire, name: str) -> Any:
    topics = [{"name": name, "num_partitions": 1, "replication_factor": 1}]
    (created,) = wire.ask(19, 7, topics=topics, timeout=10_000).topics
    return created.error_code


def topics_of(wire: Wire) -> set[str]:
    return {str(topic.name) for topic in wire.ask(3, 8, topics=None).topics}


def commit(wire: Wire, offset: int) -> Any:
    partitions = [{"partition_index": 0, "committed_offset": offset}]
    topics = [{"name": "t", "partitions": partitions}]
    answer = wire.ask(8, 8, group_id="g", generation_id_or_member_epoch=-1, topics=topics)
    return answer.topics[0].partitions[0].error_code


def committed(wire: Wire) -> int:
    """Asks again for as long as the group is not there, as clients do."""
    asked = {"group_id": "g", "member_epoch": -1, "topics": [{"name": "t", "partition_indexes": [0]}]}
    answers: list[Any] = []

    def is_answered() -> bool:
        answers[:] = wire.ask(9, 9, groups=[asked]).groups
        assert answers[0].error_code in (NONE, ErrorCode.coordinator_not_available)
        return bool(answers[0].error_code is NONE)

    eventually(is_answered, "the group does not come back")
    return int(answers[0].topics[0].partitions[0].committed_offset)


def until_committed(wire: Wire, offset: int) -> None:
    eventually(lambda: commit(wire, offset) is NONE, "the commit is never taken")


def until_shown(wire: Wire, offsets: list[int]) -> None:
    eventually(lambda: read_committed_over(wire, "t") == offsets, "it is not committed")


def check(wire: Wire, topics: set[str], offset: int, shown: list[int]) -> None:
    assert topics_of(wire) == topics
    assert committed(wire) == offset
    assert read_committed_over(wire, "t") == shown


def test_a_full_disk_refuses_and_loses_nothing(tmp_path: Path) -> None:
    with Broker(tmp_path / "d") as broker:
        for round_number in range(2):
            with Wire(broker.bootstrap) as wire:
                if round_number == 0:
                    create_topic(wire, "t")
                until_committed(wire, 5 + round_number)
                producer = TransactionalProducerV2(wire, "id", "t")
                shown = [*read_committed_over(wire, "t"), producer.write()]
                topics = topics_of(wire)
                with full_disk(broker):
                    refused = ErrorCode.coordinator_not_available
                    assert ask_to_create(wire, f"new-{round_number}") is ErrorCode.kafka_storage_error
                    assert commit(wire, 99) is refused
                    assert producer.ask_to_end(commit=True).error_code is refused
                    assert produce(wire, "t", bytes(make_batch())).error_code is ErrorCode.kafka_storage_error
                    deleted = wire.ask(20, 4, topic_names=["t"], timeout=10_000).responses
                    assert deleted[0].error_code is ErrorCode.kafka_storage_error
                    check(wire, topics, 5 + round_number, shown[:-1])
                if round_number == 0:  # there is space again
                    producer.end(commit=True)
                    until_shown(wire, shown)
                    assert ask_to_create(wire, "new-0") is NONE
                    until_committed(wire, 5)
            broker.kill()
            broker.start()
        with Wire(broker.bootstrap) as wire:
            # The transaction of the second round was open at the kill, and nobody heard of its end.
            producer.wire = wire
            producer.end(commit=True)
            until_shown(wire, shown)
            check(wire, {"t", "new-0"}, 6, shown)
            assert ask_to_create(wire, "new-1") is NONE
            until_committed(wire, 7)
