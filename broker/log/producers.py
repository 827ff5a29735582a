"""What a partition remembers of its idempotent producers (KIP-98): the last batches of each, by sequence.

The state is rebuilt from the log at a restart; a snapshot at each roll and at shutdown saves reading
the whole log for it. A snapshot is only a shortcut: a missing or damaged one costs time, nothing else.
"""

import struct
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from crc32c import crc32c

from broker.wire.batch import BatchHeader
from broker.wire.errors import ErrorCode, KafkaError

BATCHES_KEPT = 5
"""As many as a producer may have in flight (max.in.flight.requests.per.connection with idempotence)."""

SEQUENCE_MODULUS = 2**31
NO_PRODUCER_EPOCH = -1

_SNAPSHOT_VERSION = 1
_SNAPSHOT_HEAD = struct.Struct(">hIi")
_PRODUCER = struct.Struct(">qhqB")
_BATCH = struct.Struct(">iiqq")


@dataclass(frozen=True, slots=True)
class SequencedBatch:
    """A batch that is in the log: its first and last sequence, its base offset, its append time."""

    first_sequence: int
    last_sequence: int
    base_offset: int
    timestamp: int


@dataclass(slots=True)
class Producer:
    """`seen_ms` is when it last wrote, for its expiry."""

    producer_epoch: int
    seen_ms: int
    batches: deque[SequencedBatch] = field(default_factory=lambda: deque(maxlen=BATCHES_KEPT))


class ProducerStates:
    """All producers of one partition, by producer id."""

    def __init__(self) -> None:
        self._producers: dict[int, Producer] = {}

    def __len__(self) -> int:
        return len(self._producers)

    def get(self, producer_id: int) -> Producer | None:
        return self._producers.get(producer_id)

    def check(self, header: BatchHeader) -> SequencedBatch | None:
        """The batch in the log that this one repeats, or None when it is the next one to append.

        Raises KafkaError: INVALID_PRODUCER_EPOCH for a zombie, OUT_OF_ORDER_SEQUENCE_NUMBER for a gap.
        A producer that is not known may start anywhere: its state may have expired (KIP-360).
        """
        producer = self._producers.get(header.producer_id)
        if producer is None:
            return None
        if header.producer_epoch < producer.producer_epoch:
            raise KafkaError(
                ErrorCode.invalid_producer_epoch,
                f"producer {header.producer_id}: epoch {header.producer_epoch} < {producer.producer_epoch}",
            )
        first = header.base_sequence
        if header.producer_epoch > producer.producer_epoch:
            if first != 0:
                raise _out_of_order(header, expected=0)
            return None
        last = _last_sequence(header)
        for batch in producer.batches:
            if batch.first_sequence == first and batch.last_sequence == last:
                return batch
        if producer.batches:
            expected = (producer.batches[-1].last_sequence + 1) % SEQUENCE_MODULUS
            if first != expected:
                raise _out_of_order(header, expected)
        return None

    def add(self, header: BatchHeader, now_ms: int) -> None:
        """Take note of a batch that is in the log."""
        producer = self._producers.get(header.producer_id)
        if producer is None or producer.producer_epoch != header.producer_epoch:
            producer = self._producers[header.producer_id] = Producer(header.producer_epoch, now_ms)
        producer.seen_ms = now_ms
        producer.batches.append(
            SequencedBatch(
                header.base_sequence, _last_sequence(header), header.base_offset, header.max_timestamp
            )
        )

    def expire(self, before_ms: int) -> None:
        """Forget producers that have not written since `before_ms`."""
        for producer_id in [key for key, p in self._producers.items() if p.seen_ms < before_ms]:
            del self._producers[producer_id]

    def clear(self) -> None:
        self._producers.clear()

    # --- snapshots ---

    def write_snapshot(self, path: Path) -> None:
        """Write the state; the file appears whole or not at all."""
        body = bytearray()
        for producer_id, producer in self._producers.items():
            body += _PRODUCER.pack(
                producer_id, producer.producer_epoch, producer.seen_ms, len(producer.batches)
            )
            for batch in producer.batches:
                body += _BATCH.pack(
                    batch.first_sequence, batch.last_sequence, batch.base_offset, batch.timestamp
                )
        head = _SNAPSHOT_HEAD.pack(_SNAPSHOT_VERSION, crc32c(bytes(body)), len(self._producers))
        partial = path.with_suffix(".snapshot.tmp")
        partial.write_bytes(head + body)
        partial.replace(path)

    def read_snapshot(self, path: Path) -> bool:
        """Replace the state by the file's; False, and the state empty, when the file is no good."""
        self._producers.clear()
        try:
            data = path.read_bytes()
            version, crc, count = _SNAPSHOT_HEAD.unpack_from(data)
            if version != _SNAPSHOT_VERSION or crc != crc32c(data[_SNAPSHOT_HEAD.size :]):
                return False
        except (OSError, struct.error):
            return False
        position = _SNAPSHOT_HEAD.size
        for _ in range(count):
            producer_id, producer_epoch, seen_ms, batches = _PRODUCER.unpack_from(data, position)
            position += _PRODUCER.size
            producer = self._producers[producer_id] = Producer(producer_epoch, seen_ms)
            for _ in range(batches):
                producer.batches.append(SequencedBatch(*_BATCH.unpack_from(data, position)))
                position += _BATCH.size
        return True


def _last_sequence(header: BatchHeader) -> int:
    return (header.base_sequence + header.last_offset_delta) % SEQUENCE_MODULUS


def _out_of_order(header: BatchHeader, expected: int) -> KafkaError:
    return KafkaError(
        ErrorCode.out_of_order_sequence_number,
        f"producer {header.producer_id}, epoch {header.producer_epoch}: sequence {header.base_sequence} "
        f"instead of {expected}",
    )
