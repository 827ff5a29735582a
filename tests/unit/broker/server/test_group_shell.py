"""The shell of the group coordinator with a real catalog, also one whose disk refuses writes."""

import asyncio
import sqlite3
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from broker.catalog import Catalog, Topic
from broker.catalog.placement import Placement
from broker.config import BrokerSettings
from broker.coordinator.messages import Commit, FetchOffsets, Heartbeat, Join, Protocol, Sync
from broker.coordinator.records import CommittedOffset
from broker.server import coordinators
from broker.server.coordinators import GroupShell
from broker.wire.errors import ErrorCode, KafkaError

FULL_DISK = """
CREATE TRIGGER full_disk BEFORE INSERT ON offsets WHEN NEW.committed_offset = 13
BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END
"""


@asynccontextmanager
async def shell(path: Path) -> AsyncIterator[GroupShell]:
    catalog = Catalog.open(path)
    if "t" not in catalog.topics:
        await catalog.create_topics([Topic("t", uuid.uuid4(), 1)])
    groups = GroupShell(catalog, BrokerSettings(group_min_session_timeout_ms=1))
    groups.start()
    try:
        yield groups
    finally:
        groups.close()
        catalog.close()


def commit(offset: int, group: str = "g", member_id: str = "", generation_id: int = -1) -> Commit:
    return Commit(group, member_id, None, generation_id, {("t", 0): CommittedOffset(offset, -1, "", 0)})


def join(session_timeout_ms: int = 10_000) -> Join:
    protocols = (Protocol("range", b""),)
    return Join("g", "", None, "c", "/h", session_timeout_ms, 1000, "consumer", protocols, "m")


async def committed(groups: GroupShell, group: str = "g") -> int:
    result = await groups.ask(FetchOffsets(group, None))
    offset: int = result.offsets[("t", 0)].offset
    return offset


def run(test: Callable[[Path], Coroutine[Any, Any, None]], tmp_path: Path) -> None:
    asyncio.run(test(tmp_path / "catalog.db"))


def test_groups_are_loaded_again(tmp_path: Path) -> None:
    async def scenario(path: Path) -> None:
        async with shell(path) as groups:
            await groups.ask(join())
            await groups.ask(Sync("g", "m", None, 1, None, None, {"m": b"yours"}))
            await groups.ask(commit(7, member_id="m", generation_id=1))
        async with shell(path) as groups:
            assert (await groups.ask(Heartbeat("g", "m", None, 1))).error_code is ErrorCode.none
            assert (await groups.ask(Sync("g", "m", None, 1, None, None, {}))).assignment == b"yours"
            assert await committed(groups) == 7

    run(scenario, tmp_path)


def test_an_answer_waits_until_its_change_is_durable(tmp_path: Path) -> None:
    async def scenario(path: Path) -> None:
        async with shell(path) as groups:
            asked = groups.ask(commit(1))
            fetched = groups.ask(FetchOffsets("g", None))  # it could tell of what may yet be lost
            other = groups.ask(FetchOffsets("other", None))
            assert [future.done() for future in (asked, fetched, other)] == [False, False, True]
            await asked
            with sqlite3.connect(path) as connection:
                assert connection.execute("SELECT committed_offset FROM offsets").fetchall() == [(1,)]
            connection.close()
            await fetched

    run(scenario, tmp_path)


def test_a_timer_ends_a_session(tmp_path: Path) -> None:
    async def scenario(path: Path) -> None:
        async with shell(path) as groups:
            await groups.ask(join(session_timeout_ms=20))
            await groups.ask(Sync("g", "m", None, 1, None, None, {}))
            for _ in range(1000):  # while it has a member, nobody else may commit
                if (await groups.ask(commit(1))).error_code is ErrorCode.none:
                    return
                await asyncio.sleep(0.005)
            pytest.fail("the session never ended")

    run(scenario, tmp_path)


def test_a_write_that_fails_takes_back_what_was_not_stored(tmp_path: Path) -> None:
    async def scenario(path: Path) -> None:
        async with shell(path) as groups:
            await groups.ask(commit(5))
            with sqlite3.connect(path) as connection:
                connection.execute(FULL_DISK)
            connection.close()
            asked = [groups.ask(commit(offset)) for offset in (6, 13, 7)] + [groups.ask(commit(1, "other"))]
            results = await asyncio.gather(*asked, return_exceptions=True)
            assert [r.code if isinstance(r, KafkaError) else r.error_code for r in results] == [
                ErrorCode.none,
                ErrorCode.coordinator_not_available,
                ErrorCode.coordinator_not_available,  # for it may build on the one before
                ErrorCode.none,
            ]
            assert await committed(groups) == 6
            with pytest.raises(KafkaError):
                await groups.ask(commit(13))
            assert await committed(groups) == 6
            await groups.ask(commit(8))
        async with shell(path) as groups:
            assert await committed(groups) == 8

    run(scenario, tmp_path)


def test_a_group_that_cannot_be_read_is_refused_until_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coordinators, "RELOAD_DELAY_S", 0.01)

    async def scenario(path: Path) -> None:
        async with shell(path) as groups:
            await groups.ask(commit(5))
            with sqlite3.connect(path) as connection:
                connection.execute(FULL_DISK)
                connection.execute("ALTER TABLE offsets RENAME TO away")
                with pytest.raises(KafkaError):
                    await groups.ask(commit(13))
                with pytest.raises(KafkaError):
                    await groups.ask(FetchOffsets("g", None))
                connection.execute("ALTER TABLE away RENAME TO offsets")
            connection.close()
            for _ in range(1000):
                try:
                    assert await committed(groups) == 5
                    return
                except KafkaError:
                    await asyncio.sleep(0.005)
            pytest.fail("the group was never read again")

    run(scenario, tmp_path)


def test_offsets_of_topics_that_are_gone_are_dropped_at_the_start(tmp_path: Path) -> None:
    async def scenario(path: Path) -> None:
        async with shell(path) as groups:
            gone = {("gone", 0): CommittedOffset(1, -1, "", 0)}
            await groups.ask(Commit("g", "", None, -1, gone))  # came with the topic's end, and then a kill
            await groups.ask(commit(1))
        for _ in range(2):
            async with shell(path) as groups:
                result = await groups.ask(FetchOffsets("g", None))
                assert set(result.offsets) == {("t", 0)}

    run(scenario, tmp_path)


def test_a_group_that_another_broker_coordinates_is_refused(tmp_path: Path) -> None:
    class Elsewhere(Placement):
        def coordinator(self, _key: str) -> int:
            return 2

    async def scenario(path: Path) -> None:
        async with shell(path) as groups:
            groups._catalog.placement = Elsewhere(1)
            with pytest.raises(KafkaError) as refused:
                await groups.ask(commit(1))
            assert refused.value.code is ErrorCode.not_coordinator

    run(scenario, tmp_path)


def test_whoever_stops_waiting_does_no_harm(tmp_path: Path) -> None:
    async def scenario(path: Path) -> None:
        async with shell(path) as groups:
            groups.ask(commit(1)).cancel()
            await groups.ask(commit(2))
            assert await committed(groups) == 2

    run(scenario, tmp_path)
