"""ConsumerGroupHeartbeat and ConsumerGroupDescribe in every version, and what other APIs say of such groups.

The texts are those of Apache Kafka 4.3.1.
"""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from kio.schema.errors import ErrorCode
from support.kafka_wire import Wire
from support.subscriptions import pack_subscription

from connect.testing.millstream import Broker

HEARTBEAT, DESCRIBE = 68, 69
OFFSET_COMMIT, OFFSET_FETCH, JOIN, CLASSIC_HEARTBEAT, LEAVE, SYNC = 8, 9, 11, 12, 13, 14
DESCRIBE_GROUPS, LIST_GROUPS, DELETE_GROUPS, OFFSET_DELETE, CREATE_TOPICS = 15, 16, 42, 47, 19
VERSIONS = [0, 1]


@pytest.fixture
def wire(broker: Broker) -> Iterator[Wire]:
    with Wire(broker.bootstrap) as wire:
        yield wire


@pytest.fixture
def group() -> str:
    return f"group-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def topic_id(wire: Wire, kafka_topic: str) -> uuid.UUID:
    """The id of `kafka_topic`, which is created with two partitions."""
    (created,) = wire.ask(
        CREATE_TOPICS, 7, topics=[{"name": kafka_topic, "num_partitions": 2, "replication_factor": 1}]
    ).topics
    assert isinstance(created.topic_id, uuid.UUID)
    return created.topic_id


def beat(wire: Wire, version: int, group: str, member_id: str, epoch: int, **said: Any) -> Any:
    return wire.ask(HEARTBEAT, version, group_id=group, member_id=member_id, member_epoch=epoch, **said)


def join(wire: Wire, version: int, group: str, member_id: str, *topics: str, **said: Any) -> Any:
    full: dict[str, Any] = {
        "rebalance_timeout": 5_000,
        "topic_partitions": (),
        "subscribed_topic_names": topics,
    }
    return beat(wire, version, group, member_id, 0, **full | said)


def assigned(response: Any) -> dict[uuid.UUID, tuple[int, ...]] | None:
    if response.assignment is None:
        return None
    return {topic.topic_id: topic.partitions for topic in response.assignment.topic_partitions}


@pytest.mark.parametrize("version", VERSIONS)
def test_heartbeat(wire: Wire, group: str, kafka_topic: str, topic_id: uuid.UUID, version: int) -> None:
    joined = join(wire, version, group, "a", kafka_topic)
    assert (joined.error_code, joined.error_message) == (ErrorCode.none, None)
    assert (joined.member_id, joined.member_epoch) == ("a", 2)
    assert joined.heartbeat_interval.total_seconds() == 5
    assert assigned(joined) == {topic_id: (0, 1)}
    same = beat(wire, version, group, "a", 2, topic_partitions=[{"topic_id": topic_id, "partitions": (0, 1)}])
    assert (same.error_code, assigned(same)) == (ErrorCode.none, None)
    left = beat(wire, version, group, "a", -1)
    assert (left.error_code, left.member_epoch) == (ErrorCode.none, -1)


def test_version_0_lets_the_broker_make_the_member_id(wire: Wire, group: str, kafka_topic: str) -> None:
    joined = join(wire, 0, group, "", kafka_topic)
    assert joined.error_code is ErrorCode.none
    assert len(joined.member_id) == 22
    assert beat(wire, 0, group, joined.member_id, joined.member_epoch).error_code is ErrorCode.none


def test_a_pattern_since_version_1(wire: Wire, group: str, kafka_topic: str, topic_id: uuid.UUID) -> None:
    said: dict[str, Any] = {"subscribed_topic_names": None, "subscribed_topic_regex": f"{kafka_topic[:-1]}."}
    assert assigned(join(wire, 1, group, "a", **said)) == {topic_id: (0, 1)}
    refused = join(wire, 1, group, "b", subscribed_topic_regex="a{1001}")
    assert refused.error_code is ErrorCode.invalid_regular_expression
    assert refused.error_message == (
        "SubscribedTopicRegex `a{1001}` is not a valid regular expression: invalid repeat count."
    )


