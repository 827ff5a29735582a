"""Every API that the broker advertises, in every version: asked by kio's classes, decoded strictly.

The table `CASES` is compared with what ApiVersions says: an API or a version that is added to the broker
without a case here fails the suite. What each API does is tested elsewhere; here the bytes are.
"""

import dataclasses
import datetime
import struct
import typing
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from kio.index import load_request_schema
from kio.schema.errors import ErrorCode
from support.batches import decode_response, encode_request, make_batch
from support.kafka_wire import Wire

from connect.testing.millstream import Broker

API_VERSIONS = 18
TIMEOUT_MS = 5000


@dataclass(frozen=True, slots=True)
class World:
    """What the requests are about: a topic of one partition, and names that nobody else uses."""

    topic: str
    topic_id: uuid.UUID
    name: str

    @property
    def topic_of_any_version(self) -> dict[str, Any]:
        """Older versions name a topic, newer ones have its id."""
        return {"topic": self.topic, "name": self.topic, "topic_id": self.topic_id}


@dataclass(frozen=True, slots=True)
class Case:
    """How an API is asked. `values` makes fields of any of its versions; those that a version lacks are left
    out. `errors` are the codes that may be in the answer, beside none."""

    name: str
    versions: range
    served: range
    values: Callable[[World], dict[str, Any]]
    errors: frozenset[ErrorCode]


def case(name: str, first: int, last: int, values: Any = None, *errors: str, served_from: int = 0) -> Case:
    """`values` is a dict, or a function of the world that makes one."""
    return Case(
        name,
        range(first, last + 1),
        range(max(first, served_from), last + 1),
        values if callable(values) else lambda _world: values or {},
        frozenset(ErrorCode[error] for error in errors),
    )


def produce(world: World) -> dict[str, Any]:
    partition = {"index": 0, "records": bytes(make_batch(2))}
    return {"acks": -1, "timeout": TIMEOUT_MS, "topic_data": [
        world.topic_of_any_version | {"partition_data": [partition]}
    ]}  # fmt: skip


def fetch(world: World) -> dict[str, Any]:
    partition = {"partition": 0, "fetch_offset": 0, "partition_max_bytes": 1000, "current_leader_epoch": -1}
    return {"max_wait": 0, "min_bytes": 0, "max_bytes": 10_000, "session_epoch": -1, "topics": [
        world.topic_of_any_version | {"partitions": [partition]}
    ]}  # fmt: skip


def commit(world: World) -> dict[str, Any]:
    partition = {"partition_index": 0, "committed_offset": 3, "committed_metadata": "why not"}
    topics = [world.topic_of_any_version | {"partitions": [partition]}]
    return {"group_id": world.name, "generation_id_or_member_epoch": -1, "topics": topics}


def fetch_offsets(world: World) -> dict[str, Any]:
    topics = [world.topic_of_any_version | {"partition_indexes": [0]}]
    return {
        "group_id": world.name,
        "topics": topics,
        "groups": [{"group_id": world.name, "topics": topics, "member_epoch": -1}],
    }


def transaction(world: World) -> dict[str, Any]:
    """Of a transactional id that the broker does not know."""
    ids = {"transactional_id": world.name, "producer_id": 1, "producer_epoch": 0, "group_id": world.name}
    topics = [{"name": world.topic, "partitions": [0]}]
    v3_and_below = {
        "v3_and_below_transactional_id": world.name,
        "v3_and_below_producer_id": 1,
        "v3_and_below_producer_epoch": 0,
        "v3_and_below_topics": topics,
    }
    return ids | v3_and_below | {"topics": topics, "transactions": [ids | {"topics": topics}]}


def transactional_commit(world: World) -> dict[str, Any]:
    partition = {"partition_index": 0, "committed_offset": 3}
    return transaction(world) | {
        "generation_id": -1,
        "topics": [{"name": world.topic, "partitions": [partition]}],
    }


