"""The worker with connectors that behave: data flows, state is kept where Connect keeps it."""

import asyncio
import json
import logging
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support.workers import (
    produce,
    read_topic,
    running,
    trace_of,
    until,
    until_state,
    worker_settings,
)

from connect.api import ConfigError
from connect.herder.states import State, TargetState
from connect.runtime.service import BadRequest, Conflict, NotFound, ServiceError
from connect.runtime.worker import Worker
from connect.testing.millstream import Broker

SOURCE = "fault_connectors:CountingSource"
SINK = "fault_connectors:CollectingSink"


def source(topic: str, **more: str) -> dict[str, str]:
    return {"connector.class": SOURCE, "topic": topic, **more}


def sink(topic: str, file: Path, **more: str) -> dict[str, str]:
    return {"connector.class": SINK, "topics": topic, "file": str(file), **more}


def name(topic: str) -> str:
    """A sink's name makes its consumer group, which tests on one broker must not share."""
    return f"lines-{topic}"


def values(file: Path) -> list[str]:
    return sorted((line.split()[-1] for line in file.read_text().splitlines()), key=int)


def test_data_flows_and_goes_on_after_a_restart(broker: Broker, kafka_topic: str, tmp_path: Path) -> None:
    settings, file = worker_settings(broker.bootstrap), tmp_path / "out"

    async def first() -> None:
        async with running(settings) as worker:
            await worker.create("numbers", source(kafka_topic, limit="1000"))
            await worker.create(name(kafka_topic), sink(kafka_topic, file))
            await until(lambda: len(values(file)) == 1000)
            status = worker.status("numbers")
            assert (status.type, status.connector.state, status.connector.version) == (
                "source", State.RUNNING, "1.2.3",
            )  # fmt: skip
            assert worker.status(name(kafka_topic)).type == "sink"
            assert (
                list(worker.active_topics("numbers"))
                == list(worker.active_topics(name(kafka_topic)))
                == [kafka_topic]
            )
            assert worker.info("numbers").task_ids == range(1)

    async def second() -> None:
        async with running(settings) as worker:
            assert sorted(worker.connectors()) == [name(kafka_topic), "numbers"]
            await until_state(worker, "numbers", State.RUNNING)
            await worker.put_config("numbers", source(kafka_topic, limit="1500"))
            await until(lambda: len(values(file)) == 1500)
            # The sink may be quicker than the source's next commit.
            for _ in range(600):
                if (offsets := list(await worker.offsets("numbers"))) == [({"counter": 0}, {"next": 1500})]:
                    break
                await asyncio.sleep(0.05)
            assert offsets == [({"counter": 0}, {"next": 1500})]

    asyncio.run(first())
    asyncio.run(second())
    assert values(file) == [str(number) for number in range(1500)]


def test_internal_topics_hold_what_connect_writes(broker: Broker, kafka_topic: str) -> None:
    settings = worker_settings(broker.bootstrap)

    async def scenario() -> None:
        async with running(settings) as worker:
            await worker.create("n", source(kafka_topic))
            await until(lambda: list(worker.active_topics("n")) == [kafka_topic])
            await worker.set_target_state("n", TargetState.PAUSED)
            await until_state(worker, "n", State.PAUSED)
            await worker.set_target_state("n", TargetState.STOPPED)
            await until(lambda: not worker.status("n").tasks)
            await worker.restart("n", include_tasks=True, only_failed=False)
            await worker.delete("n")

    asyncio.run(scenario())
    config = {"connector.class": SOURCE, "topic": kafka_topic, "name": "n"}
    task = {"properties": {**config, "number": "0", "task.class": f"{SOURCE}Task"}}
    assert _records(broker, settings["config.storage.topic"]) == [
        ("connector-n", {"properties": config}),
        ("task-n-0", task),
        ("commit-n", {"tasks": 1}),
        ("target-state-n", {"state": "PAUSED", "state.v2": "PAUSED"}),
        ("commit-n", {"tasks": 0}),
        ("target-state-n", {"state": "PAUSED", "state.v2": "STOPPED"}),
        ("restart-connector-n", {"include-tasks": True, "only-failed": False}),
        ("connector-n", None),
        ("target-state-n", None),
    ]
    offsets = _records(broker, settings["offset.storage.topic"])
    assert offsets[-1] == ('["n",{"counter":0}]', {"next": 100})
    statuses = _records(broker, settings["status.storage.topic"])
    worker_id = {"worker_id": "127.0.0.1:8083", "generation": 1, "version": "1.2.3"}
    assert ("status-connector-n", {"state": "RUNNING", "trace": None, **worker_id}) in statuses
    assert ("status-task-n-0", {"state": "RUNNING", "trace": None, **worker_id}) in statuses
    topic_key = f"status-topic-{kafka_topic}:connector-n"
    told = next(value for key, value in statuses if key == topic_key and value is not None)["topic"]
    assert (told["name"], told["connector"], told["task"]) == (kafka_topic, "n", 0)
    last = dict(statuses)
    assert last["status-connector-n"] is last["status-task-n-0"] is last[topic_key] is None