@pytest.mark.parametrize(
    ("epoch", "said", "message"),
    [
        (0, {"member_id": ""}, "MemberId can't be empty."),
        (0, {"member_id": " "}, "MemberId can't be empty."),
        (0, {"group_id": ""}, "GroupId can't be empty."),
        (1, {"instance_id": ""}, "InstanceId can't be empty."),
        (1, {"rack_id": ""}, "RackId can't be empty."),
        (0, {}, "RebalanceTimeoutMs must be provided in first request."),
        (0, {"rebalance_timeout": 1}, "TopicPartitions must be empty when (re-)joining."),
        (
            0,
            {"rebalance_timeout": 1, "topic_partitions": ()},
            "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.",
        ),
        (-2, {}, "InstanceId can't be null."),
        (-3, {}, "MemberEpoch is invalid."),
    ],
)
def test_what_makes_no_sense(wire: Wire, group: str, epoch: int, said: dict[str, Any], message: str) -> None:
    response = wire.ask(HEARTBEAT, 1, **{"group_id": group, "member_id": "a", "member_epoch": epoch} | said)
    assert (response.error_code, response.error_message) == (ErrorCode.invalid_request, message)
    assert (response.member_id, response.member_epoch, response.assignment) == (None, 0, None)


def test_an_assignor_that_there_is_not(wire: Wire, group: str, kafka_topic: str) -> None:
    refused = join(wire, 1, group, "a", kafka_topic, server_assignor="mine")
    assert refused.error_code is ErrorCode.unsupported_assignor
    assert (
        refused.error_message == "ServerAssignor mine is not supported. Supported assignors: uniform, range."
    )
    assert join(wire, 1, group, "a", kafka_topic, server_assignor="range").error_code is ErrorCode.none


@pytest.mark.parametrize("version", VERSIONS)
def test_describe(wire: Wire, group: str, kafka_topic: str, topic_id: uuid.UUID, version: int) -> None:
    join(wire, 1, group, "a", kafka_topic, instance_id="i", rack_id="r", subscribed_topic_regex="none.*")
    found, missing, nameless = wire.ask(
        DESCRIBE, version, group_ids=(group, "nobody's", ""), include_authorized_operations=True
    ).groups
    assert (found.error_code, found.group_state, found.group_epoch, found.assignment_epoch) == (
        ErrorCode.none,
        "Stable",
        2,
        2,
    )
    assert found.assignor_name == "uniform"
    assert found.authorized_operations > 0
    (member,) = found.members
    assert (member.member_id, member.instance_id, member.rack_id, member.member_epoch) == ("a", "i", "r", 2)
    assert (member.client_id, member.client_host) == ("raw", "/127.0.0.1")
    assert (member.subscribed_topic_names, member.subscribed_topic_regex) == ((kafka_topic,), "none.*")
    for assignment in (member.assignment, member.target_assignment):
        ((topic),) = assignment.topic_partitions
        assert (topic.topic_id, topic.topic_name, topic.partitions) == (topic_id, kafka_topic, (0, 1))
    if version >= 1:
        assert member.member_type == 1
    assert (missing.error_code, missing.error_message) == (
        ErrorCode.group_id_not_found,
        "Group nobody's not found.",
    )
    assert nameless.error_code is ErrorCode.invalid_group_id


def test_each_type_is_described_by_its_own_api(wire: Wire, group: str, kafka_topic: str) -> None:
    join(wire, 1, group, "a", kafka_topic)
    for version in range(7):
        (described,) = wire.ask(DESCRIBE_GROUPS, version, groups=(group,)).groups
        assert described.group_state == "Dead"
        if version >= 6:
            assert described.error_code is ErrorCode.group_id_not_found
            assert described.error_message == f"Group {group} is not a classic group."
        else:
            assert described.error_code is ErrorCode.none
    classic = f"{group}-classic"
    wire.ask(JOIN, 3, **classic_member(classic, kafka_topic))
    (described,) = wire.ask(DESCRIBE, 1, group_ids=(classic,)).groups
    assert described.error_code is ErrorCode.group_id_not_found
    assert described.error_message == f"Group {classic} is not a consumer group."


def test_groups_are_listed_by_type(wire: Wire, group: str, kafka_topic: str) -> None:
    join(wire, 1, group, "a", kafka_topic)

    def listed(*types: str) -> list[tuple[str, str]]:
        groups = wire.ask(LIST_GROUPS, 5, types_filter=types).groups
        return [(g.group_type, g.protocol_type) for g in groups if g.group_id == group]

    assert listed() == listed("consumer") == [("consumer", "consumer")]
    assert listed("classic") == []
    assert (
        wire.ask(DELETE_GROUPS, 2, groups_names=(group,)).results[0].error_code is ErrorCode.non_empty_group
    )
    beat(wire, 1, group, "a", -1)
    assert wire.ask(DELETE_GROUPS, 2, groups_names=(group,)).results[0].error_code is ErrorCode.none


