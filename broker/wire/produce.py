"""Produce, versions 3 to 13, by hand: the records stay where they are in the frame, and answers take 5 µs.

Version 9 is the first flexible one, 13 names topics by id. The tags of KIP-951 (version 10: whom to ask
after NOT_LEADER_OR_FOLLOWER) are left out: they are optional, and there is one broker.
"""

import struct
import uuid
from dataclasses import dataclass, field

from broker.wire.codec import Body
from broker.wire.errors import ErrorCode, ProtocolViolation
from broker.wire.packing import Cursor, array_length, text

FLEXIBLE_SINCE = 9
TOPIC_IDS_SINCE = 13

_ACKS_TIMEOUT = struct.Struct(">hi")
_INDEX = struct.Struct(">i")
_RESULT = struct.Struct(">ihqqq")
_RESULT_V4 = struct.Struct(">ihqq")
_THROTTLE = struct.pack(">i", 0)


@dataclass(slots=True)
class PartitionRecords:
    index: int
    records: memoryview | None


@dataclass(slots=True)
class TopicRecords:
    """`name` up to version 12, `topic_id` from 13 on."""

    name: str | None
    topic_id: uuid.UUID | None
    partitions: list[PartitionRecords]


@dataclass(slots=True)
class ProduceRequest:
    """`acks` is 0, 1 or -1 (all)."""

    transactional_id: str | None
    acks: int
    timeout_ms: int
    topics: list[TopicRecords]


@dataclass(slots=True)
class PartitionResult:
    """Where a batch went, or why not. `log_append_time_ms` is -1 unless the log stamps records itself."""

    index: int
    error_code: ErrorCode = ErrorCode.none
    base_offset: int = -1
    log_append_time_ms: int = -1
    log_start_offset: int = -1
    error_message: str | None = None


@dataclass(slots=True)
class TopicResult:
    name: str | None
    topic_id: uuid.UUID | None
    partitions: list[PartitionResult] = field(default_factory=list)


@dataclass(slots=True)
class ProduceResponse:
    topics: list[TopicResult]


class ProduceCodec:
    def request_is_flexible(self, version: int) -> bool:
        return version >= FLEXIBLE_SINCE

    response_is_flexible = request_is_flexible

    def decode(self, version: int, frame: memoryview, position: int) -> ProduceRequest:
        cursor = Cursor(frame, position, flexible=version >= FLEXIBLE_SINCE)
        try:
            return _read_request(cursor, version)
        except (struct.error, IndexError, ValueError) as exc:
            raise ProtocolViolation(f"Produce version {version}: {exc}") from exc

    def encode(self, version: int, response: ProduceResponse) -> Body:
        flexible = version >= FLEXIBLE_SINCE
        body = bytearray(array_length(len(response.topics), flexible=flexible))
        for topic in response.topics:
            if version >= TOPIC_IDS_SINCE:
                assert topic.topic_id is not None
                body += topic.topic_id.bytes
            else:
                body += text(topic.name, flexible=flexible)
            body += array_length(len(topic.partitions), flexible=flexible)
            for result in topic.partitions:
                _write_result(body, version, result)
            if flexible:
                body += b"\0"
        body += _THROTTLE
        if flexible:
            body += b"\0"
        return [body]


def _read_request(cursor: Cursor, version: int) -> ProduceRequest:
    transactional_id = cursor.text()
    acks, timeout_ms = cursor.take(_ACKS_TIMEOUT)
    topics = []
    for _ in range(cursor.array()):
        name, topic_id = None, None
        if version >= TOPIC_IDS_SINCE:
            topic_id = cursor.topic_id()
        else:
            name = cursor.text()
        partitions = []
        for _ in range(cursor.array()):
            (index,) = cursor.take(_INDEX)
            partitions.append(PartitionRecords(index, cursor.data()))
            cursor.tags()
        topics.append(TopicRecords(name, topic_id, partitions))
        cursor.tags()
    cursor.tags()
    return ProduceRequest(transactional_id, acks, timeout_ms, topics)


def _write_result(body: bytearray, version: int, result: PartitionResult) -> None:
    code, offset, append_time_ms = result.error_code, result.base_offset, result.log_append_time_ms
    if version >= 5:
        body += _RESULT.pack(result.index, code, offset, append_time_ms, result.log_start_offset)
    else:
        body += _RESULT_V4.pack(result.index, code, offset, append_time_ms)
    flexible = version >= FLEXIBLE_SINCE
    if version >= 8:
        body += array_length(0, flexible=flexible)  # errors of single records: the whole batch is refused
        body += text(result.error_message, flexible=flexible)
    if flexible:
        body += b"\0"
