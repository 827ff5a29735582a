"""Which objects are to be read next.

The bucket is listed again and again from the start, so that an object which arrives out of order is not
missed. A scan keeps the first `READY_MAX` new objects in the order in which they are to be read; those behind
them are found by the scans that follow. So the memory is bounded, and the order is kept.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from connectors.s3.source.places import HEADERS, KEYS, Layout, Place
from connectors.s3.store import Bucket, Entry

READY_MAX: Final = 20_000
# A scan of many objects takes time and money: how much of the time may go there.
SCAN_SHARE: Final = 0.1


# Of the objects that are read: by topic, partition, start offset, key.
Order = tuple[str, int, int, str]


class Candidate(NamedTuple):
    """An object to read, with the keys and headers that a sink wrote beside it."""

    entry: Entry
    place: Place
    keys: Entry | None = None
    headers: Entry | None = None

    @property
    def order(self) -> Order:
        return self.place.order(self.entry.key)


@dataclass(slots=True)
class _Scan:
    """How far a scan has come. Objects of one stem are a group; `split`: which began in an earlier page."""

    after: str = ""
    took_s: float = 0.0
    found: list[Candidate] = field(default_factory=list)
    left_out: bool = False
    stem: str = ""
    group: list[Entry] = field(default_factory=list)
    split: bool = False


class Listing:
    """`wanted` says whether an object is still to be read by this task."""

    def __init__(
        self,
        bucket: Bucket,
        layout: Layout,
        wanted: Callable[[Entry, Place], bool],
        interval_s: float,
        *,
        needs_keys: bool = False,
        needs_headers: bool = False,
    ) -> None:
        self._bucket = bucket
        self._layout = layout
        self._wanted = wanted
        self._interval_s = interval_s
        self._needs_keys = needs_keys
        self._needs_headers = needs_headers
        self._ready: list[Candidate] = []  # the next one last
        self._due_s = 0.0
        self._scan = _Scan()
        self.scans = 0  # how often the whole bucket has been listed

    def next(self) -> Candidate | None:
        """The next object to read; None: none is known, `scan` looks for more."""
        return self._ready.pop() if self._ready else None

    @property
    def next_order(self) -> Order | None:
        """That of the next object; None: none is known."""
        return self._ready[-1].order if self._ready else None

    def seconds_to_scan(self) -> float:
        """How long there is nothing to look for."""
        return max(0.0, self._due_s - time.monotonic())

    def scan(self, seconds: float) -> None:
        """List for about so long. Once the whole bucket has been listed, what was found is ready."""
        scan, began = self._scan, time.monotonic()
        page: list[Entry] | None = None
        while page != [] and time.monotonic() - began < seconds:
            page = self._bucket.page(self._layout.prefix, scan.after)
            for entry in page:
                self._add(scan, entry)
            scan.split = True
            if page:
                scan.after = page[-1].key
        scan.took_s += time.monotonic() - began
        if page == []:
            self._end_group(scan)
            self._end(scan)

    def _end(self, scan: _Scan) -> None:
        _cut(scan)
        self._ready = scan.found[::-1]
        pause_s = max(self._interval_s, scan.took_s / SCAN_SHARE)
        self._due_s = 0.0 if scan.left_out else time.monotonic() + pause_s
        self._scan = _Scan()
        self.scans += 1

    def _add(self, scan: _Scan, entry: Entry) -> None:
        stem = self._layout.stem(entry.key)
        if stem != scan.stem:
            self._end_group(scan)
            scan.stem, scan.group, scan.split = stem, [], False
        scan.group.append(entry)

    def _end_group(self, scan: _Scan) -> None:
        """The objects of one stem have all been seen."""
        group, places = scan.group, [self._layout.place(entry.key) for entry in scan.group]
        values = [
            (entry, place)
            for entry, place in zip(group, places, strict=True)
            if place is not None and self._wanted(entry, place)
        ]
        if not values:
            return
        if scan.split and self._layout.has_siblings:  # something may have come between two pages
            group = self._bucket.page(scan.stem)
        scan.found += candidates_of(scan.stem, values, group, self._needs_keys, self._needs_headers)
        if len(scan.found) >= 2 * READY_MAX:
            _cut(scan)


def candidates_of(
    stem: str,
    values: Sequence[tuple[Entry, Place]],
    group: Sequence[Entry],
    needs_keys: bool,
    needs_headers: bool,
) -> list[Candidate]:
    """Objects of one stem, with those of `group` that belong to them; none if something is needed that is not
    there yet."""
    keys, headers = _sibling(group, stem + KEYS), _sibling(group, stem + HEADERS)
    if (needs_keys and keys is None) or (needs_headers and headers is None):
        return []
    return [Candidate(entry, place, keys, headers) for entry, place in values]


def _cut(scan: _Scan) -> None:
    scan.found.sort(key=lambda candidate: candidate.order)
    if len(scan.found) > READY_MAX:
        del scan.found[READY_MAX:]
        scan.left_out = True


def _sibling(group: Sequence[Entry], start: str) -> Entry | None:
    return next((entry for entry in group if entry.key.startswith(start + ".")), None)
