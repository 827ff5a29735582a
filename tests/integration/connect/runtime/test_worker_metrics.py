"""What a worker counts of its tasks' lives, and the metrics that connectors have of their own."""

import asyncio
from pathlib import Path

from support.workers import running, until, until_state, worker_settings

from connect.herder.states import State, TargetState
from connect.runtime.worker import Worker
from connect.testing.millstream import Broker

SOURCE = "fault_connectors:CountingSource"
WORKER = "kafka_connect_connect_worker_metrics_"


def value(worker: Worker, name: str, **labels: str) -> float:
    """The one sample with these labels; `KeyError` without it."""
    found = [
        sample.value
        for sample in worker.metrics()
        if sample.name == name and labels.items() <= sample.labels.items()
    ]
    if not found:
        raise KeyError(name)
    [only] = found
    return only


def test_the_metrics_of_a_connector_carry_its_name(broker: Broker, kafka_topic: str) -> None:
    name = f"c-{kafka_topic}"

    async def scenario() -> None:
        async with running(worker_settings(broker.bootstrap)) as worker:
            config = {"connector.class": SOURCE, "topic": kafka_topic, "limit": "30"}
            await worker.create(name, config)
            await until(lambda: value(worker, "millstream_counting_numbers_total", connector=name) == 30)
            assert value(worker, "millstream_counting_left", connector=name, task="0", what="numbers") == 0
            assert value(worker, "millstream_task_lag_milliseconds", connector=name) == 0
            await worker.set_target_state(name, TargetState.PAUSED)
            await until_state(worker, name, State.PAUSED)
            status = "kafka_connect_connector_task_metrics_status"
            assert value(worker, status, connector=name, task="0", status="paused") == 1
            await until(lambda: value(worker, "kafka_connect_connector_task_metrics_pause_ratio") > 0)

    asyncio.run(scenario())


def test_starts_and_restarts_are_counted(broker: Broker, kafka_topic: str, tmp_path: Path) -> None:
    good, bad = f"good-{kafka_topic}", f"bad-{kafka_topic}"
    settings = worker_settings(broker.bootstrap) | {"millstream.task.restart.max.attempts": "2"}

    async def scenario() -> None:
        async with running(settings) as worker:
            await worker.create(
                good, {"connector.class": SOURCE, "topic": kafka_topic, "tasks": "2", "tasks.max": "2"}
            )
            await worker.create(
                bad, {"connector.class": SOURCE, "topic": kafka_topic, "fault": "start raises"}
            )
            await until(lambda: value(worker, f"{WORKER}task_startup_attempts_total") == 5)
            assert value(worker, f"{WORKER}task_startup_success_total") == 2
            assert value(worker, f"{WORKER}task_startup_failure_percentage") == 60
            assert value(worker, f"{WORKER}connector_startup_success_total") == 2
            assert value(worker, f"{WORKER}connector_count") == 2
            assert value(worker, f"{WORKER}task_count") == 3
            await until_state(worker, bad, State.FAILED)
            assert value(worker, f"{WORKER}connector_failed_task_count", connector=bad) == 1
            assert value(worker, f"{WORKER}connector_running_task_count", connector=good) == 2
            assert value(worker, "millstream_task_restarts_total", connector=bad) == 2
            assert worker.status(bad).tasks[0].metrics is None
            await worker.delete(bad)
            assert all(sample.labels.get("connector") != bad for sample in worker.metrics())

    asyncio.run(scenario())
