"""Configs that change at run time, and DeleteRecords: errors and texts are those of Apache Kafka 4.3.1."""

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kio.schema.errors import ErrorCode
from support.batches import make_batch
from support.kafka_wire import Wire
from support.raw_kafka import create_topic, fetch, produce

from connect.testing.millstream import Broker

DELETE_RECORDS, DESCRIBE_CONFIGS, ALTER_CONFIGS, INCREMENTAL, LIST_RESOURCES = 21, 32, 33, 44, 74
TOPIC, BROKER, LOGGER, METRICS, GROUP = 2, 4, 8, 16, 32
SET, DELETE, APPEND, SUBTRACT = range(4)
SESSION, HEARTBEAT = "consumer.session.timeout.ms", "consumer.heartbeat.interval.ms"
ASSIGNMENT = "consumer.assignment.interval.ms"

Change = tuple[int, str, str | None]
Resource = tuple[int, str, list[Change]]


@pytest.fixture
def wire(broker: Broker) -> Iterator[Wire]:
    with Wire(broker.bootstrap) as wire:
        yield wire


@pytest.fixture
def topic(wire: Wire, kafka_topic: str) -> str:
    create_topic(wire, kafka_topic, 2)
    return kafka_topic


@pytest.fixture
def group() -> str:
    return f"g-{uuid.uuid4().hex[:12]}"


def alter(
    wire: Wire, *resources: Resource, key: int = INCREMENTAL, version: int = 1, **more: Any
) -> list[Any]:
    """Error and text of each resource."""
    asked = [
        {
            "resource_type": kind,
            "resource_name": name,
            "configs": [{"name": n, "config_operation": op, "value": v} for op, n, v in changes],
        }
        for kind, name, changes in resources
    ]
    answered = wire.ask(key, version, resources=asked, **more).responses
    assert [(a.resource_type, a.resource_name) for a in answered] == [(r[0], r[1]) for r in resources]
    return [(a.error_code, a.error_message) for a in answered]


def described(wire: Wire, kind: int, name: str) -> dict[str, Any]:
    resource = {"resource_type": kind, "resource_name": name, "configuration_keys": None}
    (found,) = wire.ask(DESCRIBE_CONFIGS, 4, resources=[resource], include_synonyms=True).results
    assert found.error_code is ErrorCode.none
    return {config.name: config for config in found.configs}


def explicit(wire: Wire, name: str, kind: int = TOPIC) -> dict[str, str]:
    """What is set for a topic or a group."""
    return {c.name: c.value for c in described(wire, kind, name).values() if c.config_source in (1, 8)}


OK = (ErrorCode.none, None)


