"""Limits of tasks: memory, CPU, and how long a call may take; what is left when a task or a worker ends."""

import asyncio
import os
import signal
import time
from pathlib import Path

import orjson
import psutil
import pytest
from support.workers import produce, read_topic, running, trace_of, until, until_state, worker_settings

from connect.herder.actions import Restarts
from connect.herder.states import State, TargetState
from connect.runtime.worker import Worker
from connect.testing.millstream import Broker

MEMORY_LIMIT = "millstream.task.memory.limit.bytes"
NEVER = {"millstream.task.restart.max.attempts": "0"}
HANG = {"millstream.task.hang.timeout.ms": "1200", "offset.flush.interval.ms": "200"}


def source(topic: str, fault: str, **more: str) -> dict[str, str]:
    return {"connector.class": "fault_connectors:CountingSource", "topic": topic, "fault": fault, **more}


def sink(topic: str, file: Path, fault: str, **more: str) -> dict[str, str]:
    return {
        "connector.class": "fault_connectors:CollectingSink", "topics": topic, "file": str(file),
        "fault": fault, **more,
    }  # fmt: skip


def task_process(name: str) -> psutil.Process:
    """The process of a connector's first task, of a worker in this process; KeyError while there is none."""
    return {child.name(): child for child in psutil.Process().children(recursive=True)}[
        f"millstream task {name}-0"
    ]


@pytest.mark.parametrize("where", ["start", "poll"])
def test_a_source_that_hangs_is_killed_and_shows_its_stack(
    broker: Broker, kafka_topic: str, where: str
) -> None:
    async def scenario() -> None:
        async with running(worker_settings(broker.bootstrap) | HANG) as worker:
            await worker.create("n", source(kafka_topic, f"{where} hangs", **NEVER))
            await until_state(worker, "n", State.FAILED)
            trace = trace_of(worker, "n")
            head = f"org.apache.kafka.connect.errors.ConnectException: the task hung in {where} for "
            assert trace.startswith(head)
            assert "Main thread (most recent call last):" in trace
            assert f", in {where}\n" in trace
            assert "    time.sleep(3600)" in trace
            assert "task_channel.py" not in trace

    asyncio.run(scenario())


@pytest.mark.parametrize(("fault", "where"), [("put hangs", "put"), ("flush hangs", "pre_commit")])
def test_a_sink_that_hangs_is_killed_and_shows_its_stack(
    broker: Broker, kafka_topic: str, tmp_path: Path, fault: str, where: str
) -> None:
    name = f"s-{kafka_topic}"

    async def scenario() -> None:
        async with running(worker_settings(broker.bootstrap) | HANG) as worker:
            produce(broker.bootstrap, kafka_topic, [b"1"])
            await worker.create(name, sink(kafka_topic, tmp_path / "out", fault, **NEVER))
            await until_state(worker, name, State.FAILED)
            assert f"the task hung in {where} for" in trace_of(worker, name)
            assert f", in {where}\n" in trace_of(worker, name)

    asyncio.run(scenario())


def test_code_that_holds_pythons_lock_shows_its_stack(broker: Broker, kafka_topic: str) -> None:
    async def scenario() -> None:
        async with running(worker_settings(broker.bootstrap) | HANG) as worker:
            await worker.create("n", source(kafka_topic, "poll holds the lock", **NEVER))
            await until_state(worker, "n", State.FAILED)
            assert "the task gave no sign of life for" in trace_of(worker, "n")
            assert 're.match("(a+)+$"' in trace_of(worker, "n")

    asyncio.run(scenario())


def test_a_stopped_process_is_killed_and_started_again(broker: Broker, kafka_topic: str) -> None:
    async def scenario() -> None:
        async with running(worker_settings(broker.bootstrap) | HANG) as worker:
            slow = {"millstream.task.restart.backoff.ms": "1000"}
            await worker.create("n", source(kafka_topic, "none", **slow))
            await until_state(worker, "n", State.RUNNING)
            first = task_process("n")
            first.suspend()
            await until_state(worker, "n", State.FAILED)
            assert "the task gave no sign of life" in trace_of(worker, "n")
            assert "the process is stopped, as by SIGSTOP" in trace_of(worker, "n")
            await until_state(worker, "n", State.RUNNING)
            assert task_process("n").pid != first.pid

    asyncio.run(scenario())


def test_a_pause_and_retries_are_no_hang(broker: Broker, kafka_topic: str, tmp_path: Path) -> None:
    name = f"s-{kafka_topic}"
    limits = {"millstream.task.hang.timeout.ms": "2500", "offset.flush.interval.ms": "60000"}

    async def scenario() -> None:
        async with running(worker_settings(broker.bootstrap) | limits) as worker:
            produce(broker.bootstrap, kafka_topic, [b"1"])
            await worker.create("n", source(kafka_topic, "none", **NEVER))
            await worker.create(name, sink(kafka_topic, tmp_path / "out", "put always retries", **NEVER))
            for connector in ("n", name):
                await until_state(worker, connector, State.RUNNING)
                await worker.set_target_state(connector, TargetState.PAUSED)
                await until_state(worker, connector, State.PAUSED)
            await asyncio.sleep(5.5)  # longer than the limit, and than what it takes to notice
            for connector in ("n", name):
                assert worker.status(connector).tasks[0].state is State.PAUSED
                await worker.set_target_state(connector, TargetState.STARTED)
                await until_state(worker, connector, State.RUNNING)

    asyncio.run(scenario())


