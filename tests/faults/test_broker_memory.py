"""Clients that make the broker unpack, wait, or hold what they never take: its memory stays within bounds,
and others are served meanwhile."""

import gzip
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress

import cramjam
import psutil
import pytest
from kio.schema.errors import ErrorCode
from support.batches import make_batch, patch
from support.eventually import eventually
from support.raw_kafka import RawKafka, create_topic, fetch, produce, produce_body, request_frame

from connect.testing.millstream import Broker

MIB = 1 << 20
MEMORY_BYTES_MAX = 200 * MIB
BOMB_BYTES = 512 * MIB
DEADLINE_S = 60
HEADER_BYTES = 61
GZIP, LZ4, ZSTD = 1, 3, 4
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER: a reset instead of an end, and what was not sent is thrown away."""


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with Broker(tmp_path_factory.mktemp("memory"), {"connections.max.idle.ms": "1500"}) as broker:
        yield broker
        assert "Traceback" not in broker.log(100_000)


def check_alive(target: Broker) -> None:
    with RawKafka(target.bootstrap) as bystander:
        assert bystander.call(18, 0).error_code == ErrorCode.none
    assert psutil.Process(target.pid).memory_info().rss < MEMORY_BYTES_MAX


def bomb(codec: int) -> bytes:
    """A batch of one record that says it is half a GiB of zeros, in a MiB at most."""
    zeros = bytes(MIB)
    if codec == GZIP:
        packed = gzip.compress(zeros) * (BOMB_BYTES // MIB)
    else:
        compressor = cramjam.lz4.Compressor() if codec == LZ4 else cramjam.zstd.Compressor()
        for _ in range(BOMB_BYTES // MIB):
            compressor.compress(zeros)
        packed = bytes(compressor.finish())
    batch = make_batch(keys=[b"key"])[:HEADER_BYTES] + bytearray(packed)
    batch = patch(batch, ">i", 8, len(batch) - 12, fix_crc=False)
    return bytes(patch(batch, ">h", 21, codec))


@pytest.mark.parametrize("codec", [GZIP, LZ4, ZSTD], ids=["gzip", "lz4", "zstd"])
def test_decompression_bombs(target: Broker, codec: int) -> None:
    """On a topic with another codec, and on a compacted one, where the broker has to look inside."""
    batch = bomb(codec)
    configs = [
        {"compression_type": "zstd" if codec != ZSTD else "gzip"},
        {"cleanup_policy": "compact"},
        {"cleanup_policy": "compact", "compression_type": "uncompressed"},
    ]
    for number, config in enumerate(configs):
        topic = f"bomb-{codec}-{number}"
        with RawKafka(target.bootstrap) as client:
            create_topic(client, topic, 1, max_message_bytes=str(8 * MIB), **config)
        clients = [RawKafka(target.bootstrap) for _ in range(4)]
        for client in clients:
            client.send(0, 9, produce_body(9, topic, batch))
        check_alive(target)
        for client in clients:
            client.socket.settimeout(DEADLINE_S)
            client.receive()
            client.socket.close()
        check_alive(target)
        with RawKafka(target.bootstrap) as client:
            assert produce(client, topic, batch).error_code is ErrorCode.invalid_record
            assert produce(client, topic, bytes(make_batch(keys=[b"k"]))).base_offset == 0


def fill(client: RawKafka, topic: str) -> None:
    create_topic(client, topic)
    for _ in range(20):
        assert produce(client, topic, bytes(make_batch([bytes(1_000_000)]))).error_code is ErrorCode.none


def fetch_all(topic: str) -> bytes:
    """The body of a Fetch, version 4, of all there is."""
    head = struct.pack(">iiiib", -1, 0, 1, 1 << 30, 0)
    return head + struct.pack(">ih", 1, len(topic)) + topic.encode() + struct.pack(">iiqi", 1, 0, 0, 1 << 30)


def test_resets_in_the_middle_of_responses(target: Broker) -> None:
    with RawKafka(target.bootstrap) as client:
        fill(client, "resets")
        process = psutil.Process(target.pid)
        count, before = len(process.net_connections()), process.memory_info().rss
        for number in range(60):
            victim = RawKafka(target.bootstrap)
            victim.send(1, 4, fetch_all("resets"))
            if number % 3:
                victim._exactly(1000 * number)
            victim.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            victim.socket.close()
            if number % 10 == 0:
                assert client.call(18, 0).error_code == ErrorCode.none
        eventually(lambda: len(process.net_connections()) <= count, "connections are left over")
        assert process.memory_info().rss - before < 30 * MIB
        (topic,) = fetch(client, "resets", {0: 19}).responses
        assert topic.partitions[0].high_watermark == 20
    check_alive(target)


def test_resets_in_the_middle_of_requests(target: Broker) -> None:
    """Nothing of half a request is written."""
    with RawKafka(target.bootstrap) as client:
        create_topic(client, "halves")
        frame = request_frame(0, 9, 1, produce_body(9, "halves", bytes(make_batch([bytes(900_000)]))))
        process = psutil.Process(target.pid)
        assert produce(client, "halves", bytes(make_batch())).base_offset == 0
        count = len(process.net_connections())
        for number in range(30):
            victim = RawKafka(target.bootstrap)
            victim.socket.sendall(frame[: len(frame) * number // 30])
            victim.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            victim.socket.close()
        eventually(lambda: len(process.net_connections()) <= count, "connections are left over")
        assert produce(client, "halves", bytes(make_batch())).base_offset == 1
    check_alive(target)


def test_slow_writers(target: Broker) -> None:
    """Many large requests that come in drops: each costs what has come, and is answered when it is whole."""
    with RawKafka(target.bootstrap) as client:
        create_topic(client, "slow")
        frame = request_frame(0, 9, 7, produce_body(9, "slow", bytes(make_batch([bytes(900_000)]))))
        process = psutil.Process(target.pid)
        before = process.memory_info().rss
        writers = [RawKafka(target.bootstrap) for _ in range(30)]
        parts = [frame[at : at + 3000] for at in range(0, 90_000, 3000)]
        for part in parts:
            for writer in writers:
                writer.socket.sendall(part)
            assert client.call(18, 0).error_code == ErrorCode.none
        assert process.memory_info().rss - before < 40 * MIB
        for writer in writers:
            writer.socket.sendall(frame[90_000:])
            assert writer.receive()[0] == 7
            writer.socket.close()
        (topic,) = fetch(client, "slow", {0: 29}).responses
        assert topic.partitions[0].high_watermark == 30
    check_alive(target)


def test_half_open_connections_are_reaped(target: Broker) -> None:
    """Of clients that vanished without a word: in a request, before one, or with a response not taken."""
    process = psutil.Process(target.pid)
    with RawKafka(target.bootstrap) as client:
        fill(client, "half-open")
        silent = [RawKafka(target.bootstrap) for _ in range(60)]
        for number, one in enumerate(silent):
            if number % 3 == 0:
                one.socket.sendall(struct.pack(">ihh", 1000, 0, 9))
            elif number % 3 == 1:
                one.send(1, 4, fetch_all("half-open"))
        before = process.memory_info().rss

        def are_gone() -> bool:
            assert client.call(18, 0).error_code == ErrorCode.none  # who asks is not idle
            return not any(connection.raddr in theirs for connection in process.net_connections())

        theirs = {one.socket.getsockname() for one in silent}
        eventually(are_gone, "they are still there")
        assert process.memory_info().rss - before < 30 * MIB
    for one in silent:
        with suppress(OSError):
            one.socket.close()
    check_alive(target)
