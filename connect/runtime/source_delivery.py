"""How the records of a source task and their offsets get to Kafka: at least once, or exactly once.

At least once: the offsets are written once every record before them was acknowledged; a crash in between
leads to duplicates, never to a gap. Exactly once (KIP-618): records and offsets are in one transaction.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from connect.api import ConnectError, SourceRecord
from connect.runtime.offset_format import offset_key
from connect.runtime.producer import RecordProducer, SourceProducer
from connect.runtime.task_channel import TaskChannel
from connect.runtime.transaction_boundaries import Boundaries, Ending

_LOG = logging.getLogger(__name__)

Pair = tuple[Mapping[str, Any], Mapping[str, Any]]  # source partition, source offset
Commit = Callable[[Sequence[Pair]], None]
Send = Callable[[Sequence[SourceRecord]], None]


class Told(Protocol):
    """Hears of each attempt to make offsets durable: when it began on `time.monotonic`, whether it worked,
    and of how many records the transaction was that it ended."""

    def __call__(self, began: float, done: bool, records: int = 0) -> None: ...


@dataclass(frozen=True, slots=True)
class DeliverySettings:
    """`offsets_topic` is where the offsets go; times are in seconds. `copied`: the worker's own offsets topic
    is another one, and gets them too, as Connect has it: whoever reads only that one goes on near there."""

    connector: str
    offsets_topic: str
    flush_interval_s: float
    flush_timeout_s: float
    stop_timeout_s: float
    copied: bool = False


class Transactions(SourceProducer, Protocol):
    """What `ExactlyOnce` needs: see `TransactionalProducer`."""

    @property
    def open(self) -> bool: ...

    def begin(self) -> None: ...

    def commit(self, gives_up: Callable[[], bool]) -> None: ...

    def abort(self, gives_up: Callable[[], bool]) -> None: ...


class Delivery(Protocol):
    """What the source runner asks for, in this order: `start`; then `deliver`, `note` and `tick` again and
    again; `pause` when the user says so; `stop` or `fail`. All may raise `ConnectError`."""

    def start(self, commit: Commit, told: Told) -> None:
        """`commit` tells the task of offsets that are durable; `told` hears of each attempt to make them
        so."""
        ...

    def deliver(self, records: Sequence[SourceRecord], send: Send) -> None:
        """Have a batch sent by `send`, in one go or several."""
        ...

    def note(self, partition: Mapping[str, Any], offset: Mapping[str, Any]) -> None:
        """All before this offset has been handed to the producer."""
        ...

    def tick(self) -> None:
        """Do what is due, at least look for errors. Raises `ConnectError`."""
        ...

    def next_due_s(self) -> float:
        """When `tick` has something to do, on `time.monotonic`."""
        ...

    def pause(self) -> bool:
        """Nothing is delivered from here on; False: only a new start can go on from here."""
        ...

    def stop(self) -> None:
        """The task should stop: make durable what was delivered."""
        ...

    def fail(self) -> None:
        """The task failed, with an error that the user must hear of: leave things in order, if possible."""
        ...


class _Offsets:
    """Offsets that were noted, and where they go."""

    def __init__(self, settings: DeliverySettings, channel: TaskChannel) -> None:
        self._settings = settings
        self._channel = channel
        # Source partition (as its key in the offsets topic) → the pair.
        self._noted: dict[str, Pair] = {}
        self._to_copy: dict[str, Pair] = {}
        self._commit: Commit = _nobody
        self._told: Told = _nothing
        self._next_flush_s = time.monotonic() + settings.flush_interval_s

    def start(self, commit: Commit, told: Told) -> None:
        self._commit = commit
        self._told = told

    def note(self, partition: Mapping[str, Any], offset: Mapping[str, Any]) -> None:
        self._noted[offset_key(self._settings.connector, partition)] = partition, offset

    def _produce_noted(self, producer: SourceProducer) -> None:
        for key, (_, offset) in self._noted.items():
            while True:
                try:
                    producer.produce(self._settings.offsets_topic, orjson.dumps(offset), key.encode(), -1)
                except BufferError:
                    producer.make_room()
                else:
                    break

    def _noted_are_durable(self) -> None:
        noted, self._noted = self._noted, {}
        if self._settings.copied:
            self._to_copy |= noted
        self._channel.progress.enter("commit")
        self._channel.check_lease()  # another process may have the source by now
        try:
            self._commit(list(noted.values()))
        except ConnectError as exc:  # the offsets are safe; the source hears of later ones
            _LOG.warning("the connector could not take note of committed offsets: %s", exc)

    def _copy(self) -> None:
        """To the worker's own topic, by the worker. Should it not come to that, a later one will do."""
        if self._to_copy:
            self._channel.send("offsets", offsets=list(self._to_copy.values()))
            self._to_copy.clear()

    def _flush_is_due(self) -> bool:
        now = time.monotonic()
        if now < self._next_flush_s:
            return False
        self._next_flush_s = now + self._settings.flush_interval_s
        return True


