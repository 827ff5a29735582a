"""Groups and offsets in every version that the broker serves, over a socket."""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from kio.schema.errors import ErrorCode
from support.kafka_wire import Wire

from connect.testing.millstream import Broker

FIND_COORDINATOR, JOIN, HEARTBEAT, LEAVE, SYNC = 10, 11, 12, 13, 14
DESCRIBE_GROUPS, LIST_GROUPS, DELETE_GROUPS = 15, 16, 42
OFFSET_COMMIT, OFFSET_FETCH, OFFSET_DELETE = 8, 9, 47
CREATE_TOPICS = 19


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


def join(wire: Wire, version: int, group: str, member_id: str = "", **changes: Any) -> Any:
    values: dict[str, Any] = {
        "group_id": group,
        "session_timeout": 10_000,
        "rebalance_timeout": 10_000,
        "member_id": member_id,
        "protocol_type": "consumer",
        "protocols": [{"name": "range", "metadata": b"what I read"}],
    }
    return wire.ask(JOIN, version, **values | changes)


@pytest.mark.parametrize("version", range(10))
def test_join_group(wire: Wire, group: str, version: int) -> None:
    joined = join(wire, version, group)
    if version >= 4:
        assert joined.error_code is ErrorCode.member_id_required
        joined = join(wire, version, group, joined.member_id)
    assert joined.error_code is ErrorCode.none
    assert (joined.generation_id, joined.leader, joined.protocol_name) == (1, joined.member_id, "range")
    assert joined.member_id.startswith("raw-")
    assert [(m.member_id, m.metadata) for m in joined.members] == [(joined.member_id, b"what I read")]
    if version >= 7:
        assert joined.protocol_type == "consumer"
    refused = join(wire, version, group, "somebody else")
    assert refused.error_code is ErrorCode.unknown_member_id


@pytest.mark.parametrize("version", range(6))
def test_sync_group(wire: Wire, group: str, version: int) -> None:
    joined = join(wire, 3, group)
    synced = wire.ask(
        SYNC, version, group_id=group, generation_id=1, member_id=joined.member_id,
        protocol_type="consumer", protocol_name="range",
        assignments=[{"member_id": joined.member_id, "assignment": b"yours"}],
    )  # fmt: skip
    assert (synced.error_code, synced.assignment) == (ErrorCode.none, b"yours")
    if version >= 5:
        assert (synced.protocol_type, synced.protocol_name) == ("consumer", "range")
        for wrong in ({"protocol_type": None}, {"protocol_name": None}, {"protocol_name": "other"}):
            right = {"protocol_type": "consumer", "protocol_name": "range"}
            refused = wire.ask(
                SYNC, version, group_id=group, generation_id=1, member_id=joined.member_id, **right | wrong
            )
            assert refused.error_code is ErrorCode.inconsistent_group_protocol


@pytest.mark.parametrize("version", range(5))
def test_heartbeat(wire: Wire, group: str, version: int) -> None:
    joined = join(wire, 3, group)
    for generation_id, error in [(1, ErrorCode.none), (2, ErrorCode.illegal_generation)]:
        beat = wire.ask(
            HEARTBEAT, version, group_id=group, generation_id=generation_id, member_id=joined.member_id
        )
        assert beat.error_code is error


@pytest.mark.parametrize("version", range(6))
def test_leave_group(wire: Wire, group: str, version: int) -> None:
    joined = join(wire, 3, group)
    leaving = {"member_id": joined.member_id, "members": [{"member_id": joined.member_id}]}
    for error in (ErrorCode.none, ErrorCode.unknown_member_id):
        left = wire.ask(LEAVE, version, group_id=group, **leaving)
        if version < 3:
            assert left.error_code is error
        else:
            assert left.error_code is ErrorCode.none
            assert [m.error_code for m in left.members] == [error]


@pytest.mark.parametrize("version", range(5, 10))
def test_a_static_member_is_back_without_a_rebalance(wire: Wire, group: str, version: int) -> None:
    joined = join(wire, version, group, group_instance_id="one")
    wire.ask(
        SYNC, 3, group_id=group, generation_id=1, member_id=joined.member_id, group_instance_id="one",
        assignments=[{"member_id": joined.member_id, "assignment": b"yours"}],
    )  # fmt: skip
    back = join(wire, version, group, group_instance_id="one")
    assert (back.error_code, back.generation_id) == (ErrorCode.none, 1)
    assert back.member_id != joined.member_id
    if version >= 9:
        assert (back.leader, back.skip_assignment) == (back.member_id, True)
    else:
        assert back.leader == joined.member_id
    beat = wire.ask(
        HEARTBEAT, 4, group_id=group, generation_id=1, member_id=joined.member_id, group_instance_id="one"
    )
    assert beat.error_code is ErrorCode.fenced_instance_id


