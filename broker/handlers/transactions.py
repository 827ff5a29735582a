"""AddPartitionsToTxn 0 to 5, AddOffsetsToTxn 0 to 4, EndTxn 0 to 5.

Clients send AddPartitionsToTxn up to version 3; from 4 on it is for brokers, several transactions at once.
"""

import asyncio
from dataclasses import dataclass

from broker.catalog import CatalogWriteError, TopicsImage
from broker.catalog.producer_ids import ProducerIds
from broker.coordinator.records import TopicPartition
from broker.coordinator.transaction_coordinator import is_exhausted
from broker.coordinator.transaction_messages import (
    AddOffsets,
    AddPartitions,
    EndTxn,
    ProducerResult,
    TransactionResult,
    VerifyPartitions,
    VerifyPartitionsResult,
)
from broker.coordinator.transaction_records import NO_PRODUCER_ID
from broker.handlers.coordination import Transactions
from broker.handlers.registry import Api, RequestContext
from broker.wire.errors import ErrorCode, KafkaError

PRODUCER_FENCED_SINCE = 2
SEVERAL_SINCE = 4
TRANSACTIONS_V2_SINCE = 5


@dataclass(frozen=True, slots=True)
class TxnTopic:
    name: str
    partitions: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TxnPartitions:
    transactional_id: str
    producer_id: int
    producer_epoch: int
    verify_only: bool
    topics: tuple[TxnTopic, ...]


@dataclass(frozen=True, slots=True)
class AddPartitionsToTxnRequest:
    """One transaction in the `v3_and_below` fields before version 4."""

    v3_and_below_transactional_id: str = ""
    v3_and_below_producer_id: int = -1
    v3_and_below_producer_epoch: int = -1
    v3_and_below_topics: tuple[TxnTopic, ...] = ()
    transactions: tuple[TxnPartitions, ...] = ()


@dataclass(frozen=True, slots=True)
class TxnPartitionResult:
    partition_index: int
    partition_error_code: ErrorCode


@dataclass(frozen=True, slots=True)
class TxnTopicResult:
    name: str
    results_by_partition: tuple[TxnPartitionResult, ...]


@dataclass(frozen=True, slots=True)
class TxnResult:
    transactional_id: str
    topic_results: tuple[TxnTopicResult, ...]


@dataclass(frozen=True, slots=True)
class AddPartitionsToTxnResponse:
    results_by_topic_v3_and_below: tuple[TxnTopicResult, ...] = ()
    error_code: ErrorCode = ErrorCode.none
    results_by_transaction: tuple[TxnResult, ...] = ()


@dataclass(frozen=True, slots=True)
class AddOffsetsToTxnRequest:
    transactional_id: str
    producer_id: int
    producer_epoch: int
    group_id: str


@dataclass(frozen=True, slots=True)
class AddOffsetsToTxnResponse:
    error_code: ErrorCode


@dataclass(frozen=True, slots=True)
class EndTxnRequest:
    transactional_id: str
    producer_id: int
    producer_epoch: int
    committed: bool


@dataclass(frozen=True, slots=True)
class EndTxnResponse:
    error_code: ErrorCode
    producer_id: int = -1
    producer_epoch: int = -1


