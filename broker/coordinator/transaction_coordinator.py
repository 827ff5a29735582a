"""All transactional ids that this broker coordinates, v1 and v2 (KIP-890) side by side, as Kafka 4.3's.

A pure machine: the shell feeds it requests and timers and performs the effects that it returns, those of one
transactional id in order (transaction_effects.py). Errors and epochs are Kafka's:

* v1 (EndTxn up to version 4): all transactions of a producer have one epoch, a repeated EndTxn is told by
  the state;
* v2 (EndTxn 5): each transaction has an epoch of its own, the marker carries the next one, and a repeated
  EndTxn is told by the epoch before.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import re2

from broker.coordinator.effects import CancelTimer, Reply, SetTimer, TimerKey
from broker.coordinator.regexes import check_regex
from broker.coordinator.transaction_effects import StoreTransaction, TransactionEffect, WriteMarkers
from broker.coordinator.transaction_messages import (
    AddOffsets,
    AddPartitions,
    DescribeTransaction,
    DescribeTransactionResult,
    EndTxn,
    InitProducerId,
    ListedTransaction,
    ListTransactions,
    ListTransactionsResult,
    ProducerResult,
    TransactionRequest,
    TransactionResult,
    VerifyOffsets,
    VerifyPartitions,
    VerifyPartitionsResult,
)
from broker.coordinator.transaction_records import (
    NO_PRODUCER_EPOCH,
    NO_PRODUCER_ID,
    NO_TIME,
    PRODUCER_EPOCH_MAX,
    TransactionRecord,
)
from broker.coordinator.transaction_state import IDLE, PREPARED, TRANSITIONS, TransactionState
from broker.wire.errors import ErrorCode, KafkaError

TIMEOUT_TIMER = "transaction timeout"
EXPIRY_TIMER = TimerKey("transactional id expiry")


@dataclass(frozen=True, slots=True)
class TransactionSettings:
    """Broker settings of transactions; the defaults are Kafka's."""

    timeout_max_ms: int = 900_000
    expiration_ms: int = 7 * 24 * 3_600_000
    expiration_check_interval_ms: int = 3_600_000


def is_exhausted(producer_epoch: int) -> bool:
    """Whether a client that has this epoch gets a new producer id: the last one is kept for fencing it."""
    return producer_epoch >= PRODUCER_EPOCH_MAX - 1


