"""Topics, configs and the cluster in every version that the broker serves, over a socket.

Error texts are those of Apache Kafka 4.3.1.
"""

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kio.schema.describe_topic_partitions.v0.request import Cursor
from kio.schema.errors import ErrorCode
from support.kafka_wire import Wire

from connect.testing.millstream import Broker

METADATA, CREATE_TOPICS, DELETE_TOPICS, CREATE_PARTITIONS = 3, 19, 20, 37
DESCRIBE_CONFIGS, DESCRIBE_CLUSTER, API_VERSIONS = 32, 60, 18
NOT_ASKED = -(2**31)


@pytest.fixture
def wire(broker: Broker) -> Iterator[Wire]:
    with Wire(broker.bootstrap) as wire:
        yield wire


def create(wire: Wire, name: str, version: int = 7, *, validate_only: bool = False, **changes: Any) -> Any:
    topic = {"name": name, "num_partitions": 1, "replication_factor": 1} | changes
    (created,) = wire.ask(
        CREATE_TOPICS, version, topics=[topic], timeout=1000, validate_only=validate_only
    ).topics
    return created


def metadata(wire: Wire, version: int = 12, *, auto: bool = False, **topic: Any) -> Any:
    (found,) = wire.ask(METADATA, version, topics=[topic], allow_auto_topic_creation=auto).topics
    return found


def config(name: str, value: str | None) -> list[dict[str, Any]]:
    return [{"name": name, "value": value}]


def assignments(*broker_ids: list[int]) -> list[dict[str, Any]]:
    return [{"partition_index": n, "broker_ids": ids} for n, ids in enumerate(broker_ids)]


def test_every_api_is_advertised_with_its_range(wire: Wire) -> None:
    client = {"client_software_name": "wire", "client_software_version": "1"}
    served = {
        api.api_key: (api.min_version, api.max_version)
        for api in wire.ask(API_VERSIONS, 4, **client).api_keys
    }
    ours = {
        METADATA: (0, 13), 8: (2, 10), 9: (1, 10), 10: (0, 6), 11: (0, 9), 12: (0, 4), 13: (0, 5), 14: (0, 5),
        15: (0, 6), 16: (0, 5), CREATE_TOPICS: (2, 7), DELETE_TOPICS: (1, 6), DESCRIBE_CONFIGS: (1, 4),
        CREATE_PARTITIONS: (0, 3), 42: (0, 2), 47: (0, 0), DESCRIBE_CLUSTER: (0, 2),
    }  # fmt: skip
    assert {key: served.get(key) for key in ours} == ours


