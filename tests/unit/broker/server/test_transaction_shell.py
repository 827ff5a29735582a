"""The shell of the transaction coordinator with a real catalog and real logs, some of which refuse writes."""

import asyncio
import sqlite3
import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.batches import make_batch

from broker.catalog import Catalog, Topic
from broker.config import BrokerSettings
from broker.coordinator.messages import CommitResult
from broker.coordinator.transaction_messages import (
    AddOffsets,
    AddPartitions,
    DescribeTransaction,
    EndTxn,
    InitProducerId,
)
from broker.coordinator.transaction_records import decode_transaction_record
from broker.log.config import LogConfig
from broker.log.manager import LogManager
from broker.log.partition_log import PartitionLog
from broker.log.sync import GroupCommit
from broker.server import transaction_markers
from broker.server.transactions import TransactionShell
from broker.wire.errors import ErrorCode, KafkaError

FULL_DISK = """
CREATE TRIGGER full_disk BEFORE UPDATE ON transactions BEGIN
SELECT RAISE(ABORT, 'database or disk is full'); END
"""
DEADLINE_S = 60


class Groups:
    """A group coordinator that notes what it is asked; `errors` are its next answers."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.errors: list[ErrorCode] = []

    async def ask(self, request: Any) -> CommitResult:
        self.asked.append(request)
        return CommitResult(self.errors.pop(0) if self.errors else ErrorCode.none)


@dataclass(slots=True)
class Parts:
    """A broker's parts around the shell. Topic `t` has two partitions."""

    path: Path
    catalog: Catalog
    logs: LogManager
    groups: Groups
    shell: TransactionShell

    def log(self, partition: int) -> PartitionLog:
        log = self.logs.get("t", partition)
        assert log is not None
        return log

    async def begin(self, *partitions: int) -> None:
        """A transaction of producer 7 with a batch in each of the partitions."""
        await self.shell.ask(InitProducerId("id", 60_000, 7))
        added = await self.shell.ask(AddPartitions("id", 7, 0, frozenset(("t", p) for p in partitions)))
        assert added.error_code is ErrorCode.none
        for partition in partitions:
            records = make_batch(
                producer_id=7,
                producer_epoch=0,
                sequence=0,
                transactional=True,
                timestamps=[int(time.time() * 1000)],
            )
            self.log(partition).append(memoryview(records), int(time.time() * 1000))

    async def end(self, *, commit: bool = True) -> Any:
        return await self.shell.ask(EndTxn("id", 7, 0, commit, is_v2=True))

    async def state(self) -> str:
        found = await self.shell.ask(DescribeTransaction("id"))
        return str(found.state)

    async def stored_state(self, expected: str) -> None:
        """Wait until the catalog has it."""

        def is_stored() -> bool:
            document = self.catalog.read_transaction("id")
            return document is not None and decode_transaction_record(document).state.value == expected

        await until(is_stored)


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


@asynccontextmanager
async def parts(path: Path) -> AsyncIterator[Parts]:
    catalog = Catalog.open(path / "catalog.db")
    if "t" not in catalog.topics:
        await catalog.create_topics([Topic("t", uuid.uuid4(), 2)])
    logs = LogManager(path)
    topic = catalog.topics.get("t")
    assert topic is not None
    for partition in range(2):
        logs.create("t", topic.topic_id, partition, LogConfig())
    logs.finish_start()
    commits = GroupCommit()
    groups = Groups()
    shell = TransactionShell(catalog, logs, commits, groups, BrokerSettings())  # type: ignore[arg-type]
    shell.start()
    try:
        yield Parts(path, catalog, logs, groups, shell)
    finally:
        shell.close()
        await commits.sync(list(logs))
        commits.close()
        catalog.close()


def run(test: Callable[[Path], Coroutine[Any, Any, None]], tmp_path: Path) -> None:
    asyncio.run(test(tmp_path))


@pytest.fixture(autouse=True)
def _retry_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transaction_markers, "RETRY_S_MIN", 0.01)


def test_a_commit_is_visible_when_it_is_answered(tmp_path: Path) -> None:
    async def test(path: Path) -> None:
        async with parts(path) as broker:
            await broker.begin(0, 1)
            assert broker.log(0).last_stable_offset == 0
            ended = await broker.end()
            assert (ended.error_code, ended.producer_epoch) == (ErrorCode.none, 1)
            assert [broker.log(p).last_stable_offset for p in (0, 1)] == [2, 2]
            assert await broker.state() == "CompleteCommit"
            await broker.stored_state("CompleteCommit")

    run(test, tmp_path)


def test_an_offline_log_does_not_keep_the_others_waiting(tmp_path: Path) -> None:
    async def test(path: Path) -> None:
        async with parts(path) as broker:
            await broker.begin(0, 1)
            broker.log(1).failure = KafkaError(ErrorCode.kafka_storage_error)
            assert (await broker.end(commit=False)).error_code is ErrorCode.none
            assert broker.log(0).open_transaction(7) is None
            assert await broker.state() == "PrepareAbort"
            added = await broker.shell.ask(AddPartitions("id", 7, 1, frozenset({("t", 0)})))
            assert added.error_code is ErrorCode.concurrent_transactions
            broker.log(1).failure = None
            await broker.stored_state("CompleteAbort")
            assert broker.log(1).open_transaction(7) is None
            assert [len(broker.log(p).aborted_transactions(0, 5)) for p in (0, 1)] == [1, 1]

    run(test, tmp_path)


