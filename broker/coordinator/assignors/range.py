"""The `range` assignor: each topic is cut into consecutive ranges, one for each of its subscribers.

Members are always in the same order, so members that read the same topics get the same partition
numbers of each: what co-partitioned topics are joined by.
"""

from collections.abc import Mapping, Sequence
from uuid import UUID

from broker.coordinator.assignors.subscribers import Assignment, Subscriber, by_subscribers
from broker.coordinator.topics import TopicIdPartition


def assign_ranges(subscribers: Sequence[Subscriber], topics: Mapping[UUID, int]) -> Assignment:
    """See `Assignor`. The first members of a topic get one partition more when it does not come out even."""
    assigned: dict[str, list[TopicIdPartition]] = {s.member_id: [] for s in subscribers}
    for members, topic_ids in by_subscribers(sorted(subscribers, key=_order), topics):
        for topic_id in topic_ids:
            size, larger = divmod(topics[topic_id], len(members))
            first = 0
            for n, member_id in enumerate(members if size else members[:larger]):
                end = first + size + (n < larger)
                assigned[member_id] += [(topic_id, partition) for partition in range(first, end)]
                first = end
    return {member_id: frozenset(partitions) for member_id, partitions in assigned.items()}


def _order(subscriber: Subscriber) -> tuple[bool, str]:
    """Static members come first, by the name that they keep when they come back."""
    return subscriber.instance_id is None, subscriber.instance_id or subscriber.member_id