class TestMetadata:
    @pytest.mark.parametrize("version", range(14))
    def test_of_a_topic(self, wire: Wire, broker: Broker, kafka_topic: str, version: int) -> None:
        created = create(wire, kafka_topic, num_partitions=2)
        missing = kafka_topic + "-missing"
        response = wire.ask(
            METADATA,
            version,
            topics=[{"name": kafka_topic}, {"name": missing}],
            allow_auto_topic_creation=False,
        )
        found = {topic.name: topic for topic in response.topics}
        assert [(b.node_id, b.host, b.port) for b in response.brokers] == [(1, "127.0.0.1", broker.port)]
        topic = found[kafka_topic]
        assert topic.error_code is ErrorCode.none
        assert [
            (p.partition_index, p.leader_id, p.replica_nodes, p.isr_nodes, p.error_code)
            for p in topic.partitions
        ] == [(n, 1, (1,), (1,), ErrorCode.none) for n in range(2)]
        if version >= 1:
            assert response.controller_id == 1
            assert not topic.is_internal
        if version >= 2:
            assert len(response.cluster_id) == 22
        if version >= 8:
            assert topic.topic_authorized_operations == NOT_ASKED
        if version >= 10:
            assert topic.topic_id == created.topic_id
        # Versions before 4 cannot say that a topic is not to be created.
        expected = ErrorCode.none if version < 4 else ErrorCode.unknown_topic_or_partition
        assert found[missing].error_code is expected

    @pytest.mark.parametrize("version", range(14))
    def test_of_all_and_of_none(self, wire: Wire, kafka_topic: str, version: int) -> None:
        create(wire, kafka_topic)
        everything: Any = None if version else []
        assert kafka_topic in {t.name for t in wire.ask(METADATA, version, topics=everything).topics}
        if version:
            assert wire.ask(METADATA, version, topics=[]).topics == ()

    @pytest.mark.parametrize("version", range(10, 14))
    def test_by_id(self, wire: Wire, kafka_topic: str, version: int) -> None:
        created = create(wire, kafka_topic)
        assert metadata(wire, version, topic_id=created.topic_id, name="" if version < 12 else None).name == (
            kafka_topic
        )
        nobody = uuid.uuid4()
        missing = metadata(wire, version, topic_id=nobody, name="" if version < 12 else None)
        assert (missing.error_code, missing.topic_id) == (ErrorCode.unknown_topic_id, nobody)

    def test_topics_are_created_when_both_sides_allow_it(self, wire: Wire, kafka_topic: str) -> None:
        assert metadata(wire, name=kafka_topic).error_code is ErrorCode.unknown_topic_or_partition
        created = metadata(wire, name=kafka_topic, auto=True)
        assert (created.error_code, len(created.partitions)) == (ErrorCode.none, 1)
        assert metadata(wire, name=kafka_topic).topic_id == created.topic_id

    @pytest.mark.parametrize("name", ["", "a b", "..", "x" * 250])
    def test_an_invalid_name_is_refused(self, wire: Wire, name: str) -> None:
        assert metadata(wire, name=name, auto=True).error_code is ErrorCode.invalid_topic_exception

    def test_operations_are_named_when_asked_for(self, wire: Wire, kafka_topic: str) -> None:
        create(wire, kafka_topic)
        response = wire.ask(
            METADATA, 9, topics=[{"name": kafka_topic}],
            include_cluster_authorized_operations=True, include_topic_authorized_operations=True,
        )  # fmt: skip
        assert response.cluster_authorized_operations == 8096
        assert response.topics[0].topic_authorized_operations == 3576