def _records(broker: Broker, topic: str) -> list[tuple[str, Any]]:
    return [
        ((message.key() or b"").decode(), json.loads(message.value()) if message.value() else None)
        for message in read_topic(broker.bootstrap, topic)
    ]


def test_pause_stops_the_flow_and_resume_continues_it(
    broker: Broker, kafka_topic: str, tmp_path: Path
) -> None:
    file = tmp_path / "out"

    async def scenario() -> None:
        async with running(worker_settings(broker.bootstrap)) as worker:
            await worker.create(name(kafka_topic), sink(kafka_topic, file))
            produce(broker.bootstrap, kafka_topic, [b"1"])
            await until(lambda: values(file) == ["1"])
            await worker.set_target_state(name(kafka_topic), TargetState.PAUSED)
            await until_state(worker, name(kafka_topic), State.PAUSED)
            assert worker.status(name(kafka_topic)).connector.state is State.PAUSED
            produce(broker.bootstrap, kafka_topic, [b"2"])
            # A paused sink commits nothing more: its group stays where it is while another sink gets there.
            await worker.create(f"other-{kafka_topic}", sink(kafka_topic, tmp_path / "other"))
            await until(lambda: values(tmp_path / "other") == ["1", "2"])
            assert values(file) == ["1"]
            await worker.set_target_state(name(kafka_topic), TargetState.STARTED)
            await until(lambda: values(file) == ["1", "2"])
            assert worker.status(name(kafka_topic)).tasks[0].state is State.RUNNING

    asyncio.run(scenario())


def test_initial_states(broker: Broker, kafka_topic: str) -> None:
    async def scenario() -> None:
        async with running(worker_settings(broker.bootstrap)) as worker:
            for state in (TargetState.PAUSED, TargetState.STOPPED):
                await worker.create(state.value, source(kafka_topic), state)
                await until(partial(_is_shown, worker, state))
                assert not worker.status(state.value).tasks
                await worker.set_target_state(state.value, TargetState.STARTED)
                await until_state(worker, state.value, State.RUNNING)

    asyncio.run(scenario())


def _is_shown(worker: Worker, state: TargetState) -> bool:
    return worker.status(state.value).connector.state.value == state.value


