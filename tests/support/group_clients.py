"""Consumers of a simulated group, which misbehave as real ones do."""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from support.group_world import NOT_STORED
from support.simulation import Dice

from broker.coordinator import messages
from broker.coordinator.messages import (
    Commit,
    FetchOffsets,
    FetchOffsetsResult,
    Heartbeat,
    Join,
    Leave,
    LeavingMember,
    Request,
    Sync,
    TransactionalCommit,
)
from broker.coordinator.records import CommittedOffset, TopicPartition
from broker.wire.errors import ErrorCode

SESSION_MS = 6_000
REBALANCE_MS = 8_000
PARTITIONS = 6
TOPIC = "t"
OTHER_TOPIC = "u"
"""Nobody is subscribed to it, and some commit offsets of it all the same."""

SUBSCRIPTION = struct.pack(">hih1si", 0, 1, 1, TOPIC.encode(), -1)

Answer = Callable[[Any], None]


class Surroundings(Protocol):
    """What a client sees of the simulation. Everything takes its time, and some things never arrive."""

    dice: Dice
    is_calm: bool
    clients: "list[Client]"

    @property
    def now_ms(self) -> int: ...

    def after(self, delay_ms: int, action: Callable[[], None]) -> None: ...

    def unique_number(self) -> int: ...

    def send(self, request: Request, answer: Answer) -> None: ...

    def send_in_transaction(self, request: TransactionalCommit, answer: Answer) -> None:
        """By way of the transaction coordinator, which asks the group coordinator if all is well."""

    def init_producer(self, producer_id: int, *, is_v2: bool, answer: Answer) -> None:
        """The answer is the epoch, or None: try again."""

    def end_transaction(self, producer_id: int, epoch: int, *, is_commit: bool, answer: Answer) -> None:
        """The answer is an error code."""