class TransactionCoordinator:
    """`now_ms` is the wall clock, to date transactions; timers run by a clock that never jumps."""

    def __init__(self, settings: TransactionSettings) -> None:
        self._settings = settings
        self._records: dict[str, TransactionRecord] = {}
        self._effects: list[TransactionEffect] = []

    # What the shell calls.

    def load(self, records: Mapping[str, TransactionRecord], now_ms: int) -> list[TransactionEffect]:
        """Take over what is stored. Call it once, first. What was prepared is completed."""
        for transactional_id, record in records.items():
            self._restore(transactional_id, record, now_ms)
        self._emit(SetTimer(EXPIRY_TIMER, self._settings.expiration_check_interval_ms))
        return self._drain()

    def reload(
        self, transactional_id: str, record: TransactionRecord | None, now_ms: int
    ) -> list[TransactionEffect]:
        """Something could not be made durable: go back to what is stored, as after a crash."""
        self._records.pop(transactional_id, None)
        self._emit(CancelTimer(TimerKey(TIMEOUT_TIMER, transactional_id)))
        if record is not None:
            self._restore(transactional_id, record, now_ms)
        return self._drain()

    def on_request(self, request: TransactionRequest, reply_to: Any, now_ms: int) -> list[TransactionEffect]:
        """Every request ends in exactly one Reply to `reply_to`. `EndTxn` is replied to after its markers."""
        match request:
            case ListTransactions():
                self._emit(Reply(reply_to, "", self._list(request, now_ms)))
                return self._drain()
            case InitProducerId():
                response: Any = self._init_producer_id(request, now_ms)
            case AddPartitions() | AddOffsets() | VerifyOffsets(add=True):
                response = TransactionResult(self._add(request, now_ms))
            case VerifyPartitions():
                response = self._verify_partitions(request)
            case VerifyOffsets():
                response = TransactionResult(self._verify_offsets(request))
            case EndTxn():
                response = self._end(request, now_ms)
            case DescribeTransaction():
                response = self._describe(request.transactional_id)
        self._emit(Reply(reply_to, request.transactional_id, response))
        return self._drain()

    def on_markers_written(self, transactional_id: str, now_ms: int) -> list[TransactionEffect]:
        """All that the last WriteMarkers asked for is in the logs."""
        record = self._records[transactional_id]
        is_commit = record.state is TransactionState.PREPARE_COMMIT
        complete = TransactionState.COMPLETE_COMMIT if is_commit else TransactionState.COMPLETE_ABORT
        changes: dict[str, Any] = {}
        if record.next_producer_id != NO_PRODUCER_ID:
            # The epoch before stays that which the client has used last: it may ask again with it.
            changes = {"producer_id": record.next_producer_id, "producer_epoch": 0}
        self._become(
            transactional_id,
            complete,
            now_ms,
            next_producer_id=NO_PRODUCER_ID,
            partitions=frozenset(),
            groups=frozenset(),
            can_wait=True,
            **changes,
        )
        return self._drain()

    def on_timer(self, key: TimerKey, now_ms: int) -> list[TransactionEffect]:
        """A timer that was set, and neither moved nor cancelled, has run out."""
        if key == EXPIRY_TIMER:
            self._expire(now_ms)
            self._emit(SetTimer(EXPIRY_TIMER, self._settings.expiration_check_interval_ms))
        elif self._records[key.owner].state is TransactionState.ONGOING:
            self._fence(key.owner, now_ms)
        return self._drain()

    # Producers.

    def _init_producer_id(self, request: InitProducerId, now_ms: int) -> ProducerResult:
        if not request.transactional_id:
            return ProducerResult(ErrorCode.invalid_request)
        if not 0 < request.timeout_ms <= self._settings.timeout_max_ms:
            return ProducerResult(ErrorCode.invalid_transaction_timeout)
        record = self._records.get(request.transactional_id)
        if record is None:
            new = TransactionRecord(
                producer_id=request.new_producer_id,
                producer_epoch=0,
                timeout_ms=request.timeout_ms,
                state=TransactionState.EMPTY,
                update_time_ms=now_ms,
            )
            self._records[request.transactional_id] = new
            self._emit(StoreTransaction(request.transactional_id, new))
            return ProducerResult(ErrorCode.none, new.producer_id, new.producer_epoch)
        if request.producer_id != NO_PRODUCER_ID and not _may_go_on(record, request):
            return ProducerResult(ErrorCode.producer_fenced)
        if record.state in PREPARED:
            return ProducerResult(ErrorCode.concurrent_transactions)
        if record.state is TransactionState.ONGOING:
            # The producer before this one may still be at work. Its transaction ends first, and this one
            # asks again: that is what gives it an epoch that the other can never have.
            self._fence(request.transactional_id, now_ms)
            return ProducerResult(ErrorCode.concurrent_transactions)
        return self._next_epoch(request, record, now_ms)

    def _next_epoch(self, request: InitProducerId, record: TransactionRecord, now_ms: int) -> ProducerResult:
        """The epoch for a producer that begins, or that says which one it has."""
        producer_id, producer_epoch = record.producer_id, record.producer_epoch
        last_producer_epoch = NO_PRODUCER_EPOCH
        has_epoch = request.producer_id != NO_PRODUCER_ID
        is_fenced_at_last = (
            producer_epoch == PRODUCER_EPOCH_MAX and request.producer_epoch == record.last_producer_epoch
        )
        if is_exhausted(producer_epoch) and (
            not has_epoch or request.producer_epoch == producer_epoch or is_fenced_at_last
        ):
            if has_epoch:
                last_producer_epoch = request.producer_epoch
            producer_id, producer_epoch = request.new_producer_id, 0
        elif not has_epoch:
            producer_epoch += 1
        elif request.producer_epoch == producer_epoch:
            last_producer_epoch = producer_epoch
            producer_epoch += 1
        elif request.producer_epoch == record.last_producer_epoch:
            # It never heard the answer. Another producer would have cleared the epoch before.
            last_producer_epoch = record.last_producer_epoch
        else:
            return ProducerResult(ErrorCode.producer_fenced)
        self._become(
            request.transactional_id,
            TransactionState.EMPTY,
            now_ms,
            producer_id=producer_id,
            producer_epoch=producer_epoch,
            last_producer_epoch=last_producer_epoch,
            timeout_ms=request.timeout_ms,
            start_time_ms=NO_TIME,
        )
        return ProducerResult(ErrorCode.none, producer_id, producer_epoch)

    def _check(
        self, request: AddPartitions | AddOffsets | VerifyOffsets | VerifyPartitions
    ) -> TransactionRecord | ErrorCode:
        """The record if the producer may add to its transaction or ask about it, else why not."""
        if not request.transactional_id:
            return ErrorCode.invalid_request
        record = self._records.get(request.transactional_id)
        if record is None or record.producer_id != request.producer_id:
            return ErrorCode.invalid_producer_id_mapping
        if record.producer_epoch != request.producer_epoch:
            return ErrorCode.producer_fenced
        if record.state in PREPARED:
            return ErrorCode.concurrent_transactions
        return record

    # Transactions.

    def _add(self, request: AddPartitions | AddOffsets | VerifyOffsets, now_ms: int) -> ErrorCode:
        record = self._check(request)
        if not isinstance(record, TransactionRecord):
            return record
        is_ongoing = record.state is TransactionState.ONGOING
        partitions, groups = record.partitions, record.groups
        if isinstance(request, AddPartitions):
            partitions, is_v2 = partitions | request.partitions, request.is_v2
        else:
            groups, is_v2 = groups | {request.group_id}, isinstance(request, VerifyOffsets)
        if is_ongoing and partitions == record.partitions and groups == record.groups:
            return ErrorCode.none
        self._become(
            request.transactional_id,
            TransactionState.ONGOING,
            now_ms,
            start_time_ms=record.start_time_ms if is_ongoing else now_ms,
            partitions=partitions,
            groups=groups,
            is_v2=is_v2,
        )
        if not is_ongoing:
            self._emit(SetTimer(TimerKey(TIMEOUT_TIMER, request.transactional_id), record.timeout_ms))
        return ErrorCode.none

    def _verify_partitions(self, request: VerifyPartitions) -> VerifyPartitionsResult:
        record = self._check(request)
        if not isinstance(record, TransactionRecord):
            return VerifyPartitionsResult(dict.fromkeys(request.partitions, record))
        return VerifyPartitionsResult(
            {
                partition: (
                    ErrorCode.none if partition in record.partitions else ErrorCode.transaction_abortable
                )
                for partition in request.partitions
            }
        )

    def _verify_offsets(self, request: VerifyOffsets) -> ErrorCode:
        record = self._check(request)
        if not isinstance(record, TransactionRecord):
            return record
        return ErrorCode.none if request.group_id in record.groups else ErrorCode.transaction_abortable

    def _end(self, request: EndTxn, now_ms: int) -> ProducerResult:
        if not request.transactional_id:
            return ProducerResult(ErrorCode.invalid_request)
        record = self._records.get(request.transactional_id)
        if record is None:
            return ProducerResult(ErrorCode.invalid_producer_id_mapping)
        verdict = _end_v2(record, request) if request.is_v2 else _end_v1(record, request)
        if verdict is ErrorCode.none:  # it is done already
            return ProducerResult(verdict, record.producer_id, record.producer_epoch)
        if verdict is not None:
            return ProducerResult(verdict)
        next_producer_id = NO_PRODUCER_ID
        if request.is_v2 and is_exhausted(record.producer_epoch):
            next_producer_id = request.new_producer_id
        self._prepare(
            request.transactional_id,
            now_ms,
            is_commit=request.is_commit,
            is_v2=request.is_v2,
            next_producer_id=next_producer_id,
        )
        if next_producer_id != NO_PRODUCER_ID:
            return ProducerResult(ErrorCode.none, next_producer_id, 0)
        record = self._records[request.transactional_id]
        return ProducerResult(ErrorCode.none, record.producer_id, record.producer_epoch)

    def _fence(self, transactional_id: str, now_ms: int) -> None:
        """Abort the open transaction under an epoch that its producer does not have."""
        self._become(transactional_id, TransactionState.PREPARE_EPOCH_FENCE, now_ms, is_stored=False)
        self._prepare(transactional_id, now_ms, is_commit=False, is_v2=True)

    def _prepare(
        self,
        transactional_id: str,
        now_ms: int,
        *,
        is_commit: bool,
        is_v2: bool,
        next_producer_id: int = NO_PRODUCER_ID,
    ) -> None:
        """Decide the outcome, and have it written where the transaction was."""
        record = self._records[transactional_id]
        changes: dict[str, Any] = {}
        if is_v2:
            changes["producer_epoch"] = min(record.producer_epoch + 1, PRODUCER_EPOCH_MAX)
            changes["last_producer_epoch"] = min(record.producer_epoch, PRODUCER_EPOCH_MAX - 1)
        if record.state in IDLE:  # nothing was added, and the producer aborts to be sure
            changes["start_time_ms"] = now_ms
        self._become(
            transactional_id,
            TransactionState.PREPARE_COMMIT if is_commit else TransactionState.PREPARE_ABORT,
            now_ms,
            next_producer_id=next_producer_id,
            is_v2=is_v2,
            **changes,
        )
        self._emit(CancelTimer(TimerKey(TIMEOUT_TIMER, transactional_id)))
        self._write_markers(transactional_id)

    def _write_markers(self, transactional_id: str) -> None:
        record = self._records[transactional_id]
        self._emit(
            WriteMarkers(
                transactional_id,
                record.producer_id,
                record.producer_epoch,
                is_commit=record.state is TransactionState.PREPARE_COMMIT,
                is_v2=record.is_v2,
                partitions=record.partitions,
                groups=record.groups,
            )
        )

    # Administration.

    def _describe(self, transactional_id: str) -> DescribeTransactionResult:
        record = self._records.get(transactional_id)
        if not transactional_id:
            return DescribeTransactionResult(ErrorCode.invalid_request, transactional_id)
        if record is None:
            return DescribeTransactionResult(ErrorCode.transactional_id_not_found, transactional_id)
        return DescribeTransactionResult(
            ErrorCode.none,
            transactional_id,
            record.state.value,
            record.timeout_ms,
            record.start_time_ms,
            record.producer_id,
            record.producer_epoch,
            record.partitions,
            record.groups,
        )

    def _list(self, request: ListTransactions, now_ms: int) -> ListTransactionsResult:
        pattern = None
        if request.pattern:
            try:
                check_regex(request.pattern)
            except KafkaError as exc:
                return ListTransactionsResult(exc.code)
            pattern = re2.compile(request.pattern)
        known = {state.value for state in TransactionState}
        return ListTransactionsResult(
            ErrorCode.none,
            tuple(
                ListedTransaction(transactional_id, record.producer_id, record.state.value)
                for transactional_id, record in self._records.items()
                if (not request.states or record.state.value in request.states)
                and (not request.producer_ids or record.producer_id in request.producer_ids)
                and (request.duration_ms < 0 or now_ms - record.start_time_ms > request.duration_ms)
                and (pattern is None or pattern.fullmatch(transactional_id))
            ),
            tuple(sorted(request.states - known)),
        )

    def _expire(self, now_ms: int) -> None:
        before_ms = now_ms - self._settings.expiration_ms
        for transactional_id, record in list(self._records.items()):
            if record.state in IDLE and record.update_time_ms <= before_ms:
                self._become(transactional_id, TransactionState.DEAD, now_ms, is_stored=False)
                del self._records[transactional_id]
                self._emit(StoreTransaction(transactional_id, None))

    # Plumbing.

    def _restore(self, transactional_id: str, record: TransactionRecord, now_ms: int) -> None:
        self._records[transactional_id] = record
        if record.state in PREPARED:
            self._write_markers(transactional_id)
        elif record.state is TransactionState.ONGOING:
            left_ms = record.start_time_ms + record.timeout_ms - now_ms
            # The clock may have been set back or forth meanwhile.
            delay_ms = min(max(left_ms, 0), record.timeout_ms)
            self._emit(SetTimer(TimerKey(TIMEOUT_TIMER, transactional_id), delay_ms))

    def _become(
        self,
        transactional_id: str,
        state: TransactionState,
        now_ms: int,
        *,
        is_stored: bool = True,
        can_wait: bool = False,
        **changes: Any,
    ) -> None:
        record = self._records[transactional_id]
        assert state in TRANSITIONS[record.state], f"{transactional_id}: {record.state} -> {state}"
        changes.setdefault("previous_producer_id", record.producer_id)
        new = dataclasses.replace(record, state=state, update_time_ms=now_ms, **changes)
        self._records[transactional_id] = new
        if is_stored:
            self._emit(StoreTransaction(transactional_id, new, can_wait))

    def _emit(self, effect: TransactionEffect) -> None:
        self._effects.append(effect)

    def _drain(self) -> list[TransactionEffect]:
        effects, self._effects = self._effects, []
        return effects