class TestCreateTopics:
    @pytest.mark.parametrize("version", range(2, 8))
    def test_with_configs(self, wire: Wire, kafka_topic: str, version: int) -> None:
        created = create(wire, kafka_topic, version, num_partitions=3, configs=config("retention.ms", "5"))
        assert (created.error_code, created.error_message) == (ErrorCode.none, None)
        assert len(metadata(wire, name=kafka_topic).partitions) == 3
        if version >= 5:
            assert (created.num_partitions, created.replication_factor) == (3, 1)
            values = {c.name: (c.value, c.config_source) for c in created.configs}
            assert values["retention.ms"] == ("5", 1)
            assert values["segment.bytes"] == ("1073741824", 5)
        if version >= 7:
            assert created.topic_id == metadata(wire, name=kafka_topic).topic_id
        again = create(wire, kafka_topic, version)
        assert again.error_code is ErrorCode.topic_already_exists
        assert again.error_message == f"Topic '{kafka_topic}' already exists."

    def test_validating_creates_nothing(self, wire: Wire, kafka_topic: str) -> None:
        assert create(wire, kafka_topic, validate_only=True).error_code is ErrorCode.none
        assert metadata(wire, name=kafka_topic).error_code is ErrorCode.unknown_topic_or_partition

    def test_the_broker_has_defaults(self, wire: Wire, kafka_topic: str) -> None:
        created = create(wire, kafka_topic, num_partitions=-1, replication_factor=-1)
        assert (created.num_partitions, created.replication_factor) == (1, 1)

    def test_partitions_may_be_placed_by_hand(self, wire: Wire, kafka_topic: str) -> None:
        created = create(
            wire, kafka_topic, num_partitions=-1, replication_factor=-1, assignments=assignments([1], [1])
        )
        assert created.num_partitions == 2

    @pytest.mark.parametrize(
        ("changes", "error", "message"),
        [
            ({"num_partitions": 0}, ErrorCode.invalid_partitions,
             "Number of partitions was set to an invalid non-positive value."),
            ({"replication_factor": 0}, ErrorCode.invalid_replication_factor,
             "Replication factor must be larger than 0, or -1 to use the default value."),
            ({"replication_factor": 2}, ErrorCode.invalid_replication_factor,
             "Unable to replicate the partition 2 time(s): The target replication factor of 2 cannot be "
             "reached because only 1 broker(s) are registered or some brokers have all their log "
             "directories cordoned."),
            ({"num_partitions": 10_001}, ErrorCode.policy_violation,
             "Excessively large number of partitions per request."),
            ({"configs": config("retention.ms", "x")}, ErrorCode.invalid_config,
             "Invalid value x for configuration retention.ms: Not a number of type LONG"),
            ({"configs": config("retention.ms", None)}, ErrorCode.invalid_config,
             "Null value not supported for topic configs: retention.ms"),
            ({"configs": config("nonsense", "1")}, ErrorCode.invalid_config,
             "Unknown topic config name: nonsense"),
            ({"assignments": assignments([1])}, ErrorCode.invalid_request,
             "A manual partition assignment was specified, but replication factor was not set to -1."),
            ({"assignments": assignments([1]), "replication_factor": -1}, ErrorCode.invalid_request,
             "A manual partition assignment was specified, but numPartitions was not set to -1."),
        ],
    )  # fmt: skip
    def test_refused_in_kafkas_words(
        self, wire: Wire, kafka_topic: str, changes: dict[str, Any], error: ErrorCode, message: str
    ) -> None:
        created = create(wire, kafka_topic, **changes)
        assert (created.error_code, created.error_message) == (error, message)
        assert metadata(wire, name=kafka_topic).error_code is ErrorCode.unknown_topic_or_partition

    @pytest.mark.parametrize(
        ("placed", "message"),
        [
            (
                [(0, [7])],
                "The manual partition assignment includes broker 7, but no such broker is registered.",
            ),
            ([(0, [1, 1])], "The manual partition assignment includes the broker 1 more than once."),
            ([(0, [])], "The manual partition assignment includes an empty replica list."),
            ([(1, [1])], "partitions should be a consecutive 0-based integer sequence"),
            ([(0, [1]), (0, [1])], "Found multiple manual partition assignments for partition 0"),
        ],
    )
    def test_bad_placement_is_refused(
        self, wire: Wire, kafka_topic: str, placed: list[tuple[int, list[int]]], message: str
    ) -> None:
        by_hand = [{"partition_index": n, "broker_ids": ids} for n, ids in placed]
        created = create(wire, kafka_topic, num_partitions=-1, replication_factor=-1, assignments=by_hand)
        assert (created.error_code, created.error_message) == (ErrorCode.invalid_replica_assignment, message)

    def test_names_that_collide_are_refused(self, wire: Wire, kafka_topic: str) -> None:
        create(wire, kafka_topic + ".a")
        created = create(wire, kafka_topic + "_a")
        assert created.error_code is ErrorCode.invalid_topic_exception
        assert created.error_message == (
            f"Topic '{kafka_topic}_a' collides with existing topic: {kafka_topic}.a"
        )

    def test_a_name_twice_is_refused(self, wire: Wire, kafka_topic: str) -> None:
        topic = {"name": kafka_topic, "num_partitions": 1, "replication_factor": 1}
        (created,) = wire.ask(CREATE_TOPICS, 7, topics=[topic, topic]).topics
        assert (created.error_code, created.error_message) == (
            ErrorCode.invalid_request,
            "Duplicate topic name.",
        )

    def test_a_thousand_partitions_at_once(self, wire: Wire, kafka_topic: str) -> None:
        topics = [
            {"name": f"{kafka_topic}-{n}", "num_partitions": 1, "replication_factor": 1} for n in range(1000)
        ]
        created = wire.ask(CREATE_TOPICS, 4, topics=topics).topics
        assert {topic.error_code for topic in created} == {ErrorCode.none}
        deleted = wire.ask(DELETE_TOPICS, 5, topic_names=[topic["name"] for topic in topics]).responses
        assert [topic.error_code for topic in deleted] == [ErrorCode.none] * 1000


