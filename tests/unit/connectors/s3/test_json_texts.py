"""Pieces of JSON keep their texts."""

import json

from hypothesis import given
from hypothesis import strategies as st

from connectors.s3.source.json_texts import element_texts, member_texts

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
SPACE = st.sampled_from(["", " ", "\t", " \r\n "])


def test_numbers_and_escapes_stay() -> None:
    text = b' { "a" : 1.10 ,"b":12345678901234567890123,\n"c":"\\u00e9", "d":{"a":[-0.0, 1E2]}, "a":2.50 } '
    assert member_texts(text) == {
        "a": b"2.50", "b": b"12345678901234567890123", "c": b'"\\u00e9"', "d": b'{"a":[-0.0, 1E2]}',
    }  # fmt: skip
    assert element_texts(b'[ 1.0 ,{},"]"]') == [b"1.0", b"{}", b'"]"']
    assert (member_texts(b"{ }"), element_texts(b"[]")) == ({}, [])


@given(st.dictionaries(st.text(), JSON), st.booleans(), SPACE, SPACE)
def test_any_object(value: dict[str, object], ascii: bool, before: str, after: str) -> None:
    members = {name: json.dumps(part, ensure_ascii=ascii) for name, part in value.items()}
    pairs = [f"{before}{json.dumps(name)}{after}:{before}{text}{after}" for name, text in members.items()]
    text = f"{before}{{{','.join(pairs)}{after}}}{before}".encode("utf-8", "surrogatepass")
    assert member_texts(text) == {name: text.encode() for name, text in members.items()}


@given(st.lists(JSON), SPACE, SPACE)
def test_any_array(value: list[object], before: str, after: str) -> None:
    parts = [json.dumps(part) for part in value]
    text = f"{before}[{','.join(f'{before}{part}{after}' for part in parts)}{after}]{before}"
    assert element_texts(text.encode()) == [part.encode() for part in parts]
