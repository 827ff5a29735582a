"""The hand-written codecs against kio, in every version that is served."""

import datetime
import uuid
from typing import Any

import pytest
from support.batches import decode_response, encode_request, request_classes

from broker.wire.errors import ErrorCode, ProtocolViolation
from broker.wire.fetch import FetchCodec, FetchResponse, PartitionData, TopicData
from broker.wire.produce import PartitionResult, ProduceCodec, ProduceResponse, TopicResult

TOPIC_ID = uuid.UUID(int=77)


class Slice:
    """As much of a file slice as the codec looks at."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.length = len(content)


def joined(body: list[Any]) -> bytes:
    return b"".join(part.content if isinstance(part, Slice) else bytes(part) for part in body)


def produce_request(version: int) -> bytes:
    classes = request_classes(0, version)
    named = {"topic_id": TOPIC_ID} if version >= 13 else {"name": "t"}
    partitions = (
        classes.PartitionProduceData(index=3, records=b"abc"),
        classes.PartitionProduceData(index=4, records=None),
    )
    return encode_request(
        0,
        version,
        transactional_id=None,
        acks=-1,
        timeout=datetime.timedelta(seconds=5),
        topic_data=(classes.TopicProduceData(**named, partition_data=partitions),),
    )


@pytest.mark.parametrize("version", range(3, 14))
def test_produce_requests_are_read_as_kio_writes_them(version: int) -> None:
    frame = memoryview(b"head" + produce_request(version) + b"tail")
    request = ProduceCodec().decode(version, frame, 4)
    assert (request.transactional_id, request.acks, request.timeout_ms) == (None, -1, 5000)
    (topic,) = request.topics
    assert (topic.name, topic.topic_id) == ((None, TOPIC_ID) if version >= 13 else ("t", None))
    assert [(p.index, p.records) for p in topic.partitions] == [(3, b"abc"), (4, None)]


@pytest.mark.parametrize("version", range(3, 14))
def test_produce_responses_are_read_by_kio_as_they_were_meant(version: int) -> None:
    results = [
        PartitionResult(3, ErrorCode.none, 42, 1_700_000_000_000, 7),
        PartitionResult(4, ErrorCode.invalid_record, error_message="no"),
    ]
    response = ProduceResponse([TopicResult("t", TOPIC_ID, results)])
    decoded = decode_response(0, version, joined(ProduceCodec().encode(version, response)))
    (topic,) = decoded.responses
    assert (topic.topic_id == TOPIC_ID) if version >= 13 else (topic.name == "t")
    good, bad = topic.partition_responses
    assert (good.index, good.error_code, good.base_offset) == (3, ErrorCode.none, 42)
    assert (bad.index, bad.error_code, bad.base_offset) == (4, ErrorCode.invalid_record, -1)
    assert good.log_append_time.timestamp() == 1_700_000_000
    assert bad.log_append_time is None
    if version >= 5:
        assert good.log_start_offset == 7
    if version >= 8:
        assert (good.error_message, bad.error_message) == (None, "no")


def fetch_request(version: int) -> bytes:
    classes = request_classes(1, version)
    named: dict[str, Any] = {"topic_id": TOPIC_ID} if version >= 13 else {"topic": "t"}
    partition: dict[str, Any] = {"partition": 3, "fetch_offset": 99, "partition_max_bytes": 1000}
    if version >= 9:
        partition["current_leader_epoch"] = 5
    fields: dict[str, Any] = {
        "max_wait": datetime.timedelta(milliseconds=500),
        "min_bytes": 1,
        "max_bytes": 10,
    }
    if version >= 7:
        fields |= {
            "session_id": 8,
            "session_epoch": 9,
            "forgotten_topics_data": (classes.ForgottenTopic(**named, partitions=(1, 2)),),
        }
    topics = (classes.FetchTopic(**named, partitions=(classes.FetchPartition(**partition),)),)
    return encode_request(1, version, isolation_level=1, topics=topics, **fields)


@pytest.mark.parametrize("version", range(4, 19))
def test_fetch_requests_are_read_as_kio_writes_them(version: int) -> None:
    request = FetchCodec().decode(version, memoryview(fetch_request(version) + b"tail"), 0)
    assert (request.max_wait_ms, request.min_bytes, request.max_bytes) == (500, 1, 10)
    assert request.isolation_level == 1
    name = (None, TOPIC_ID) if version >= 13 else ("t", None)
    (topic,) = request.topics
    assert (topic.name, topic.topic_id) == name
    (partition,) = topic.partitions
    assert (partition.partition, partition.fetch_offset, partition.max_bytes) == (3, 99, 1000)
    assert partition.current_leader_epoch == (5 if version >= 9 else -1)
    if version >= 7:
        assert (request.session_id, request.session_epoch) == (8, 9)
        (forgotten,) = request.forgotten
        assert (forgotten.name, forgotten.topic_id, forgotten.partitions) == (*name, [1, 2])
    else:
        assert (request.session_id, request.session_epoch, request.forgotten) == (0, -1, [])


@pytest.mark.parametrize("version", range(4, 19))
def test_fetch_responses_are_read_by_kio_as_they_were_meant(version: int) -> None:
    big = b"r" * 5000
    partitions = [
        PartitionData(0, ErrorCode.none, 10, 9, 1, Slice(big)),
        PartitionData(1, ErrorCode.offset_out_of_range),
        PartitionData(2, ErrorCode.none, 5, 5, 0, Slice(b"x")),
    ]
    response = FetchResponse([TopicData("t", TOPIC_ID, partitions)], session_id=6)
    decoded = decode_response(1, version, joined(FetchCodec().encode(version, response)))
    (topic,) = decoded.responses
    assert (topic.topic_id == TOPIC_ID) if version >= 13 else (topic.topic == "t")
    full, failed, small = topic.partitions
    assert (full.partition_index, full.high_watermark, full.last_stable_offset) == (0, 10, 9)
    assert (full.records, small.records, failed.records) == (big, b"x", b"")
    assert failed.error_code == ErrorCode.offset_out_of_range
    if version >= 5:
        assert full.log_start_offset == 1
    if version >= 7:
        assert (decoded.session_id, decoded.error_code) == (6, ErrorCode.none)


@pytest.mark.parametrize("version", [3, 8, 9, 13])
def test_a_produce_request_cut_anywhere_is_refused(version: int) -> None:
    body = produce_request(version)
    for length in range(len(body)):
        with pytest.raises(ProtocolViolation):
            ProduceCodec().decode(version, memoryview(body[:length]), 0)


@pytest.mark.parametrize("version", [4, 11, 12, 18])
def test_a_fetch_request_cut_anywhere_is_refused(version: int) -> None:
    body = fetch_request(version)
    for length in range(len(body)):
        with pytest.raises(ProtocolViolation):
            FetchCodec().decode(version, memoryview(body[:length]), 0)


@pytest.mark.parametrize("count", [b"\x7f\xff\xff\xff", b"\x00\x0f\xff\xff"])
def test_an_array_count_that_no_frame_could_hold_is_refused(count: bytes) -> None:
    with pytest.raises(ProtocolViolation, match="announced"):
        ProduceCodec().decode(3, memoryview(b"\xff\xff\xff\xff\0\0\0\0" + count), 0)