class TestTopics:
    @pytest.mark.parametrize("version", range(2))
    def test_incremental(self, wire: Wire, topic: str, version: int) -> None:
        changes: list[Change] = [(SET, "retention.ms", "5"), (SET, "segment.ms", "77")]
        assert alter(wire, (TOPIC, topic, changes), version=version) == [OK]
        assert explicit(wire, topic) == {"retention.ms": "5", "segment.ms": "77"}
        assert alter(wire, (TOPIC, topic, [(DELETE, "segment.ms", None)]), version=version) == [OK]
        assert explicit(wire, topic) == {"retention.ms": "5"}

    @pytest.mark.parametrize("version", range(3))
    def test_replacing_all(self, wire: Wire, topic: str, version: int) -> None:
        alter(wire, (TOPIC, topic, [(SET, "retention.ms", "5")]))
        replaced = (TOPIC, topic, [(SET, "segment.ms", "77")])
        assert alter(wire, replaced, key=ALTER_CONFIGS, version=version) == [OK]
        assert explicit(wire, topic) == {"segment.ms": "77"}
        assert alter(wire, (TOPIC, topic, []), key=ALTER_CONFIGS, version=version) == [OK]
        assert explicit(wire, topic) == {}

    def test_lists(self, wire: Wire, topic: str) -> None:
        for operation, value, policy in [
            (APPEND, "compact", "delete,compact"),
            (APPEND, "compact,delete", "delete,compact"),
            (SUBTRACT, "delete", "compact"),
            (SUBTRACT, "nothing", "compact"),
            (SUBTRACT, "compact", ""),
            (SET, " compact , delete,compact ", "compact,delete"),
        ]:
            assert alter(wire, (TOPIC, topic, [(operation, "cleanup.policy", value)])) == [OK]
            assert explicit(wire, topic) == {"cleanup.policy": policy}

    def test_where_a_value_comes_from_is_shown(self, wire: Wire, topic: str) -> None:
        alter(wire, (TOPIC, topic, [(SET, "max.message.bytes", " 5000 ")]))
        config = described(wire, TOPIC, topic)["max.message.bytes"]
        assert (config.value, config.config_source, config.read_only) == ("5000", 1, False)
        assert [(s.name, s.value, s.source) for s in config.synonyms] == [
            ("max.message.bytes", "5000", 1), ("message.max.bytes", "1048588", 5),
        ]  # fmt: skip

    @pytest.mark.parametrize(
        ("changes", "error", "message"),
        [
            ([(SET, "nonsense", "1")], "invalid_config", "Unknown topic config name: nonsense"),
            ([(APPEND, "nonsense", "1")], "invalid_config",
             "Can't APPEND to key nonsense because its type is not LIST."),
            ([(SET, "retention.ms", "x")], "invalid_config",
             "Invalid value x for configuration retention.ms: Not a number of type LONG"),
            ([(SET, "retention.ms", "-2")], "invalid_config",
             "Invalid value -2 for configuration retention.ms: Value must be at least -1"),
            ([(SET, "retention.ms", None), (SET, "segment.ms", None)], "invalid_request",
             "Null value not supported for : retention.ms, segment.ms"),
            ([(APPEND, "cleanup.policy", None)], "invalid_request",
             "Null value not supported for : cleanup.policy"),
            ([(APPEND, "retention.ms", "5")], "invalid_config",
             "Can't APPEND to key retention.ms because its type is not LIST."),
            ([(SUBTRACT, "retention.ms", "5")], "invalid_config",
             "Can't SUBTRACT to key retention.ms because its type is not LIST."),
            ([(APPEND, "cleanup.policy", "foo")], "invalid_config",
             "Invalid value foo for configuration cleanup.policy: String must be one of: compact, delete"),
            ([(APPEND, "cleanup.policy", "")], "invalid_config",
             "Configuration 'cleanup.policy' values must not be empty."),
            ([(SET, "retention.ms", "5"), (SET, "retention.ms", "6")], "invalid_request",
             "Error due to duplicate config keys"),
            ([(SET, "min.compaction.lag.ms", "100"), (SET, "max.compaction.lag.ms", "5")], "invalid_config",
             "conflict topic config setting min.compaction.lag.ms (100) > max.compaction.lag.ms (5)"),
            ([(SET, "remote.storage.enable", "true")], "invalid_config",
             "Tiered Storage functionality is disabled in the broker. "
             "Topic cannot be configured with remote log storage."),
            ([(7, "retention.ms", "5")], "invalid_request", "Unknown config operation 7"),
        ],
    )  # fmt: skip
    @pytest.mark.parametrize("validate_only", [False, True])
    def test_refused_in_kafkas_words(
        self, wire: Wire, topic: str, changes: list[Change], error: str, message: str, validate_only: bool
    ) -> None:
        good = (SET, "flush.ms", "1000")
        answered = alter(wire, (TOPIC, topic, [good, *changes]), validate_only=validate_only)
        assert answered == [(ErrorCode[error], message)]
        assert explicit(wire, topic) == {}

    @pytest.mark.parametrize("key", [ALTER_CONFIGS, INCREMENTAL])
    def test_what_is_not_there(self, wire: Wire, kafka_topic: str, key: int) -> None:
        version = 2 if key == ALTER_CONFIGS else 1
        for name, error, message in [
            (kafka_topic, "unknown_topic_or_partition", f"The topic '{kafka_topic}' does not exist."),
            ("", "invalid_request", "Default topic resources are not allowed."),
            ("..", "invalid_topic_exception", "Topic name is invalid: '..' is not allowed"),
        ]:
            answered = alter(wire, (TOPIC, name, [(SET, "flush.ms", "5")]), key=key, version=version)
            assert answered == [(ErrorCode[error], message)]

    def test_a_config_that_was_not_set_may_be_deleted(self, wire: Wire, topic: str) -> None:
        assert alter(wire, (TOPIC, topic, [(DELETE, "retention.ms", None), (DELETE, "foo", None)])) == [OK]

    def test_each_resource_fails_alone(self, wire: Wire, topic: str, group: str) -> None:
        good = [(SET, "retention.ms", "5")]
        answered = alter(wire, (TOPIC, "nowhere-" + topic, good), (TOPIC, topic, good), (GROUP, group, good))
        assert [error for error, _ in answered] == [
            ErrorCode.unknown_topic_or_partition, ErrorCode.none, ErrorCode.invalid_config,
        ]  # fmt: skip
        assert explicit(wire, topic) == {"retention.ms": "5"}

    @pytest.mark.parametrize(("key", "version"), [(ALTER_CONFIGS, 2), (INCREMENTAL, 1)])
    def test_a_resource_twice_is_refused(self, wire: Wire, topic: str, key: int, version: int) -> None:
        one, other = (TOPIC, topic, [(SET, "flush.ms", "5")]), (TOPIC, topic, [(SET, "segment.ms", "5")])
        refused = (ErrorCode.invalid_request, "Each resource must appear at most once.")
        assert alter(wire, one, other, key=key, version=version) == [refused, refused]
        assert explicit(wire, topic) == {}

    def test_validating_changes_nothing(self, wire: Wire, topic: str, group: str) -> None:
        answered = alter(
            wire, (TOPIC, topic, [(SET, "retention.ms", "5")]), (GROUP, group, [(SET, SESSION, "50000")]),
            validate_only=True,
        )  # fmt: skip
        assert answered == [OK, OK]
        assert explicit(wire, topic) == {}
        assert explicit(wire, group, GROUP) == {}

    def test_a_change_is_obeyed_at_once_by_all_partitions(self, wire: Wire, topic: str) -> None:
        large = bytes(make_batch([b"x" * 10_000]))
        for partition in range(2):
            assert produce(wire, topic, large, partition=partition).error_code is ErrorCode.none
        alter(wire, (TOPIC, topic, [(SET, "max.message.bytes", "1000")]))
        for partition in range(2):
            refused = produce(wire, topic, large, partition=partition)
            assert refused.error_code is ErrorCode.message_too_large
        alter(wire, (TOPIC, topic, [(DELETE, "max.message.bytes", None)]))
        assert produce(wire, topic, large, partition=1).error_code is ErrorCode.none

    def test_a_topic_that_is_made_anew_has_nothing_of_the_old_one(self, wire: Wire, topic: str) -> None:
        alter(wire, (TOPIC, topic, [(SET, "retention.ms", "5")]))
        wire.ask(20, 5, topic_names=[topic], timeout=5000)
        create_topic(wire, topic)
        assert explicit(wire, topic) == {}


