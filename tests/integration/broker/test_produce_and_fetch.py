"""Produce, Fetch, ListOffsets and their relatives over a socket, version by version."""

import datetime
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from kio.schema.errors import ErrorCode
from support.batches import encode_request, make_batch, patch, request_classes
from support.raw_kafka import RawKafka, create_topic, decode_body, fetch, produce, produce_body

from broker.wire.batch import BatchHeader
from connect.testing.millstream import Broker


@pytest.fixture
def client(broker: Broker) -> Iterator[RawKafka]:
    with RawKafka(broker.bootstrap) as connection:
        yield connection


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def batch_of(count: int = 1, **more: Any) -> bytes:
    return bytes(make_batch(count, **more))


def records_of(response: Any, partition: int = 0) -> bytes:
    (topic,) = response.responses
    return next(p.records for p in topic.partitions if p.partition_index == partition)


@pytest.mark.parametrize("version", range(3, 14))
def test_a_batch_is_produced_and_fetched_in_every_version(
    client: RawKafka, kafka_topic: str, version: int
) -> None:
    topic_id = create_topic(client, kafka_topic)
    topic: str | uuid.UUID = topic_id if version >= 13 else kafka_topic
    for acks, offset in ((-1, 0), (1, 2)):
        result = produce(client, topic, batch_of(2), version, acks=acks)
        assert (result.error_code, result.base_offset) == (ErrorCode.none, offset)
    for fetch_version in range(4, 19):
        named: str | uuid.UUID = topic_id if fetch_version >= 13 else kafka_topic
        records = records_of(fetch(client, named, {0: 0}, fetch_version))
        first = BatchHeader(records)
        assert records[21 : first.batch_bytes] == batch_of(2)[21:]
        assert BatchHeader(records, first.batch_bytes).base_offset == 2


def test_acks_0_is_not_answered(client: RawKafka, kafka_topic: str) -> None:
    create_topic(client, kafka_topic)
    client.send(0, 9, produce_body(9, kafka_topic, batch_of(), acks=0))
    assert records_of(fetch(client, kafka_topic, {0: 0}, max_wait_ms=5000))


def test_an_error_with_acks_0_closes_the_connection(client: RawKafka, kafka_topic: str) -> None:
    client.send(0, 9, produce_body(9, kafka_topic, b"nonsense", acks=0))
    assert client.is_closed()


@pytest.mark.parametrize(
    ("batch", "code"),
    [
        (None, ErrorCode.invalid_record),
        (b"", ErrorCode.invalid_record),
        (bytes(patch(make_batch(), ">i", 57, 2)), ErrorCode.invalid_record),
        (batch_of() + batch_of(), ErrorCode.invalid_record),
        (bytes(patch(make_batch(), ">I", 17, 5, fix_crc=False)), ErrorCode.corrupt_message),
        (bytes(patch(make_batch(), ">b", 16, 0)), ErrorCode.corrupt_message),
        (batch_of(timestamps=[2**45]), ErrorCode.invalid_timestamp),
        (
            batch_of(transactional=True, producer_id=1, producer_epoch=0, sequence=0),
            ErrorCode.transactional_id_authorization_failed,
        ),
    ],
)
def test_bad_batches_are_answered_as_kafka_does(
    client: RawKafka, kafka_topic: str, batch: bytes | None, code: ErrorCode
) -> None:
    create_topic(client, kafka_topic)
    result = produce(client, kafka_topic, batch)
    assert (result.error_code, result.base_offset) == (code, -1)
    assert result.error_message
    assert produce(client, kafka_topic, batch_of()).base_offset == 0


def test_unknown_topics_and_partitions(client: RawKafka, kafka_topic: str) -> None:
    topic_id = create_topic(client, kafka_topic)
    unknown = ErrorCode.unknown_topic_or_partition
    assert produce(client, "no-such-topic", batch_of()).error_code == unknown
    assert produce(client, kafka_topic, batch_of(), partition=1).error_code == unknown
    assert produce(client, kafka_topic, batch_of(), partition=-1).error_code == unknown
    other = uuid.UUID(int=topic_id.int ^ 1)
    assert produce(client, other, batch_of(), 13).error_code == ErrorCode.unknown_topic_id
    for version, name, code in ((12, "no-such-topic", unknown), (13, other, ErrorCode.unknown_topic_id)):
        (topic,) = fetch(client, name, {0: 0}, version, max_wait_ms=5000).responses
        assert topic.partitions[0].error_code == code


