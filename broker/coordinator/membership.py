"""What committed offsets depend on of a group's members, whatever protocol they speak."""

from collections.abc import Collection
from typing import Protocol

from broker.coordinator.records import TopicPartition
from broker.wire.errors import ErrorCode


class Membership(Protocol):
    """The members of one group."""

    @property
    def is_abandoned(self) -> bool:
        """No members, and nobody is about to join."""

    def commit_error(
        self,
        member_id: str,
        group_instance_id: str | None,
        generation_id: int,
        *,
        partitions: Collection[TopicPartition] = (),
        is_transactional: bool = False,
    ) -> ErrorCode:
        """Whether this client may commit offsets of these partitions now.

        `generation_id` may be a member epoch.
        """

    def fetch_error(self, member_id: str | None, member_epoch: int) -> ErrorCode:
        """Whether this client may read the group's offsets now (KIP-848)."""

    def delete_offsets_error(self) -> ErrorCode:
        """Whether an administrator may delete offsets of topics that nobody is subscribed to."""

    def subscribed_topics(self) -> frozenset[str] | None:
        """The topics that members read; None when that is not known."""

    def unused_since_ms(self, commit_time_ms: int) -> int | None:
        """Since when an offset with that commit time is unused; None while it must not expire.

        For offsets of topics that nobody is subscribed to (KIP-211). By the wall clock.
        """