class TestGroups:
    def test_set_and_deleted(self, wire: Wire, group: str) -> None:
        assert explicit(wire, group, GROUP) == {}
        assert alter(wire, (GROUP, group, [(SET, SESSION, "46000"), (SET, HEARTBEAT, "6000")])) == [OK]
        assert explicit(wire, group, GROUP) == {SESSION: "46000", HEARTBEAT: "6000"}
        config = described(wire, GROUP, group)[SESSION]
        assert [(s.name, s.value, s.source) for s in config.synonyms] == [
            (SESSION, "46000", 8), (f"group.{SESSION}", "45000", 5),
        ]  # fmt: skip
        listed = wire.ask(LIST_RESOURCES, 1, resource_types=[GROUP]).config_resources
        assert (group, GROUP) in [(r.resource_name, r.resource_type) for r in listed]
        alter(wire, (GROUP, group, [(SET, HEARTBEAT, "7000")]), key=ALTER_CONFIGS, version=2)
        assert explicit(wire, group, GROUP) == {HEARTBEAT: "7000"}
        alter(wire, (GROUP, group, [(DELETE, HEARTBEAT, None)]))
        listed = wire.ask(LIST_RESOURCES, 1, resource_types=[GROUP]).config_resources
        assert group not in [r.resource_name for r in listed]

    @pytest.mark.parametrize(
        ("change", "error", "message"),
        [
            ((SET, SESSION, "x"), "invalid_config",
             f"Invalid value x for configuration {SESSION}: Not a number of type INT"),
            ((SET, HEARTBEAT, "0"), "invalid_config",
             f"Invalid value 0 for configuration {HEARTBEAT}: Value must be at least 1"),
            ((SET, SESSION, "1"), "invalid_config",
             f"{SESSION} must be greater than or equal to group.consumer.min.session.timeout.ms"),
            ((SET, SESSION, "60001"), "invalid_config",
             f"{SESSION} must be less than or equal to group.consumer.max.session.timeout.ms"),
            ((SET, HEARTBEAT, "1"), "invalid_config",
             f"{HEARTBEAT} must be greater than or equal to group.consumer.min.heartbeat.interval.ms"),
            ((SET, HEARTBEAT, "15001"), "invalid_config",
             f"{HEARTBEAT} must be less than or equal to group.consumer.max.heartbeat.interval.ms"),
            ((SET, ASSIGNMENT, "-1"), "invalid_config",
             f"Invalid value -1 for configuration {ASSIGNMENT}: Value must be at least 0"),
            ((SET, ASSIGNMENT, "99999999"), "invalid_config",
             f"{ASSIGNMENT} must be less than or equal to group.consumer.max.assignment.interval.ms"),
            ((SET, "foo", "1"), "invalid_config", "Unknown group config name: foo"),
            ((SET, SESSION, None), "invalid_request", f"Null value not supported for : {SESSION}"),
            ((APPEND, SESSION, "1"), "invalid_config",
             f"Can't APPEND to key {SESSION} because its type is not LIST."),
        ],
    )  # fmt: skip
    def test_refused_in_kafkas_words(
        self, wire: Wire, group: str, change: Change, error: str, message: str
    ) -> None:
        assert alter(wire, (GROUP, group, [change])) == [(ErrorCode[error], message)]
        assert explicit(wire, group, GROUP) == {}

    def test_members_are_told(self, tmp_path: Path) -> None:
        def interval_ms(wire: Wire) -> float:
            """What a new member of the group is told."""
            answer = wire.ask(
                68, 1, group_id="g", member_id=str(uuid.uuid4()), member_epoch=0, rebalance_timeout=10_000,
                subscribed_topic_names=["t"], topic_partitions=[],
            )  # fmt: skip
            assert answer.error_code is ErrorCode.none
            return float(answer.heartbeat_interval.total_seconds() * 1000)

        with Broker(tmp_path) as broker:
            with Wire(broker.bootstrap) as wire:
                assert interval_ms(wire) == 5000
                assert alter(wire, (GROUP, "g", [(SET, HEARTBEAT, "6000")])) == [OK]
                assert interval_ms(wire) == 6000
            broker.kill()
            broker.start()
            with Wire(broker.bootstrap) as wire:
                assert interval_ms(wire) == 6000
                assert alter(wire, (GROUP, "g", [(DELETE, HEARTBEAT, None)])) == [OK]
                assert interval_ms(wire) == 5000

    def test_there_is_no_default_group(self, wire: Wire) -> None:
        assert alter(wire, (GROUP, "", [(SET, SESSION, "46000")])) == [
            (ErrorCode.invalid_request, "Default group resources are not allowed.")
        ]

    def test_the_bounds_are_the_brokers(self, tmp_path: Path, group: str) -> None:
        settings = {"group.consumer.min.session.timeout.ms": "1000", f"group.{SESSION}": "20000"}
        with Broker(tmp_path, settings) as broker, Wire(broker.bootstrap) as wire:
            assert alter(wire, (GROUP, group, [(SET, SESSION, "6000")])) == [OK]
            config = described(wire, GROUP, group)[SESSION]
            assert [(s.value, s.source) for s in config.synonyms] == [("6000", 8), ("20000", 4), ("45000", 5)]
            assert alter(wire, (GROUP, group, [(SET, SESSION, "4000")])) == [
                (ErrorCode.invalid_config, f"{SESSION} must be greater than {HEARTBEAT}")
            ]