def test_invalid_acks_are_refused(client: RawKafka, kafka_topic: str) -> None:
    create_topic(client, kafka_topic)
    assert produce(client, kafka_topic, batch_of(), acks=2).error_code == ErrorCode.invalid_required_acks


def test_zstd_needs_produce_7(client: RawKafka, kafka_topic: str) -> None:
    create_topic(client, kafka_topic)
    batch = bytes(patch(make_batch(), ">h", 21, 4))
    assert produce(client, kafka_topic, batch, 6).error_code == ErrorCode.unsupported_compression_type
    assert produce(client, kafka_topic, batch, 7).error_code == ErrorCode.none


def test_max_message_bytes_is_enforced(client: RawKafka, kafka_topic: str) -> None:
    create_topic(client, kafka_topic, max_message_bytes="1000")
    assert (
        produce(client, kafka_topic, bytes(make_batch([bytes(1000)]))).error_code
        == ErrorCode.message_too_large
    )
    assert produce(client, kafka_topic, bytes(make_batch([bytes(800)]))).error_code == ErrorCode.none


def test_log_append_time(client: RawKafka, kafka_topic: str) -> None:
    create_topic(client, kafka_topic, message_timestamp_type="LogAppendTime")
    before = now_ms()
    result = produce(client, kafka_topic, batch_of(2))
    header = BatchHeader(records_of(fetch(client, kafka_topic, {0: 0})))
    assert before <= header.max_timestamp <= now_ms()
    assert result.log_append_time.timestamp() * 1000 == header.max_timestamp
    assert header.attributes & 0x08


def test_a_repeated_idempotent_batch_keeps_its_offset(client: RawKafka, kafka_topic: str) -> None:
    create_topic(client, kafka_topic)
    producer = client.call(22, 4, transactional_id=None, transaction_timeout=datetime.timedelta(0))
    assert (producer.error_code, producer.producer_epoch) == (ErrorCode.none, 0)
    batches = [
        batch_of(2, producer_id=producer.producer_id, producer_epoch=0, sequence=sequence)
        for sequence in (0, 2, 6)
    ]
    assert [produce(client, kafka_topic, batch).base_offset for batch in (*batches[:2], batches[0])] == [
        0,
        2,
        0,
    ]
    assert produce(client, kafka_topic, batches[2]).error_code == ErrorCode.out_of_order_sequence_number


@pytest.mark.parametrize("version", range(6))
def test_producer_ids_are_never_given_twice(client: RawKafka, version: int) -> None:
    ids = {
        client.call(22, version, transactional_id=None, transaction_timeout=datetime.timedelta(0)).producer_id
        for _ in range(50)
    }
    assert len(ids) == 50


# --- Fetch ---


def test_a_fetch_waits_for_records(broker: Broker, client: RawKafka, kafka_topic: str) -> None:
    create_topic(client, kafka_topic)
    answers: list[Any] = []

    def consume() -> None:
        with RawKafka(broker.bootstrap) as consumer:
            answers.append(fetch(consumer, kafka_topic, {0: 0}, max_wait_ms=50_000))

    thread = threading.Thread(target=consume)
    thread.start()
    produce(client, kafka_topic, batch_of())
    thread.join(45)
    assert records_of(answers[0])


def test_min_bytes_are_waited_for_until_max_wait(client: RawKafka, kafka_topic: str) -> None:
    create_topic(client, kafka_topic)
    produce(client, kafka_topic, batch_of())
    started = time.monotonic()
    assert records_of(fetch(client, kafka_topic, {0: 0}, min_bytes=10_000, max_wait_ms=200))
    assert time.monotonic() - started >= 0.2


def test_an_error_is_answered_at_once(client: RawKafka, kafka_topic: str) -> None:
    create_topic(client, kafka_topic)
    (topic,) = fetch(client, kafka_topic, {0: 5}, max_wait_ms=60_000).responses
    assert topic.partitions[0].error_code == ErrorCode.offset_out_of_range


def test_the_first_batch_is_returned_whatever_its_size(client: RawKafka, kafka_topic: str) -> None:
    create_topic(client, kafka_topic, 2)
    big = bytes(make_batch([bytes(50_000)]))
    for partition in (0, 1):
        for _ in range(3):
            produce(client, kafka_topic, big, partition=partition)
    tiny = fetch(client, kafka_topic, {0: 0, 1: 0}, max_bytes=1)
    assert [len(records_of(tiny, partition)) for partition in (0, 1)] == [len(big), 0]
    bounded = fetch(client, kafka_topic, {0: 0, 1: 0}, max_bytes=120_000, partition_max_bytes=80_000)
    assert [len(records_of(bounded, partition)) for partition in (0, 1)] == [len(big), len(big)]