class TransactionsHandler:
    def __init__(self, transactions: Transactions, topics: TopicsImage, producer_ids: ProducerIds) -> None:
        self._transactions = transactions
        self._topics = topics
        self._producer_ids = producer_ids

    def apis(self) -> list[Api]:
        return [
            Api(24, "AddPartitionsToTxn", range(6), AddPartitionsToTxnRequest, self.add_partitions),
            Api(
                25, "AddOffsetsToTxn", range(5), AddOffsetsToTxnRequest, self.add_offsets,
                on_error=lambda error: AddOffsetsToTxnResponse(error.code),
            ),
            Api(
                26, "EndTxn", range(6), EndTxnRequest, self.end,
                on_error=lambda error: EndTxnResponse(error.code),
            ),
        ]  # fmt: skip

    async def add_partitions(
        self, context: RequestContext, request: AddPartitionsToTxnRequest
    ) -> AddPartitionsToTxnResponse:
        if context.api_version >= SEVERAL_SINCE:
            results = await asyncio.gather(
                *(self._add_partitions(context, transaction) for transaction in request.transactions)
            )
            return AddPartitionsToTxnResponse(results_by_transaction=tuple(results))
        one = TxnPartitions(
            request.v3_and_below_transactional_id,
            request.v3_and_below_producer_id,
            request.v3_and_below_producer_epoch,
            verify_only=False,
            topics=request.v3_and_below_topics,
        )
        result = await self._add_partitions(context, one)
        return AddPartitionsToTxnResponse(results_by_topic_v3_and_below=result.topic_results)

    async def _add_partitions(self, context: RequestContext, request: TxnPartitions) -> TxnResult:
        """All of a transaction's partitions are added, or none when one of them does not exist."""
        partitions = frozenset((topic.name, p) for topic in request.topics for p in topic.partitions)
        unknown = {partition for partition in partitions if not self._topics.has_partition(*partition)}
        errors = {
            partition: (
                ErrorCode.unknown_topic_or_partition
                if partition in unknown
                else ErrorCode.operation_not_attempted
            )
            for partition in partitions
        }
        if not unknown:
            errors = await self._ask(context, request, partitions)
        return TxnResult(
            request.transactional_id,
            tuple(
                TxnTopicResult(
                    topic.name, tuple(TxnPartitionResult(p, errors[topic.name, p]) for p in topic.partitions)
                )
                for topic in request.topics
            ),
        )

    async def _ask(
        self, context: RequestContext, request: TxnPartitions, partitions: frozenset[TopicPartition]
    ) -> dict[TopicPartition, ErrorCode]:
        who = (request.transactional_id, request.producer_id, request.producer_epoch)
        try:
            if request.verify_only:
                verified: VerifyPartitionsResult = await self._transactions.ask(
                    VerifyPartitions(*who, partitions)
                )
                return dict(verified.errors)
            is_v2 = context.api_version >= SEVERAL_SINCE
            added: TransactionResult = await self._transactions.ask(AddPartitions(*who, partitions, is_v2))
            error = added.error_code
        except KafkaError as exc:
            error = exc.code
        return dict.fromkeys(partitions, _for_version(context, error))

    async def add_offsets(
        self, context: RequestContext, request: AddOffsetsToTxnRequest
    ) -> AddOffsetsToTxnResponse:
        result: TransactionResult = await self._transactions.ask(
            AddOffsets(
                request.transactional_id, request.producer_id, request.producer_epoch, request.group_id
            )
        )
        return AddOffsetsToTxnResponse(_for_version(context, result.error_code))

    async def end(self, context: RequestContext, request: EndTxnRequest) -> EndTxnResponse:
        is_v2 = context.api_version >= TRANSACTIONS_V2_SINCE
        new_producer_id = NO_PRODUCER_ID
        if is_v2 and is_exhausted(request.producer_epoch):
            try:
                new_producer_id = await self._producer_ids.take()
            except CatalogWriteError as exc:
                raise KafkaError(ErrorCode.coordinator_not_available, str(exc)) from exc
        result: ProducerResult = await self._transactions.ask(
            EndTxn(
                request.transactional_id,
                request.producer_id,
                request.producer_epoch,
                request.committed,
                is_v2,
                new_producer_id,
            )
        )
        return EndTxnResponse(
            _for_version(context, result.error_code), result.producer_id, result.producer_epoch
        )


def _for_version(context: RequestContext, error_code: ErrorCode) -> ErrorCode:
    """Older clients know no PRODUCER_FENCED."""
    if error_code is ErrorCode.producer_fenced and context.api_version < PRODUCER_FENCED_SINCE:
        return ErrorCode.invalid_producer_epoch
    return error_code