def _may_go_on(record: TransactionRecord, request: InitProducerId) -> bool:
    """Whether the producer has the id and epoch that hold, or those before and has not heard of the new."""
    if request.producer_id == record.producer_id:
        # Kafka looks at the epoch only when no transaction is open: a zombie can have a younger producer's
        # transaction aborted there.
        return request.producer_epoch in (record.producer_epoch, record.last_producer_epoch)
    return request.producer_id == record.previous_producer_id and is_exhausted(request.producer_epoch)


def _end_v1(record: TransactionRecord, request: EndTxn) -> ErrorCode | None:
    """None when the transaction is to end now, NONE when it has ended so, else why it cannot."""
    if record.producer_id != request.producer_id:
        return ErrorCode.invalid_producer_id_mapping
    if record.producer_epoch != request.producer_epoch:
        return ErrorCode.producer_fenced
    state, is_commit = record.state, request.is_commit
    if state is TransactionState.ONGOING:
        return None
    if state is _completed(is_commit=is_commit):
        return ErrorCode.none
    if state is _prepared(is_commit=is_commit):
        return ErrorCode.concurrent_transactions
    return ErrorCode.invalid_txn_state


def _end_v2(record: TransactionRecord, request: EndTxn) -> ErrorCode | None:
    """As `_end_v1`. The same state with the current epoch is the next transaction, not a repeated request."""
    state, is_commit, epoch = record.state, request.is_commit, request.producer_epoch
    if record.producer_id == request.producer_id:
        is_current = record.producer_epoch == epoch
        follows = record.producer_epoch == epoch + 1
    else:
        is_current = False
        follows = (
            record.producer_epoch == 0
            and record.previous_producer_id == request.producer_id
            and is_exhausted(epoch)
        )
        if not follows:
            return ErrorCode.invalid_producer_id_mapping
    if is_current and state not in PREPARED:
        is_possible = state is TransactionState.ONGOING or not is_commit
        return None if is_possible else ErrorCode.invalid_txn_state
    # The epoch before this one was the same producer's, not that of one which was replaced.
    is_repeated = follows and record.last_producer_epoch == epoch
    if not is_repeated or state in (TransactionState.EMPTY, TransactionState.ONGOING):
        return ErrorCode.producer_fenced
    if state is _prepared(is_commit=is_commit):
        return ErrorCode.concurrent_transactions
    if state is not _completed(is_commit=is_commit):
        return ErrorCode.invalid_txn_state
    # A late transaction that was aborted under the last epoch, which no client may have: its producer aborts
    # once more, and gets a new id. (Kafka hands the epoch out.)
    return None if record.producer_epoch == PRODUCER_EPOCH_MAX else ErrorCode.none


def _prepared(*, is_commit: bool) -> TransactionState:
    return TransactionState.PREPARE_COMMIT if is_commit else TransactionState.PREPARE_ABORT


def _completed(*, is_commit: bool) -> TransactionState:
    return TransactionState.COMPLETE_COMMIT if is_commit else TransactionState.COMPLETE_ABORT