@dataclass(slots=True)
class Client:
    """Joins, fetches its assignment, heartbeats and commits. It trusts what it was told last."""

    sim: Surroundings
    group_id: str
    name: str
    instance_id: str | None
    producer_id: int | None = None
    """Commits in transactions, if it has one."""
    is_v2: bool = False
    knows_kip_394: bool = True
    knows_kip_447: bool = True
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
    producer_epoch: int | None = None
    is_in_transaction: bool = False

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
        self._forget_producer()
        self._join()
        self._beat(self.life)
        if self.producer_id is None:
            self._commit(self.life)
        else:
            self._transact(self.life)

    def trouble(self) -> None:
        """Something happens to this client."""
        dice = self.sim.dice
        if not self.is_alive:
            self.start()
            return
        match dice.choice(["pause", "kill", "leave", "twin", "rejoin"]):
            case "pause":
                self.paused_until_ms = self.sim.now_ms + dice.between(1_000, 15_000)
            case "kill":
                self._die(restart=dice.chance(0.7))
            case "leave":
                self.sim.send(
                    Leave(self.group_id, (LeavingMember(self.member_id, self.instance_id),)), _ignore
                )
                self._die(restart=dice.chance(0.7))
            case "twin" if self.instance_id is not None:
                twin = replace(self, name=self.name + "'", step="dead", life=0)
                self.sim.clients.append(twin)
                twin.start()
            case _:
                self._join()

    def calm_down(self) -> None:
        self.paused_until_ms = 0

    def lost_connection(self) -> None:
        self._forget_producer()
        if self.step in ("joining", "syncing"):
            self._retry()

    def _die(self, *, restart: bool) -> None:
        self.step = "dead"
        self.life += 1
        self.attempt += 1
        if restart:
            self.sim.after(self.sim.dice.between(0, 8_000), self.start)

    def _hear(self, answer: Answer) -> Answer:
        """The answer, when not paused, if this is still the same process."""
        life = self.life

        def hear(result: Any) -> None:
            pause_ms = self.paused_until_ms - self.sim.now_ms
            if pause_ms > 0:
                self.sim.after(pause_ms, lambda: hear(result))
            elif life == self.life:
                answer(result)

        return hear

    # The group.

    def _ask(self, request: Request, answer: Answer) -> None:
        """Send, and hear the answer if still on the same try."""
        attempt = self.attempt
        self.sim.send(request, self._hear(lambda result: answer(result) if attempt == self.attempt else None))

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
            protocols=(messages.Protocol("range", SUBSCRIPTION),),
            new_member_id=f"{self.name}#{self.sim.unique_number()}",
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
        self.step = "stable"
        self.attempt += 1
        self._fetch([(TOPIC, p) for p in self.owned])

    def _fetch(self, partitions: Sequence[TopicPartition]) -> None:
        request = FetchOffsets(self.group_id, partitions, require_stable=self.producer_id is not None)
        self._ask(request, self._fetched)

    def _fetched(self, result: FetchOffsetsResult | str) -> None:
        if not isinstance(result, FetchOffsetsResult):
            return
        self.positions |= {
            partition: committed.offset for (_, partition), committed in result.offsets.items()
        }
        if result.unstable and self.is_stable:
            again, attempt = list(result.unstable), self.attempt
            self.sim.after(300, lambda: self._fetch(again) if attempt == self.attempt else None)

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
        delay_ms = self.sim.dice.between(50, 500)
        self.sim.after(delay_ms, lambda: self._join() if self.attempt == attempt else None)

    def _beat(self, life: int) -> None:
        self._repeat(life, 3_500, self._beat)
        if self.is_stable and self._is_awake():
            beat = Heartbeat(self.group_id, self.member_id, self.instance_id, self.generation_id)
            self._ask(beat, lambda result: self._is_error(result) and None)

    # Offsets.

    def _commit(self, life: int) -> None:
        """Also while it rejoins, for what it had: consumers do, when partitions are revoked."""
        self._repeat(life, 4_000, self._commit)
        if self._may_commit():
            offsets = self._progress()
            self._ask(
                Commit(self.group_id, self.member_id, self.instance_id, self.generation_id, offsets), _ignore
            )

    def _may_commit(self) -> bool:
        return bool(self.owned) and self.step != "syncing" and self._is_awake()

    def _progress(self) -> dict[TopicPartition, CommittedOffset]:
        """A new offset of some partition; sometimes also one of a topic that nobody is subscribed to."""
        dice = self.sim.dice
        partition = dice.choice(self.owned)
        offset = self.positions.get(partition, 0) + dice.between(0, 5)
        self.positions[partition] = offset
        offsets = {(TOPIC, partition): CommittedOffset(offset, -1, "", 0)}
        if dice.chance(0.15):
            offsets[OTHER_TOPIC, dice.between(0, 1)] = CommittedOffset(offset, -1, "", 0)
        return offsets

    def _transact(self, life: int) -> None:
        self._repeat(life, 4_000, self._transact)
        if self.is_in_transaction or self.sim.is_calm or not self._may_commit():
            return
        assert self.producer_id is not None
        if self.producer_epoch is None:
            self.sim.init_producer(
                self.producer_id, is_v2=self.is_v2, answer=self._hear(self._producer_is_ready)
            )
        else:
            self.is_in_transaction = True
            self._commit_in_transaction(self.sim.dice.between(1, 2))

    def _producer_is_ready(self, epoch: int | None) -> None:
        self.producer_epoch = epoch

    def _forget_producer(self) -> None:
        """After a fatal error, or when an answer is lost, a producer starts anew."""
        self.producer_epoch = None
        self.is_in_transaction = False

    def _commit_in_transaction(self, commits: int) -> None:
        epoch, producer_id = self.producer_epoch, self.producer_id
        assert producer_id is not None
        if epoch is None or not self.owned:
            self._forget_producer()
            return
        member = ("", None, -1)
        if self.knows_kip_447:
            member = (self.member_id, self.instance_id, self.generation_id)
        request = TransactionalCommit(self.group_id, *member, producer_id, epoch, self._progress())

        def committed(result: Any) -> None:
            is_good = result is not NOT_STORED and result.error_code is ErrorCode.none
            if epoch != self.producer_epoch:
                return
            if is_good and commits > 1:
                self._commit_in_transaction(commits - 1)
                return
            is_commit = is_good and self.sim.dice.chance(0.8)
            end = self._hear(lambda _: self._end_transaction(epoch, is_commit=is_commit))
            self.sim.after(self.sim.dice.between(0, 1_500), lambda: end(None))

        self.sim.send_in_transaction(request, self._hear(committed))

    def _end_transaction(self, epoch: int, *, is_commit: bool) -> None:
        if epoch != self.producer_epoch:
            return
        assert self.producer_id is not None

        def ended(error: ErrorCode) -> None:
            if epoch != self.producer_epoch:
                return
            self.is_in_transaction = False
            self.producer_epoch = epoch + self.is_v2 if error is ErrorCode.none else None

        self.sim.end_transaction(self.producer_id, epoch, is_commit=is_commit, answer=self._hear(ended))

    def _repeat(self, life: int, interval_ms: int, action: Callable[[int], None]) -> None:
        delay_ms = self.sim.dice.between(interval_ms // 2, interval_ms)
        self.sim.after(delay_ms, lambda: action(life) if self.life == life else None)

    def _is_awake(self) -> bool:
        return self.paused_until_ms <= self.sim.now_ms


def _ignore(_: Any) -> None:
    pass
