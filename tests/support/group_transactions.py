"""A transaction coordinator as group coordinators see it: it vouches for producers, and ends transactions.

It loses nothing at a crash, and then tells groups again how transactions ended that it had decided. The real
one has a simulation of its own.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from support.group_oracle import Transaction
from support.group_world import NOT_STORED
from support.simulation import Violation

from broker.coordinator.messages import EndTransaction, Request
from broker.wire.errors import ErrorCode

TRANSACTION_TIMEOUT_MS = 10_000
RETRY_MS = 20


class Surroundings(Protocol):
    """What a desk needs of the simulation that it is part of."""

    def after(self, delay_ms: int, action: Callable[[], None]) -> None: ...

    def ask(self, request: Request, answer: Callable[[Any], None]) -> None:
        """Ask the group coordinator, at once; no answer when it crashes."""

    def ended(self, transaction: Transaction, group_id: str) -> None:
        """A group has acked the end of a transaction."""


@dataclass(slots=True)
class Producer:
    """With `is_v2` every transaction has an epoch of its own: the marker's is one higher (KIP-890)."""

    producer_id: int
    is_v2: bool
    epoch: int = 0
    open: Transaction | None = None
    groups: set[str] = field(default_factory=set)
    """Those that the open transaction has offsets in, and, once it has ended, that have not heard of it."""
    marker_epoch: int | None = None
    """Set once the open transaction has ended."""


class TransactionDesk:
    def __init__(self, surroundings: Surroundings) -> None:
        self._surroundings = surroundings
        self.producers: dict[int, Producer] = {}

    @property
    def is_idle(self) -> bool:
        return all(producer.open is None for producer in self.producers.values())

    def init(self, producer_id: int, *, is_v2: bool) -> int | None:
        """A new process of the producer: its epoch, or None while a transaction of the old one ends."""
        producer = self.producers.setdefault(producer_id, Producer(producer_id, is_v2))
        if producer.open is not None:
            if producer.marker_epoch is None:
                self._abort(producer)
            return None
        producer.epoch += 1
        return producer.epoch

    def verify(self, producer_id: int, epoch: int, group_id: str) -> Transaction | ErrorCode:
        """Whether a commit may go on to the group: part of which transaction it is."""
        producer = self.producers[producer_id]
        if epoch != producer.epoch:
            return ErrorCode.invalid_producer_epoch
        if producer.marker_epoch is not None:
            return ErrorCode.concurrent_transactions
        if producer.open is None:
            opened = producer.open = Transaction(producer_id)
            self._surroundings.after(
                TRANSACTION_TIMEOUT_MS, lambda: self._abort(producer) if producer.open is opened else None
            )
        producer.groups.add(group_id)
        return producer.open

    def end(self, producer_id: int, epoch: int, *, is_commit: bool) -> ErrorCode:
        producer = self.producers[producer_id]
        if epoch != producer.epoch:
            return ErrorCode.invalid_producer_epoch
        if producer.open is None or producer.marker_epoch is not None:
            return ErrorCode.invalid_txn_state
        self._prepare(producer, producer.epoch + producer.is_v2, is_commit=is_commit)
        return ErrorCode.none

    def recover(self) -> None:
        """The broker has crashed and is back."""
        for producer in self.producers.values():
            if producer.marker_epoch is not None:
                self._tell(producer, sorted(producer.groups))

    def _abort(self, producer: Producer) -> None:
        """Without the producer, whose epoch is fenced by it."""
        if producer.marker_epoch is None:
            self._prepare(producer, producer.epoch + 1, is_commit=False)

    def _prepare(self, producer: Producer, marker_epoch: int, *, is_commit: bool) -> None:
        assert producer.open is not None
        producer.epoch = producer.marker_epoch = marker_epoch
        producer.open.is_commit = is_commit
        self._tell(producer, sorted(producer.groups))

    def _tell(self, producer: Producer, group_ids: list[str]) -> None:
        transaction, marker_epoch = producer.open, producer.marker_epoch
        assert transaction is not None
        assert marker_epoch is not None
        for group_id in group_ids:
            request = EndTransaction(
                group_id, producer.producer_id, marker_epoch, is_commit=transaction.is_commit is True
            )
            self._surroundings.ask(
                request, lambda result, group_id=group_id: self._told(producer, transaction, group_id, result)
            )

    def _told(self, producer: Producer, transaction: Transaction, group_id: str, result: Any) -> None:
        if producer.open is not transaction or group_id not in producer.groups:
            return  # asked again meanwhile, after a crash
        if result is NOT_STORED:
            self._surroundings.after(RETRY_MS, lambda: self._tell_again(producer, transaction, group_id))
            return
        if result.error_code is not ErrorCode.none:
            raise Violation(f"{group_id} refused the end of a transaction: {result}")
        self._surroundings.ended(transaction, group_id)
        producer.groups.remove(group_id)
        if not producer.groups:
            producer.open, producer.marker_epoch = None, None

    def _tell_again(self, producer: Producer, transaction: Transaction, group_id: str) -> None:
        if producer.open is transaction and group_id in producer.groups:
            self._tell(producer, [group_id])
