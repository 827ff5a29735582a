"""Record batches as a client makes them, by aiokafka's builder, and requests as bytes, by kio's writer."""

import io
import struct
from typing import Any

from aiokafka.record.default_records import DefaultRecordBatchBuilder
from crc32c import crc32c
from kio.index import load_request_schema, load_response_schema
from kio.serial import entity_reader, entity_writer


def make_batch(
    values: list[bytes] | list[bytes | None] | int = 1,
    *,
    timestamps: list[int] | None = None,
    compression: int = 0,
    producer_id: int = -1,
    producer_epoch: int = -1,
    sequence: int = -1,
    transactional: bool = False,
    keys: list[bytes | None] | None = None,
) -> bytearray:
    """A batch with these values, or with a number of small ones. Timestamps default to 1000, 1001, …"""
    if isinstance(values, int):
        values = [b"value-%d" % number for number in range(values)]
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=compression,
        is_transactional=transactional,
        producer_id=producer_id,
        producer_epoch=producer_epoch,
        base_sequence=sequence,
        batch_size=1 << 30,
    )
    for number, value in enumerate(values):
        timestamp = timestamps[number] if timestamps else 1000 + number
        assert builder.append(number, timestamp, keys[number] if keys else None, value, []) is not None
    return bytearray(builder.build())


def patch(batch: bytearray, form: str, position: int, value: int, *, fix_crc: bool = True) -> bytearray:
    """The batch with one header field changed."""
    changed = bytearray(batch)
    struct.pack_into(form, changed, position, value)
    if fix_crc:
        struct.pack_into(">I", changed, 17, crc32c(bytes(changed[21:])))
    return changed


def encode_request(api_key: int, version: int, **fields: Any) -> bytes:
    """The body of a request."""
    schema = load_request_schema(api_key, version)
    buffer = io.BytesIO()
    entity_writer(schema)(buffer, schema(**fields))
    return buffer.getvalue()


def request_classes(api_key: int, version: int) -> Any:
    """The module with kio's classes of that version's request."""
    import importlib

    return importlib.import_module(load_request_schema(api_key, version).__module__)


def decode_response(api_key: int, version: int, body: bytes) -> Any:
    """A response body by kio's native decoder; all of it has to be read."""
    response, end = entity_reader(load_response_schema(api_key, version))(body, 0)
    assert end == len(body), f"{len(body) - end} bytes left over"
    return response
