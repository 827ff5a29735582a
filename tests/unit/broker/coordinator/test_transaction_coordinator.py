"""The transaction coordinator, request by request. What it answers was measured on Apache Kafka 4.3.1."""

from dataclasses import replace
from typing import Any

import pytest

from broker.coordinator.effects import CancelTimer, Reply, SetTimer, TimerKey
from broker.coordinator.transaction_coordinator import (
    EXPIRY_TIMER,
    TIMEOUT_TIMER,
    TransactionCoordinator,
    TransactionSettings,
)
from broker.coordinator.transaction_effects import StoreTransaction, TransactionEffect, WriteMarkers
from broker.coordinator.transaction_messages import (
    AddOffsets,
    AddPartitions,
    DescribeTransaction,
    EndTxn,
    InitProducerId,
    ListTransactions,
    ProducerResult,
    TransactionRequest,
    VerifyOffsets,
    VerifyPartitions,
)
from broker.coordinator.transaction_records import (
    PRODUCER_EPOCH_MAX,
    TransactionRecord,
    decode_transaction_record,
    encode_transaction_record,
)
from broker.coordinator.transaction_state import TransactionState
from broker.wire.errors import ErrorCode

NOW_MS = 1_000_000
ID = "t"
A, B = ("a", 0), ("b", 1)
NONE = ErrorCode.none


class Machine:
    """A coordinator whose markers are written at once, unless `holds_markers`."""

    def __init__(self, **records: TransactionRecord) -> None:
        self.coordinator = TransactionCoordinator(TransactionSettings())
        self.stored = dict(records)
        self.markers: list[WriteMarkers] = []
        self.timers: dict[TimerKey, int] = {}
        self.holds_markers = False
        self.now_ms = NOW_MS
        self._replies: list[Any] = []
        self.new_ids = iter(range(100, 200))
        self.perform(self.coordinator.load(records, NOW_MS))

    def perform(self, effects: list[TransactionEffect]) -> None:
        for effect in effects:
            match effect:
                case Reply():
                    self._replies.append(effect.response)
                case StoreTransaction(record=None):
                    self.stored.pop(effect.transactional_id, None)
                case StoreTransaction():
                    assert effect.record is not None
                    self.stored[effect.transactional_id] = effect.record
                case WriteMarkers():
                    self.markers.append(effect)
                    if not self.holds_markers:
                        self.markers_written()
                case SetTimer():
                    self.timers[effect.key] = effect.delay_ms
                case CancelTimer():
                    self.timers.pop(effect.key, None)

    def markers_written(self) -> None:
        self.perform(self.coordinator.on_markers_written(ID, self.now_ms))

    def ask(self, request: TransactionRequest) -> Any:
        self.perform(self.coordinator.on_request(request, None, self.now_ms))
        (reply,) = self._replies
        self._replies.clear()
        return reply

    def fire(self, key: TimerKey) -> None:
        del self.timers[key]
        self.perform(self.coordinator.on_timer(key, self.now_ms))

    @property
    def record(self) -> TransactionRecord:
        return self.stored[ID]

    def init(self, producer_id: int = -1, epoch: int = -1, timeout_ms: int = 1000, name: str = ID) -> Any:
        return self.ask(InitProducerId(name, timeout_ms, next(self.new_ids), producer_id, epoch))

    def add(self, *partitions: Any, epoch: int, producer_id: int = 100, is_v2: bool = True) -> ErrorCode:
        request = AddPartitions(ID, producer_id, epoch, frozenset(partitions), is_v2)
        return ErrorCode(self.ask(request).error_code)

    def end(self, epoch: int, *, commit: bool = True, is_v2: bool = True, producer_id: int = 100) -> Any:
        return self.ask(EndTxn(ID, producer_id, epoch, commit, is_v2, next(self.new_ids)))


@pytest.fixture
def machine() -> Machine:
    """With producer 100, epoch 0."""
    machine = Machine()
    assert machine.init() == ProducerResult(NONE, 100, 0)
    return machine


def in_state(state: TransactionState, *, epoch: int = 5, last: int = 4, **fields: Any) -> Machine:
    record = TransactionRecord(100, epoch, 1000, state, NOW_MS, NOW_MS, last, 100, **fields)
    machine = Machine()
    machine.new_ids = iter(range(200, 300))
    machine.stored[ID] = record
    machine.holds_markers = True
    machine.perform(machine.coordinator.reload(ID, record, NOW_MS))
    return machine