def marker(world: World) -> dict[str, Any]:
    topics = [{"name": world.topic, "partition_indexes": [0]}]
    return {
        "markers": [{"producer_id": 1, "producer_epoch": 0, "transaction_result": True, "topics": topics}]
    }


def join(world: World) -> dict[str, Any]:
    return {
        "group_id": world.name,
        "session_timeout": 10_000,
        "rebalance_timeout": 10_000,
        "protocol_type": "consumer",
        "protocols": [{"name": "range", "metadata": b"what I read"}],
    }


def member(world: World) -> dict[str, Any]:
    return {
        "group_id": world.name,
        "member_id": "nobody",
        "generation_id": 1,
        "protocol_type": "consumer",
        "protocol_name": "range",
        "members": [{"member_id": "nobody"}],
    }


def consumer_heartbeat(world: World) -> dict[str, Any]:
    return {
        "group_id": world.name,
        "member_id": str(uuid.uuid4()),
        "member_epoch": 0,
        "rebalance_timeout": 10_000,
        "subscribed_topic_names": [world.topic],
        "topic_partitions": [],
    }


def new_topic(world: World) -> dict[str, Any]:
    topic = {"name": f"{world.name}-{uuid.uuid4().hex[:8]}", "num_partitions": 1, "replication_factor": 1}
    return {"topics": [topic | {"configs": [{"name": "retention.ms", "value": "5"}]}], "timeout": TIMEOUT_MS}


def resource(world: World) -> dict[str, Any]:
    one = {"name": "retention.ms", "value": "7", "config_operation": 0}
    return {"resources": [{"resource_type": 2, "resource_name": world.topic, "configs": [one]}]}


def described_resources(world: World) -> dict[str, Any]:
    named = [(2, world.topic), (4, "1"), (32, world.name)]
    return {
        "include_synonyms": True,
        "include_documentation": True,
        "resources": [
            {"resource_type": kind, "resource_name": name, "configuration_keys": None} for kind, name in named
        ],
    }


def partitions(**of_partition: Any) -> Callable[[World], dict[str, Any]]:
    """A request about partition 0 of the topic, with these fields for it."""
    values = {"partition_index": 0, "partition": 0, "current_leader_epoch": -1} | of_partition
    return lambda world: {"topics": [world.topic_of_any_version | {"partitions": [values]}]}


UNKNOWN_MEMBER = ("unknown_member_id", "group_id_not_found")
UNKNOWN_TRANSACTION = (
    "invalid_producer_id_mapping",
    "transactional_id_not_found",
    "unknown_member_id",
    "invalid_txn_state",
)

