"""Transactional producers under many seeds of trouble, and bugs that the simulation must find."""

from collections.abc import Callable
from typing import Any

import pytest
from support.transaction_simulation import TransactionSimulation
from support.transaction_world import ModelLog, TransactionWorld

from broker.coordinator import transaction_coordinator as coordinator
from broker.coordinator.effects import SetTimer
from broker.coordinator.transaction_coordinator import TransactionCoordinator
from broker.coordinator.transaction_effects import TransactionQueue
from broker.coordinator.transaction_messages import EndTxn, InitProducerId, ProducerResult
from broker.coordinator.transaction_records import TransactionRecord
from broker.coordinator.transaction_state import TransactionState
from broker.handlers import transactional_produce
from broker.handlers.transactional_produce import TransactionalProduce
from broker.wire.errors import ErrorCode, KafkaError

SEEDS = 10_000
SEEDS_PER_TEST = 500
SEEDS_TO_FIND_A_BUG = 1_000


@pytest.mark.parametrize("first", range(0, SEEDS, SEEDS_PER_TEST))
def test_transactions_survive_trouble(first: int) -> None:
    for seed in range(first, first + SEEDS_PER_TEST):
        try:
            TransactionSimulation(seed).run()
        except Exception as exc:
            raise AssertionError(f"seed {seed}: {exc!r}") from exc


def test_one_seed_is_one_story() -> None:
    def tell() -> list[object]:
        simulation = TransactionSimulation(11)
        simulation.run()
        logs = [[(e.number, e.marker) for e in log.entries] for log in simulation.world.logs.values()]
        return [simulation.world.clock_ms, simulation.world.documents, logs]

    assert tell() == tell()


def _markers_do_not_wait_for_the_record(patch: pytest.MonkeyPatch) -> None:
    perform = TransactionQueue._perform

    def impatient(self: TransactionQueue, effect: Any) -> None:
        perform(self, effect)
        self._is_storing = False

    patch.setattr(TransactionQueue, "_perform", impatient)


def _record_does_not_wait_for_the_markers(patch: pytest.MonkeyPatch) -> None:
    written = TransactionQueue._written

    def hasty(self: TransactionQueue, life: int) -> None:
        self._has_markers_to_sync = False
        written(self, life)

    patch.setattr(TransactionQueue, "_written", hasty)


def _prepared_transactions_not_completed_at_a_start(patch: pytest.MonkeyPatch) -> None:
    load = TransactionCoordinator.load

    def load_only(self: TransactionCoordinator, records: Any, now_ms: int) -> list[Any]:
        return [effect for effect in load(self, records, now_ms) if isinstance(effect, SetTimer)]

    patch.setattr(TransactionCoordinator, "load", load_only)


def _timeouts_not_resumed_after_a_restart(patch: pytest.MonkeyPatch) -> None:
    load = TransactionCoordinator.load

    def load_only(self: TransactionCoordinator, records: Any, now_ms: int) -> list[Any]:
        effects = load(self, records, now_ms)
        return [e for e in effects if not (isinstance(e, SetTimer) and e.key.owner)]

    patch.setattr(TransactionCoordinator, "load", load_only)


def _memory_not_undone_after_a_failed_write(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(TransactionWorld, "go_back", lambda *_: None)


def _a_new_producer_does_not_get_a_new_epoch(patch: pytest.MonkeyPatch) -> None:
    def same_epoch(
        self: TransactionCoordinator, request: InitProducerId, record: TransactionRecord, now_ms: int
    ) -> ProducerResult:
        state = TransactionState.EMPTY
        self._become(request.transactional_id, state, now_ms, timeout_ms=request.timeout_ms)
        return ProducerResult(ErrorCode.none, record.producer_id, record.producer_epoch)

    patch.setattr(TransactionCoordinator, "_next_epoch", same_epoch)


def _zombies_may_go_on_with_their_old_epoch(patch: pytest.MonkeyPatch) -> None:
    init = TransactionCoordinator._init_producer_id

    def trusting(self: TransactionCoordinator, request: InitProducerId, now_ms: int) -> ProducerResult:
        anyone = InitProducerId(request.transactional_id, request.timeout_ms, request.new_producer_id)
        return init(self, anyone, now_ms)

    patch.setattr(TransactionCoordinator, "_init_producer_id", trusting)


def _an_open_transaction_survives_a_new_producer(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(TransactionCoordinator, "_fence", lambda *_: None)


def _late_end_accepted(patch: pytest.MonkeyPatch) -> None:
    def by_state_alone(record: TransactionRecord, _: EndTxn) -> ErrorCode | None:
        return None if record.state is TransactionState.ONGOING else ErrorCode.none

    patch.setattr(coordinator, "_end_v2", by_state_alone)


def _repeated_end_taken_for_the_next_one(patch: pytest.MonkeyPatch) -> None:
    def by_state_alone(record: TransactionRecord, request: EndTxn) -> ErrorCode | None:
        if record.state is TransactionState.ONGOING:
            return None
        return ErrorCode.none if request.is_commit else None

    patch.setattr(coordinator, "_end_v2", by_state_alone)


def _epochs_never_exhausted(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(coordinator, "is_exhausted", lambda _: False)


def _batches_not_verified(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(TransactionalProduce, "_is_open", lambda *_: True)


def _any_open_transaction_will_do(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(transactional_produce, "_errors", lambda *_: {})


def _partition_created_while_a_request_waits(patch: pytest.MonkeyPatch) -> None:
    go_on = TransactionalProduce._go_on

    class Everything(dict[Any, KafkaError | None]):
        def __contains__(self, _: object) -> bool:
            return True

        def __missing__(self, _: object) -> None:
            return None

    def admit_all(self: TransactionalProduce, producer_id: int) -> None:
        for job in self._waiting[producer_id]:
            write = job.write
            job.write = lambda admission, write=write: write(Everything(admission))
        go_on(self, producer_id)

    patch.setattr(TransactionalProduce, "_go_on", admit_all)


def _offline_logs_get_no_markers(patch: pytest.MonkeyPatch) -> None:
    append_marker = ModelLog.append_marker

    def give_up(self: ModelLog, marker: Any) -> None:
        if self.failure is None:
            append_marker(self, marker)

    patch.setattr(ModelLog, "append_marker", give_up)


BUGS = [
    _markers_do_not_wait_for_the_record,
    _record_does_not_wait_for_the_markers,
    _prepared_transactions_not_completed_at_a_start,
    _timeouts_not_resumed_after_a_restart,
    _memory_not_undone_after_a_failed_write,
    _a_new_producer_does_not_get_a_new_epoch,
    _zombies_may_go_on_with_their_old_epoch,
    _an_open_transaction_survives_a_new_producer,
    _late_end_accepted,
    _repeated_end_taken_for_the_next_one,
    _epochs_never_exhausted,
    _batches_not_verified,
    _any_open_transaction_will_do,
    _partition_created_while_a_request_waits,
    _offline_logs_get_no_markers,
]


@pytest.mark.parametrize("plant", BUGS, ids=lambda plant: plant.__name__.strip("_"))
def test_a_planted_bug_is_found(
    plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    with pytest.raises(AssertionError):  # a Violation, or a transition that is not in the table
        _run_seeds(SEEDS_TO_FIND_A_BUG)


def _run_seeds(count: int) -> None:
    for seed in range(count):
        TransactionSimulation(seed).run()
