"""The `uniform` assignor: as many partitions for each member as for any other, moving as few as it can.

Topics with the same subscribers are one pool, for among these a partition is as good as another. With
one subscription for all there is one pool, and what follows is linear in its partitions.
"""

import heapq
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from broker.coordinator.assignors.subscribers import Assignment, Subscriber, by_subscribers
from broker.coordinator.topics import TopicIdPartition


@dataclass(slots=True)
class _Pool:
    """Partitions that have the same subscribers: what each of these has, in order, and what nobody has."""

    owned: dict[str, list[TopicIdPartition]]
    free: list[TopicIdPartition] = field(default_factory=list)


def assign_uniformly(subscribers: Sequence[Subscriber], topics: Mapping[UUID, int]) -> Assignment:
    """See `Assignor`. When it is done, no member has two partitions more than another that could take one.

    With one subscription for all, the numbers of any two members differ by one at most, and no more
    partitions have moved than that takes.
    """
    pools = _pools(subscribers, topics)
    loads = {
        subscriber.member_id: sum(len(pool.owned.get(subscriber.member_id, ())) for pool in pools)
        for subscriber in subscribers
    }
    for pool in sorted(pools, key=lambda pool: len(pool.owned)):  # those with the least choice first
        _hand_out(pool, loads)
    # A move in one pool can make another possible. Each brings two loads closer, so this ends.
    while sum(_balance(pool, loads) for pool in pools):
        pass
    assigned: defaultdict[str, list[TopicIdPartition]] = defaultdict(list)
    for pool in pools:
        for member_id, partitions in pool.owned.items():
            assigned[member_id] += partitions
    return {subscriber.member_id: frozenset(assigned[subscriber.member_id]) for subscriber in subscribers}


def _pools(subscribers: Sequence[Subscriber], topics: Mapping[UUID, int]) -> list[_Pool]:
    pools = []
    pool_of: dict[UUID, _Pool] = {}
    for members, topic_ids in by_subscribers(subscribers, topics):
        pool = _Pool({member_id: [] for member_id in members})
        pools.append(pool)
        pool_of |= dict.fromkeys(topic_ids, pool)
    taken = _keep_targets(subscribers, topics, pool_of)
    for topic_id, pool in pool_of.items():
        every = ((topic_id, partition) for partition in range(topics[topic_id]))
        pool.free += [partition for partition in every if partition not in taken]
    return pools


def _keep_targets(
    subscribers: Iterable[Subscriber], topics: Mapping[UUID, int], pool_of: Mapping[UUID, _Pool]
) -> set[TopicIdPartition]:
    """Let members have what they had and may still have."""
    taken: set[TopicIdPartition] = set()
    for subscriber in subscribers:
        for partition in sorted(subscriber.target, key=lambda p: (p[0].int, p[1])):
            topic_id, number = partition
            if (
                topic_id in subscriber.topic_ids
                and number < topics.get(topic_id, 0)
                and partition not in taken
            ):
                taken.add(partition)
                pool_of[topic_id].owned[subscriber.member_id].append(partition)
    return taken


def _hand_out(pool: _Pool, loads: dict[str, int]) -> None:
    """Give each free partition to the subscriber that has least."""
    heap = [(loads[member_id], n, member_id) for n, member_id in enumerate(pool.owned)]
    heapq.heapify(heap)
    for partition in pool.free:
        load, n, member_id = heap[0]
        pool.owned[member_id].append(partition)
        loads[member_id] = load + 1
        heapq.heapreplace(heap, (load + 1, n, member_id))


def _balance(pool: _Pool, loads: dict[str, int]) -> int:
    """Move partitions from those who have most to those who have least; how many were moved."""
    order = {member_id: n for n, member_id in enumerate(pool.owned)}
    givers = [(-loads[m], order[m], m) for m, partitions in pool.owned.items() if partitions]
    takers = [(loads[m], order[m], m) for m in pool.owned]
    heapq.heapify(givers)
    heapq.heapify(takers)
    moved = 0
    while givers:
        _drop_stale(givers, lambda load, member_id: -load == loads[member_id] and bool(pool.owned[member_id]))
        _drop_stale(takers, lambda load, member_id: load == loads[member_id])
        if not givers or -givers[0][0] - takers[0][0] < 2:
            break
        giver, taker = givers[0][2], takers[0][2]
        pool.owned[taker].append(pool.owned[giver].pop())
        for member_id, change in ((giver, -1), (taker, 1)):
            loads[member_id] += change
            heapq.heappush(givers, (-loads[member_id], order[member_id], member_id))
            heapq.heappush(takers, (loads[member_id], order[member_id], member_id))
        moved += 1
    return moved


def _drop_stale(heap: list[tuple[int, int, str]], is_current: Callable[[int, str], bool]) -> None:
    """A member's load has changed since it was put into the heap, where it is again with the new one."""
    while heap and not is_current(heap[0][0], heap[0][2]):
        heapq.heappop(heap)