class TestOthers:
    @pytest.mark.parametrize(
        ("kind", "name", "change", "error", "message"),
        [
            (BROKER, "1", (SET, "num.partitions", "5"), "invalid_request",
             "Cannot update these configs dynamically: [num.partitions]"),
            (BROKER, "", (SET, "num.partitions", "5"), "invalid_request",
             "Cannot update these configs dynamically: [num.partitions]"),
            (BROKER, "7", (SET, "num.partitions", "5"), "invalid_request",
             "Unexpected broker id, expected 1, but received 7"),
            (BROKER, "x", (SET, "num.partitions", "5"), "invalid_request",
             "Node id must be an integer, but it is: x"),
            (BROKER, "1", (DELETE, "num.partitions", None), "none", None),
            (LOGGER, "1", (SET, "root", "DEBUG"), "invalid_config", "Logger root does not exist!"),
            (LOGGER, "7", (SET, "root", "DEBUG"), "invalid_request",
             "Unexpected node id. Expected 1, but received 7"),
            (METRICS, "m", (SET, "interval.ms", "100"), "invalid_request",
             "This broker keeps no subscriptions to client metrics."),
            (99, "x", (SET, "a", "b"), "invalid_request", "Unknown resource type 99"),
        ],
    )  # fmt: skip
    def test_what_cannot_be_changed(
        self, wire: Wire, kind: int, name: str, change: Change, error: str, message: str | None
    ) -> None:
        assert alter(wire, (kind, name, [change])) == [(ErrorCode[error], message)]

    def test_what_there_is(self, wire: Wire, topic: str) -> None:
        assert wire.ask(LIST_RESOURCES, 0).config_resources == ()
        listed = wire.ask(LIST_RESOURCES, 1, resource_types=[]).config_resources
        found = {(r.resource_type, r.resource_name) for r in listed}
        assert {(TOPIC, topic), (BROKER, "1"), (LOGGER, "1")} <= found
        only = wire.ask(LIST_RESOURCES, 1, resource_types=[BROKER]).config_resources
        assert [(r.resource_type, r.resource_name) for r in only] == [(BROKER, "1")]
        refused = wire.ask(LIST_RESOURCES, 1, resource_types=[TOPIC, 99])
        assert (refused.error_code, refused.config_resources) == (ErrorCode.unsupported_version, ())


