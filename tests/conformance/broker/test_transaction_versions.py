"""Transactions in every version that the broker serves, over a socket. The expectations are what Apache
Kafka 4.3.1 answered to the same requests."""

import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from kio.schema.errors import ErrorCode
from support.batches import make_batch
from support.kafka_wire import Wire
from support.raw_kafka import create_topic, produce

from broker.handlers.transaction_admin import offsets_partition
from connect.testing.millstream import Broker

PRODUCE_V2 = 12
LIST_OFFSETS, FIND_COORDINATOR, API_VERSIONS, INIT = 2, 10, 18, 22
ADD_PARTITIONS, ADD_OFFSETS, END, DESCRIBE, LIST = 24, 25, 26, 65, 66
MINUTE_MS = 60_000

NONE = ErrorCode.none
FENCED = ErrorCode.producer_fenced
OLD_EPOCH = ErrorCode.invalid_producer_epoch
NO_MAPPING = ErrorCode.invalid_producer_id_mapping


class Client:
    """A transactional producer that says exactly what a test wants; it goes on with what it was told last."""

    def __init__(self, wire: Wire, topic: str, topic_id: uuid.UUID, name: str = "") -> None:
        self.wire = wire
        self.topic = topic
        self.topic_id = topic_id
        self.name = name or f"txn-{topic}"
        self.id = self.epoch = -1

    def init(self, version: int = 5, **changes: Any) -> Any:
        values = {
            "transactional_id": self.name,
            "transaction_timeout": MINUTE_MS,
            "producer_id": -1,
            "producer_epoch": -1,
        }
        return self.wire.ask(INIT, version, **values | changes)

    def start(self) -> "Client":
        result = self.init()
        assert result.error_code is NONE
        self.id, self.epoch = result.producer_id, result.producer_epoch
        return self

    def add(self, version: int, *partitions: int, **changes: Any) -> list[ErrorCode]:
        """Of a client: the error of each partition."""
        values = {
            "v3_and_below_transactional_id": self.name,
            "v3_and_below_producer_id": self.id,
            "v3_and_below_producer_epoch": self.epoch,
            "v3_and_below_topics": [{"name": self.topic, "partitions": partitions}],
        }
        (topic,) = self.wire.ask(ADD_PARTITIONS, version, **values | changes).results_by_topic_v3_and_below
        return [partition.partition_error_code for partition in topic.results_by_partition]

    def batched(self, version: int, *transactions: dict[str, Any]) -> list[list[ErrorCode]]:
        """Of a broker: the errors of each transaction's partitions, of which `topics` has the names."""
        values = {"transactional_id": self.name, "producer_id": self.id, "producer_epoch": self.epoch}
        response = self.wire.ask(
            ADD_PARTITIONS, version, transactions=[values | transaction for transaction in transactions]
        )
        assert response.error_code is NONE
        return [
            [p.partition_error_code for topic in result.topic_results for p in topic.results_by_partition]
            for result in response.results_by_transaction
        ]

    def produce(self, version: int, sequence: int = 0, partition: int = 0, **changes: Any) -> ErrorCode:
        batch = make_batch(
            producer_id=changes.get("producer_id", self.id),
            producer_epoch=changes.get("epoch", self.epoch),
            sequence=sequence,
            transactional=changes.get("transactional", True),
            timestamps=[int(time.time() * 1000)],
        )
        topic = self.topic_id if version >= 13 else self.topic
        name = changes.get("transactional_id", self.name)
        result = produce(self.wire, topic, bytes(batch), version, partition=partition, transactional_id=name)
        return ErrorCode(result.error_code)

    def end(self, version: int = 5, *, commit: bool = True, **changes: Any) -> Any:
        values = {
            "transactional_id": self.name,
            "producer_id": self.id,
            "producer_epoch": self.epoch,
            "committed": commit,
        }
        return self.wire.ask(END, version, **values | changes)

    def finish(self, *, commit: bool = True) -> None:
        """End with transactions v2, and go on under the next epoch."""
        result = self.end(commit=commit)
        assert (result.error_code, result.producer_epoch) == (NONE, self.epoch + 1)
        self.epoch = result.producer_epoch

    def state(self) -> str:
        (found,) = self.wire.ask(DESCRIBE, 0, transactional_ids=[self.name]).transaction_states
        return str(found.transaction_state)

    def stable_offset(self, partition: int = 0) -> int:
        wanted = {"partition_index": partition, "timestamp": -1, "current_leader_epoch": -1}
        (topic,) = self.wire.ask(
            LIST_OFFSETS,
            6,
            replica_id=-1,
            isolation_level=1,
            topics=[{"name": self.topic, "partitions": [wanted]}],
        ).topics
        return int(topic.partitions[0].offset)


