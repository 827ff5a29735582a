"""A seeded simulation of consumer groups: clients, a network and a broker that all misbehave.

Everything is drawn from one seed: message delays (so requests overtake each other), lost connections,
clients that pause for longer than their session and then go on as if nothing had happened, that are
killed, leave, or start twice with one instance id, a disk that takes its time or fails, a wall clock that
jumps, and a broker that crashes. `GroupSimulation(seed).run()` raises `Violation` when something that
must hold does not, and when the groups do not settle after the trouble has ended.
"""

import heapq
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import count
from random import Random
from typing import Any

from support.group_world import NOT_STORED, GroupWorld

from broker.coordinator.classic_group import GroupLimits
from broker.coordinator.group_coordinator import CoordinatorSettings
from broker.coordinator.messages import (
    Commit,
    CommitResult,
    DescribeGroup,
    FetchOffsets,
    FetchOffsetsResult,
    Heartbeat,
    Join,
    JoinResult,
    Leave,
    LeavingMember,
    Protocol,
    Request,
    Sync,
    SyncResult,
)
from broker.coordinator.records import CommittedOffset, TopicPartition
from broker.wire.errors import ErrorCode

SESSION_MS = 6_000
REBALANCE_MS = 8_000
TROUBLE_MS = 60_000
CALM_MS = 180_000
PARTITIONS = 6
TOPIC = "t"
HOUR_MS = 3_600_000

Answer = Callable[[Any], None]


class Violation(AssertionError):
    """Something that must hold did not."""


class Oracle:
    """What must hold, judged by what clients were told."""

    def __init__(self) -> None:
        self._assignments: defaultdict[tuple[str, int], dict[str, bytes]] = defaultdict(dict)
        self._assigned_generation: defaultdict[str, int] = defaultdict(int)
        self._member_order: dict[str, int] = {}
        self._established: dict[tuple[str, str], str] = {}
        self._acked: defaultdict[str, dict[TopicPartition, int]] = defaultdict(dict)

    def answered(self, request: Request, result: Any) -> None:
        """Look at an answer as it leaves the broker."""
        if result is NOT_STORED or result.error_code is not ErrorCode.none:
            return
        match request:
            case Join():
                self._joined(request, result)
            case Sync():
                self._assigned(request, result)
            case Commit() if request.generation_id >= 0:
                self._check_committer(request)
        if isinstance(request, Commit):
            for partition, committed in request.offsets.items():
                self._acked[request.group_id][partition] = int(committed.metadata)

    def deleted(self, group_id: str) -> None:
        """An unused group is gone. One of its name starts anew, and knows none of its members."""
        for key in [key for key in self._assignments if key[0] == group_id]:
            del self._assignments[key]
        for instance in [key for key in self._established if key[0] == group_id]:
            del self._established[instance]
        self._assigned_generation.pop(group_id, None)
        self._acked.pop(group_id, None)

    def restarted(self, offsets: dict[str, dict[TopicPartition, CommittedOffset]]) -> None:
        """Every commit that was acked is there after a crash, or a later one. Metadata numbers commits."""
        for group_id, acked in self._acked.items():
            for partition, number in acked.items():
                found = offsets.get(group_id, {}).get(partition)
                if found is None or int(found.metadata) < number:
                    raise Violation(
                        f"{group_id}: commit {number} of {partition} was acked and is lost: {found}"
                    )

    def _joined(self, request: Join, result: JoinResult) -> None:
        self._member_order.setdefault(result.member_id, len(self._member_order))
        if result.generation_id <= self._assigned_generation[request.group_id]:
            self._establish(request.group_id, request.group_instance_id, result.member_id)

    def _assigned(self, request: Sync, result: SyncResult) -> None:
        group_id, generation_id = request.group_id, request.generation_id
        owner = request.group_instance_id or request.member_id
        assignments = self._assignments[group_id, generation_id]
        before = assignments.setdefault(owner, result.assignment)
        if before != result.assignment:
            raise Violation(
                f"{group_id}/{generation_id}: {owner} was assigned {before!r} and {result.assignment!r}"
            )
        taken = [p for partitions in assignments.values() for p in partitions]
        if len(taken) != len(set(taken)):
            raise Violation(f"{group_id}/{generation_id}: a partition has two owners: {assignments}")
        if generation_id < self._assigned_generation[group_id]:
            raise Violation(f"{group_id}: generation {generation_id} assigned after a later one")
        self._assigned_generation[group_id] = generation_id
        self._establish(group_id, request.group_instance_id, request.member_id)

    def _establish(self, group_id: str, instance_id: str | None, member_id: str) -> None:
        if instance_id is not None:
            self._established[group_id, instance_id] = member_id

    def _check_committer(self, request: Commit) -> None:
        group_id = request.group_id
        if request.generation_id < self._assigned_generation[group_id]:
            raise Violation(
                f"{group_id}: {request.member_id} of generation {request.generation_id} committed, while "
                f"generation {self._assigned_generation[group_id]} has the partitions"
            )
        current = self._established.get((group_id, request.group_instance_id or ""))
        order = self._member_order
        if current is not None and order[request.member_id] < order[current]:
            raise Violation(f"{group_id}: {request.member_id} committed, but {current} has taken its place")


