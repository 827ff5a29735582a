"""Makes durable what the group coordinator stores, and holds its answers back until then."""

from collections.abc import Callable
from dataclasses import dataclass, field

from broker.catalog import Catalog
from broker.coordinator.effects import Reply, Store
from broker.server.group_rows import changes_of
from broker.wire.errors import ErrorCode, KafkaError


@dataclass(slots=True)
class _Batch:
    """Stores of one group that are written together, and the answers that wait for them."""

    stores: list[Store] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)


@dataclass(slots=True)
class _Writing:
    """`current` is under way; what is stored meanwhile gathers in `following`."""

    current: _Batch
    following: _Batch = field(default_factory=_Batch)


class GroupWrites:
    """One write at a time for each group, with all that has gathered during the one before.

    When a write fails, nothing that gathered behind it is written, for that builds on what is lost: all of
    it is answered with an error, and `on_failure(group_id)` takes the group back to what is stored.
    """

    def __init__(self, catalog: Catalog, on_failure: Callable[[str], None]) -> None:
        self._catalog = catalog
        self._on_failure = on_failure
        self._writing: dict[str, _Writing] = {}

    def store(self, store: Store) -> None:
        writing = self._writing.get(store.group_id)
        if writing is None:
            self._write(store.group_id, _Batch([store]))
        else:
            writing.following.stores.append(store)

    def reply(self, reply: Reply) -> None:
        """Answer when all that was stored for the group before is durable: now, if it is."""
        writing = self._writing.get(reply.owner)
        if writing is None:
            _answer(reply, is_stored=True)
        elif writing.following.stores:
            writing.following.replies.append(reply)
        else:
            writing.current.replies.append(reply)

    def _write(self, group_id: str, batch: _Batch) -> None:
        self._writing[group_id] = _Writing(batch)
        written = self._catalog.change_group(*map(changes_of, batch.stores))
        written.add_done_callback(lambda done: self._written(group_id, done.exception()))

    def _written(self, group_id: str, error: BaseException | None) -> None:
        writing = self._writing.pop(group_id)
        following = writing.following
        if error is None and following.stores:
            self._write(group_id, following)
        for reply in writing.current.replies:
            _answer(reply, is_stored=error is None)
        if error is not None:
            for reply in following.replies:
                _answer(reply, is_stored=False)
            self._on_failure(group_id)


def _answer(reply: Reply, *, is_stored: bool) -> None:
    if reply.reply_to.done():  # the client is gone
        return
    if is_stored:
        reply.reply_to.set_result(reply.response)
    else:
        reply.reply_to.set_exception(not_stored())


def not_stored() -> KafkaError:
    """What whoever asked for a change hears when it could not be stored."""
    return KafkaError(ErrorCode.coordinator_not_available, "The change could not be stored; try again.")
