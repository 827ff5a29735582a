"""Where an incremental snapshot is: what waits, what is being read, and how it stands in an offset.

The fields are Debezium's, so that it can go on with what Millstream began and the other way round; only that
it is paused is a field of Millstream's own.
"""

import json
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from connect.api import ConnectError
from connectors.postgres.java_objects import read_key, write_key
from connectors.postgres.offsets import REQUESTS

_PREFIX: Final = "incremental_snapshot_"
_COLLECTIONS: Final = f"{_PREFIX}collections"
_CORRELATION_ID: Final = f"{_PREFIX}correlation_id"
_PRIMARY_KEY: Final = f"{_PREFIX}primary_key"
_MAXIMUM_KEY: Final = f"{_PREFIX}maximum_key"
_PAUSED: Final = f"{_PREFIX}paused"
_ID: Final = f"{_COLLECTIONS}_id"
_CONDITION: Final = f"{_COLLECTIONS}_additional_condition"
_SURROGATE: Final = f"{_COLLECTIONS}_surrogate_key"

Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Collection:
    """A table that is to be read: `schema.table`, which rows (SQL in parentheses), and the column to go by
    instead of the key."""

    name: str
    condition: str | None = None
    surrogate_key: str | None = None


class IncrementalContext:
    """The tables to read, the first of them being read: up to `last_key` it is done, at `maximum_key` it ends
    (as PostgreSQL's texts; None: not begun)."""

    def __init__(self) -> None:
        self.collections: deque[Collection] = deque()
        self.correlation_id: str | None = None
        self.last_key: Key | None = None
        self.maximum_key: Key | None = None
        self._last_shown = self._maximum_shown = write_key(None, ())
        self.paused = False
        self._fields: dict[str, Any] | None = None

    @property
    def running(self) -> bool:
        return bool(self.collections)

    def add(self, collections: Iterable[Collection], correlation_id: str | None) -> None:
        self.collections.extend(collections)
        self.correlation_id = correlation_id
        self._fields = None

    def remove(self, names: Sequence[str]) -> bool:
        """Take these tables out; True where the first is among them."""
        removes_first = bool(self.collections) and self.collections[0].name in names
        self.collections = deque(c for c in self.collections if c.name not in names)
        if removes_first:
            self._begin_table()
        self._fields = None
        return removes_first

    def next_table(self) -> None:
        """The first table is done."""
        self.collections.popleft()
        self._begin_table()

    def _begin_table(self) -> None:
        self.last_key = self.maximum_key = None
        self._last_shown = self._maximum_shown = write_key(None, ())
        if not self.collections:
            self.paused = False
        self._fields = None

    def pause(self, paused: bool) -> None:
        self.paused = paused and self.running
        self._fields = None

    def begin(self, maximum_key: Key, key_types: Sequence[str]) -> None:
        """The first table is read up to this key, whose columns have these types (names in pg_type)."""
        self.maximum_key, self._maximum_shown = maximum_key, write_key(maximum_key, key_types)
        self._fields = None

    def advance(self, last_key: Key, key_types: Sequence[str]) -> None:
        """The first table is done up to this key."""
        self.last_key, self._last_shown = last_key, write_key(last_key, key_types)
        self._fields = None

    # --- in an offset

    def fields(self) -> Mapping[str, Any]:
        """What an offset needs to say of it; nothing when no snapshot is under way. Not to be changed."""
        if self._fields is None:
            self._fields = self._make_fields()
        return self._fields

    def _make_fields(self) -> dict[str, Any]:
        if not self.running:
            return {}
        shown = [
            {_ID: c.name, _CONDITION: c.condition, _SURROGATE: c.surrogate_key} for c in self.collections
        ]
        fields = {
            _CORRELATION_ID: self.correlation_id,
            _MAXIMUM_KEY: self._maximum_shown,
            _COLLECTIONS: json.dumps(shown, separators=(",", ":")),
            _PRIMARY_KEY: self._last_shown,
        }
        return {**fields, _PAUSED: True} if self.paused else fields

    def load(self, offset: Mapping[str, Any]) -> None:
        """Go on where an offset says; raises `ConnectError` for one that cannot be read."""
        shown = offset.get(_COLLECTIONS)
        if not shown:
            return
        try:
            found = [Collection(c[_ID], c.get(_CONDITION), c.get(_SURROGATE)) for c in json.loads(shown)]
            last_key = _read(offset, _PRIMARY_KEY)
            maximum_key = _read(offset, _MAXIMUM_KEY)
        except (ValueError, TypeError, KeyError, AttributeError) as exc:
            raise ConnectError(
                f"the incremental snapshot in the offset cannot be gone on with: {exc}. Remove the fields "
                f"{_PREFIX}* from the connector's offsets and ask for the snapshot again"
            ) from exc
        self.collections = deque(found)
        self.correlation_id = offset.get(_CORRELATION_ID)
        if last_key is not None:
            self.last_key, self._last_shown = last_key, str(offset[_PRIMARY_KEY])
        if maximum_key is not None:
            self.maximum_key, self._maximum_shown = maximum_key, str(offset[_MAXIMUM_KEY])
        self.paused = bool(offset.get(_PAUSED))
        self._fields = None


def _read(offset: Mapping[str, Any], name: str) -> Key | None:
    text = offset.get(name)
    if text is None:
        return None
    try:
        return read_key(text)
    except ValueError as exc:
        raise ValueError(f"{name}: {exc}") from exc


def without_context(offset: Mapping[str, Any]) -> dict[str, Any]:
    """The offset but for what it says of snapshots that were asked for."""
    return {name: value for name, value in offset.items() if not _is_context(name)}


def context_of(offset: Mapping[str, Any]) -> dict[str, Any]:
    """What the offset says of snapshots that were asked for."""
    return {name: value for name, value in offset.items() if _is_context(name)}


def _is_context(name: str) -> bool:
    return name.startswith(_PREFIX) or name == REQUESTS
