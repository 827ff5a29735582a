"""Signals: what a user asks a running connector for, https://debezium.io/documentation/reference/configuration/signalling.html.

A signal has an id, a type and data in JSON. Whatever the channel, they are taken apart here.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

OPEN, CLOSE = "snapshot-window-open", "snapshot-window-close"
INCREMENTAL, BLOCKING = "INCREMENTAL", "BLOCKING"
_ID_COLUMNS: Final = 3


@dataclass(frozen=True, slots=True)
class Signal:
    """One signal; `id` is what notifications call it, and may be missing."""

    id: str | None
    type: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SnapshotRequest:
    """What `execute-snapshot` asks for. `tables` are regexes of `schema.table`; `conditions` are by regex
    too, and say which rows: for an incremental snapshot a condition, for a blocking one a SELECT."""

    id: str | None
    kind: str
    tables: tuple[str, ...]
    conditions: tuple[tuple[str, str], ...] = ()
    surrogate_key: str | None = None

    def condition(self, table: str) -> str | None:
        """What was given for `schema.table`."""
        for pattern, text in self.conditions:
            if matches(pattern, table):
                return text
        return None


def show_requests(requests: Iterable[SnapshotRequest]) -> str:
    """Blocking ones, as they stand in an offset."""
    return json.dumps([{"id": r.id, "tables": r.tables, "conditions": r.conditions} for r in requests])


def read_requests(text: str) -> list[SnapshotRequest]:
    """From `show_requests`; raises `ValueError`."""
    try:
        return [
            SnapshotRequest(
                found["id"], BLOCKING, tuple(map(str, found["tables"])),
                tuple((str(table), str(select)) for table, select in found["conditions"]),
            )
            for found in json.loads(text)
        ]  # fmt: skip
    except (KeyError, TypeError) as exc:
        raise ValueError(f"{text!r} are no requests of blocking snapshots") from exc


def matches(pattern: str, table: str) -> bool:
    """Whether a regex of a signal means this table."""
    try:
        return re.fullmatch(pattern, table, re.IGNORECASE) is not None
    except re.error:
        return pattern == table


def parse_signal(signal_id: str | None, kind: str, data: str | None) -> Signal:
    """Raises `ValueError` with what is wrong with it."""
    found = json.loads(data) if data and data.strip() else {}
    if not isinstance(found, dict):
        raise ValueError(f"its data is no JSON object: {data}")
    return Signal(signal_id, kind, found)


def parse_line(line: str) -> Signal:
    """A signal as one JSON object, `{"id": …, "type": …, "data": {…}}`, as in a file or a topic."""
    found = json.loads(line)
    if not isinstance(found, dict):
        raise ValueError("it is no JSON object")
    kind, data = found.get("type"), found.get("data")
    if not isinstance(kind, str):
        raise ValueError("it has no type")
    if isinstance(data, str):
        data = json.loads(data) if data.strip() else {}
    if data is not None and not isinstance(data, dict):
        raise ValueError("its data is no JSON object")
    identity = found.get("id")
    return Signal(None if identity is None else str(identity), kind, data or {})


def parse_row(fragments: Sequence[str]) -> Signal:
    """A row of the signal table as JSON fragments: id, type, data in its first three columns."""
    if len(fragments) < _ID_COLUMNS:
        raise ValueError(f"the signal table has {len(fragments)} columns and needs id, type and data")
    identity, kind, data = (json.loads(text) for text in fragments[:_ID_COLUMNS])
    return parse_signal(None if identity is None else str(identity), str(kind), data)


def snapshot_request(signal: Signal) -> SnapshotRequest:
    """What an `execute-snapshot` asks for; raises `ValueError` with what is wrong with it."""
    tables = table_list(signal)
    if not tables:
        raise ValueError('its data needs "data-collections": ["schema.table", …]')
    conditions = []
    for condition in signal.data.get("additional-conditions") or ():
        if not isinstance(condition, dict) or not {"data-collection", "filter"} <= condition.keys():
            raise ValueError('"additional-conditions" needs objects of "data-collection" and "filter"')
        conditions.append((str(condition["data-collection"]), str(condition["filter"])))
    surrogate = signal.data.get("surrogate-key")
    return SnapshotRequest(
        signal.id, snapshot_kind(signal), tables, tuple(conditions), None if not surrogate else str(surrogate)
    )


def table_list(signal: Signal) -> tuple[str, ...]:
    """`data-collections`, perhaps empty; raises `ValueError`."""
    tables = signal.data.get("data-collections") or ()
    if not isinstance(tables, list | tuple) or not all(isinstance(table, str) for table in tables):
        raise ValueError('"data-collections" must be a list of strings')
    return tuple(table.strip() for table in tables)


def snapshot_kind(signal: Signal) -> str:
    """INCREMENTAL or BLOCKING; raises `ValueError`."""
    kind = str(signal.data.get("type") or INCREMENTAL).upper()
    if kind not in (INCREMENTAL, BLOCKING):
        raise ValueError(f'"type" must be {INCREMENTAL} or {BLOCKING}, not {kind}')
    return kind
