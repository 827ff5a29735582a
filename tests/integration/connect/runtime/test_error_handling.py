"""The table of KIP-298: each stage of a record, with and without tolerance, retries, dead letters and log."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import confluent_kafka
import pytest
from support.fault_plugins import BAD
from support.workers import read_topic, running, trace_of, until, until_state, worker_settings

from connect.herder.states import State
from connect.runtime.worker import Worker
from connect.testing.millstream import Broker

JAVA = "org.apache.kafka.connect"
SINK, SOURCE = "fault_connectors:CollectingSink", "fault_plugins:ThreeSource"
TIMESTAMP_MS = 1_700_000_000_000
Stages = Mapping[str, tuple[Mapping[str, str], str]]
# How a stage is made to fail, and the class that a report names.
CONVERTING: Stages = {
    "KEY_CONVERTER": (
        {"key.converter": "fault_plugins:RefusingConverter"}, "fault_plugins.RefusingConverter",
    ),
    "VALUE_CONVERTER": (
        {"value.converter": "fault_plugins:RefusingConverter"}, "fault_plugins.RefusingConverter",
    ),
    "HEADER_CONVERTER": (
        {"header.converter": "fault_plugins:RefusingHeaderConverter"},
        "fault_plugins.RefusingHeaderConverter",
    ),
    "TRANSFORMATION": (
        {"transforms": "t", "transforms.t.type": "fault_plugins:RefusingTransform"},
        "fault_plugins.RefusingTransform",
    ),
}  # fmt: skip
SINK_STAGES: Stages = {**CONVERTING, "TASK_PUT": ({"fault": "errant bad"}, f"{JAVA}.sink.SinkTask")}
TIMES = {
    "KEY_CONVERTER": "key.converter.times", "VALUE_CONVERTER": "value.converter.times",
    "HEADER_CONVERTER": "header.converter.times", "TRANSFORMATION": "transforms.t.times",
}  # fmt: skip
ALL = {"errors.tolerance": "all"}
NEVER = {"millstream.task.restart.max.attempts": "0"}


@pytest.fixture
def topic(broker: Broker, kafka_topic: str) -> str:
    """Three records, of which the one in the middle is bad in every respect."""
    producer = confluent_kafka.Producer({"bootstrap.servers": broker.bootstrap})
    for text in (b"a", BAD, b"c"):
        producer.produce(kafka_topic, text, text, headers=[("h", text)], timestamp=TIMESTAMP_MS)
    assert producer.flush(30) == 0
    return kafka_topic


def sink(topic: str, file: Path, *settings: Mapping[str, str]) -> dict[str, str]:
    config = {"connector.class": SINK, "topics": topic, "file": str(file), **NEVER}
    for more in settings:
        config |= more
    return config


def source(topic: str, *settings: Mapping[str, str]) -> dict[str, str]:
    config = {"connector.class": SOURCE, "topic": topic, **NEVER}
    for more in settings:
        config |= more
    return config


def named(stage: str, topic: str) -> str:
    """A connector's name: its group is shared with nobody."""
    return f"{topic}-{stage}"


def letters(topic: str) -> dict[str, str]:
    return {
        "errors.deadletterqueue.topic.name": topic,
        "errors.deadletterqueue.topic.replication.factor": "1",
        "errors.deadletterqueue.context.headers.enable": "true",
    }


def count(worker: Worker, name: str, attribute: str) -> float:
    """An attribute of task-error-metrics; `KeyError` before the task has told."""
    metric = f"kafka_connect_task_error_metrics_{attribute}".replace("-", "_")
    told = {s.labels["connector"]: s.value for s in worker.metrics() if s.name == metric}
    return told[name]


async def until_counted(worker: Worker, name: str, attribute: str, wanted: int) -> None:
    await until(lambda: count(worker, name, attribute) == wanted, f"{attribute} {wanted} of {name}")


async def until_written(file: Path, *wanted: str) -> None:
    await until(lambda: [line.split()[-1] for line in file.read_text().splitlines()] == [*wanted], str(file))