@pytest.mark.parametrize("version", range(2, 11))
def test_commits_tell_the_member_epoch_since_version_9(
    wire: Wire, group: str, kafka_topic: str, topic_id: uuid.UUID, version: int
) -> None:
    join(wire, 1, group, "a", kafka_topic)
    topic = {"topic_id": topic_id} if version >= 10 else {"name": kafka_topic}
    topic["partitions"] = [{"partition_index": 0, "committed_offset": 7}]

    def commit(epoch: int) -> Any:
        response = wire.ask(
            OFFSET_COMMIT, version, group_id=group, member_id="a", generation_id_or_member_epoch=epoch,
            topics=[topic],
        )  # fmt: skip
        return response.topics[0].partitions[0].error_code

    if version < 9:
        assert commit(2) is ErrorCode.unsupported_version
    else:
        assert commit(2) is ErrorCode.none
        assert commit(1) is commit(3) is ErrorCode.stale_member_epoch


@pytest.mark.parametrize("version", [9, 10])
def test_fetched_offsets_check_the_member_epoch(
    wire: Wire, group: str, kafka_topic: str, topic_id: uuid.UUID, version: int
) -> None:
    join(wire, 1, group, "a", kafka_topic)
    topic = {"topic_id": topic_id} if version >= 10 else {"name": kafka_topic}
    topic["partition_indexes"] = (0,)
    for member_id, epoch, error in [
        ("a", 2, ErrorCode.none),
        ("a", 1, ErrorCode.stale_member_epoch),
        ("b", 2, ErrorCode.unknown_member_id),
        (None, -1, ErrorCode.none),
    ]:
        asked = {"group_id": group, "member_id": member_id, "member_epoch": epoch, "topics": [topic]}
        (answered,) = wire.ask(OFFSET_FETCH, version, groups=[asked]).groups
        assert answered.error_code is error


def classic_member(group: str, topic: str, member_id: str = "", **changes: Any) -> dict[str, Any]:
    protocol = {"name": "range", "metadata": pack_subscription([topic], version=3)}
    return {
        "group_id": group,
        "session_timeout": 10_000,
        "rebalance_timeout": 10_000,
        "member_id": member_id,
        "protocol_type": "consumer",
        "protocols": [protocol],
    } | changes


@pytest.mark.parametrize("version", range(10))
def test_a_classic_member_joins_a_consumer_group(
    wire: Wire, group: str, kafka_topic: str, version: int
) -> None:
    join(wire, 1, group, "k", kafka_topic)
    joined = wire.ask(JOIN, version, **classic_member(group, kafka_topic))
    if version >= 4:
        assert joined.error_code is ErrorCode.member_id_required
        joined = wire.ask(JOIN, version, **classic_member(group, kafka_topic, joined.member_id))
    assert (joined.error_code, joined.protocol_name, joined.leader) == (ErrorCode.none, "range", "")
    assert joined.members == ()
    synced = wire.ask(
        SYNC, 5, group_id=group, generation_id=joined.generation_id, member_id=joined.member_id,
        protocol_type="consumer", protocol_name="range",
    )  # fmt: skip
    assert synced.error_code is ErrorCode.none
    assert synced.assignment[:2] == b"\0\3"  # in the version of its subscription
    healthy = wire.ask(
        CLASSIC_HEARTBEAT, 4, group_id=group, generation_id=joined.generation_id, member_id=joined.member_id
    )
    assert healthy.error_code in (ErrorCode.none, ErrorCode.rebalance_in_progress)
    (left,) = wire.ask(LEAVE, 5, group_id=group, members=[{"member_id": joined.member_id}]).members
    assert left.error_code is ErrorCode.none


def test_another_protocol_cannot_join_a_consumer_group(wire: Wire, group: str, kafka_topic: str) -> None:
    join(wire, 1, group, "k", kafka_topic)
    refused = wire.ask(JOIN, 9, **classic_member(group, kafka_topic, protocol_type="connect"))
    assert (refused.error_code, refused.member_id) == (ErrorCode.inconsistent_group_protocol, "")
