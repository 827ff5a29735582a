"""Parquet of schemaless JSON: Arrow's reader and the slow way, in Python, say the same of whatever JSON."""

import json
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from connectors.s3 import arrow_json
from connectors.s3.inferred import Kind, loads
from connectors.s3.parquet import Parquet
from connectors.s3.schema_formats import SchemaFormat

NUMBERS = st.one_of(
    st.integers(-10, 10), st.integers(-(1 << 70), 1 << 70), st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([1e19, -(2.0**63), (1 << 63) - 1, 1 << 63, 1 << 53, (1 << 53) + 1]),
)  # fmt: skip
TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=4),
    st.sampled_from(
        ["2024-01-01", "2024-01-01T00:00:00Z", "2024-01-01 00:00:00.123", "12", "true", "", "NaN"]
    ),
)
ANY = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    ),
    max_leaves=6,
)
# Most columns have one type, or they would all become text.
ROW = st.fixed_dictionaries(
    {"id": st.integers(-5, 5)},
    optional={
        "n": NUMBERS, "i": st.one_of(st.none(), st.integers(-5, 5)), "t": st.one_of(st.none(), TEXTS),
        "l": st.lists(st.one_of(st.none(), st.integers(0, 3)), max_size=3),
        "s": st.fixed_dictionaries({}, optional={"x": TEXTS, "y": st.booleans(), "z": st.none()}),
        "ls": st.lists(st.fixed_dictionaries({}, optional={"x": TEXTS, "f": st.floats(-1, 1)}), max_size=2),
        "any": ANY,
    },
)  # fmt: skip


@settings(deadline=None)
@given(st.lists(st.lists(ROW, min_size=1, max_size=4), min_size=1, max_size=3))
@example([[{"d": 1}, {"d": "x"}], [{"d": None}]])
@example([[{"d": 12345678901234567890123}], [{"d": 1.5}]])
def test_both_ways_say_the_same(batches: list[list[dict[str, Any]]]) -> None:
    pieces = [b"".join(json.dumps(row).encode() + b"\n" for row in batch) for batch in batches]
    format = Parquet("none")
    fast, slow = Kind(), Kind()
    for lines in pieces:
        format.learn(fast, lines)
        SchemaFormat.learn(format, slow, lines)
    plan = format.inferred(slow)
    assert format.inferred(fast).schema == plan.schema
    assert fast.is_plain == slow.is_plain
    for lines in pieces:
        expected = plan.rows([slow.fit(loads(line)) for line in lines.splitlines()])
        if fast.is_plain:
            rows = arrow_json.rows(lines, plan.schema)
            assert rows is None or rows.to_pylist() == expected.to_pylist()


def test_the_fast_way_is_taken() -> None:
    lines = b'{"a":1,"b":"2024-01-01","c":[1.5],"d":{"e":null}}\n{"a":2,"f":true}\n'
    kind = Kind()
    assert arrow_json.learn(kind, lines)
    rows = arrow_json.rows(lines, Parquet("none").inferred(kind).schema)
    assert rows is not None
    assert rows.to_pylist() == [
        {"a": 1, "b": "2024-01-01", "c": [1.5], "d": {"e": None}, "f": None},
        {"a": 2, "b": None, "c": None, "d": None, "f": True},
    ]
