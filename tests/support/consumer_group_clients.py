"""Consumers of both protocols, as far as a group coordinator can tell.

They trust what they were told last, do as they are told in their own time, and go on as if nothing had
happened after a pause. A killed one has nothing any more; one that starts again may speak the other protocol.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from support.group_world import NOT_STORED
from support.subscriptions import assigned, pack_subscription

from broker.coordinator.consumer_messages import ConsumerHeartbeat, ConsumerHeartbeatResult
from broker.coordinator.messages import (
    Commit,
    Heartbeat,
    Join,
    JoinResult,
    Leave,
    LeavingMember,
    Protocol,
    Request,
    Sync,
)
from broker.coordinator.records import CommittedOffset, TopicPartition
from broker.coordinator.subscription import pack_assignment, parse_subscription
from broker.wire.errors import ErrorCode

if TYPE_CHECKING:
    from support.consumer_group_simulation import ConsumerGroupSimulation

GROUP = "g"
SESSION_MS = 6_000
REBALANCE_MS = 8_000
HEARTBEAT_MS = 2_500
COMMIT_MS = 3_000
PATTERN = "t.*"
TRIES_MAX = 10

Answer = Callable[[Any], None]


@dataclass(slots=True, eq=False)
class Client:
    """What both have: a process that lives, dies and starts again, and what it believes to own."""

    sim: "ConsumerGroupSimulation"
    name: str
    instance_id: str | None
    topics: frozenset[str]
    uses_regex: bool = False
    is_alive: bool = False
    member_id: str = ""
    owned: set[TopicPartition] = field(default_factory=set)
    life: int = 0
    """Counts the processes that have been this client; what one of them waited for is not for the next."""
    attempt: int = 0
    paused_until_ms: int = 0

    @property
    def is_settled(self) -> bool:
        raise NotImplementedError

    @property
    def epoch(self) -> int:
        raise NotImplementedError

    def start(self) -> None:
        if self.is_alive:
            return
        self.life += 1
        self.is_alive = True
        self.owned = set()
        self.begin()
        self._repeat(HEARTBEAT_MS, self.beat)
        self._repeat(COMMIT_MS, self.commit)

    def begin(self) -> None:
        raise NotImplementedError

    def beat(self) -> None:
        raise NotImplementedError

    def leave(self) -> None:
        raise NotImplementedError

    def lost_connection(self) -> None:
        """What was asked may have come in or not; its answer will not come."""
        raise NotImplementedError

    def stop(self) -> None:
        """The process ends, and says nothing."""
        self.is_alive = False
        self.life += 1
        self.attempt += 1
        self.owned = set()

    def pause(self, time_ms: int) -> None:
        self.paused_until_ms = self.sim.world.clock_ms + time_ms

    def commit(self) -> None:
        if self.owned and self.member_id:
            partition = self.sim.dice.choice(sorted(self.owned))
            offsets = {partition: CommittedOffset(0, -1, "", 0)}
            self.sim.send(self, Commit(GROUP, self.member_id, self.instance_id, self.epoch, offsets), _ignore)

    def ask(self, request: Request, answer: Answer) -> None:
        """Send, and hear the answer when not paused, if still the same process on the same try."""
        life, attempt = self.life, self.attempt

        def hear(result: Any) -> None:
            pause_ms = self.paused_until_ms - self.sim.world.clock_ms
            if pause_ms > 0:
                self.sim.after(pause_ms, lambda: hear(result))
            elif (life, attempt) == (self.life, self.attempt):
                answer(result)

        self.sim.send(self, request, hear)

    def later(self, delay_ms: int, action: Callable[[], None]) -> None:
        """Do it unless the process has ended, or tries something else by then."""
        life, attempt = self.life, self.attempt

        def act() -> None:
            pause_ms = self.paused_until_ms - self.sim.world.clock_ms
            if (life, attempt) != (self.life, self.attempt):
                return
            if pause_ms > 0:
                self.sim.after(pause_ms, act)
            else:
                action()

        self.sim.after(delay_ms, act)

    def _repeat(self, interval_ms: int, action: Callable[[], None]) -> None:
        life = self.life

        def again() -> None:
            if self.life == life:
                self.sim.after(interval_ms, again)
                if self.paused_until_ms <= self.sim.world.clock_ms:
                    action()

        self.sim.after(self.sim.dice.between(interval_ms // 2, interval_ms), again)


@dataclass(slots=True, eq=False)
class ConsumerClient(Client):
    """Speaks the consumer protocol: one heartbeat at a time, revocations that take a while."""

    member_epoch: int = 0
    assigned: set[TopicPartition] = field(default_factory=set)
    """What it was told to have."""
    said: set[TopicPartition] | None = None
    """What it last said to have; None when the coordinator may not know."""
    is_asking: bool = False
    is_revoking: bool = False
    tries: int = 0

    @property
    def is_settled(self) -> bool:
        return self.member_epoch > 0 and self.owned == self.assigned == self.said and not self.is_revoking

    @property
    def epoch(self) -> int:
        return self.member_epoch

    def begin(self) -> None:
        self.member_id = f"{self.name}/{self.life}"
        self._rejoin()

    def beat(self) -> None:
        if self.is_asking:
            return
        self.is_asking = True
        joins = self.member_epoch == 0
        is_full = joins or self.said is None
        owned = None
        if is_full or self.said != self.owned:
            owned = frozenset(self.sim.by_id(p) for p in self.owned)
            self.said = set(self.owned)
        request = ConsumerHeartbeat(
            group_id=GROUP,
            member_id=self.member_id,
            member_epoch=self.member_epoch,
            client_id=self.name,
            client_host="/h",
            instance_id=self.instance_id,
            rebalance_timeout_ms=REBALANCE_MS if is_full else -1,
            topics=(frozenset() if self.uses_regex else self.topics) if is_full else None,
            regex=(PATTERN if self.uses_regex else "") if is_full else None,
            owned=owned,
        )
        self.ask(request, self._heard)

    def leave(self) -> None:
        epoch = -2 if self.instance_id is not None and self.sim.dice.chance(0.7) else -1
        request = ConsumerHeartbeat(
            GROUP, self.member_id, epoch, self.name, "/h", self.instance_id, owned=frozenset()
        )
        self.sim.send(self, request, _ignore)
        self.stop()

    def lost_connection(self) -> None:
        if self.is_asking:
            self.attempt += 1
            self.is_asking = self.is_revoking = False
            self.said = None
            self.later(self.sim.dice.between(50, 1_000), self.beat)

    def _rejoin(self) -> None:
        self.attempt += 1
        self.member_epoch = self.tries = 0
        self.owned, self.assigned, self.said = set(), set(), set()
        self.is_asking = self.is_revoking = False
        self.beat()

    def _heard(self, result: ConsumerHeartbeatResult | str) -> None:
        self.is_asking = False
        if isinstance(result, str):
            self.said = None
            self.later(self.sim.dice.between(50, 1_000), self.beat)
            return
        match result.error_code:
            case ErrorCode.none:
                self.member_epoch = result.member_epoch
                if result.assigned is not None:
                    self.assigned = {self.sim.by_name(p) for p in result.assigned}
                self._reconcile()
            case ErrorCode.fenced_member_epoch | ErrorCode.unknown_member_id:
                self._rejoin()
            case ErrorCode.unreleased_instance_id if self.tries < TRIES_MAX:
                self.tries += 1  # whoever has the name may be about to be found dead
                self.later(1_000, self.beat)
            case _:
                self.stop()

    def _reconcile(self) -> None:
        """Give up first, then take, then say so."""
        if self.is_revoking:
            return
        gone = self.owned - self.assigned
        if gone:
            self.is_revoking = True
            slow = not self.sim.is_calm and self.sim.dice.chance(0.05)
            self.later(
                self.sim.dice.between(8_000, 12_000) if slow else self.sim.dice.between(0, 600),
                lambda: self._revoked(gone),
            )
        elif self.owned != self.assigned or self.said != self.owned:
            self.owned = set(self.assigned)
            self.beat()

    def _revoked(self, gone: set[TopicPartition]) -> None:
        self.is_revoking = False
        self.owned -= gone
        self._reconcile()


@dataclass(slots=True, eq=False)
class ClassicClient(Client):
    """Speaks the classic protocol: eager, or cooperative if the simulation says so."""

    generation_id: int = -1
    step: str = "joining"
    is_leader: bool = False
    topics_version: int = -1

    @property
    def is_settled(self) -> bool:
        return self.step == "stable"

    @property
    def epoch(self) -> int:
        return self.generation_id

    def begin(self) -> None:
        self.member_id, self.generation_id = "", -1
        self._join()

    def beat(self) -> None:
        if self.step != "stable":
            return
        if self.is_leader and self.topics_version != self.sim.topics_version:
            self._join()
        else:
            beat = Heartbeat(GROUP, self.member_id, self.instance_id, self.generation_id)
            self.ask(beat, lambda result: self._is_error(result) and None)

    def commit(self) -> None:
        if self.step != "syncing":  # it knows its generation, and not yet what it has in it
            Client.commit(self)

    def leave(self) -> None:
        if self.member_id:
            self.sim.send(self, Leave(GROUP, (LeavingMember(self.member_id, self.instance_id),)), _ignore)
        self.stop()

    def lost_connection(self) -> None:
        self._retry()

    def _join(self) -> None:
        self.step = "joining"
        self.attempt += 1
        if not self.sim.is_cooperative:
            self.owned = set()
        protocol = Protocol("assignor", pack_subscription(self.topics, self.owned))
        request = Join(
            group_id=GROUP,
            member_id=self.member_id,
            group_instance_id=self.instance_id,
            client_id=self.name,
            client_host="/h",
            session_timeout_ms=SESSION_MS,
            rebalance_timeout_ms=REBALANCE_MS,
            protocol_type="consumer",
            protocols=(protocol,),
            new_member_id=f"{self.name}/{self.life}/{self.attempt}",
            require_known_member_id=self.instance_id is None,
            supports_skip_assignment=True,
        )
        self.ask(request, self._joined)

    def _joined(self, result: JoinResult | Any) -> None:
        if self._is_error(result):
            return
        self.member_id, self.generation_id = result.member_id, result.generation_id
        self.is_leader = result.leader == self.member_id
        assignments = {}
        if self.is_leader and result.skip_assignment:
            self.topics_version = -1  # KIP-814: it looks at the topics again before long
        elif self.is_leader:
            self.topics_version = self.sim.topics_version
            assignments = self._assign(result)
        self.step = "syncing"
        self.attempt += 1
        sync = Sync(GROUP, self.member_id, self.instance_id, self.generation_id, None, None, assignments)
        self.ask(sync, self._synced)

    def _assign(self, result: JoinResult) -> dict[str, bytes]:
        """In turn; a partition that another one has not given up has to wait for the next generation."""
        members = {m.member_id: parse_subscription(m.metadata) for m in result.members}
        shares: dict[str, list[TopicPartition]] = {member_id: [] for member_id in members}
        for topic in self.sim.world.topics.values():
            readers = sorted(m for m, subscription in members.items() if topic.name in subscription.topics)
            for partition in range(topic.partitions if readers else 0):
                owner = readers[partition % len(readers)]
                named = (topic.name, partition)
                if not any(named in s.owned for m, s in members.items() if m != owner):
                    shares[owner].append(named)
        return {member_id: pack_assignment(share, 1) for member_id, share in shares.items()}

    def _synced(self, result: Any) -> None:
        if self._is_error(result):
            return
        told = set(assigned(result.assignment))
        gives_up = bool(self.owned - told)
        self.owned = told
        self.step = "stable"
        self.attempt += 1
        if gives_up:  # KIP-429: others wait for it
            self._join()

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
                self.member_id = "" if error is ErrorCode.unknown_member_id else self.member_id
                self.owned = set()
                self._retry()
            case ErrorCode.fenced_instance_id:
                self.stop()
            case _:
                self._retry()
        return True

    def _retry(self) -> None:
        self.step = "joining"
        self.attempt += 1
        self.later(self.sim.dice.between(50, 500), self._join)


def _ignore(_: Any) -> None:
    pass
