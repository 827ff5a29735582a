"""The schema-driven decoder and encoder, on Metadata, whose versions differ a lot."""

import uuid
from dataclasses import dataclass

import pytest
from support.batches import decode_response, encode_request, request_classes

from broker.wire.codec import KioCodec
from broker.wire.errors import ErrorCode, ProtocolViolation


@dataclass(frozen=True, slots=True)
class Topic:
    name: str | None
    topic_id: uuid.UUID | None = None


@dataclass(frozen=True, slots=True)
class Request:
    topics: tuple[Topic, ...] | None
    allow_auto_topic_creation: bool = True


def request_body(version: int, names: list[str] | None) -> bytes:
    classes = request_classes(3, version)
    extra = {"topic_id": uuid.UUID(int=1)} if version >= 10 else {}
    topics = (
        None if names is None else tuple(classes.MetadataRequestTopic(name=name, **extra) for name in names)
    )
    fields: dict[str, bool] = {}
    if version >= 8:
        fields["include_topic_authorized_operations"] = True
    if 8 <= version <= 10:
        fields["include_cluster_authorized_operations"] = True
    return encode_request(3, version, topics=topics, **fields)


@pytest.mark.parametrize("version", range(14))
def test_requests_of_every_version_become_one_domain_class(version: int) -> None:
    codec = KioCodec(3, Request)
    request = codec.decode(version, memoryview(b"??" + request_body(version, ["a", "ü"]) + b"rest"), 2)
    topic_id = uuid.UUID(int=1) if version >= 10 else None
    assert request == Request((Topic("a", topic_id), Topic("ü", topic_id)))


@pytest.mark.parametrize("version", [1, 9, 13])
def test_null_and_empty_arrays_are_told_apart(version: int) -> None:
    codec = KioCodec(3, Request)
    assert codec.decode(version, memoryview(request_body(version, None)), 0).topics is None
    assert codec.decode(version, memoryview(request_body(version, [])), 0).topics == ()


@pytest.mark.parametrize("version", range(14))
def test_a_request_cut_anywhere_is_refused(version: int) -> None:
    body = request_body(version, ["abc", "d"])
    for length in range(len(body)):
        with pytest.raises(ProtocolViolation):
            KioCodec(3, Request).decode(version, memoryview(body[:length]), 0)


def test_a_null_array_where_none_is_allowed_is_an_empty_one() -> None:
    assert KioCodec(3, Request).decode(0, memoryview(b"\xff\xff\xff\xff"), 0).topics == ()


def test_text_that_is_no_utf8_is_read_with_replacements() -> None:
    body = b"\0\0\0\1\0\2\xff\xfe"
    assert KioCodec(3, Request).decode(0, memoryview(body), 0).topics == (Topic("\ufffd\ufffd"),)


def test_unknown_tags_are_skipped() -> None:
    body = request_body(12, ["a"])
    assert body.endswith(b"\0")
    tagged = body[:-1] + b"\2" + b"\x05\x03abc" + b"\x80\x01\x00"
    assert KioCodec(3, Request).decode(12, memoryview(tagged), 0) == KioCodec(3, Request).decode(
        12, memoryview(body), 0
    )


@pytest.mark.parametrize(
    ("version", "body"),
    [
        (0, b"\x7f\xff\xff\xff"),
        (12, b"\xff\xff\xff\xff\x0f"),  # kio's own decoder aborts the process on this one
        (12, b"\xff" * 20),
        (12, b"\x02" + bytes(16) + b"\xff\xff\xff\x7f"),
        (12, b"\x01\x00\x00\x7f\x01\x7f"),
    ],
)
def test_lengths_that_no_frame_could_hold_are_refused(version: int, body: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        KioCodec(3, Request).decode(version, memoryview(body), 0)


@dataclass(frozen=True, slots=True)
class Broker:
    node_id: int
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class PartitionAnswer:
    error_code: ErrorCode
    partition_index: int
    leader_id: int
    replica_nodes: tuple[int, ...]
    isr_nodes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TopicAnswer:
    error_code: ErrorCode
    name: str | None
    partitions: tuple[PartitionAnswer, ...] = ()
    is_internal: bool = False
    topic_id: uuid.UUID | None = None


@dataclass(frozen=True, slots=True)
class Response:
    brokers: tuple[Broker, ...]
    topics: tuple[TopicAnswer, ...]
    controller_id: int = -1
    error_code: ErrorCode = ErrorCode.none


@pytest.mark.parametrize("version", range(14))
def test_responses_of_every_version_come_from_one_domain_class(version: int) -> None:
    codec = KioCodec(3, Request)
    topic = TopicAnswer(ErrorCode.unknown_topic_or_partition, "t", topic_id=uuid.UUID(int=3))
    (body,) = codec.encode(version, Response((Broker(1, "h", 9092),), (topic,), controller_id=1))
    decoded = decode_response(3, version, body)
    assert [(b.node_id, b.host, b.port) for b in decoded.brokers] == [(1, "h", 9092)]
    assert [(t.name, t.error_code) for t in decoded.topics] == [("t", ErrorCode.unknown_topic_or_partition)]
    if version >= 10:
        assert decoded.topics[0].topic_id == uuid.UUID(int=3)


def test_a_field_that_no_one_can_fill_is_a_bug_that_is_found_at_once() -> None:
    @dataclass(frozen=True, slots=True)
    class Incomplete:
        brokers: tuple[Broker, ...] = ()

    with pytest.raises(TypeError, match="topics"):
        KioCodec(3, Request).encode(0, Incomplete())
