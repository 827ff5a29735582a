"""The server-side assignors: every partition once, to a subscriber, evenly, and moved only if need be."""

from collections.abc import Mapping, Sequence
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.coordinator.assignors import ASSIGNORS, Assignment, Subscriber
from broker.coordinator.topics import TopicIdPartition

TOPICS = [UUID(int=n) for n in range(5)]
MEMBERS = [f"m{n}" for n in range(6)]

topics = st.dictionaries(st.sampled_from(TOPICS), st.integers(0, 9))
targets = st.frozensets(st.tuples(st.sampled_from(TOPICS), st.integers(0, 9)), max_size=12)


def subscribers(subscriptions: st.SearchStrategy[frozenset[UUID]]) -> st.SearchStrategy[list[Subscriber]]:
    return st.lists(
        st.builds(
            Subscriber,
            member_id=st.sampled_from(MEMBERS),
            instance_id=st.none(),
            topic_ids=subscriptions,
            target=targets,
        ),
        unique_by=lambda subscriber: subscriber.member_id,
        max_size=len(MEMBERS),
    )


any_subscribers = subscribers(st.frozensets(st.sampled_from(TOPICS)))


def partitions(topics: Mapping[UUID, int], subscribers: Sequence[Subscriber]) -> set[TopicIdPartition]:
    """Those that have a subscriber."""
    read = frozenset().union(*(subscriber.topic_ids for subscriber in subscribers))
    return {(topic_id, n) for topic_id, count in topics.items() if topic_id in read for n in range(count)}


def again(subscribers: Sequence[Subscriber], assignment: Assignment) -> list[Subscriber]:
    return [Subscriber(s.member_id, s.instance_id, s.topic_ids, assignment[s.member_id]) for s in subscribers]


@pytest.mark.parametrize("name", ASSIGNORS)
@given(members=any_subscribers, topics=topics)
def test_every_partition_goes_to_one_subscriber(
    name: str, members: list[Subscriber], topics: dict[UUID, int]
) -> None:
    assignment = ASSIGNORS[name](members, topics)
    assert assignment.keys() == {member.member_id for member in members}
    given_out = [partition for share in assignment.values() for partition in share]
    assert len(given_out) == len(set(given_out))
    assert set(given_out) == partitions(topics, members)
    for member in members:
        assert {topic_id for topic_id, _ in assignment[member.member_id]} <= member.topic_ids


@pytest.mark.parametrize("name", ASSIGNORS)
@given(members=any_subscribers, topics=topics)
def test_nothing_moves_when_nothing_has_changed(
    name: str, members: list[Subscriber], topics: dict[UUID, int]
) -> None:
    assignment = ASSIGNORS[name](members, topics)
    assert ASSIGNORS[name](again(members, assignment), topics) == assignment


@given(members=any_subscribers, topics=topics)
def test_uniform_leaves_no_move_that_would_even_things_out(
    members: list[Subscriber], topics: dict[UUID, int]
) -> None:
    assignment = ASSIGNORS["uniform"](members, topics)
    for giver in members:
        for taker in members:
            could_move = any(topic_id in taker.topic_ids for topic_id, _ in assignment[giver.member_id])
            if could_move:
                assert len(assignment[giver.member_id]) - len(assignment[taker.member_id]) <= 1


@given(members=subscribers(st.just(frozenset(TOPICS))), topics=topics)
def test_uniform_is_even_and_moves_no_more_than_that_takes(
    members: list[Subscriber], topics: dict[UUID, int]
) -> None:
    if not members:
        return
    assignment = ASSIGNORS["uniform"](members, topics)
    sizes = [len(share) for share in assignment.values()]
    assert max(sizes) - min(sizes) <= 1
    # Each keeps what it had, up to its share: the larger shares go to those who had most.
    exists = partitions(topics, members)
    taken: set[TopicIdPartition] = set()
    had = []
    for member in members:
        mine = (member.target & exists) - taken
        taken |= mine
        had.append(len(mine))
    small, larger = divmod(len(exists), len(members))
    most = sorted(had, reverse=True)
    could_keep = sum(min(count, small + (n < larger)) for n, count in enumerate(most))
    kept = sum(len(assignment[member.member_id] & member.target) for member in members)
    assert kept >= could_keep


@given(members=st.integers(1, 6), partitions=st.integers(0, 20))
def test_range_gives_the_same_numbers_of_each_topic(members: int, partitions: int) -> None:
    both = frozenset(TOPICS[:2])
    subscribers = [Subscriber(f"m{n}", None, both, frozenset()) for n in range(members)]
    assignment = ASSIGNORS["range"](subscribers, dict.fromkeys(both, partitions))
    for share in assignment.values():
        numbers = [{n for topic_id, n in share if topic_id == topic} for topic in TOPICS[:2]]
        assert numbers[0] == numbers[1]
        assert not numbers[0] or max(numbers[0]) - min(numbers[0]) == len(numbers[0]) - 1


def test_range_orders_static_members_by_the_name_that_they_keep() -> None:
    topic = TOPICS[0]
    members = [
        Subscriber("a", None, frozenset([topic]), frozenset()),
        Subscriber("z", "first", frozenset([topic]), frozenset()),
        Subscriber("b", "second", frozenset([topic]), frozenset()),
    ]
    assignment = ASSIGNORS["range"](members, {topic: 4})
    assert assignment == {
        "z": frozenset([(topic, 0), (topic, 1)]),
        "b": frozenset([(topic, 2)]),
        "a": frozenset([(topic, 3)]),
    }


def test_a_large_group_with_one_subscription_is_assigned_in_one_go() -> None:
    topics = {UUID(int=n): 10 for n in range(100)}
    members = [Subscriber(f"m{n}", None, frozenset(topics), frozenset()) for n in range(100)]
    assignment = ASSIGNORS["uniform"](members, topics)
    assert {len(share) for share in assignment.values()} == {10}
    left = again(members[1:], assignment)
    after = ASSIGNORS["uniform"](left, topics)
    assert all(assignment[member.member_id] <= after[member.member_id] for member in left)