class TestDeleteTopics:
    @pytest.mark.parametrize("version", range(1, 7))
    def test_by_name(self, wire: Wire, kafka_topic: str, version: int) -> None:
        create(wire, kafka_topic)
        for error in (ErrorCode.none, ErrorCode.unknown_topic_or_partition):
            (deleted,) = wire.ask(
                DELETE_TOPICS, version, topic_names=[kafka_topic], topics=[{"name": kafka_topic}]
            ).responses
            assert (deleted.name, deleted.error_code) == (kafka_topic, error)
        assert metadata(wire, name=kafka_topic).error_code is ErrorCode.unknown_topic_or_partition

    def test_by_id(self, wire: Wire, kafka_topic: str) -> None:
        old = create(wire, kafka_topic).topic_id
        (deleted,) = wire.ask(DELETE_TOPICS, 6, topics=[{"topic_id": old}]).responses
        assert (deleted.name, deleted.topic_id, deleted.error_code) == (kafka_topic, old, ErrorCode.none)
        assert create(wire, kafka_topic).topic_id != old
        (gone,) = wire.ask(DELETE_TOPICS, 6, topics=[{"topic_id": old}]).responses
        assert (gone.error_code, gone.error_message) == (
            ErrorCode.unknown_topic_id,
            "This server does not host this topic ID.",
        )

    def test_unclear_requests_are_refused(self, wire: Wire, kafka_topic: str) -> None:
        topic_id = create(wire, kafka_topic).topic_id
        for refs, message in [
            ([{}], "Neither topic name nor id were specified."),
            (
                [{"name": kafka_topic, "topic_id": topic_id}],
                "You may not specify both topic name and topic id.",
            ),
            ([{"name": kafka_topic}, {"topic_id": topic_id}], "Duplicate topic name."),
        ]:
            for deleted in wire.ask(DELETE_TOPICS, 6, topics=refs).responses:
                assert (deleted.error_code, deleted.error_message) == (ErrorCode.invalid_request, message)
        assert metadata(wire, name=kafka_topic).error_code is ErrorCode.none


class TestCreatePartitions:
    @pytest.mark.parametrize("version", range(4))
    def test_more(self, wire: Wire, kafka_topic: str, version: int) -> None:
        create(wire, kafka_topic)
        grow = [{"name": kafka_topic, "count": 3, "assignments": None}]
        (checked,) = wire.ask(CREATE_PARTITIONS, version, topics=grow, validate_only=True).results
        assert checked.error_code is ErrorCode.none
        assert len(metadata(wire, name=kafka_topic).partitions) == 1
        (grown,) = wire.ask(CREATE_PARTITIONS, version, topics=grow).results
        assert (grown.name, grown.error_code, grown.error_message) == (kafka_topic, ErrorCode.none, None)
        assert len(metadata(wire, name=kafka_topic).partitions) == 3

    @pytest.mark.parametrize(
        ("changes", "error", "message"),
        [
            ({"count": 2}, ErrorCode.invalid_partitions, "Topic already has 2 partition(s)."),
            ({"count": 1}, ErrorCode.invalid_partitions,
             "The topic {topic} currently has 2 partition(s); 1 would not be an increase."),
            ({"count": 4, "assignments": [{"broker_ids": [1]}]}, ErrorCode.invalid_replica_assignment,
             "Attempted to add 2 additional partition(s), but only 1 assignment(s) were specified."),
            ({"count": 3, "assignments": [{"broker_ids": [7]}]}, ErrorCode.invalid_replica_assignment,
             "The manual partition assignment includes broker 7, but no such broker is registered."),
            ({"name": "nowhere-{topic}"}, ErrorCode.unknown_topic_or_partition,
             "This server does not host this topic-partition."),
        ],
    )  # fmt: skip
    def test_refused_in_kafkas_words(
        self, wire: Wire, kafka_topic: str, changes: dict[str, Any], error: ErrorCode, message: str
    ) -> None:
        create(wire, kafka_topic, num_partitions=2)
        asked = {"name": kafka_topic, "count": 3, "assignments": None} | changes
        asked["name"] = asked["name"].format(topic=kafka_topic)
        (grown,) = wire.ask(CREATE_PARTITIONS, 3, topics=[asked]).results
        assert (grown.error_code, grown.error_message) == (error, message.format(topic=kafka_topic))


