"""What the transaction coordinator wants done, beside `Reply` and timers, and the order in which it is done.

What was asked of a transactional id happens strictly in order (`TransactionQueue`): a reply or markers wait
for the record stored before them to be durable, and a record is not stored before the markers written before
it are. The markers of a transaction are *written* at once, when they are in the logs and consumers see the
outcome, and *durable* with the logs' next sync; the client has its answer in between.

That a transaction is complete need not be known after a crash: its markers would be written once more. So
that record waits a little, and is left out when the next transaction has begun meanwhile.
"""

import dataclasses
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from broker.coordinator.effects import CancelTimer, Reply, SetTimer
from broker.coordinator.records import TopicPartition
from broker.coordinator.transaction_records import TransactionRecord


@dataclass(frozen=True, slots=True)
class StoreTransaction:
    """Make the record durable; None removes the transactional id. When that fails, the shell reloads it."""

    transactional_id: str
    record: TransactionRecord | None
    can_wait: bool = False
    """Nothing depends on it: it may be stored some time later, or never if another record follows."""


@dataclass(frozen=True, slots=True)
class WriteMarkers:
    """End the producer's transaction in all these partitions and groups; doing it twice does no harm."""

    transactional_id: str
    producer_id: int
    producer_epoch: int
    """The marker's: in transactions v2 it is one more than that of the records."""
    is_commit: bool
    is_v2: bool
    partitions: frozenset[TopicPartition]
    groups: frozenset[str]


TransactionEffect = Reply | StoreTransaction | WriteMarkers | SetTimer | CancelTimer
OrderedEffect = Reply | StoreTransaction | WriteMarkers

Done = Callable[[bool], None]
"""Called with False when it failed."""


class TransactionPerformer(Protocol):
    """Does what a queue says. `done` may be called within the call or later, and once."""

    def store(self, store: StoreTransaction, done: Done) -> None:
        """Make the record durable."""

    def flush_later(self, transactional_id: str) -> None:
        """Call the queue's `flush` in a while."""

    def write_markers(self, markers: WriteMarkers, written: Callable[[], None], durable: Done) -> None:
        """Write markers; `written` when all are in the logs and the groups know, then `durable`.

        While a log is offline neither is called; it is tried again until it can be done.
        """

    def answer(self, reply: Reply, *, is_stored: bool) -> None:
        """Send the response, or that it could not be stored."""

    def markers_written(self, transactional_id: str) -> None:
        """Tell the coordinator, and push what it wants done."""

    def go_back(self, transactional_id: str) -> None:
        """Something failed: reload the transactional id from what is stored, as after a crash."""


class TransactionQueue:
    """The effects of one transactional id, in order."""

    def __init__(self, transactional_id: str, performer: TransactionPerformer) -> None:
        self._transactional_id = transactional_id
        self._performer = performer
        self._effects: deque[OrderedEffect] = deque()
        self._waiting: StoreTransaction | None = None
        """The record that can wait."""
        self._is_storing = False
        self._has_markers_to_sync = False
        self._is_running = False
        self._life = 0
        """Counts the failures; what was begun before one is of no interest after it."""

    @property
    def is_idle(self) -> bool:
        """Whether all is done and durable."""
        return not (self._effects or self._waiting or self._is_storing or self._has_markers_to_sync)

    def push(self, effects: Iterable[OrderedEffect]) -> None:
        for effect in effects:
            if isinstance(effect, StoreTransaction) and not effect.can_wait:
                self._waiting = None
            self._effects.append(effect)
        self._run()

    def flush(self) -> None:
        """Store the record that has waited, if it still does."""
        if self._waiting is not None:
            self.push([dataclasses.replace(self._waiting, can_wait=False)])

    def _run(self) -> None:
        if self._is_running:  # a call from within a call: the outer one goes on
            return
        self._is_running = True
        try:
            while self._effects and not self._is_storing:
                effect = self._effects[0]
                is_urgent = isinstance(effect, StoreTransaction) and not effect.can_wait
                if is_urgent and self._has_markers_to_sync:
                    return
                self._effects.popleft()
                self._perform(effect)
        finally:
            self._is_running = False

    def _perform(self, effect: OrderedEffect) -> None:
        life = self._life
        match effect:
            case StoreTransaction(can_wait=True):
                if not any(isinstance(following, StoreTransaction) for following in self._effects):
                    self._waiting = effect
                    self._performer.flush_later(self._transactional_id)
            case StoreTransaction():
                self._is_storing = True
                self._performer.store(effect, lambda ok: self._stored(life, ok=ok))
            case WriteMarkers():
                self._has_markers_to_sync = True
                self._performer.write_markers(
                    effect, lambda: self._written(life), lambda ok: self._synced(life, ok=ok)
                )
            case Reply():
                self._performer.answer(effect, is_stored=True)

    def _stored(self, life: int, *, ok: bool) -> None:
        if life == self._life:
            self._is_storing = False
            self._go_on(ok=ok)

    def _written(self, life: int) -> None:
        if life == self._life:
            self._performer.markers_written(self._transactional_id)

    def _synced(self, life: int, *, ok: bool) -> None:
        if life == self._life:
            self._has_markers_to_sync = False
            self._go_on(ok=ok)

    def _go_on(self, *, ok: bool) -> None:
        if ok:
            self._run()
            return
        self._life += 1
        self._waiting = None
        self._is_storing = self._has_markers_to_sync = False
        lost, self._effects = self._effects, deque()
        # First of all: whoever hears that it failed may ask again at once, and must not be told what was
        # never stored.
        self._performer.go_back(self._transactional_id)
        for effect in lost:
            if isinstance(effect, Reply):
                self._performer.answer(effect, is_stored=False)
