"""What a transaction coordinator lives in, without I/O: a clock, timers, a disk, logs and groups in memory.

It does what `broker.server.transactions.TransactionShell` does, with the broker's own order of effects
(`TransactionQueue`), its own admission of Produce (`TransactionalProduce`) and its own producer states, but
under the test's control: nothing is durable before `store_next` and `sync`, and `crash` loses what is not.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from broker.coordinator.effects import CancelTimer, Reply, SetTimer, TimerKey
from broker.coordinator.records import TopicPartition
from broker.coordinator.transaction_coordinator import TransactionCoordinator, TransactionSettings
from broker.coordinator.transaction_effects import (
    Done,
    OrderedEffect,
    StoreTransaction,
    TransactionEffect,
    TransactionQueue,
    WriteMarkers,
)
from broker.coordinator.transaction_messages import TransactionRequest
from broker.coordinator.transaction_records import decode_transaction_record, encode_transaction_record
from broker.handlers.registry import Deferred
from broker.handlers.transactional_produce import Admission, TransactionalProduce
from broker.log.producers import ProducerStates
from broker.log.transactions import TransactionMarker
from broker.wire.batch import HEADER_LAYOUT, TRANSACTIONAL_FLAG, BatchHeader
from broker.wire.errors import ErrorCode, KafkaError
from broker.wire.markers import marker_batch
from broker.wire.produce import PartitionRecords, ProduceRequest, ProduceResponse, TopicRecords

START_MS = 1_700_000_000_000
GROUP = ("a group's offsets", 0)
"""A group is a log to this world: what a transaction commits to it is there when its marker is."""


@dataclass(slots=True)
class Entry:
    """A batch of one record, which belongs to transaction `number`, or a marker."""

    header: BatchHeader
    number: int = 0
    marker: TransactionMarker | None = None


class ModelLog:
    """A partition in memory. `synced` is how much of it a power failure leaves for sure."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.producers = ProducerStates()
        self.synced = 0
        self.failure: KafkaError | None = None

    def open_transaction(self, producer_id: int) -> int | None:
        return self.producers.open_transaction(producer_id)

    def append(self, records: memoryview, *, must_begin: bool) -> bool:
        """False when it was there already."""
        self.check_online()
        header = BatchHeader(records)
        if self.producers.check(header, must_begin=must_begin) is not None:
            return False
        self._add(Entry(header, number=header.base_timestamp))
        return True

    def append_offsets(self, producer_id: int, producer_epoch: int, number: int) -> None:
        """A group does not count sequences."""
        producer = self.producers.get(producer_id)
        sequence = 0
        if producer is not None and producer.producer_epoch == producer_epoch:
            sequence = producer.last_sequence + 1
        self._add(Entry(BatchHeader(batch(producer_id, producer_epoch, sequence, number)), number=number))

    def append_marker(self, marker: TransactionMarker) -> None:
        self.check_online()
        self.producers.check_marker(marker)
        self._add(Entry(BatchHeader(marker_batch(marker, 0)), marker=marker))

    def check_online(self) -> None:
        if self.failure is not None:
            raise self.failure

    def _add(self, entry: Entry) -> None:
        entry.header.base_offset = len(self.entries)
        self.entries.append(entry)
        self._note(entry)

    def _note(self, entry: Entry) -> None:
        if entry.marker is None:
            self.producers.add(entry.header, 0)
        else:
            self.producers.add_marker(entry.marker, entry.header, 0)

    def restart(self, kept: int) -> None:
        """What the next process finds."""
        del self.entries[kept:]
        self.synced = len(self.entries)
        self.failure = None
        self.producers = ProducerStates()
        for entry in self.entries:
            self._note(entry)


class Logs(dict[TopicPartition, ModelLog]):
    """As `LogManager.get` is called."""

    def get(self, topic: str, partition: int) -> ModelLog | None:  # type: ignore[override]  # LogManager's
        return dict.get(self, (topic, partition))


@dataclass(slots=True)
class Sync:
    """Who waits for what is written now to be durable. `ends` are taken when the sync begins."""

    logs: list[ModelLog]
    done: Callable[[bool], None]
    ends: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ends = [len(log.entries) for log in self.logs]


def batch(producer_id: int, producer_epoch: int, sequence: int, number: int) -> bytearray:
    """The header of a transactional batch of one record, and no record: nobody looks at it."""
    packed = HEADER_LAYOUT.pack(
        0, 49, 0, 2, 0, TRANSACTIONAL_FLAG, 0, number, 0, producer_id, producer_epoch, sequence, 1
    )
    return bytearray(packed)


