"""What an assignor is told of the members of a group, what it answers, and what both assignors need."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from broker.coordinator.topics import TopicIdPartition

Assignment = dict[str, frozenset[TopicIdPartition]]
"""Partitions by member id."""


@dataclass(frozen=True, slots=True)
class Subscriber:
    """A member, the topics that it reads, and what it was to have so far."""

    member_id: str
    instance_id: str | None
    topic_ids: frozenset[UUID]
    target: frozenset[TopicIdPartition]


def by_subscribers(
    subscribers: Sequence[Subscriber], topics: Mapping[UUID, int]
) -> list[tuple[list[str], list[UUID]]]:
    """Topics that have the same subscribers, with the ids of these in the order given.

    Topics without a subscriber are left out. With one subscription for all there is one pair, and the work
    does not grow with members times topics.
    """
    readers: defaultdict[frozenset[UUID], list[int]] = defaultdict(list)
    for n, subscriber in enumerate(subscribers):
        readers[subscriber.topic_ids].append(n)
    subscriptions = list(readers)
    keys: defaultdict[UUID, list[int]] = defaultdict(list)
    for n, topic_ids in enumerate(subscriptions):
        for topic_id in topic_ids & topics.keys():
            keys[topic_id].append(n)
    pools: defaultdict[tuple[int, ...], list[UUID]] = defaultdict(list)
    for topic_id in topics:  # in this order, so that the same question has the same answer
        if topic_id in keys:
            pools[tuple(keys[topic_id])].append(topic_id)
    return [
        (
            [subscribers[i].member_id for i in sorted(i for n in key for i in readers[subscriptions[n]])],
            topic_ids,
        )
        for key, topic_ids in pools.items()
    ]
