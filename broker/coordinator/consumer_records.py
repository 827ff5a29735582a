"""What of a consumer group (KIP-848) outlives the broker, as JSON.

Stored whenever something of it changes. After a restart the members go on in their epochs, and nobody
rebalances.
"""

from base64 import b64decode, b64encode
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID
from weakref import WeakKeyDictionary

import orjson

from broker.coordinator.consumer_members import ClassicMembership, ConsumerMember, MemberState
from broker.coordinator.subscription import Protocol
from broker.coordinator.topics import TopicIdPartition

CONSUMER = "consumer"

_documents: WeakKeyDictionary[ConsumerMember, orjson.Fragment] = WeakKeyDictionary()
"""What members look like, so that a large group can be stored at each of its members' changes."""

_PLAIN_FIELDS = (
    "member_id",
    "instance_id",
    "rack_id",
    "client_id",
    "client_host",
    "rebalance_timeout_ms",
    "regex",
    "assignor",
    "member_epoch",
    "previous_epoch",
)


@dataclass(frozen=True, slots=True)
class ConsumerGroupRecord:
    group_epoch: int
    assignment_epoch: int
    topics_digest: str
    """Stands for the subscribed topics that the group epoch knows of, with their partitions."""
    state_time_ms: int
    """When the group became empty, or got its first member: Unix milliseconds."""
    members: tuple[ConsumerMember, ...]


def consumer_document(record: ConsumerGroupRecord) -> dict[str, Any]:
    """For JSON. Partitions are numbers by topic id, those that a member holds with their epochs."""
    return {
        "type": CONSUMER,
        "version": 0,
        "group_epoch": record.group_epoch,
        "assignment_epoch": record.assignment_epoch,
        "topics_digest": record.topics_digest,
        "state_time_ms": record.state_time_ms,
        "members": [_member_document(member) for member in record.members],
    }


def consumer_record(document: Mapping[str, Any]) -> ConsumerGroupRecord:
    """The inverse of `consumer_document`."""
    return ConsumerGroupRecord(
        group_epoch=document["group_epoch"],
        assignment_epoch=document["assignment_epoch"],
        topics_digest=document["topics_digest"],
        state_time_ms=document["state_time_ms"],
        members=tuple(_member(fields) for fields in document["members"]),
    )


def _member_document(member: ConsumerMember) -> orjson.Fragment:
    if (document := _documents.get(member)) is None:
        document = _documents[member] = orjson.Fragment(orjson.dumps(_member_fields(member)))
    return document


def _member_fields(member: ConsumerMember) -> dict[str, Any]:
    return {name: getattr(member, name) for name in _PLAIN_FIELDS} | {
        "topics": sorted(member.topics),
        "state": member.state.value,
        "assigned": _by_topic(member.assigned.items()),
        "revoking": _by_topic(member.revoking.items()),
        "target": _by_topic((partition, None) for partition in member.target),
        "classic": None
        if member.classic is None
        else {
            "session_timeout_ms": member.classic.session_timeout_ms,
            "protocols": [[p.name, b64encode(p.metadata).decode()] for p in member.classic.protocols],
        },
    }


def _member(fields: Mapping[str, Any]) -> ConsumerMember:
    classic = fields["classic"]
    return ConsumerMember(
        **{name: fields[name] for name in _PLAIN_FIELDS},
        topics=frozenset(fields["topics"]),
        state=MemberState(fields["state"]),
        assigned=_epochs(fields["assigned"]),
        revoking=_epochs(fields["revoking"]),
        target=_partitions(fields["target"]),
        classic=None
        if classic is None
        else ClassicMembership(
            classic["session_timeout_ms"],
            tuple(Protocol(name, b64decode(metadata)) for name, metadata in classic["protocols"]),
        ),
    )


def _by_topic(partitions: Any) -> dict[str, list[Any]]:
    """`(partition, epoch or None)` to numbers, or pairs of number and epoch, by topic id."""
    topics: defaultdict[UUID, list[Any]] = defaultdict(list)
    for (topic_id, number), epoch in sorted(partitions, key=lambda item: item[0][1]):
        topics[topic_id].append(number if epoch is None else (number, epoch))
    return {topic_id.hex: numbers for topic_id, numbers in topics.items()}


def _partitions(topics: Mapping[str, list[int]]) -> frozenset[TopicIdPartition]:
    return frozenset(
        (topic_id, n) for text, numbers in topics.items() for topic_id in [UUID(text)] for n in numbers
    )


def _epochs(topics: Mapping[str, list[tuple[int, int]]]) -> dict[TopicIdPartition, int]:
    return {
        (topic_id, number): epoch
        for text, pairs in topics.items()
        for topic_id in [UUID(text)]
        for number, epoch in pairs
    }
