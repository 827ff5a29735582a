"""What a group coordinator is asked, and what it answers.

Answers have the protocol's field names, so that a handler can send them as they are. Times in
milliseconds. An empty `member_id` is a client's that has none yet.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from broker.coordinator.consumer_messages import (
    ConsumerHeartbeat,
    DescribeConsumerGroup,
    SetGroupConfigs,
    TopicsChanged,
)
from broker.coordinator.records import CommittedOffset, TopicPartition
from broker.coordinator.subscription import Protocol as Protocol
from broker.wire.errors import ErrorCode

NO_GENERATION = -1


@dataclass(frozen=True, slots=True)
class Join:
    """Become or stay a member of the group's next generation."""

    group_id: str
    member_id: str
    group_instance_id: str | None
    client_id: str
    client_host: str
    session_timeout_ms: int
    rebalance_timeout_ms: int
    protocol_type: str
    protocols: tuple[Protocol, ...]
    new_member_id: str
    """The id that the member gets if it needs one: unique, made by the caller."""
    require_known_member_id: bool = False
    """KIP-394: a new member is told its id first, and has to come back with it."""
    supports_skip_assignment: bool = False
    """KIP-814: the client's version knows `skip_assignment`."""


@dataclass(frozen=True, slots=True)
class JoinedMember:
    member_id: str
    group_instance_id: str | None
    metadata: bytes


@dataclass(frozen=True, slots=True)
class JoinResult:
    """`members` is only for the leader, who assigns."""

    error_code: ErrorCode
    member_id: str
    generation_id: int = NO_GENERATION
    protocol_type: str | None = None
    protocol_name: str | None = None
    leader: str = ""
    skip_assignment: bool = False
    members: tuple[JoinedMember, ...] = ()


@dataclass(frozen=True, slots=True)
class Sync:
    """Fetch the member's assignment; the leader brings everybody's."""

    group_id: str
    member_id: str
    group_instance_id: str | None
    generation_id: int
    protocol_type: str | None
    protocol_name: str | None
    assignments: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class SyncResult:
    error_code: ErrorCode
    protocol_type: str | None = None
    protocol_name: str | None = None
    assignment: bytes = b""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    group_id: str
    member_id: str
    group_instance_id: str | None
    generation_id: int


@dataclass(frozen=True, slots=True)
class HeartbeatResult:
    error_code: ErrorCode


@dataclass(frozen=True, slots=True)
class LeavingMember:
    """Without a member id, the static member is removed whoever it is (an administrator does that)."""

    member_id: str
    group_instance_id: str | None = None


@dataclass(frozen=True, slots=True)
class Leave:
    group_id: str
    members: tuple[LeavingMember, ...]


@dataclass(frozen=True, slots=True)
class LeftMember:
    member_id: str
    group_instance_id: str | None
    error_code: ErrorCode


@dataclass(frozen=True, slots=True)
class LeaveResult:
    error_code: ErrorCode
    members: tuple[LeftMember, ...] = ()


@dataclass(frozen=True, slots=True)
class Commit:
    """Store offsets. Clients outside of the group protocol have generation -1 and no member id."""

    group_id: str
    member_id: str
    group_instance_id: str | None
    generation_id: int
    offsets: Mapping[TopicPartition, CommittedOffset]
    knows_member_epochs: bool = True
    """The client's version of OffsetCommit has a member epoch (KIP-848)."""


@dataclass(frozen=True, slots=True)
class CommitResult:
    """One error for all partitions."""

    error_code: ErrorCode


@dataclass(frozen=True, slots=True)
class TransactionalCommit:
    """Offsets that count when the producer's transaction commits (TxnOffsetCommit). Answered by CommitResult.

    Whether the producer has a transaction that the group is part of is the transaction coordinator's to say,
    and has been asked before.
    """

    group_id: str
    member_id: str
    group_instance_id: str | None
    generation_id: int
    producer_id: int
    producer_epoch: int
    offsets: Mapping[TopicPartition, CommittedOffset]


@dataclass(frozen=True, slots=True)
class EndTransaction:
    """A transaction has ended: its pending offsets become the group's, or go. Answered by CommitResult.

    Doing it again, or for a group that has nothing pending, is fine. `producer_epoch` is the marker's.
    """

    group_id: str
    producer_id: int
    producer_epoch: int
    is_commit: bool


@dataclass(frozen=True, slots=True)
class FetchOffsets:
    """`partitions` None asks for all that the group has.

    With a `member_id` its epoch is checked (KIP-848, OffsetFetch 9); with `require_stable` partitions that
    have pending offsets of a transaction are in `unstable` (KIP-447).
    """

    group_id: str
    partitions: Collection[TopicPartition] | None
    member_id: str | None = None
    member_epoch: int = -1
    require_stable: bool = False


@dataclass(frozen=True, slots=True)
class FetchOffsetsResult:
    """Partitions without an offset are not in it."""

    error_code: ErrorCode
    offsets: Mapping[TopicPartition, CommittedOffset]
    unstable: Collection[TopicPartition] = ()


@dataclass(frozen=True, slots=True)
class DeleteOffsets:
    group_id: str
    partitions: Collection[TopicPartition]


@dataclass(frozen=True, slots=True)
class DeleteOffsetsResult:
    """`subscribed` are the partitions that stay, for a member is subscribed to their topics."""

    error_code: ErrorCode
    subscribed: Collection[TopicPartition] = ()


@dataclass(frozen=True, slots=True)
class DeleteGroup:
    group_id: str


@dataclass(frozen=True, slots=True)
class DeleteGroupResult:
    error_code: ErrorCode


@dataclass(frozen=True, slots=True)
class DescribeGroup:
    group_id: str


@dataclass(frozen=True, slots=True)
class DescribedMember:
    member_id: str
    group_instance_id: str | None
    client_id: str
    client_host: str
    member_metadata: bytes
    member_assignment: bytes


@dataclass(frozen=True, slots=True)
class DescribeGroupResult:
    error_code: ErrorCode
    error_message: str | None
    group_id: str
    group_state: str
    protocol_type: str = ""
    protocol_data: str = ""
    members: tuple[DescribedMember, ...] = ()


@dataclass(frozen=True, slots=True)
class ListGroups:
    """Names of states and types, in any case; an empty filter lets all pass."""

    states_filter: tuple[str, ...] = ()
    types_filter: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ListedGroup:
    group_id: str
    protocol_type: str
    group_state: str
    group_type: str


@dataclass(frozen=True, slots=True)
class ListGroupsResult:
    error_code: ErrorCode
    groups: tuple[ListedGroup, ...]


@dataclass(frozen=True, slots=True)
class ForgetTopics:
    """Topics are gone: their offsets go too. Not from a client, so without an answer of interest."""

    topics: frozenset[str]


GroupRequest = (
    Join
    | Sync
    | Heartbeat
    | Leave
    | Commit
    | TransactionalCommit
    | EndTransaction
    | FetchOffsets
    | DeleteOffsets
    | DeleteGroup
    | DescribeGroup
    | ConsumerHeartbeat
    | DescribeConsumerGroup
    | SetGroupConfigs
)
Request = GroupRequest | ListGroups | ForgetTopics | TopicsChanged
