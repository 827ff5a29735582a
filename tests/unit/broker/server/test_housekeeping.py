"""Work that is done from time to time."""

import asyncio

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
        async with asyncio.timeout(30):
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
        async with asyncio.timeout(30):
            await done.wait()
        housekeeping.stop()
        assert most == 1

    asyncio.run(scenario())


def test_it_can_be_stopped_without_a_start() -> None:
    Housekeeping().stop()
