"""What handlers see of the coordinators: one method."""

from collections.abc import Awaitable
from typing import Any, Protocol

from broker.coordinator.messages import Request


class Groups(Protocol):
    """The group coordinator, behind whatever performs its effects."""

    def ask(self, request: Request) -> Awaitable[Any]:
        """The result that belongs to the request, once it is durable.

        Raises KafkaError: NOT_COORDINATOR when another broker has the group, COORDINATOR_NOT_AVAILABLE
        when the change could not be made durable.
        """
