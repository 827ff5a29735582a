"""Control batches that end a transaction in a partition (KIP-98): one record that says commit or abort.

Key: version i16 (0), type i16 (0 abort, 1 commit). Value: version i16 (0), coordinator epoch i32.
"""

import struct
from dataclasses import dataclass

from crc32c import crc32c

from broker.wire.batch import (
    BATCH_OVERHEAD,
    CONTROL_FLAG,
    HEADER_BYTES,
    HEADER_LAYOUT,
    MAGIC,
    TRANSACTIONAL_FLAG,
    BatchHeader,
    InvalidBatch,
)

ABORT, COMMIT = 0, 1

NO_SEQUENCE = -1
NO_COORDINATOR_EPOCH = -1

_RECORD = struct.Struct(">bbbbbhhbhib")
"""Length, attributes, timestamp delta, offset delta, key length, the key, value length, the value, no
headers. The lengths and deltas are varints of one byte, which hold twice the number."""

_KEY_BYTES = 4
_VALUE_BYTES = 6


@dataclass(frozen=True, slots=True)
class TransactionMarker:
    """The end of a producer's transaction in one partition.

    With transactions of version 2 (KIP-890) `producer_epoch` is one more than that of the records.
    `transaction_version` is not in the log: it says how strictly the epoch is checked.
    """

    producer_id: int
    producer_epoch: int
    coordinator_epoch: int
    is_commit: bool
    transaction_version: int = 0


def marker_batch(marker: TransactionMarker, timestamp: int) -> bytearray:
    """The control batch, ready to be appended but for its offset."""
    batch = bytearray(HEADER_BYTES + _RECORD.size)
    _RECORD.pack_into(
        batch,
        HEADER_BYTES,
        2 * (_RECORD.size - 1),
        0,
        0,
        0,
        2 * _KEY_BYTES,
        0,
        COMMIT if marker.is_commit else ABORT,
        2 * _VALUE_BYTES,
        0,
        marker.coordinator_epoch,
        0,
    )
    fields = [0, len(batch) - BATCH_OVERHEAD, 0, MAGIC, 0, TRANSACTIONAL_FLAG | CONTROL_FLAG, 0]
    fields += [timestamp, timestamp, marker.producer_id, marker.producer_epoch, NO_SEQUENCE, 1]
    HEADER_LAYOUT.pack_into(batch, 0, *fields)
    struct.pack_into(">I", batch, 17, crc32c(memoryview(batch)[21:]))
    return batch


def read_marker(batch: memoryview, header: BatchHeader) -> TransactionMarker | None:
    """What a control batch says, None when it is no transaction's end. Raises InvalidBatch.

    One that compaction has emptied ended a transaction of which nothing is left.
    """
    if not header.records_count:
        return TransactionMarker(header.producer_id, header.producer_epoch, NO_COORDINATOR_EPOCH, True)
    try:
        length, _, _, _, key_length, _, kind, value_length, _, coordinator_epoch, _ = _RECORD.unpack_from(
            batch, HEADER_BYTES
        )
    except struct.error as exc:
        raise InvalidBatch(f"control batch of {len(batch)} bytes") from exc
    if kind not in (ABORT, COMMIT):
        return None
    if (length, key_length, value_length) != (2 * (_RECORD.size - 1), 2 * _KEY_BYTES, 2 * _VALUE_BYTES):
        raise InvalidBatch(f"no transaction marker in the control batch at offset {header.base_offset}")
    return TransactionMarker(header.producer_id, header.producer_epoch, coordinator_epoch, kind == COMMIT)
