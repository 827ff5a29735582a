"""The offsets file of Kafka Connect's standalone worker: a serialised HashMap of byte arrays."""

import random

import pytest

from connect.api import ConnectError
from connect.runtime.java_offsets_file import dump, load

# Written by Java 17's ObjectOutputStream; key and value of "twice" are one and the same array.
RECORDED = bytes.fromhex(
    "aced0005737200116a6176612e7574696c2e486173684d61700507dac1c31660d103000246000a6c6f6164466163746f"
    "724900097468726573686f6c6478703f4000000000000c7708000000100000000470757200025b42acf317f8060854e0"
    "020000787000000001787571007e0002000000185b22737263222c7b2266696c656e616d65223a2261227d5d7571007e"
    "00020000000e7b22706f736974696f6e223a367d7571007e000200000005747769636571007e00067571007e00020000"
    "0001797078"
)


def entries(count: int) -> dict[bytes | None, bytes | None]:
    return {f'["c",{{"n":{number}}}]'.encode(): b'{"o":%d}' % number for number in range(count)}


@pytest.mark.parametrize("count", [0, 1, 12, 13, 1000])
def test_what_is_written_is_read(count: int) -> None:
    assert load(dump(entries(count))) == entries(count)


def test_javas_own_writing_is_read_nulls_and_shared_arrays_too() -> None:
    found = load(RECORDED)
    assert found == {
        b'["src",{"filename":"a"}]': b'{"position":6}', None: b"x", b"y": None, b"twice": b"twice",
    }  # fmt: skip
    assert load(dump(found)) == found


def test_an_empty_file_holds_nothing() -> None:
    assert load(b"") == {}


def test_anything_else_is_refused_wherever_it_ends() -> None:
    data = dump(entries(3))
    for end in range(1, len(data) - 1):
        with pytest.raises(ConnectError):
            load(data[:end])
    for garbage in (b"{}", b"\xac\xed\x00\x05t\x00\x01a", b"\x00" * 100):
        with pytest.raises(ConnectError, match=r"not a serialised java\.util\.HashMap"):
            load(garbage)


def test_damaged_bytes_raise_the_one_error_or_read_as_something() -> None:
    seeded = random.Random(5)
    data = dump(entries(3))
    for _ in range(2000):
        damaged = bytearray(data)
        damaged[seeded.randrange(len(data))] = seeded.randrange(256)
        try:
            load(bytes(damaged))
        except ConnectError:
            continue
