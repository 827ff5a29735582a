"""aiokafka."""

import contextlib
from typing import Any

from agent import Agent, json_record, raw, raw_headers, serve
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.errors import KafkaError, for_code
from aiokafka.structs import OffsetAndMetadata

ASSIGNORS = {
    "range": RangePartitionAssignor,
    "roundrobin": RoundRobinPartitionAssignor,
    "sticky": StickyPartitionAssignor,
}


class _Revoked(ConsumerRebalanceListener):
    """What was taken away since the last look."""

    def __init__(self) -> None:
        self.partitions: list[list[Any]] = []

    def on_partitions_revoked(self, revoked: list[TopicPartition]) -> None:
        self.partitions += [list(partition) for partition in revoked]

    def on_partitions_assigned(self, assigned: list[TopicPartition]) -> None:
        """Nothing to do: the assignment is asked for at each poll."""


class AiokafkaAgent(Agent):
    def __init__(self) -> None:
        self.producers: dict[str, AIOKafkaProducer] = {}
        self.consumers: dict[str, AIOKafkaConsumer] = {}
        self.revoked: dict[str, _Revoked] = {}

    def error_code(self, error: Exception) -> int | None:
        return getattr(error, "errno", None)

    async def connect(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self.admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
        await self.admin.start()
        self.asker = AIOKafkaConsumer(bootstrap_servers=bootstrap)
        await self.asker.start()

    async def reset(self) -> None:
        for handle in list(self.producers):
            with contextlib.suppress(KafkaError):
                await self.close_producer(handle)
        for handle in list(self.consumers):
            with contextlib.suppress(KafkaError):
                await self.close_consumer(handle)

    # --- producers

    async def producer(
        self,
        handle: str,
        acks: int = -1,
        compression: str = "none",
        idempotent: bool = False,
        transactional_id: str | None = None,
        transaction_timeout_ms: int = 60_000,
    ) -> None:
        producer = AIOKafkaProducer(
            bootstrap_servers=self.bootstrap,
            acks=acks,
            compression_type=None if compression == "none" else compression,
            enable_idempotence=idempotent or transactional_id is not None,
            transactional_id=transactional_id,
            transaction_timeout_ms=transaction_timeout_ms,
            max_request_size=10_000_000,
            linger_ms=5,
        )
        try:
            await producer.start()
        except BaseException:
            await producer.stop()
            raise
        self.producers[handle] = producer

    async def produce(self, handle: str, topic: str, records: list[dict[str, Any]]) -> list[list[int]]:
        producer = self.producers[handle]
        sent = [
            await producer.send(
                topic,
                value=raw(record.get("value")),
                key=raw(record.get("key")),
                partition=record.get("partition", 0),
                timestamp_ms=record.get("timestamp"),
                headers=raw_headers(record),
            )
            for record in records
        ]
        await producer.flush()
        done = [await future for future in sent]
        return [[metadata.partition, metadata.offset] for metadata in done if metadata is not None]

    async def begin(self, handle: str) -> None:
        await self.producers[handle].begin_transaction()

    async def send_offsets(self, handle: str, consumer: str, group: str, offsets: list[list[Any]]) -> None:
        await self.producers[handle].send_offsets_to_transaction(_with_offsets(offsets), group)

    async def commit_transaction(self, handle: str) -> None:
        await self.producers[handle].commit_transaction()

    async def abort_transaction(self, handle: str) -> None:
        await self.producers[handle].abort_transaction()

    async def close_producer(self, handle: str) -> None:
        await self.producers.pop(handle).stop()

    # --- consumers

    async def consumer(
        self,
        handle: str,
        topics: list[str] | None = None,
        positions: list[list[Any]] | None = None,
        group: str | None = None,
        instance_id: str | None = None,
        assignor: str = "range",
        read_committed: bool = False,
        session_timeout_ms: int = 10_000,
        max_poll_interval_ms: int = 60_000,
        fetch_max_wait_ms: int = 500,
        fetch_max_bytes: int = 52_428_800,
    ) -> None:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap,
            group_id=group,
            group_instance_id=instance_id,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            isolation_level="read_committed" if read_committed else "read_uncommitted",
            session_timeout_ms=session_timeout_ms,
            heartbeat_interval_ms=300,
            max_poll_interval_ms=max_poll_interval_ms,
            fetch_max_wait_ms=fetch_max_wait_ms,
            fetch_max_bytes=fetch_max_bytes,
            max_partition_fetch_bytes=min(fetch_max_bytes, 1_048_576),
            request_timeout_ms=max(40_000, fetch_max_wait_ms + 5_000),
            partition_assignment_strategy=(ASSIGNORS[assignor],),
            metadata_max_age_ms=1_000,
        )
        listener = self.revoked[handle] = _Revoked()
        if topics is not None:
            consumer.subscribe(topics, listener=listener)
        await consumer.start()
        self.consumers[handle] = consumer
        if positions is not None:
            consumer.assign([TopicPartition(t, p) for t, p, _ in positions])
            for t, p, offset in positions:
                await _seek(consumer, TopicPartition(t, p), offset)

    async def poll(self, handle: str, limit: int = 500, timeout_ms: int = 200) -> dict[str, Any]:
        consumer = self.consumers[handle]
        fetched = await consumer.getmany(timeout_ms=timeout_ms, max_records=limit)
        listener = self.revoked[handle]
        revoked, listener.partitions = listener.partitions, []
        return {
            "records": [json_record(record) for records in fetched.values() for record in records],
            "assignment": sorted(list(partition) for partition in consumer.assignment()),
            "revoked": revoked,
        }

    async def commit(self, handle: str, offsets: list[list[Any]]) -> None:
        await self.consumers[handle].commit(_with_offsets(offsets))

    async def committed(self, handle: str, partitions: list[list[Any]]) -> list[list[Any]]:
        rows = []
        for t, p in partitions:
            offset = await self.consumers[handle].committed(TopicPartition(t, p))
            rows.append([t, p, -1 if offset is None else offset, None])
        return rows

    async def close_consumer(self, handle: str) -> None:
        await self.consumers.pop(handle).stop()

    # --- administration

    async def create_topic(
        self, topic: str, partitions: int, replicas: int = 1, configs: dict[str, str] | None = None
    ) -> None:
        new = NewTopic(topic, partitions, replicas, topic_configs=configs or {})
        response: Any = await self.admin.create_topics([new])
        _raise_for(response.topic_errors[0][1])

    async def delete_topic(self, topic: str) -> None:
        response: Any = await self.admin.delete_topics([topic])
        _raise_for(response.topic_error_codes[0][1])

    async def create_partitions(self, topic: str, total: int) -> None:
        response: Any = await self.admin.create_partitions({topic: NewPartitions(total)})
        _raise_for(response.topic_errors[0][1])

    async def list_topics(self) -> list[str]:
        return sorted(await self.admin.list_topics())

    async def describe_topic(self, topic: str) -> dict[str, Any]:
        (described,) = await self.admin.describe_topics([topic])
        _raise_for(described["error_code"])
        partitions = described["partitions"]
        return {"partitions": len(partitions), "leaders": [partition["leader"] for partition in partitions]}

    async def describe_configs(self, resource: str, name: str) -> dict[str, str | None]:
        kind = ConfigResourceType[resource.upper()]
        response: Any = (await self.admin.describe_configs([ConfigResource(kind, name)]))[0]
        code, _, _, _, configs = response.resources[0]
        _raise_for(code)
        return {entry[0]: entry[1] for entry in configs}

    async def alter_configs(self, resource: str, name: str, changes: dict[str, str | None]) -> None:
        """AlterConfigs of old: what is not named goes back to its default."""
        kind = ConfigResourceType[resource.upper()]
        configs = {key: value for key, value in changes.items() if value is not None}
        response: Any = (await self.admin.alter_configs([ConfigResource(kind, name, configs)]))[0]
        _raise_for(response.resources[0][0])

    async def list_groups(self) -> dict[str, Any]:
        return {name: {"type": kind} for name, kind, *_ in await self.admin.list_consumer_groups()}

    async def describe_group(self, group: str) -> dict[str, Any]:
        response: Any = (await self.admin.describe_consumer_groups([group]))[0]
        code, _, state, _, protocol, members, *_ = response.groups[0]
        _raise_for(code)
        assignments = []
        for member in members:
            assignment = ConsumerProtocolMemberAssignment.decode(member[4]).assignment
            assignments.append(sorted([topic, p] for topic, partitions in assignment for p in partitions))
        return {"state": state, "assignor": protocol, "members": sorted(assignments)}

    async def group_offsets(self, group: str) -> list[list[Any]]:
        found = await self.admin.list_consumer_group_offsets(group)
        return sorted([p.topic, p.partition, o.offset, o.metadata] for p, o in found.items())

    async def delete_records(self, topic: str, partition: int, before: int) -> int:
        wanted = {TopicPartition(topic, partition): RecordsToDelete(before)}
        return int((await self.admin.delete_records(wanted))[TopicPartition(topic, partition)])

    async def list_offset(self, topic: str, partition: int, at: int) -> int:
        of = TopicPartition(topic, partition)
        if at == -2:
            return int((await self.asker.beginning_offsets([of]))[of])
        if at == -1:
            return int((await self.asker.end_offsets([of]))[of])
        found = (await self.asker.offsets_for_times({of: at}))[of]
        return -1 if found is None else int(found.offset)

    async def describe_cluster(self) -> dict[str, Any]:
        described = await self.admin.describe_cluster()
        return {
            "nodes": [node["node_id"] for node in described["brokers"]],
            "cluster_id": described["cluster_id"],
        }


async def _seek(consumer: AIOKafkaConsumer, partition: TopicPartition, offset: int) -> None:
    if offset == -2:
        await consumer.seek_to_beginning(partition)
    elif offset == -1:
        await consumer.seek_to_end(partition)
    else:
        consumer.seek(partition, offset)


def _raise_for(code: int) -> None:
    if code:
        raise for_code(code)


def _with_offsets(offsets: list[list[Any]]) -> dict[TopicPartition, OffsetAndMetadata]:
    """[[topic, partition, offset, metadata?]…]."""
    return {TopicPartition(t, p): OffsetAndMetadata(o, *(m or [""])) for t, p, o, *m in offsets}


if __name__ == "__main__":
    serve(AiokafkaAgent)
