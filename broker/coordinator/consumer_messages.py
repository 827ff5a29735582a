"""What a group coordinator is asked of the consumer group protocol (KIP-848), and what it answers.

See `broker.coordinator.messages`.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from uuid import UUID

from broker.coordinator.topics import TopicIdPartition, TopicMetadata
from broker.wire.errors import ErrorCode


@dataclass(frozen=True, slots=True)
class ConsumerHeartbeat:
    """Join with member epoch 0, stay, or leave with -1, or -2 for a static member that will be back.

    What is None has not changed since the last heartbeat. The handler has checked that a request to join
    has all that it needs.
    """

    group_id: str
    member_id: str
    member_epoch: int
    client_id: str
    client_host: str
    instance_id: str | None = None
    rack_id: str | None = None
    rebalance_timeout_ms: int = -1
    topics: frozenset[str] | None = None
    regex: str | None = None
    assignor: str | None = None
    owned: frozenset[TopicIdPartition] | None = None


@dataclass(frozen=True, slots=True)
class ConsumerHeartbeatResult:
    """`assigned` None: as it was told before."""

    error_code: ErrorCode
    error_message: str | None = None
    member_id: str | None = None
    member_epoch: int = 0
    heartbeat_interval_ms: int = 0
    assigned: Collection[TopicIdPartition] | None = None


@dataclass(frozen=True, slots=True)
class DescribeConsumerGroup:
    group_id: str


@dataclass(frozen=True, slots=True)
class DescribedConsumer:
    """`assigned` is what the member may hold, `target` what it is to have."""

    member_id: str
    instance_id: str | None
    rack_id: str | None
    member_epoch: int
    client_id: str
    client_host: str
    topics: frozenset[str]
    regex: str
    assigned: Collection[TopicIdPartition]
    target: Collection[TopicIdPartition]
    is_classic: bool


@dataclass(frozen=True, slots=True)
class DescribeConsumerGroupResult:
    error_code: ErrorCode
    error_message: str | None
    group_id: str
    group_state: str = ""
    group_epoch: int = 0
    assignment_epoch: int = 0
    assignor_name: str = ""
    members: tuple[DescribedConsumer, ...] = ()


@dataclass(frozen=True, slots=True)
class TopicsChanged:
    """Topics are new, have grown, or are gone. Not from a client; also before groups are loaded."""

    put: Collection[TopicMetadata] = ()
    removed: Collection[UUID] = ()


@dataclass(frozen=True, slots=True)
class SetGroupConfigs:
    """What is set for this group in particular, by Kafka's name; what is not has the broker's setting."""

    group_id: str
    configs: Mapping[str, int]
