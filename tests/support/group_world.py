"""What a group coordinator lives in, without I/O: a clock, timers, a disk that takes its time and can fail.

It does what `broker.server.coordinators.GroupShell` does, but under the test's control: nothing is
durable before `sync`, and `crash` loses what is not.
"""

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from support.simulation import Violation

from broker.coordinator.consumer_messages import TopicsChanged
from broker.coordinator.effects import CancelTimer, Effect, Reply, SetTimer, Store, TimerKey
from broker.coordinator.group_coordinator import CoordinatorSettings, GroupCoordinator
from broker.coordinator.messages import Request
from broker.coordinator.records import (
    CommittedOffset,
    PendingOffsets,
    StoredGroup,
    TopicPartition,
    decode_group_record,
    encode_group_record,
)
from broker.coordinator.topics import TopicMetadata

NOT_STORED = "not stored"
"""The answer to a request whose changes could not be stored."""

_START_MS = 1_700_000_000_000


@dataclass(slots=True)
class UnsyncedStore:
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
        self.pending_offsets: dict[str, dict[int, tuple[int, dict[TopicPartition, CommittedOffset]]]] = {}
        """By group and producer id: the producer's epoch, and its offsets."""
        self.unsynced: deque[UnsyncedStore] = deque()
        self.topics: dict[str, TopicMetadata] = {}
        """What a coordinator is told of topics when it starts; whoever changes it tells the running one."""
        self._timers: dict[TimerKey, tuple[int, int]] = {}
        """When each is due, and its number; older entries for it in the heap are void."""
        self._timer_heap: list[tuple[int, int, TimerKey]] = []
        self._timer_numbers = count()
        self.settings = settings
        """Of the coordinator, from its next start on."""
        self._on_reply = on_reply
        self._holds_replies = holds_replies
        self._on_delete = on_delete
        self._start()

    @property
    def wall_clock_ms(self) -> int:
        return _START_MS + self.clock_ms + self.wall_clock_skew_ms

    def ask(self, request: Request, token: int) -> None:
        """Hand a request to the coordinator. The answer may come before this returns."""
        self._perform(self.coordinator.on_request(request, token, self.wall_clock_ms))

    def peek(self, request: Request) -> Any:
        """The answer to a question, as the coordinator has it in memory now."""
        (reply,) = self.coordinator.on_request(request, 0, self.wall_clock_ms)
        assert isinstance(reply, Reply)
        return reply.response

    def next_timer_ms(self) -> int | None:
        heap = self._timer_heap
        while heap:
            at_ms, number, key = heap[0]
            if self._timers.get(key) == (at_ms, number):
                return at_ms
            heapq.heappop(heap)
        return None

    def next_timer_key(self) -> TimerKey:
        """Which timer that is."""
        return self._timer_heap[0][2]

    def fire_next(self) -> TimerKey:
        """Let the first timer run out; `next_timer_ms` has said when that is."""
        key = heapq.heappop(self._timer_heap)[2]
        del self._timers[key]
        self._perform(self.coordinator.on_timer(key, self.wall_clock_ms))
        return key

    def pass_time(self, time_ms: int) -> None:
        """The clock moves on, timers run out, and the disk is quick."""
        end_ms = self.clock_ms + time_ms
        while (at_ms := self.next_timer_ms()) is not None and at_ms <= end_ms:
            self.clock_ms = at_ms
            self.fire_next()
            self.sync()
        self.clock_ms = end_ms

    def sync(self, stores: int | None = None) -> None:
        """Make the next stores (or all) durable, and give the answers that waited."""
        for _ in range(len(self.unsynced) if stores is None else stores):
            done = self.unsynced.popleft()
            self._apply(done.store)
            for reply in done.replies:
                self._on_reply(reply.reply_to, reply.response)

    def fail(self) -> None:
        """The next store fails, and with it what its group has stored since, for that builds on it."""
        group_id = self.unsynced[0].store.group_id
        lost = [unsynced for unsynced in self.unsynced if unsynced.store.group_id == group_id]
        self.unsynced = deque(u for u in self.unsynced if u.store.group_id != group_id)
        for reply in [reply for unsynced in lost for reply in unsynced.replies]:
            self._on_reply(reply.reply_to, NOT_STORED)
        self._perform(self.coordinator.reload(group_id, self._stored(group_id), self.wall_clock_ms))

    def is_settled(self) -> bool:
        """Whether what is in memory should be what is durable."""
        return not self.unsynced

    def crash(self, durable: int = 0) -> None:
        """Stop and start again. The first `durable` of the pending stores made it, without an answer."""
        for done in list(self.unsynced)[:durable]:
            self._apply(done.store)
        self.unsynced.clear()
        self._timers.clear()
        self._timer_heap.clear()
        self._start()

    def _start(self) -> None:
        self.coordinator = GroupCoordinator(self.settings)
        if self.topics:
            self.peek(TopicsChanged(put=list(self.topics.values())))
        group_ids = self.records.keys() | self.offsets.keys() | self.pending_offsets.keys()
        stored = {group_id: self._stored(group_id) for group_id in sorted(group_ids)}
        self._perform(self.coordinator.load(stored, self.wall_clock_ms))

    def _stored(self, group_id: str) -> StoredGroup:
        document = self.records.get(group_id)
        return StoredGroup(
            record=None if document is None else decode_group_record(document),
            offsets=dict(self.offsets.get(group_id, {})),
            pending=[
                PendingOffsets(producer_id, epoch, dict(offsets))
                for producer_id, (epoch, offsets) in self.pending_offsets.get(group_id, {}).items()
            ],
        )

    def _perform(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Reply():
                    self._reply(effect)
                case Store():
                    self.unsynced.append(UnsyncedStore(effect))
                case SetTimer():
                    due = (self.clock_ms + effect.delay_ms, next(self._timer_numbers))
                    self._timers[effect.key] = due
                    heapq.heappush(self._timer_heap, (*due, effect.key))
                case CancelTimer():
                    self._timers.pop(effect.key, None)

    def _reply(self, reply: Reply) -> None:
        behind = [p for p in self.unsynced if p.store.group_id == reply.owner]
        if behind and self._holds_replies:
            behind[-1].replies.append(reply)
        else:
            self._on_reply(reply.reply_to, reply.response)

    def _apply(self, store: Store) -> None:
        offsets = self.offsets.setdefault(store.group_id, {})
        if store.deleted:
            self.records.pop(store.group_id, None)
            offsets.clear()
            self.pending_offsets.pop(store.group_id, None)
            self._on_delete(store.group_id)
        if store.record is not None:
            self.records[store.group_id] = encode_group_record(store.record)
        offsets.update(store.put_offsets)
        for partition in store.delete_offsets:
            offsets.pop(partition, None)
        if not offsets:
            del self.offsets[store.group_id]
        self._apply_pending(store)

    def _apply_pending(self, store: Store) -> None:
        of_group = self.pending_offsets.setdefault(store.group_id, {})
        for producer_id, partition in store.delete_pending:
            _, offsets = of_group.get(producer_id, (0, {}))
            if offsets.pop(partition, None) is None:
                raise Violation(f"{store.group_id}: {partition} of {producer_id} is not pending: {store}")
            if not offsets:
                del of_group[producer_id]
        if (put := store.put_pending) is not None:
            epoch, offsets = of_group.setdefault(put.producer_id, (put.producer_epoch, {}))
            if epoch != put.producer_epoch:
                raise Violation(f"{store.group_id}: two epochs of a producer are pending: {store}")
            offsets.update(put.offsets)
        if not of_group:
            del self.pending_offsets[store.group_id]
