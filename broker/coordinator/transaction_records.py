"""What of a transactional id outlives the broker: one document, replaced at each step.

The fields are those of Kafka's `TransactionLogValue`, and the groups whose offsets are part of the
transaction, which Kafka keeps as partitions of `__consumer_offsets`.
"""

from dataclasses import dataclass

import orjson

from broker.coordinator.records import TopicPartition
from broker.coordinator.transaction_state import TransactionState

NO_PRODUCER_ID = -1
NO_PRODUCER_EPOCH = -1
NO_TIME = -1

PRODUCER_EPOCH_MAX = 2**15 - 1


@dataclass(frozen=True, slots=True)
class TransactionRecord:
    """Times are Unix milliseconds."""

    producer_id: int
    producer_epoch: int
    timeout_ms: int
    state: TransactionState
    update_time_ms: int
    start_time_ms: int = NO_TIME
    """When the transaction began, that of the last one if none is open; NO_TIME before the first."""
    last_producer_epoch: int = NO_PRODUCER_EPOCH
    """The epoch before this one if the same producer had it: a request with it is a repeated one."""
    previous_producer_id: int = NO_PRODUCER_ID
    """The producer id before the last step. Another one than `producer_id` when epochs were exhausted."""
    next_producer_id: int = NO_PRODUCER_ID
    """The producer id that follows when the transaction is complete, for this one has no epochs left."""
    is_v2: bool = False
    """Whether the client speaks transactions v2 (KIP-890): each transaction has an epoch of its own."""
    partitions: frozenset[TopicPartition] = frozenset()
    groups: frozenset[str] = frozenset()


def encode_transaction_record(record: TransactionRecord) -> bytes:
    """As JSON."""
    return orjson.dumps(
        {
            "version": 0,
            "producer_id": record.producer_id,
            "producer_epoch": record.producer_epoch,
            "timeout_ms": record.timeout_ms,
            "state": record.state.value,
            "update_time_ms": record.update_time_ms,
            "start_time_ms": record.start_time_ms,
            "last_producer_epoch": record.last_producer_epoch,
            "previous_producer_id": record.previous_producer_id,
            "next_producer_id": record.next_producer_id,
            "is_v2": record.is_v2,
            "partitions": sorted(record.partitions),
            "groups": sorted(record.groups),
        }
    )


def decode_transaction_record(document: bytes) -> TransactionRecord:
    """The inverse of `encode_transaction_record`."""
    fields = orjson.loads(document)
    del fields["version"]
    fields["state"] = TransactionState(fields["state"])
    fields["partitions"] = frozenset((topic, partition) for topic, partition in fields["partitions"])
    fields["groups"] = frozenset(fields["groups"])
    return TransactionRecord(**fields)