class TestDescribeConfigs:
    @pytest.mark.parametrize("version", range(1, 5))
    def test_of_a_topic(self, wire: Wire, kafka_topic: str, version: int) -> None:
        create(wire, kafka_topic, configs=config("retention.ms", "5"))
        resource = {"resource_type": 2, "resource_name": kafka_topic, "configuration_keys": None}
        (found,) = wire.ask(
            DESCRIBE_CONFIGS, version, resources=[resource], include_synonyms=True, include_documentation=True
        ).results
        configs = {c.name: c for c in found.configs}
        assert len(configs) == 33
        retention, segment = configs["retention.ms"], configs["segment.bytes"]
        assert (retention.value, retention.config_source, retention.read_only) == ("5", 1, False)
        assert [(s.name, s.value, s.source) for s in retention.synonyms] == [("retention.ms", "5", 1)]
        assert [(s.name, s.value, s.source) for s in segment.synonyms] == [
            ("log.segment.bytes", "1073741824", 5)
        ]
        if version >= 3:
            assert (retention.config_type, segment.config_type) == (5, 3)
            assert retention.documentation

    def test_only_those_asked_for(self, wire: Wire, kafka_topic: str) -> None:
        create(wire, kafka_topic)
        keys = ["retention.ms", "nonsense"]
        resource = {"resource_type": 2, "resource_name": kafka_topic, "configuration_keys": keys}
        (found,) = wire.ask(DESCRIBE_CONFIGS, 4, resources=[resource]).results
        assert [(c.name, c.value, c.synonyms, c.documentation) for c in found.configs] == [
            ("retention.ms", "604800000", (), None)
        ]

    def test_of_the_broker(self, wire: Wire, broker: Broker) -> None:
        resource = {"resource_type": 4, "resource_name": "1", "configuration_keys": None}
        (found,) = wire.ask(DESCRIBE_CONFIGS, 4, resources=[resource], include_synonyms=True).results
        configs = {c.name: c for c in found.configs}
        assert (configs["log.dirs"].value, configs["log.dirs"].config_source) == (str(broker.data_dir), 4)
        assert (configs["num.partitions"].value, configs["num.partitions"].config_type) == ("1", 3)
        assert configs["log.retention.ms"].value is None
        assert all(c.read_only for c in found.configs)

    @pytest.mark.parametrize(
        ("kind", "name", "error"),
        [
            (2, "never-created", ErrorCode.unknown_topic_or_partition),
            (2, "a b", ErrorCode.invalid_topic_exception),
            (4, "7", ErrorCode.invalid_request),
            (4, "x", ErrorCode.invalid_request),
            (8, "7", ErrorCode.invalid_request),
            (8, "", ErrorCode.invalid_request),
            (16, "metrics", ErrorCode.invalid_request),
            (32, "", ErrorCode.invalid_request),
            (99, "1", ErrorCode.invalid_request),
        ],
    )
    def test_what_is_not_there(self, wire: Wire, kind: int, name: str, error: ErrorCode) -> None:
        resource = {"resource_type": kind, "resource_name": name, "configuration_keys": None}
        (found,) = wire.ask(DESCRIBE_CONFIGS, 4, resources=[resource]).results
        assert (found.error_code, found.configs) == (error, ())


