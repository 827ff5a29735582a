"""Produce, versions 3 to 13.

Advertised from version 0: older librdkafka takes a higher minimum as a sign that it must not compress.
`timeout.ms` has nothing to wait for on one node; zstd before version 7 is refused as Kafka does.
Gap: acks=0 closes the connection of a transactional producer, which has to hear what became of its batches.
"""

import time

from broker.catalog import Catalog
from broker.coordinator.records import TopicPartition
from broker.handlers.coordination import Transactions
from broker.handlers.registry import Api, Deferred, RequestContext
from broker.handlers.transactional_produce import (
    TRANSACTIONS_V2_SINCE,
    Admission,
    TransactionalProduce,
)
from broker.log.manager import LogManager
from broker.log.partition_log import PartitionLog
from broker.log.sync import GroupCommit
from broker.wire.batch import CODEC_MASK, TRANSACTIONAL_FLAG
from broker.wire.errors import ErrorCode, KafkaError, ProtocolViolation
from broker.wire.produce import (
    PartitionRecords,
    PartitionResult,
    ProduceCodec,
    ProduceRequest,
    ProduceResponse,
    TopicRecords,
    TopicResult,
)

PRODUCE_KEY = 0
VERSIONS = range(3, 14)

ACKS_ALL = -1
ZSTD = 4
ZSTD_SINCE = 7
ATTRIBUTES_LOW_BYTE = 22


class ProduceHandler:
    def __init__(
        self, catalog: Catalog, logs: LogManager, commits: GroupCommit, transactions: Transactions
    ) -> None:
        self._catalog = catalog
        self._logs = logs
        self._commits = commits
        self._transactional = TransactionalProduce(catalog, logs, transactions)

    def apis(self) -> list[Api]:
        return [
            Api(
                PRODUCE_KEY,
                "Produce",
                VERSIONS,
                ProduceRequest,
                self._produce,
                advertised_minimum=0,
                codec=ProduceCodec(),
            )
        ]

    def _produce(self, context: RequestContext, request: ProduceRequest) -> ProduceResponse | Deferred | None:
        refusal = _refusal(request)
        if request.transactional_id is not None and refusal is None:
            return self._transactional.produce(
                context.api_version, request, lambda admission: self._write(context, request, None, admission)
            )
        if request.acks == 0:
            response, _ = self._append_all(context, request, refusal, None)
            _check_unanswered(response)
            return None
        return self._write(context, request, refusal, None)

    def _write(
        self,
        context: RequestContext,
        request: ProduceRequest,
        refusal: KafkaError | None,
        admission: Admission | None,
    ) -> ProduceResponse | Deferred:
        response, written = self._append_all(context, request, refusal, admission)
        if request.acks == ACKS_ALL and written:
            return self._answer_when_synced(response, written)
        return response

    def _append_all(
        self,
        context: RequestContext,
        request: ProduceRequest,
        refusal: KafkaError | None,
        admission: Admission | None,
    ) -> tuple[ProduceResponse, list[tuple[PartitionLog, PartitionResult]]]:
        """With a `refusal` nothing is appended; the `admission` is for transactional batches."""
        now_ms = time.time_ns() // 1_000_000
        written: list[tuple[PartitionLog, PartitionResult]] = []
        topics = []
        for topic in request.topics:
            name, unknown = self._topic_name(topic)
            results = []
            for partition in topic.partitions:
                result = PartitionResult(partition.index)
                results.append(result)
                try:
                    if refusal is not None:
                        raise refusal
                    if name is None:
                        raise KafkaError(unknown)
                    log = self._append(context, name, partition, result, now_ms, admission)
                    written.append((log, result))
                except KafkaError as error:
                    result.error_code, result.error_message = error.code, error.message or None
            topics.append(TopicResult(topic.name, topic.topic_id, results))
        return ProduceResponse(topics), written

    def _topic_name(self, topic: TopicRecords) -> tuple[str | None, ErrorCode]:
        """The topic's name, or None and the error that says why not."""
        if topic.topic_id is not None:
            found = self._catalog.topics.by_id(topic.topic_id)
            return (found.name if found else None), ErrorCode.unknown_topic_id
        return topic.name, ErrorCode.unknown_topic_or_partition

    def _append(
        self,
        context: RequestContext,
        topic: str,
        partition: PartitionRecords,
        result: PartitionResult,
        now_ms: int,
        admission: Admission | None,
    ) -> PartitionLog:
        log = self._logs.get(topic, partition.index)
        if log is None:
            raise KafkaError(ErrorCode.unknown_topic_or_partition)
        if not self._catalog.placement.leads(topic, partition.index):
            raise KafkaError(ErrorCode.not_leader_or_follower)
        records = partition.records
        if records is None:
            raise KafkaError(ErrorCode.invalid_record, "null records")
        attributes = records[ATTRIBUTES_LOW_BYTE] if len(records) > ATTRIBUTES_LOW_BYTE else 0
        if attributes & CODEC_MASK == ZSTD and context.api_version < ZSTD_SINCE:
            raise KafkaError(
                ErrorCode.unsupported_compression_type, f"zstd needs Produce version {ZSTD_SINCE}"
            )
        must_begin = False
        if attributes & TRANSACTIONAL_FLAG:
            _check_admission(admission, (topic, partition.index))
            must_begin = context.api_version >= TRANSACTIONS_V2_SINCE
        appended = log.append(records, now_ms, must_begin=must_begin)
        self._commits.written(log)
        result.base_offset = appended.base_offset
        result.log_append_time_ms = appended.append_time_ms
        result.log_start_offset = log.log_start_offset
        return log

    def _answer_when_synced(
        self, response: ProduceResponse, written: list[tuple[PartitionLog, PartitionResult]]
    ) -> Deferred:
        deferred = Deferred()

        def synced() -> None:
            for log, result in written:
                if log.failure is not None:
                    result.error_code, result.error_message = log.failure.code, log.failure.message
                    result.base_offset = -1
            deferred.resolve(response)

        self._commits.after_sync([log for log, _ in written], synced)
        return deferred


def _check_admission(admission: Admission | None, partition: TopicPartition) -> None:
    if admission is None:
        raise KafkaError(
            ErrorCode.transactional_id_authorization_failed,
            "a transactional batch in a request without a transactional id",
        )
    if partition not in admission:  # it was created meanwhile, and the coordinator does not know of it
        raise KafkaError(ErrorCode.unknown_topic_or_partition)
    if (error := admission[partition]) is not None:
        raise error


def _refusal(request: ProduceRequest) -> KafkaError | None:
    """Why none of the request's batches may be written."""
    if request.acks not in (0, 1, ACKS_ALL):
        return KafkaError(ErrorCode.invalid_required_acks, f"acks={request.acks} is none of 0, 1 and -1")
    if request.acks == 0 and request.transactional_id is not None:
        return KafkaError(ErrorCode.invalid_required_acks, "acks=0 with a transactional id")
    return None


def _check_unanswered(response: ProduceResponse) -> None:
    """With acks=0 nothing is answered; an error closes the connection, so that the client notices."""
    for topic in response.topics:
        for result in topic.partitions:
            if result.error_code != ErrorCode.none:
                raise ProtocolViolation(
                    f"Produce with acks=0 to {topic.name or topic.topic_id}-{result.index}: "
                    f"{result.error_message or result.error_code.name}"
                )
