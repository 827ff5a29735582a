"""The broker is killed exactly where it hurts: in a roll, a checkpoint, a snapshot of producers, between the
decision about a transaction and its markers; and its helper files are lost before it starts again.

Whatever was acknowledged is there once, an open transaction is open, and a decision is carried out.
"""

import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from kio.schema.errors import ErrorCode
from support.batches import make_batch
from support.eventually import eventually
from support.faulty_broker import BrokerWithFaults
from support.kafka_wire import Wire
from support.raw_kafka import create_topic, fetch, produce
from support.raw_transactions import TransactionalProducer, TransactionalProducerV2
from support.read_committed import read_committed_over as seen

from connect.testing.millstream import Broker

DEADLINE_S = 60
NONE = ErrorCode.none


def partition_of(wire: Wire, topic: str, partition: int = 0, *, committed: bool = False) -> Any:
    (answered,) = fetch(wire, topic, {partition: 0}, committed=committed).responses
    (found,) = answered.partitions
    assert found.error_code is NONE
    return found


@pytest.fixture
def faulty(tmp_path: Path) -> Iterator[BrokerWithFaults]:
    settings = {"log.flush.offset.checkpoint.interval.ms": "100", "log.segment.bytes": str(1024 * 1024)}
    with BrokerWithFaults(tmp_path / "d", settings) as broker:
        yield broker


class History:
    """An idempotent producer that never gives up, and a transaction that stays open all the time."""

    def __init__(self, wire: Wire) -> None:
        create_topic(wire, "t")
        self.values: list[bytes] = []
        self.unsure: bytes | None = None
        self.open_one = TransactionalProducer(wire, "open", "t")
        self.open_one.write()
        self.acked: dict[int, bytes] = {}

    def write_until_killed(self, broker: Broker) -> None:
        """What is not answered is sent again, by the next call."""
        with suppress(OSError), Wire(broker.bootstrap) as wire:
            while broker.child.process.poll() is None:
                self.write(wire)
        broker.child.process.wait(DEADLINE_S)

    def write(self, wire: Wire) -> None:
        if self.unsure is None:
            self.unsure = b"%d-" % len(self.values) + bytes(100_000)
        batch = make_batch([self.unsure], producer_id=900, producer_epoch=0, sequence=len(self.values))
        answer = produce(wire, "t", bytes(batch))
        assert answer.error_code is NONE
        assert answer.base_offset not in self.acked, "an offset was given twice"
        self.acked[answer.base_offset] = self.unsure
        self.values.append(self.unsure)
        self.unsure = None

    def check(self, broker: Broker) -> None:
        with Wire(broker.bootstrap) as wire:
            self.write(wire)  # what the kill left open: it is in the log once, whether it was there or not
            for offset in list(self.acked)[-15:]:
                (answered,) = fetch(wire, "t", {0: offset}, partition_max_bytes=1).responses
                (partition,) = answered.partitions
                assert (partition.error_code, int.from_bytes(partition.records[:8], "big")) == (NONE, offset)
                assert self.acked[offset] in partition.records
                assert (partition.high_watermark, partition.last_stable_offset) == (max(self.acked) + 1, 0)
        assert sorted(self.acked) == list(range(1, len(self.values) + 1))


POINTS = [
    ("open", "/t-0/"),  # a roll
    ("fsync", "/t-0"),  # of the new segment's name
    ("fdatasync", ".log"),
    ("replace", ".snapshot.tmp"),
    ("fdatasync", "recovery-points.tmp"),
    ("replace", "recovery-points.tmp"),
]


def test_a_kill_in_a_roll_a_checkpoint_or_a_snapshot(faulty: BrokerWithFaults) -> None:
    with Wire(faulty.bootstrap) as wire:
        history = History(wire)
    for operation, path in POINTS:
        for after in (False, True):
            faulty.faults.set(kill_on=[operation, path], kill_after=after)
            history.write_until_killed(faulty)
            faulty.faults.set()
            faulty.start()
            history.check(faulty)
    with Wire(faulty.bootstrap) as wire:
        history.open_one.wire = wire
        history.open_one.end(commit=True)
        eventually(
            lambda: partition_of(wire, "t").last_stable_offset > len(history.acked),
            "the transaction does not end",
        )
        assert 0 in seen(wire, "t")