# --- producers ---


def test_a_producer_that_begins_anew_gets_the_next_epoch(machine: Machine) -> None:
    assert machine.init() == ProducerResult(NONE, 100, 1)
    assert machine.init() == ProducerResult(NONE, 100, 2)


def test_a_producer_that_goes_on_gets_the_next_epoch_and_may_ask_twice(machine: Machine) -> None:
    assert machine.init(100, 0) == ProducerResult(NONE, 100, 1)
    assert machine.init(100, 0) == ProducerResult(NONE, 100, 1)
    assert machine.init(100, 1) == ProducerResult(NONE, 100, 2)
    assert machine.init(100, 0).error_code is ErrorCode.producer_fenced


def test_a_producer_that_was_replaced_may_not_go_on(machine: Machine) -> None:
    machine.init()
    assert machine.init(100, 0).error_code is ErrorCode.producer_fenced
    assert machine.init(99, 1).error_code is ErrorCode.producer_fenced


def test_epochs_that_are_used_up_give_a_new_producer_id() -> None:
    machine = in_state(TransactionState.COMPLETE_COMMIT, epoch=PRODUCER_EPOCH_MAX - 1, last=-1)
    result = machine.init(100, PRODUCER_EPOCH_MAX - 1)
    assert result.producer_id != 100
    assert result.producer_epoch == 0
    assert machine.init(100, PRODUCER_EPOCH_MAX - 1) == result


@pytest.mark.parametrize(
    ("timeout_ms", "is_good"), [(0, False), (1, True), (900_000, True), (900_001, False)]
)
def test_transaction_max_timeout_is_obeyed(machine: Machine, timeout_ms: int, is_good: bool) -> None:
    result = machine.init(timeout_ms=timeout_ms)
    assert result.error_code is (NONE if is_good else ErrorCode.invalid_transaction_timeout)


def test_an_empty_transactional_id_is_refused(machine: Machine) -> None:
    for request in (
        InitProducerId("", 1000, 1),
        AddPartitions("", 1, 0, frozenset({A})),
        AddOffsets("", 1, 0, "g"),
        EndTxn("", 1, 0, is_commit=True, is_v2=False),
        DescribeTransaction(""),
    ):
        assert machine.ask(request).error_code is ErrorCode.invalid_request


def test_a_new_producer_ends_the_transaction_of_the_one_before(machine: Machine) -> None:
    machine.add(A, epoch=0)
    machine.holds_markers = True
    assert machine.init().error_code is ErrorCode.concurrent_transactions
    assert machine.record.state is TransactionState.PREPARE_ABORT
    (markers,) = machine.markers
    assert (markers.producer_epoch, markers.is_commit, markers.partitions) == (1, False, {A})
    assert machine.init().error_code is ErrorCode.concurrent_transactions
    assert machine.add(A, epoch=0) is ErrorCode.producer_fenced
    machine.markers_written()
    assert machine.init() == ProducerResult(NONE, 100, 2)


def test_a_zombie_cannot_end_the_transaction_of_the_producer_that_replaced_it(machine: Machine) -> None:
    machine.init()
    machine.add(A, epoch=1)
    assert machine.init(100, 0).error_code is ErrorCode.producer_fenced
    assert machine.record.state is TransactionState.ONGOING


# --- adding ---


def test_partitions_are_stored_and_only_once(machine: Machine) -> None:
    assert machine.add(A, epoch=0) is NONE
    assert (machine.record.state, machine.record.partitions) == (TransactionState.ONGOING, {A})
    before = machine.record
    assert machine.add(A, epoch=0) is NONE
    assert machine.record is before
    assert machine.add(A, B, epoch=0) is NONE
    assert machine.record.partitions == {A, B}
    assert machine.record.start_time_ms == NOW_MS


def test_who_may_add(machine: Machine) -> None:
    assert machine.add(A, epoch=0, producer_id=99) is ErrorCode.invalid_producer_id_mapping
    assert machine.add(A, epoch=1) is ErrorCode.producer_fenced
    assert machine.add(A, epoch=-1) is ErrorCode.producer_fenced
    unknown = AddPartitions("x", 100, 0, frozenset({A}))
    assert machine.ask(unknown).error_code is ErrorCode.invalid_producer_id_mapping


