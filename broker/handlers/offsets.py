"""OffsetCommit 2 to 10, OffsetFetch 1 to 10, OffsetDelete 0."""

import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from broker.catalog import TopicsImage
from broker.config import BrokerSettings
from broker.coordinator import messages
from broker.coordinator.messages import CommitResult, DeleteOffsetsResult, FetchOffsetsResult
from broker.coordinator.records import NO_LEADER_EPOCH, CommittedOffset, TopicPartition
from broker.handlers.coordination import Groups
from broker.handlers.offset_commits import (
    NO_RETENTION,
    CommittedPartition,
    CommittedTopic,
    CommitTopic,
    OffsetsToCommit,
)
from broker.handlers.registry import Api, RequestContext
from broker.wire.errors import ErrorCode, KafkaError

TOPIC_IDS_SINCE = 10
GROUP_NOT_FOUND_SINCE = 9
MEMBER_EPOCH_SINCE = 9
FETCH_GROUPS_SINCE = 8
FETCH_ERROR_SINCE = 2
NO_OFFSET = -1


@dataclass(frozen=True, slots=True)
class OffsetCommitRequest:
    group_id: str
    generation_id_or_member_epoch: int
    member_id: str
    topics: tuple[CommitTopic, ...]
    retention_time: timedelta = NO_RETENTION
    group_instance_id: str | None = None


@dataclass(frozen=True, slots=True)
class OffsetCommitResponse:
    topics: tuple[CommittedTopic, ...]


@dataclass(frozen=True, slots=True)
class FetchTopic:
    partition_indexes: tuple[int, ...]
    name: str | None = None
    topic_id: uuid.UUID | None = None


@dataclass(frozen=True, slots=True)
class FetchGroup:
    """`topics` None asks for all that the group has."""

    group_id: str
    topics: tuple[FetchTopic, ...] | None
    member_id: str | None = None
    member_epoch: int = -1


@dataclass(frozen=True, slots=True)
class OffsetFetchRequest:
    """One group in the fields `group_id` and `topics` before version 8."""

    group_id: str = ""
    topics: tuple[FetchTopic, ...] | None = None
    groups: tuple[FetchGroup, ...] = ()
    require_stable: bool = False


@dataclass(frozen=True, slots=True)
class FetchedPartition:
    partition_index: int
    committed_offset: int = NO_OFFSET
    committed_leader_epoch: int = NO_LEADER_EPOCH
    metadata: str | None = ""
    error_code: ErrorCode = ErrorCode.none


@dataclass(frozen=True, slots=True)
class FetchedTopic:
    partitions: tuple[FetchedPartition, ...]
    name: str | None = None
    topic_id: uuid.UUID | None = None


@dataclass(frozen=True, slots=True)
class FetchedGroup:
    group_id: str
    topics: tuple[FetchedTopic, ...]
    error_code: ErrorCode = ErrorCode.none


@dataclass(frozen=True, slots=True)
class OffsetFetchResponse:
    topics: tuple[FetchedTopic, ...] = ()
    error_code: ErrorCode = ErrorCode.none
    groups: tuple[FetchedGroup, ...] = ()


@dataclass(frozen=True, slots=True)
class DeletePartition:
    partition_index: int


@dataclass(frozen=True, slots=True)
class DeleteTopic:
    name: str
    partitions: tuple[DeletePartition, ...]


@dataclass(frozen=True, slots=True)
class OffsetDeleteRequest:
    group_id: str
    topics: tuple[DeleteTopic, ...]


@dataclass(frozen=True, slots=True)
class OffsetDeleteResponse:
    topics: tuple[CommittedTopic, ...] = ()
    error_code: ErrorCode = ErrorCode.none