def test_offsets_of_a_source(broker: Broker, kafka_topic: str) -> None:
    async def scenario() -> None:
        async with running(worker_settings(broker.bootstrap)) as worker:
            await worker.create("n", source(kafka_topic, limit="10"))
            await until_state(worker, "n", State.RUNNING)
            with pytest.raises(BadRequest, match="must be in the STOPPED state"):
                await worker.alter_offsets("n", [({"counter": 0}, {"next": 5})])
            await worker.set_target_state("n", TargetState.STOPPED)
            told = await worker.alter_offsets(
                "n", [({"counter": 0}, {"next": 7}), ({"counter": 9}, {"next": 1})]
            )
            assert told == "The offsets for this connector have been altered successfully"
            with pytest.raises(ServiceError, match="the offset needs an integer"):
                await worker.alter_offsets("n", [({"counter": 0}, {"next": "x"})])
            await worker.alter_offsets("n", [({"counter": 9}, None)])
            assert list(await worker.offsets("n")) == [({"counter": 0}, {"next": 7})]
            await worker.put_config("n", source(kafka_topic, limit="12"))
            await worker.set_target_state("n", TargetState.STARTED)
            await until_state(worker, "n", State.RUNNING)
            await worker.set_target_state("n", TargetState.STOPPED)
            assert (
                await worker.reset_offsets("n")
                == "The offsets for this connector have been reset successfully"
            )
            assert list(await worker.offsets("n")) == []

    asyncio.run(scenario())
    numbers = [int(message.value() or b"") for message in read_topic(broker.bootstrap, kafka_topic)]
    assert numbers == [*range(10), *range(7, 12)]


def test_offsets_of_a_sink(broker: Broker, kafka_topic: str, tmp_path: Path) -> None:
    file = tmp_path / "out"
    place = {"kafka_topic": kafka_topic, "kafka_partition": 0}

    async def scenario() -> None:
        async with running(worker_settings(broker.bootstrap)) as worker:
            produce(broker.bootstrap, kafka_topic, [b"0", b"1", b"2"])
            await worker.create(name(kafka_topic), sink(kafka_topic, file))
            await until(lambda: len(values(file)) == 3)
            await worker.set_target_state(name(kafka_topic), TargetState.STOPPED)
            with pytest.raises(BadRequest, match="must contain the key 'kafka_topic'"):
                await worker.alter_offsets(name(kafka_topic), [({"topic": "x"}, None)])
            await worker.alter_offsets(name(kafka_topic), [(place, {"kafka_offset": 2})])
            assert list(await worker.offsets(name(kafka_topic))) == [(place, {"kafka_offset": 2})]
            await worker.set_target_state(name(kafka_topic), TargetState.STARTED)
            await until(lambda: values(file) == ["0", "1", "2", "2"])

    asyncio.run(scenario())


def test_refusals_read_as_connects(broker: Broker, kafka_topic: str) -> None:
    async def scenario() -> None:
        async with running(worker_settings(broker.bootstrap)) as worker:
            await worker.create("n", source(kafka_topic))
            with pytest.raises(Conflict, match=r"^Connector n already exists$"):
                await worker.create("n", source(kafka_topic))
            with pytest.raises(
                BadRequest, match=r"^Connector config \{a, name\} contains no connector type$"
            ):
                await worker.create("x", {"a": "b"})
            with pytest.raises(BadRequest, match="which name matches Nope, available connectors are"):
                await worker.create("x", {"connector.class": "Nope"})
            with pytest.raises(BadRequest, match=r'1 error.*\nMissing required configuration "topic"'):
                await worker.create("x", {"connector.class": SOURCE})
            with pytest.raises(BadRequest, match="cannot be loaded from nowhere:Nothing"):
                await worker.create("x", {"connector.class": "nowhere:Nothing"})
            for call, text in (
                (worker.delete("x"), "Connector x not found"),
                (worker.set_target_state("x", TargetState.PAUSED), "Unknown connector x"),
                (worker.restart("x", False, False), "Unknown connector: x"),
                (worker.restart_task("n", 7), "Unknown task: n-7"),
                (worker.offsets("x"), "Connector x not found"),
            ):
                with pytest.raises(NotFound, match=f"^{text}$"):
                    await call
            with pytest.raises(NotFound, match=r"^No status found for connector x$"):
                worker.status("x")

    asyncio.run(scenario())


def test_patch_changes_and_removes_keys(broker: Broker, kafka_topic: str) -> None:
    async def scenario() -> None:
        async with running(worker_settings(broker.bootstrap)) as worker:
            await worker.create("n", source(kafka_topic, limit="3", batch="1"))
            info = await worker.patch_config("n", {"limit": "4", "batch": None})
            assert info.config == {**source(kafka_topic, limit="4"), "name": "n"}
            await until(lambda: worker.task_configs("n")[0]["limit"] == "4")

    asyncio.run(scenario())