@pytest.fixture
def client(broker: Broker, kafka_topic: str) -> Iterator[Client]:
    """Of a topic of three partitions; not started."""
    with Wire(broker.bootstrap) as wire:
        yield Client(wire, kafka_topic, create_topic(wire, kafka_topic, 3))


# --- ApiVersions ---


@pytest.mark.parametrize(("version", "supported"), [(3, {"metadata.version"}), (4, None)])
def test_features(client: Client, version: int, supported: set[str] | None) -> None:
    answer = client.wire.ask(API_VERSIONS, version, client_software_name="test", client_software_version="1")
    finalized = {f.name: (f.min_version_level, f.max_version_level) for f in answer.finalized_features}
    assert finalized == {
        "group.version": (1, 1),
        "kraft.version": (1, 1),
        "metadata.version": (30, 30),
        "transaction.version": (2, 2),
    }
    assert answer.finalized_features_epoch >= 0
    assert {f.name for f in answer.supported_features} == (supported or set(finalized))


# --- InitProducerId ---


@pytest.mark.parametrize("version", range(6))
def test_init_producer_id(client: Client, version: int) -> None:
    first, second = client.init(version), client.init(version)
    assert (first.error_code, first.producer_epoch) == (NONE, 0)
    assert (second.error_code, second.producer_id, second.producer_epoch) == (NONE, first.producer_id, 1)


@pytest.mark.parametrize("version", range(3, 6))
def test_a_producer_goes_on_or_is_fenced(client: Client, version: int) -> None:
    client.start()
    mine = {"producer_id": client.id, "producer_epoch": 0}
    for _ in range(2):  # the second time its answer was lost
        again = client.init(version, **mine)
        assert (again.error_code, again.producer_epoch) == (NONE, 1)
    client.start()
    fenced = client.init(version, **mine)
    assert fenced.error_code is (OLD_EPOCH if version < 4 else FENCED)
    assert (fenced.producer_id, fenced.producer_epoch) == (-1, -1)


def test_init_producer_id_refuses(client: Client) -> None:
    assert client.init(transactional_id="").error_code is ErrorCode.invalid_request
    for timeout_ms in (0, 900_001):
        refused = client.init(transaction_timeout=timeout_ms)
        assert refused.error_code is ErrorCode.invalid_transaction_timeout
    assert client.init(transaction_timeout=900_000).error_code is NONE


# --- AddPartitionsToTxn, AddOffsetsToTxn ---


@pytest.mark.parametrize("version", range(4))
def test_add_partitions(client: Client, version: int) -> None:
    client.start()
    assert client.add(version, 0, 2) == [NONE, NONE]
    assert client.state() == "Ongoing"
    unknown, not_tried = ErrorCode.unknown_topic_or_partition, ErrorCode.operation_not_attempted
    assert client.add(version, 1, 7) == [not_tried, unknown]
    fenced = OLD_EPOCH if version < 2 else FENCED
    assert client.add(version, 0, v3_and_below_producer_epoch=1) == [fenced]
    assert client.add(version, 0, v3_and_below_producer_id=client.id + 1) == [NO_MAPPING]
    assert client.add(version, 0, v3_and_below_transactional_id="nobody") == [NO_MAPPING]


@pytest.mark.parametrize("version", [4, 5])
def test_add_partitions_batched(client: Client, version: int) -> None:
    client.start()
    topics = [{"name": client.topic, "partitions": [0, 1]}]
    one = [{"name": client.topic, "partitions": [0]}]
    abortable = ErrorCode.transaction_abortable
    assert client.batched(version, {"verify_only": True, "topics": topics}) == [[abortable, abortable]]
    assert client.batched(
        version, {"topics": one}, {"transactional_id": "nobody", "verify_only": True, "topics": one}
    ) == [[NONE], [NO_MAPPING]]
    assert client.batched(version, {"verify_only": True, "topics": topics}) == [[NONE, abortable]]
    assert client.batched(version, {"topics": one, "producer_epoch": 1}) == [[FENCED]]
    missing = [{"name": client.topic, "partitions": [0, 9]}]
    assert client.batched(version, {"verify_only": True, "topics": missing}) == [
        [ErrorCode.operation_not_attempted, ErrorCode.unknown_topic_or_partition]
    ]


