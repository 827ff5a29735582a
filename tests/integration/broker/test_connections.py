"""The server against clients that behave badly, or well but hard."""

import contextlib
import resource
import socket
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from kio.schema.errors import ErrorCode
from support.batches import decode_response, encode_request, make_batch
from support.raw_kafka import RawKafka, create_topic, fetch, produce, produce_body, request_frame

from connect.testing.millstream import Broker

MIB = 1 << 20
DEADLINE_S = 60


@pytest.fixture
def impatient_broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "own", {"connections.max.idle.ms": "1000"}) as broker:
        yield broker


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.02)


def api_versions_body(name: str = "test", version: str = "1") -> bytes:
    return encode_request(18, 3, client_software_name=name, client_software_version=version)


def test_a_thousand_pipelined_requests_are_answered_in_order(broker: Broker, kafka_topic: str) -> None:
    with RawKafka(broker.bootstrap) as client:
        create_topic(client, kafka_topic)
        batch = bytes(make_batch())
        frames = bytearray()
        for number in range(1000):
            key, version, body = (
                (18, 3, api_versions_body()) if number % 3 else (0, 9, produce_body(9, kafka_topic, batch))
            )
            frames += request_frame(key, version, number, body)
        client.socket.sendall(frames)
        assert [client.receive()[0] for _ in range(1000)] == list(range(1000))
        (topic,) = fetch(client, kafka_topic, {0: 0}).responses
        assert topic.partitions[0].high_watermark == 334


def test_a_half_closed_connection_still_gets_its_answers(broker: Broker, kafka_topic: str) -> None:
    with RawKafka(broker.bootstrap) as client:
        create_topic(client, kafka_topic)
        sent = [client.send(0, 9, produce_body(9, kafka_topic, bytes(make_batch()))) for _ in range(3)]
        client.socket.shutdown(socket.SHUT_WR)
        assert [client.receive()[0] for _ in range(3)] == sent
        assert client.is_closed()


@pytest.mark.parametrize(
    "data",
    [
        struct.pack(">i", -1),
        struct.pack(">i", 2**31 - 1),
        struct.pack(">i", 101 * MIB) + b"\0\0",
        struct.pack(">i", 5) + b"\0\0\0\0\0",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        struct.pack(">ihhih", 10, 999, 0, 1, -1),
        struct.pack(">ihhih", 10, -1, 0, 1, -1),
        struct.pack(">ihhih", 10, 3, 99, 1, -1),
        struct.pack(">ihhih", 10, 0, 2, 1, -1),
        struct.pack(">ihhih", 10, 3, 1, 1, 100),
        struct.pack(">ihhih", 10, 3, 1, 1, -1),
        struct.pack(">ihhih", 14, 3, 1, 1, -1) + b"\x7f\xff\xff\xff",
        struct.pack(">ihhih", 16, 3, 12, 1, -1) + b"\0\xff\xff\xff\xff\x0f",
    ],
)
def test_what_is_no_request_closes_the_connection_and_nothing_else(broker: Broker, data: bytes) -> None:
    with RawKafka(broker.bootstrap) as client, RawKafka(broker.bootstrap) as bystander:
        client.socket.sendall(data)
        assert client.is_closed()
        assert bystander.call(18, 0).error_code == ErrorCode.none


def test_requests_before_the_bad_one_are_answered(broker: Broker) -> None:
    with RawKafka(broker.bootstrap) as client:
        sent = client.send(18, 3, api_versions_body())
        client.socket.sendall(struct.pack(">i", -1))
        assert client.receive()[0] == sent
        assert client.is_closed()


def test_an_unknown_version_of_api_versions_is_answered_in_version_0(broker: Broker) -> None:
    with RawKafka(broker.bootstrap) as client:
        frame = struct.pack(">hhih", 18, 99, 7, -1) + b"\0anything"
        client.socket.sendall(struct.pack(">i", len(frame)) + frame)
        correlation_id, body = client.receive()
        assert correlation_id == 7
        response = decode_response(18, 0, body)
        assert response.error_code == ErrorCode.unsupported_version
        assert [(key.api_key, key.min_version, key.max_version) for key in response.api_keys] == [(18, 0, 4)]
        assert client.call(18, 0).error_code == ErrorCode.none


@pytest.mark.parametrize(("name", "version"), [("", "1"), ("-x", "1"), ("x", "1 2"), ("x", "y.")])
def test_a_bad_software_name_is_an_invalid_request(broker: Broker, name: str, version: str) -> None:
    with RawKafka(broker.bootstrap) as client:
        response = client.call(18, 3, client_software_name=name, client_software_version=version)
        assert response.error_code == ErrorCode.invalid_request


