"""What the transaction coordinator is asked and what it answers, free of protocol versions.

Errors are those of the newest version of each API; handlers translate them for older ones.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from broker.coordinator.records import TopicPartition
from broker.coordinator.transaction_records import NO_PRODUCER_EPOCH, NO_PRODUCER_ID
from broker.wire.errors import ErrorCode


@dataclass(frozen=True, slots=True)
class InitProducerId:
    """A producer begins, or goes on after an error with the id and epoch it has (KIP-360).

    `new_producer_id` was never used before; it becomes the producer's id if it needs a new one.
    """

    transactional_id: str
    timeout_ms: int
    new_producer_id: int
    producer_id: int = NO_PRODUCER_ID
    producer_epoch: int = NO_PRODUCER_EPOCH


@dataclass(frozen=True, slots=True)
class ProducerResult:
    """The producer id and epoch that hold from now on; -1 with an error."""

    error_code: ErrorCode
    producer_id: int = NO_PRODUCER_ID
    producer_epoch: int = NO_PRODUCER_EPOCH


@dataclass(frozen=True, slots=True)
class AddPartitions:
    """Make partitions part of the producer's transaction, and begin one if there is none.

    `is_v2`: a Produce of transactions v2 adds them, not a request of the client.
    Answered by TransactionResult, once it is durable.
    """

    transactional_id: str
    producer_id: int
    producer_epoch: int
    partitions: frozenset[TopicPartition]
    is_v2: bool = False


@dataclass(frozen=True, slots=True)
class VerifyPartitions:
    """Whether partitions are part of the producer's open transaction. Answered by VerifyPartitionsResult."""

    transactional_id: str
    producer_id: int
    producer_epoch: int
    partitions: frozenset[TopicPartition]


@dataclass(frozen=True, slots=True)
class VerifyPartitionsResult:
    """TRANSACTION_ABORTABLE for a partition that is not part of it; other errors are the same for all."""

    errors: Mapping[TopicPartition, ErrorCode]


@dataclass(frozen=True, slots=True)
class AddOffsets:
    """Make a group's offsets part of the producer's transaction (AddOffsetsToTxn). By TransactionResult."""

    transactional_id: str
    producer_id: int
    producer_epoch: int
    group_id: str


@dataclass(frozen=True, slots=True)
class VerifyOffsets:
    """What TxnOffsetCommit asks before it asks the group coordinator. Answered by TransactionResult.

    `add` (version 5, transactions v2): the group becomes part of the transaction, and one begins if there
    is none; the answer comes when that is durable. Without it the group must be part of the open
    transaction: TRANSACTION_ABORTABLE if not. Other errors: INVALID_PRODUCER_ID_MAPPING, PRODUCER_FENCED,
    CONCURRENT_TRANSACTIONS, INVALID_REQUEST; `broker.handlers.coordination.verification_error` translates
    them for the version of the request.
    """

    transactional_id: str
    producer_id: int
    producer_epoch: int
    group_id: str
    add: bool


@dataclass(frozen=True, slots=True)
class TransactionResult:
    error_code: ErrorCode


@dataclass(frozen=True, slots=True)
class EndTxn:
    """Commit or abort. Answered by ProducerResult, once the outcome is durable.

    `new_producer_id` is needed with `is_v2` when `producer_epoch` is the last one a client may have.
    """

    transactional_id: str
    producer_id: int
    producer_epoch: int
    is_commit: bool
    is_v2: bool
    new_producer_id: int = NO_PRODUCER_ID


@dataclass(frozen=True, slots=True)
class DescribeTransaction:
    transactional_id: str


@dataclass(frozen=True, slots=True)
class DescribeTransactionResult:
    """`partitions` are those without a marker. Times are Unix milliseconds; -1: there was no transaction."""

    error_code: ErrorCode
    transactional_id: str
    state: str = ""
    timeout_ms: int = 0
    start_time_ms: int = 0
    producer_id: int = 0
    producer_epoch: int = 0
    partitions: Collection[TopicPartition] = ()
    groups: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class ListTransactions:
    """Filters that are empty, None or negative let all pass; the pattern must match the whole id."""

    states: frozenset[str] = frozenset()
    producer_ids: frozenset[int] = frozenset()
    duration_ms: int = -1
    """Only transactions that began longer ago."""
    pattern: str | None = None


@dataclass(frozen=True, slots=True)
class ListedTransaction:
    transactional_id: str
    producer_id: int
    state: str


@dataclass(frozen=True, slots=True)
class ListTransactionsResult:
    """INVALID_REGULAR_EXPRESSION for a bad pattern; `unknown_states` are filters that name no state."""

    error_code: ErrorCode
    transactions: tuple[ListedTransaction, ...] = ()
    unknown_states: tuple[str, ...] = ()


TransactionRequest = (
    InitProducerId
    | AddPartitions
    | VerifyPartitions
    | AddOffsets
    | VerifyOffsets
    | EndTxn
    | DescribeTransaction
    | ListTransactions
)