@dataclass(slots=True)
class Waiting:
    """A request that the broker has not answered yet."""

    request: Request
    answer: Answer


class GroupSimulation:
    """Without `holds_replies`, the broker answers before what it stored is durable: a planted bug."""

    def __init__(self, seed: int, *, holds_replies: bool = True) -> None:
        self.random = Random(seed)
        self.oracle = Oracle()
        self.is_calm = False
        self.numbers = count(1)
        limits = GroupLimits(initial_rebalance_delay_ms=self.random.choice([0, 500, 3000]))
        settings = CoordinatorSettings(limits, offsets_check_interval_ms=5_000)
        self._waiting: dict[int, Waiting] = {}
        self._refused: set[int] = set()
        self._connection_epoch = 0
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._sync_is_scheduled = False
        self.world = GroupWorld(
            settings, self._replied, holds_replies=holds_replies, on_delete=self.oracle.deleted
        )
        self.clients: list[Client] = []
        for group_id in ("g", "h")[: self.random.randint(1, 2)]:
            self.clients += [self._new_client(group_id, n) for n in range(self.random.randint(1, 4))]

    def run(self) -> None:
        """60 s of trouble, then up to 3 min to settle. Raises Violation."""
        for client in self.clients:
            self.after(self.random.randint(0, 10_000), client.start)
        self._schedule_trouble()
        self._run_until(TROUBLE_MS)
        self.is_calm = True
        for client in self.clients:
            client.calm_down()
        deadline_ms = TROUBLE_MS + CALM_MS
        while self.world.clock_ms < deadline_ms:
            self._run_until(self.world.clock_ms + 5_000)
            if self._problem() is None:
                self._check_settled()
                return
        raise Violation(f"not settled after {CALM_MS} ms: {self._problem()}")

    # For clients.

    def after(self, delay_ms: int, action: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.world.clock_ms + delay_ms, next(self.numbers), action))

    def send(self, request: Request, answer: Answer) -> None:
        """The request arrives some time later, unless the broker has crashed meanwhile."""
        epoch = self._connection_epoch

        def arrive() -> None:
            if epoch == self._connection_epoch:
                self._arrived(request, answer)

        self.after(self._network_ms(), arrive)

    # The broker's side.

    def _arrived(self, request: Request, answer: Answer) -> None:
        token = next(self.numbers)
        if isinstance(request, Commit):
            # Commits are numbered as they come in: what is durable must never be older than what was acked.
            now_ms = self.world.wall_clock_ms
            offsets = {
                partition: replace(committed, metadata=str(token), commit_time_ms=now_ms)
                for partition, committed in request.offsets.items()
            }
            request = replace(request, offsets=offsets)
            if request.generation_id < 0 and self.world.peek(DescribeGroup(request.group_id)).members:
                self._refused.add(token)
        self._waiting[token] = Waiting(request, answer)
        self.world.ask(request, token)

    def _replied(self, token: int, response: Any) -> None:
        waiting = self._waiting.pop(token, None)
        if waiting is None:
            raise Violation(f"request {token} was answered twice: {response}")
        if token in self._refused and response == CommitResult(ErrorCode.none):
            raise Violation("a client from outside committed for a group that has members")
        self.oracle.answered(waiting.request, response)
        self.after(self._network_ms(), lambda: waiting.answer(response))

    def _run_until(self, end_ms: int) -> None:
        while True:
            timer_ms = self.world.next_timer_ms()
            event_ms = self._events[0][0] if self._events else None
            at_ms = min((ms for ms in (timer_ms, event_ms) if ms is not None), default=end_ms)
            if at_ms >= end_ms:
                self.world.clock_ms = end_ms
                return
            self.world.clock_ms = at_ms
            if at_ms == event_ms:
                heapq.heappop(self._events)[2]()
            else:
                self.world.fire_due()
            if self.world.pending and not self._sync_is_scheduled:
                self._sync_is_scheduled = True
                self.after(self.random.randint(1, 40), self._sync)

    def _sync(self) -> None:
        self._sync_is_scheduled = False
        while self.world.pending:
            if not self.is_calm and self.random.random() < 0.03:
                self.world.fail()
            else:
                self.world.sync(1)

    def _crash(self) -> None:
        if self.world.is_settled():
            self._check_memory()
        self._connection_epoch += 1
        self._waiting.clear()
        self.world.crash(durable=self.random.randint(0, len(self.world.pending)))
        self.oracle.restarted(self.world.offsets)
        for client in self.clients:
            client.lost_connection()

    # Trouble.

    def _schedule_trouble(self) -> None:
        kinds = [self._crash, self._jump_clock, self._commit_from_outside]
        kinds += [client.trouble for client in self.clients] * 2
        for _ in range(self.random.randint(3, 14)):
            self.after(self.random.randint(0, TROUBLE_MS), self.random.choice(kinds))

    def _jump_clock(self) -> None:
        self.world.wall_clock_skew_ms = self.random.randint(-HOUR_MS, HOUR_MS)

    def _commit_from_outside(self) -> None:
        group_id = self.random.choice(self.clients).group_id
        partition = (TOPIC, self.random.randrange(PARTITIONS))
        offsets = {partition: CommittedOffset(0, -1, "", 0)}
        self.send(Commit(group_id, "", None, -1, offsets), lambda _: None)

    def _network_ms(self) -> int:
        if not self.is_calm and self.random.random() < 0.02:
            return self.random.randint(500, 12_000)
        return self.random.randint(1, 30)

    def _new_client(self, group_id: str, number: int) -> "Client":
        is_static = self.random.random() < 0.5
        client = Client(self, group_id, f"{group_id}-{number}", f"i{number}" if is_static else None)
        client.knows_kip_394 = self.random.random() < 0.7
        client.knows_kip_814 = self.random.random() < 0.5
        return client

    # What must hold in the end.

    def _problem(self) -> str | None:
        """Why the groups are not settled; None when they are."""
        for group_id in {client.group_id for client in self.clients}:
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
        return None if self.world.is_settled() else "there is something left to store"

    def _check_settled(self) -> None:
        self._check_memory()
        late = [w.request for w in self._waiting.values() if not isinstance(w.request, Heartbeat | Commit)]
        if late:
            raise Violation(f"never answered: {late}")

    def _check_memory(self) -> None:
        for client in self.clients:
            found = self.world.peek(FetchOffsets(client.group_id, None)).offsets
            if found != self.world.offsets.get(client.group_id, {}):
                raise Violation(f"{client.group_id}: what is in memory is not what is stored")


