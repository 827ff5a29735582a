"""Debezium's offset of the PostgreSQL connector, both directions.

In a snapshot: `{"last_snapshot_record","lsn","txId","ts_usec","snapshot":"INITIAL","snapshot_completed"}`,
in the stream: `{"lsn_proc","messageType","lsn_commit"?,"lsn","txId","ts_usec"}`. `lsn` is the position of
the record's change, `lsn_commit` the end of the last transaction before it, and `lsn_proc` the position
up to which every change of its transaction has been written: less than `lsn` where more of it follows.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NewType

from connect.api import ConnectError

Lsn = NewType("Lsn", int)
_LSN_LIMIT: Final = 1 << 64
PROGRESS: Final = "snapshot_progress"
"""Millstream's own field: how far the snapshot is. Debezium passes over it and starts the snapshot over."""

REQUESTS: Final = "snapshot_requests"
"""Millstream's own field: the blocking snapshots that are under way or wait."""

_OF_SNAPSHOT: Final = ("last_snapshot_record", "snapshot", "snapshot_completed", PROGRESS, REQUESTS)
_POSITIONS: Final = frozenset({"lsn", "lsn_proc", "lsn_commit"})


def show_lsn(lsn: int) -> str:
    """As PostgreSQL writes it: `16/B374D848`."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


def parse_lsn(text: str) -> Lsn:
    high, _, low = text.partition("/")
    return Lsn(int(high, 16) << 32 | int(low, 16))


@dataclass(frozen=True, slots=True)
class Position:
    """Where to go on. `in_snapshot`: the snapshot was not finished and has to start over.

    Of the transaction `tx_id` the changes up to `done_lsn` have been written, and all transactions that
    ended at or before `commit_lsn` (0: unknown).
    """

    lsn: Lsn
    done_lsn: Lsn
    commit_lsn: Lsn
    tx_id: int | None
    in_snapshot: bool = False

    @property
    def start(self) -> Lsn:
        """Every transaction that committed before it has been written, so the slot may move up to it."""
        return max(self.commit_lsn, self.done_lsn)


def read_offset(offset: Mapping[str, Any]) -> Position:
    """The position that an offset stands for; raises `ConnectError` naming what is wrong with it."""
    lsn = _number(offset, "lsn")
    if lsn is None:
        raise ConnectError(f"the offset {dict(offset)} has no lsn: reset the offsets of the connector")
    # Snapshots of the other kinds come out of the stream, whose position is beside theirs.
    if offset.get("snapshot") and str(offset["snapshot"]).upper() not in ("BLOCKING", "INCREMENTAL"):
        # `txId` is the snapshot's own and `lsn` no change's, so the first change may have both.
        return Position(Lsn(lsn), Lsn(lsn), Lsn(0), None, _in_snapshot(offset))
    done = _number(offset, "lsn_proc")
    commit = _number(offset, "lsn_commit")
    return Position(Lsn(lsn), Lsn(lsn if done is None else done), Lsn(commit or 0), _number(offset, "txId"))


def moved(offset: Mapping[str, Any], lsn: Lsn) -> dict[str, Any]:
    """The same offset further on: everything that committed before `lsn` has been written."""
    return {name: lsn if name in _POSITIONS else value for name, value in offset.items()}


def start_offset(lsn: int) -> dict[str, Any]:
    """The offset of a stream that begins here, with nothing written."""
    return {"lsn_proc": lsn, "lsn_commit": lsn, "lsn": lsn, "ts_usec": time.time_ns() // 1000}


def without_snapshot(offset: Mapping[str, Any]) -> dict[str, Any]:
    """The stream's part of an offset that a snapshot which interrupted the stream has written."""
    return {name: value for name, value in offset.items() if name not in _OF_SNAPSHOT}


def _number(offset: Mapping[str, Any], name: str) -> int | None:
    value = offset.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < _LSN_LIMIT:
        raise ConnectError(
            f"{name} in the offset {dict(offset)} is {value!r} and must be a number of 64 bits"
        )
    return value


def _in_snapshot(offset: Mapping[str, Any]) -> bool:
    # Builds before 3.0 wrote `"snapshot": true` and nothing of its completion but the last record.
    return not offset.get("snapshot_completed", offset.get("last_snapshot_record", False))


def snapshot_offset(
    lsn: int, tx_id: int | None, ts_us: int, completed: bool, kind: str = "INITIAL"
) -> dict[str, Any]:
    """The offset of a snapshot's records; `completed` for its last one."""
    return {
        "last_snapshot_record": completed, "lsn": lsn, "txId": tx_id, "ts_usec": ts_us,
        "snapshot": kind, "snapshot_completed": completed,
    }  # fmt: skip
