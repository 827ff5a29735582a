"""In what order the effects of a transactional id are performed, step by step."""

from collections.abc import Callable
from typing import Any

from broker.coordinator.effects import Reply
from broker.coordinator.transaction_effects import (
    Done,
    StoreTransaction,
    TransactionQueue,
    WriteMarkers,
)

REPLY = Reply(None, "t", "answer")
STORE, NEXT_STORE = StoreTransaction("t", "1"), StoreTransaction("t", "2")  # type: ignore[arg-type]
COMPLETE = StoreTransaction("t", "complete", can_wait=True)  # type: ignore[arg-type]
MARKERS = WriteMarkers("t", 1, 0, True, False, frozenset(), frozenset())


class Performer:
    def __init__(self) -> None:
        self.done: list[Any] = []
        self.store_done: Done = lambda ok: None
        self.written: Callable[[], None] = lambda: None
        self.durable: Done = lambda ok: None
        self.queue = TransactionQueue("t", self)

    def store(self, store: StoreTransaction, done: Done) -> None:
        self.done.append(store.record)
        self.store_done = done

    def flush_later(self, transactional_id: str) -> None:
        self.done.append("later")

    def write_markers(self, markers: WriteMarkers, written: Callable[[], None], durable: Done) -> None:
        self.done.append("markers")
        self.written, self.durable = written, durable

    def answer(self, reply: Reply, *, is_stored: bool) -> None:
        self.done.append(reply.response if is_stored else "error")

    def markers_written(self, transactional_id: str) -> None:
        self.done.append("written")
        self.queue.push([COMPLETE])

    def go_back(self, transactional_id: str) -> None:
        self.done.append("back")


def test_a_reply_waits_for_the_record_before_it() -> None:
    performer = Performer()
    performer.queue.push([REPLY, STORE, REPLY])
    assert performer.done == ["answer", "1"]
    performer.store_done(True)
    assert performer.done == ["answer", "1", "answer"]
    assert performer.queue.is_idle


def test_markers_wait_for_the_record_and_the_reply_comes_before_they_are_durable() -> None:
    performer = Performer()
    performer.queue.push([STORE, MARKERS, REPLY])
    assert performer.done == ["1"]
    performer.store_done(True)
    assert performer.done == ["1", "markers", "answer"]
    assert not performer.queue.is_idle


def test_a_record_waits_for_markers_to_be_durable() -> None:
    performer = Performer()
    performer.queue.push([MARKERS, REPLY])
    performer.written()
    performer.queue.push([NEXT_STORE, REPLY])
    assert performer.done == ["markers", "answer", "written", "later"]
    performer.durable(True)
    assert performer.done[4:] == ["2"]
    performer.store_done(True)
    assert performer.done[4:] == ["2", "answer"]
    assert performer.queue.is_idle


def test_a_record_that_can_wait_keeps_nobody_waiting_and_is_stored_later() -> None:
    performer = Performer()
    performer.queue.push([COMPLETE, REPLY])
    assert performer.done == ["later", "answer"]
    assert not performer.queue.is_idle
    performer.queue.flush()
    assert performer.done == ["later", "answer", "complete"]
    performer.store_done(True)
    assert performer.queue.is_idle
    performer.queue.flush()
    assert performer.done[3:] == []


def test_after_a_failure_replies_are_errors_and_what_was_begun_is_forgotten() -> None:
    performer = Performer()
    performer.queue.push([STORE, REPLY, MARKERS, REPLY])
    performer.store_done(False)
    assert performer.done == ["1", "back", "error", "error"]
    assert performer.queue.is_idle
    performer.queue.push([REPLY])
    assert performer.done[-1] == "answer"


def test_markers_that_cannot_be_made_durable_are_a_failure() -> None:
    performer = Performer()
    performer.queue.push([MARKERS])
    performer.written()
    performer.queue.push([NEXT_STORE, REPLY])
    performer.durable(False)
    assert performer.done == ["markers", "written", "later", "back", "error"]
    performer.written()
    performer.queue.flush()
    assert performer.done[-1] == "error"
