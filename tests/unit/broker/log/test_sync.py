"""Group commit: who waits for which sync."""

import asyncio
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.batches import make_batch

from broker.log.config import LogConfig
from broker.log.partition_log import PartitionLog
from broker.log.sync import GroupCommit

DEADLINE_S = 60


class SlowDisk:
    """fdatasync that waits for a permission, and counts."""

    def __init__(self) -> None:
        self.syncs = 0
        self.allowed = threading.Semaphore(0)

    @contextmanager
    def in_place(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        real = os.fdatasync

        def fdatasync(fd: int) -> None:
            assert self.allowed.acquire(timeout=DEADLINE_S)
            self.syncs += 1
            real(fd)

        with monkeypatch.context() as patched:
            patched.setattr(os, "fdatasync", fdatasync)
            yield


def new_log(tmp_path: Path, name: str = "t-0", **config: int) -> PartitionLog:
    return PartitionLog(tmp_path / name, LogConfig(**config))  # type: ignore[arg-type]


def append(log: PartitionLog) -> None:
    log.append(memoryview(make_batch()), 1000)


async def until(condition: "asyncio.Event") -> None:
    await asyncio.wait_for(condition.wait(), DEADLINE_S)


def test_what_arrives_during_a_sync_shares_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = SlowDisk()

    async def scenario() -> None:
        commits = GroupCommit()
        log = new_log(tmp_path)
        append(log)
        await commits.sync([log])
        before = log.recovery_point
        with disk.in_place(monkeypatch):
            done = [asyncio.Event() for _ in range(5)]
            append(log)
            commits.after_sync([log], done[0].set)
            await asyncio.sleep(0)  # the window begins
            await asyncio.sleep(0)
            for event in done[1:]:
                append(log)
                commits.after_sync([log], event.set)
            assert not any(event.is_set() for event in done)
            disk.allowed.release()
            await until(done[0])
            assert not any(event.is_set() for event in done[1:])
            assert log.recovery_point == before + 1
            disk.allowed.release()
            for event in done[1:]:
                await until(event)
        assert disk.syncs == 2
        assert log.recovery_point == log.log_end_offset == before + 5
        commits.close()

    asyncio.run(scenario())


def test_one_window_syncs_many_logs(tmp_path: Path) -> None:
    async def scenario() -> None:
        commits = GroupCommit()
        logs = [new_log(tmp_path, f"t-{number}") for number in range(20)]
        for log in logs:
            append(log)
        await commits.sync(logs)
        assert all(log.is_synced and log.recovery_point == 1 for log in logs)
        await commits.sync(logs)  # nothing to do is done at once
        commits.close()

    asyncio.run(scenario())


def test_flush_messages_asks_for_a_sync_without_any_acks(tmp_path: Path) -> None:
    async def scenario() -> None:
        commits = GroupCommit()
        log = new_log(tmp_path, flush_messages=3)
        for _ in range(2):
            append(log)
            commits.written(log)
        await asyncio.sleep(0)
        assert log.unsynced_records == 2
        append(log)
        commits.written(log)
        await commits.sync([])
        assert log.recovery_point == 3
        commits.close()

    asyncio.run(scenario())


def test_flush_ms_asks_for_a_sync_in_time(tmp_path: Path) -> None:
    async def scenario() -> None:
        commits = GroupCommit()
        log = new_log(tmp_path, flush_ms=1)
        append(log)
        commits.written(log)
        deadline = asyncio.get_running_loop().time() + DEADLINE_S
        while not log.recovery_point:
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.001)
        commits.close()

    asyncio.run(scenario())