def test_leader_epochs_are_checked(client: RawKafka, kafka_topic: str) -> None:
    create_topic(client, kafka_topic)
    (topic,) = fetch(client, kafka_topic, {0: 0}, leader_epoch=3).responses
    assert topic.partitions[0].error_code == ErrorCode.unknown_leader_epoch
    (topic,) = fetch(client, kafka_topic, {0: 0}, leader_epoch=0).responses
    assert topic.partitions[0].error_code == ErrorCode.none


@pytest.mark.parametrize("version", [7, 12, 17])
def test_a_session_answers_only_what_is_news(client: RawKafka, kafka_topic: str, version: int) -> None:
    topic_id = create_topic(client, kafka_topic, 3)
    topic: str | uuid.UUID = topic_id if version >= 13 else kafka_topic
    first = fetch(client, topic, {0: 0, 1: 0, 2: 0}, version, session=(0, 0))
    session = first.session_id
    assert session > 0
    assert len(first.responses[0].partitions) == 3
    assert fetch(client, None, {}, version, session=(session, 1)).responses == ()
    produce(client, kafka_topic, batch_of(), partition=1)
    news = fetch(client, None, {}, version, session=(session, 2))
    assert [p.partition_index for p in news.responses[0].partitions] == [1]
    moved = fetch(client, topic, {1: 1}, version, session=(session, 3))
    assert (moved.session_id, moved.responses) == (session, ())


def test_a_session_with_a_wrong_epoch_or_id_is_refused(client: RawKafka, kafka_topic: str) -> None:
    create_topic(client, kafka_topic)
    session = fetch(client, kafka_topic, {0: 0}, session=(0, 0)).session_id
    wrong = fetch(client, None, {}, session=(session, 5))
    assert (wrong.error_code, wrong.responses) == (ErrorCode.invalid_fetch_session_epoch, ())
    unknown = fetch(client, None, {}, session=(session ^ 1, 1))
    assert unknown.error_code == ErrorCode.fetch_session_id_not_found
    closed = fetch(client, kafka_topic, {0: 0}, session=(session, -1))
    assert (closed.error_code, closed.session_id) == (ErrorCode.none, 0)
    gone = fetch(client, None, {}, session=(session, 1))
    assert gone.error_code == ErrorCode.fetch_session_id_not_found


def test_a_deleted_topic_ends_waiting_fetches_and_its_id_is_gone(broker: Broker, kafka_topic: str) -> None:
    with RawKafka(broker.bootstrap) as client, RawKafka(broker.bootstrap) as consumer:
        topic_id = create_topic(client, kafka_topic)
        produce(client, kafka_topic, batch_of())
        answers: list[Any] = []
        thread = threading.Thread(
            target=lambda: answers.append(fetch(consumer, topic_id, {0: 1}, 13, max_wait_ms=50_000))
        )
        thread.start()
        client.call(20, 4, topic_names=(kafka_topic,), timeout=datetime.timedelta(seconds=5))
        thread.join(45)
        assert answers[0].responses[0].partitions[0].error_code in (
            ErrorCode.unknown_topic_id,
            ErrorCode.unknown_topic_or_partition,
        )
        assert create_topic(client, kafka_topic) != topic_id
        assert produce(client, kafka_topic, batch_of()).base_offset == 0
        assert produce(client, topic_id, batch_of(), 13).error_code == ErrorCode.unknown_topic_id


# --- ListOffsets and OffsetForLeaderEpoch ---


def list_offset(client: RawKafka, topic: str, timestamp: int, version: int = 7) -> tuple[int, int, ErrorCode]:
    classes = request_classes(2, version)
    partition = classes.ListOffsetsPartition(partition_index=0, timestamp=timestamp)
    fields = {"isolation_level": 0} if version >= 2 else {}
    if version >= 10:
        fields["timeout"] = datetime.timedelta(seconds=1)  # type: ignore[assignment]
    response = client.call(
        2,
        version,
        replica_id=-1,
        topics=(classes.ListOffsetsTopic(name=topic, partitions=(partition,)),),
        **fields,
    )
    found = response.topics[0].partitions[0]
    return found.offset, found.timestamp, found.error_code


