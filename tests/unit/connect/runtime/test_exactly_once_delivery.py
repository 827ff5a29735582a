"""Records and offsets of a source task in transactions: what is in which, and what becomes of it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from support.source_bench import HERE, Bench, FakeTransactions, offset, record

from connect.api import ConnectError, SourceRecord
from connect.runtime.transaction_boundaries import ConnectorBoundaries, IntervalBoundaries, PollBoundaries
from connect.runtime.transactional_producer import Interrupted

STORED = offset('{"file":"a"}')


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def polling(bench: Bench, before: Callable[[int, Sequence[SourceRecord]], None]) -> None:
    """Call `before(n, records)` in each poll that hands out records."""
    poll, number = bench.task.poll, 0

    def asking() -> Sequence[SourceRecord]:
        nonlocal number
        if records := poll():
            before(number, records)
            number += 1
        return records

    bench.task.poll = asking  # type: ignore[method-assign]


def test_each_poll_is_a_transaction_with_its_offsets() -> None:
    bench = Bench([record("a", 1), record("b", 2)], [], [record("c", 3)], boundaries=PollBoundaries())
    assert bench.run() == [
        "begin", ("t", b"a"), ("t", b"b"), STORED, "commit",
        "begin", ("t", b"c"), STORED, "commit",
    ]  # fmt: skip
    assert bench.task.committed == [[(HERE, {"position": 2})], [(HERE, {"position": 3})]]
    assert bench.context.transactions is None


def test_nothing_of_a_batch_that_fails_is_committed() -> None:
    bad = record(object(), 3, headers=[object()])
    bench = Bench([record("a", 1)], [record("b", 2), bad], boundaries=PollBoundaries())
    with pytest.raises(ConnectError, match="Tolerance exceeded"):
        bench.run()
    assert bench.kafka.steps[-3:] == ["begin", ("t", b"b"), "abort"]
    assert bench.task.committed == [[(HERE, {"position": 1})]]
    assert bench.task.stopped == 1


def test_a_commit_that_fails_fails_the_task_and_tells_the_connector_nothing() -> None:
    def fails(step: str, _: Any) -> None:
        if step == "commit":
            raise ConnectError("fenced")

    bench = Bench([record("a", 1)], boundaries=PollBoundaries(), kafka=FakeTransactions(fails))
    with pytest.raises(ConnectError, match="fenced"):
        bench.run()
    assert bench.kafka.steps == ["begin", ("t", b"a"), STORED, "abort"]
    assert bench.task.committed == []


def test_a_task_that_is_stopped_while_kafka_is_away_is_no_failure() -> None:
    def fails(step: str, _: Any) -> None:
        if step == "commit":
            raise Interrupted("stopped")

    bench = Bench([record("a", 1)], boundaries=PollBoundaries(), kafka=FakeTransactions(fails))
    assert bench.run() == ["begin", ("t", b"a"), STORED]
    assert bench.task.committed == []


def test_an_interval_gathers_polls() -> None:
    clock = Clock()
    boundaries = IntervalBoundaries(10, clock)
    bench = Bench(*([record(str(n), n)] for n in range(4)), boundaries=boundaries)

    def pass_time(number: int, _: Any) -> None:
        clock.now += 6

    polling(bench, pass_time)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("connect.runtime.source_delivery.time.monotonic", clock)
        steps = bench.run()
    assert steps == [
        "begin", ("t", b"0"), ("t", b"1"), STORED, "commit",
        "begin", ("t", b"2"), ("t", b"3"), STORED, "commit",
    ]  # fmt: skip


def test_a_connector_ends_transactions_where_it_likes() -> None:
    boundaries = ConnectorBoundaries()
    bench = Bench(
        [record("a", 1), record("b", 2), record("c", 3)], [record("d", 4)], [record("e", 5)],
        boundaries=boundaries,
    )  # fmt: skip

    def ask(number: int, records: Sequence[SourceRecord]) -> None:
        if number == 0:
            boundaries.commit(records[1])
        if number == 1:
            boundaries.commit()

    polling(bench, ask)
    assert bench.run() == [
        "begin", ("t", b"a"), ("t", b"b"), STORED, "commit",
        "begin", ("t", b"c"), ("t", b"d"), STORED, "commit",
        # Where the task stops is no boundary: this comes again.
        "begin", ("t", b"e"), "abort",
    ]  # fmt: skip
    assert [pairs[0][1] for pairs in bench.task.committed] == [{"position": 2}, {"position": 4}]


def test_an_aborted_transaction_leaves_its_offsets_only() -> None:
    boundaries = ConnectorBoundaries()
    bench = Bench([record("a", 1), record("b", 2)], [record("c", 3)], boundaries=boundaries)

    def ask(number: int, records: Sequence[SourceRecord]) -> None:
        if number == 0:
            boundaries.abort(records[0])
            boundaries.commit()
        else:
            boundaries.abort()

    polling(bench, ask)
    assert bench.run() == [
        "begin", ("t", b"a"), "abort", "begin", STORED, "commit",
        "begin", ("t", b"b"), STORED, "commit",
        "begin", ("t", b"c"), "abort", "begin", STORED, "commit",
    ]  # fmt: skip
    assert bench.task.committed[-1] == [(HERE, {"position": 3})]


def test_both_commit_and_abort_make_no_sense() -> None:
    boundaries, one = ConnectorBoundaries(), record("a", 1)
    boundaries.commit(one)
    with pytest.raises(ConnectError, match="both commit and abort the transaction at one record"):
        boundaries.abort(one)
    boundaries.abort()
    with pytest.raises(ConnectError, match="at one batch"):
        boundaries.commit()


def test_a_transaction_ends_at_records_that_were_handed_out() -> None:
    boundaries = ConnectorBoundaries()
    boundaries.commit(record("another", 1))
    with pytest.raises(ConnectError, match="poll did not return"):
        boundaries.cuts([record("a", 1)])


def test_a_pause_commits_what_may_be_committed() -> None:
    bench = Bench([record("a", 1)], boundaries=IntervalBoundaries(3600, Clock()))
    bench.delivery.start(bench.task.committed.append, lambda began, done, records: None)
    bench.delivery.deliver([record("a", 1)], lambda records: bench.delivery.note(HERE, {"position": 1}))
    assert bench.delivery.pause()
    assert bench.kafka.steps == ["begin", STORED, "commit"]


def test_a_pause_in_the_middle_of_a_connectors_transaction_needs_a_new_start() -> None:
    bench = Bench(boundaries=ConnectorBoundaries())
    bench.delivery.start(bench.task.committed.append, lambda began, done, records: None)
    bench.delivery.deliver([record("a", 1)], lambda records: bench.delivery.note(HERE, {"position": 1}))
    assert not bench.delivery.pause()
    bench.delivery.stop()
    assert bench.kafka.steps == ["begin", "abort"]
    assert bench.task.committed == []


def test_offsets_without_records_are_stored_at_the_flush_interval() -> None:
    bench = Bench([], boundaries=PollBoundaries(), flush_interval_s=0)
    poll = bench.task.poll

    def advancing() -> Sequence[SourceRecord]:
        if not bench.channel.stopping:
            bench.context.advance(HERE, {"position": 5})
        return poll()

    bench.task.poll = advancing  # type: ignore[method-assign]
    assert bench.run()[:3] == ["begin", STORED, "commit"]
    assert bench.task.committed[0] == [(HERE, {"position": 5})]


@pytest.mark.parametrize("boundaries", [None, PollBoundaries()])
def test_the_workers_topic_gets_offsets_that_are_stored_elsewhere(boundaries: PollBoundaries | None) -> None:
    bench = Bench([record("a", 1)], [record("b", 2)], boundaries=boundaries, copied=True)
    bench.run()
    told: list[Mapping[str, Any]] = [message for message in bench.told if message["type"] == "offsets"]
    assert told == [{"type": "offsets", "offsets": [[HERE, {"position": 2}]]}]
