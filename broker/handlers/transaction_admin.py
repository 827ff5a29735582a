"""DescribeTransactions 0, ListTransactions 0 to 2."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import timedelta

from broker.coordinator.transaction_messages import (
    DescribeTransaction,
    DescribeTransactionResult,
    ListTransactions,
    ListTransactionsResult,
)
from broker.handlers.coordination import Transactions
from broker.handlers.registry import Api, RequestContext
from broker.wire.errors import ErrorCode, KafkaError

OFFSETS_TOPIC = "__consumer_offsets"
OFFSETS_PARTITIONS = 50
"""Where Kafka keeps the offsets of groups (offsets.topic.num.partitions); here it is only a name for them."""


@dataclass(frozen=True, slots=True)
class DescribeTransactionsRequest:
    transactional_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DescribedTopic:
    topic: str
    partitions: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class DescribedTransaction:
    """`transaction_start_time` is in Unix milliseconds, -1 if there was no transaction."""

    error_code: ErrorCode
    transactional_id: str
    transaction_state: str = ""
    transaction_timeout: timedelta = timedelta(0)
    transaction_start_time: int = 0
    producer_id: int = 0
    producer_epoch: int = 0
    topics: tuple[DescribedTopic, ...] = ()


@dataclass(frozen=True, slots=True)
class DescribeTransactionsResponse:
    transaction_states: tuple[DescribedTransaction, ...]


@dataclass(frozen=True, slots=True)
class ListTransactionsRequest:
    state_filters: tuple[str, ...]
    producer_id_filters: tuple[int, ...]
    duration_filter: int = -1
    transactional_id_pattern: str | None = None


@dataclass(frozen=True, slots=True)
class ListedTransaction:
    transactional_id: str
    producer_id: int
    transaction_state: str


@dataclass(frozen=True, slots=True)
class ListTransactionsResponse:
    error_code: ErrorCode = ErrorCode.none
    unknown_state_filters: tuple[str, ...] = ()
    transaction_states: tuple[ListedTransaction, ...] = ()


class TransactionAdminHandler:
    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    def apis(self) -> list[Api]:
        return [
            Api(65, "DescribeTransactions", range(1), DescribeTransactionsRequest, self.describe),
            Api(
                66, "ListTransactions", range(3), ListTransactionsRequest, self.list_transactions,
                on_error=lambda error: ListTransactionsResponse(error.code),
            ),
        ]  # fmt: skip

    async def describe(
        self, context: RequestContext, request: DescribeTransactionsRequest
    ) -> DescribeTransactionsResponse:
        return DescribeTransactionsResponse(
            tuple([await self._describe(i) for i in request.transactional_ids])
        )

    async def _describe(self, transactional_id: str) -> DescribedTransaction:
        try:
            found: DescribeTransactionResult = await self._transactions.ask(
                DescribeTransaction(transactional_id)
            )
        except KafkaError as exc:
            return DescribedTransaction(exc.code, transactional_id)
        partitions: defaultdict[str, list[int]] = defaultdict(list)
        for topic, partition in sorted(found.partitions):
            partitions[topic].append(partition)
        if found.groups:
            partitions[OFFSETS_TOPIC] = sorted({offsets_partition(group_id) for group_id in found.groups})
        return DescribedTransaction(
            found.error_code,
            transactional_id,
            found.state,
            timedelta(milliseconds=found.timeout_ms),
            found.start_time_ms,
            found.producer_id,
            found.producer_epoch,
            tuple(DescribedTopic(topic, tuple(indexes)) for topic, indexes in partitions.items()),
        )

    async def list_transactions(
        self, context: RequestContext, request: ListTransactionsRequest
    ) -> ListTransactionsResponse:
        listed: ListTransactionsResult = await self._transactions.ask(
            ListTransactions(
                frozenset(request.state_filters),
                frozenset(request.producer_id_filters),
                request.duration_filter,
                request.transactional_id_pattern,
            )
        )
        return ListTransactionsResponse(
            listed.error_code,
            listed.unknown_states,
            tuple(
                ListedTransaction(one.transactional_id, one.producer_id, one.state)
                for one in listed.transactions
            ),
        )


def offsets_partition(group_id: str) -> int:
    """The partition of `__consumer_offsets` that a group has in Kafka: by Java's hash of the string."""
    units = memoryview(group_id.encode("utf-16-le")).cast("H")
    value = 0
    for unit in units:
        value = (31 * value + unit) & 0xFFFFFFFF
    if value >= 1 << 31:
        value -= 1 << 32
    return abs(value) % OFFSETS_PARTITIONS