@pytest.mark.parametrize("assignor", ["RangeAssignor", "CooperativeStickyAssignor"])
def test_several_tasks_share_the_partitions_of_a_sink(
    broker: Broker, kafka_topic: str, tmp_path: Path, assignor: str
) -> None:
    file = tmp_path / "out"
    strategy = f"org.apache.kafka.clients.consumer.{assignor}"

    async def scenario() -> None:
        async with running(worker_settings(broker.bootstrap)) as worker:
            config = source(kafka_topic, limit="300", **{
                "topic.creation.default.partitions": "4", "topic.creation.default.replication.factor": "1",
                "tasks.max": "2", "tasks": "2",
            })  # fmt: skip
            await worker.create("numbers", config)
            await until(lambda: bool(worker.active_topics("numbers")))
            two = {
                "tasks.max": "2",
                "tasks": "2",
                "consumer.override.partition.assignment.strategy": strategy,
            }
            await worker.create(name(kafka_topic), sink(kafka_topic, file, **two))
            await until(lambda: len(values(file)) >= 600)
            assert worker.info(name(kafka_topic)).task_ids == range(2)

    asyncio.run(scenario())
    partitions = {message.partition() for message in read_topic(broker.bootstrap, kafka_topic)}
    assert partitions == {0, 1, 2, 3}
    assert values(file) == sorted([str(number) for number in range(300)] * 2, key=int)


def test_secrets_stay_references(broker: Broker, kafka_topic: str, tmp_path: Path) -> None:
    secrets = tmp_path / "secrets.properties"
    secrets.write_text("where=" + kafka_topic + "\n")
    settings = worker_settings(broker.bootstrap)
    reference = f"${{file:{secrets}:where}}"

    async def scenario() -> None:
        async with running(settings) as worker:
            await worker.create("n", source(reference))
            await until_state(worker, "n", State.RUNNING)
            assert worker.task_configs("n")[0]["topic"] == reference
            await until(lambda: list(worker.active_topics("n")) == [kafka_topic])

    asyncio.run(scenario())


def test_unknown_settings_are_told_with_the_config(broker: Broker, kafka_topic: str) -> None:
    warning = 'Unknown configuration "limt" is ignored; did you mean "limit"?'

    async def scenario() -> None:
        async with running(worker_settings(broker.bootstrap)) as worker:
            wrong = source(kafka_topic, limt="5")
            assert (await worker.create("n", wrong)).warnings == [warning]
            assert (await worker.put_config("n", wrong))[1].warnings == [warning]
            assert (await worker.patch_config("n", {"limt": "6"})).warnings == [warning]
            assert worker.info("n").warnings == ()
            with pytest.raises(BadRequest, match=r"(?s)configuration \"topic\".*did you mean \"topic\"\?"):
                await worker.put_config("n", {"connector.class": SOURCE, "topci": "t"})

    asyncio.run(scenario())


def test_a_log_level_for_all_workers_goes_through_the_config_topic(broker: Broker) -> None:
    logger = logging.getLogger("test.worker.cluster")
    settings = worker_settings(broker.bootstrap)

    async def scenario() -> None:
        async with running(settings) as first, running(settings):
            await first.set_cluster_log_level(logger.name, "ERROR")
            assert logger.level == logging.ERROR
        logger.setLevel(logging.NOTSET)
        async with running(settings):  # a worker that starts later has its own levels
            assert logger.level == logging.NOTSET

    asyncio.run(scenario())
    [last] = [m for m in read_topic(broker.bootstrap, settings["config.storage.topic"]) if m.key()]
    assert (last.key(), last.value()) == (b"logger-cluster-test.worker.cluster", b'{"level":"ERROR"}')