def test_nothing_is_added_while_markers_are_missing(machine: Machine) -> None:
    machine.add(A, epoch=0)
    machine.holds_markers = True
    machine.end(0, is_v2=False)
    assert machine.add(B, epoch=0) is ErrorCode.concurrent_transactions
    machine.markers_written()
    assert machine.add(B, epoch=0) is NONE
    assert machine.record.partitions == {B}


def test_partitions_are_verified(machine: Machine) -> None:
    def verify(epoch: int = 0, producer_id: int = 100) -> Any:
        return machine.ask(VerifyPartitions(ID, producer_id, epoch, frozenset({A, B}))).errors

    machine.add(A, epoch=0)
    assert verify() == {A: NONE, B: ErrorCode.transaction_abortable}
    assert set(verify(epoch=1).values()) == {ErrorCode.producer_fenced}
    assert set(verify(producer_id=1).values()) == {ErrorCode.invalid_producer_id_mapping}
    machine.holds_markers = True
    machine.end(0, is_v2=False)
    assert set(verify().values()) == {ErrorCode.concurrent_transactions}


def test_offsets_of_groups_are_part_of_a_transaction(machine: Machine) -> None:
    verify = VerifyOffsets(ID, 100, 0, "g", add=False)
    assert machine.ask(verify).error_code is ErrorCode.transaction_abortable
    assert machine.ask(AddOffsets(ID, 100, 0, "g")).error_code is NONE
    assert machine.ask(verify).error_code is NONE
    assert machine.ask(VerifyOffsets(ID, 100, 0, "h", add=True)).error_code is NONE
    assert machine.ask(VerifyOffsets(ID, 100, 1, "h", add=True)).error_code is ErrorCode.producer_fenced
    machine.end(0)
    assert machine.markers[0].groups == {"g", "h"}


# --- ending ---


@pytest.mark.parametrize("commit", [True, False])
def test_v1_keeps_the_epoch_and_tells_a_repeated_end_by_the_state(machine: Machine, commit: bool) -> None:
    machine.add(A, epoch=0, is_v2=False)
    assert machine.end(0, commit=commit, is_v2=False).error_code is NONE
    (markers,) = machine.markers
    assert (markers.producer_epoch, markers.is_commit) == (0, commit)
    assert machine.end(0, commit=commit, is_v2=False).error_code is NONE
    assert machine.end(0, commit=not commit, is_v2=False).error_code is ErrorCode.invalid_txn_state
    assert len(machine.markers) == 1


def test_v1_does_not_end_what_has_not_begun(machine: Machine) -> None:
    for commit in (True, False):
        assert machine.end(0, commit=commit, is_v2=False).error_code is ErrorCode.invalid_txn_state
    assert machine.end(1, is_v2=False).error_code is ErrorCode.producer_fenced
    assert machine.end(0, is_v2=False, producer_id=1).error_code is ErrorCode.invalid_producer_id_mapping


def test_v2_gives_each_transaction_an_epoch(machine: Machine) -> None:
    machine.add(A, epoch=0)
    assert machine.end(0) == ProducerResult(NONE, 100, 1)
    assert machine.markers[0].producer_epoch == 1
    assert machine.end(0) == ProducerResult(NONE, 100, 1)
    assert machine.end(0, commit=False).error_code is ErrorCode.invalid_txn_state
    assert machine.add(A, epoch=0) is ErrorCode.producer_fenced
    assert machine.add(A, epoch=1) is NONE
    assert machine.end(0).error_code is ErrorCode.producer_fenced
    assert machine.end(1, commit=False) == ProducerResult(NONE, 100, 2)


FENCED, STATE = ErrorCode.producer_fenced, ErrorCode.invalid_txn_state
CONCURRENT = ErrorCode.concurrent_transactions


