"""Fetch, versions 4 to 18, by hand: records go out as slices of segment files that nobody looks into.

Version 7 brings sessions (KIP-227), 12 is the first flexible one, 13 names topics by id, 15 moves the
replica's id into a tag. The tags of KIP-951 (12 and 16: whom to ask after NOT_LEADER_OR_FOLLOWER) are
left out: they are optional, and there is one broker.
"""

import struct
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from broker.wire.codec import Body
from broker.wire.errors import ErrorCode, ProtocolViolation
from broker.wire.packing import Cursor, array_length, text, uvarint

FLEXIBLE_SINCE = 12
TOPIC_IDS_SINCE = 13

_WAIT_V15 = struct.Struct(">iiib")
_INT32 = struct.Struct(">i")
_SESSION = struct.Struct(">ii")
_PARTITION_V4 = struct.Struct(">iqi")
_PARTITION_V5 = struct.Struct(">iqqi")
_PARTITION_V9 = struct.Struct(">iiqqi")
_PARTITION_V12 = struct.Struct(">iiqiqi")
_HEAD_V4 = struct.Struct(">i")
_HEAD_V7 = struct.Struct(">ihi")
_RESULT_V4 = struct.Struct(">ihqq")
_RESULT_V5 = struct.Struct(">ihqqq")
_ABORTED = struct.Struct(">qq")

NO_EPOCH = -1


@dataclass(slots=True)
class FetchPartition:
    """What a consumer wants of one partition. `current_leader_epoch` is -1 when it gives none.

    The last fetched epoch is not read: only followers send one.
    """

    partition: int
    fetch_offset: int
    max_bytes: int
    current_leader_epoch: int = NO_EPOCH


@dataclass(slots=True)
class FetchTopic:
    """`name` up to version 12, `topic_id` from 13 on."""

    name: str | None
    topic_id: uuid.UUID | None
    partitions: list[FetchPartition]


@dataclass(slots=True)
class ForgottenTopic:
    name: str | None
    topic_id: uuid.UUID | None
    partitions: list[int]


@dataclass(slots=True)
class FetchRequest:
    max_wait_ms: int
    min_bytes: int
    max_bytes: int
    isolation_level: int
    session_id: int
    session_epoch: int
    topics: list[FetchTopic]
    forgotten: list[ForgottenTopic]


@dataclass(slots=True)
class PartitionData:
    """`records` is a slice with a `length`, or None for no records. Ends are -1 when not known.

    `aborted` are the transactions to leave out, by producer id and first offset; None unless asked for.
    """

    partition: int
    error_code: ErrorCode = ErrorCode.none
    high_watermark: int = -1
    last_stable_offset: int = -1
    log_start_offset: int = -1
    records: Any = None
    aborted: Sequence[tuple[int, int]] | None = None


@dataclass(slots=True)
class TopicData:
    name: str | None
    topic_id: uuid.UUID | None
    partitions: list[PartitionData] = field(default_factory=list)


@dataclass(slots=True)
class FetchResponse:
    topics: list[TopicData]
    error_code: ErrorCode = ErrorCode.none
    session_id: int = 0


class FetchCodec:
    def request_is_flexible(self, version: int) -> bool:
        return version >= FLEXIBLE_SINCE

    response_is_flexible = request_is_flexible

    def decode(self, version: int, frame: memoryview, position: int) -> FetchRequest:
        cursor = Cursor(frame, position, flexible=version >= FLEXIBLE_SINCE)
        try:
            return _read_request(cursor, version)
        except (struct.error, IndexError, ValueError) as exc:
            raise ProtocolViolation(f"Fetch version {version}: {exc}") from exc

    def encode(self, version: int, response: FetchResponse) -> Body:
        flexible = version >= FLEXIBLE_SINCE
        if version >= 7:
            head = bytearray(_HEAD_V7.pack(0, response.error_code, response.session_id))
        else:
            head = bytearray(_HEAD_V4.pack(0))
        head += array_length(len(response.topics), flexible=flexible)
        body: Body = []
        for topic in response.topics:
            if version >= TOPIC_IDS_SINCE:
                assert topic.topic_id is not None
                head += topic.topic_id.bytes
            else:
                head += text(topic.name, flexible=flexible)
            head += array_length(len(topic.partitions), flexible=flexible)
            for data in topic.partitions:
                _write_partition(head, version, data)
                if data.records is not None:
                    body += (head, data.records)
                    head = bytearray()
                if flexible:
                    head += b"\0"
            if flexible:
                head += b"\0"
        if flexible:
            head += b"\0"
        body.append(head)
        return body


