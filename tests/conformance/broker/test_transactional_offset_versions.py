"""TxnOffsetCommit in every version, over a socket; answers as Apache Kafka 4.3 gives them."""

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kio.schema.errors import ErrorCode
from support.kafka_wire import Wire
from support.raw_kafka import create_topic

from connect.testing.millstream import Broker

OFFSET_COMMIT, OFFSET_FETCH, JOIN, SYNC, LIST_GROUPS, DELETE_GROUPS = 8, 9, 11, 14, 16, 42
INIT_PRODUCER_ID, ADD_OFFSETS, END_TRANSACTION, TXN_OFFSET_COMMIT, OFFSET_DELETE = 22, 25, 26, 28, 47
VERSIONS = range(6)
TV2_SINCE = 5
"""Since then the group need not be added first, and every transaction has an epoch of its own."""

ATTEMPTS = 1000


class Transaction:
    """A producer that commits offsets of one topic in transactions, by one version of TxnOffsetCommit."""

    def __init__(self, wire: Wire, topic: str, version: int) -> None:
        self.wire = wire
        self.topic = topic
        self.version = version
        self.transactional_id = f"x-{uuid.uuid4().hex[:12]}"
        started = wire.ask(
            INIT_PRODUCER_ID, 4, transactional_id=self.transactional_id, transaction_timeout=60_000,
            producer_id=-1, producer_epoch=-1,
        )  # fmt: skip
        assert started.error_code is ErrorCode.none
        self.producer_id, self.epoch = started.producer_id, started.producer_epoch

    def add(self, group: str) -> None:
        """Make the group part of the transaction, if that does not come with the commit."""
        if self.version < TV2_SINCE:
            added = _until_settled(
                lambda: self.wire.ask(
                    ADD_OFFSETS, 3, transactional_id=self.transactional_id, producer_id=self.producer_id,
                    producer_epoch=self.epoch, group_id=group,
                ),
                lambda response: response.error_code,
            )  # fmt: skip
            assert added.error_code is ErrorCode.none

    def commit(self, group: str, *, offset: int = 7, name: str | None = None, **changes: Any) -> ErrorCode:
        """The error of partition 1. `changes` are other values of the partition and of the request."""
        partition: dict[str, Any] = {
            "partition_index": 1,
            "committed_offset": offset,
            "committed_leader_epoch": 3,
            "committed_metadata": "ünï",
        }
        partition |= {key: changes.pop(key) for key in tuple(changes) if key in partition}
        values: dict[str, Any] = {
            "transactional_id": self.transactional_id,
            "group_id": group,
            "producer_id": self.producer_id,
            "producer_epoch": self.epoch,
            "topics": [{"name": name or self.topic, "partitions": [partition]}],
        }
        response = _until_settled(
            lambda: self.wire.ask(TXN_OFFSET_COMMIT, self.version, **values | changes), _only_error
        )
        return _only_error(response)

    def end(self, *, committed: bool) -> None:
        version = 5 if self.version >= TV2_SINCE else 3
        ended = self.wire.ask(
            END_TRANSACTION, version, transactional_id=self.transactional_id, producer_id=self.producer_id,
            producer_epoch=self.epoch, committed=committed,
        )  # fmt: skip
        assert ended.error_code is ErrorCode.none
        if self.version >= TV2_SINCE:
            self.epoch = ended.producer_epoch


def _only_error(response: Any) -> ErrorCode:
    ((partition,),) = [topic.partitions for topic in response.topics]
    error: ErrorCode = partition.error_code
    return error


def _until_settled(ask: Callable[[], Any], error: Callable[[Any], ErrorCode]) -> Any:
    """Clients try again while the transaction before is still being ended."""
    for _ in range(ATTEMPTS):
        response = ask()
        if error(response) is not ErrorCode.concurrent_transactions:
            return response
    raise AssertionError("the transaction before never ended")


def fetch(wire: Wire, group: str, topic: str | None, *, require_stable: bool = True) -> list[tuple[Any, ...]]:
    """Partition, offset, leader epoch, metadata and error; of all that the group has without a topic."""
    asked = None if topic is None else [{"name": topic, "partition_indexes": [0, 1]}]
    response = wire.ask(OFFSET_FETCH, 7, group_id=group, topics=asked, require_stable=require_stable)
    assert response.error_code is ErrorCode.none
    return [
        (p.partition_index, p.committed_offset, p.committed_leader_epoch, p.metadata, p.error_code)
        for t in response.topics
        for p in t.partitions
    ]


@pytest.fixture
def wire(broker: Broker) -> Iterator[Wire]:
    with Wire(broker.bootstrap) as wire:
        yield wire


@pytest.fixture
def group() -> str:
    return f"group-{uuid.uuid4().hex[:12]}"


@pytest.fixture(params=VERSIONS)
def transaction(wire: Wire, kafka_topic: str, request: pytest.FixtureRequest) -> Transaction:
    create_topic(wire, kafka_topic, 2)
    return Transaction(wire, kafka_topic, request.param)