class TestDescribeTopicPartitions:
    @staticmethod
    def pages(wire: Wire, names: list[str], limit: int) -> list[tuple[list[tuple[str, list[int]]], Any]]:
        """Names and partitions of each page, and where the next one begins."""
        cursor, found = None, []
        while True:
            topics = [{"name": name} for name in names]
            page = wire.ask(75, 0, topics=topics, response_partition_limit=limit, cursor=cursor)
            content = [(t.name, [p.partition_index for p in t.partitions]) for t in page.topics]
            found.append((content, page.next_cursor))
            if (cursor := page.next_cursor) is None:
                return found

    def test_in_pages(self, wire: Wire, kafka_topic: str) -> None:
        a, b = f"{kafka_topic}-a", f"{kafka_topic}-b"
        create(wire, b, num_partitions=2)
        create(wire, a, num_partitions=3)
        assert self.pages(wire, [b, a], 2000) == [([(a, [0, 1, 2]), (b, [0, 1])], None)]
        contents, cursors = zip(*self.pages(wire, [b, a], 2), strict=True)
        assert contents == ([(a, [0, 1])], [(a, [2]), (b, [0])], [(b, [1])])
        assert [(c.topic_name, c.partition_index) for c in cursors[:-1]] == [(a, 2), (b, 1)]
        # A page that ends with a topic names the next one.
        assert self.pages(wire, [a, b], 3)[0][1].topic_name == b
        assert self.pages(wire, [a, b], 0)[0][0] == [(a, [0])]

    def test_one_topic_in_full_and_one_that_is_missing(self, wire: Wire, kafka_topic: str) -> None:
        created = create(wire, kafka_topic)
        names = [{"name": kafka_topic}, {"name": "a b"}, {"name": kafka_topic + "-x"}]
        found, *missing = wire.ask(75, 0, topics=names, response_partition_limit=10, cursor=None).topics
        assert (found.name, found.topic_id, found.is_internal) == (kafka_topic, created.topic_id, False)
        assert found.topic_authorized_operations == 3576
        (p,) = found.partitions
        assert (p.error_code, p.leader_id, p.leader_epoch) == (ErrorCode.none, 1, 0)
        assert (p.replica_nodes, p.isr_nodes, p.offline_replicas) == ((1,), (1,), ())
        assert (p.eligible_leader_replicas, p.last_known_elr) == ((), ())
        assert [(t.name, t.error_code) for t in missing] == [
            ("a b", ErrorCode.invalid_topic_exception),
            (kafka_topic + "-x", ErrorCode.unknown_topic_or_partition),
        ]

    def test_all_topics(self, wire: Wire, kafka_topic: str) -> None:
        create(wire, kafka_topic)
        assert kafka_topic in [name for content, _ in self.pages(wire, [], 7) for name, _ in content]

    def test_a_page_cannot_begin_before_the_first_partition(self, wire: Wire, kafka_topic: str) -> None:
        create(wire, kafka_topic)
        cursor = Cursor(topic_name=kafka_topic, partition_index=-1)
        (refused,) = wire.ask(
            75, 0, topics=[{"name": kafka_topic}], response_partition_limit=1, cursor=cursor
        ).topics
        assert (refused.name, refused.error_code) == (kafka_topic, ErrorCode.invalid_request)


@pytest.mark.parametrize("version", range(3))
def test_describe_cluster(wire: Wire, broker: Broker, version: int) -> None:
    found = wire.ask(DESCRIBE_CLUSTER, version, include_cluster_authorized_operations=True)
    assert (found.error_code, found.controller_id) == (ErrorCode.none, 1)
    assert found.cluster_authorized_operations == 8096
    assert [(b.broker_id, b.host, b.port) for b in found.brokers] == [(1, "127.0.0.1", broker.port)]
    if version >= 1:
        refused = wire.ask(DESCRIBE_CLUSTER, version, endpoint_type=2)
        assert (refused.error_code, refused.brokers) == (ErrorCode.mismatched_endpoint_type, ())


def test_settings_decide_what_clients_may_do(tmp_path: Path, kafka_topic: str) -> None:
    settings = {
        "auto.create.topics.enable": "false",
        "delete.topic.enable": "false",
        "num.partitions": "3",
        "log.retention.hours": "2",
    }
    with Broker(tmp_path, settings) as broker, Wire(broker.bootstrap) as wire:
        missing = metadata(wire, name=kafka_topic, auto=True)
        assert missing.error_code is ErrorCode.unknown_topic_or_partition
        assert create(wire, kafka_topic, num_partitions=-1).num_partitions == 3
        resource = {"resource_type": 2, "resource_name": kafka_topic, "configuration_keys": ["retention.ms"]}
        (found,) = wire.ask(DESCRIBE_CONFIGS, 4, resources=[resource], include_synonyms=True).results
        (retention,) = found.configs
        assert (retention.value, retention.config_source) == ("7200000", 4)
        assert [(s.name, s.value, s.source) for s in retention.synonyms] == [("log.retention.hours", "2", 4)]
        for version, error in [(2, ErrorCode.invalid_request), (3, ErrorCode.topic_deletion_disabled)]:
            (kept,) = wire.ask(DELETE_TOPICS, version, topic_names=[kafka_topic]).responses
            assert kept.error_code is error
        broker.kill()
        broker.start()
        with Wire(broker.bootstrap) as again:
            assert len(metadata(again, name=kafka_topic).partitions) == 3
