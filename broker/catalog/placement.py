"""Who leads a partition and who coordinates a group. The one place that knows: today, this broker.

With several brokers, these answers come from the catalog, and handlers already turn "not me" into
NOT_LEADER_OR_FOLLOWER and NOT_COORDINATOR.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Placement:
    """`node_id` is this broker's."""

    node_id: int

    def leader(self, _topic: str, _partition: int) -> int:
        """The node id of the partition's leader."""
        return self.node_id

    def leads(self, topic: str, partition: int) -> bool:
        return self.leader(topic, partition) == self.node_id

    def leader_epoch(self, _topic: str, _partition: int) -> int:
        """How often the leader has changed."""
        return 0

    def replicas(self, topic: str, partition: int) -> tuple[int, ...]:
        return (self.leader(topic, partition),)

    def coordinator(self, _key: str) -> int:
        """The node id of the coordinator of a group id or a transactional id."""
        return self.node_id

    def coordinates(self, key: str) -> bool:
        return self.coordinator(key) == self.node_id