@pytest.mark.parametrize("committed", [True, False])
def test_offsets_count_when_the_transaction_commits(
    wire: Wire, group: str, transaction: Transaction, committed: bool
) -> None:
    transaction.add(group)
    assert transaction.commit(group) is ErrorCode.none
    unset = (-1, -1, "", ErrorCode.none)
    assert fetch(wire, group, transaction.topic) == [
        (0, *unset),
        (1, -1, -1, "", ErrorCode.unstable_offset_commit),
    ]
    assert fetch(wire, group, transaction.topic, require_stable=False) == [(0, *unset), (1, *unset)]
    assert fetch(wire, group, None) == []
    transaction.end(committed=committed)
    leader_epoch = 3 if transaction.version >= 2 else -1
    after = [(1, 7, leader_epoch, "ünï", ErrorCode.none)] if committed else []
    assert fetch(wire, group, None) == after
    # The next transaction of the same producer.
    transaction.add(group)
    assert transaction.commit(group, offset=8) is ErrorCode.none
    transaction.end(committed=True)
    assert fetch(wire, group, None) == [(1, 8, leader_epoch, "ünï", ErrorCode.none)]


def test_what_cannot_be_committed_is_refused(wire: Wire, group: str, transaction: Transaction) -> None:
    if transaction.version < TV2_SINCE:
        missing = ErrorCode.invalid_txn_state if transaction.version < 4 else ErrorCode.transaction_abortable
        assert transaction.commit(group) is missing
    transaction.add(group)
    assert transaction.commit("") is ErrorCode.invalid_group_id
    assert transaction.commit(group, name="nowhere") is ErrorCode.unknown_topic_or_partition
    assert transaction.commit(group, partition_index=9) is ErrorCode.unknown_topic_or_partition
    assert transaction.commit(group, committed_metadata="x" * 4097) is ErrorCode.offset_metadata_too_large
    assert transaction.commit(group, committed_metadata="ü" * 4096) is ErrorCode.none
    assert transaction.commit(group, committed_metadata=None) is ErrorCode.none
    for epoch in (transaction.epoch - 1, transaction.epoch + 1):
        assert transaction.commit(group, producer_epoch=epoch) is ErrorCode.invalid_producer_epoch
    other = transaction.producer_id + 100_000
    assert transaction.commit(group, producer_id=other) is ErrorCode.invalid_producer_id_mapping
    transaction.end(committed=True)
    assert [offset for _, offset, *_ in fetch(wire, group, None)] == [7]


def test_members_are_fenced(wire: Wire, group: str, transaction: Transaction) -> None:
    joined = wire.ask(
        JOIN, 5, group_id=group, session_timeout=30_000, rebalance_timeout=30_000, member_id="",
        group_instance_id="i", protocol_type="consumer", protocols=[{"name": "range", "metadata": b""}],
    )  # fmt: skip
    transaction.add(group)
    right = {"member_id": joined.member_id, "generation_id": 1, "group_instance_id": "i"}
    assert transaction.commit(group, **right) is ErrorCode.none  # before there is an assignment, too
    for wrong, error in [
        ({"generation_id": 2}, ErrorCode.illegal_generation),
        ({"generation_id": -1}, ErrorCode.illegal_generation),
        ({"member_id": "other"}, ErrorCode.fenced_instance_id),
        ({"group_instance_id": "other"}, ErrorCode.unknown_member_id),
    ]:
        if transaction.version < 3:
            error = ErrorCode.none  # the request has no such fields
        assert transaction.commit(group, **right | wrong) is error
    assert transaction.commit(group) is ErrorCode.none
    if transaction.version >= 3:
        transaction.add(group + "-not")
        nobody = {"member_id": "m", "generation_id": 1}
        assert transaction.commit(group + "-not", **nobody) is ErrorCode.illegal_generation


def test_groups_and_offsets_are_deleted_with_what_is_pending(
    wire: Wire, group: str, transaction: Transaction
) -> None:
    other = group + "-other"
    for each in (group, other):
        transaction.add(each)
        assert transaction.commit(each) is ErrorCode.none
    (listed,) = [g for g in wire.ask(LIST_GROUPS, 5).groups if g.group_id == group]
    assert (listed.group_state, listed.group_type, listed.protocol_type) == ("Empty", "classic", "")
    partitions = [{"name": transaction.topic, "partitions": [{"partition_index": 1}]}]
    assert _only_error(wire.ask(OFFSET_DELETE, 0, group_id=other, topics=partitions)) is ErrorCode.none
    (deleted,) = wire.ask(DELETE_GROUPS, 2, groups_names=[group]).results
    assert deleted.error_code is ErrorCode.none
    transaction.end(committed=True)
    assert fetch(wire, group, None) == fetch(wire, other, None) == []


def test_the_commit_that_was_made_last_counts(wire: Wire, group: str, transaction: Transaction) -> None:
    transaction.add(group)
    assert transaction.commit(group, offset=7) is ErrorCode.none
    plain = {"partition_index": 1, "committed_offset": 99, "committed_metadata": ""}
    committed = wire.ask(
        OFFSET_COMMIT, 7, group_id=group, generation_id_or_member_epoch=-1, member_id="",
        topics=[{"name": transaction.topic, "partitions": [plain]}],
    )  # fmt: skip
    assert _only_error(committed) is ErrorCode.none
    transaction.end(committed=True)
    assert [offset for _, offset, *_ in fetch(wire, group, None)] == [99]