def test_what_was_answered_survives_a_kill(tmp_path: Path) -> None:
    with Broker(tmp_path) as broker:
        with Wire(broker.bootstrap) as wire:
            create_topic(wire, "t", retention_ms="9")
            changed = (TOPIC, "t", [(SET, "max.message.bytes", "1000"), (DELETE, "retention.ms", None)])
            assert alter(wire, changed, (GROUP, "g", [(SET, SESSION, "50000")])) == [OK, OK]
        broker.kill()
        broker.start()
        with Wire(broker.bootstrap) as wire:
            assert explicit(wire, "t") == {"max.message.bytes": "1000"}
            assert explicit(wire, "g", GROUP) == {SESSION: "50000"}
            assert produce(wire, "t", bytes(make_batch([b"x" * 2000]))).error_code is (
                ErrorCode.message_too_large
            )


class TestDeleteRecords:
    @staticmethod
    def delete(wire: Wire, topic: str, offsets: dict[int, int], version: int = 2) -> dict[int, Any]:
        partitions = [{"partition_index": p, "offset": offset} for p, offset in offsets.items()]
        asked = [{"name": topic, "partitions": partitions}]
        (answered,) = wire.ask(DELETE_RECORDS, version, topics=asked, timeout=5000).topics
        return {p.partition_index: (p.error_code, p.low_watermark) for p in answered.partitions}

    @staticmethod
    def first_offset(wire: Wire, topic: str, partition: int = 0) -> int:
        asked = {"name": topic, "partitions": [{"partition_index": partition, "timestamp": -2}]}
        return int(wire.ask(2, 7, topics=[asked], replica_id=-1).topics[0].partitions[0].offset)

    @pytest.mark.parametrize("version", range(3))
    def test_up_to_an_offset(self, wire: Wire, topic: str, version: int) -> None:
        for _ in range(3):
            produce(wire, topic, bytes(make_batch(10)))
        assert self.delete(wire, topic, {0: 15}, version) == {0: (ErrorCode.none, 15)}
        assert self.delete(wire, topic, {0: 3}, version) == {0: (ErrorCode.none, 15)}  # never back
        assert self.first_offset(wire, topic) == 15
        for offset, error in [(14, ErrorCode.offset_out_of_range), (15, ErrorCode.none)]:
            (partition,) = fetch(wire, topic, {0: offset}).responses[0].partitions
            assert partition.error_code is error
        assert self.delete(wire, topic, {0: -1}, version) == {0: (ErrorCode.none, 30)}
        assert produce(wire, topic, bytes(make_batch())).base_offset == 30

    def test_searching_by_time_begins_at_the_start(self, wire: Wire, topic: str) -> None:
        """Of three batches, the newest records are in the first one."""
        for last in (3000, 2000, 1000):
            times = [last - 900, last, last - 800]
            produce(wire, topic, bytes(make_batch([b"a", b"b", b"c"], timestamps=times)))
        for start, found in [(0, (2100, 0)), (1, (3000, 1)), (2, (2200, 2)), (4, (2000, 4)), (8, (-1, -1))]:
            self.delete(wire, topic, {0: start})
            asked = {"name": topic, "partitions": [{"partition_index": 0, "timestamp": 1500}]}
            (partition,) = wire.ask(2, 7, topics=[asked], replica_id=-1).topics[0].partitions
            assert (partition.timestamp, partition.offset) == found

    def test_each_partition_fails_alone(self, wire: Wire, topic: str) -> None:
        produce(wire, topic, bytes(make_batch(10)))
        out_of_range = (ErrorCode.offset_out_of_range, -1)
        assert self.delete(wire, topic, {0: 4, 1: 1, 2: 0}) == {
            0: (ErrorCode.none, 4), 1: out_of_range, 2: (ErrorCode.unknown_topic_or_partition, -1),
        }  # fmt: skip
        assert self.delete(wire, topic, {0: 11}) == {0: out_of_range}
        assert self.delete(wire, topic, {0: -2}) == {0: out_of_range}
        assert self.first_offset(wire, topic) == 4

    @pytest.mark.parametrize(
        ("name", "error"),
        [("nowhere", ErrorCode.unknown_topic_or_partition),
         ("__consumer_offsets", ErrorCode.invalid_topic_exception)],
    )  # fmt: skip
    def test_topics_that_have_no_records_of_clients(self, wire: Wire, name: str, error: ErrorCode) -> None:
        assert self.delete(wire, name, {0: 0}) == {0: (error, -1)}

    @pytest.mark.parametrize(
        ("policy", "error"),
        [("compact", ErrorCode.policy_violation), ("compact,delete", ErrorCode.none), ("", ErrorCode.none)],
    )
    def test_only_where_records_may_be_deleted(
        self, wire: Wire, topic: str, policy: str, error: ErrorCode
    ) -> None:
        alter(wire, (TOPIC, topic, [(SET, "cleanup.policy", policy)]))
        assert self.delete(wire, topic, {0: 0})[0][0] is error

    def test_the_start_survives_a_kill(self, tmp_path: Path) -> None:
        with Broker(tmp_path) as broker:
            with Wire(broker.bootstrap) as wire:
                create_topic(wire, "t")
                produce(wire, "t", bytes(make_batch(10)))
                assert self.delete(wire, "t", {0: 7}) == {0: (ErrorCode.none, 7)}
            broker.kill()
            broker.start()
            with Wire(broker.bootstrap) as wire:
                assert self.first_offset(wire, "t") == 7
