"""Debezium's offsets, read."""

import json
from pathlib import Path
from typing import Any

import pytest

from connect.api import ConnectError
from connectors.postgres.offsets import parse_lsn, read_offset, show_lsn, snapshot_offset

RECORDINGS = Path(__file__).parents[3] / "golden" / "cdc"


def recorded_offsets() -> list[dict[str, Any]]:
    found = []
    for path in sorted(RECORDINGS.glob("*/recorded.json")):
        found += [offset for offset in json.loads(path.read_text())["offsets"] if offset]
    return found


def test_all_recorded_offsets_can_be_read() -> None:
    offsets = recorded_offsets()
    assert len(offsets) > 50
    for offset in offsets:
        position = read_offset(offset)
        assert position.lsn == offset["lsn"]
        assert position.start == max(offset.get("lsn_proc", offset["lsn"]), offset.get("lsn_commit", 0))


def test_stream() -> None:
    position = read_offset(
        {"lsn_proc": 90, "messageType": "INSERT", "lsn_commit": 80, "lsn": 100, "txId": 5, "ts_usec": 1}
    )
    assert (position.lsn, position.done_lsn, position.commit_lsn, position.tx_id) == (100, 90, 80, 5)
    assert position.start == 90
    assert not position.in_snapshot


@pytest.mark.parametrize(
    ("offset", "in_snapshot"),
    [
        (snapshot_offset(7, 3, 1, completed=False), True),
        (snapshot_offset(7, 3, 1, completed=True), False),
        ({"lsn": 7, "txId": 3, "ts_usec": 1, "snapshot": True, "last_snapshot_record": False}, True),
        ({"lsn": 7, "txId": 3, "ts_usec": 1, "snapshot": True, "last_snapshot_record": True}, False),
    ],
)
def test_snapshot_in_old_and_new_form(offset: dict[str, Any], in_snapshot: bool) -> None:
    position = read_offset(offset)
    assert position.in_snapshot is in_snapshot
    # The snapshot's transaction is none of the stream's: nothing of the stream has been written.
    assert (position.start, position.tx_id) == (7, None)


@pytest.mark.parametrize(
    ("offset", "why"),
    [
        ({}, "has no lsn"),
        ({"lsn": "7"}, "lsn in the offset"),
        ({"lsn": 7, "lsn_proc": -1}, "lsn_proc in the offset"),
    ],
)
def test_offsets_that_make_no_sense(offset: dict[str, Any], why: str) -> None:
    with pytest.raises(ConnectError, match=why):
        read_offset(offset)


def test_lsn_texts() -> None:
    assert show_lsn(0x16B374D848) == "16/B374D848"
    assert parse_lsn("16/B374D848") == 0x16B374D848