CASES: dict[int, Case] = {
    0: case("Produce", 0, 13, produce, served_from=3),
    1: case("Fetch", 4, 18, fetch),
    2: case("ListOffsets", 1, 11, partitions(timestamp=-1)),
    3: case("Metadata", 0, 13, lambda world: {"topics": [{"name": world.topic}]}),
    8: case("OffsetCommit", 2, 10, commit),
    9: case("OffsetFetch", 1, 10, fetch_offsets),
    10: case("FindCoordinator", 0, 6, lambda world: {"key": world.name, "coordinator_keys": [world.name]}),
    11: case("JoinGroup", 0, 9, join, "member_id_required"),
    12: case("Heartbeat", 0, 4, member, *UNKNOWN_MEMBER),
    13: case("LeaveGroup", 0, 5, member, *UNKNOWN_MEMBER),
    14: case("SyncGroup", 0, 5, member, *UNKNOWN_MEMBER),
    15: case("DescribeGroups", 0, 6, lambda world: {"groups": [world.name]}, "group_id_not_found"),
    16: case("ListGroups", 0, 5),
    API_VERSIONS: case("ApiVersions", 0, 4, {"client_software_name": "wire", "client_software_version": "1"}),
    19: case("CreateTopics", 2, 7, new_topic),
    20: case(
        "DeleteTopics", 1, 6,
        lambda world: {"topic_names": [world.name], "topics": [{"name": world.name}], "timeout": TIMEOUT_MS},
        "unknown_topic_or_partition",
    ),
    21: case("DeleteRecords", 0, 2, partitions(offset=0)),
    22: case("InitProducerId", 0, 5, {"transactional_id": None, "producer_id": -1, "producer_epoch": -1}),
    23: case("OffsetForLeaderEpoch", 2, 4, partitions(leader_epoch=0)),
    24: case("AddPartitionsToTxn", 0, 5, transaction, *UNKNOWN_TRANSACTION),
    25: case("AddOffsetsToTxn", 0, 4, transaction, *UNKNOWN_TRANSACTION),
    26: case("EndTxn", 0, 5, transaction, *UNKNOWN_TRANSACTION),
    27: case("WriteTxnMarkers", 1, 2, marker),
    28: case("TxnOffsetCommit", 0, 5, transactional_commit, *UNKNOWN_TRANSACTION),
    32: case("DescribeConfigs", 1, 4, described_resources),
    33: case("AlterConfigs", 0, 2, resource),
    37: case(
        "CreatePartitions", 0, 3,
        lambda world: {"topics": [{"name": world.topic, "count": 2, "assignments": None}]},
    ),
    42: case(
        "DeleteGroups", 0, 2, lambda world: {"groups_names": [world.name]}, "group_id_not_found"
    ),
    44: case("IncrementalAlterConfigs", 0, 1, resource),
    47: case(
        "OffsetDelete", 0, 0,
        lambda world: {"group_id": world.name} | partitions()(world),
        "group_id_not_found",
    ),
    60: case("DescribeCluster", 0, 2, {"include_cluster_authorized_operations": True, "endpoint_type": 1}),
    61: case(
        "DescribeProducers", 0, 0,
        lambda world: {"topics": [{"name": world.topic, "partition_indexes": [0]}]},
    ),
    65: case(
        "DescribeTransactions", 0, 0, lambda world: {"transactional_ids": [world.name]}, *UNKNOWN_TRANSACTION
    ),
    66: case("ListTransactions", 0, 2, {"duration_filter": -1}),
    68: case("ConsumerGroupHeartbeat", 0, 1, consumer_heartbeat),
    69: case(
        "ConsumerGroupDescribe", 0, 1, lambda world: {"group_ids": [world.name]}, "group_id_not_found"
    ),
    74: case("ListConfigResources", 0, 1),
    75: case(
        "DescribeTopicPartitions", 0, 0,
        lambda world: {"topics": [{"name": world.topic}], "response_partition_limit": 10},
    ),
}  # fmt: skip

EVERY_VERSION = [
    pytest.param(key, version, id=f"{case.name}-{version}")
    for key, case in CASES.items()
    for version in case.served
]


@pytest.fixture
def wire(broker: Broker) -> Iterator[Wire]:
    with Wire(broker.bootstrap) as wire:
        yield wire


@pytest.fixture
def world(wire: Wire, kafka_topic: str) -> World:
    topic = {"name": kafka_topic, "num_partitions": 1, "replication_factor": 1}
    (created,) = wire.ask(19, 7, topics=[topic], timeout=TIMEOUT_MS).topics
    return World(kafka_topic, uuid.UUID(bytes=created.topic_id.bytes), f"every-api-{uuid.uuid4().hex[:12]}")


def error_codes(value: Any) -> set[ErrorCode]:
    """All that are anywhere in a response."""
    if isinstance(value, ErrorCode):
        return {value}
    if isinstance(value, tuple):
        return {code for item in value for code in error_codes(item)}
    if dataclasses.is_dataclass(value):
        return {c for part in dataclasses.fields(value) for c in error_codes(getattr(value, part.name))}
    return set()


def test_there_is_a_case_for_each_version_that_is_advertised(wire: Wire) -> None:
    client = {"client_software_name": "wire", "client_software_version": "1"}
    advertised = {
        api.api_key: (api.min_version, api.max_version) for api in wire.ask(18, 4, **client).api_keys
    }
    assert {key: (c.versions.start, c.versions.stop - 1) for key, c in CASES.items()} == advertised


