"""What a partition remembers of its producers: the last batches of each by sequence (KIP-98), and which
of them have a transaction open here.

The state is rebuilt from the log at a restart; a snapshot at each roll and at shutdown saves reading
the whole log for it (producer_snapshot.py).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from broker.log.transactions import AbortedTransaction
from broker.wire.batch import NO_TIMESTAMP, TRANSACTIONAL_FLAG, BatchHeader
from broker.wire.errors import ErrorCode, KafkaError
from broker.wire.markers import NO_COORDINATOR_EPOCH, NO_SEQUENCE, TransactionMarker

BATCHES_KEPT = 5
"""As many as a producer may have in flight (max.in.flight.requests.per.connection with idempotence)."""

SEQUENCE_MODULUS = 2**31

EPOCH_BUMPS_SINCE = 2
"""The transaction version from which on a marker has a larger epoch than the records (KIP-890)."""


class SequencedBatch(NamedTuple):
    """A batch that is in the log: its first and last sequence, where it is, its largest timestamp.

    A tuple, as it is made for each batch: a frozen dataclass takes a microsecond.
    """

    first_sequence: int
    last_sequence: int
    base_offset: int
    last_offset: int
    timestamp: int


@dataclass(slots=True)
class Producer:
    """`seen_ms` is when it last wrote by the broker's clock, for its expiry; `last_timestamp` is what it
    wrote itself. Without batches it has only ended a transaction in its epoch."""

    producer_epoch: int
    seen_ms: int
    last_timestamp: int = NO_TIMESTAMP
    coordinator_epoch: int = NO_COORDINATOR_EPOCH
    batches: list[SequencedBatch] = field(default_factory=list)
    """The last BATCHES_KEPT of its epoch. No deque, which takes 700 bytes for each of many producers."""

    @property
    def last_sequence(self) -> int:
        return self.batches[-1].last_sequence if self.batches else NO_SEQUENCE

    def begin_epoch(self, producer_epoch: int) -> None:
        self.producer_epoch = producer_epoch
        self.batches.clear()


class ProducerStates:
    """All producers of one partition, by producer id."""

    def __init__(self) -> None:
        self._producers: dict[int, Producer] = {}
        self._open: dict[int, int] = {}
        """The first offset of each open transaction, ascending, by producer id."""

    def __len__(self) -> int:
        return len(self._producers)

    def __iter__(self) -> Iterator[tuple[int, Producer]]:
        """Id and state of each."""
        return iter(self._producers.items())

    def get(self, producer_id: int) -> Producer | None:
        return self._producers.get(producer_id)

    # --- batches ---

    def check(self, header: BatchHeader, *, must_begin: bool = False) -> SequencedBatch | None:
        """The batch in the log that this one repeats, or None when it is the next one to append.

        Raises KafkaError: INVALID_PRODUCER_EPOCH for a zombie, OUT_OF_ORDER_SEQUENCE_NUMBER for a gap,
        INVALID_TXN_STATE for a batch outside of the producer's open transaction.
        A producer that is not known may start anywhere, as its state may have expired (KIP-360), unless
        it `must_begin` with 0: with transactions of version 2 nothing is ever retried after that long.
        """
        producer = self._producers.get(header.producer_id)
        first = header.base_sequence
        if producer is None:
            if must_begin and first != 0:
                raise _out_of_order(header, expected=0)
            return None
        if header.producer_epoch == producer.producer_epoch:
            last = _last_sequence(header)
            for batch in producer.batches:
                if batch.first_sequence == first and batch.last_sequence == last:
                    return batch
            expected = (producer.last_sequence + 1) % SEQUENCE_MODULUS
        elif header.producer_epoch > producer.producer_epoch:
            expected = 0
        else:
            raise _old_epoch(header.producer_id, header.producer_epoch, producer)
        if first != expected:
            raise _out_of_order(header, expected)
        if header.producer_id in self._open and not header.is_transactional:
            raise KafkaError(
                ErrorCode.invalid_txn_state, f"producer {header.producer_id} has a transaction open here"
            )
        return None

    def add(self, header: BatchHeader, seen_ms: int) -> None:
        """Take note of a batch that is in the log."""
        producer = self._producers.get(header.producer_id)
        if producer is None:
            producer = self._producers[header.producer_id] = Producer(header.producer_epoch, seen_ms)
        elif producer.producer_epoch != header.producer_epoch:
            producer.begin_epoch(header.producer_epoch)
        producer.seen_ms = seen_ms
        producer.last_timestamp = header.max_timestamp
        batches = producer.batches
        if len(batches) == BATCHES_KEPT:
            del batches[0]
        batches.append(
            SequencedBatch(
                header.base_sequence,
                _last_sequence(header),
                header.base_offset,
                header.last_offset,
                header.max_timestamp,
            )
        )
        if header.attributes & TRANSACTIONAL_FLAG:
            self._open.setdefault(header.producer_id, header.base_offset)

    # --- transactions ---

    @property
    def first_open_offset(self) -> int | None:
        """Where the oldest open transaction begins."""
        return next(iter(self._open.values()), None)

    def open_transaction(self, producer_id: int) -> int | None:
        """Where the producer's open transaction begins."""
        return self._open.get(producer_id)

    def check_marker(self, marker: TransactionMarker) -> None:
        """Raise KafkaError: INVALID_PRODUCER_EPOCH for a late marker, TRANSACTION_COORDINATOR_FENCED.

        A marker of version 2 with the producer's own epoch is late, unless no transaction is open: then it
        is the last one once more, from a coordinator that does not know whether it was written.
        """
        producer = self._producers.get(marker.producer_id)
        if producer is None:
            return
        known = producer.producer_epoch
        is_late = marker.producer_epoch < known or (
            marker.producer_epoch == known
            and marker.transaction_version >= EPOCH_BUMPS_SINCE
            and marker.producer_id in self._open
        )
        if is_late:
            raise _old_epoch(marker.producer_id, marker.producer_epoch, producer)
        if marker.coordinator_epoch < producer.coordinator_epoch:
            raise KafkaError(
                ErrorCode.transaction_coordinator_fenced,
                f"producer {marker.producer_id}: coordinator epoch {marker.coordinator_epoch} "
                f"< {producer.coordinator_epoch}",
            )

    def add_marker(
        self, marker: TransactionMarker, header: BatchHeader, seen_ms: int
    ) -> AbortedTransaction | None:
        """Take note of a marker that is in the log; the transaction that it aborts, if there is one."""
        producer = self._producers.get(marker.producer_id)
        if producer is None:
            producer = self._producers[marker.producer_id] = Producer(marker.producer_epoch, seen_ms)
        elif producer.producer_epoch != marker.producer_epoch:
            producer.begin_epoch(marker.producer_epoch)
        producer.seen_ms = seen_ms
        producer.last_timestamp = header.max_timestamp
        producer.coordinator_epoch = marker.coordinator_epoch
        first_offset = self._open.pop(marker.producer_id, None)
        if first_offset is None or marker.is_commit:
            return None
        marker_offset = header.base_offset
        still_open = self.first_open_offset
        stable = marker_offset + 1 if still_open is None else still_open
        return AbortedTransaction(marker.producer_id, first_offset, marker_offset, stable)

    # --- keeping and forgetting ---

    def restore(self, producer_id: int, producer: Producer, transaction_start: int | None) -> None:
        """Take over a producer from a snapshot. Producers with open transactions come oldest first."""
        self._producers[producer_id] = producer
        if transaction_start is not None:
            self._open[producer_id] = transaction_start

    def expire(self, before_ms: int) -> None:
        """Forget producers that have not written since `before_ms`, unless their transaction is open."""
        expired = [
            key for key, p in self._producers.items() if p.seen_ms <= before_ms and key not in self._open
        ]
        for producer_id in expired:
            del self._producers[producer_id]

    def clear(self) -> None:
        self._producers.clear()
        self._open.clear()


def _last_sequence(header: BatchHeader) -> int:
    return (header.base_sequence + header.last_offset_delta) % SEQUENCE_MODULUS


def _old_epoch(producer_id: int, producer_epoch: int, producer: Producer) -> KafkaError:
    return KafkaError(
        ErrorCode.invalid_producer_epoch,
        f"producer {producer_id}: epoch {producer_epoch} is too old, it is at {producer.producer_epoch}",
    )


def _out_of_order(header: BatchHeader, expected: int) -> KafkaError:
    return KafkaError(
        ErrorCode.out_of_order_sequence_number,
        f"producer {header.producer_id}, epoch {header.producer_epoch}: sequence {header.base_sequence} "
        f"instead of {expected}",
    )
