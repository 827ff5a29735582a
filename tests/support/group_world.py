"""What a group coordinator lives in, without I/O: a clock, timers, a disk that takes its time and can fail.

It does what `broker.server.coordinators.GroupShell` does, but under the test's control: nothing is
durable before `sync`, and `crash` loses what is not.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from broker.coordinator.effects import CancelTimer, Effect, Reply, SetTimer, Store, TimerKey
from broker.coordinator.group_coordinator import CoordinatorSettings, GroupCoordinator
from broker.coordinator.messages import Request
from broker.coordinator.records import (
    CommittedOffset,
    TopicPartition,
    decode_group_record,
    encode_group_record,
)

NOT_STORED = "not stored"
"""The answer to a request whose changes could not be stored."""

_START_MS = 1_700_000_000_000


@dataclass(slots=True)
class PendingStore:
    """A store that is not durable yet, and the replies that wait for it."""

    store: Store
    replies: list[Reply] = field(default_factory=list)


class GroupWorld:
    """`on_reply(token, response)` hears every answer; `token` is what came with the request.

    `on_delete(group_id)` hears that a group's deletion is durable.
    """

    def __init__(
        self,
        settings: CoordinatorSettings,
        on_reply: Callable[[int, Any], None],
        *,
        holds_replies: bool = True,
        on_delete: Callable[[str], None] = lambda group_id: None,
    ) -> None:
        self.clock_ms = 0
        self.wall_clock_skew_ms = 0
        self.records: dict[str, bytes] = {}
        self.offsets: dict[str, dict[TopicPartition, CommittedOffset]] = {}
        self.pending: deque[PendingStore] = deque()
        self.timers: dict[TimerKey, int] = {}
        self._settings = settings
        self._on_reply = on_reply
        self._holds_replies = holds_replies
        self._on_delete = on_delete
        self._failed: set[str] = set()
        self._start()

    @property
    def wall_clock_ms(self) -> int:
        return _START_MS + self.clock_ms + self.wall_clock_skew_ms

    def ask(self, request: Request, token: int) -> None:
        """Hand a request to the coordinator. The answer may come before this returns."""
        if getattr(request, "group_id", None) in self._failed:
            self._on_reply(token, NOT_STORED)
        else:
            self._perform(self.coordinator.on_request(request, token, self.wall_clock_ms))

    def peek(self, request: Request) -> Any:
        """The answer to a question, as the coordinator has it in memory now."""
        (reply,) = self.coordinator.on_request(request, 0, self.wall_clock_ms)
        assert isinstance(reply, Reply)
        return reply.response

    def next_timer_ms(self) -> int | None:
        return min(self.timers.values(), default=None)

    def fire_due(self) -> None:
        """Fire the timers that are due by `clock_ms`, in their order."""
        while due := [(at, key) for key, at in self.timers.items() if at <= self.clock_ms]:
            _, key = min(due, key=lambda item: item[0])
            del self.timers[key]
            self._perform(self.coordinator.on_timer(key, self.wall_clock_ms))

    def sync(self, count: int | None = None) -> None:
        """Make the next `count` stores (or all) durable, and give the answers that waited."""
        for _ in range(len(self.pending) if count is None else count):
            done = self.pending.popleft()
            self._apply(done.store)
            for reply in done.replies:
                self._on_reply(reply.reply_to, reply.response)
            self._reload_if_failed(done.store.group_id)

    def fail(self) -> None:
        """The next store fails."""
        lost = self.pending.popleft()
        self._failed.add(lost.store.group_id)
        for reply in lost.replies:
            self._on_reply(reply.reply_to, NOT_STORED)
        self._reload_if_failed(lost.store.group_id)

    def is_settled(self) -> bool:
        """Whether what is in memory should be what is durable."""
        return not self.pending and not self._failed

    def crash(self, durable: int = 0) -> None:
        """Stop and start again. The first `durable` of the pending stores made it, without an answer."""
        for done in list(self.pending)[:durable]:
            self._apply(done.store)
        self.pending.clear()
        self.timers.clear()
        self._failed.clear()
        self._start()

    def _start(self) -> None:
        self.coordinator = GroupCoordinator(self._settings)
        records = {group_id: decode_group_record(document) for group_id, document in self.records.items()}
        offsets = {group_id: dict(of_group) for group_id, of_group in self.offsets.items()}
        self._perform(self.coordinator.load(records, offsets, self.wall_clock_ms))

    def _reload_if_failed(self, group_id: str) -> None:
        if group_id not in self._failed or any(p.store.group_id == group_id for p in self.pending):
            return
        self._failed.remove(group_id)
        document = self.records.get(group_id)
        record = None if document is None else decode_group_record(document)
        offsets = dict(self.offsets.get(group_id, {}))
        self._perform(self.coordinator.reload(group_id, record, offsets, self.wall_clock_ms))

    def _perform(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Reply():
                    self._reply(effect)
                case Store():
                    self.pending.append(PendingStore(effect))
                case SetTimer():
                    self.timers[effect.key] = self.clock_ms + effect.delay_ms
                case CancelTimer():
                    self.timers.pop(effect.key, None)

    def _reply(self, reply: Reply) -> None:
        behind = [p for p in self.pending if p.store.group_id == reply.group_id]
        if behind and self._holds_replies:
            behind[-1].replies.append(reply)
        else:
            self._on_reply(reply.reply_to, reply.response)

    def _apply(self, store: Store) -> None:
        offsets = self.offsets.setdefault(store.group_id, {})
        if store.deleted:
            self.records.pop(store.group_id, None)
            offsets.clear()
            self._on_delete(store.group_id)
        if store.record is not None:
            self.records[store.group_id] = encode_group_record(store.record)
        offsets.update(store.put_offsets)
        for partition in store.delete_offsets:
            offsets.pop(partition, None)
        if not offsets:
            del self.offsets[store.group_id]
