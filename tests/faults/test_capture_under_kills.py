"""Random tables and transactions; SIGKILL for task, worker, broker, PostgreSQL's backends meanwhile."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.capture_world import CaptureWorld

from connect.testing.millstream import Millstream
from connect.testing.postgres import PostgresServer


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """Of its own, as it is killed, too."""
    with PostgresServer({"logical_decoding_work_mem": "64kB"}) as server:
        yield server


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("seed", "streamed"), [(20261124, "off"), (20261125, "on")])
def test_the_topics_say_what_the_tables_say(
    tmp_path: Path, server: PostgresServer, seed: int, streamed: str
) -> None:
    settings = {"offset.flush.interval.ms": "300"}
    with Millstream(tmp_path / "platform", worker=settings) as platform:
        properties = {"streaming.transactions": streamed, "streaming.transactions.memory.bytes": "1000"}
        CaptureWorld(platform, server, seed, **properties).run(rounds=1, kills=6)
