"""librdkafka, by confluent-kafka."""

import contextlib
from typing import Any

from agent import Agent, json_headers, raw, raw_headers, serve, text
from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    Consumer,
    ConsumerGroupTopicPartitions,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
)

SECONDS = 30
SPECS: Any = OffsetSpec  # its methods have no annotations
POSITIONS = {-2: OFFSET_BEGINNING, -1: OFFSET_END}


class ConfluentAgent(Agent):
    def __init__(self) -> None:
        self.producers: dict[str, Producer] = {}
        self.consumers: dict[str, Consumer] = {}
        self.revoked: dict[str, list[list[Any]]] = {}

    def error_code(self, error: Exception) -> int | None:
        if isinstance(error, KafkaException) and isinstance(error.args[0], KafkaError):
            return int(error.args[0].code())
        return None

    def connect(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self.admin = AdminClient({"bootstrap.servers": bootstrap})

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
        config: dict[str, Any] = {
            "bootstrap.servers": self.bootstrap,
            "acks": acks,
            "compression.type": compression,
            "enable.idempotence": idempotent,
            "message.max.bytes": 10_000_000,
            "linger.ms": 5,
            "allow.auto.create.topics": False,
        }
        if transactional_id is not None:
            config |= {"transactional.id": transactional_id, "transaction.timeout.ms": transaction_timeout_ms}
            config["enable.idempotence"] = True
        producer = Producer(config)
        if transactional_id is not None:
            producer.init_transactions(SECONDS)
        self.producers[handle] = producer

    def produce(self, handle: str, topic: str, records: list[dict[str, Any]]) -> list[list[Any]]:
        producer = self.producers[handle]
        done: list[list[Any]] = []
        failed: list[KafkaError] = []

        def delivered(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                failed.append(error)
            else:
                done.append([message.partition(), message.offset()])

        for record in records:
            producer.produce(
                topic,
                value=raw(record.get("value")),
                key=raw(record.get("key")),
                partition=record.get("partition", 0),
                timestamp=record.get("timestamp", 0),
                headers=raw_headers(record),
                on_delivery=delivered,
            )
            producer.poll(0)
        producer.flush(SECONDS)
        if failed:
            raise KafkaException(failed[0])
        return done

    def begin(self, handle: str) -> None:
        self.producers[handle].begin_transaction()

    def send_offsets(self, handle: str, consumer: str, group: str, offsets: list[list[Any]]) -> None:
        self.producers[handle].send_offsets_to_transaction(
            _with_offsets(offsets), self.consumers[consumer].consumer_group_metadata(), SECONDS
        )

    def commit_transaction(self, handle: str) -> None:
        self.producers[handle].commit_transaction(SECONDS)

    def abort_transaction(self, handle: str) -> None:
        self.producers[handle].abort_transaction(SECONDS)

    def close_producer(self, handle: str) -> None:
        self.producers.pop(handle).flush(0)

    # --- consumers

    def consumer(
        self,
        handle: str,
        topics: list[str] | None = None,
        positions: list[list[Any]] | None = None,
        group: str | None = None,
        instance_id: str | None = None,
        protocol: str = "classic",
        assignor: str = "range",
        read_committed: bool = False,
        session_timeout_ms: int = 10_000,
        max_poll_interval_ms: int = 60_000,
        fetch_max_wait_ms: int = 500,
        fetch_max_bytes: int = 52_428_800,
    ) -> None:
        config: dict[str, Any] = {
            "bootstrap.servers": self.bootstrap,
            "group.id": group or "nobody",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "isolation.level": "read_committed" if read_committed else "read_uncommitted",
            "max.poll.interval.ms": max_poll_interval_ms,
            "fetch.wait.max.ms": fetch_max_wait_ms,
            "fetch.max.bytes": fetch_max_bytes,
            "message.max.bytes": min(fetch_max_bytes, 1_000_000),
            "max.partition.fetch.bytes": min(fetch_max_bytes, 1_048_576),
            "socket.timeout.ms": max(60_000, fetch_max_wait_ms + 1_000),
            "topic.metadata.refresh.interval.ms": 1_000,
        }
        if instance_id is not None:
            config["group.instance.id"] = instance_id
        if protocol == "consumer":
            config |= {"group.protocol": "consumer", "group.remote.assignor": assignor}
        else:
            config |= {"partition.assignment.strategy": assignor, "session.timeout.ms": session_timeout_ms}
            config["heartbeat.interval.ms"] = 300
        consumer = Consumer(config)
        self.revoked[handle] = []
        if topics is not None:
            consumer.subscribe(
                topics, on_revoke=self._note_revoked(handle), on_lost=self._note_revoked(handle)
            )
        if positions is not None:
            consumer.assign([TopicPartition(t, p, POSITIONS.get(o, o)) for t, p, o in positions])
        self.consumers[handle] = consumer

    def reset(self) -> None:
        for handle in list(self.producers):
            with contextlib.suppress(KafkaException):  # fenced, for instance
                self.close_producer(handle)
        for handle in list(self.consumers):
            with contextlib.suppress(KafkaException, RuntimeError):
                self.close_consumer(handle)

    def _note_revoked(self, handle: str) -> Any:
        def revoked(consumer: Consumer, partitions: list[TopicPartition]) -> None:
            self.revoked[handle] += [[p.topic, p.partition] for p in partitions]

        return revoked

    def poll(self, handle: str, limit: int = 500, timeout_ms: int = 200) -> dict[str, Any]:
        consumer = self.consumers[handle]
        messages = consumer.consume(limit, timeout_ms / 1000)
        records = [_json_record(message) for message in messages if message.error() is None]
        errors = [error for message in messages if (error := message.error()) is not None]
        if errors and not records:
            raise KafkaException(errors[0])
        revoked, self.revoked[handle] = self.revoked[handle], []
        assignment = [[p.topic, p.partition] for p in consumer.assignment()]
        return {"records": records, "assignment": sorted(assignment), "revoked": revoked}

    def commit(self, handle: str, offsets: list[list[Any]]) -> None:
        self.consumers[handle].commit(offsets=_with_offsets(offsets), asynchronous=False)

    def committed(self, handle: str, partitions: list[list[Any]]) -> list[list[Any]]:
        found = self.consumers[handle].committed([TopicPartition(t, p) for t, p in partitions], SECONDS)
        return [[p.topic, p.partition, max(p.offset, -1), p.metadata or ""] for p in found]

    def offset_at(self, handle: str, topic: str, partition: int, timestamp: int) -> int:
        (found,) = self.consumers[handle].offsets_for_times(
            [TopicPartition(topic, partition, timestamp)], SECONDS
        )
        return int(found.offset)

    def close_consumer(self, handle: str) -> None:
        consumer = self.consumers.pop(handle)
        # librdkafka 2.16: a revocation that waits to be served since max.poll.interval.ms was exceeded may be
        # served by close() after the group's queue has closed, and then hangs in assign() for ever.
        while consumer.poll(0) is not None:
            pass
        consumer.close()

    # --- administration

    def create_topic(
        self, topic: str, partitions: int, replicas: int = 1, configs: dict[str, str] | None = None
    ) -> None:
        new = NewTopic(topic, num_partitions=partitions, replication_factor=replicas, config=configs or {})
        _only(self.admin.create_topics([new]))

    def delete_topic(self, topic: str) -> None:
        _only(self.admin.delete_topics([topic]))

    def create_partitions(self, topic: str, total: int) -> None:
        _only(self.admin.create_partitions([NewPartitions(topic, total)]))

    def list_topics(self) -> list[str]:
        return sorted(self.admin.list_topics(timeout=SECONDS).topics)

    def describe_topic(self, topic: str) -> dict[str, Any]:

        described = _only(self.admin.describe_topics(TopicCollection([topic])))
        return {
            "partitions": len(described.partitions),
            "leaders": [p.leader.id for p in described.partitions],
        }

    def describe_configs(self, resource: str, name: str) -> dict[str, str | None]:
        kind = ConfigResource.Type[resource.upper()]
        return {
            n: e.value for n, e in _only(self.admin.describe_configs([ConfigResource(kind, name)])).items()
        }

    def alter_configs(
        self, resource: str, name: str, changes: dict[str, str | None], validate_only: bool = False
    ) -> None:
        entries = [
            ConfigEntry(
                key,
                value,
                incremental_operation=AlterConfigOpType.DELETE if value is None else AlterConfigOpType.SET,
            )
            for key, value in changes.items()
        ]
        target = ConfigResource(ConfigResource.Type[resource.upper()], name, incremental_configs=entries)
        _only(self.admin.incremental_alter_configs([target], validate_only=validate_only))

    def list_groups(self) -> dict[str, dict[str, str | None]]:
        listed = self.admin.list_consumer_groups(request_timeout=SECONDS).result().valid
        return {g.group_id: {"state": g.state.name, "type": g.type.name} for g in listed}

    def describe_group(self, group: str) -> dict[str, Any]:
        described = _only(self.admin.describe_consumer_groups([group]))
        members = [
            sorted([p.topic, p.partition] for p in member.assignment.topic_partitions)
            for member in described.members
        ]
        return {
            "state": described.state.name,
            "assignor": described.partition_assignor,
            "members": sorted(members),
        }

    def delete_group(self, group: str) -> None:
        _only(self.admin.delete_consumer_groups([group]))

    def group_offsets(self, group: str) -> list[list[Any]]:
        found = _only(self.admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)]))
        return sorted([p.topic, p.partition, p.offset, p.metadata or ""] for p in found.topic_partitions)

    def alter_group_offsets(self, group: str, offsets: list[list[Any]]) -> None:
        wanted = ConsumerGroupTopicPartitions(group, _with_offsets(offsets))
        for partition in _only(self.admin.alter_consumer_group_offsets([wanted])).topic_partitions:
            if partition.error is not None:
                raise KafkaException(partition.error)

    def delete_records(self, topic: str, partition: int, before: int) -> int:
        return int(_only(self.admin.delete_records([TopicPartition(topic, partition, before)])).low_watermark)

    def list_offset(self, topic: str, partition: int, at: int, read_committed: bool = False) -> int:
        named = {-2: SPECS.earliest, -1: SPECS.latest, -3: SPECS.max_timestamp}
        spec = named[at]() if at in named else SPECS.for_timestamp(at)
        level = IsolationLevel.READ_COMMITTED if read_committed else IsolationLevel.READ_UNCOMMITTED
        wanted = {TopicPartition(topic, partition): spec}
        return int(_only(self.admin.list_offsets(wanted, isolation_level=level)).offset)

    def describe_cluster(self) -> dict[str, Any]:
        described = self.admin.describe_cluster().result()
        return {"nodes": [node.id for node in described.nodes], "cluster_id": described.cluster_id}


def _only(futures: dict[Any, Any]) -> Any:
    (future,) = futures.values()
    return future.result(SECONDS)


def _with_offsets(offsets: list[list[Any]]) -> list[TopicPartition]:
    """[[topic, partition, offset, metadata?]…]."""
    return [TopicPartition(t, p, o, *metadata) for t, p, o, *metadata in offsets]


def _json_record(message: Message) -> dict[str, Any]:
    return {
        "topic": message.topic(),
        "partition": message.partition(),
        "offset": message.offset(),
        "timestamp": message.timestamp()[1],
        "key": text(message.key()),
        "value": text(message.value()),
        "headers": json_headers(message.headers()),
    }


if __name__ == "__main__":
    serve(ConfluentAgent)