class AtLeastOnce(_Offsets):
    """`offsets_producer` is another one only where the offsets go to another Kafka cluster."""

    def __init__(
        self,
        settings: DeliverySettings,
        channel: TaskChannel,
        producer: RecordProducer,
        offsets_producer: RecordProducer | None = None,
    ) -> None:
        super().__init__(settings, channel)
        self._producer = producer
        self._offsets_producer = offsets_producer or producer

    def deliver(self, records: Sequence[SourceRecord], send: Send) -> None:
        if records:
            send(records)

    def tick(self) -> None:
        self._producer.check()
        if self._flush_is_due():
            self._channel.progress.enter("commit")
            began = time.monotonic()
            done = self._flush(self._settings.flush_timeout_s)
            self._told(began, done)
            if not done:
                _LOG.warning("records were not acknowledged in time; their offsets are committed later")

    def next_due_s(self) -> float:
        return self._next_flush_s

    def pause(self) -> bool:
        return True

    def stop(self) -> None:
        if not self._flush(self._settings.stop_timeout_s):
            _LOG.warning("the last records were not acknowledged in time; they will be sent again")

    def fail(self) -> None:
        """What was acknowledged before need not come twice."""
        try:
            self._flush(self._settings.flush_timeout_s)
        except ConnectError as exc:
            _LOG.warning("offsets could not be committed after a failure: %s", exc)

    def _flush(self, seconds: float) -> bool:
        """Make the offsets of all that was produced durable; False if the acknowledgements take too long."""
        if self._noted:
            self._channel.check_lease()
            deadline = time.monotonic() + seconds
            if not self._producer.flush(seconds):
                return False
            self._channel.check_lease()  # the acknowledgements may have taken long
            self._produce_noted(self._offsets_producer)
            if not self._offsets_producer.flush(max(0.1, deadline - time.monotonic())):
                return False
            self._noted_are_durable()
            self._copy()
        return True


class ExactlyOnce(_Offsets):
    """`initialized` producer: the transactions of every process that had this task before are over."""

    def __init__(
        self, settings: DeliverySettings, channel: TaskChannel, producer: Transactions, boundaries: Boundaries
    ) -> None:
        super().__init__(settings, channel)
        self._producer = producer
        self._boundaries = boundaries
        self._give_up_at_s: float | None = None
        self._in_transaction = 0

    def deliver(self, records: Sequence[SourceRecord], send: Send) -> None:
        sent = 0
        for end, ending in self._boundaries.cuts(records):
            self._send(records[sent:end], send)
            sent = end
            if ending is Ending.ABORT:
                _LOG.info("transaction aborted as the connector asked")
                self._producer.abort(self._gives_up)
                self._in_transaction = 0
            self._commit_transaction()
        self._send(records[sent:], send)

    def _send(self, records: Sequence[SourceRecord], send: Send) -> None:
        if records:
            self._producer.begin()
            self._channel.progress.enter("produce")
            send(records)
            self._in_transaction += len(records)

    def tick(self) -> None:
        self._producer.check()
        due_s = self._boundaries.due_s()
        if due_s is not None and time.monotonic() >= due_s:
            self._commit_transaction()
        if self._flush_is_due():
            # Offsets without records; those of an open transaction wait for its end.
            if not self._producer.open:
                self._commit_transaction()
            self._copy()

    def next_due_s(self) -> float:
        due_s = self._boundaries.due_s()
        return self._next_flush_s if due_s is None else min(due_s, self._next_flush_s)

    def pause(self) -> bool:
        if self._producer.open and not self._boundaries.ends_anywhere:
            # It would be too old when the task goes on.
            self._abandon()
            return False
        self._commit_transaction()
        return True

    def stop(self) -> None:
        if self._producer.open and not self._boundaries.ends_anywhere:
            self._abandon()
        else:
            self._commit_transaction()
        self._copy()

    def _abandon(self) -> None:
        """End the transaction where the connector did not; what was in it comes again."""
        self._producer.abort(self._gives_up)
        self._noted.clear()

    def fail(self) -> None:
        deadline = time.monotonic() + self._settings.flush_timeout_s
        try:
            self._producer.abort(lambda: time.monotonic() >= deadline)
        except ConnectError as exc:  # the next producer of this id ends it
            _LOG.warning("the transaction could not be aborted after a failure: %s", exc)

    def _commit_transaction(self) -> None:
        """The open transaction, if any, with all offsets noted."""
        if self._producer.open or self._noted:
            self._channel.check_lease()
            self._channel.progress.rest("waiting for Kafka")
            began, done = time.monotonic(), False
            try:
                self._producer.begin()
                self._produce_noted(self._producer)
                self._producer.commit(self._gives_up)
                done = True
            finally:
                self._told(began, done, self._in_transaction)
                self._in_transaction = 0
            self._noted_are_durable()
        self._boundaries.ended()

    def _gives_up(self) -> bool:
        """A task that should stop waits only so long for Kafka."""
        if not self._channel.stopping:
            return False
        if self._give_up_at_s is None:
            self._give_up_at_s = time.monotonic() + self._settings.stop_timeout_s
        return time.monotonic() >= self._give_up_at_s


def _nothing(began: float, done: bool, records: int = 0) -> None:
    return None


def _nobody(offsets: Sequence[Pair]) -> None:
    raise AssertionError("start first")
