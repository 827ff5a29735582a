"""`millstream log` on the data directory of a real broker: damage, what clients see of it, the way back."""

from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from kio.schema.errors import ErrorCode
from support.batches import make_batch
from support.cli import Ran, millstream
from support.raw_kafka import RawKafka, create_topic, fetch, produce

from broker.wire.batch import BatchHeader
from connect.testing.millstream import Broker

BATCHES = 10


def log(command: str, *arguments: str | Path) -> Ran:
    return millstream("log", command, *map(str, arguments))


class Damaged:
    """A stopped broker with partitions `good-0` and `bad-0`; the fifth batch of the latter is damaged."""

    def __init__(self, data_dir: Path, *, clean: bool = False, at: int = 70) -> None:
        self.data_dir = data_dir
        self.broker = Broker(data_dir)
        with RawKafka(self.broker.bootstrap) as client:
            for topic in ("good", "bad"):
                create_topic(client, topic)
                for number in range(BATCHES):
                    batch = bytes(make_batch([b"%d-%d" % (number, n) for n in range(3)]))
                    assert produce(client, topic, batch).error_code is ErrorCode.none
        if clean:
            assert self.broker.stop() == 0
        else:
            self.broker.kill()
        self.segment = data_dir / "bad-0" / f"{0:020d}.log"
        content = bytearray(self.segment.read_bytes())
        self.position = 4 * BatchHeader(content).batch_bytes
        content[self.position + at] ^= 1
        self.segment.write_bytes(content)

    def fetch(self, topic: str, offset: int) -> Any:
        with RawKafka(self.broker.bootstrap) as client:
            (answered,) = fetch(client, topic, {0: offset}).responses
            return answered.partitions[0]


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Damaged:
    return Damaged(tmp_path_factory.mktemp("damaged"))


def test_verify_says_where_and_what_is_lost(damaged: Damaged) -> None:
    ran = log("verify", "--data-dir", damaged.data_dir)
    assert ran.code == 1
    assert "good-0: intact, offsets 0 to 29, 1 segments, 10 batches, 30 records" in ran.out
    assert "bad-0: DAMAGED, offsets 0 to 29, 1 segments, 9 batches, 27 records" in ran.out
    assert f"{damaged.segment}, position {damaged.position}, offset 12: stored crc" in ran.out
    assert "offsets 12 to 14 are lost" in ran.out
    assert "1 of 2 partitions are damaged: bad-0" in ran.err
    assert "millstream log repair" in ran.err
    assert log("verify", "--data-dir", damaged.data_dir, "good").code == 0

    (good, bad) = log("verify", "--data-dir", damaged.data_dir, "good-0", "bad", "-o", "json").json
    assert (good["intact"], bad["intact"]) == (True, False)
    (stretch,) = bad["stretches"]
    assert (stretch["position"], stretch["first_offset"], stretch["next_offset"]) == (
        damaged.position,
        12,
        15,
    )


def test_what_is_not_there_is_one_sentence(damaged: Damaged, tmp_path: Path) -> None:
    for arguments, words in [
        (("verify", "--data-dir", damaged.data_dir, "nowhere"), "topic or partition nowhere"),
        (("verify", "--data-dir", tmp_path / "none"), "is no directory"),
        (("repair", "--data-dir", tmp_path / "none"), "is no directory"),
        (("dump", tmp_path / "none.log"), "neither a file nor a directory"),
        (("dump", damaged.data_dir / "catalog.sqlite"), "none of the files of a log"),
    ]:
        ran = log(*arguments)
        assert ran.code == 2, arguments
        assert words in ran.err
        assert ran.err.count("\n") == 1
    assert not (tmp_path / "none").exists()


def test_a_damaged_partition_is_offline_until_it_is_repaired(tmp_path: Path) -> None:
    damaged = Damaged(tmp_path / "data")
    broker = damaged.broker
    broker.start()
    assert damaged.fetch("good", 0).error_code is ErrorCode.none
    assert damaged.fetch("bad", 0).error_code is ErrorCode.kafka_storage_error
    assert "millstream log" in broker.child.tail(50)
    with RawKafka(broker.bootstrap) as client:
        assert produce(client, "bad", bytes(make_batch(1))).error_code is ErrorCode.kafka_storage_error

    running = log("repair", "--data-dir", damaged.data_dir, "--yes")
    assert running.code == 1
    assert f"in use by process {broker.pid}" in running.err
    assert broker.stop() == 0

    before = damaged.segment.read_bytes()
    asked = log("repair", "--data-dir", damaged.data_dir)
    assert asked.code == 0
    assert "offsets 12 to 14 are lost" in asked.out
    assert "Nothing was changed. Add --yes to do it." in asked.out
    assert damaged.segment.read_bytes() == before

    done = log("repair", "--data-dir", damaged.data_dir, "--yes")
    assert (done.code, done.err) == (0, "")
    (original,) = (damaged.data_dir / "repair-originals").glob(f"*/bad-0/{damaged.segment.name}")
    assert original.read_bytes() == before
    assert log("verify", "--data-dir", damaged.data_dir).code == 0
    assert log("repair", "--data-dir", damaged.data_dir, "--yes").out == "Nothing is damaged.\n"

    broker.start()
    with broker:
        kept = [n for n in range(3 * BATCHES) if not 12 <= n < 15]
        assert consume(broker.bootstrap, "bad", len(kept)) == [(n, b"%d-%d" % divmod(n, 3)) for n in kept]
        producer = Producer({"bootstrap.servers": broker.bootstrap})
        producer.produce("bad", b"after the repair")
        assert producer.flush(10) == 0
        assert damaged.fetch("bad", 0).high_watermark == 3 * BATCHES + 1


