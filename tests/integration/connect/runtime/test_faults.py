"""The worker with connectors that misbehave: it says why, tries again, and never stalls."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
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

from connect.herder.states import State, TargetState
from connect.runtime.service import ServiceError
from connect.runtime.worker import Worker
from connect.testing.millstream import Broker

SOURCE = "fault_connectors:CountingSource"
SINK = "fault_connectors:CollectingSink"
NEVER = {"millstream.task.restart.max.attempts": "0"}


def source(topic: str, fault: str, **more: str) -> dict[str, str]:
    return {"connector.class": SOURCE, "topic": topic, "fault": fault, **more}


def sink(topic: str, file: Path, fault: str, **more: str) -> dict[str, str]:
    return {"connector.class": SINK, "topics": topic, "file": str(file), "fault": fault, **more}


@pytest.mark.parametrize(
    ("fault", "first_line"),
    [
        ("start raises", "org.apache.kafka.connect.errors.ConnectException: cannot start"),
        ("poll raises", "org.apache.kafka.connect.errors.ConnectException: it broke"),
        (
            "poll raises KeyError",
            "org.apache.kafka.connect.errors.ConnectException: unexpected KeyError: 'unexpected'",
        ),
        (
            "start exits",
            "org.apache.kafka.connect.errors.ConnectException: the task's process exited with code 7",
        ),
        (
            "poll kills itself",
            "org.apache.kafka.connect.errors.ConnectException: the task's process was killed by SIGKILL",
        ),
    ],
)
def test_a_task_that_fails_says_why(broker: Broker, kafka_topic: str, fault: str, first_line: str) -> None:
    async def scenario() -> None:
        async with running(worker_settings(broker.bootstrap)) as worker:
            await worker.create("n", source(kafka_topic, fault, **NEVER))
            await until_state(worker, "n", State.FAILED)
            trace = trace_of(worker, "n").splitlines()
            assert trace[0].startswith(first_line)
            assert trace[-1] == "The task failed 1 times in a row and is not restarted any more."
            assert worker.status("n").connector.state is State.RUNNING

    asyncio.run(scenario())


def test_a_failed_task_restarts_with_backoff_until_it_works(broker: Broker, kafka_topic: str) -> None:
    async def scenario() -> None:
        async with running(worker_settings(broker.bootstrap)) as worker:
            await worker.create("n", source(kafka_topic, "poll raises"))
            # The third or a later one: each is to be seen for as long as its wait only.
            third = re.compile(r"Restart ([3-9]) of at most 1000 in [\d.]+ s\.")
            await until(lambda: third.search(trace_of(worker, "n")) is not None)
            await worker.put_config("n", source(kafka_topic, "none"))
            await until(lambda: list(worker.active_topics("n")) == [kafka_topic])
            assert worker.status("n").tasks[0].state is State.RUNNING
            assert trace_of(worker, "n") == ""

    asyncio.run(scenario())


def test_restart_of_what_failed(broker: Broker, kafka_topic: str) -> None:
    async def scenario() -> None:
        async with running(worker_settings(broker.bootstrap)) as worker:
            await worker.create("n", source(kafka_topic, "poll raises", **NEVER))
            await until_state(worker, "n", State.FAILED)
            told = await worker.restart("n", include_tasks=True, only_failed=True)
            assert told.connector.state is State.RUNNING
            assert told.tasks[0].state is State.RESTARTING
            await until_state(worker, "n", State.FAILED)
            await worker.restart_task("n", 0)
            await until_state(worker, "n", State.FAILED)

    asyncio.run(scenario())


def test_a_task_that_is_killed_comes_back_and_loses_nothing(broker: Broker, kafka_topic: str) -> None:
    # So long that nobody misses that it has failed.
    settings = worker_settings(broker.bootstrap, millstream_task_restart_backoff_ms="1000")
    name = f"n-{kafka_topic}"

    async def scenario() -> None:
        async with running(settings) as worker:
            await worker.create(name, source(kafka_topic, "none", limit="20000", batch="100"))
            for _ in range(3):
                await until_state(worker, name, State.RUNNING)
                os.kill(_task_pids(name)[0], signal.SIGKILL)
                await until_state(worker, name, State.FAILED)
            await until_offset(worker, name, 20_000)

    asyncio.run(scenario())
    numbers = [int(message.value() or b"") for message in read_topic(broker.bootstrap, kafka_topic)]
    assert set(numbers) == set(range(20_000))


async def until_offset(worker: Worker, name: str, offset: int) -> None:
    async with asyncio.timeout(60):
        while list(await worker.offsets(name)) != [({"counter": 0}, {"next": offset})]:  # noqa: ASYNC110
            await asyncio.sleep(0.1)  # it comes through Kafka, no event tells of it


def _task_pids(connector: str) -> list[int]:
    """Task 0 of the connector while it runs; its name must be one that no other test uses."""
    children = {child.pid: child.name() for child in psutil.Process().children(recursive=True)}
    return [pid for pid, name in children.items() if name == f"millstream task {connector}-0"]


def test_a_task_that_will_not_stop_is_killed_in_time(broker: Broker, kafka_topic: str) -> None:
    settings = worker_settings(broker.bootstrap) | {"task.shutdown.graceful.timeout.ms": "300"}
    left = f"m-{kafka_topic}"

    async def scenario() -> None:
        async with running(settings) as worker:
            await worker.create("n", source(kafka_topic, "poll hangs"))
            await until_state(worker, "n", State.RUNNING)
            await worker.set_target_state("n", TargetState.STOPPED)
            await until(lambda: not worker.status("n").tasks)
            assert worker.status("n").connector.state is State.STOPPED
            await worker.create(left, source(kafka_topic, "poll hangs"))
            await until_state(worker, left, State.RUNNING)
            assert _task_pids(left)
        await until(lambda: not _task_pids(left))

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ("task_configs raises", "ConnectException: no tasks today"),
        (
            "task_configs hangs",
            "did not answer (task_configs) in 5 s\nMain thread (most recent call last):\n",
        ),
        ("task_configs dies", "was killed by SIGKILL"),
    ],
)
def test_a_connector_that_fails_says_why(broker: Broker, kafka_topic: str, fault: str, text: str) -> None:
    settings = worker_settings(broker.bootstrap) | {"millstream.plugin.timeout.ms": "5000"}

    async def scenario() -> None:
        async with running(settings) as worker:
            await worker.create("n", source(kafka_topic, fault))
            # Another connector is not held up.
            await worker.create("good", source(kafka_topic, "none"))
            await until_state(worker, "good", State.RUNNING)
            await until(lambda: worker.status("n").connector.state is State.FAILED)
            assert text in (worker.status("n").connector.trace or "")
            assert not worker.status("n").tasks
            await worker.put_config("n", source(kafka_topic, "none"))
            await until_state(worker, "n", State.RUNNING)
            assert worker.status("n").connector.state is State.RUNNING

    asyncio.run(scenario())


def test_validate_looks_outside_in_bounded_time(broker: Broker, kafka_topic: str) -> None:
    settings = worker_settings(broker.bootstrap) | {"millstream.plugin.timeout.ms": "5000"}

    async def scenario() -> None:
        async with running(settings) as worker:
            config = {**source(kafka_topic, "check complains"), "name": "n"}
            told = await worker.validate(SOURCE, config)
            assert told.error_count == 1
            assert next(v for v in told.values if v.errors).errors == ["the server does not answer"]
            with pytest.raises(ServiceError, match="did not answer"):
                await worker.validate(SOURCE, {**source(kafka_topic, "check hangs"), "name": "n"})

    asyncio.run(scenario())


def test_records_that_cannot_be_taken_go_to_the_dead_letter_topic(
    broker: Broker, kafka_topic: str, tmp_path: Path
) -> None:
    file, dead = tmp_path / "out", f"{kafka_topic}-dead"
    name = f"s-{kafka_topic}"
    tolerant = {
        "value.converter": "org.apache.kafka.connect.json.JsonConverter",
        "value.converter.schemas.enable": "false",
        "errors.tolerance": "all",
        "errors.deadletterqueue.topic.name": dead,
        "errors.deadletterqueue.topic.replication.factor": "1",
        "errors.deadletterqueue.context.headers.enable": "true",
    }

    async def scenario() -> None:
        async with running(worker_settings(broker.bootstrap)) as worker:
            produce(broker.bootstrap, kafka_topic, [b"1", b"{broken", b"2", b"3"], [("h", b"v")])
            await worker.create(name, sink(kafka_topic, file, "errant 2", **tolerant))
            await until(lambda: file.read_text().count("\n") == 2)
            await until_state(worker, name, State.RUNNING)

    asyncio.run(scenario())
    letters = read_topic(broker.bootstrap, dead)
    assert [letter.value() for letter in letters] == [b"{broken", b"2"]
    headers = dict(letters[0].headers() or [])
    assert headers["h"] == b"v"
    context = {key.removeprefix("__connect.errors."): value for key, value in headers.items() if key != "h"}
    assert context.pop("exception.message")
    assert context.pop("exception.stacktrace")
    assert context.pop("class.name") == b"org.apache.kafka.connect.json.JsonConverter"
    assert context == {
        "topic": kafka_topic.encode(), "partition": b"0", "offset": b"1", "connector.name": name.encode(),
        "task.id": b"0", "stage": b"VALUE_CONVERTER",
        "exception.class.name": b"org.apache.kafka.connect.errors.DataException",
    }  # fmt: skip
    errant = dict(letters[1].headers() or [])
    assert errant["__connect.errors.stage"] == b"TASK_PUT"
    assert errant["__connect.errors.exception.message"] == b"2 is errant"


def test_without_tolerance_a_bad_record_fails_the_task(
    broker: Broker, kafka_topic: str, tmp_path: Path
) -> None:
    strict = {
        "value.converter": "org.apache.kafka.connect.json.JsonConverter",
        "value.converter.schemas.enable": "false",
    }
    name = f"s-{kafka_topic}"

    async def scenario() -> None:
        async with running(worker_settings(broker.bootstrap)) as worker:
            produce(broker.bootstrap, kafka_topic, [b"{broken"])
            await worker.create(name, sink(kafka_topic, tmp_path / "out", "none", **strict, **NEVER))
            await until_state(worker, name, State.FAILED)
            lines = trace_of(worker, name).splitlines()
            assert lines[0] == (
                "org.apache.kafka.connect.errors.ConnectException: Tolerance exceeded in error handler"
            )
            assert lines[1].endswith(
                f"record of topic {kafka_topic}, partition 0, offset 0, value of type bytes"
            )
            assert lines[2].startswith("Caused by: org.apache.kafka.connect.errors.DataException: ")
            assert list(await worker.offsets(name)) == []

    asyncio.run(scenario())


def test_put_that_may_be_retried_gets_the_same_records(
    broker: Broker, kafka_topic: str, tmp_path: Path
) -> None:
    file, name = tmp_path / "out", f"s-{kafka_topic}"

    async def scenario() -> None:
        async with running(worker_settings(broker.bootstrap)) as worker:
            produce(broker.bootstrap, kafka_topic, [b"1", b"2"])
            await worker.create(name, sink(kafka_topic, file, "put retries twice"))
            await until(lambda: file.read_text().count("\n") == 2)
            produce(broker.bootstrap, kafka_topic, [b"3"])
            await until(lambda: file.read_text().count("\n") == 3)

    asyncio.run(scenario())
    assert [line.split()[-1] for line in file.read_text().splitlines()] == ["1", "2", "3"]


def test_a_put_that_is_tried_again_for_ever_shows(broker: Broker, kafka_topic: str, tmp_path: Path) -> None:
    name = f"s-{kafka_topic}"

    async def scenario() -> None:
        async with running(worker_settings(broker.bootstrap)) as worker:
            produce(broker.bootstrap, kafka_topic, [b"1"])
            await worker.create(name, sink(kafka_topic, tmp_path / "out", "put always retries"))
            await until(lambda: "put is tried again since" in trace_of(worker, name))
            assert worker.status(name).tasks[0].state is State.RUNNING
            await worker.put_config(name, sink(kafka_topic, tmp_path / "out", ""))
            await until(lambda: (tmp_path / "out").read_text().count("\n") == 1)
            assert trace_of(worker, name) == ""

    asyncio.run(scenario())


def test_an_outage_of_kafka_loses_and_doubles_nothing(kafka_topic: str, tmp_path: Path) -> None:
    file, limit = tmp_path / "out", 20_000

    async def scenario(own: Broker) -> None:
        async with running(worker_settings(own.bootstrap)) as worker:
            await worker.create("n", source(kafka_topic, "none", limit=str(limit), batch="20"))
            await worker.create("lines", sink(kafka_topic, file, "none"))
            await until(lambda: file.read_text().count("\n") > 100)
            own.kill()
            pausing = asyncio.create_task(worker.set_target_state("n", TargetState.PAUSED))
            # What needs no Kafka is answered meanwhile, and nothing fails.
            for _ in range(100):
                await asyncio.sleep(0.01)
                assert worker.status("n").tasks[0].state is State.RUNNING
            assert not pausing.done()
            await asyncio.to_thread(own.start)
            await pausing
            await until_state(worker, "n", State.PAUSED)
            await worker.set_target_state("n", TargetState.STARTED)
            await until(lambda: file.read_text().count("\n") >= limit)

    with Broker(tmp_path / "broker") as own:
        asyncio.run(scenario(own))
    numbers = [int(line.split()[-1]) for line in file.read_text().splitlines()]
    assert sorted(numbers) == list(range(limit))


_WORKER_PROCESS = """
import asyncio, json, sys
from connect.runtime.logs import configure_logging
from connect.runtime.worker import Worker

