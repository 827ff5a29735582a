"""A worker and its group: who may be in it, who takes whose place, what happens to tasks that wait."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.group import JoinGroupRequest
from support.workers import running, until, until_state, worker_settings

from connect.api import ConfigError, ConnectError
from connect.herder.states import State
from connect.runtime import membership
from connect.runtime.service import NotFound, NotMine
from connect.runtime.worker import Worker
from connect.testing.millstream import Broker

SOURCE = "fault_connectors:CountingSource"
NOBODY = "127.0.0.1:1"


def settings(broker: Broker, **more: str) -> dict[str, str]:
    return worker_settings(broker.bootstrap, session_timeout_ms="6000", heartbeat_interval_ms="200", **more)


def at(common: dict[str, str], port: int) -> dict[str, str]:
    """The settings of one worker of a group; nobody listens there."""
    return {**common, "listeners": f"http://127.0.0.1:{port}"}


@contextlib.asynccontextmanager
async def java_worker(broker: Broker, group: str) -> AsyncIterator[None]:
    """A member as a Java worker is one."""
    client = AIOKafkaClient(bootstrap_servers=broker.bootstrap)
    await client.bootstrap()
    node = await client.coordinator_lookup(0, group)
    member_id = ""
    for _ in range(2):  # the first answer gives the member id
        protocols = [("sessioned", b"\0\1"), ("compatible", b"\0\1")]
        request = JoinGroupRequest(group, 60_000, 60_000, member_id, None, "connect", protocols)  # type: ignore[arg-type]
        member_id = (await client.send(node, request)).member_id
    try:
        yield
    finally:
        await client.close()


def test_a_group_of_java_workers_is_refused(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    common = settings(broker)
    monkeypatch.setattr(membership, "_PATIENCE_S", -10.0)  # they might be about to leave

    async def scenario() -> None:
        async with java_worker(broker, common["group.id"]):
            with pytest.raises(
                ConnectError, match=r"has Java workers .* stop them first, or choose another group"
            ):
                async with running(common):
                    pass

    asyncio.run(scenario())


def test_a_session_timeout_that_the_brokers_do_not_allow(broker: Broker) -> None:
    async def scenario() -> None:
        too_short = settings(broker) | {"session.timeout.ms": "5000"}
        with pytest.raises(ConfigError, match=r"Invalid value 5000 for configuration session.timeout.ms"):
            async with running(too_short):
                pass

    asyncio.run(scenario())


def test_a_heartbeat_as_long_as_a_session_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"must be less than session\.timeout\.ms"):
        Worker({"session.timeout.ms": "3000"})


def test_a_killed_worker_is_replaced_at_once_by_one_at_its_address(broker: Broker) -> None:
    common = settings(broker) | {"session.timeout.ms": "300000"}

    async def scenario() -> None:
        dead = Worker(at(common, 18_083))
        await dead.start()
        for job in dead._cluster._membership._jobs:  # no heartbeat and no good-bye
            job.cancel()
        async with asyncio.timeout(60), running(at(common, 18_083)) as worker:
            assert worker._cluster.view.leads
        dead._cluster._membership._member_id = ""
        await dead.stop()

    asyncio.run(scenario())


@pytest.mark.parametrize("returns", [False, True])
def test_tasks_wait_for_a_worker_that_went(broker: Broker, kafka_topic: str, returns: bool) -> None:
    common = settings(broker, scheduled_rebalance_max_delay_ms="60000" if returns else "2000")

    async def scenario() -> None:
        async with running(at(common, 18_083)) as first:
            async with running(at(common, 18_084)):
                config = {"connector.class": SOURCE, "topic": kafka_topic, "tasks": "2", "tasks.max": "2"}
                await first.create("n", config)
                for task in range(2):
                    await until_state(first, "n", State.RUNNING, task)
                assert {each.worker_id for each in first.status("n").tasks.values()} == {
                    "127.0.0.1:18083", "127.0.0.1:18084",
                }  # fmt: skip
            await until(lambda: State.UNASSIGNED in {each.state for each in first.status("n").tasks.values()})
            if returns:
                async with running(at(common, 18_085)):
                    await until(lambda: "127.0.0.1:18085" in _owners(first))
                return
            await until(lambda: _owners(first) == {"127.0.0.1:18083"})
            for task in range(2):
                await until_state(first, "n", State.RUNNING, task)

    asyncio.run(scenario())


def _owners(worker: Worker) -> set[str]:
    return {each.worker_id for each in worker.status("n").tasks.values() if each.state is State.RUNNING}


def test_a_worker_that_does_not_lead_changes_nothing_itself(broker: Broker, kafka_topic: str) -> None:
    common = settings(broker)

    async def scenario() -> None:
        async with running(at(common, 18_083)) as first, running(at(common, 18_084)) as second:
            config = {"connector.class": SOURCE, "topic": kafka_topic}
            with pytest.raises(NotMine):
                await second.create("n", config)
            assert await first.leader_url() is None
            assert await second.leader_url() == "http://127.0.0.1:18083"
            await first.create("n", config)
            await until_state(second, "n", State.RUNNING)
            assert second.info("n").type == "source"
            with pytest.raises(NotFound, match="There is no worker"):
                await first.ask_peer(NOBODY, "/metrics")

    asyncio.run(scenario())