@pytest.mark.parametrize(
    ("state", "epoch", "commit", "expected"),
    [
        ("EMPTY", 4, False, FENCED),
        ("EMPTY", 5, False, (6, "PREPARE_ABORT")),
        ("EMPTY", 4, True, FENCED),
        ("EMPTY", 5, True, STATE),
        ("ONGOING", 4, True, FENCED),
        ("ONGOING", 6, True, FENCED),
        ("ONGOING", 5, True, (6, "PREPARE_COMMIT")),
        ("PREPARE_COMMIT", 4, True, CONCURRENT),
        ("PREPARE_COMMIT", 4, False, STATE),
        ("PREPARE_COMMIT", 5, True, FENCED),
        ("PREPARE_ABORT", 4, False, CONCURRENT),
        ("PREPARE_ABORT", 4, True, STATE),
        ("COMPLETE_ABORT", 4, False, (5, "COMPLETE_ABORT")),
        ("COMPLETE_ABORT", 5, False, (6, "PREPARE_ABORT")),
        ("COMPLETE_ABORT", 4, True, STATE),
        ("COMPLETE_ABORT", 5, True, STATE),
        ("COMPLETE_COMMIT", 4, False, STATE),
        ("COMPLETE_COMMIT", 5, False, (6, "PREPARE_ABORT")),
        ("COMPLETE_COMMIT", 4, True, (5, "COMPLETE_COMMIT")),
        ("COMPLETE_COMMIT", 5, True, STATE),
        ("COMPLETE_COMMIT", 3, True, FENCED),
    ],
)
def test_v2_by_state_and_epoch(state: str, epoch: int, commit: bool, expected: Any) -> None:
    machine = in_state(TransactionState[state], is_v2=True)
    result = machine.end(epoch, commit=commit)
    if isinstance(expected, ErrorCode):
        assert result == ProducerResult(expected)
    else:
        assert result == ProducerResult(NONE, 100, expected[0])
        assert machine.record.state is TransactionState[expected[1]]


def test_v2_does_not_take_a_zombie_for_the_producer_that_replaced_it() -> None:
    """The epoch before this one was another producer's, and this one's transaction of v1 was aborted."""
    machine = in_state(TransactionState.COMPLETE_ABORT, epoch=5, last=-1)
    assert machine.end(4, commit=False) == ProducerResult(FENCED)


def test_v2_goes_on_with_a_new_producer_id_when_epochs_are_used_up() -> None:
    last = PRODUCER_EPOCH_MAX - 1
    machine = in_state(TransactionState.ONGOING, epoch=last, is_v2=True, partitions=frozenset({A}))
    result = machine.end(last)
    assert (result.error_code, result.producer_epoch) == (NONE, 0)
    assert result.producer_id != 100
    assert (machine.markers[0].producer_id, machine.markers[0].producer_epoch) == (100, PRODUCER_EPOCH_MAX)
    machine.markers_written()
    assert machine.end(last) == result
    assert machine.add(A, epoch=0, producer_id=result.producer_id) is NONE


def test_no_client_ever_has_the_last_epoch() -> None:
    machine = in_state(TransactionState.ONGOING, epoch=PRODUCER_EPOCH_MAX - 1)
    machine.fire(TimerKey(TIMEOUT_TIMER, ID))
    machine.markers_written()
    assert machine.record.producer_epoch == PRODUCER_EPOCH_MAX
    machine.holds_markers = False
    again = machine.end(PRODUCER_EPOCH_MAX - 1, commit=False)
    assert (again.error_code, again.producer_epoch) == (NONE, 0)
    assert again.producer_id != 100


# --- time ---


def test_a_late_transaction_is_aborted_under_another_epoch(machine: Machine) -> None:
    machine.add(A, epoch=0)
    assert machine.timers[TimerKey(TIMEOUT_TIMER, ID)] == 1000
    machine.add(B, epoch=0)
    machine.fire(TimerKey(TIMEOUT_TIMER, ID))
    (markers,) = machine.markers
    assert (markers.producer_epoch, markers.is_commit, markers.partitions) == (1, False, {A, B})
    assert machine.end(0, is_v2=False).error_code is ErrorCode.producer_fenced
    assert machine.end(0).error_code is ErrorCode.invalid_txn_state
    assert machine.end(0, commit=False) == ProducerResult(NONE, 100, 1)
    assert machine.init(100, 0) == ProducerResult(NONE, 100, 1)


def test_an_end_in_time_stops_the_clock(machine: Machine) -> None:
    machine.add(A, epoch=0)
    machine.end(0)
    assert TimerKey(TIMEOUT_TIMER, ID) not in machine.timers


