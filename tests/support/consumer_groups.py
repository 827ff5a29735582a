"""A group coordinator whose disk is always fast, and short ways to speak the consumer protocol to it."""

import uuid
from collections.abc import Mapping
from typing import Any

from support.group_world import GroupWorld
from support.subscriptions import assigned, pack_subscription

from broker.coordinator.classic_group import GroupLimits
from broker.coordinator.consumer_group import ConsumerLimits
from broker.coordinator.consumer_messages import (
    ConsumerHeartbeat,
    ConsumerHeartbeatResult,
    DescribeConsumerGroup,
    DescribeConsumerGroupResult,
    DescribedConsumer,
    TopicsChanged,
)
from broker.coordinator.group_coordinator import CoordinatorSettings
from broker.coordinator.messages import Commit, Join, JoinResult, Protocol, Request, Sync
from broker.coordinator.records import CommittedOffset
from broker.coordinator.topics import TopicIdPartition, TopicMetadata
from broker.wire.errors import ErrorCode

GROUP = "g"
SESSION_MS = 10_000
REBALANCE_MS = 60_000


class ConsumerGroups:
    """Topic "t" has four partitions. Target assignments are worked out at once, unless told otherwise."""

    def __init__(self, *, assignment_interval_ms: int = 0, **limits: Any) -> None:
        self.answers: dict[int, Any] = {}
        self._token = 0
        settings = CoordinatorSettings(
            GroupLimits(initial_rebalance_delay_ms=0),
            ConsumerLimits(
                session_timeout_ms=SESSION_MS, assignment_interval_ms=assignment_interval_ms, **limits
            ),
        )
        self.world = GroupWorld(settings, self.answers.__setitem__)
        self.put_topic("t", 4)

    def hand_over(self, request: Request) -> int:
        """Ask, with a disk that is not ready yet; the token of the answer."""
        self._token += 1
        self.world.ask(request, self._token)
        return self._token

    def answer(self, request: Request) -> Any:
        token = self.hand_over(request)
        self.world.sync()
        return self.answers.pop(token)

    # Topics.

    def put_topic(self, name: str, partitions: int) -> uuid.UUID:
        """Create it, or let it grow; its id."""
        known = self.world.topics.get(name)
        topic = TopicMetadata(name, known.topic_id if known else uuid.uuid4(), partitions)
        self.world.topics[name] = topic
        self.answer(TopicsChanged(put=[topic]))
        return topic.topic_id

    def delete_topic(self, name: str) -> None:
        self.answer(TopicsChanged(removed=[self.world.topics.pop(name).topic_id]))

    def ids(self, *numbers: int, topic: str = "t") -> frozenset[TopicIdPartition]:
        return frozenset((self.world.topics[topic].topic_id, n) for n in numbers)

    # The consumer protocol.

    def beat(self, member_id: str, epoch: int, **changes: Any) -> ConsumerHeartbeatResult:
        """A heartbeat in which only `changes` are said."""
        result: ConsumerHeartbeatResult = self.answer(
            ConsumerHeartbeat(GROUP, member_id, epoch, "c", "/h", **changes)
        )
        return result

    def join(self, member_id: str, *topics: str, **changes: Any) -> ConsumerHeartbeatResult:
        """Join, to read `topics`, or "t"."""
        said = {
            "rebalance_timeout_ms": REBALANCE_MS,
            "topics": frozenset(topics or ("t",)),
            "owned": frozenset(),
        }
        return self.beat(member_id, 0, **said | changes)

    def describe(self) -> DescribeConsumerGroupResult:
        result: DescribeConsumerGroupResult = self.answer(DescribeConsumerGroup(GROUP))
        return result

    def members(self) -> Mapping[str, DescribedConsumer]:
        return {member.member_id: member for member in self.describe().members}

    # The classic protocol.

    def join_classic(self, member_id: str, *owned: int, **changes: Any) -> JoinResult:
        values: dict[str, Any] = {
            "group_id": GROUP,
            "member_id": member_id,
            "group_instance_id": None,
            "client_id": "c",
            "client_host": "/h",
            "session_timeout_ms": SESSION_MS,
            "rebalance_timeout_ms": REBALANCE_MS,
            "protocol_type": "consumer",
            "protocols": (Protocol("range", pack_subscription(["t"], [("t", n) for n in owned])),),
            "new_member_id": f"new-{self._token}",
        }
        result: JoinResult = self.answer(Join(**values | changes))
        return result

    def sync(
        self, member_id: str, generation_id: int, assignments: Mapping[str, bytes] | None = None
    ) -> list[int] | ErrorCode:
        """The numbers of the partitions of "t" that the member is assigned, or the error."""
        result = self.answer(Sync(GROUP, member_id, None, generation_id, None, None, assignments or {}))
        if result.error_code is not ErrorCode.none:
            error: ErrorCode = result.error_code
            return error
        return sorted(n for _, n in assigned(result.assignment))

    # Offsets.

    def commit(self, member_id: str, epoch: int, partition: int = 0, **changes: Any) -> ErrorCode:
        offsets = {("t", partition): CommittedOffset(1, -1, "", self.world.wall_clock_ms)}
        error: ErrorCode = self.answer(Commit(GROUP, member_id, None, epoch, offsets, **changes)).error_code
        return error
