"""What consumers of the classic protocol put into their metadata, which may be anything."""

from hypothesis import given
from hypothesis import strategies as st
from support.subscriptions import assigned, pack_subscription

from broker.coordinator.subscription import (
    MalformedMetadata,
    pack_assignment,
    parse_assignment,
    parse_subscription,
)

names = st.text(max_size=8)
partitions = st.frozensets(st.tuples(names, st.integers(0, 2**31 - 1)), max_size=8)


@given(topics=st.frozensets(names, max_size=5), owned=partitions, version=st.integers(0, 3))
def test_a_subscription_is_read_as_it_was_meant(
    topics: frozenset[str], owned: frozenset[tuple[str, int]], version: int
) -> None:
    packed = pack_subscription(topics, owned, version=version)
    subscription = parse_subscription(packed)
    assert (subscription.version, subscription.topics) == (version, topics)
    assert subscription.owned == (owned if version >= 1 else frozenset())


@given(partitions=partitions, version=st.integers(-(2**15), 2**15 - 1))
def test_an_assignment_is_read_as_it_was_meant(partitions: frozenset[tuple[str, int]], version: int) -> None:
    assert assigned(pack_assignment(partitions, version)) == partitions


@given(data=st.binary(max_size=60), cut=st.integers(0, 60))
def test_other_bytes_are_malformed_and_nothing_else(data: bytes, cut: int) -> None:
    for parse in (parse_subscription, parse_assignment):
        for damaged in (data, (pack_subscription(["t"], [("t", 1)], version=3) + data)[:cut] + data):
            try:
                parse(damaged)
            except MalformedMetadata:
                continue