@pytest.mark.parametrize("version", range(7))
def test_find_coordinator(wire: Wire, broker: Broker, version: int) -> None:
    found = wire.ask(FIND_COORDINATOR, version, key="g", key_type=0, coordinator_keys=["g", "h"])
    coordinators = found.coordinators if version >= 4 else [found]
    assert len(coordinators) == (2 if version >= 4 else 1)
    for coordinator in coordinators:
        assert coordinator.error_code is ErrorCode.none
        assert (coordinator.node_id, coordinator.port) == (1, broker.port)
    if version >= 4:
        assert [c.key for c in coordinators] == ["g", "h"]


@pytest.mark.parametrize("version", range(7))
def test_describe_groups(wire: Wire, group: str, version: int) -> None:
    joined = join(wire, 3, group)
    wire.ask(
        SYNC, 3, group_id=group, generation_id=1, member_id=joined.member_id,
        assignments=[{"member_id": joined.member_id, "assignment": b"yours"}],
    )  # fmt: skip
    described = wire.ask(
        DESCRIBE_GROUPS, version, groups=[group, "nobody"], include_authorized_operations=True
    ).groups
    assert (described[0].group_state, described[0].protocol_type, described[0].protocol_data) == (
        "Stable",
        "consumer",
        "range",
    )
    (member,) = described[0].members
    assert (member.client_id, member.client_host) == ("raw", "/127.0.0.1")
    assert (member.member_metadata, member.member_assignment) == (b"what I read", b"yours")
    if version >= 3:
        assert described[0].authorized_operations == 3400
    wire.ask(JOIN, 3, group_id=group, session_timeout=10_000, rebalance_timeout=10_000,
        member_id=joined.member_id, protocol_type="consumer",
        protocols=[{"name": "range", "metadata": b"more"}],
    )  # fmt: skip
    (rebalancing,) = wire.ask(DESCRIBE_GROUPS, version, groups=[group]).groups
    (member,) = rebalancing.members
    assert (rebalancing.group_state, rebalancing.protocol_data) == ("CompletingRebalance", "")
    assert (member.member_metadata, member.member_assignment) == (b"", b"yours")  # the last one it had
    assert described[1].group_state == "Dead"
    if version >= 3:
        is_error = described[1].error_code is not ErrorCode.none
        assert described[1].authorized_operations == (-(2**31) if is_error else 3400)
    assert described[1].error_code is (ErrorCode.none if version < 6 else ErrorCode.group_id_not_found)


@pytest.mark.parametrize("version", range(6))
def test_list_groups(wire: Wire, group: str, version: int) -> None:
    join(wire, 3, group)
    listed = wire.ask(LIST_GROUPS, version, states_filter=["completingrebalance"], types_filter=["classic"])
    (found,) = [g for g in listed.groups if g.group_id == group]
    assert found.protocol_type == "consumer"
    if version >= 4:
        assert found.group_state == "CompletingRebalance"
        assert {g.group_state for g in listed.groups} == {"CompletingRebalance"}
    if version >= 5:
        assert found.group_type == "classic"


@pytest.mark.parametrize("version", range(3))
def test_delete_groups(wire: Wire, group: str, version: int, topic_id: uuid.UUID) -> None:
    assert commit(wire, 10, group, topic_id=topic_id) == [ErrorCode.none]
    busy = group + "-busy"
    join(wire, 3, busy)
    results = wire.ask(DELETE_GROUPS, version, groups_names=[group, busy, "nobody", ""]).results
    assert {r.group_id: r.error_code for r in results} == {
        group: ErrorCode.none,
        busy: ErrorCode.non_empty_group,
        "nobody": ErrorCode.group_id_not_found,
        "": ErrorCode.group_id_not_found,
    }


def commit(
    wire: Wire, version: int, group: str, *, offset: int = 42, metadata: str | None = "ünï", **values: Any
) -> list[ErrorCode]:
    """Commit partition 1 of the topic that `name` or `topic_id` says; other values go into the request."""
    topic = {key: values.pop(key) for key in ("name", "topic_id") if key in values}
    partition = {
        "partition_index": 1,
        "committed_offset": offset,
        "committed_leader_epoch": 3,
        "committed_metadata": metadata,
    }
    request = {"generation_id_or_member_epoch": -1, "retention_time": -1, **values}
    response = wire.ask(
        OFFSET_COMMIT, version, group_id=group, topics=[topic | {"partitions": [partition]}], **request
    )
    return [partition.error_code for topic in response.topics for partition in topic.partitions]


@pytest.mark.parametrize("version", range(2, 11))
def test_offset_commit(wire: Wire, group: str, kafka_topic: str, topic_id: uuid.UUID, version: int) -> None:
    topic = {"name": kafka_topic, "topic_id": topic_id}
    assert commit(wire, version, group, **topic) == [ErrorCode.none]
    fetched = wire.ask(
        OFFSET_FETCH, 5, group_id=group, topics=[{"name": kafka_topic, "partition_indexes": [1]}]
    )
    (partition,) = fetched.topics[0].partitions
    leader_epoch = 3 if version >= 6 else -1
    assert (partition.committed_offset, partition.committed_leader_epoch) == (42, leader_epoch)
    assert partition.metadata == "ünï"
    unknown = ErrorCode.unknown_topic_or_partition if version < 10 else ErrorCode.unknown_topic_id
    assert commit(wire, version, group, name="nowhere", topic_id=uuid.uuid4()) == [unknown]
    assert commit(wire, version, group, metadata="x" * 4097, **topic) == [ErrorCode.offset_metadata_too_large]
    assert commit(wire, version, group, metadata="ü" * 4096, **topic) == [ErrorCode.none]  # not its bytes
    assert commit(wire, version, group, metadata="\N{GRINNING FACE}" * 2049, **topic) == [
        ErrorCode.offset_metadata_too_large
    ]
    foreign = {"generation_id_or_member_epoch": 3, "member_id": "x"}
    missing = ErrorCode.illegal_generation if version < 9 else ErrorCode.group_id_not_found
    assert commit(wire, version, group + "-not", **topic, **foreign) == [missing]
    assert commit(wire, version, group, **topic, **foreign) == [ErrorCode.unknown_member_id]


