"""Which batches a producer may append, with the errors of Kafka 4.3.

Only the header is looked at. That its record count is the number of records inside is believed: to
find out would mean to decompress and walk every record, which is done where it has to be (reencoding.py).
"""

from broker.log.config import LogConfig, TimestampType
from broker.wire.batch import (
    BATCH_OVERHEAD,
    HEADER_BYTES,
    MAGIC,
    NO_PRODUCER_ID,
    NO_TIMESTAMP,
    RECORD_BYTES_MIN,
    BatchHeader,
    InvalidBatch,
    check_crc,
)
from broker.wire.errors import ErrorCode, KafkaError

MAGIC_POSITION = 16


def validate_batch(records: memoryview, config: LogConfig, now_ms: int) -> BatchHeader:
    """The header of the one batch in `records`. Raises KafkaError."""
    if len(records) > MAGIC_POSITION and records[MAGIC_POSITION] != MAGIC:
        raise KafkaError(
            ErrorCode.corrupt_message, f"magic {records[MAGIC_POSITION]} is not supported, only {MAGIC} is"
        )
    try:
        header = BatchHeader(records)
    except InvalidBatch as exc:
        raise KafkaError(ErrorCode.invalid_record, f"one record batch expected: {exc}") from exc
    if header.batch_bytes != len(records):
        if HEADER_BYTES <= header.batch_bytes < len(records):
            raise _invalid("more than one record batch for a partition")
        if header.batch_bytes < HEADER_BYTES:
            raise KafkaError(
                ErrorCode.corrupt_message, f"batch length {header.batch_bytes - BATCH_OVERHEAD} is too small"
            )
        raise _invalid(f"the batch is cut: {len(records)} of {header.batch_bytes} bytes")
    if header.base_offset != 0:
        raise _invalid(f"the base offset of a batch to append is 0, not {header.base_offset}")
    if len(records) > config.max_message_bytes:
        raise KafkaError(
            ErrorCode.message_too_large,
            f"the batch has {len(records)} bytes, max.message.bytes={config.max_message_bytes}",
        )
    try:
        check_crc(records, header)
    except InvalidBatch as exc:
        raise KafkaError(ErrorCode.corrupt_message, str(exc)) from exc
    _check_records(header)
    if config.timestamp_type is TimestampType.CREATE_TIME:
        _check_timestamps(header, config, now_ms)
    return header


def _check_records(header: BatchHeader) -> None:
    count = header.records_count
    if count <= 0 or count != header.last_offset_delta + 1:
        raise _invalid(f"{count} records with a last offset delta of {header.last_offset_delta}")
    compression = header.compression
    if compression == 0 and count * RECORD_BYTES_MIN > header.batch_bytes - HEADER_BYTES:
        raise _invalid(f"{count} records cannot be in {header.batch_bytes} bytes")
    if compression > 4:
        raise _invalid(f"unknown compression codec {compression}")
    if header.is_control:
        raise _invalid("clients cannot write control batches")
    if header.producer_id == NO_PRODUCER_ID:
        if header.is_transactional:
            raise _invalid("a transactional batch has to have a producer id")
    elif header.producer_epoch < 0 or header.base_sequence < 0:
        raise _invalid(
            f"producer {header.producer_id} with epoch {header.producer_epoch}, "
            f"sequence {header.base_sequence}"
        )


def _check_timestamps(header: BatchHeader, config: LogConfig, now_ms: int) -> None:
    """The batch's largest timestamp stands for all of its records; the first one for the oldest."""
    newest, first = header.max_timestamp, header.base_timestamp
    too_new = newest != NO_TIMESTAMP and newest - now_ms > config.timestamp_after_max_ms
    too_old = first != NO_TIMESTAMP and now_ms - first > config.timestamp_before_max_ms
    if too_new or too_old:
        raise KafkaError(
            ErrorCode.invalid_timestamp,
            f"timestamp {newest if too_new else first} is out of range: the broker's clock says {now_ms}",
        )


def _invalid(message: str) -> KafkaError:
    return KafkaError(ErrorCode.invalid_record, message)