def test_a_deleted_topic_drops_out(tmp_path: Path) -> None:
    async def test(path: Path) -> None:
        async with parts(path) as broker:
            await broker.begin(0, 1)
            broker.log(1).failure = KafkaError(ErrorCode.kafka_storage_error)
            await broker.end()
            assert await broker.state() == "PrepareCommit"
            broker.logs.delete("t", 1)
            await broker.stored_state("CompleteCommit")

    run(test, tmp_path)


def test_a_start_completes_what_was_prepared(tmp_path: Path) -> None:
    async def crash(path: Path) -> None:
        async with parts(path) as broker:
            await broker.begin(0, 1)
            for partition in (0, 1):
                broker.log(partition).failure = KafkaError(ErrorCode.kafka_storage_error)
            await broker.end()

    async def restart(path: Path) -> None:
        async with parts(path) as broker:
            assert [broker.log(p).open_transaction(7) for p in (0, 1)] == [None, None]
            assert [broker.log(p).last_stable_offset for p in (0, 1)] == [2, 2]
            await broker.stored_state("CompleteCommit")
            assert (await broker.end()).producer_epoch == 1

    run(crash, tmp_path)
    run(restart, tmp_path)


def test_groups_are_told_and_told_again(tmp_path: Path) -> None:
    async def test(path: Path) -> None:
        async with parts(path) as broker:
            await broker.begin(0)
            await broker.shell.ask(AddOffsets("id", 7, 0, "g"))
            broker.groups.errors = [ErrorCode.coordinator_not_available]
            await broker.end()
            await until(lambda: len(broker.groups.asked) == 2)
            first, second = broker.groups.asked
            assert first == second
            assert (first.group_id, first.producer_id, first.producer_epoch) == ("g", 7, 1)
            assert first.is_commit
            await broker.stored_state("CompleteCommit")

    run(test, tmp_path)


def test_a_write_that_fails_changes_nothing(tmp_path: Path) -> None:
    async def test(path: Path) -> None:
        async with parts(path) as broker:
            await broker.begin(0)
            with sqlite3.connect(path / "catalog.db") as database:
                database.execute(FULL_DISK)
            with pytest.raises(KafkaError) as refused:
                await broker.end()
            assert refused.value.code is ErrorCode.coordinator_not_available
            assert await broker.state() == "Ongoing"
            assert broker.log(0).open_transaction(7) == 0
            with sqlite3.connect(path / "catalog.db") as database:
                database.execute("DROP TRIGGER full_disk")
            assert (await broker.end()).error_code is ErrorCode.none
            assert broker.log(0).open_transaction(7) is None

    run(test, tmp_path)


def test_a_marker_whose_sync_fails_is_written_again_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def crash(path: Path) -> None:
        async with parts(path) as broker:
            await broker.begin(0, 1)
            begin_sync = PartitionLog.begin_sync

            def failing(log: PartitionLog) -> Any:
                job = begin_sync(log)
                if log is broker.log(1):
                    job.error = OSError(5, "Input/output error")
                return job

            monkeypatch.setattr(PartitionLog, "begin_sync", failing)
            await broker.end()
            await until(lambda: broker.log(1).failure is not None)
            assert await broker.state() == "PrepareCommit"

    async def restart(path: Path) -> None:
        async with parts(path) as broker:
            await broker.stored_state("CompleteCommit")
            assert [broker.log(p).open_transaction(7) for p in (0, 1)] == [None, None]

    run(crash, tmp_path)
    monkeypatch.undo()
    run(restart, tmp_path)


def test_a_transaction_that_takes_too_long_is_aborted(tmp_path: Path) -> None:
    async def test(path: Path) -> None:
        async with parts(path) as broker:
            await broker.shell.ask(InitProducerId("id", 50, 7))
            await broker.shell.ask(AddPartitions("id", 7, 0, frozenset({("t", 0)})))
            await broker.stored_state("CompleteAbort")
            late = await broker.shell.ask(AddPartitions("id", 7, 0, frozenset({("t", 0)})))
            assert late.error_code is ErrorCode.producer_fenced

    run(test, tmp_path)


def test_a_timeout_goes_on_after_a_restart(tmp_path: Path) -> None:
    async def crash(path: Path) -> None:
        async with parts(path) as broker:
            await broker.shell.ask(InitProducerId("id", 300, 7))
            await broker.shell.ask(AddPartitions("id", 7, 0, frozenset({("t", 0)})))

    async def restart(path: Path) -> None:
        async with parts(path) as broker:
            await broker.stored_state("CompleteAbort")

    run(crash, tmp_path)
    run(restart, tmp_path)


def test_unknown_transactional_ids_leave_nothing_behind(tmp_path: Path) -> None:
    async def test(path: Path) -> None:
        async with parts(path) as broker:
            for number in range(100):
                await broker.shell.ask(AddPartitions(f"x{number}", 7, 0, frozenset({("t", 0)})))
                await broker.shell.ask(DescribeTransaction(f"x{number}"))
            assert not broker.shell._queues

    run(test, tmp_path)
