"""The cleaner with its process: which logs it takes, and what becomes of them."""

import asyncio
import os
import signal
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil
import pytest
from support.compaction import committed_records, keyed_batch, newest_values, sync

from broker.log.cleaner import CHECKPOINT_NAME, Cleaner, CleanerSettings
from broker.log.config import LogConfig
from broker.log.manager import LogManager
from broker.log.partition_log import PartitionLog

NOW = 1000
CONFIG = LogConfig(compact=True, delete=False, min_cleanable_dirty_ratio=0.0)
IDS = {name: uuid.UUID(int=number) for number, name in enumerate("ab", start=1)}


class Data:
    """A data directory with two topics, of one partition each."""

    def __init__(self, path: Path, settings: CleanerSettings | None = None) -> None:
        path.mkdir(exist_ok=True)
        self.path = path
        self.logs = LogManager(path)
        self.a, self.b = (self.logs.create(name, topic_id, 0, CONFIG) for name, topic_id in IDS.items())
        self.logs.finish_start()
        self.cleaner = Cleaner(self.logs, path, settings or CleanerSettings())

    def run(self) -> None:
        asyncio.run(self.cleaner.run())


def fill(log: PartitionLog, records: int = 20, keys: int = 3) -> dict[bytes, bytes]:
    for number in range(records):
        log.append(keyed_batch([(b"k%d" % (number % keys), b"%d" % number)]), NOW)
    log.roll(NOW)
    sync(log)
    return newest_values(committed_records(log))


def count(log: PartitionLog) -> int:
    return len(committed_records(log))


def test_all_dirty_logs_are_compacted_and_it_is_remembered(tmp_path: Path) -> None:
    data = Data(tmp_path / "data")
    tables = [fill(data.a), fill(data.b, keys=5)]
    data.run()
    assert [newest_values(committed_records(log)) for log in (data.a, data.b)] == tables
    assert (count(data.a), count(data.b)) == (3, 5)
    children = [child.cmdline() for child in psutil.Process().children()]  # servers of other tests, too
    cleaners = [words for words in children if any("cleaner_process" in word for word in words)]
    assert cleaners == [], "the process goes when there is nothing left to do"

    again = Data(data.path)
    before = (again.path / CHECKPOINT_NAME).read_bytes()
    assert again.cleaner._dirtiest(set()) is None
    fill(again.b, keys=1)
    again.run()
    assert (count(again.a), count(again.b)) == (3, 5)
    assert (again.path / CHECKPOINT_NAME).read_bytes() != before


@pytest.mark.parametrize("content", [b"", b"garbage", None])
def test_without_its_checkpoint_all_is_dirty_again(tmp_path: Path, content: bytes | None) -> None:
    data = Data(tmp_path / "data")
    table = fill(data.a)
    data.run()
    checkpoint = data.path / CHECKPOINT_NAME
    checkpoint.unlink() if content is None else checkpoint.write_bytes(content)
    again = Data(data.path)
    sync(again.a)
    found = again.cleaner._dirtiest(set())
    assert found is not None
    assert found[1].first_dirty_offset == 0
    again.run()
    assert newest_values(committed_records(again.a)) == table


def test_the_dirtiest_comes_first(tmp_path: Path) -> None:
    data = Data(tmp_path / "data")
    fill(data.a)
    fill(data.b)
    data.run()
    fill(data.a, records=2)
    fill(data.b, records=10)
    found = data.cleaner._dirtiest(set())
    assert found is not None
    assert found[0] is data.b


def test_a_damaged_log_is_left_alone_and_the_others_are_cleaned(tmp_path: Path) -> None:
    data = Data(tmp_path / "data")
    fill(data.a, records=30)
    fill(data.b)
    path = data.a.segments[0].file.path
    damaged = bytearray(path.read_bytes())
    damaged[100] ^= 1
    path.write_bytes(damaged)
    data.run()
    assert path.read_bytes() == damaged
    assert count(data.b) == 3
    assert data.cleaner._dirtiest(set()) is None, "it is not tried again and again"
    assert data.a.failure is None, "what is intact can be read"


class Watched(Cleaner):
    """Something happens while the process is at work."""

    event: Callable[["Watched"], Awaitable[None]]

    async def run(self) -> None:
        task = asyncio.create_task(super().run())
        async with asyncio.timeout(60):
            while self._worker is None and not task.done():  # noqa: ASYNC110 it does not tell
                await asyncio.sleep(0.001)
            await self.event()
            await task


def watched(data: Data, event: Callable[[Watched], Awaitable[None]]) -> Watched:
    cleaner = Watched(data.logs, data.path, CleanerSettings(io_bytes_per_second=2000))
    cleaner.event = event.__get__(cleaner)  # type: ignore[attr-defined]
    return cleaner


async def kill_worker(cleaner: Watched) -> None:
    assert cleaner._worker is not None
    os.kill(cleaner._worker.pid, signal.SIGKILL)


def test_when_its_process_is_killed_the_next_run_does_it(tmp_path: Path) -> None:
    data = Data(tmp_path / "data")
    table = fill(data.a)
    asyncio.run(watched(data, kill_worker).run())
    assert data.a.failure is None
    assert not data.a.is_being_cleaned
    assert newest_values(committed_records(data.a)) == table
    data.run()
    assert count(data.a) == 3


def test_a_topic_may_be_deleted_and_made_anew_meanwhile(tmp_path: Path) -> None:
    data = Data(tmp_path / "data")
    fill(data.a)

    async def make_anew(cleaner: Watched) -> None:
        directory = data.logs.delete("a", 0)
        assert directory is not None
        anew = data.logs.create("a", uuid.UUID(int=99), 0, CONFIG)
        anew.append(keyed_batch([(b"new", b"1")]), NOW)

    asyncio.run(watched(data, make_anew).run())
    anew = data.logs.get("a", 0)
    assert anew is not None
    assert newest_values(committed_records(anew)) == {b"new": b"1"}
    assert not list(anew.directory.glob("*.swap"))
    fill(anew)
    asyncio.run(data.cleaner.run())
    assert count(anew) == 4
