"""A seeded simulation of consumer groups: clients, a network and a broker that all misbehave.

Everything is drawn from one seed: message delays (so requests overtake each other), lost connections,
clients that pause for longer than their session and then go on as if nothing had happened, that are
killed, leave, or start twice with one instance id and one transactional id, transactions that end in any
way, administrators who delete offsets and groups, a disk that takes its time or fails, a wall clock that
jumps, and a broker that crashes. `GroupSimulation(seed).run()` raises `Violation` when something that
must hold does not, and when the groups do not settle after the trouble has ended.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from support.group_clients import OTHER_TOPIC, PARTITIONS, TOPIC, Answer, Client
from support.group_oracle import Oracle, Transaction
from support.group_transactions import TransactionDesk
from support.group_world import GroupWorld
from support.simulation import Agenda, Dice, Violation

from broker.coordinator.classic_group import GroupLimits
from broker.coordinator.group_coordinator import EXPIRY_TIMER, CoordinatorSettings
from broker.coordinator.messages import (
    Commit,
    CommitResult,
    DeleteGroup,
    DeleteOffsets,
    DescribeGroup,
    FetchOffsets,
    Heartbeat,
    Request,
    TransactionalCommit,
)
from broker.coordinator.records import CommittedOffset, TopicPartition
from broker.wire.errors import ErrorCode

TROUBLE_MS = 30_000
CALM_MS = 180_000
HOUR_MS = 3_600_000
RETENTION_MS = 20_000

EVERY_PARTITION = [(TOPIC, p) for p in range(PARTITIONS)] + [(OTHER_TOPIC, p) for p in range(2)]


@dataclass(slots=True)
class Waiting:
    """A request that the broker has not answered yet. `is_local` ones are not answered over the network."""

    request: Request
    answer: Answer
    is_local: bool = False


class GroupSimulation:
    """Without `holds_replies`, the broker answers before what it stored is durable: a planted bug."""

    def __init__(self, seed: int, *, holds_replies: bool = True) -> None:
        self.dice = Dice(seed)
        self.oracle = Oracle()
        self.is_calm = False
        self._numbers = count(1)
        self._waiting: dict[int, Waiting] = {}
        self._refused: set[int] = set()
        self._connection_epoch = 0
        self._agenda = Agenda()
        self._sync_is_planned = False
        self._desk = TransactionDesk(self)
        limits = GroupLimits(initial_rebalance_delay_ms=self.dice.choice([0, 500, 3000]))
        self.world = GroupWorld(
            CoordinatorSettings(limits, offsets_check_interval_ms=7_000, offsets_retention_ms=RETENTION_MS),
            self._replied,
            holds_replies=holds_replies,
            on_delete=self.oracle.deleted,
        )
        self.group_ids = ("g", "h")[: self.dice.between(1, 2)]
        self.clients: list[Client] = []
        for group_id in self.group_ids:
            self.clients += [self._new_client(group_id, n) for n in range(self.dice.between(1, 4))]

    def run(self) -> None:
        """30 s of trouble, then up to 3 min to settle. Raises Violation."""
        for client in self.clients:
            self.after(self.dice.between(0, 5_000), client.start)
        self._plan_trouble()
        self._run_until(TROUBLE_MS)
        self.is_calm = True
        for client in self.clients:
            client.calm_down()
        while self.now_ms < TROUBLE_MS + CALM_MS:
            self._run_until(self.now_ms + 5_000)
            if self._problem() is None:
                self._check_settled()
                return
        raise Violation(f"not settled after {CALM_MS} ms: {self._problem()}")

    # For clients and the transaction desk.

    @property
    def now_ms(self) -> int:
        return self.world.clock_ms

    def after(self, delay_ms: int, action: Callable[[], None]) -> None:
        self._agenda.plan(self.world.clock_ms + delay_ms, action)

    def unique_number(self) -> int:
        return next(self._numbers)

    def send(self, request: Request, answer: Answer) -> None:
        """The request arrives some time later, unless the broker has crashed meanwhile."""
        self._on_arrival(lambda: self._arrived(request, answer))

    def send_in_transaction(self, request: TransactionalCommit, answer: Answer) -> None:
        def arrive() -> None:
            verified = self._desk.verify(request.producer_id, request.producer_epoch, request.group_id)
            if isinstance(verified, ErrorCode):
                self.after(self._network_ms(), lambda: answer(CommitResult(verified)))
            elif self._desk.producers[request.producer_id].is_v2:
                # It may have ended when the commit gets to the group: the epoch tells.
                gap_ms = self.dice.between(0, 3_000 if self.dice.chance(0.1) else 5)
                self._if_alive(gap_ms, lambda: self._verified(request, answer, verified))
            else:
                self._verified(request, answer, verified)

        self._on_arrival(arrive)

    def init_producer(self, producer_id: int, *, is_v2: bool, answer: Answer) -> None:
        self._on_arrival(lambda: self._answer_later(answer, self._desk.init(producer_id, is_v2=is_v2)))

    def end_transaction(self, producer_id: int, epoch: int, *, is_commit: bool, answer: Answer) -> None:
        self._on_arrival(
            lambda: self._answer_later(answer, self._desk.end(producer_id, epoch, is_commit=is_commit))
        )

    def ask(self, request: Request, answer: Answer) -> None:
        """The transaction desk asks; it is part of the broker."""
        token = next(self._numbers)
        self._waiting[token] = Waiting(request, answer, is_local=True)
        self.world.ask(request, token)

    def ended(self, transaction: Transaction, group_id: str) -> None:
        self.oracle.offsets.ended(transaction, group_id)

    # The network.

    def _on_arrival(self, action: Callable[[], None]) -> None:
        self._if_alive(self._network_ms(), action)

    def _if_alive(self, delay_ms: int, action: Callable[[], None]) -> None:
        """Do it later, unless the broker has crashed by then."""
        epoch = self._connection_epoch
        self.after(delay_ms, lambda: action() if epoch == self._connection_epoch else None)

    def _answer_later(self, answer: Answer, result: Any) -> None:
        self.after(self._network_ms(), lambda: answer(result))

    def _network_ms(self) -> int:
        if not self.is_calm and self.dice.chance(0.02):
            return self.dice.between(500, 12_000)
        return self.dice.between(1, 30)

    # The broker's side.

    def _arrived(self, request: Request, answer: Answer) -> None:
        token = next(self._numbers)
        if isinstance(request, Commit):
            request = replace(request, offsets=self._numbered(request.offsets, token))
            if request.generation_id < 0 and self.world.peek(DescribeGroup(request.group_id)).members:
                self._refused.add(token)
        self._waiting[token] = Waiting(request, answer)
        self.world.ask(request, token)
        if isinstance(request, DeleteOffsets):
            left = self.world.peek(FetchOffsets(request.group_id, None)).offsets
            gone = [partition for partition in request.partitions if partition not in left]
            self.oracle.offsets.removal_asked(request.group_id, gone, token)

    def _verified(self, request: TransactionalCommit, answer: Answer, transaction: Transaction) -> None:
        token = next(self._numbers)
        request = replace(request, offsets=self._numbered(request.offsets, token))
        self.oracle.offsets.committed_in(transaction, token)
        self._waiting[token] = Waiting(request, answer)
        self.world.ask(request, token)

    def _numbered(self, offsets: Any, number: int) -> dict[TopicPartition, CommittedOffset]:
        """Commits are numbered as they come in: what is durable must never be older than what was acked."""
        now_ms, metadata = self.world.wall_clock_ms, str(number)
        return {p: CommittedOffset(offset.offset, -1, metadata, now_ms) for p, offset in offsets.items()}

    def _replied(self, token: int, response: Any) -> None:
        waiting = self._waiting.pop(token, None)
        if waiting is None:
            raise Violation(f"request {token} was answered twice: {response}")
        if token in self._refused and response == CommitResult(ErrorCode.none):
            raise Violation("a client from outside committed for a group that has members")
        self.oracle.answered(waiting.request, response, token)
        if waiting.is_local:
            waiting.answer(response)
        else:
            self._answer_later(waiting.answer, response)

    def _run_until(self, end_ms: int) -> None:
        world, agenda = self.world, self._agenda
        while True:
            timer_ms = world.next_timer_ms()
            event_ms = agenda.next_ms()
            if event_ms is not None and (timer_ms is None or event_ms <= timer_ms):
                at_ms, is_timer = event_ms, False
            elif timer_ms is not None:
                at_ms, is_timer = timer_ms, True
            else:
                at_ms = end_ms
            if at_ms >= end_ms:
                world.clock_ms = end_ms
                return
            world.clock_ms = at_ms
            if is_timer:
                self._fire()
            else:
                agenda.take()()
            if world.unsynced and not self._sync_is_planned:
                self._sync_is_planned = True
                self.after(self.dice.between(1, 40), self._sync)

    def _sync(self) -> None:
        self._sync_is_planned = False
        while self.world.unsynced:
            if not self.is_calm and self.dice.chance(0.03):
                self.world.fail()
            else:
                self.world.sync(1)

    def _crash(self) -> None:
        if self.world.is_settled():
            self._check_memory()
        self._connection_epoch += 1
        self._waiting.clear()
        self.world.crash(durable=self.dice.between(0, len(self.world.unsynced)))
        self.oracle.offsets.check_stored(self.world.offsets)
        self._desk.recover()
        for client in self.clients:
            client.lost_connection()

    # Expiry.

    def _fire(self) -> None:
        if self.world.next_timer_key() != EXPIRY_TIMER:
            self.world.fire_next()
            return
        before = {group_id: self._unexpired(group_id) for group_id in self.group_ids}
        self.world.fire_next()
        for group_id, (staying, going) in before.items():
            left = self.world.peek(FetchOffsets(group_id, None)).offsets
            if lost := [partition for partition in staying if partition not in left]:
                raise Violation(f"{group_id}: {lost} have expired too early")
            if kept := [partition for partition in going if partition in left]:
                raise Violation(f"{group_id}: {kept} should have expired")
            gone = [partition for partition in EVERY_PARTITION if partition not in left]
            self.oracle.offsets.removal_asked(group_id, gone, next(self._numbers))

    def _unexpired(self, group_id: str) -> tuple[list[TopicPartition], list[TopicPartition]]:
        """The offsets that must not expire now, and those that must; some are in neither."""
        group = self.world.peek(DescribeGroup(group_id))
        offsets = self.world.peek(FetchOffsets(group_id, None)).offsets
        unstable = self.world.peek(FetchOffsets(group_id, EVERY_PARTITION, require_stable=True)).unstable
        staying, going = [], []
        for partition, committed in offsets.items():
            is_old = self.world.wall_clock_ms - committed.commit_time_ms >= RETENTION_MS
            is_read = group.members and (group.group_state != "Stable" or partition[0] == TOPIC)
            if not is_old or is_read or partition in unstable:
                staying.append(partition)
            elif group.members or not group.protocol_type:
                going.append(partition)  # without members it depends on when the last one left
        return staying, going

    # Trouble.

    def _plan_trouble(self) -> None:
        kinds = [
            self._crash, self._crash, self._jump_clock, self._commit_from_outside, self._delete_offsets,
            self._delete_group,
        ]  # fmt: skip
        kinds += [client.trouble for client in self.clients] * 2
        for _ in range(self.dice.between(3, 12)):
            self.after(self.dice.between(0, TROUBLE_MS), self.dice.choice(kinds))

    def _jump_clock(self) -> None:
        self.world.wall_clock_skew_ms = self.dice.between(-HOUR_MS, HOUR_MS)

    def _commit_from_outside(self) -> None:
        offsets = {self.dice.choice(EVERY_PARTITION): CommittedOffset(0, -1, "", 0)}
        self.send(Commit(self.dice.choice(self.group_ids), "", None, -1, offsets), lambda _: None)

    def _delete_offsets(self) -> None:
        partitions = [p for p in EVERY_PARTITION if p[0] == OTHER_TOPIC or self.dice.chance(0.2)]
        self.send(DeleteOffsets(self.dice.choice(self.group_ids), partitions), lambda _: None)

    def _delete_group(self) -> None:
        self.send(DeleteGroup(self.dice.choice(self.group_ids)), lambda _: None)

    def _new_client(self, group_id: str, number: int) -> Client:
        dice = self.dice
        client = Client(self, group_id, f"{group_id}-{number}", f"i{number}" if dice.chance(0.5) else None)
        if dice.chance(0.4):
            client.producer_id, client.is_v2 = next(self._numbers), dice.chance(0.5)
        client.knows_kip_394 = dice.chance(0.7)
        client.knows_kip_447 = dice.chance(0.7)
        client.knows_kip_814 = dice.chance(0.5)
        return client

    # What must hold in the end.

    def _problem(self) -> str | None:
        """Why the groups are not settled; None when they are."""
        for group_id in self.group_ids:
            alive = [c for c in self.clients if c.group_id == group_id and c.is_alive]
            described = self.world.peek(DescribeGroup(group_id))
            if len(described.members) != len(alive):
                return f"{group_id} has {len(described.members)} members, and {len(alive)} clients live"
            if not alive:
                continue
            if described.group_state != "Stable" or any(not c.is_stable for c in alive):
                return f"{group_id} is {described.group_state}, its clients {[c.step for c in alive]}"
            if len({c.generation_id for c in alive}) > 1:
                return f"{group_id}: clients are in generations {[c.generation_id for c in alive]}"
            if sorted(p for c in alive for p in c.owned) != list(range(PARTITIONS)):
                return f"{group_id}: clients own {[c.owned for c in alive]}"
        if not self._desk.is_idle:
            return "transactions are open"
        return None if self.world.is_settled() else "there is something left to store"

    def _check_settled(self) -> None:
        self._check_memory()
        self.oracle.offsets.check_stored(self.world.offsets)
        if self.world.pending_offsets:
            raise Violation(f"all transactions have ended, and there is left {self.world.pending_offsets}")
        late = [w.request for w in self._waiting.values() if not isinstance(w.request, Heartbeat | Commit)]
        if late:
            raise Violation(f"never answered: {late}")

    def _check_memory(self) -> None:
        for group_id in self.group_ids:
            found = self.world.peek(FetchOffsets(group_id, None)).offsets
            if found != self.world.offsets.get(group_id, {}):
                raise Violation(f"{group_id}: what is in memory is not what is stored")
            asked = FetchOffsets(group_id, EVERY_PARTITION, require_stable=True)
            stored = self.world.pending_offsets.get(group_id, {}).values()
            if set(self.world.peek(asked).unstable) != {p for _, offsets in stored for p in offsets}:
                raise Violation(f"{group_id}: what is pending in memory is not what is stored")