def fetch(wire: Wire, version: int, group: str, topics: list[dict[str, Any]] | None) -> tuple[ErrorCode, Any]:
    """The error and topics of one group, whatever the version's shape."""
    response = wire.ask(
        OFFSET_FETCH, version, group_id=group, topics=topics, groups=[{"group_id": group, "topics": topics}]
    )
    if version >= 8:
        (found,) = response.groups
        assert found.group_id == group
        return found.error_code, found.topics
    return getattr(response, "error_code", ErrorCode.none), response.topics


@pytest.mark.parametrize("version", range(1, 11))
def test_offset_fetch(wire: Wire, group: str, kafka_topic: str, topic_id: uuid.UUID, version: int) -> None:
    commit(wire, 10, group, topic_id=topic_id)
    topic = {"name": kafka_topic, "topic_id": topic_id}
    error, (found,) = fetch(wire, version, group, [topic | {"partition_indexes": [0, 1]}])
    assert error is ErrorCode.none
    assert [(p.partition_index, p.committed_offset, p.metadata, p.error_code) for p in found.partitions] == [
        (0, -1, "", ErrorCode.none),
        (1, 42, "ünï", ErrorCode.none),
    ]
    if version >= 5:
        assert [p.committed_leader_epoch for p in found.partitions] == [-1, 3]
    if version >= 2:
        _, (all_found,) = fetch(wire, version, group, None)
        assert [p.partition_index for p in all_found.partitions] == [1]
        assert fetch(wire, version, group + "-not", None) == (ErrorCode.none, ())
    _, (unknown,) = fetch(
        wire, version, group, [{"name": "nowhere", "topic_id": uuid.uuid4(), "partition_indexes": [0]}]
    )
    expected = ErrorCode.unknown_topic_id if version >= 10 else ErrorCode.none
    assert [(p.committed_offset, p.error_code) for p in unknown.partitions] == [(-1, expected)]


def test_offset_delete(wire: Wire, group: str, kafka_topic: str, topic_id: uuid.UUID) -> None:
    commit(wire, 10, group, topic_id=topic_id)
    asked = [{"name": kafka_topic, "partitions": [{"partition_index": 1}, {"partition_index": 9}]}]
    (topic,) = wire.ask(OFFSET_DELETE, 0, group_id=group, topics=asked).topics
    assert [p.error_code for p in topic.partitions] == [ErrorCode.none, ErrorCode.unknown_topic_or_partition]
    assert fetch(wire, 9, group, None) == (ErrorCode.none, ())
    assert wire.ask(OFFSET_DELETE, 0, group_id="nobody", topics=[]).error_code is ErrorCode.group_id_not_found
    assert wire.ask(OFFSET_DELETE, 0, group_id="", topics=[]).error_code is ErrorCode.invalid_group_id


def test_offsets_go_with_their_topic(wire: Wire, group: str, kafka_topic: str, topic_id: uuid.UUID) -> None:
    commit(wire, 10, group, topic_id=topic_id)
    wire.ask(20, 6, topics=[{"name": kafka_topic}], timeout=1000)
    assert fetch(wire, 9, group, None) == (ErrorCode.none, ())
    wire.ask(CREATE_TOPICS, 7, topics=[{"name": kafka_topic, "num_partitions": 2, "replication_factor": 1}])
    _, (found,) = fetch(wire, 9, group, [{"name": kafka_topic, "partition_indexes": [1]}])
    assert [p.committed_offset for p in found.partitions] == [-1]


def test_a_waiting_join_does_not_hold_up_other_connections(broker: Broker, wire: Wire, group: str) -> None:
    first = join(wire, 3, group)
    with Wire(broker.bootstrap) as other:
        other.request(
            JOIN, 3, group_id=group, session_timeout=10_000, rebalance_timeout=10_000, member_id="",
            protocol_type="consumer", protocols=[{"name": "range", "metadata": b""}],
        )  # fmt: skip
        deadline = 1000
        while wire.ask(
            HEARTBEAT, 4, group_id=group, generation_id=1, member_id=first.member_id
        ).error_code is (ErrorCode.none):
            deadline -= 1
            assert deadline, "the second join never came"
        again = join(wire, 3, group, first.member_id)
        assert other.response(JOIN, 3).generation_id == again.generation_id == 2
