"""Whatever happens to server and network, the source goes on, and no change is lost or out of order.

Records are stored now and then, as a worker does it; what comes twice may only be what was not stored yet.
"""

import contextlib
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator

import psycopg
import pytest
from support.capture import DEADLINE_S, Capture
from support.tcp_proxy import TcpProxy

from connect.api import RetriableError
from connect.testing.postgres import PostgresServer


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer({"wal_sender_timeout": "5s", "logical_decoding_work_mem": "64kB"}) as server:
        yield server


@pytest.fixture
def proxy(server: PostgresServer) -> Iterator[TcpProxy]:
    proxy = TcpProxy((server.host, server.port))
    yield proxy
    proxy.close()


@pytest.fixture
def capture(server: PostgresServer, proxy: TcpProxy) -> Iterator[Capture]:
    capture = Capture(server)
    capture.sql("CREATE TABLE t (id int PRIMARY KEY)")
    capture.change({
        "database.port": str(proxy.port), "driver.connectTimeout": "2", "stream.silence.timeout.ms": "1000",
        "retriable.restart.connector.wait.ms": "200", "slot.retry.delay.ms": "200",
    })  # fmt: skip
    yield capture
    capture.close()


def insert(capture: Capture, first: int, last: int) -> None:
    capture.sql(f"INSERT INTO t SELECT generate_series({first}, {last})")


def failures_until(capture: Capture, done: Callable[[], bool], store: bool = True) -> list[str]:
    """Poll until something holds, storing what came; the texts of what was to be tried again."""
    texts: list[str] = []
    deadline = time.monotonic() + 2 * DEADLINE_S
    while not done():
        assert time.monotonic() < deadline, texts[-3:]
        try:
            if capture.poll() and store:
                capture.store(capture.records[-1])
        except RetriableError as exc:
            texts.append(str(exc))
            time.sleep(0.02)
    return texts


def has_all(capture: Capture, count: int) -> Callable[[], bool]:
    """Every id up to `count` has come, in order."""

    def holds() -> bool:
        distinct = list(dict.fromkeys(record.key["id"] for record in capture.records))
        assert distinct == sorted(distinct)
        return len(distinct) >= count

    return holds


def started(capture: Capture) -> None:
    capture.start().drain()
    insert(capture, 1, 10)
    capture.drain()


def test_connections_are_reset_again_and_again(capture: Capture, proxy: TcpProxy) -> None:
    started(capture)
    for round_ in range(1, 6):
        insert(capture, 10 * round_ + 1, 10 * round_ + 5)
        proxy.reset()
        insert(capture, 10 * round_ + 6, 10 * round_ + 10)
        assert failures_until(capture, has_all(capture, 10 * round_ + 10))


def test_a_network_that_says_nothing(capture: Capture, proxy: TcpProxy) -> None:
    started(capture)
    proxy.silence()
    insert(capture, 11, 20)
    assert "nothing came from the server for 1 s" in next_failure(capture)
    assert "timeout expired" in next_failure(capture)
    proxy.restore()
    proxy.reset()
    failures_until(capture, has_all(capture, 20))


def next_failure(capture: Capture) -> str:
    """Of polling."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        assert time.monotonic() < deadline
        try:
            capture.poll()
        except RetriableError as exc:
            return str(exc)


@pytest.mark.parametrize("streamed", ["off", "on"])
def test_backends_are_terminated(capture: Capture, streamed: str) -> None:
    """The one of the slot and the ordinary one, also in the middle of a large transaction."""
    capture.change({"streaming.transactions": streamed, "streaming.transactions.memory.bytes": "1000"})
    started(capture)
    kill = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = '{0}' AND application_name = '{1}'"
    )
    size = 3000
    for round_, application in enumerate(["Millstream Streaming", "Millstream General"] * 2):
        first = 11 + round_ * size
        insert(capture, first, first + size - 1)
        failures_until(capture, has_all(capture, first + 100))
        capture.sql(kill.format(capture.name, application))
        failures_until(capture, has_all(capture, first + size - 1))
    capture.sql(kill.format(capture.name, "Millstream General"))
    # Nobody needs it now; the next look at the slot does.
    failures_until(capture, lambda: capture.task is not None and has_connections(capture, 2))


def has_connections(capture: Capture, count: int) -> bool:
    with capture.server.connect() as connection:
        rows = connection.execute(
            "SELECT 1 FROM pg_stat_activity WHERE datname = %s AND application_name LIKE 'Millstream%%'",
            (capture.name,),
        ).fetchall()
    return len(rows) == count


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT])
def test_the_server_is_stopped_and_started(
    capture: Capture, server: PostgresServer, how: signal.Signals
) -> None:
    """Fast and immediately. A fast shutdown does not wait for offsets to be stored."""
    started(capture)
    insert(capture, 11, 20)
    failures_until(capture, has_all(capture, 20), store=False)
    codes: list[int] = []
    stopping = threading.Thread(target=lambda: codes.append(server.halt(how)))
    stopping.start()
    with contextlib.suppress(RetriableError):
        while stopping.is_alive():
            capture.poll()
    stopping.join()
    assert codes == [0]  # it was not killed for taking too long
    server.resume()
    insert(capture, 21, 30)
    failures_until(capture, has_all(capture, 30))


def slot_is_dropped(capture: Capture) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while True:
        with capture.server.connect() as connection, contextlib.suppress(psycopg.errors.ObjectInUse):
            connection.execute(
                "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %s",
                (capture.name,),
            )
            return
        assert time.monotonic() < deadline


def _may_mount() -> bool:
    return subprocess.run(
        ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, check=False
    ).returncode == 0  # fmt: skip


@pytest.mark.skipif(not _may_mount(), reason="mounting a small file system needs root")
def test_a_full_disk_of_the_server(capture: Capture) -> None:
    """It cannot spill a large transaction, until there is room."""
    slots = capture.server.directory / "data" / "pg_replslot"
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=777", "tmpfs", slots], check=True)
    try:
        capture.start().drain()
        insert(capture, 1, 20_000)
        assert "No space left on device" in next_failure(capture)
        subprocess.run(["mount", "-o", "remount,size=100m", slots], check=True)
        failures_until(capture, has_all(capture, 20_000))
    finally:
        capture.stop()
        slot_is_dropped(capture)
        subprocess.run(["umount", "-l", slots], check=True)
