"""What handlers see of the coordinators."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from broker.coordinator.messages import Request
from broker.coordinator.transaction_messages import TransactionRequest
from broker.wire.errors import ErrorCode


class Groups(Protocol):
    """The group coordinator, behind whatever performs its effects."""

    def ask(self, request: Request) -> Awaitable[Any]:
        """The result that belongs to the request, once it is durable.

        Raises KafkaError: NOT_COORDINATOR when another broker has the group, COORDINATOR_NOT_AVAILABLE
        when the change could not be made durable.
        """

    def set_group_configs(self, group_id: str, configs: Mapping[str, int]) -> None:
        """What is set for a group from now on (KIP-848), by name; what is not has the broker's default."""


class Transactions(Protocol):
    """The transaction coordinator, behind whatever performs its effects."""

    def ask(self, request: TransactionRequest) -> Awaitable[Any]:
        """The result that belongs to the request, once it is durable.

        Raises KafkaError: NOT_COORDINATOR when another broker has the transactional id,
        COORDINATOR_NOT_AVAILABLE when the change could not be made durable.
        """

    def ask_then(self, request: TransactionRequest, then: Callable[[Any], None]) -> None:
        """Call `then` with the result, or with the KafkaError, maybe before this returns.

        What `then` does happens before anything that is asked of the transactional id later: a batch that it
        appends is in the log before the marker that ends the transaction.
        """


def verification_error(error_code: ErrorCode, *, knows_abortable: bool) -> ErrorCode:
    """The coordinator's error as Produce and TxnOffsetCommit answer it, to clients that know
    TRANSACTION_ABORTABLE (KIP-890) or not."""
    if error_code is ErrorCode.producer_fenced:
        return ErrorCode.invalid_producer_epoch
    if error_code is ErrorCode.transaction_abortable and not knows_abortable:
        return ErrorCode.invalid_txn_state
    return error_code
