"""Whatever bytes come, decoders raise their one documented error and nothing else."""

from contextlib import suppress
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st
from kio.schema.index import api_key_map, schema_name_map
from kio.static.constants import EntityType
from support.batches import make_batch

from broker.log.config import LogConfig
from broker.log.validation import validate_batch
from broker.wire.codec import Codec, KioCodec
from broker.wire.errors import KafkaError, ProtocolViolation
from broker.wire.fetch import FetchCodec
from broker.wire.frames import FrameBuffers, FrameReader, RequestHeader, skip_tags
from broker.wire.produce import ProduceCodec

CODECS: list[tuple[Codec, range]] = [(ProduceCodec(), range(3, 14)), (FetchCodec(), range(4, 19))]


@given(st.sampled_from(CODECS), st.data())
def test_produce_and_fetch_decoders(served: tuple[Codec, range], data: st.DataObject) -> None:
    codec, versions = served
    version = data.draw(st.sampled_from(versions))
    frame = data.draw(st.binary(max_size=200))
    with suppress(ProtocolViolation):
        codec.decode(version, memoryview(frame), 0)


@dataclass(frozen=True, slots=True)
class Nothing:
    """A domain class that wants no field: everything is read and dropped."""


@given(st.sampled_from(sorted(api_key_map)), st.data())
def test_the_decoder_of_every_api_that_kio_knows(api_key: int, data: st.DataObject) -> None:
    versions = [
        v for v in range(20) if EntityType.request in schema_name_map[api_key_map[api_key]].get(v, {})
    ]
    version = data.draw(st.sampled_from(versions))
    frame = data.draw(st.binary(max_size=100))
    with suppress(ProtocolViolation):
        assert KioCodec(api_key, Nothing).decode(version, memoryview(frame), 0) == Nothing()


@given(st.binary(max_size=100))
def test_headers(frame: bytes) -> None:
    with suppress(ProtocolViolation):
        header = RequestHeader(memoryview(frame))
        assert skip_tags(memoryview(frame), header.position) <= len(frame)


@given(st.lists(st.binary(min_size=1, max_size=60), max_size=20))
def test_frame_readers(pieces: list[bytes]) -> None:
    reader = FrameReader(memoryview(bytearray(64)), FrameBuffers(), 500)
    with suppress(ProtocolViolation):
        for piece in pieces:
            _receive(reader, piece)


def _receive(reader: FrameReader, piece: bytes) -> None:
    while piece:
        target = reader.target()
        count = min(len(target), len(piece))
        target[:count] = piece[:count]
        piece = piece[count:]
        reader.received(count)
        while reader.next_frame() is not None:
            pass


@given(st.data())
def test_batches_with_any_bytes_changed(data: st.DataObject) -> None:
    batch = make_batch(data.draw(st.integers(1, 4)))
    for _ in range(data.draw(st.integers(0, 4))):
        batch[data.draw(st.integers(0, len(batch) - 1))] = data.draw(st.integers(0, 255))
    batch = batch[: data.draw(st.integers(0, len(batch)))]
    try:
        header = validate_batch(memoryview(batch), LogConfig(), 0)
    except KafkaError:
        return
    assert header.batch_bytes == len(batch)
