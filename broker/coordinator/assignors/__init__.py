"""Who gets which partition: the server-side assignors of the consumer group protocol (KIP-848), by name."""

from collections.abc import Callable, Mapping, Sequence
from uuid import UUID

from broker.coordinator.assignors.range import assign_ranges
from broker.coordinator.assignors.subscribers import Assignment, Subscriber
from broker.coordinator.assignors.uniform import assign_uniformly

__all__ = ["ASSIGNORS", "Assignment", "Assignor", "Subscriber"]

Assignor = Callable[[Sequence[Subscriber], Mapping[UUID, int]], Assignment]
"""`(subscribers, number of partitions by topic id) -> partitions by member id`.

Every partition of a topic that has a subscriber goes to exactly one of its subscribers. Topics that are
not in the mapping do not exist. Every member is in the result.
"""

ASSIGNORS: dict[str, Assignor] = {"uniform": assign_uniformly, "range": assign_ranges}