@pytest.mark.parametrize(("age_ms", "left_ms"), [(0, 1000), (400, 600), (5000, 0), (-3_600_000, 1000)])
def test_after_a_restart_a_transaction_has_the_time_that_is_left(age_ms: int, left_ms: int) -> None:
    record = TransactionRecord(
        1, 0, 1000, TransactionState.ONGOING, NOW_MS, start_time_ms=NOW_MS - age_ms, partitions=frozenset({A})
    )
    assert Machine(t=record).timers[TimerKey(TIMEOUT_TIMER, ID)] == left_ms


@pytest.mark.parametrize("state", [TransactionState.PREPARE_COMMIT, TransactionState.PREPARE_ABORT])
def test_after_a_restart_what_was_prepared_is_completed(state: TransactionState) -> None:
    machine = in_state(state, partitions=frozenset({A}), groups=frozenset({"g"}), is_v2=True)
    is_commit = state is TransactionState.PREPARE_COMMIT
    assert machine.markers == [
        WriteMarkers(ID, 100, 5, is_commit, True, frozenset({A}), frozenset({"g"}))
    ]  # fmt: skip
    machine.markers_written()
    assert machine.record.state.value == ("CompleteCommit" if is_commit else "CompleteAbort")


def test_transactional_ids_expire_when_nothing_is_open(machine: Machine) -> None:
    machine.now_ms += 8 * 24 * 3_600_000
    machine.add(A, epoch=0)
    machine.now_ms += 8 * 24 * 3_600_000
    machine.fire(EXPIRY_TIMER)
    assert ID in machine.stored
    machine.end(0)
    machine.now_ms += 8 * 24 * 3_600_000
    machine.fire(EXPIRY_TIMER)
    assert machine.stored == {}
    assert EXPIRY_TIMER in machine.timers
    assert machine.add(A, epoch=1) is ErrorCode.invalid_producer_id_mapping
    assert machine.init().producer_id != 100


# --- administration ---


def test_describe(machine: Machine) -> None:
    machine.add(A, epoch=0)
    found = machine.ask(DescribeTransaction(ID))
    assert (found.error_code, found.state, found.partitions) == (NONE, "Ongoing", {A})
    assert (found.producer_id, found.producer_epoch, found.timeout_ms) == (100, 0, 1000)
    assert found.start_time_ms == NOW_MS
    assert machine.ask(DescribeTransaction("x")).error_code is ErrorCode.transactional_id_not_found


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, "ot"),
        ({"states": frozenset({"Ongoing"})}, "t"),
        ({"states": frozenset({"Ongoing", "Empty"})}, "ot"),
        ({"states": frozenset({"ongoing"})}, ""),
        ({"producer_ids": frozenset({101})}, "o"),
        ({"duration_ms": 0}, "ot"),
        ({"duration_ms": 10}, "o"),
        ({"pattern": "t"}, "t"),
        ({"pattern": "[a-o]"}, "o"),
        ({"pattern": ""}, "ot"),
    ],
)
def test_list(machine: Machine, filters: dict[str, Any], expected: str) -> None:
    machine.init(name="o")
    machine.add(A, epoch=0)
    machine.now_ms += 10
    listed = machine.ask(ListTransactions(**filters))
    assert "".join(sorted(one.transactional_id for one in listed.transactions)) == expected


def test_list_says_what_it_does_not_understand(machine: Machine) -> None:
    assert machine.ask(ListTransactions(frozenset({"Empty", "Nope"}))).unknown_states == ("Nope",)
    assert machine.ask(ListTransactions(pattern="([")).error_code is ErrorCode.invalid_regular_expression


# --- records ---


def test_a_record_is_read_as_it_was_written() -> None:
    record = TransactionRecord(
        producer_id=2**62,
        producer_epoch=7,
        timeout_ms=60_000,
        state=TransactionState.PREPARE_COMMIT,
        update_time_ms=NOW_MS,
        start_time_ms=NOW_MS - 5,
        last_producer_epoch=6,
        previous_producer_id=3,
        next_producer_id=4,
        is_v2=True,
        partitions=frozenset({A, B}),
        groups=frozenset({"g", "gruppe ü"}),
    )
    assert decode_transaction_record(encode_transaction_record(record)) == record
    empty = replace(record, partitions=frozenset(), groups=frozenset())
    assert decode_transaction_record(encode_transaction_record(empty)) == empty
