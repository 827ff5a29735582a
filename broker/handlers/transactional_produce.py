"""Which transactional batches of a Produce may be written: those of partitions that the coordinator has.

A partition whose log has the producer's transaction open was let through before, and nobody is asked. For
another the coordinator is: since version 12 (transactions v2, KIP-890) it adds the partition to the
transaction, durably, before the batch is in the log; for older ones it says whether AddPartitionsToTxn has.
While a producer's request waits for that, its later ones wait behind it: batches stay in their order.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from broker.catalog import Catalog
from broker.coordinator.records import TopicPartition
from broker.coordinator.transaction_messages import (
    AddPartitions,
    VerifyPartitions,
    VerifyPartitionsResult,
)
from broker.handlers.coordination import Transactions, verification_error
from broker.handlers.registry import Deferred
from broker.log.manager import LogManager
from broker.wire.batch import BatchHeader, InvalidBatch
from broker.wire.errors import ErrorCode, KafkaError
from broker.wire.produce import ProduceRequest, ProduceResponse

TRANSACTIONS_V2_SINCE = 12
ABORTABLE_SINCE = 11

WAITING_BYTES_MAX = 64 * 1024 * 1024
"""Records of requests that wait, of all producers together; more are to be sent again."""

COORDINATOR_AWAY = frozenset(
    {
        ErrorCode.coordinator_not_available,
        ErrorCode.coordinator_load_in_progress,
        ErrorCode.not_coordinator,
    }
)

Admission = dict[TopicPartition, KafkaError | None]
"""None for the partitions whose transactional batches may be written, and why not for the others. One that
is not in it was not there when the coordinator was asked."""

Write = Callable[[Admission], ProduceResponse | Deferred]
"""Writes what may be written."""


@dataclass(slots=True)
class _Job:
    """A request that waits. `admission` is None until the coordinator has answered."""

    version: int
    transactional_id: str
    batches: dict[TopicPartition, BatchHeader]
    size: int
    write: Write
    answer: Deferred = field(default_factory=Deferred)
    admission: Admission | None = None
    is_asking: bool = False


class TransactionalProduce:
    def __init__(self, catalog: Catalog, logs: LogManager, transactions: Transactions) -> None:
        self._catalog = catalog
        self._logs = logs
        self._transactions = transactions
        self._waiting: dict[int, deque[_Job]] = {}
        """By producer id, in the order in which they came."""
        self._waiting_bytes = 0

    def produce(self, version: int, request: ProduceRequest, write: Write) -> ProduceResponse | Deferred:
        """Call `write` now or when the coordinator has answered, and return what it returns."""
        assert request.transactional_id is not None
        batches = self._transactional_batches(request)
        producers = {(header.producer_id, header.producer_epoch) for header in batches.values()}
        if len(producers) > 1:
            error = KafkaError(
                ErrorCode.invalid_producer_id_mapping,
                "transactional records contained more than one producer id and epoch",
            )
            return write(dict.fromkeys(batches, error))
        if not producers:
            return write({})
        ((producer_id, _),) = producers
        waiting = self._waiting.get(producer_id)
        if waiting is None and not self._unknown(batches):
            return write(dict.fromkeys(batches))
        size = sum(len(p.records) for topic in request.topics for p in topic.partitions if p.records)
        if self._waiting_bytes + size > WAITING_BYTES_MAX:
            full = KafkaError(ErrorCode.not_enough_replicas, "too much waits for the transaction coordinator")
            return write(dict.fromkeys(batches, full))
        _keep_records(request)
        job = _Job(version, request.transactional_id, batches, size, write)
        self._waiting_bytes += size
        if waiting is None:
            self._waiting[producer_id] = deque([job])
            self._go_on(producer_id)
        else:
            waiting.append(job)
        return job.answer

    def _transactional_batches(self, request: ProduceRequest) -> dict[TopicPartition, BatchHeader]:
        """The headers of those that are intact enough to be asked for; the log refuses the others."""
        batches = {}
        for topic in request.topics:
            name = topic.name
            if name is None:
                name = self._catalog.topics.name_of(None, topic.topic_id)
            for partition in topic.partitions:
                if name is None or partition.records is None:
                    continue
                try:
                    header = BatchHeader(partition.records)
                except InvalidBatch:
                    continue
                if header.is_transactional and self._logs.get(name, partition.index) is not None:
                    batches[name, partition.index] = header
        return batches

    def _unknown(self, batches: dict[TopicPartition, BatchHeader]) -> frozenset[TopicPartition]:
        """Partitions in which the producer has no transaction open under this epoch."""
        return frozenset(
            partition for partition, header in batches.items() if not self._is_open(partition, header)
        )

    def _is_open(self, partition: TopicPartition, header: BatchHeader) -> bool:
        log = self._logs.get(*partition)
        if log is None or log.open_transaction(header.producer_id) is None:
            return False
        producer = log.producers.get(header.producer_id)
        return producer is not None and producer.producer_epoch == header.producer_epoch

    def _go_on(self, producer_id: int) -> None:
        """Write what the producer has waiting, up to a request that has to wait for the coordinator."""
        waiting = self._waiting[producer_id]
        while waiting:
            job = waiting[0]
            if job.admission is None:
                self._ask(producer_id, job)
            if job.admission is None:
                return
            waiting.popleft()
            self._waiting_bytes -= job.size
            written = job.write(job.admission)
            if isinstance(written, Deferred):
                written.listen(job.answer.resolve)
            else:
                job.answer.resolve(written)
        del self._waiting[producer_id]

    def _ask(self, producer_id: int, job: _Job) -> None:
        unknown = self._unknown(job.batches)
        if not unknown:  # a request before it has opened the transaction there
            job.admission = dict.fromkeys(job.batches)
            return
        producer_epoch = job.batches[next(iter(unknown))].producer_epoch
        request: AddPartitions | VerifyPartitions
        if job.version >= TRANSACTIONS_V2_SINCE:
            request = AddPartitions(job.transactional_id, producer_id, producer_epoch, unknown, is_v2=True)
        else:
            request = VerifyPartitions(job.transactional_id, producer_id, producer_epoch, unknown)

        def answered(result: Any) -> None:
            job.admission = dict.fromkeys(job.batches) | _errors(job.version, unknown, result)
            if not job.is_asking:
                self._go_on(producer_id)

        job.is_asking = True
        self._transactions.ask_then(request, answered)
        job.is_asking = False


def _keep_records(request: ProduceRequest) -> None:
    """The memory that a request came in is used again when its handler has returned."""
    for topic in request.topics:
        for partition in topic.partitions:
            if partition.records is not None:
                partition.records = memoryview(bytearray(partition.records))


def _errors(version: int, partitions: frozenset[TopicPartition], result: Any) -> Admission:
    if isinstance(result, VerifyPartitionsResult):
        errors = dict(result.errors)
    else:
        code = result.code if isinstance(result, KafkaError) else result.error_code
        errors = dict.fromkeys(partitions, code)
    return {
        partition: None if code is ErrorCode.none else _refusal(version, code)
        for partition, code in errors.items()
    }


def _refusal(version: int, error_code: ErrorCode) -> KafkaError:
    code = verification_error(error_code, knows_abortable=version >= ABORTABLE_SINCE)
    if code in COORDINATOR_AWAY:
        # Older clients repeat a Produce after this error, and do not after those of coordinators.
        return KafkaError(ErrorCode.not_enough_replicas, "the transaction coordinator is not available")
    if code is ErrorCode.concurrent_transactions and version < TRANSACTIONS_V2_SINCE:
        return KafkaError(ErrorCode.not_enough_replicas, "the transaction before this one is being ended")
    if code is ErrorCode.invalid_txn_state:
        return KafkaError(code, "Partition was not added to the transaction")
    return KafkaError(code)
