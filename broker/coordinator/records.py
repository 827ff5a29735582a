"""What of a group outlives the broker: its record and its committed offsets.

A record is stored whenever a generation gets its assignment, a static member is replaced, or the group
becomes empty, as in Kafka. After a restart the members go on heartbeating and nobody rebalances.
"""

from base64 import b64decode, b64encode
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from broker.coordinator.consumer_records import (
    CONSUMER,
    ConsumerGroupRecord,
    consumer_document,
    consumer_record,
)

TopicPartition = tuple[str, int]

NO_LEADER_EPOCH = -1


@dataclass(frozen=True, slots=True)
class CommittedOffset:
    """Times are Unix milliseconds; `expire_time_ms` is set for commits with a retention of their own."""

    offset: int
    leader_epoch: int
    metadata: str
    commit_time_ms: int
    expire_time_ms: int | None = None


@dataclass(frozen=True, slots=True)
class PendingOffsets:
    """What one producer's transaction, which has not ended, has committed in a group so far."""

    producer_id: int
    producer_epoch: int
    offsets: Mapping[TopicPartition, CommittedOffset]


@dataclass(frozen=True, slots=True)
class MemberRecord:
    """A member of a stable generation. `subscription` is its metadata for the protocol selected."""

    member_id: str
    group_instance_id: str | None
    client_id: str
    client_host: str
    session_timeout_ms: int
    rebalance_timeout_ms: int
    subscription: bytes
    assignment: bytes


@dataclass(frozen=True, slots=True)
class GroupRecord:
    """A generation of a classic group; without members the group is empty since `state_time_ms`."""

    generation_id: int
    protocol_type: str | None
    protocol_name: str | None
    leader: str | None
    state_time_ms: int
    members: tuple[MemberRecord, ...] = ()
    is_rebalancing: bool = False
    """Taken over from a consumer group: the members have to rejoin, also after a restart."""


AnyGroupRecord = GroupRecord | ConsumerGroupRecord


@dataclass(frozen=True, slots=True)
class StoredGroup:
    """All that is stored of one group; `pending` has a producer at most once."""

    record: AnyGroupRecord | None = None
    offsets: Mapping[TopicPartition, CommittedOffset] = field(default_factory=dict)
    pending: Collection[PendingOffsets] = ()


def encode_group_record(record: AnyGroupRecord) -> bytes:
    """As JSON with the bytes in base64."""
    if isinstance(record, ConsumerGroupRecord):
        return orjson.dumps(consumer_document(record))
    document = {"type": "classic", "version": 0} | {
        name: getattr(record, name) for name in GroupRecord.__slots__ if name != "members"
    }
    document["members"] = [
        {name: _as_text(getattr(member, name)) for name in MemberRecord.__slots__}
        for member in record.members
    ]
    return orjson.dumps(document)


def decode_group_record(document: bytes) -> AnyGroupRecord:
    """The inverse of `encode_group_record`. What is missing was not there when the document was written."""
    fields = orjson.loads(document)
    if fields["type"] == CONSUMER:
        return consumer_record(fields)
    members = tuple(
        MemberRecord(
            **member
            | {
                "subscription": b64decode(member["subscription"]),
                "assignment": b64decode(member["assignment"]),
            }
        )
        for member in fields["members"]
    )
    return GroupRecord(
        **{name: fields[name] for name in GroupRecord.__slots__ if name in fields and name != "members"},
        members=members,
    )


def _as_text(value: Any) -> Any:
    return b64encode(value).decode() if isinstance(value, bytes) else value
