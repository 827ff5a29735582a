"""Requests that are damaged, senseless or hostile: the broker answers or closes the connection, nothing else
happens: no error that nobody foresaw, memory within bounds, and other clients are served meanwhile."""

import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.random_requests import bodies
from support.raw_kafka import RawKafka, create_topic, request_frame

from connect.testing.millstream import Broker

MEMORY_BYTES_MAX = 200 * 1024 * 1024
REQUESTS_AT_ONCE = 10
CORPUS = Path(__file__).parents[1] / "golden" / "malformed" / "frames.txt"

LENGTHS = [
    b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\xff\x0f",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"\x80\0\0\0",
]
"""Of arrays and texts that no frame could hold: fixed, as varints, negative."""


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with Broker(tmp_path_factory.mktemp("malformed"), {"auto.create.topics.enable": "false"}) as broker:
        with RawKafka(broker.bootstrap) as client:
            create_topic(client, "malformed-topic")
        yield broker
        assert broker.stop() == 0


@pytest.fixture(scope="module")
def served(target: Broker) -> dict[int, range]:
    """The versions of each API, as advertised."""
    with RawKafka(target.bootstrap) as client:
        answer = client.call(18, 0)
    return {api.api_key: range(api.min_version, api.max_version + 1) for api in answer.api_keys}


@st.composite
def frames(draw: st.DrawFn, served: dict[int, range]) -> bytes:
    """A request of any API and version, most of them damaged somewhere."""
    api_key = draw(st.sampled_from(sorted(served)))
    version = draw(st.sampled_from([v for v in served[api_key] if api_key != 0 or v >= 3]))
    frame = bytearray(request_frame(api_key, version, 7, draw(bodies(api_key, version)))[4:])
    for _ in range(draw(st.integers(0, 3))):
        position = draw(st.integers(8, len(frame)))
        match draw(st.sampled_from(["change", "insert", "length", "cut", "append"])):
            case "change" if position < len(frame):
                frame[position] = draw(st.integers(0, 255))
            case "insert":
                frame[position:position] = draw(st.binary(min_size=1, max_size=9))
            case "length":
                length = draw(st.sampled_from(LENGTHS))
                frame[position : position + len(length)] = length
            case "cut":
                del frame[position:]
            case _:
                frame += draw(st.binary(max_size=20))
    return struct.pack(">i", len(frame)) + bytes(frame)


def test_any_request_is_answered_or_the_connection_closed(target: Broker, served: dict[int, range]) -> None:
    process = psutil.Process(target.pid)

    @settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(frames(served), min_size=REQUESTS_AT_ONCE, max_size=REQUESTS_AT_ONCE))
    def send(requests: list[bytes]) -> None:
        clients = [RawKafka(target.bootstrap) for _ in requests]
        for client, request in zip(clients, requests, strict=True):
            client.socket.sendall(request)
        check_alive(target, process)
        for client in clients:
            client.socket.close()

    send()
    check_log(target)


def check_alive(target: Broker, process: psutil.Process) -> None:
    """Another client is served, and the memory is within its bounds."""
    with RawKafka(target.bootstrap) as bystander:
        assert bystander.call(18, 0).error_code == 0
    assert process.memory_info().rss < MEMORY_BYTES_MAX


def check_log(target: Broker) -> None:
    """Nothing happened that the broker calls its own mistake."""
    unforeseen = [line for line in target.log(100_000).splitlines() if "Traceback" in line]
    assert not unforeseen, unforeseen[-1]


def corpus() -> list[tuple[str, str, bytes]]:
    """(name, what has to happen, bytes on the connection)."""
    cases = []
    for line in CORPUS.read_text().splitlines():
        if line and not line.startswith("#"):
            name, outcome, data = line.split(" ")
            cases.append((name, outcome, bytes.fromhex(data)))
    return cases


@pytest.mark.parametrize(("outcome", "data"), [pytest.param(o, d, id=name) for name, o, d in corpus()])
def test_the_stored_corpus(target: Broker, outcome: str, data: bytes) -> None:
    with RawKafka(target.bootstrap) as client:
        client.socket.sendall(data)
        if outcome == "answered":
            client.receive()
        elif outcome == "closed":
            assert client.is_closed()
        else:
            assert outcome == "waits"
            client.socket.settimeout(0.05)
            with suppress(TimeoutError):
                assert client.socket.recv(1) != b"", "it was closed"
    check_alive(target, psutil.Process(target.pid))
    check_log(target)
