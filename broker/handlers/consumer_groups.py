"""ConsumerGroupHeartbeat 0 to 1, ConsumerGroupDescribe 0 to 1 (KIP-848)."""

import uuid
from base64 import urlsafe_b64encode
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta

from broker.catalog import TopicsImage
from broker.config import BrokerSettings
from broker.coordinator.consumer_group import JOINING, LEAVING
from broker.coordinator.consumer_members import LEFT_FOR_A_WHILE
from broker.coordinator.consumer_messages import (
    ConsumerHeartbeat,
    ConsumerHeartbeatResult,
    DescribeConsumerGroup,
    DescribeConsumerGroupResult,
    DescribedConsumer,
)
from broker.coordinator.topics import TopicIdPartition
from broker.handlers.authorization import GROUP_OPERATIONS, NOT_ASKED
from broker.handlers.coordination import Groups
from broker.handlers.registry import Api, RequestContext
from broker.wire.errors import ErrorCode, KafkaError

CLIENT_MAKES_MEMBER_ID_SINCE = 1
UNCHANGED = timedelta(milliseconds=-1)
CLASSIC_MEMBER, CONSUMER_MEMBER = 0, 1


@dataclass(frozen=True, slots=True)
class OwnedPartitions:
    partitions: tuple[int, ...]
    topic_id: uuid.UUID | None = None


@dataclass(frozen=True, slots=True)
class HeartbeatRequest:
    """What is None, and a timeout of -1, has not changed since the last heartbeat."""

    group_id: str
    member_id: str
    member_epoch: int
    instance_id: str | None = None
    rack_id: str | None = None
    rebalance_timeout: timedelta = UNCHANGED
    subscribed_topic_names: tuple[str, ...] | None = None
    subscribed_topic_regex: str | None = None
    server_assignor: str | None = None
    topic_partitions: tuple[OwnedPartitions, ...] | None = None


@dataclass(frozen=True, slots=True)
class AssignedPartitions:
    topic_id: uuid.UUID
    partitions: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class HeartbeatAssignment:
    topic_partitions: tuple[AssignedPartitions, ...]


@dataclass(frozen=True, slots=True)
class HeartbeatResponse:
    """`assignment` None: as the member was told before."""

    error_code: ErrorCode
    error_message: str | None = None
    member_id: str | None = None
    member_epoch: int = 0
    heartbeat_interval: timedelta = timedelta(0)
    assignment: HeartbeatAssignment | None = None


@dataclass(frozen=True, slots=True)
class DescribeRequest:
    group_ids: tuple[str, ...]
    include_authorized_operations: bool = False


@dataclass(frozen=True, slots=True)
class DescribedPartitions:
    topic_id: uuid.UUID
    topic_name: str
    partitions: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class DescribedAssignment:
    topic_partitions: tuple[DescribedPartitions, ...]


@dataclass(frozen=True, slots=True)
class DescribedMember:
    member_id: str
    instance_id: str | None
    rack_id: str | None
    member_epoch: int
    client_id: str
    client_host: str
    subscribed_topic_names: tuple[str, ...]
    subscribed_topic_regex: str
    assignment: DescribedAssignment
    target_assignment: DescribedAssignment
    member_type: int


@dataclass(frozen=True, slots=True)
class DescribedGroup:
    error_code: ErrorCode
    error_message: str | None
    group_id: str
    group_state: str
    group_epoch: int
    assignment_epoch: int
    assignor_name: str
    members: tuple[DescribedMember, ...]
    authorized_operations: int


@dataclass(frozen=True, slots=True)
class DescribeResponse:
    groups: tuple[DescribedGroup, ...]