def context(letter: confluent_kafka.Message) -> dict[str, str]:
    prefix = "__connect.errors."
    return {
        name.removeprefix(prefix): (value or b"").decode()
        for name, value in letter.headers() or []
        if name.startswith(prefix)
    }


def test_a_sink_tolerates_a_bad_record_at_every_stage(broker: Broker, topic: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(worker_settings(broker.bootstrap)) as worker:
            for stage, (fault, _) in SINK_STAGES.items():
                config = sink(topic, tmp_path / stage, fault, ALL, letters(f"{topic}-{stage}"))
                await worker.create(named(stage, topic), config)
            for stage in SINK_STAGES:
                name = named(stage, topic)
                await until_written(tmp_path / stage, "a", "c")
                await until_state(worker, name, State.RUNNING)
                await until_counted(worker, name, "deadletterqueue-produce-requests", 1)
                skipped = 0 if stage == "TASK_PUT" else 1  # what a sink reports it has dealt with
                assert count(worker, name, "total-records-skipped") == skipped
                assert count(worker, name, "total-record-errors") == skipped
                assert count(worker, name, "total-record-failures") == 1
                assert count(worker, name, "last-error-timestamp") > TIMESTAMP_MS
                assert count(worker, name, "total-errors-logged") == 0
                offsets = await worker.offsets(name)
                assert [offset for _, offset in offsets] == [{"kafka_offset": 3}]

    asyncio.run(scenario())
    for stage, (_, plugin) in SINK_STAGES.items():
        [letter] = read_topic(broker.bootstrap, f"{topic}-{stage}")
        assert (letter.key(), letter.value(), letter.timestamp()[1]) == (BAD, BAD, TIMESTAMP_MS)
        assert (letter.headers() or [])[0] == ("h", BAD)
        told = context(letter)
        assert told.pop("exception.stacktrace").startswith(f"{JAVA}.errors.")
        error, why = "DataException", "it is bad"
        if stage == "TASK_PUT":
            error, why = "ConnectException", "bad is errant"
        assert told == {
            "topic": topic, "partition": "0", "offset": "1", "task.id": "0", "stage": stage,
            "connector.name": named(stage, topic), "class.name": plugin,
            "exception.class.name": f"{JAVA}.errors.{error}", "exception.message": why,
        }  # fmt: skip


def test_without_tolerance_a_sink_fails_at_every_stage_and_its_letter_is_sent(
    broker: Broker, topic: str, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with running(worker_settings(broker.bootstrap)) as worker:
            for stage, (fault, _) in SINK_STAGES.items():
                config = sink(topic, tmp_path / stage, fault, letters(f"{topic}-{stage}"))
                await worker.create(named(stage, topic), config)
            for stage, (_, plugin) in SINK_STAGES.items():
                name = named(stage, topic)
                await until_state(worker, name, State.FAILED)
                lines = trace_of(worker, name).splitlines()
                assert lines[0] == f"{JAVA}.errors.ConnectException: Tolerance exceeded in error handler"
                kind = "list" if stage == "HEADER_CONVERTER" else "bytes"
                assert lines[1] == (
                    f"in {stage} with {plugin}, record of topic {topic}, partition 0, offset 1, "
                    f"value of type {kind}"
                )
                assert lines[2].startswith(f"Caused by: {JAVA}.errors.")
                assert list(await worker.offsets(name)) == []

    asyncio.run(scenario())
    for stage in SINK_STAGES:
        assert [one.value() for one in read_topic(broker.bootstrap, f"{topic}-{stage}")] == [BAD]


@pytest.mark.parametrize("kind", ["sink", "source"])
def test_what_may_be_retried_is_tried_again_at_every_stage(
    broker: Broker, topic: str, tmp_path: Path, kind: str
) -> None:
    retry = {"errors.retry.timeout": "60000", "errors.retry.delay.max.ms": "10"}

    async def scenario() -> None:
        async with running(worker_settings(broker.bootstrap)) as worker:
            for stage, (fault, _) in CONVERTING.items():
                settings = {**fault, **retry, TIMES[stage]: "3"}  # the first of them without error handling
                name = named(stage, topic)
                if kind == "sink":
                    await worker.create(name, sink(topic, tmp_path / stage, settings))
                else:
                    await worker.create(name, source(f"{topic}-{stage}", settings))
            for stage in CONVERTING:
                name = named(stage, topic)
                await until_counted(worker, name, "total-retries", 2)
                assert count(worker, name, "total-record-failures") == 2
                assert count(worker, name, "total-record-errors") == 0
                if kind == "sink":
                    await until_written(tmp_path / stage, "a", "bad", "c")

    asyncio.run(scenario())
    if kind == "source":
        for stage in CONVERTING:
            written = [one.value() for one in read_topic(broker.bootstrap, f"{topic}-{stage}")]
            assert written == [b"a", BAD, b"c"]


def test_retries_end_and_then_the_record_is_skipped(broker: Broker, topic: str, tmp_path: Path) -> None:
    retry = {"errors.retry.timeout": "20", "errors.retry.delay.max.ms": "5"}

    name = f"s-{topic}"

    async def scenario() -> None:
        async with running(worker_settings(broker.bootstrap)) as worker:
            fault = {"value.converter": "fault_plugins:RefusingConverter", "value.converter.times": "1000000"}
            await worker.create(name, sink(topic, tmp_path / "out", fault, retry, ALL))
            await until_written(tmp_path / "out", "a", "c")
            await until_counted(worker, name, "total-records-skipped", 1)
            assert count(worker, name, "total-record-failures") == count(worker, name, "total-retries") + 1

    asyncio.run(scenario())


def test_a_stop_ends_the_retries_and_the_record_comes_again(
    broker: Broker, topic: str, tmp_path: Path
) -> None:
    """Waiting for the next try, longer and longer, is no hang."""
    retry = {
        "errors.retry.timeout": "-1", "errors.retry.delay.max.ms": "60000",
        "millstream.task.hang.timeout.ms": "2000",
    }  # fmt: skip
    fault = {"value.converter": "fault_plugins:RefusingConverter"}

    name = f"s-{topic}"

    async def scenario() -> None:
        async with running(worker_settings(broker.bootstrap)) as worker:
            endless = {"value.converter.times": "1000000"}
            await worker.create(name, sink(topic, tmp_path / "out", fault, endless, retry, ALL))
            await until(lambda: count(worker, name, "total-record-failures") >= 5)
            await worker.put_config(
                name, sink(topic, tmp_path / "out", fault, {"value.converter.times": "0"})
            )
            await until_written(tmp_path / "out", "a", "bad", "c")

    asyncio.run(scenario())


def test_a_source_tolerates_a_bad_record_at_every_stage_and_logs_it(
    broker: Broker, kafka_topic: str, capfd: pytest.CaptureFixture[str]
) -> None:
    log = {"errors.log.enable": "true", "errors.log.include.messages": "true"}

    async def scenario() -> None:
        async with running(worker_settings(broker.bootstrap)) as worker:
            for stage, (fault, _) in CONVERTING.items():
                await worker.create(stage, source(f"{kafka_topic}-{stage}", fault, ALL, log))
            for stage in CONVERTING:
                await until_counted(worker, stage, "total-errors-logged", 1)
                assert count(worker, stage, "total-records-skipped") == 1
                await until_state(worker, stage, State.RUNNING)

    asyncio.run(scenario())
    told = capfd.readouterr().err
    for stage, (_, plugin) in CONVERTING.items():
        written = [one.value() for one in read_topic(broker.bootstrap, f"{kafka_topic}-{stage}")]
        assert written == [b"a", b"c"]
        executing = f"Error encountered in task {stage}-0. Executing stage '{stage}' with class '{plugin}'"
        assert told.count(executing) == 1
    assert told.count(", where source record is = ") == len(CONVERTING)


def test_without_tolerance_a_source_fails_at_every_stage(broker: Broker, kafka_topic: str) -> None:
    async def scenario() -> None:
        async with running(worker_settings(broker.bootstrap)) as worker:
            for stage, (fault, _) in CONVERTING.items():
                await worker.create(stage, source(f"{kafka_topic}-{stage}", fault))
            for stage, (_, plugin) in CONVERTING.items():
                await until_state(worker, stage, State.FAILED)
                kind = "list" if stage == "HEADER_CONVERTER" else "bytes"
                assert trace_of(worker, stage).splitlines()[1] == (
                    f"in {stage} with {plugin}, record of {{}} before {{'at': 1}} for topic "
                    f"{kafka_topic}-{stage}, value of type {kind}"
                )

    asyncio.run(scenario())


def test_a_record_that_is_too_large_to_send(broker: Broker, kafka_topic: str) -> None:
    large = {"large.bytes": "5000", "producer.override.max.request.size": "2000"}

    async def scenario() -> None:
        async with running(worker_settings(broker.bootstrap)) as worker:
            await worker.create("strict", source(f"{kafka_topic}-strict", large))
            await worker.create("tolerant", source(kafka_topic, large, ALL))
            await until_state(worker, "strict", State.FAILED)
            assert "in KAFKA_PRODUCE with " in trace_of(worker, "strict")
            await until_counted(worker, "tolerant", "total-record-failures", 1)
            await until_state(worker, "tolerant", State.RUNNING)

    asyncio.run(scenario())
    assert [one.value() for one in read_topic(broker.bootstrap, kafka_topic)] == [b"a", b"c"]


def test_a_record_that_a_sink_reports_late_has_its_original_bytes(
    broker: Broker, topic: str, tmp_path: Path
) -> None:
    """The batch is gone by then: it is read again."""
    json = {"value.converter": f"{JAVA}.json.JsonConverter", "value.converter.schemas.enable": "false"}
    original = b'{ "x" :1 }'
    producer = confluent_kafka.Producer({"bootstrap.servers": broker.bootstrap})
    producer.produce(f"{topic}-json", original, b"k", headers=[("h", b"\xff"), ("h", None)])
    assert producer.flush(30) == 0

    name = f"s-{topic}"

    async def scenario() -> None:
        async with running(worker_settings(broker.bootstrap)) as worker:
            fault = {"fault": "errant late {'x': 1}"}
            await worker.create(
                name, sink(f"{topic}-json", tmp_path / "out", fault, json, ALL, letters(f"{topic}-dead"))
            )
            await until_counted(worker, name, "deadletterqueue-produce-requests", 1)

    asyncio.run(scenario())
    [letter] = read_topic(broker.bootstrap, f"{topic}-dead")
    assert (letter.key(), letter.value()) == (b"k", original)
    assert (letter.headers() or [])[:2] == [("h", b"\xff"), ("h", None)]
    assert context(letter)["offset"] == "0"


def test_a_dead_letter_topic_that_cannot_be_made_says_so(broker: Broker, topic: str, tmp_path: Path) -> None:
    more = {"errors.deadletterqueue.topic.replication.factor": "5"}
    plain = {"errors.deadletterqueue.topic.name": f"{topic}-plain"}

    name = f"s-{topic}"

    async def scenario() -> None:
        async with running(worker_settings(broker.bootstrap)) as worker:
            await worker.create(name, sink(topic, tmp_path / "out", letters(f"{topic}-dead"), more))
            await until_state(worker, name, State.FAILED)
            lines = trace_of(worker, name).splitlines()
            assert lines[0].endswith(f"Could not initialize dead letter queue with topic={topic}-dead")
            assert "replication" in lines[1].lower()
            # Connect's three replicas, or as many as there are brokers.
            await worker.create(f"{topic}-plain", sink(topic, tmp_path / "plain", plain))
            await until_written(tmp_path / "plain", "a", "bad", "c")

    asyncio.run(scenario())
    assert read_topic(broker.bootstrap, f"{topic}-plain") == []
