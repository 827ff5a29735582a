"""Consumer groups with a real catalog: what they hear of topics and settings, and a restart."""

import asyncio
import gc
import sqlite3
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from broker.catalog import Catalog, Topic
from broker.config import BrokerSettings
from broker.coordinator.consumer_messages import (
    ConsumerHeartbeat,
    ConsumerHeartbeatResult,
    DescribeConsumerGroup,
)
from broker.server import coordinators
from broker.server.coordinators import GroupShell
from broker.wire.errors import KafkaError


def names(catalog: Catalog, result: ConsumerHeartbeatResult) -> list[tuple[str, int]]:
    topics = {topic.topic_id: topic.name for topic in catalog.topics}
    return sorted((topics[topic_id], number) for topic_id, number in result.assigned or ())


def heartbeat(epoch: int, **said: Any) -> ConsumerHeartbeat:
    return ConsumerHeartbeat("g", "m", epoch, "c", "/h", **said)


def join() -> ConsumerHeartbeat:
    return heartbeat(0, rebalance_timeout_ms=1, topics=frozenset(["t", "u"]), owned=frozenset())


def settings() -> BrokerSettings:
    return BrokerSettings(group_consumer_assignment_interval_ms=0)


async def started(path: Path) -> tuple[Catalog, GroupShell]:
    catalog = Catalog.open(path)
    groups = GroupShell(catalog, settings())
    groups.start()
    return catalog, groups


def test_topics_that_come_grow_and_go(tmp_path: Path) -> None:
    async def scenario() -> None:
        catalog, groups = await started(tmp_path / "catalog.db")
        await catalog.create_topics([Topic("t", uuid.uuid4(), 1)])
        assert names(catalog, await groups.ask(join())) == [("t", 0)]
        topic = Topic("u", uuid.uuid4(), 1)
        await catalog.create_topics([topic])
        assert names(catalog, await groups.ask(heartbeat(2))) == [("t", 0), ("u", 0)]
        await catalog.create_partitions({topic: 2})
        assert names(catalog, await groups.ask(heartbeat(3))) == [("t", 0), ("u", 0), ("u", 1)]
        await catalog.delete_topics([topic])
        assert names(catalog, await groups.ask(heartbeat(4))) == [("t", 0)]
        groups.close()
        catalog.close()

    asyncio.run(scenario())


def test_settings_of_a_group_hold_from_the_next_heartbeat_on(tmp_path: Path) -> None:
    async def scenario() -> None:
        catalog, groups = await started(tmp_path / "catalog.db")
        assert (await groups.ask(join())).heartbeat_interval_ms == 5_000
        groups.set_group_configs("g", {"consumer.heartbeat.interval.ms": 7_000})
        assert (await groups.ask(heartbeat(2))).heartbeat_interval_ms == 7_000
        groups.set_group_configs("g", {})
        assert (await groups.ask(heartbeat(2))).heartbeat_interval_ms == 5_000
        groups.close()
        catalog.close()

    asyncio.run(scenario())


def test_settings_reach_a_group_that_cannot_be_read_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does anybody hear of an error in an answer that nobody asked for."""
    monkeypatch.setattr(coordinators, "RELOAD_DELAY_S", 0.01)
    complaints: list[dict[str, Any]] = []

    async def scenario() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        catalog, groups = await started(tmp_path / "catalog.db")
        await catalog.create_topics([Topic("t", uuid.uuid4(), 1)])
        await groups.ask(join())
        connection = sqlite3.connect(tmp_path / "catalog.db", isolation_level=None)
        connection.execute("ALTER TABLE groups RENAME TO away")
        failing = groups.ask(heartbeat(2, topics=frozenset(["t"])))
        groups.set_group_configs("g", {"consumer.heartbeat.interval.ms": 6_000})  # during the write
        with pytest.raises(KafkaError):
            await failing
        with pytest.raises(KafkaError):
            await groups.ask(DescribeConsumerGroup("g"))
        groups.set_group_configs("g", {"consumer.heartbeat.interval.ms": 7_000})
        connection.execute("ALTER TABLE away RENAME TO groups")
        connection.close()
        deadline = time.monotonic() + 60
        while True:
            with suppress(KafkaError):
                assert (await groups.ask(heartbeat(2))).heartbeat_interval_ms == 7_000
                break
            assert time.monotonic() < deadline
            await asyncio.sleep(0.005)
        groups.close()
        catalog.close()
        gc.collect()

    asyncio.run(scenario())
    assert complaints == []


def test_a_restart_changes_nothing_for_the_members(tmp_path: Path) -> None:
    async def scenario() -> None:
        catalog, groups = await started(tmp_path / "catalog.db")
        await catalog.create_topics([Topic("t", uuid.uuid4(), 3)])
        assert names(catalog, await groups.ask(join())) == [("t", 0), ("t", 1), ("t", 2)]
        before = await groups.ask(DescribeConsumerGroup("g"))
        groups.close()
        catalog.close()
        catalog, groups = await started(tmp_path / "catalog.db")
        assert await groups.ask(DescribeConsumerGroup("g")) == before
        result = await groups.ask(heartbeat(2))
        assert (result.member_epoch, result.assigned) == (2, None)
        groups.close()
        catalog.close()

    asyncio.run(scenario())