@dataclass(slots=True)
class Client:
    """A consumer: joins, fetches its assignment, heartbeats and commits. It trusts what it was told last."""

    sim: GroupSimulation
    group_id: str
    name: str
    instance_id: str | None
    knows_kip_394: bool = True
    knows_kip_814: bool = True
    step: str = "dead"
    member_id: str = ""
    generation_id: int = -1
    owned: list[int] = field(default_factory=list)
    life: int = 0
    """Counts the processes that have been this client; what one of them waited for is not for the next."""
    attempt: int = 0
    paused_until_ms: int = 0
    positions: dict[int, int] = field(default_factory=dict)

    @property
    def is_alive(self) -> bool:
        return self.step != "dead"

    @property
    def is_stable(self) -> bool:
        return self.step == "stable"

    def start(self) -> None:
        if self.is_alive:
            return
        self.life += 1
        self.member_id, self.generation_id, self.owned = "", -1, []
        self._join()
        self._beat(self.life)
        self._commit(self.life)

    def trouble(self) -> None:
        """Something happens to this client."""
        if not self.is_alive:
            self.start()
            return
        match self.sim.random.choice(["pause", "kill", "leave", "twin", "rejoin"]):
            case "pause":
                self.paused_until_ms = self.sim.world.clock_ms + self.sim.random.randint(1_000, 20_000)
            case "kill":
                self._die(restart=self.sim.random.random() < 0.7)
            case "leave":
                self.sim.send(
                    Leave(self.group_id, (LeavingMember(self.member_id, self.instance_id),)), _ignore
                )
                self._die(restart=self.sim.random.random() < 0.7)
            case "twin" if self.instance_id is not None:
                twin = replace(self, name=self.name + "'", step="dead", life=0)
                self.sim.clients.append(twin)
                twin.start()
            case _:
                self._join()

    def calm_down(self) -> None:
        self.paused_until_ms = 0

    def lost_connection(self) -> None:
        if self.step in ("joining", "syncing"):
            self._retry()

    def _die(self, *, restart: bool) -> None:
        self.step = "dead"
        self.life += 1
        self.attempt += 1
        if restart:
            self.sim.after(self.sim.random.randint(0, 10_000), self.start)

    def _ask(self, request: Request, answer: Answer) -> None:
        """Send, and hear the answer when not paused, if still the same process on the same try."""
        life, attempt = self.life, self.attempt

        def hear(result: Any) -> None:
            pause_ms = self.paused_until_ms - self.sim.world.clock_ms
            if pause_ms > 0:
                self.sim.after(pause_ms, lambda: hear(result))
            elif (life, attempt) == (self.life, self.attempt):
                answer(result)

        self.sim.send(request, hear)

    def _join(self) -> None:
        self.step = "joining"
        self.attempt += 1
        attempt = self.attempt
        request = Join(
            group_id=self.group_id,
            member_id=self.member_id,
            group_instance_id=self.instance_id,
            client_id=self.name,
            client_host="/h",
            session_timeout_ms=SESSION_MS,
            rebalance_timeout_ms=REBALANCE_MS,
            protocol_type="consumer",
            protocols=(Protocol("range", b""),),
            new_member_id=f"{self.name}#{next(self.sim.numbers)}",
            require_known_member_id=self.knows_kip_394,
            supports_skip_assignment=self.knows_kip_814,
        )
        self._ask(request, self._joined)
        self.sim.after(20_000, lambda: self._retry() if self.attempt == attempt else None)

    def _joined(self, result: Any) -> None:
        if self._is_error(result):
            return
        self.member_id, self.generation_id = result.member_id, result.generation_id
        assignments = {}
        if result.leader == result.member_id and not result.skip_assignment:
            ids = sorted(member.member_id for member in result.members)
            assignments = {
                member_id: bytes(range(n, PARTITIONS, len(ids))) for n, member_id in enumerate(ids)
            }
        self.step = "syncing"
        sync = Sync(
            self.group_id, self.member_id, self.instance_id, self.generation_id, None, None, assignments
        )
        self._ask(sync, self._synced)

    def _synced(self, result: Any) -> None:
        if self._is_error(result):
            return
        self.owned = list(result.assignment)
        partitions = [(TOPIC, p) for p in self.owned]
        self.step = "stable"
        self.attempt += 1
        self._ask(FetchOffsets(self.group_id, partitions), self._fetched)

    def _fetched(self, result: FetchOffsetsResult | str) -> None:
        if isinstance(result, FetchOffsetsResult):
            self.positions = {
                partition: committed.offset for (_, partition), committed in result.offsets.items()
            }

    def _is_error(self, result: Any) -> bool:
        """Do what a consumer does about an error."""
        error = ErrorCode.coordinator_not_available if result is NOT_STORED else result.error_code
        match error:
            case ErrorCode.none:
                return False
            case ErrorCode.member_id_required:
                self.member_id = result.member_id
                self._join()
            case ErrorCode.unknown_member_id | ErrorCode.illegal_generation:
                self.member_id = ""
                self._retry()
            case ErrorCode.fenced_instance_id:
                self._die(restart=False)
            case _:
                self._retry()
        return True

    def _retry(self) -> None:
        self.step = "joining"
        self.attempt += 1
        attempt = self.attempt
        delay_ms = self.sim.random.randint(50, 500)
        self.sim.after(delay_ms, lambda: self._join() if self.attempt == attempt else None)

    def _beat(self, life: int) -> None:
        self._repeat(life, 2_000, self._beat)
        if self.is_stable and self._is_awake():
            beat = Heartbeat(self.group_id, self.member_id, self.instance_id, self.generation_id)
            self._ask(beat, lambda result: self._is_error(result) and None)

    def _commit(self, life: int) -> None:
        """Also while it rejoins, for what it had: consumers do, when partitions are revoked."""
        self._repeat(life, 2_500, self._commit)
        if not self.owned or self.step == "syncing" or not self._is_awake():
            return
        partition = self.sim.random.choice(self.owned)
        offset = self.positions.get(partition, 0) + self.sim.random.randint(0, 5)
        self.positions[partition] = offset
        offsets = {(TOPIC, partition): CommittedOffset(offset, -1, "", 0)}
        self._ask(
            Commit(self.group_id, self.member_id, self.instance_id, self.generation_id, offsets), _ignore
        )

    def _repeat(self, life: int, interval_ms: int, action: Callable[[int], None]) -> None:
        delay_ms = self.sim.random.randint(interval_ms // 2, interval_ms)
        self.sim.after(delay_ms, lambda: action(life) if self.life == life else None)

    def _is_awake(self) -> bool:
        return self.paused_until_ms <= self.sim.world.clock_ms


def _ignore(_: Any) -> None:
    pass