@pytest.mark.parametrize("version", range(5))
def test_add_offsets(client: Client, version: int) -> None:
    client.start()

    def add(**changes: Any) -> ErrorCode:
        values = {
            "transactional_id": client.name,
            "producer_id": client.id,
            "producer_epoch": client.epoch,
            "group_id": "g",
        }
        return ErrorCode(client.wire.ask(ADD_OFFSETS, version, **values | changes).error_code)

    assert add(group_id="h") is NONE
    assert add(producer_epoch=1) is (OLD_EPOCH if version < 2 else FENCED)
    assert add(producer_id=client.id + 1) is NO_MAPPING
    assert add(transactional_id="") is ErrorCode.invalid_request
    (found,) = client.wire.ask(DESCRIBE, 0, transactional_ids=[client.name]).transaction_states
    assert [(t.topic, t.partitions) for t in found.topics] == [
        ("__consumer_offsets", (offsets_partition("h"),))
    ]


@pytest.mark.parametrize(
    ("group", "partition"), [("", 0), ("g", 3), ("console-consumer-1", 24), ("gruppe-ü-😀", 16)]
)
def test_a_group_has_the_partition_that_kafka_gives_it(group: str, partition: int) -> None:
    assert offsets_partition(group) == partition


# --- EndTxn ---


@pytest.mark.parametrize("version", range(5))
def test_end_v1(client: Client, version: int) -> None:
    client.start()
    refused = ErrorCode.invalid_txn_state
    assert client.end(version).error_code is refused
    client.add(3, 0)
    assert client.produce(9) is NONE
    assert client.stable_offset() == 0
    assert client.end(version, producer_epoch=1).error_code is (OLD_EPOCH if version < 2 else FENCED)
    assert client.end(version, producer_id=client.id + 1).error_code is NO_MAPPING
    for _ in range(2):
        assert client.end(version).error_code is NONE
    assert client.stable_offset() == 2
    assert client.end(version, commit=False).error_code is refused
    client.add(3, 0)
    assert client.produce(9, 1) is NONE
    assert client.end(version, commit=False).error_code is NONE


def test_end_v2(client: Client) -> None:
    client.start()
    assert client.end().error_code is ErrorCode.invalid_txn_state
    assert client.produce(PRODUCE_V2) is NONE
    for _ in range(2):
        result = client.end()
        assert (result.error_code, result.producer_id, result.producer_epoch) == (NONE, client.id, 1)
    assert client.end(commit=False).error_code is ErrorCode.invalid_txn_state
    client.epoch = 1
    assert client.produce(PRODUCE_V2) is NONE
    assert client.end(producer_epoch=0).error_code is FENCED
    client.finish(commit=False)
    assert client.end().error_code is ErrorCode.invalid_txn_state
    client.finish(commit=False)  # nothing was added, and it aborts to be sure


def test_a_producer_changes_from_v1_to_v2(client: Client) -> None:
    client.start()
    client.add(3, 0)
    assert client.produce(9) is NONE
    assert client.end(4).error_code is NONE
    client.add(3, 0, 1)
    assert client.produce(9, 1) is NONE
    client.finish(commit=False)
    assert client.produce(PRODUCE_V2) is NONE
    client.finish()


# --- Produce ---


@pytest.mark.parametrize("version", range(3, 12))
def test_older_versions_of_produce_need_the_partition_added(client: Client, version: int) -> None:
    client.start()
    refused = ErrorCode.transaction_abortable if version >= 11 else ErrorCode.invalid_txn_state
    assert client.produce(version) is refused
    client.add(3, 0)
    assert client.produce(version) is NONE
    assert client.produce(version, 1) is NONE
    assert client.produce(version, 0, 1) is refused
    assert client.produce(version, 0, 1, epoch=1) is OLD_EPOCH
    assert client.produce(version, 0, 1, producer_id=client.id + 1) is NO_MAPPING
    assert client.produce(version, 0, 1, transactional_id="nobody") is NO_MAPPING
    client.end(4)
    assert client.produce(version, 2) is refused


