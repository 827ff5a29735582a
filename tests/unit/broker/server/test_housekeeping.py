"""Work that is done from time to time."""

import asyncio
import time
from datetime import UTC, datetime, timedelta, tzinfo

import pytest

from broker.server.housekeeping import Housekeeping


def test_work_is_repeated_and_survives_what_the_disk_refuses() -> None:
    async def scenario() -> None:
        done = asyncio.Event()
        runs: list[str] = []

        async def works() -> None:
            runs.append("works")
            if runs.count("works") >= 3 and runs.count("fails") >= 3:
                done.set()

        async def fails() -> None:
            runs.append("fails")
            raise OSError("no space left on device")

        housekeeping = Housekeeping()
        housekeeping.every(10, works)
        housekeeping.every(10, fails)
        housekeeping.start()
        async with asyncio.timeout(60):
            await done.wait()
        housekeeping.stop()

    asyncio.run(scenario())


def test_no_run_overlaps_with_itself() -> None:
    async def scenario() -> None:
        at_once, most, runs = 0, 0, 0
        done = asyncio.Event()

        async def slow() -> None:
            nonlocal at_once, most, runs
            at_once += 1
            most = max(most, at_once)
            await asyncio.sleep(0.05)
            at_once -= 1
            runs += 1
            if runs == 3:
                done.set()

        housekeeping = Housekeeping()
        housekeeping.every(5, slow)
        housekeeping.start()
        async with asyncio.timeout(60):
            await done.wait()
        housekeeping.stop()
        assert most == 1

    asyncio.run(scenario())


def test_it_can_be_stopped_without_a_start() -> None:
    Housekeeping().stop()


@pytest.mark.parametrize("jump_s", [3600, -3600])
def test_a_jump_of_the_wall_clock_changes_nothing(monkeypatch: pytest.MonkeyPatch, jump_s: int) -> None:
    class Jumped(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:
            there = datetime.now(UTC) + timedelta(seconds=jump_s)
            return there.replace(tzinfo=None) if tz is None else tz.fromutc(there.replace(tzinfo=tz))

    async def scenario() -> None:
        runs: asyncio.Queue[float] = asyncio.Queue()

        async def works() -> None:
            runs.put_nowait(time.monotonic())

        housekeeping = Housekeeping()
        housekeeping.every(100, works)
        housekeeping.start()
        async with asyncio.timeout(60):
            await runs.get()
            monkeypatch.setattr("apscheduler.schedulers.base.datetime", Jumped)
            jumped = time.monotonic()
            times = [await runs.get() for _ in range(3)]
        housekeeping.stop()
        assert times[-1] - jumped >= 0.2, "it came too early"

    asyncio.run(scenario())
