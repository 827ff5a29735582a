"""Which transactional batches of a Produce are let through, with a coordinator that answers when told."""

from collections.abc import Callable
from typing import Any

import pytest
from support.batches import make_batch

from broker.coordinator.transaction_messages import (
    AddPartitions,
    TransactionResult,
    VerifyPartitions,
    VerifyPartitionsResult,
)
from broker.handlers import transactional_produce
from broker.handlers.registry import Deferred
from broker.handlers.transactional_produce import Admission, TransactionalProduce
from broker.wire.errors import ErrorCode, KafkaError
from broker.wire.produce import PartitionRecords, ProduceRequest, ProduceResponse, TopicRecords

T0, T1 = ("t", 0), ("t", 1)


class Coordinator:
    """Keeps what it is asked; `answer` answers the oldest question."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, Callable[[Any], None]]] = []

    def ask_then(self, request: Any, then: Callable[[Any], None]) -> None:
        self.asked.append((request, then))

    def answer(self, result: Any) -> Any:
        request, then = self.asked.pop(0)
        then(result)
        return request


class Log:
    """A partition: `opened` is the epoch of producer 7's open transaction."""

    def __init__(self) -> None:
        self.opened: int | None = None
        self.producers = self

    def open_transaction(self, _: int) -> int | None:
        return None if self.opened is None else 0

    def get(self, _: int) -> Any:
        return None if self.opened is None else self

    @property
    def producer_epoch(self) -> int | None:
        return self.opened


class Handler:
    """What a Produce handler does with the admission is kept in `written`."""

    def __init__(self) -> None:
        self.coordinator = Coordinator()
        self.partitions = {T0: Log(), T1: Log()}
        self.written: list[tuple[str, Admission]] = []
        self.answers: list[str] = []
        self.produce = TransactionalProduce(None, self, self.coordinator)  # type: ignore[arg-type]

    def get(self, topic: str, partition: int) -> Log | None:
        return self.partitions.get((topic, partition))

    def send(self, name: str, *partitions: int, version: int = 12, **changes: int) -> None:
        """A request with a batch of producer 7 for each of the partitions."""
        fields = {"producer_id": 7, "producer_epoch": 0, "sequence": 0} | changes
        records = [
            PartitionRecords(p, memoryview(make_batch(transactional=True, **fields)))  # type: ignore[arg-type]
            for p in partitions
        ]

        def write(admission: Admission) -> ProduceResponse:
            self.written.append((name, admission))
            return ProduceResponse([])

        answer = self.produce.produce(
            version, ProduceRequest("id", -1, 0, [TopicRecords("t", None, records)]), write
        )
        if isinstance(answer, Deferred):
            answer.listen(lambda _: self.answers.append(name))
        else:
            self.answers.append(name)


@pytest.fixture
def handler() -> Handler:
    return Handler()


def test_nobody_is_asked_where_the_transaction_is_open(handler: Handler) -> None:
    handler.partitions[T0].opened = 0
    handler.send("a", 0)
    assert handler.written == [("a", {T0: None})]
    assert not handler.coordinator.asked


@pytest.mark.parametrize(("version", "kind"), [(11, VerifyPartitions), (12, AddPartitions)])
def test_the_coordinator_is_asked_for_what_is_not_open(handler: Handler, version: int, kind: type) -> None:
    handler.partitions[T0].opened = 0
    handler.send("a", 0, 1, version=version)
    assert handler.written == []
    result = TransactionResult(ErrorCode.none)
    if kind is VerifyPartitions:
        result = VerifyPartitionsResult({T1: ErrorCode.none})  # type: ignore[assignment]
    request = handler.coordinator.answer(result)
    assert isinstance(request, kind)
    assert request.partitions == {T1}
    assert handler.written == [("a", {T0: None, T1: None})]
    assert handler.answers == ["a"]


def test_another_epoch_is_not_the_open_transaction(handler: Handler) -> None:
    handler.partitions[T0].opened = 3
    handler.send("a", 0)
    assert handler.coordinator.asked


def test_later_requests_of_the_producer_wait_and_ask_for_themselves(handler: Handler) -> None:
    handler.partitions[T1].opened = 0
    handler.send("a", 0)
    handler.send("known", 1)
    handler.send("b", 0)
    handler.send("other", 0, producer_id=8)
    assert len(handler.coordinator.asked) == 2
    handler.coordinator.answer(TransactionResult(ErrorCode.none))
    assert [name for name, _ in handler.written] == ["a", "known"]
    handler.coordinator.answer(TransactionResult(ErrorCode.none))
    handler.partitions[T0].opened = 0
    handler.coordinator.answer(TransactionResult(ErrorCode.none))
    assert [name for name, _ in handler.written] == ["a", "known", "other", "b"]


@pytest.mark.parametrize(
    ("version", "error", "expected"),
    [
        (12, "producer_fenced", "invalid_producer_epoch"),
        (12, "concurrent_transactions", "concurrent_transactions"),
        (11, "concurrent_transactions", "not_enough_replicas"),
        (11, "transaction_abortable", "transaction_abortable"),
        (10, "transaction_abortable", "invalid_txn_state"),
        (10, "invalid_producer_id_mapping", "invalid_producer_id_mapping"),
    ],
)
def test_errors_by_version(handler: Handler, version: int, error: str, expected: str) -> None:
    handler.send("a", 0, version=version)
    handler.coordinator.answer(TransactionResult(ErrorCode[error]))
    refusal = handler.written[0][1][T0]
    assert refusal is not None
    assert refusal.code is ErrorCode[expected]


def test_a_coordinator_that_is_away_is_asked_again_by_the_client(handler: Handler) -> None:
    handler.send("a", 0)
    handler.coordinator.answer(KafkaError(ErrorCode.not_coordinator))
    refusal = handler.written[0][1][T0]
    assert refusal is not None
    assert refusal.code is ErrorCode.not_enough_replicas


def test_a_partition_that_is_not_there_is_not_admitted(handler: Handler) -> None:
    handler.send("a", 0, 5)
    handler.coordinator.answer(TransactionResult(ErrorCode.none))
    assert handler.written == [("a", {T0: None})]


def test_what_waits_is_bounded(handler: Handler, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transactional_produce, "WAITING_BYTES_MAX", 200)
    handler.send("a", 0)
    handler.send("b", 0)
    handler.send("c", 0)
    name, admission = handler.written[0]
    assert name == "c"
    assert admission[T0] is not None
    for _ in range(2):
        handler.coordinator.answer(TransactionResult(ErrorCode.none))
    handler.send("d", 0)
    assert len(handler.coordinator.asked) == 1
