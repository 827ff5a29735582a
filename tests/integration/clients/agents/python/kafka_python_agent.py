"""kafka-python 3, which has no annotations."""
# mypy: disable-error-code="import-untyped"

import contextlib
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import kafka.errors
from agent import Agent, json_record, raw, raw_headers, serve
from kafka import (
    ConsumerRebalanceListener,
    KafkaAdminClient,
    KafkaConsumer,
    KafkaProducer,
    OffsetAndMetadata,
    TopicPartition,
)
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from kafka.errors import KafkaError

ASSIGNORS = {
    "range": RangePartitionAssignor,
    "roundrobin": RoundRobinPartitionAssignor,
    "cooperative-sticky": CooperativeStickyAssignor,
}


class _Revoked(ConsumerRebalanceListener):  # type: ignore[misc]  # untyped base
    """What was taken away since the last look."""

    def __init__(self) -> None:
        self.partitions: list[list[Any]] = []

    def on_partitions_revoked(self, revoked: list[TopicPartition]) -> None:
        self.partitions += [list(partition) for partition in revoked]

    def on_partitions_assigned(self, assigned: list[TopicPartition]) -> None:
        """Nothing to do: the assignment is asked for at each poll."""


class KafkaPythonAgent(Agent):
    def __init__(self) -> None:
        self.producers: dict[str, KafkaProducer] = {}
        self.consumers: dict[str, KafkaConsumer] = {}
        self.revoked: dict[str, _Revoked] = {}
        self.threads = ThreadPoolExecutor()

    def error_code(self, error: Exception) -> int | None:
        """Some errors tell their number in the text only."""
        told = re.search(r"\[Error (\d+)\]", str(error))
        return getattr(error, "errno", None) or (int(told[1]) if told else None)

    def connect(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self.admin = KafkaAdminClient(bootstrap_servers=bootstrap)

    def reset(self) -> None:
        for handle in list(self.producers):
            with contextlib.suppress(KafkaError):
                self.close_producer(handle)
        for handle in list(self.consumers):
            with contextlib.suppress(KafkaError):
                self.close_consumer(handle)

    # --- producers

    def producer(
        self,
        handle: str,
        acks: int = -1,
        compression: str = "none",
        idempotent: bool = False,
        transactional_id: str | None = None,
        transaction_timeout_ms: int = 60_000,
    ) -> None:
        producer = KafkaProducer(
            bootstrap_servers=self.bootstrap,
            acks=acks,
            compression_type=None if compression == "none" else compression,
            enable_idempotence=idempotent or transactional_id is not None,
            transactional_id=transactional_id,
            transaction_timeout_ms=transaction_timeout_ms,
            max_request_size=10_000_000,
            linger_ms=5,
        )
        if transactional_id is not None:
            producer.init_transactions()
        self.producers[handle] = producer

    def produce(self, handle: str, topic: str, records: list[dict[str, Any]]) -> list[list[int]]:
        producer = self.producers[handle]
        sent = [
            producer.send(
                topic,
                value=raw(record.get("value")),
                key=raw(record.get("key")),
                partition=record.get("partition", 0),
                timestamp_ms=record.get("timestamp"),
                headers=raw_headers(record),
            )
            for record in records
        ]
        producer.flush(30)
        done = [future.get(30) for future in sent]
        return [[metadata.partition, metadata.offset] for metadata in done]

    def begin(self, handle: str) -> None:
        self.producers[handle].begin_transaction()

    def send_offsets(self, handle: str, consumer: str, group: str, offsets: list[list[Any]]) -> None:
        self.producers[handle].send_offsets_to_transaction(
            _with_offsets(offsets), self.consumers[consumer].group_metadata()
        )

    def commit_transaction(self, handle: str) -> None:
        self.producers[handle].commit_transaction()

    def abort_transaction(self, handle: str) -> None:
        self.producers[handle].abort_transaction()

    def close_producer(self, handle: str) -> None:
        self.producers.pop(handle).close(0)

    # --- consumers

    def consumer(
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
        consumer = KafkaConsumer(
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
            request_timeout_ms=max(70_000, fetch_max_wait_ms + 5_000),
            connections_max_idle_ms=300_000,
            partition_assignment_strategy=[ASSIGNORS[assignor]],
            metadata_max_age_ms=1_000,
        )
        listener = self.revoked[handle] = _Revoked()
        self.consumers[handle] = consumer
        if topics is not None:
            consumer.subscribe(topics, listener=listener)
        if positions is not None:
            consumer.assign([TopicPartition(t, p) for t, p, _ in positions])
            for t, p, offset in positions:
                _seek(consumer, TopicPartition(t, p), offset)

    def poll(self, handle: str, limit: int = 500, timeout_ms: int = 200) -> dict[str, Any]:
        consumer = self.consumers[handle]
        fetched = consumer.poll(timeout_ms, max_records=limit)
        listener = self.revoked[handle]
        revoked, listener.partitions = listener.partitions, []
        return {
            "records": [json_record(record) for records in fetched.values() for record in records],
            "assignment": sorted(list(partition) for partition in consumer.assignment()),
            "revoked": revoked,
        }

    def poll_all(self, handles: list[str]) -> list[dict[str, Any]]:
        """Each in a thread of its own: a member takes part in a rebalance only while it is polled."""
        return list(self.threads.map(lambda handle: self.poll(handle, timeout_ms=1000), handles))

    def commit(self, handle: str, offsets: list[list[Any]]) -> None:
        self.consumers[handle].commit(_with_offsets(offsets))

    def committed(self, handle: str, partitions: list[list[Any]]) -> list[list[Any]]:
        rows = []
        for t, p in partitions:
            found = self.consumers[handle].committed(TopicPartition(t, p), metadata=True)
            rows.append([t, p, -1, ""] if found is None else [t, p, found.offset, found.metadata])
        return rows

    def close_consumer(self, handle: str) -> None:
        self.consumers.pop(handle).close(autocommit=False)

    # --- administration

    def create_topic(
        self, topic: str, partitions: int, replicas: int = 1, configs: dict[str, str] | None = None
    ) -> None:
        options = {"num_partitions": partitions, "replication_factor": replicas, "configs": configs or {}}
        self.admin.create_topics({topic: options})

    def delete_topic(self, topic: str) -> None:
        self.admin.delete_topics([topic])

    def create_partitions(self, topic: str, total: int) -> None:
        self.admin.create_partitions({topic: total})

    def list_topics(self) -> list[str]:
        return sorted(self.admin.list_topics())

    def describe_topic(self, topic: str) -> dict[str, Any]:
        (described,) = self.admin.describe_topics([topic])
        partitions = described["partitions"]
        leaders = [partition["leader_id"] for partition in partitions]
        return {"partitions": len(leaders), "leaders": leaders}

    def describe_configs(self, resource: str, name: str) -> dict[str, str | None]:
        kind = ConfigResourceType[resource.upper()]
        described = self.admin.describe_configs([ConfigResource(kind, name)], config_filter="all")
        return {key: entry["value"] for key, entry in described[resource][name].items()}

    def alter_configs(
        self, resource: str, name: str, changes: dict[str, str | None], validate_only: bool = False
    ) -> None:
        configs = {k: ("DELETE", None) if v is None else ("SET", v) for k, v in changes.items()}
        target = ConfigResource(ConfigResourceType[resource.upper()], name, configs)
        told = self.admin.alter_configs([target], validate_only=validate_only, raise_on_unknown=False)
        _raise_for(told[resource][name])

    def list_groups(self) -> dict[str, Any]:
        listed = self.admin.list_groups()
        return {g["group_id"]: {"state": g["group_state"], "type": g["group_type"]} for g in listed}

    def describe_group(self, group: str) -> dict[str, Any]:
        described = self.admin.describe_groups([group])[group]
        assigned = [member["member_assignment"]["assigned_partitions"] for member in described["members"]]
        members = [sorted([a["topic"], p] for a in topics for p in a["partitions"]) for topics in assigned]
        return {
            "state": described["group_state"],
            "assignor": described["protocol_data"],
            "members": sorted(members),
        }

    def delete_group(self, group: str) -> None:
        _raise_for(self.admin.delete_groups([group])[group])

    def group_offsets(self, group: str) -> list[list[Any]]:
        found = self.admin.list_group_offsets({group: None})[group]
        return sorted([p.topic, p.partition, o.offset, o.metadata] for p, o in found.items())

    def alter_group_offsets(self, group: str, offsets: list[list[Any]]) -> None:
        for outcome in self.admin.alter_group_offsets(group, _with_offsets(offsets)).values():
            _raise_for(outcome)

    def delete_group_offsets(self, group: str, partitions: list[list[Any]]) -> None:
        wanted = [TopicPartition(t, p) for t, p in partitions]
        for outcome in self.admin.delete_group_offsets(group, wanted).values():
            _raise_for(outcome)

    def delete_records(self, topic: str, partition: int, before: int) -> int:
        of = TopicPartition(topic, partition)
        return int(self.admin.delete_records({of: before})[of]["low_watermark"])

    def list_offset(self, topic: str, partition: int, at: int) -> int:
        of = TopicPartition(topic, partition)
        return int(self.admin.list_partition_offsets({of: at})[of].offset)

    def describe_cluster(self) -> dict[str, Any]:
        described = self.admin.describe_cluster()
        nodes = [broker["broker_id"] for broker in described["brokers"]]
        return {"nodes": nodes, "cluster_id": described["cluster_id"]}

    def list_transactions(self) -> dict[str, str]:
        listed = self.admin.list_transactions()
        return {t.transactional_id: t.state.value for found in listed.values() for t in found}

    def describe_transaction(self, transactional_id: str) -> dict[str, Any]:
        described = self.admin.describe_transactions([transactional_id])[transactional_id]
        return {
            "state": described.state.value,
            "producer_id": described.producer_id,
            "producer_epoch": described.producer_epoch,
            "timeout_ms": described.transaction_timeout_ms,
            "partitions": sorted([p.topic, p.partition] for p in described.topic_partitions),
        }

    def describe_producers(self, topic: str, partition: int) -> list[dict[str, Any]]:
        of = TopicPartition(topic, partition)
        return [
            {
                "producer_id": producer.producer_id,
                "producer_epoch": producer.producer_epoch,
                "last_sequence": producer.last_sequence,
                "transaction_start": _none_is_minus_one(producer.current_transaction_start_offset),
            }
            for producer in self.admin.describe_producers([of])[of].active_producers
        ]


def _none_is_minus_one(offset: int | None) -> int:
    return -1 if offset is None else offset


def _raise_for(outcome: Any) -> None:
    """Outcomes are None, "OK", an error class, its name, or "[Error 40] Its name: …"."""
    name = outcome if isinstance(outcome, str) else getattr(outcome, "__name__", "OK")
    if name in ("OK", "NoError"):
        return
    if (known := getattr(kafka.errors, name, None)) is not None:
        raise known
    raise KafkaError(name)


def _seek(consumer: KafkaConsumer, partition: TopicPartition, offset: int) -> None:
    if offset == -2:
        consumer.seek_to_beginning(partition)
    elif offset == -1:
        consumer.seek_to_end(partition)
    else:
        consumer.seek(partition, offset)


def _with_offsets(offsets: list[list[Any]]) -> dict[TopicPartition, OffsetAndMetadata]:
    """[[topic, partition, offset, metadata?]…]."""
    return {TopicPartition(t, p): OffsetAndMetadata(o, *(m or [""]), -1) for t, p, o, *m in offsets}


if __name__ == "__main__":
    serve(KafkaPythonAgent)
