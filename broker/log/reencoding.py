"""What a topic's configs make of a batch before it is stored, where that needs its records: on a compacted
topic each has to have a key, and `compression.type` may ask for another codec. All other batches are stored
as they came.
"""

from broker.log.config import PRODUCER, LogConfig
from broker.wire.batch import CODEC_MASK, HEADER_BYTES, BatchHeader, InvalidBatch
from broker.wire.compression import CODECS, compress, decompress
from broker.wire.errors import ErrorCode, KafkaError
from broker.wire.raw_records import raw_records


def stored_form(batch: memoryview, header: BatchHeader, config: LogConfig) -> memoryview:
    """The batch as it is to be stored; `header` becomes that of the result. Raises KafkaError.

    Offsets, timestamps, headers and the producer's fields stay as they are, as the records' bytes do.
    """
    codec = header.compression if config.compression_type == PRODUCER else CODECS[config.compression_type]
    if codec == header.compression and not config.compact:
        return batch
    try:
        records = decompress(batch[HEADER_BYTES:], header.compression)
        _check_records(records, header, needs_keys=config.compact)
    except InvalidBatch as exc:
        raise KafkaError(ErrorCode.invalid_record, str(exc)) from exc
    if codec == header.compression:
        return batch
    header.attributes = header.attributes & ~CODEC_MASK | codec
    encoded = header.pack(compress(records, codec, config.compression_level))
    if len(encoded) > config.max_message_bytes:
        raise KafkaError(
            ErrorCode.message_too_large,
            f"with compression.type={config.compression_type} the batch has {len(encoded)} bytes, "
            f"max.message.bytes={config.max_message_bytes}",
        )
    return memoryview(bytearray(encoded))


def _check_records(records: memoryview, header: BatchHeader, *, needs_keys: bool) -> None:
    found = raw_records(bytes(records), 0, header.records_count)
    for number, (_, _, _, _, offset_delta, key, _) in enumerate(found):
        if offset_delta != number:
            raise InvalidBatch(f"record {number} has the offset delta {offset_delta}")
        if needs_keys and key is None:
            raise InvalidBatch(f"record {number} has no key, which a compacted topic needs")