class ConsumerGroupsHandler:
    def __init__(self, groups: Groups, topics: TopicsImage, settings: BrokerSettings) -> None:
        self._groups = groups
        self._topics = topics
        self._assignors = settings.group_consumer_assignors

    def apis(self) -> list[Api]:
        return [
            Api(
                68, "ConsumerGroupHeartbeat", range(2), HeartbeatRequest, self.heartbeat,
                on_error=lambda error: HeartbeatResponse(error.code, error.message or None),
            ),
            Api(69, "ConsumerGroupDescribe", range(2), DescribeRequest, self.describe),
        ]  # fmt: skip

    async def heartbeat(self, context: RequestContext, request: HeartbeatRequest) -> HeartbeatResponse:
        self._check(request, context.api_version)
        owned = None
        if request.topic_partitions is not None:
            owned = frozenset(
                (topic.topic_id, partition)
                for topic in request.topic_partitions
                if topic.topic_id is not None
                for partition in topic.partitions
            )
        names = request.subscribed_topic_names
        result: ConsumerHeartbeatResult = await self._groups.ask(
            ConsumerHeartbeat(
                group_id=request.group_id,
                member_id=request.member_id or _new_member_id(),
                member_epoch=request.member_epoch,
                client_id=context.client_id,
                client_host=f"/{context.client_host}",
                instance_id=request.instance_id,
                rack_id=request.rack_id,
                rebalance_timeout_ms=request.rebalance_timeout // timedelta(milliseconds=1),
                topics=None if names is None else frozenset(names),
                regex=request.subscribed_topic_regex,
                assignor=request.server_assignor,
                owned=owned,
            )
        )
        return HeartbeatResponse(
            error_code=result.error_code,
            error_message=result.error_message,
            member_id=result.member_id,
            member_epoch=result.member_epoch,
            heartbeat_interval=timedelta(milliseconds=result.heartbeat_interval_ms),
            assignment=None if result.assigned is None else _assignment(result.assigned),
        )

    def _check(self, request: HeartbeatRequest, version: int) -> None:
        """Raise INVALID_REQUEST, in Kafka's words, for what makes no sense from any member of any group."""
        epoch = request.member_epoch
        if version >= CLIENT_MAKES_MEMBER_ID_SINCE or epoch > JOINING or epoch == LEAVING:
            _check_text("MemberId", request.member_id)
        _check_text("GroupId", request.group_id)
        _check_text("InstanceId", request.instance_id)
        _check_text("RackId", request.rack_id)
        if epoch == JOINING:
            if request.rebalance_timeout == UNCHANGED:
                raise _invalid("RebalanceTimeoutMs must be provided in first request.")
            if request.topic_partitions is None or request.topic_partitions:
                raise _invalid("TopicPartitions must be empty when (re-)joining.")
            if request.subscribed_topic_names is None and request.subscribed_topic_regex is None:
                raise _invalid(
                    "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining."
                )
        elif epoch == LEFT_FOR_A_WHILE:
            if request.instance_id is None:
                raise _invalid("InstanceId can't be null.")
        elif epoch < LEFT_FOR_A_WHILE:
            raise _invalid("MemberEpoch is invalid.")
        if request.server_assignor is not None and request.server_assignor not in self._assignors:
            raise KafkaError(
                ErrorCode.unsupported_assignor,
                f"ServerAssignor {request.server_assignor} is not supported. "
                f"Supported assignors: {', '.join(self._assignors)}.",
            )

    async def describe(self, _context: RequestContext, request: DescribeRequest) -> DescribeResponse:
        return DescribeResponse(
            tuple(
                [
                    await self._describe(group_id, request.include_authorized_operations)
                    for group_id in dict.fromkeys(request.group_ids)
                ]
            )
        )

    async def _describe(self, group_id: str, asks_operations: bool) -> DescribedGroup:
        try:
            if not group_id:
                raise KafkaError(ErrorCode.invalid_group_id)
            result: DescribeConsumerGroupResult = await self._groups.ask(DescribeConsumerGroup(group_id))
        except KafkaError as error:
            result = DescribeConsumerGroupResult(error.code, error.message or None, group_id)
        is_found = result.error_code is ErrorCode.none
        return DescribedGroup(
            error_code=result.error_code,
            error_message=result.error_message,
            group_id=group_id,
            group_state=result.group_state,
            group_epoch=result.group_epoch,
            assignment_epoch=result.assignment_epoch,
            assignor_name=result.assignor_name,
            members=tuple(self._described(member) for member in result.members),
            authorized_operations=GROUP_OPERATIONS if asks_operations and is_found else NOT_ASKED,
        )

    def _described(self, member: DescribedConsumer) -> DescribedMember:
        return DescribedMember(
            member_id=member.member_id,
            instance_id=member.instance_id,
            rack_id=member.rack_id,
            member_epoch=member.member_epoch,
            client_id=member.client_id,
            client_host=member.client_host,
            subscribed_topic_names=tuple(sorted(member.topics)),
            subscribed_topic_regex=member.regex,
            assignment=self._named(member.assigned),
            target_assignment=self._named(member.target),
            member_type=CLASSIC_MEMBER if member.is_classic else CONSUMER_MEMBER,
        )

    def _named(self, partitions: Collection[TopicIdPartition]) -> DescribedAssignment:
        """Without those of topics that are gone."""
        return DescribedAssignment(
            tuple(
                DescribedPartitions(topic_id, topic.name, numbers)
                for topic_id, numbers in _by_topic(partitions).items()
                if (topic := self._topics.by_id(topic_id)) is not None
            )
        )


def _assignment(partitions: Collection[TopicIdPartition]) -> HeartbeatAssignment:
    return HeartbeatAssignment(
        tuple(AssignedPartitions(topic_id, numbers) for topic_id, numbers in _by_topic(partitions).items())
    )


def _by_topic(partitions: Collection[TopicIdPartition]) -> dict[uuid.UUID, tuple[int, ...]]:
    topics: defaultdict[uuid.UUID, list[int]] = defaultdict(list)
    for topic_id, number in partitions:
        topics[topic_id].append(number)
    return {topic_id: tuple(sorted(numbers)) for topic_id, numbers in topics.items()}


def _check_text(name: str, text: str | None) -> None:
    if text is not None and not text.strip():
        raise _invalid(f"{name} can't be empty.")


def _invalid(message: str) -> KafkaError:
    return KafkaError(ErrorCode.invalid_request, message)


def _new_member_id() -> str:
    """As Kafka makes them: a random UUID in 22 characters."""
    return urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