def test_a_memory_limit_stops_a_hog_and_no_other(broker: Broker, kafka_topic: str) -> None:
    limit_bytes = 150 << 20
    limit = {MEMORY_LIMIT: str(limit_bytes)}

    async def scenario() -> None:
        async with running(worker_settings(broker.bootstrap)) as worker:
            await worker.create("modest", source(kafka_topic, "none", **limit, **NEVER))
            await worker.create("hog", source(kafka_topic, "poll eats memory", **limit, **NEVER))
            await until_state(worker, "hog", State.FAILED)
            trace = trace_of(worker, "hog")
            assert f"the task reached its memory limit of {limit_bytes} bytes ({MEMORY_LIMIT})" in trace
            assert ", in poll\n" in trace
            assert worker.status("modest").tasks[0].state is State.RUNNING

    asyncio.run(scenario())


def test_a_cpu_limit_slows_a_task_down(broker: Broker, kafka_topic: str) -> None:
    """Without the limit it would use a whole core."""

    async def scenario() -> None:
        async with running(worker_settings(broker.bootstrap)) as worker:
            endless = {"limit": str((1 << 31) - 1), "batch": "500", "millstream.task.cpu.limit": "0.2"}
            await worker.create("n", source(kafka_topic, "none", **endless))
            await until_state(worker, "n", State.RUNNING)
            process = task_process("n")
            begin_s, used_s = time.monotonic(), sum(process.cpu_times()[:2])
            await asyncio.sleep(3)
            share = (sum(process.cpu_times()[:2]) - used_s) / (time.monotonic() - begin_s)
            assert 0 < share < 0.35
            assert worker.status("n").tasks[0].state is State.RUNNING

    asyncio.run(scenario())


def test_the_restart_budget_is_shown_while_it_is_in_use(broker: Broker, kafka_topic: str) -> None:
    backoff = {"millstream.task.restart.backoff.ms": "300", "millstream.task.restart.backoff.max.ms": "1000"}
    settings = worker_settings(broker.bootstrap) | backoff

    async def scenario() -> None:
        async with running(settings) as worker:
            await worker.create("n", source(kafka_topic, "poll raises"))
            await until(lambda: "Restart 2 of" in trace_of(worker, "n"))
            failed = worker.status("n").tasks[0].restarts
            assert failed is not None
            assert (failed.failures, failed.attempts_max) == (2, 1000)
            assert failed.next_at_ms is not None
            assert abs(failed.next_at_ms / 1000 - time.time()) < 30
            await worker.put_config("n", source(kafka_topic, "none"))
            await until_state(worker, "n", State.RUNNING)
            os.kill(task_process("n").pid, signal.SIGKILL)
            await until_state(worker, "n", State.FAILED)
            await until_state(worker, "n", State.RUNNING)
            assert worker.status("n").tasks[0].restarts == Restarts(1, 1000)
            await until(lambda: worker.status("n").tasks[0].restarts is None)
            assert worker.status("n").tasks[0].state is State.RUNNING

    asyncio.run(scenario())
    written = [
        orjson.loads(message.value() or b"{}")
        for message in read_topic(broker.bootstrap, settings["status.storage.topic"])
        if message.key() == b"status-task-n-0"
    ]
    budgets = [value.get("restarts") for value in written if value]
    assert {"failures": 1, "max_attempts": 1000} in budgets
    assert any(budget and "next_at" in budget for budget in budgets)
    assert budgets[-1] is None


@pytest.mark.parametrize("how", ["poll hangs", "start hangs", "suspended", "paused", "none"])
def test_every_task_ends_when_its_connector_is_stopped(broker: Broker, kafka_topic: str, how: str) -> None:
    settings = worker_settings(broker.bootstrap) | {"task.shutdown.graceful.timeout.ms": "500"}

    async def scenario() -> None:
        async with running(settings) as worker:
            fault = how if how.endswith("hangs") else "none"
            await worker.create("n", source(kafka_topic, fault))
            await until(lambda: task_process("n").is_running())
            if how != "start hangs":
                await until_state(worker, "n", State.RUNNING)
            process = task_process("n")
            if how == "suspended":
                process.suspend()
            if how == "paused":
                await worker.set_target_state("n", TargetState.PAUSED)
                await until_state(worker, "n", State.PAUSED)
            await worker.set_target_state("n", TargetState.STOPPED)
            await until(lambda: not worker.status("n").tasks)
            await until(lambda: not process.is_running())

    asyncio.run(scenario())


async def _child_of_task(worker: Worker, topic: str) -> psutil.Process:
    """A process that the code of a connector started."""
    await worker.create("n", source(topic, "poll starts a child"))
    await until(lambda: bool(task_process("n").children()))
    return task_process("n").children()[0]


def test_what_a_task_started_ends_with_it(broker: Broker, kafka_topic: str) -> None:
    async def scenario() -> None:
        async with running(worker_settings(broker.bootstrap)) as worker:
            child = await _child_of_task(worker, kafka_topic)
            os.kill(task_process("n").pid, signal.SIGKILL)
            await until(lambda: not child.is_running())

    asyncio.run(scenario())


def test_what_tasks_started_ends_with_the_worker(broker: Broker, kafka_topic: str) -> None:
    settings = worker_settings(broker.bootstrap) | {"task.shutdown.graceful.timeout.ms": "100"}

    async def scenario() -> psutil.Process:
        async with running(settings) as worker:
            return await _child_of_task(worker, kafka_topic)

    assert not asyncio.run(scenario()).is_running()
