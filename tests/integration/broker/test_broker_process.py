"""The broker as a process: its start, its stop, and what is there after a kill."""

import os
import resource
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition
from kio.schema.errors import ErrorCode
from support.batches import make_batch
from support.raw_kafka import RawKafka, create_topic, fetch, produce

from connect.testing.millstream import Broker

DEADLINE_S = 60


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "broker.app", *arguments],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )


def refused(ran: subprocess.CompletedProcess[str]) -> str:
    """The one sentence with which it ended."""
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith("millstream broker: ")
    assert ran.stderr.count("\n") == 1
    return ran.stderr


def test_a_data_directory_in_use_is_refused(tmp_path: Path) -> None:
    with Broker(tmp_path / "d") as broker:
        sentence = refused(run("--data-dir", str(tmp_path / "d"), "--kafka-port", "0"))
        assert f"process {broker.pid}" in sentence


def test_a_port_in_use_is_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert str(port) in refused(run("--data-dir", str(tmp_path), "--kafka-port", str(port)))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("num.partitions=many", "num.partitions=many"),
        ("log.retention.ms=-7", "log.retention.ms=-7"),
        ("listeners=9092", "NAME://host:port"),
        ("listeners=SSL://:9093", "PLAINTEXT"),
        ("log.dirs=/a,/b", "one directory"),
    ],
)
def test_a_bad_setting_is_refused(tmp_path: Path, line: str, words: str) -> None:
    config = tmp_path / "broker.properties"
    config.write_text(line + "\n")
    assert words in refused(run("--config", str(config)))


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert "none.properties" in refused(run("--config", str(tmp_path / "none.properties")))


def test_unknown_settings_are_warned_about_only(tmp_path: Path) -> None:
    with Broker(tmp_path / "d", {"log.segment.byte": "1", "some.other": "2"}) as broker:
        assert "did you mean log.segment.bytes?" in broker.child.tail(50)


def test_sigterm_ends_it_with_exit_code_0_and_all_is_there_again(tmp_path: Path) -> None:
    with Broker(tmp_path / "d") as broker:
        with RawKafka(broker.bootstrap) as client:
            create_topic(client, "t", 3)
            for number in range(30):
                produce(client, "t", bytes(make_batch(5)), partition=number % 3)
        assert broker.stop() == 0
        assert (tmp_path / "d" / ".kafka_cleanshutdown").exists()
        broker.start()
        with RawKafka(broker.bootstrap) as client:
            (topic,) = fetch(client, "t", {0: 0, 1: 0, 2: 0}).responses
            assert [partition.high_watermark for partition in topic.partitions] == [50, 50, 50]


def test_a_stop_does_not_wait_for_consumers_that_wait_for_records(tmp_path: Path) -> None:
    with Broker(tmp_path / "d") as broker, RawKafka(broker.bootstrap) as client:
        create_topic(client, "t", 2)
        with RawKafka(broker.bootstrap) as waiting:
            body = fetch_body("t", partition=1)
            waiting.send(1, 4, body)
            assert produce(client, "t", bytes(make_batch()), acks=1).error_code == ErrorCode.none
            assert broker.stop() == 0
            waiting.receive()  # it is told that there is nothing
            assert waiting.is_closed()


def fetch_body(topic: str, partition: int) -> bytes:
    """A fetch, version 4, that waits for a minute."""
    head = struct.pack(">iiiib", -1, 60_000, 1, 1000, 0)
    return (
        head
        + struct.pack(">ih", 1, len(topic))
        + topic.encode()
        + struct.pack(">iiqi", 1, partition, 0, 1000)
    )


def test_what_was_acknowledged_survives_kills(tmp_path: Path) -> None:
    """Every acknowledged record is there once, at its offset, with its bytes, after each of several kills."""
    with Broker(tmp_path / "d", {"log.segment.bytes": "1048576"}) as broker:
        with RawKafka(broker.bootstrap) as client:
            create_topic(client, "t", 2)
        acked: dict[tuple[int, int], bytes] = {}
        errors: list[KafkaError] = []

        def delivered(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                errors.append(error)
                return
            where = (message.partition(), message.offset())
            assert where not in acked, "an offset was given twice"
            acked[where] = message.value()

        producer = Producer(
            {
                "bootstrap.servers": broker.bootstrap,
                "enable.idempotence": True,
                "linger.ms": 1,
                "batch.size": 20_000,
                "message.timeout.ms": 60_000,
                "reconnect.backoff.max.ms": 200,
            }
        )
        for round_number in range(4):
            for number in range(3000):
                producer.produce("t", b"%d-%d" % (round_number, number) + bytes(500), callback=delivered)
                if number == 2000:
                    producer.poll(0.05)
                    broker.kill()
                    broker.start()
                producer.poll(0)
        assert producer.flush(60) == 0
        assert errors == []
        assert len(acked) == 12_000
        assert read_everything(broker, 12_000) == acked
        assert broker.stop() == 0
        broker.start()
        assert read_everything(broker, 12_000) == acked


def read_everything(broker: Broker, count: int) -> dict[tuple[int, int], bytes]:
    consumer = Consumer(
        {"bootstrap.servers": broker.bootstrap, "group.id": "all", "enable.partition.eof": True}
    )
    consumer.assign([TopicPartition("t", partition, 0) for partition in (0, 1)])
    found: dict[tuple[int, int], bytes] = {}
    ends = 0
    while ends < 2:
        message = consumer.poll(DEADLINE_S)
        assert message is not None, f"{len(found)} of {count}"
        if message.error() is not None:
            assert message.error().code() == KafkaError._PARTITION_EOF
            ends += 1
            continue
        where = (message.partition(), message.offset())
        assert where not in found
        found[where] = message.value()
    consumer.close()
    return found


def test_a_kill_at_any_moment_of_a_topics_life_heals(tmp_path: Path) -> None:
    with Broker(tmp_path / "d") as broker:
        for number in range(5):
            with RawKafka(broker.bootstrap) as client:
                create_topic(client, f"t{number}", 3)
                if number % 2:
                    produce(client, f"t{number}", bytes(make_batch()), partition=1)
            os.kill(broker.pid, signal.SIGKILL)
            broker.kill()
            broker.start()
        with RawKafka(broker.bootstrap) as client:
            for number in range(5):
                (topic,) = fetch(client, f"t{number}", {0: 0, 1: 0, 2: 0}).responses
                assert [p.high_watermark for p in topic.partitions] == [0, number % 2, 0]
                assert produce(client, f"t{number}", bytes(make_batch())).base_offset == 0


def test_a_full_disk_is_answered_and_survived(tmp_path: Path) -> None:
    """A file size limit stands in for the full disk; the signal that comes with it is ignored by Python."""
    with Broker(tmp_path / "d") as broker, RawKafka(broker.bootstrap) as client:
        create_topic(client, "t")
        assert produce(client, "t", bytes(make_batch())).base_offset == 0
        before = resource.prlimit(broker.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(broker.pid, resource.RLIMIT_FSIZE, (5000, before[1]))
        full = produce(client, "t", bytes(make_batch([bytes(20_000)])))
        assert (full.error_code, full.base_offset) == (ErrorCode.kafka_storage_error, -1)
        resource.prlimit(broker.pid, resource.RLIMIT_FSIZE, before)
        assert produce(client, "t", bytes(make_batch([bytes(20_000)]))).base_offset == 1
        broker.kill()
        broker.start()
        with RawKafka(broker.bootstrap) as again:
            assert fetch(again, "t", {0: 0}).responses[0].partitions[0].high_watermark == 2
