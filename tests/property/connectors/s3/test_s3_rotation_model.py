"""`Rotation`, which looks at batches, against Confluent's rules, which look at one record at a time."""

from hypothesis import given
from hypothesis import strategies as st

from connectors.s3.rotation import Rotation, RotationRules

Record = tuple[str, int, int]  # place, time, size
RECORDS = st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 30), st.integers(0, 9)), max_size=30)
RULES = st.builds(
    RotationRules,
    st.integers(1, 6),
    st.none() | st.integers(1, 20),
    st.booleans(),
    st.none() | st.integers(1, 30),
)


def one_by_one(rules: RotationRules, records: list[Record]) -> list[int]:
    """At which records a new set of files begins."""
    begins, count, total, first_time, last_place = [0], 0, 0, 0, ""
    for index, (place, time, size) in enumerate(records):
        if count and rules.interval_ms is not None:
            changed = rules.on_place_change and place != last_place
            if time - first_time >= rules.interval_ms or changed:
                begins.append(index)
                count = total = 0
        if count == 0:
            first_time = time
        count, total, last_place = count + 1, total + size, place
        if count >= rules.records_max or (rules.bytes_max is not None and total >= rules.bytes_max):
            begins.append(index + 1)
            count = total = 0
    return begins


@given(RULES, RECORDS, st.lists(st.integers(1, 8)))
def test_batches_make_no_difference(rules: RotationRules, records: list[Record], sizes: list[int]) -> None:
    rotation, begins, done = Rotation(rules), [0], 0
    for size in [*sizes, len(records)]:
        batch = records[done : done + size]
        places, times = [place for place, _, _ in batch], [time for _, time, _ in batch]
        bytes_ = [size for _, _, size in batch]
        start = 0
        while start < len(batch):
            end = rotation.take(places, times, start, bytes_)
            if end < len(batch) or rotation.is_full:
                rotation.reset()
                begins.append(done + end)
            start = end
        done += len(batch)
    assert begins == one_by_one(rules, records)
