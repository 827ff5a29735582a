"""Objects that a queue tells of, to be read before a listing of the bucket finds them.

A message is deleted once the offsets of all objects that it tells of are stored; if the task ends before,
it comes again. What is lost on the way is found by the listing, which goes on at long intervals.
"""

import heapq
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

import structlog

from connect.api import ConnectError
from connectors.s3.source.events import NotAnEvent, new_objects
from connectors.s3.source.listing import Candidate, Order, candidates_of
from connectors.s3.source.places import Layout, Place
from connectors.s3.source.queue import Message, Queue
from connectors.s3.store import Bucket, Entry

log = structlog.get_logger(__name__)

# Messages whose objects are not read yet: no more are received before some are.
_WAITING_MAX: Final = 100
_GIVE_BACK_AFTER_S: Final = 1
_SHOWN_BYTES: Final = 200
_TOLD_MAX: Final = 10_000


@dataclass(slots=True)
class _Waiting:
    """A message, and the keys of its objects whose offsets are not stored yet."""

    message: Message
    keys: set[str] = field(default_factory=set)


class Arrivals:
    """`is_mine` says whether an object is this task's, `is_wanted` whether it is still to be read, and
    `is_stored` whether the offset of one that has been read is durable."""

    def __init__(
        self,
        queue: Queue,
        bucket: Bucket,
        layout: Layout,
        *,
        is_mine: Callable[[str, Place], bool],
        is_wanted: Callable[[Entry, Place], bool],
        is_stored: Callable[[str], bool],
        needs_keys: bool,
        needs_headers: bool,
    ) -> None:
        self._queue = queue
        self._bucket = bucket
        self._layout = layout
        self._is_mine = is_mine
        self._is_wanted = is_wanted
        self._is_stored = is_stored
        self._needs = needs_keys, needs_headers
        self._ready: list[tuple[Order, Candidate]] = []
        self._ready_etags: dict[str, str] = {}
        self._waiting: dict[str, _Waiting] = {}  # by message
        self._messages_of: defaultdict[str, set[str]] = defaultdict(set)  # by object
        self._done: list[Message] = []
        self._told: set[str] = set()

    @property
    def next_order(self) -> Order | None:
        """That of the next object; None: none is known."""
        return self._ready[0][0] if self._ready else None

    def next(self) -> Candidate:
        """The next object to read."""
        candidate = heapq.heappop(self._ready)[1]
        self._ready_etags.pop(candidate.entry.key, None)
        return candidate

    def receive(self, wait_s: int) -> None:
        """Ask the queue. Raises `RetriableError`, `RefusedError`."""
        self._delete_done()
        if len(self._waiting) >= _WAITING_MAX and self._ready:
            return
        for message in self._queue.receive(wait_s):
            self._take(message)
        self._delete_done()

    def stored(self, keys: Iterable[str]) -> None:
        """The offsets of these objects, which have been read, are durable."""
        for key in keys:
            for id in self._messages_of.pop(key, ()):
                waiting = self._waiting.get(id)
                if waiting is not None:
                    waiting.keys.discard(key)
                    self._finish(waiting)
        try:
            self._delete_done()
        except ConnectError as exc:
            # They are deleted later, or come again and are deleted then.
            log.warning("messages are not deleted yet", error=str(exc), messages=len(self._done))

    def _take(self, message: Message) -> None:
        try:
            objects = new_objects(message.body)
        except NotAnEvent as exc:
            self._leave(message, str(exc))
            return
        foreign = {each.bucket for each in objects} - {self._bucket.name}
        if foreign:
            self._leave(message, f"it is about the bucket {foreign.pop()}")
            return
        waiting = _Waiting(message)
        for each in objects:
            place = self._layout.place(each.key) if each.key.startswith(self._layout.prefix) else None
            if place is None:
                continue
            if not self._is_mine(each.key, place):
                self._queue.give_back(message, _GIVE_BACK_AFTER_S)
                return
            if not self._is_done(each.key, place):
                waiting.keys.add(each.key)
        self._waiting[message.id] = waiting
        for key in waiting.keys:
            self._messages_of[key].add(message.id)
        self._finish(waiting)

    def _is_done(self, key: str, place: Place) -> bool:
        """Whether its offset is stored, or it is gone; if it is to be read, it is ready now."""
        entries = self._bucket.page(self._layout.stem(key))
        entry = next((entry for entry in entries if entry.key == key), None)
        if entry is None:
            return True  # deleted since
        if self._is_wanted(entry, place):
            stem = self._layout.stem(key)
            found = candidates_of(stem, [(entry, place)], entries, *self._needs)
            for candidate in found:
                if self._ready_etags.get(key) != entry.etag:
                    self._ready_etags[key] = entry.etag
                    heapq.heappush(self._ready, (candidate.order, candidate))
            return False
        return self._is_stored(key)

    def _finish(self, waiting: _Waiting) -> None:
        if not waiting.keys:
            del self._waiting[waiting.message.id]
            self._done.append(waiting.message)

    def _delete_done(self) -> None:
        if self._done:
            done, self._done = self._done, []
            try:
                left = self._queue.delete(done)
            except ConnectError:
                self._done = done + self._done
                raise
            for message in left:
                log.warning("a message could not be deleted; it comes again", message=message.id)

    def _leave(self, message: Message, why: str) -> None:
        """In the queue, whose redrive policy decides; told once."""
        if message.id not in self._told and len(self._told) < _TOLD_MAX:
            self._told.add(message.id)
            log.warning(
                "a message is left in the queue", queue=self._queue.url, message=message.id, why=why,
                body=message.body[:_SHOWN_BYTES],
            )  # fmt: skip
