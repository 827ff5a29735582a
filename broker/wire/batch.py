"""The header of a record batch (format version 2), read and patched in place; records are never looked at.

Layout, big-endian, https://kafka.apache.org/documentation/#recordbatch:

    0 base_offset i64   8 batch_length i32 (bytes after this field)   12 partition_leader_epoch i32
    16 magic i8         17 crc u32 (CRC-32C of all from 21 on)        21 attributes i16
    23 last_offset_delta i32   27 base_timestamp i64   35 max_timestamp i64   43 producer_id i64
    51 producer_epoch i16      53 base_sequence i32    57 records_count i32   61 records
"""

import struct
from dataclasses import dataclass

from crc32c import crc32c

BATCH_OVERHEAD = 12
"""Bytes up to and with `batch_length`, which does not count them."""

HEADER_BYTES = 61
CRC_POSITION = 17
CRC_START = 21
MAGIC = 2
RECORD_BYTES_MIN = 7
"""An uncompressed record with nothing in it: length, attributes, four varints of zero, header count."""

CODEC_MASK = 0x07
LOG_APPEND_TIME_FLAG = 0x08
TRANSACTIONAL_FLAG = 0x10
CONTROL_FLAG = 0x20
DELETE_HORIZON_FLAG = 0x40
"""The base timestamp is the time at which the batch's tombstones may go (KIP-534)."""

NO_PRODUCER_ID = -1
NO_TIMESTAMP = -1

HEADER_LAYOUT = struct.Struct(">qiibIhiqqqhii")
_BASE_OFFSET = struct.Struct(">q")
_INT32 = struct.Struct(">i")
_UINT32 = struct.Struct(">I")
_ATTRIBUTES = struct.Struct(">h")
_MAX_TIMESTAMP = struct.Struct(">q")


class InvalidBatch(Exception):
    """The bytes are no intact record batch. The message says what is wrong."""


@dataclass(slots=True, init=False, eq=False)
class BatchHeader:
    """The header at a position. `batch_bytes` is the size of the whole batch, this header included.

    Nothing is checked but that 61 bytes are there (InvalidBatch).
    """

    base_offset: int
    batch_bytes: int
    partition_leader_epoch: int
    magic: int
    crc: int
    attributes: int
    last_offset_delta: int
    base_timestamp: int
    max_timestamp: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    records_count: int

    def __init__(self, data: memoryview | bytes | bytearray, position: int = 0) -> None:
        if len(data) - position < HEADER_BYTES:
            raise InvalidBatch(f"{len(data) - position} bytes are too few for a record batch")
        (
            self.base_offset,
            length,
            self.partition_leader_epoch,
            self.magic,
            self.crc,
            self.attributes,
            self.last_offset_delta,
            self.base_timestamp,
            self.max_timestamp,
            self.producer_id,
            self.producer_epoch,
            self.base_sequence,
            self.records_count,
        ) = HEADER_LAYOUT.unpack_from(data, position)
        self.batch_bytes = length + BATCH_OVERHEAD

    @property
    def last_offset(self) -> int:
        return self.base_offset + self.last_offset_delta

    @property
    def compression(self) -> int:
        """0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd."""
        return self.attributes & CODEC_MASK

    @property
    def is_transactional(self) -> bool:
        return bool(self.attributes & TRANSACTIONAL_FLAG)

    @property
    def is_control(self) -> bool:
        return bool(self.attributes & CONTROL_FLAG)

    @property
    def is_log_append_time(self) -> bool:
        return bool(self.attributes & LOG_APPEND_TIME_FLAG)

    @property
    def delete_horizon_ms(self) -> int | None:
        """When the tombstones in it may go; None before compaction has seen them."""
        return self.base_timestamp if self.attributes & DELETE_HORIZON_FLAG else None

    def pack(self, records: bytes | memoryview) -> bytes:
        """The batch with this header and these records. Its size and CRC are worked out anew."""
        self.batch_bytes = HEADER_BYTES + len(records)
        fields = (
            self.attributes,
            self.last_offset_delta,
            self.base_timestamp,
            self.max_timestamp,
            self.producer_id,
            self.producer_epoch,
            self.base_sequence,
            self.records_count,
        )
        packed = HEADER_LAYOUT.pack(
            self.base_offset,
            self.batch_bytes - BATCH_OVERHEAD,
            self.partition_leader_epoch,
            self.magic,
            0,
            *fields,
        )
        self.crc = crc32c(records, crc32c(packed[CRC_START:]))
        return b"".join((packed[:CRC_POSITION], _UINT32.pack(self.crc), packed[CRC_START:], records))


def check_crc(batch: memoryview, header: BatchHeader) -> None:
    """Raise InvalidBatch unless `batch` is exactly the whole batch of `header`, undamaged."""
    if header.magic != MAGIC:
        raise InvalidBatch(f"magic {header.magic} instead of {MAGIC}")
    if header.batch_bytes != len(batch):
        raise InvalidBatch(f"the batch says {header.batch_bytes} bytes, {len(batch)} are there")
    crc = crc32c(batch[21:])
    if crc != header.crc:
        raise InvalidBatch(f"stored crc {header.crc:#010x}, computed {crc:#010x}")


def assign_offset(batch: memoryview, base_offset: int, leader_epoch: int) -> None:
    """Write where the batch goes; the CRC does not cover these fields."""
    _BASE_OFFSET.pack_into(batch, 0, base_offset)
    _INT32.pack_into(batch, 12, leader_epoch)


def stamp_append_time(batch: memoryview, header: BatchHeader, now_ms: int) -> None:
    """Make `now_ms` the timestamp of all records (`message.timestamp.type=LogAppendTime`)."""
    header.attributes |= LOG_APPEND_TIME_FLAG
    header.max_timestamp = now_ms
    _ATTRIBUTES.pack_into(batch, 21, header.attributes)
    _MAX_TIMESTAMP.pack_into(batch, 35, now_ms)
    _UINT32.pack_into(batch, 17, crc32c(batch[21:]))