def _read_request(cursor: Cursor, version: int) -> FetchRequest:
    if version < 15:
        cursor.take(_INT32)  # the replica's id: every fetcher is a consumer here
    max_wait_ms, min_bytes, max_bytes, isolation_level = cursor.take(_WAIT_V15)
    session_id, session_epoch = cursor.take(_SESSION) if version >= 7 else (0, -1)
    topics = []
    for _ in range(cursor.array()):
        name, topic_id = _read_topic(cursor, version)
        partitions = [_read_partition(cursor, version) for _ in range(cursor.array())]
        cursor.tags()
        topics.append(FetchTopic(name, topic_id, partitions))
    forgotten = []
    if version >= 7:
        for _ in range(cursor.array()):
            name, topic_id = _read_topic(cursor, version)
            indexes = [cursor.take(_INT32)[0] for _ in range(cursor.array())]
            cursor.tags()
            forgotten.append(ForgottenTopic(name, topic_id, indexes))
    if version >= 11:
        cursor.text()  # the consumer's rack: there is one replica
    cursor.tags()
    return FetchRequest(
        max_wait_ms, min_bytes, max_bytes, isolation_level, session_id, session_epoch, topics, forgotten
    )


def _read_topic(cursor: Cursor, version: int) -> tuple[str | None, uuid.UUID | None]:
    if version >= TOPIC_IDS_SINCE:
        return None, cursor.topic_id()
    return cursor.text(), None


def _read_partition(cursor: Cursor, version: int) -> FetchPartition:
    if version >= 12:
        partition, leader_epoch, offset, _, _, max_bytes = cursor.take(_PARTITION_V12)
        cursor.tags()
        return FetchPartition(partition, offset, max_bytes, leader_epoch)
    if version >= 9:
        partition, leader_epoch, offset, _, max_bytes = cursor.take(_PARTITION_V9)
        return FetchPartition(partition, offset, max_bytes, leader_epoch)
    if version >= 5:
        partition, offset, _, max_bytes = cursor.take(_PARTITION_V5)
    else:
        partition, offset, max_bytes = cursor.take(_PARTITION_V4)
    return FetchPartition(partition, offset, max_bytes)


def _write_partition(head: bytearray, version: int, data: PartitionData) -> None:
    """All of a partition's answer up to its records."""
    if version >= 5:
        head += _RESULT_V5.pack(
            data.partition,
            data.error_code,
            data.high_watermark,
            data.last_stable_offset,
            data.log_start_offset,
        )
    else:
        head += _RESULT_V4.pack(data.partition, data.error_code, data.high_watermark, data.last_stable_offset)
    flexible = version >= FLEXIBLE_SINCE
    if data.aborted is None:
        head += b"\0" if flexible else b"\xff\xff\xff\xff"
    else:
        head += array_length(len(data.aborted), flexible=flexible)
        for producer_id, first_offset in data.aborted:
            head += _ABORTED.pack(producer_id, first_offset)
            if flexible:
                head += b"\0"
    if version >= 11:
        head += b"\xff\xff\xff\xff"  # no preferred read replica
    length = data.records.length if data.records is not None else 0
    head += uvarint(length + 1) if flexible else _INT32.pack(length)
