"""A standby takes the primary's place, and the connector goes on there."""

import contextlib
import signal
import time
from collections.abc import Callable, Iterator

import pytest
from support.capture import Capture
from support.postgres_standby import SLOT, Standby

from connect.api import RetriableError
from connect.testing.postgres import PostgresServer

_DEADLINE_S = 90


def version(server: PostgresServer) -> int:
    with server.connect() as connection:
        return connection.info.server_version


@pytest.fixture
def primary(postgres: PostgresServer) -> Iterator[PostgresServer]:
    if version(postgres) < 170000:
        pytest.skip("failover slots came with PostgreSQL 17")
    if not (postgres.bin / "pg_basebackup").exists():
        pytest.skip(f"there is no pg_basebackup in {postgres.bin}")
    with PostgresServer({"synchronized_standby_slots": SLOT}) as server:
        yield server


def wait_until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _DEADLINE_S
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_failover_slot_loses_nothing(primary: PostgresServer) -> None:
    with Standby(primary) as standby:
        capture = Capture(primary, slot__failover="true", retriable__restart__connector__wait__ms="100")
        capture.change({"database.hostname": f"{primary.host},{standby.host}:{standby.port}"})
        capture.sql("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)")
        capture.start().drain()

        def is_copied() -> bool:
            capture.poll()
            capture.store_advance()
            return capture.name in standby.copied_slots()

        wait_until(is_copied)
        capture.sql("INSERT INTO t SELECT generate_series(2, 100)")
        capture.drain()
        capture.sql("INSERT INTO t SELECT generate_series(101, 200)")  # nothing of it is stored
        wait_until(lambda: bool(capture.poll()))
        primary.halt(signal.SIGQUIT)

        def goes_on() -> bool:
            with contextlib.suppress(RetriableError):
                return bool(capture.poll())
            return False

        for _ in range(5):  # the standby is not taken for the primary
            assert not goes_on()
        standby.promote()
        capture.server = standby
        capture.sql("INSERT INTO t SELECT generate_series(201, 300)")
        wait_until(lambda: goes_on() and capture.records[-1].key["id"] == 300)
        keys = [record.key["id"] for record in capture.records]
        assert list(dict.fromkeys(keys)) == list(range(1, 301))
        capture.close()