@pytest.mark.parametrize("version", [TransactionalProducer, TransactionalProducerV2], ids=["v1", "v2"])
@pytest.mark.parametrize("commit", [True, False], ids=["commit", "abort"])
def test_a_kill_between_the_decision_and_its_markers(
    faulty: BrokerWithFaults, version: type[TransactionalProducer], *, commit: bool
) -> None:
    """Before the first marker, before and after the second one: it is carried out, whatever was answered."""
    with Wire(faulty.bootstrap) as wire:
        create_topic(wire, "t", 2)
    offsets: list[list[int]] = [[], []]
    for path, after in (("/t-0/", False), ("/t-1/", False), ("/t-1/", True)):
        with Wire(faulty.bootstrap) as wire:
            producer = version(wire, "id", "t")
            for partition in (0, 1):
                offset = producer.write(partition=partition)
                if commit:
                    offsets[partition].append(offset)
            faulty.faults.set(kill_on=["pwrite", path], kill_after=after)
            with suppress(OSError):  # v2 is answered before the markers are written
                while faulty.child.process.poll() is None:
                    producer.ask_to_end(commit=commit)
        faulty.child.process.wait(DEADLINE_S)
        faulty.faults.set()
        faulty.start()
        with Wire(faulty.bootstrap) as wire:
            eventually(lambda: [seen(wire, "t", p) for p in (0, 1)] == offsets, "it is not carried out")
            for partition in (0, 1):
                found = partition_of(wire, "t", partition)
                assert found.last_stable_offset == found.high_watermark


SUFFIXES = (".index", ".timeindex", ".txnindex", ".snapshot")


def delete(path: Path) -> None:
    path.unlink()


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2 + 1])


def overwrite(path: Path) -> None:
    path.write_bytes(b"\xde\xad" * (path.stat().st_size // 2 + 9))


def test_helper_files_are_lost_between_a_kill_and_the_start(tmp_path: Path) -> None:
    """With committed, aborted and open transactions in the log."""
    settings = {"log.segment.bytes": str(1024 * 1024), "log.index.interval.bytes": "1"}
    with BrokerWithFaults(tmp_path / "d", settings) as broker:
        with Wire(broker.bootstrap) as wire:
            create_topic(wire, "t")
            open_one = TransactionalProducer(wire, "open", "t")
            committed: list[int] = []
            for number in range(12):
                producer = TransactionalProducer(wire, f"id-{number % 2}", "t")
                offset = producer.write([bytes(300_000)])
                producer.end(commit=number % 3 > 0)
                eventually(
                    lambda end=offset + 2: partition_of(wire, "t", committed=True).last_stable_offset == end,  # type: ignore[misc]
                    "the transaction does not end",
                )
                if number % 3:
                    committed.append(offset)
            first_open = open_one.write()
            before = partition_of(wire, "t", committed=True)
        broker.kill()
        directory, as_killed = tmp_path / "d" / "t-0", tmp_path / "as-killed"
        directory.rename(as_killed)
        for how in (delete, truncate, overwrite):
            for suffixes in (SUFFIXES[:2], SUFFIXES[2:3], SUFFIXES[3:]) if how is overwrite else (SUFFIXES,):
                shutil.copytree(as_killed, directory)
                found = [path for suffix in suffixes for path in directory.glob(f"*{suffix}")]
                assert {path.suffix for path in found} == set(suffixes)
                for path in found:
                    how(path)
                broker.start()
                with Wire(broker.bootstrap) as wire:
                    assert seen(wire, "t") == committed
                    after = partition_of(wire, "t", committed=True)
                    assert (after.last_stable_offset, after.records) == (first_open, before.records)
                    assert after.aborted_transactions == before.aborted_transactions
                broker.kill()
                shutil.rmtree(directory)
        as_killed.rename(directory)
        broker.start()
        with Wire(broker.bootstrap) as wire:
            open_one.wire = wire
            second = open_one.write()  # the coordinator may have repeated a marker before it
            open_one.end(commit=True)
            eventually(lambda: seen(wire, "t") == [*committed, first_open, second], "it is not committed")