def consume(bootstrap: str, topic: str, count: int) -> list[tuple[int, bytes]]:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "tools", "check.crcs": "true"})
    consumer.assign([TopicPartition(topic, 0, 0)])
    messages = consumer.consume(count, timeout=30)
    consumer.close()
    return [(message.offset() or 0, message.value() or b"") for message in messages]


def test_dump_prints_what_kafkas_tool_prints(damaged: Damaged) -> None:
    """Lines of kafka-dump-log 4.3.1 for the same file; only what is damaged it prints in another way."""
    ran = log("dump", "--print-data-log", damaged.segment)
    assert ran.code == 0
    lines = ran.out.splitlines()
    size = damaged.position // 4
    assert lines[:4] == [
        f"Dumping {damaged.segment}",
        "Log starting offset: 0",
        "baseOffset: 0 lastOffset: 2 count: 3 baseSequence: -1 lastSequence: -1 producerId: -1 "
        "producerEpoch: -1 partitionLeaderEpoch: 0 isTransactional: false isControl: false "
        "deleteHorizonMs: OptionalLong.empty position: 0 CreateTime: 1002 "
        f"size: {size} magic: 2 compresscodec: none crc: {BatchHeader(damaged.segment.read_bytes()).crc} "
        "isvalid: true",
        "| offset: 0 CreateTime: 1000 keySize: -1 valueSize: 3 sequence: -1 headerKeys: [] payload: 0-0",
    ]
    (broken,) = [line for line in lines if "isvalid: false" in line]
    assert f"position: {damaged.position} " in broken
    assert len([line for line in lines if line.startswith("|")]) == 3 * (BATCHES - 1)
    assert log("dump", damaged.segment.parent).out.splitlines() == [
        line for line in lines if not line.startswith("|")
    ]


def test_the_directory_of_millstream_up_is_understood(tmp_path: Path) -> None:
    """Its broker has a directory inside."""
    Damaged(tmp_path / "broker")
    ran = log("verify", "--data-dir", tmp_path, "bad")
    assert ran.code == 1
    assert f"{tmp_path / 'broker' / 'bad-0'}" in ran.out


def test_damage_that_is_met_by_a_reader(tmp_path: Path) -> None:
    """After a clean shutdown nothing is read at the start: the consumer that comes there finds it."""
    damaged = Damaged(tmp_path / "data", clean=True, at=16)  # the magic of a header
    broker = damaged.broker
    broker.start()
    with broker:
        for offset in (0, 12):
            assert damaged.fetch("bad", offset).error_code is ErrorCode.kafka_storage_error
        assert "millstream log verify" in broker.child.tail(50)
        assert broker.stop() == 0
        assert log("repair", "--data-dir", damaged.data_dir, "--yes", "--truncate").code == 0
        broker.start()
        assert consume(broker.bootstrap, "bad", 12) == [(n, b"%d-%d" % divmod(n, 3)) for n in range(12)]
        assert damaged.fetch("bad", 0).high_watermark == 12


def test_a_lost_end_is_gone_over_by_consumers(tmp_path: Path) -> None:
    """The last batches were on disk when the broker stopped, and are not there: their offsets stay unused."""
    damaged = Damaged(tmp_path / "data", clean=True)
    broker, lost_from = damaged.broker, 12
    with damaged.segment.open("r+b") as file:
        file.truncate(damaged.position)
    ran = log("verify", "--data-dir", damaged.data_dir, "bad")
    assert "the log ends at offset 12 and has had all before 30" in ran.out
    assert log("repair", "--data-dir", damaged.data_dir, "--yes").code == 0
    broker.start()
    with broker:
        assert [offset for offset, _ in consume(broker.bootstrap, "bad", lost_from)] == list(range(lost_from))
        settings = {"bootstrap.servers": broker.bootstrap, "group.id": "end", "enable.partition.eof": "true"}
        consumer = Consumer(settings)
        consumer.assign([TopicPartition("bad", 0, lost_from)])
        message = consumer.poll(30)
        assert message is not None
        assert (message.error() and message.error().code()) == KafkaError._PARTITION_EOF
        assert message.offset() == 3 * BATCHES
        consumer.close()
        with RawKafka(broker.bootstrap) as client:
            assert produce(client, "bad", bytes(make_batch(1))).base_offset == 3 * BATCHES