class TransactionWorld:
    """`on_append` hears of every batch as it is appended; `documents` are stored already."""

    def __init__(
        self,
        settings: TransactionSettings,
        partitions: list[TopicPartition],
        on_append: Callable[[Entry], None],
        *,
        documents: dict[str, bytes],
    ) -> None:
        self.clock_ms = 0
        self.wall_clock_skew_ms = 0
        self.documents = documents
        self.stores: deque[tuple[StoreTransaction, Done]] = deque()
        self.syncs: deque[Sync] = deque()
        self.flushes: list[str] = []
        self.retries: list[Callable[[], None]] = []
        """Markers that could not be written: each tries again."""
        self.timers: dict[TimerKey, int] = {}
        self.logs = Logs({partition: ModelLog() for partition in partitions})
        self.logs[GROUP] = ModelLog()
        self._settings = settings
        self._on_append = on_append
        self._life = 0
        self._start()

    @property
    def wall_clock_ms(self) -> int:
        return START_MS + self.clock_ms + self.wall_clock_skew_ms

    @property
    def is_settled(self) -> bool:
        return not (self.stores or self.syncs or self.flushes or self.retries)

    # What clients ask.

    def ask_then(self, request: TransactionRequest, then: Callable[[Any], None]) -> None:
        """See `broker.handlers.coordination.Transactions`."""
        self._perform(self.coordinator.on_request(request, then, self.wall_clock_ms))

    def produce(
        self,
        version: int,
        transactional_id: str,
        batches: dict[TopicPartition, bytearray],
        then: Callable[[dict[TopicPartition, ErrorCode]], None],
    ) -> None:
        """`then` hears the error of each partition, once what was written is durable."""
        topics = [
            TopicRecords(topic, None, [PartitionRecords(partition, memoryview(records))])
            for (topic, partition), records in batches.items()
        ]
        request = ProduceRequest(transactional_id, -1, 1000, topics)

        def write(admission: Admission) -> ProduceResponse | Deferred:
            return self._write(request, admission, must_begin=version >= 12)

        answer = self._admission.produce(version, request, write)
        assert isinstance(answer, Deferred)
        answer.listen(then)

    def _write(self, request: ProduceRequest, admission: Admission, *, must_begin: bool) -> Deferred:
        errors: dict[TopicPartition, ErrorCode] = {}
        written = []
        for topic in request.topics:
            partition = topic.name or "", topic.partitions[0].index
            records = topic.partitions[0].records
            assert records is not None
            log = dict.get(self.logs, partition)
            try:
                if log is None or partition not in admission:
                    raise KafkaError(ErrorCode.unknown_topic_or_partition)
                if (error := admission[partition]) is not None:
                    raise error
                if log.append(records, must_begin=must_begin):
                    self._on_append(log.entries[-1])
                written.append(log)
                errors[partition] = ErrorCode.none
            except KafkaError as refused:
                errors[partition] = refused.code
        deferred = Deferred()

        def synced(ok: bool) -> None:
            deferred.resolve(
                {
                    p: e if ok or e is not ErrorCode.none else ErrorCode.kafka_storage_error
                    for p, e in errors.items()
                }
            )

        self.syncs.append(Sync(written, synced))
        return deferred

    def commit_offsets(self, request: Any, number: int, then: Callable[[ErrorCode], None]) -> None:
        """TxnOffsetCommit: `request` is a VerifyOffsets."""

        def verified(result: Any) -> None:
            if isinstance(result, KafkaError) or result.error_code is not ErrorCode.none:
                then(result.code if isinstance(result, KafkaError) else result.error_code)
                return
            log = self.logs[GROUP]
            if log.failure is not None:
                then(log.failure.code)
                return
            log.append_offsets(request.producer_id, request.producer_epoch, number)
            self._on_append(log.entries[-1])
            self.syncs.append(
                Sync([log], lambda ok: then(ErrorCode.none if ok else ErrorCode.coordinator_not_available))
            )

        self.ask_then(request, verified)

    # What the queues ask for (TransactionPerformer).

    def store(self, store: StoreTransaction, done: Done) -> None:
        self.stores.append((store, done))

    def flush_later(self, transactional_id: str) -> None:
        self.flushes.append(transactional_id)

    def flush(self) -> None:
        """Store what has waited."""
        flushes, self.flushes = self.flushes, []
        for transactional_id in flushes:
            self._queues[transactional_id].flush()

    def write_markers(self, markers: WriteMarkers, written: Callable[[], None], durable: Done) -> None:
        missing = set(markers.partitions) | ({GROUP} if markers.groups else set())
        marker = TransactionMarker(
            markers.producer_id,
            markers.producer_epoch,
            0,
            markers.is_commit,
            transaction_version=2 if markers.is_v2 else 0,
        )
        touched: list[ModelLog] = []
        life = self._life

        def attempt() -> None:
            if life != self._life:
                return
            for partition in sorted(missing):
                log = dict.get(self.logs, partition)
                if log is not None:
                    try:
                        log.append_marker(marker)
                        touched.append(log)
                    except KafkaError as error:
                        if error.code is ErrorCode.kafka_storage_error:
                            continue
                missing.discard(partition)
            if missing:
                self.retries.append(attempt)
                return
            written()
            if touched:
                self.syncs.append(Sync(touched, durable))
            else:
                durable(True)

        attempt()

    def answer(self, reply: Reply, *, is_stored: bool) -> None:
        reply.reply_to(reply.response if is_stored else KafkaError(ErrorCode.coordinator_not_available))

    def markers_written(self, transactional_id: str) -> None:
        self._perform(self.coordinator.on_markers_written(transactional_id, self.wall_clock_ms))

    def go_back(self, transactional_id: str) -> None:
        document = self.documents.get(transactional_id)
        record = None if document is None else decode_transaction_record(document)
        self._perform(self.coordinator.reload(transactional_id, record, self.wall_clock_ms))

    # What happens to it.

    def store_next(self, *, ok: bool = True) -> None:
        """The oldest store is durable, or fails."""
        store, done = self.stores.popleft()
        if ok:
            self._apply(store)
        done(ok)

    def sync_next(self, *, ok: bool = True) -> None:
        """The oldest sync is done; one that fails takes its logs offline."""
        sync = self.syncs.popleft()
        for log, end in zip(sync.logs, sync.ends, strict=True):
            if ok:
                log.synced = max(log.synced, end)
            else:
                log.failure = KafkaError(ErrorCode.kafka_storage_error)
        sync.done(ok)

    def retry(self) -> None:
        retries, self.retries = self.retries, []
        for attempt in retries:
            attempt()

    def next_timer_ms(self) -> int | None:
        return min(self.timers.values(), default=None)

    def fire_due(self) -> None:
        """Fire the timers that are due by `clock_ms`, in their order."""
        while due := [(at, key) for key, at in self.timers.items() if at <= self.clock_ms]:
            _, key = min(due, key=lambda item: item[0])
            del self.timers[key]
            self._perform(self.coordinator.on_timer(key, self.wall_clock_ms))

    def crash(self, stored: int, kept: Callable[[ModelLog], int]) -> None:
        """Stop and start again. The first `stored` stores made it, and of each log what `kept` says."""
        for store, _ in list(self.stores)[:stored]:
            self._apply(store)
        for log in self.logs.values():
            log.restart(kept(log))
        for pending in (self.stores, self.syncs, self.flushes, self.retries, self.timers):
            pending.clear()
        self._life += 1
        self._start()

    def _start(self) -> None:
        self.coordinator = TransactionCoordinator(self._settings)
        self._queues: dict[str, TransactionQueue] = {}
        self._admission = TransactionalProduce(None, self.logs, self)  # type: ignore[arg-type]  # models
        records = {key: decode_transaction_record(document) for key, document in self.documents.items()}
        self._perform(self.coordinator.load(records, self.wall_clock_ms))

    def _apply(self, store: StoreTransaction) -> None:
        if store.record is None:
            self.documents.pop(store.transactional_id, None)
        else:
            self.documents[store.transactional_id] = encode_transaction_record(store.record)

    def _perform(self, effects: list[TransactionEffect]) -> None:
        ordered: dict[str, list[OrderedEffect]] = {}
        for effect in effects:
            match effect:
                case SetTimer():
                    self.timers[effect.key] = self.clock_ms + effect.delay_ms
                case CancelTimer():
                    self.timers.pop(effect.key, None)
                case Reply():
                    ordered.setdefault(effect.owner, []).append(effect)
                case _:
                    ordered.setdefault(effect.transactional_id, []).append(effect)
        for transactional_id, of_one in ordered.items():
            queue = self._queues.get(transactional_id)
            if queue is None:
                queue = self._queues[transactional_id] = TransactionQueue(transactional_id, self)
            queue.push(of_one)