@pytest.mark.parametrize("version", range(1, 12))
def test_offsets_are_listed_in_every_version(client: RawKafka, kafka_topic: str, version: int) -> None:
    create_topic(client, kafka_topic)
    base = now_ms()
    produce(client, kafka_topic, batch_of(3, timestamps=[base + 10, base + 50, base + 20]))
    produce(client, kafka_topic, batch_of(2, timestamps=[base + 30, base + 60]))
    ok = ErrorCode.none
    assert list_offset(client, kafka_topic, -1, version) == (5, -1, ok)
    assert list_offset(client, kafka_topic, -2, version) == (0, -1, ok)
    newer = {-3: (7, (4, base + 60, ok)), -4: (8, (0, -1, ok)), -5: (9, (-1, -1, ok)), -6: (11, (-1, -1, ok))}
    for timestamp, (since, expected) in newer.items():
        refused = (-1, -1, ErrorCode.unsupported_version)
        answer = list_offset(client, kafka_topic, timestamp, version)
        assert answer == (expected if version >= since else refused)
    assert list_offset(client, kafka_topic, -7, version) == (-1, -1, ErrorCode.unsupported_version)
    assert list_offset(client, kafka_topic, base + 11, version) == (1, base + 50, ok)
    assert list_offset(client, kafka_topic, base + 50, version) == (1, base + 50, ok)
    assert list_offset(client, kafka_topic, base + 51, version) == (4, base + 60, ok)
    assert list_offset(client, kafka_topic, base + 61, version) == (-1, -1, ok)
    assert list_offset(client, "no-such-topic", -1, version)[2] == ErrorCode.unknown_topic_or_partition


def test_the_offsets_of_an_empty_log(client: RawKafka, kafka_topic: str) -> None:
    create_topic(client, kafka_topic)
    assert [list_offset(client, kafka_topic, t, 8)[0] for t in (-1, -2, -3, -4, 0)] == [0, 0, -1, 0, -1]


@pytest.mark.parametrize("version", range(2, 5))
def test_the_leader_epoch_ends_where_the_log_ends(client: RawKafka, kafka_topic: str, version: int) -> None:
    create_topic(client, kafka_topic)
    produce(client, kafka_topic, batch_of(3))
    classes = request_classes(23, version)

    def end(leader_epoch: int, current: int = 0) -> tuple[int, int, ErrorCode]:
        wanted = classes.OffsetForLeaderPartition(
            partition=0, current_leader_epoch=current, leader_epoch=leader_epoch
        )
        fields = {"replica_id": -1} if version >= 3 else {}
        response = client.call(
            23,
            version,
            topics=(classes.OffsetForLeaderTopic(topic=kafka_topic, partitions=(wanted,)),),
            **fields,
        )
        found = response.topics[0].partitions[0]
        return found.leader_epoch, found.end_offset, found.error_code

    assert end(0) == (0, 3, ErrorCode.none)
    assert end(1) == (-1, -1, ErrorCode.none)
    assert end(0, current=1) == (-1, -1, ErrorCode.unknown_leader_epoch)


def test_api_versions_advertise_produce_from_0(client: RawKafka) -> None:
    for version in range(5):
        fields = {"client_software_name": "x", "client_software_version": "1"} if version >= 3 else {}
        response = client.call(18, version, **fields)
        assert response.error_code == ErrorCode.none
        ranges = {key.api_key: (key.min_version, key.max_version) for key in response.api_keys}
        assert ranges[0] == (0, 13)
        assert ranges[1] == (4, 18)
        assert ranges[18] == (0, 4)
        assert sorted(ranges) == [key.api_key for key in response.api_keys]


def test_several_partitions_in_one_request(client: RawKafka, kafka_topic: str) -> None:
    create_topic(client, kafka_topic, 2)
    classes = request_classes(0, 9)
    data = classes.TopicProduceData(
        name=kafka_topic,
        partition_data=tuple(
            classes.PartitionProduceData(index=index, records=batch_of(index + 1)) for index in (0, 1, 2)
        ),
    )
    body = encode_request(
        0, 9, transactional_id=None, acks=-1, timeout=datetime.timedelta(0), topic_data=(data,)
    )
    client.send(0, 9, body)
    response = decode_body(0, 9, client.receive()[1])
    codes = [p.error_code for p in response.responses[0].partition_responses]
    assert codes == [ErrorCode.none, ErrorCode.none, ErrorCode.unknown_topic_or_partition]
    assert [p.base_offset for p in response.responses[0].partition_responses] == [0, 0, -1]