def test_bytes_that_kafka_tolerates_are_tolerated(broker: Broker) -> None:
    with RawKafka(broker.bootstrap) as client:
        for client_id in (None, b"\xff\xfe", b""):
            client.send(3, 0, b"\0\0\0\0" + b"trailing", client_id=client_id)
            client.receive()
        client.send(3, 0, b"\xff\xff\xff\xff")  # a null array where none is allowed
        client.receive()


def test_announced_but_not_sent_bytes_cost_nothing(broker: Broker) -> None:
    process = psutil.Process(broker.pid)
    before = process.memory_info().rss
    clients = [RawKafka(broker.bootstrap) for _ in range(20)]
    for client in clients:
        client.socket.sendall(struct.pack(">ihhi", 100 * MIB, 0, 9, 1) + b"12")
    with RawKafka(broker.bootstrap) as bystander:
        bystander.call(18, 0)
    assert process.memory_info().rss - before < 10 * MIB
    for client in clients:
        client.socket.close()


def test_a_client_that_does_not_read_costs_bounded_memory(broker: Broker, kafka_topic: str) -> None:
    process = psutil.Process(broker.pid)
    with RawKafka(broker.bootstrap) as client, RawKafka(broker.bootstrap) as slow:
        create_topic(client, kafka_topic, 200)
        before = process.memory_info().rss
        slow.socket.setblocking(False)
        body = encode_request(3, 1, topics=None)
        frame = request_frame(3, 1, 1, body)
        with contextlib.suppress(BlockingIOError):  # at some point the broker stops reading
            while slow.socket.send(frame):
                pass
        assert client.call(18, 0).error_code == ErrorCode.none
        assert process.memory_info().rss - before < 40 * MIB
        slow.socket.settimeout(DEADLINE_S)
        assert slow.receive()[0] == 1  # and it goes on when the client does


def test_slow_consumers_of_large_fetches_cost_no_memory(broker: Broker, kafka_topic: str) -> None:
    process = psutil.Process(broker.pid)
    with RawKafka(broker.bootstrap) as client:
        create_topic(client, kafka_topic)
        for _ in range(20):
            produce(client, kafka_topic, bytes(make_batch([bytes(1_000_000)])))
        before = process.memory_info().rss
        slow = [RawKafka(broker.bootstrap) for _ in range(10)]
        classes_body = fetch_body(kafka_topic)
        for consumer in slow:
            consumer.send(1, 4, classes_body)
        client.call(18, 0)
        assert process.memory_info().rss - before < 20 * MIB
        for consumer in slow:
            assert len(consumer.receive()[1]) > 20_000_000
            consumer.socket.close()


def fetch_body(topic: str) -> bytes:
    head = struct.pack(">iiiib", -1, 0, 1, 1 << 30, 0)
    return head + struct.pack(">ih", 1, len(topic)) + topic.encode() + struct.pack(">iiqi", 1, 0, 0, 1 << 30)


def test_idle_connections_are_closed_and_busy_ones_are_not(impatient_broker: Broker) -> None:
    with RawKafka(impatient_broker.bootstrap) as idle:
        create_topic(idle, "t")
        assert idle.is_closed()
    with RawKafka(impatient_broker.bootstrap) as waiting:
        # A fetch that waits for records for longer is no idleness.
        for _ in range(2):
            assert fetch(waiting, "t", {0: 0}, max_wait_ms=1300).error_code == ErrorCode.none


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "own") as broker:
        yield broker


def test_running_out_of_file_descriptors_is_survived(own_broker: Broker) -> None:
    with RawKafka(own_broker.bootstrap) as client:
        client.call(18, 0)
        in_use = psutil.Process(own_broker.pid).num_fds()
    before = resource.prlimit(own_broker.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(own_broker.pid, resource.RLIMIT_NOFILE, (in_use + 5, before[1]))
    clients = [RawKafka(own_broker.bootstrap) for _ in range(10)]  # the kernel takes them all
    assert clients[0].call(18, 0).error_code == ErrorCode.none
    clients[-1].send(18, 0, b"")
    resource.prlimit(own_broker.pid, resource.RLIMIT_NOFILE, before)
    clients[-1].receive()
    for client in clients:
        client.socket.close()


def test_a_connection_that_comes_and_goes_leaves_nothing(broker: Broker) -> None:
    process = psutil.Process(broker.pid)
    with RawKafka(broker.bootstrap) as client:
        client.call(18, 0)
    fds = process.num_fds()
    for _ in range(200):
        RawKafka(broker.bootstrap).socket.close()
    eventually(lambda: process.num_fds() <= fds)
