"""Keys of incremental snapshots as Java serialises them."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.postgres.java_objects import read_key, write_key

RECORDINGS = Path(__file__).parents[3] / "golden" / "cdc"
TYPES = ["int2", "int8", "text", "uuid", "numeric", "date", "bool", "timestamptz"]


def recorded_keys(name: str) -> list[str]:
    offsets = json.loads((RECORDINGS / name / "recorded.json").read_text())["offsets"]
    return [value for offset in offsets if offset for key, value in offset.items() if key.endswith("_key")]


def test_every_byte_is_as_debezium_wrote_it() -> None:
    keys = recorded_keys("incremental_paused_key_types")
    assert len(keys) == 4
    for text in keys:
        key = read_key(text)
        assert key is not None
        assert key[3:] == (
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", f"{key[0]}.00", "2024-01-01", "true",
            "2024-01-01 00:00:00+00",
        )  # fmt: skip
        assert write_key(key, TYPES) == text
    for text in recorded_keys("incremental_snapshot_pause"):
        assert write_key(read_key(text), ["int4"]) == text


def test_no_key() -> None:
    assert write_key(None, []) == "aced000570"
    assert read_key("aced000570") is None


@pytest.mark.parametrize(
    ("type_name", "value", "shown"),
    [
        ("int4", "-2147483648", None), ("int8", "9223372036854775807", None), ("oid", "4294967295", None),
        ("float4", "0.1", "0.100000001"), ("float8", "0.1", None), ("float8", "-Infinity", "-inf"),
        ("numeric", "-1.50", None), ("numeric", "0", None), ("numeric", "1e30", "1" + "0" * 30),
        ("numeric", "NaN", None), ("numeric", "12345678901234567890.000001", None),
        ("date", "1969-12-31", None), ("date", "infinity", None), ("date", "0044-03-15 BC", None),
        ("timestamp", "2024-02-29 23:59:59.000001", None),
        ("timestamp", "1969-12-31 23:59:59.9", "1969-12-31 23:59:59.900000"),
        ("timestamp", "-infinity", None), ("bytea", "\\x00ff", None), ("bool", "f", "false"),
        ("text", "ü😀 \x00 '", None), ("text", "x" * 70_000, None), ("inet", "::1", None),
    ],
)  # fmt: skip
def test_types(type_name: str, value: str, shown: str | None) -> None:
    assert read_key(write_key([value], [type_name])) == (value if shown is None else shown,)


@given(st.lists(st.tuples(st.sampled_from(["int4", "text", "numeric"]), st.integers(-(2**31), 2**31 - 1))))
def test_any_key_comes_back(columns: list[tuple[str, int]]) -> None:
    values = tuple(str(value) for _, value in columns)
    assert read_key(write_key(values, [name for name, _ in columns])) == values


def test_objects_that_java_shares() -> None:
    """Java writes the same Integer twice as a reference to the first."""
    one = write_key(["3"], ["int4"])
    two = one.replace("7870" + "00000001", "7870" + "00000002", 1) + "71007e0004"
    assert read_key(two) == ("3", "3")


@given(st.binary(max_size=60), st.integers(0, 300))
def test_damage_is_one_kind_of_error(noise: bytes, at: int) -> None:
    whole = bytes.fromhex(recorded_keys("incremental_paused_key_types")[0])
    damaged = whole[:at] + noise + whole[at + len(noise) :]
    try:
        read_key(damaged.hex())
        read_key(whole[:at].hex())
    except ValueError:
        pass