class OffsetsHandler:
    def __init__(self, groups: Groups, topics: TopicsImage, settings: BrokerSettings) -> None:
        self._groups = groups
        self._topics = topics
        self._metadata_length_max = settings.offset_metadata_max_bytes

    def apis(self) -> list[Api]:
        return [
            Api(8, "OffsetCommit", range(2, 11), OffsetCommitRequest, self.commit),
            Api(9, "OffsetFetch", range(1, 11), OffsetFetchRequest, self.fetch),
            Api(
                47, "OffsetDelete", range(1), OffsetDeleteRequest, self.delete,
                on_error=lambda error: OffsetDeleteResponse(error_code=error.code),
            ),
        ]  # fmt: skip

    async def commit(self, context: RequestContext, request: OffsetCommitRequest) -> OffsetCommitResponse:
        commit = OffsetsToCommit(
            request.topics,
            self._topics,
            metadata_length_max=self._metadata_length_max,
            retention=request.retention_time,
        )
        return OffsetCommitResponse(commit.answer(await self._store(context, request, commit.offsets)))

    async def _store(
        self,
        context: RequestContext,
        request: OffsetCommitRequest,
        offsets: Mapping[TopicPartition, CommittedOffset],
    ) -> ErrorCode:
        try:
            result: CommitResult = await self._groups.ask(
                messages.Commit(
                    group_id=request.group_id,
                    member_id=request.member_id,
                    group_instance_id=request.group_instance_id,
                    generation_id=request.generation_id_or_member_epoch,
                    offsets=offsets,
                    knows_member_epochs=context.api_version >= MEMBER_EPOCH_SINCE,
                )
            )
        except KafkaError as error:
            return error.code
        if result.error_code is ErrorCode.group_id_not_found and context.api_version < GROUP_NOT_FOUND_SINCE:
            return ErrorCode.illegal_generation
        return result.error_code

    async def fetch(self, context: RequestContext, request: OffsetFetchRequest) -> OffsetFetchResponse:
        version = context.api_version
        if version >= FETCH_GROUPS_SINCE:
            groups = [await self._fetch(group, request.require_stable, version) for group in request.groups]
            return OffsetFetchResponse(groups=tuple(groups))
        asked = FetchGroup(request.group_id, request.topics)
        group = await self._fetch(asked, request.require_stable, version)
        return OffsetFetchResponse(topics=group.topics, error_code=group.error_code)

    async def _fetch(self, group: FetchGroup, require_stable: bool, version: int) -> FetchedGroup:
        partitions = None
        if group.topics is not None:
            partitions = [
                (name, partition)
                for topic in group.topics
                if (name := self._topics.name_of(topic.name, topic.topic_id)) is not None
                for partition in topic.partition_indexes
            ]
        try:
            result: FetchOffsetsResult = await self._groups.ask(
                messages.FetchOffsets(
                    group.group_id, partitions, group.member_id, group.member_epoch, require_stable
                )
            )
        except KafkaError as error:
            return _fetch_failed(group, error.code, version)
        if result.error_code is not ErrorCode.none:
            return _fetch_failed(group, result.error_code, version)
        if group.topics is None:
            topics = self._all_topics(result, version)
        else:
            topics = [self._fetched_topic(topic, result) for topic in group.topics]
        return FetchedGroup(group.group_id, tuple(topics))

    def _all_topics(self, result: FetchOffsetsResult, version: int) -> Iterable[FetchedTopic]:
        by_topic: defaultdict[str, list[FetchedPartition]] = defaultdict(list)
        for name, partition in sorted({*result.offsets, *result.unstable}):
            by_topic[name].append(_fetched(name, partition, result))
        for name, partitions in by_topic.items():
            topic = self._topics.get(name)
            if topic is None and version >= TOPIC_IDS_SINCE:
                continue  # deleted meanwhile: there is no id to say it by
            yield FetchedTopic(tuple(partitions), name, None if topic is None else topic.topic_id)

    def _fetched_topic(self, asked: FetchTopic, result: FetchOffsetsResult) -> FetchedTopic:
        name = self._topics.name_of(asked.name, asked.topic_id)
        if name is None:
            partitions = [
                FetchedPartition(partition, error_code=ErrorCode.unknown_topic_id)
                for partition in asked.partition_indexes
            ]
        else:
            partitions = [_fetched(name, partition, result) for partition in asked.partition_indexes]
        return FetchedTopic(tuple(partitions), asked.name, asked.topic_id)

    async def delete(self, _context: RequestContext, request: OffsetDeleteRequest) -> OffsetDeleteResponse:
        asked = [(topic.name, p.partition_index) for topic in request.topics for p in topic.partitions]
        existing = [partition for partition in asked if self._topics.has_partition(*partition)]
        result: DeleteOffsetsResult = await self._groups.ask(
            messages.DeleteOffsets(request.group_id, existing)
        )
        if result.error_code is not ErrorCode.none:
            return OffsetDeleteResponse(error_code=result.error_code)
        errors = {
            partition: ErrorCode.none if partition in existing else ErrorCode.unknown_topic_or_partition
            for partition in asked
        } | dict.fromkeys(result.subscribed, ErrorCode.group_subscribed_to_topic)
        return OffsetDeleteResponse(
            tuple(
                CommittedTopic(
                    name=topic.name,
                    partitions=tuple(
                        CommittedPartition(p.partition_index, errors[topic.name, p.partition_index])
                        for p in topic.partitions
                    ),
                )
                for topic in request.topics
            )
        )


def _fetched(name: str, partition: int, result: FetchOffsetsResult) -> FetchedPartition:
    if (name, partition) in result.unstable:
        return FetchedPartition(partition, error_code=ErrorCode.unstable_offset_commit)
    committed = result.offsets.get((name, partition))
    if committed is None:
        return FetchedPartition(partition)
    return FetchedPartition(partition, committed.offset, committed.leader_epoch, committed.metadata)


def _fetch_failed(group: FetchGroup, error: ErrorCode, version: int) -> FetchedGroup:
    """Version 1 has no error but the partitions'."""
    if version >= FETCH_ERROR_SINCE:
        return FetchedGroup(group.group_id, (), error)
    topics = [
        FetchedTopic(
            tuple(FetchedPartition(partition, error_code=error) for partition in topic.partition_indexes),
            topic.name,
        )
        for topic in group.topics or ()
    ]
    return FetchedGroup(group.group_id, tuple(topics), error)