def test_a_value_that_runs_out_is_looked_up_again(broker: Broker, kafka_topic: str, tmp_path: Path) -> None:
    fault = tmp_path / "fault"
    fault.write_text("none")
    settings = worker_settings(
        broker.bootstrap,
        config_providers="lease",
        config_providers_lease_class="fault_connectors:LeasedFiles",
    )
    config = source(kafka_topic, fault=f"${{lease:{fault}:}}")

    async def scenario() -> None:
        async with running(settings) as worker:
            await worker.create("stays", {**config, "config.action.reload": "none"})
            await worker.create("reloads", config)
            await until_state(worker, "stays", State.RUNNING)
            await until_state(worker, "reloads", State.RUNNING)
            fault.write_text("start raises")
            await until_state(worker, "reloads", State.FAILED)
            assert "cannot start" in trace_of(worker, "reloads")
            assert worker.status("stays").tasks[0].state is State.RUNNING
            fault.write_text("none")
            await until_state(worker, "reloads", State.RUNNING)

    asyncio.run(scenario())


def test_a_topic_that_is_not_compacted_is_refused(broker: Broker, kafka_topic: str) -> None:
    produce(broker.bootstrap, kafka_topic, [b"x"])
    settings = worker_settings(broker.bootstrap) | {"offset.storage.topic": kafka_topic}

    async def scenario() -> None:
        with pytest.raises(ConfigError, match=f"Topic '{kafka_topic}'.*'cleanup.policy=compact'"):
            async with running(settings):
                pass

    asyncio.run(scenario())


def test_active_topics_can_be_reset(broker: Broker, kafka_topic: str) -> None:
    async def scenario(worker: Worker) -> None:
        await worker.create("n", source(kafka_topic, limit="5"))
        await until(lambda: list(worker.active_topics("n")) == [kafka_topic])
        await worker.reset_active_topics("n")
        assert list(worker.active_topics("n")) == []
        await worker.put_config("n", source(kafka_topic, limit="10"))
        await until(lambda: list(worker.active_topics("n")) == [kafka_topic])
        assert trace_of(worker, "n") == ""

    async def run() -> None:
        async with running(worker_settings(broker.bootstrap)) as worker:
            await scenario(worker)

    asyncio.run(run())


def test_topics_by_a_java_regular_expression(broker: Broker, kafka_topic: str, tmp_path: Path) -> None:
    file, config = tmp_path / "out", sink("", tmp_path / "out")
    del config["topics"]
    for number, topic in enumerate((f"{kafka_topic}-a1", f"{kafka_topic}-b2", f"{kafka_topic}-c")):
        produce(broker.bootstrap, topic, [str(number).encode()])

    async def scenario() -> None:
        async with running(worker_settings(broker.bootstrap)) as worker:
            pattern = rf"\Q{kafka_topic}\E-a\d|{kafka_topic}-b\d"
            await worker.create(name(kafka_topic), {**config, "topics.regex": pattern})
            await until(lambda: len(values(file)) == 2)
            assert sorted(worker.active_topics(name(kafka_topic))) == [
                f"{kafka_topic}-a1",
                f"{kafka_topic}-b2",
            ]

    asyncio.run(scenario())
    assert values(file) == ["0", "1"]


def test_a_sink_that_rewinds_gets_its_records_again(broker: Broker, kafka_topic: str, tmp_path: Path) -> None:
    file = tmp_path / "out"

    async def scenario() -> None:
        async with running(worker_settings(broker.bootstrap)) as worker:
            produce(broker.bootstrap, kafka_topic, [b"1", b"2"])
            await worker.create(name(kafka_topic), sink(kafka_topic, file, fault="rewinds once"))
            await until(lambda: values(file) == ["1", "1", "2", "2"])
            await until_offset(worker)

    async def until_offset(worker: Worker) -> None:
        place = {"kafka_topic": kafka_topic, "kafka_partition": 0}
        async with asyncio.timeout(60):
            while list(await worker.offsets(name(kafka_topic))) != [(place, {"kafka_offset": 2})]:  # noqa: ASYNC110
                await asyncio.sleep(0.1)  # it comes through Kafka, no event tells of it

    asyncio.run(scenario())