@pytest.mark.parametrize(("key", "version"), EVERY_VERSION)
def test_it_is_answered_in_its_own_format(wire: Wire, world: World, key: int, version: int) -> None:
    case = CASES[key]
    answer = wire.ask(key, version, **case.values(world))  # nothing may be left over
    assert type(answer).__version__ == version
    unexpected = error_codes(answer) - case.errors - {ErrorCode.none}
    assert not unexpected, answer
    # The connection is in step: the next answer is the next request's.
    assert wire.ask(10, 1, key=world.name).error_code is ErrorCode.none


@pytest.mark.parametrize(("key", "version"), EVERY_VERSION)
def test_a_request_with_all_fields_filled_is_answered_or_refused(
    wire: Wire, broker: Broker, key: int, version: int
) -> None:
    """One element in each array, whatever makes sense or not: an answer, or the connection is closed."""
    schema = load_request_schema(key, version)
    wire.send(key, version, encode_request(key, version, **_filled_fields(schema)))
    try:
        wire.response(key, version)
    except ConnectionError:
        with Wire(broker.bootstrap) as again:
            wire = again
            assert wire.ask(10, 1, key="alive").error_code is ErrorCode.none


@pytest.mark.parametrize("key", CASES, ids=[case.name for case in CASES.values()])
def test_a_version_that_is_not_served_closes_the_connection(broker: Broker, key: int) -> None:
    """As Kafka does. Only ApiVersions has an answer to that."""
    served = CASES[key].served
    for version in (served.start - 1, served.stop, 32_767):
        if key == API_VERSIONS:
            continue
        with Wire(broker.bootstrap) as wire:
            header = struct.pack(">hhih", key, version, 1, -1) + b"\0"
            wire.socket.sendall(struct.pack(">i", len(header)) + header)
            assert wire.is_closed()


@pytest.mark.parametrize("version", [-1, 5, 32_767])
def test_a_version_of_api_versions_from_the_future_is_told_which_there_are(wire: Wire, version: int) -> None:
    header = struct.pack(">hhih", API_VERSIONS, version, 1, -1) + b"\0"
    wire.socket.sendall(struct.pack(">i", len(header)) + header)
    answer = decode_response(API_VERSIONS, 0, wire.receive()[1])
    assert answer.error_code is ErrorCode.unsupported_version
    assert [(a.api_key, a.min_version, a.max_version) for a in answer.api_keys] == [(API_VERSIONS, 0, 4)]
    assert wire.ask(10, 1, key="alive").error_code is ErrorCode.none


@pytest.mark.parametrize("key", [-1, 4, 7, 1000, 32_767])
def test_an_api_that_is_not_there_closes_the_connection(wire: Wire, key: int) -> None:
    header = struct.pack(">hhih", key, 0, 1, -1)
    wire.socket.sendall(struct.pack(">i", len(header)) + header)
    assert wire.is_closed()


def _filled_fields(schema: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(schema)
    return {part.name: _filled(hints[part.name]) for part in dataclasses.fields(schema)}


def _filled(hint: Any) -> Any:
    if typing.get_origin(hint) is tuple:
        return (_filled(typing.get_args(hint)[0]),)
    if not isinstance(hint, type):  # X | None
        return _filled(next(part for part in typing.get_args(hint) if part is not type(None)))
    if dataclasses.is_dataclass(hint):
        return hint(**_filled_fields(hint))
    if issubclass(hint, uuid.UUID):
        return uuid.UUID(int=77)
    if issubclass(hint, datetime.timedelta):
        return datetime.timedelta(milliseconds=10)
    if issubclass(hint, datetime.datetime):
        return datetime.datetime.fromtimestamp(1, datetime.UTC)
    for kind, value in ((bool, True), (str, uuid.uuid4().hex), (bytes, b"filled"), (float, 1.5), (int, 1)):
        if issubclass(hint, kind):
            return value
    raise AssertionError(f"no value for {hint}")