async def main():
    configure_logging()
    worker = Worker(json.loads(sys.argv[1]))
    await worker.start()
    await worker.create(sys.argv[2], json.loads(sys.argv[3]))
    while not worker.active_topics(sys.argv[2]):
        await asyncio.sleep(0.02)
    print("ready", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def test_nothing_outlives_a_worker_that_is_killed(broker: Broker, kafka_topic: str) -> None:
    arguments = [json.dumps(worker_settings(broker.bootstrap)), "n", json.dumps(source(kafka_topic, "none"))]
    process = subprocess.Popen([sys.executable, "-c", _WORKER_PROCESS, *arguments], stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == b"ready\n"
        children = psutil.Process(process.pid).children(recursive=True)
        assert {"millstream forkserver", "millstream task n-0"} <= {child.name() for child in children}
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    _, alive = psutil.wait_procs(children, timeout=60)
    assert not alive


def test_the_forkserver_may_be_killed(broker: Broker, kafka_topic: str) -> None:
    async def scenario() -> None:
        async with running(worker_settings(broker.bootstrap)) as worker:
            await worker.create("n", source(kafka_topic, "none"))
            await until_state(worker, "n", State.RUNNING)
            children = psutil.Process().children(recursive=True)
            next(child for child in children if child.name() == "millstream forkserver").kill()
            await until(lambda: "ended together with the forkserver" in trace_of(worker, "n"))
            await until_state(worker, "n", State.RUNNING)

    asyncio.run(scenario())