@pytest.mark.parametrize("version", [12, 13])
def test_newer_versions_of_produce_add_the_partition(client: Client, version: int) -> None:
    client.start()
    assert client.produce(version) is NONE
    assert (client.state(), client.stable_offset()) == ("Ongoing", 0)
    assert client.produce(version, 0) is NONE  # it repeats itself
    assert client.produce(version, 1) is NONE
    assert client.produce(version, 3) is ErrorCode.out_of_order_sequence_number
    assert client.produce(version, 5, 1) is ErrorCode.out_of_order_sequence_number
    assert client.produce(version, 0, 1, epoch=1) is OLD_EPOCH
    assert client.produce(version, 0, 1, producer_id=client.id + 1) is NO_MAPPING
    assert client.produce(version, 0, 1, transactional_id="nobody") is NO_MAPPING
    client.finish()
    assert client.stable_offset() == 3
    assert client.produce(version, 2, epoch=client.epoch - 1) is OLD_EPOCH
    assert client.produce(version, 0, 2, epoch=client.epoch - 1) is OLD_EPOCH


@pytest.mark.parametrize("version", [9, 12])
def test_a_transactional_batch_needs_a_transactional_id(client: Client, version: int) -> None:
    client.start()
    refused = client.produce(version, transactional_id=None)
    assert refused is ErrorCode.transactional_id_authorization_failed
    assert client.produce(version, transactional_id="") is ErrorCode.invalid_request
    assert client.produce(version, transactional=False) is NONE


# --- fencing ---


def test_a_new_producer_fences_the_one_before(client: Client) -> None:
    client.start()
    assert client.produce(PRODUCE_V2) is NONE
    new = Client(client.wire, client.topic, client.topic_id)
    assert new.init().error_code is ErrorCode.concurrent_transactions
    new.start()
    assert new.epoch == 2
    assert client.produce(PRODUCE_V2, 1) is OLD_EPOCH
    assert client.produce(PRODUCE_V2, 0, 1) is OLD_EPOCH
    assert client.end().error_code is FENCED
    assert client.end(4).error_code is FENCED
    assert client.init(producer_id=client.id, producer_epoch=client.epoch).error_code is FENCED
    assert client.stable_offset() == 2
    assert new.produce(PRODUCE_V2) is NONE
    new.finish()


# --- administration ---


def test_describe(client: Client) -> None:
    client.start()
    client.add(3, 0, 2)
    unknown, empty, found = client.wire.ask(
        DESCRIBE, 0, transactional_ids=["nobody", "", client.name]
    ).transaction_states
    assert unknown.error_code is ErrorCode.transactional_id_not_found
    assert empty.error_code is ErrorCode.invalid_request
    assert (found.error_code, found.transaction_state) == (NONE, "Ongoing")
    assert (found.producer_id, found.producer_epoch) == (client.id, 0)
    assert [(t.topic, t.partitions) for t in found.topics] == [(client.topic, (0, 2))]


@pytest.mark.parametrize("version", range(3))
def test_list(client: Client, version: int) -> None:
    client.start()
    client.add(3, 0)

    def listed(**filters: Any) -> list[tuple[str, str]]:
        answer = client.wire.ask(LIST, version, **filters)
        assert answer.error_code is NONE
        return [
            (one.transactional_id, one.transaction_state)
            for one in answer.transaction_states
            if one.transactional_id == client.name
        ]

    mine = [(client.name, "Ongoing")]
    assert listed() == mine
    assert listed(state_filters=["Ongoing", "Empty"]) == mine
    assert listed(state_filters=["Empty"]) == []
    assert listed(producer_id_filters=[client.id]) == mine
    assert listed(producer_id_filters=[client.id + 1]) == []
    assert client.wire.ask(LIST, version, state_filters=["Nope"]).unknown_state_filters == ("Nope",)
    if version >= 1:
        assert listed(duration_filter=100_000) == []
    if version >= 2:
        assert listed(transactional_id_pattern=f"{client.name[:6]}.*") == mine
        assert listed(transactional_id_pattern=client.name[:-1]) == []
        bad = client.wire.ask(LIST, version, transactional_id_pattern="([")
        assert bad.error_code is ErrorCode.invalid_regular_expression
