"""This worker as a member of its group, by Kafka's classic group protocol (KIP-394 member ids included).

Round after round: every member introduces itself (JoinGroup), the leader plans, each gets its assignment
(SyncGroup). Heartbeats go on beside it on a connection of their own, also while a round is under way: each
one that is answered extends the `Lease`. When the broker has given a worker up, or its lease is over, it is
fenced: its tasks are killed, then it joins as if new.
"""

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from typing import Any, Final, Protocol

from aiokafka.client import AIOKafkaClient, ConnectionGroup, CoordinationType
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    IllegalGenerationError,
    InconsistentGroupProtocolError,
    InvalidGroupIdError,
    InvalidSessionTimeoutError,
    KafkaError,
    MemberIdRequired,
    RebalanceInProgressError,
    UnknownMemberIdError,
    for_code,
)
from aiokafka.protocol.admin import DescribeGroupsRequest
from aiokafka.protocol.group import (
    HeartbeatRequest,
    JoinGroupRequest,
    LeaveGroupRequest,
    SyncGroupRequest,
)

from connect.api import ConfigError, ConnectError
from connect.runtime.config import WorkerConfig
from connect.runtime.lease import Lease, boottime_ms
from connect.runtime.membership_protocol import PROTOCOL, PROTOCOL_TYPE, Assignment, Introduction

_LOG = logging.getLogger(__name__)
_NOT_STATIC: Any = None  # aiokafka's annotations do not know that a member needs no instance id
_RETRY_S: Final = 0.2
_PATIENCE_S: Final = 20.0  # beyond a session timeout, for workers of another kind to be gone
_LEAVE_S: Final = 2.0
# While something is on its way from one worker to another nobody waits for the next regular heartbeat.
_BRISK_BEAT_S: Final = 0.1
_BRISK_S: Final = 3.0


class OutOfSync(ConnectError):
    """This worker has not read the config topic as far as the others, and could not in time."""


class MembershipEvents(Protocol):
    """Whom the membership asks and tells."""

    def introduce(self) -> Introduction:
        """A round begins: until `take` this worker runs nothing but what it claims now."""
        ...

    async def plan(self, members: Mapping[str, Introduction]) -> Mapping[str, Assignment]:
        """This worker leads the round: an assignment for each member id. May raise `OutOfSync`."""
        ...

    async def take(self, assignment: Assignment, leads: bool, generation_id: int) -> None:
        """The round is over. May raise `OutOfSync`."""
        ...

    def fence(self) -> None:
        """Run nothing any more: others may already."""
        ...

    async def fenced(self) -> None:
        """Wait until nothing runs."""
        ...

    def on_lease(self) -> None:
        """The lease was extended."""
        ...


class Membership:
    """Belongs to one event loop. `client` is aiokafka's settings."""

    def __init__(
        self, worker: WorkerConfig, client: Mapping[str, Any], events: MembershipEvents, lease: Lease
    ) -> None:
        self._worker = worker
        self._group = worker.group_id
        self._settings = client
        self._events = events
        self._lease = lease
        self._holds = False
        self._client: AIOKafkaClient | None = None  # rounds: an answer may take a rebalance timeout
        self._pulse: AIOKafkaClient | None = None  # heartbeats
        self._member_id = ""
        self._generation_id = -1
        self._lost = False  # the broker has given this member up
        self._in_round = False
        self._stable_ms = 0  # when the group was last known to be in no round
        self._reason = asyncio.Event()  # to begin a round
        self._beat_now = asyncio.Event()
        self._brisk_until = 0.0
        self._joined: asyncio.Future[None] | None = None
        self._jobs: list[asyncio.Task[None]] = []
        self.failure: Exception | None = None

    async def start(self) -> None:
        """Until the first round is over. Raises `ConnectError` for a group that this worker cannot be in."""
        try:
            self._client = await self._connect(self._worker.rebalance_timeout_ms + 5_000)
        except KafkaError as exc:
            raise ConnectError(f"group {self._group} cannot be joined: {exc}") from exc
        await self._evict_predecessor()
        self._joined = asyncio.get_running_loop().create_future()
        self._jobs = [asyncio.create_task(self._run()), asyncio.create_task(self._beat())]
        await self._joined

    async def stop(self) -> None:
        """Leave, so that the others need not wait for the session to time out."""
        for job in self._jobs:
            job.cancel()
        await asyncio.gather(*self._jobs, return_exceptions=True)
        try:
            async with asyncio.timeout(_LEAVE_S):
                await self._leave(self._member_id)
        except (KafkaError, TimeoutError) as exc:
            _LOG.warning("could not leave group %s, its session has to time out: %r", self._group, exc)
        for client in (self._client, self._pulse):
            if client is not None:
                await client.close()

    def rejoin(self) -> None:
        """Begin a round: there is something new to share out."""
        self._reason.set()

    def expect_round(self) -> None:
        """Another worker is about to begin a round: look at once, and often for a while."""
        self._brisk_until = asyncio.get_running_loop().time() + _BRISK_S
        self._beat_now.set()

    def check_lease(self) -> None:
        """Notice that the lease is over; whoever was stopped for long asks before anything else."""
        if self._holds and not self._lease.holds:
            self._holds = False
            _LOG.warning(
                "this worker had no word from the coordinator of group %s in session.timeout.ms=%d: its "
                "tasks are killed, since other workers may run them by now",
                self._group, self._worker.session_timeout_ms,
            )  # fmt: skip
            self._events.fence()
            self._reason.set()

    # Rounds

    async def _run(self) -> None:
        refused_since: float | None = None
        loop = asyncio.get_running_loop()
        while True:
            try:
                await self._round()
                self.failure = refused_since = None
                await self._reason.wait()
            except UnknownMemberIdError:
                if self._generation_id >= 0:
                    _LOG.warning("group %s does not know this worker any more: it joins again", self._group)
                await self._be_nobody()
            except IllegalGenerationError:
                # An answer was lost on its way; what this worker claimed there is still its own.
                _LOG.info("a round of group %s was missed", self._group)
            except OutOfSync as exc:
                await self._stand_back(exc)
            except _Refused as exc:
                refused_since = refused_since or loop.time()
                waited_s = loop.time() - refused_since
                if not exc.may_pass or waited_s > self._worker.session_timeout_ms / 1000 + _PATIENCE_S:
                    self._fail(exc.refusal)
                else:
                    _LOG.warning("%s", exc.refusal)
                await asyncio.sleep(1)
            except KafkaError as exc:
                self.failure = ConnectError(f"group {self._group} cannot be reached: {exc}")
                _LOG.info("a round of group %s is tried again: %r", self._group, exc)
                await asyncio.sleep(_RETRY_S)
            except Exception as exc:
                self._fail(exc)
                raise

    def _fail(self, exc: Exception) -> None:
        self.failure = exc
        if self._joined is not None and not self._joined.done():
            self._joined.set_exception(exc)
        else:
            _LOG.error("%s", exc)

    async def _round(self) -> None:
        self._reason.clear()
        self.check_lease()
        if self._lost:
            raise UnknownMemberIdError
        self._in_round = True
        joined = await self._join(self._events.introduce().encode())
        assignments: Mapping[str, Assignment] = {}
        if joined.leader_id == joined.member_id:
            members = {member[0]: Introduction.decode(member[-1]) for member in joined.members}
            assignments = await self._events.plan(members)
        encoded = [(member_id, assignment.encode()) for member_id, assignment in assignments.items()]
        sent_ms = boottime_ms()
        request = SyncGroupRequest(self._group, joined.generation_id, self._member_id, _NOT_STATIC, encoded)
        try:
            synced = self._checked(await self._send(request))
        except RebalanceInProgressError:
            self._reason.set()
            return
        self._extend(sent_ms, stable=True)
        self._in_round = False
        assignment = Assignment.decode(synced.member_assignment)
        self._brisk_until = 0.0
        if assignment.moving:
            self.expect_round()
        leads = joined.leader_id == joined.member_id
        await self._events.take(assignment, leads, joined.generation_id)
        if self._joined is not None and not self._joined.done():
            self._joined.set_result(None)

    async def _join(self, metadata: bytes) -> Any:
        while True:
            request = JoinGroupRequest(
                self._group, self._worker.session_timeout_ms, self._worker.rebalance_timeout_ms,
                self._member_id, _NOT_STATIC, PROTOCOL_TYPE, [(PROTOCOL, metadata)],
            )  # fmt: skip
            # Nothing else can use a connection on which this waits for the other members.
            response = await self._send(request, ConnectionGroup.COORDINATION)
            if response.error_code == MemberIdRequired.errno:
                self._member_id = response.member_id
                continue
            if response.error_code == InconsistentGroupProtocolError.errno:
                raise _Refused(ConnectError(await self._explain_others()), may_pass=True)
            joined = self._checked(response)
            self._member_id, self._generation_id = joined.member_id, joined.generation_id
            return joined

    async def _be_nobody(self) -> None:
        self._holds = False
        self._lease.until_ms = 0
        self._events.fence()
        await self._events.fenced()
        self._member_id, self._generation_id, self._lost = "", -1, False

    async def _stand_back(self, why: OutOfSync) -> None:
        """Better no worker than one that does not know what the others know."""
        _LOG.error("%s; this worker leaves its group for a while", why)
        self.failure = why
        member_id = self._member_id
        await self._be_nobody()
        with contextlib.suppress(KafkaError):
            await self._leave(member_id)
        await asyncio.sleep(self._worker.worker_unsync_backoff_ms / 1000)

    # Heartbeats

    async def _beat(self) -> None:
        while True:
            await self._wait_to_beat()
            self.check_lease()
            if self._generation_id < 0 or self._lost:
                continue
            sent_ms, member_id, generation_id = boottime_ms(), self._member_id, self._generation_id
            try:
                code = await self._send_heartbeat(generation_id)
            except (KafkaError, OSError, TimeoutError) as exc:
                _LOG.info("a heartbeat to group %s is tried again: %r", self._group, exc)
                await self._forget_pulse()
                self._beat_now.set()
                await asyncio.sleep(_RETRY_S)
                continue
            if member_id == self._member_id:
                self._on_heartbeat(code, sent_ms, generation_id)

    def _on_heartbeat(self, code: int, sent_ms: int, generation_id: int) -> None:
        if code == 0:
            self._extend(sent_ms, stable=not self._in_round)
        elif code == RebalanceInProgressError.errno:
            self._extend(sent_ms, stable=False)
            if not self._in_round:  # else it is the one that this worker is in already
                self._reason.set()
        elif code == IllegalGenerationError.errno:
            if generation_id == self._generation_id:
                self._reason.set()
        else:
            self._lost = True
            self._reason.set()

    async def _wait_to_beat(self) -> None:
        brisk = asyncio.get_running_loop().time() < self._brisk_until
        seconds = _BRISK_BEAT_S if brisk else self._worker.heartbeat_interval_ms / 1000
        if self._holds:
            seconds = min(seconds, self._lease.seconds_left)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._beat_now.wait()
        self._beat_now.clear()

    async def _send_heartbeat(self, generation_id: int) -> int:
        if self._pulse is None:
            self._pulse = await self._connect(max(1_000, self._worker.session_timeout_ms // 3))
        node = await self._pulse.coordinator_lookup(CoordinationType.GROUP, self._group)
        response = await self._pulse.send(node, HeartbeatRequest(self._group, generation_id, self._member_id))
        if response.error_code in _ELSEWHERE:
            raise for_code(response.error_code)()
        return int(response.error_code)

    async def _forget_pulse(self) -> None:
        if self._pulse is not None:
            pulse, self._pulse = self._pulse, None
            await pulse.close()

    def _extend(self, sent_ms: int, *, stable: bool) -> None:
        """The broker heard of this worker after `sent_ms`. It removes one of which it hears nothing for a
        session timeout, and one that does not come to a round in a rebalance timeout from its beginning."""
        if stable:
            self._stable_ms = sent_ms
        until_ms = min(
            sent_ms + self._worker.session_timeout_ms, self._stable_ms + self._worker.rebalance_timeout_ms
        )
        if until_ms <= max(self._lease.until_ms, boottime_ms()):
            return
        self._lease.until_ms = until_ms
        if not self._holds:
            self._holds = True
            if not self._in_round:
                self._reason.set()  # what was taken away is got back in a round
        self._events.on_lease()

    # Requests

    async def _connect(self, timeout_ms: int) -> AIOKafkaClient:
        client = AIOKafkaClient(**self._settings, request_timeout_ms=timeout_ms)
        await client.bootstrap()
        return client

    async def _send(self, request: Any, connection: int = ConnectionGroup.DEFAULT) -> Any:
        assert self._client is not None, "start first"
        node = await self._client.coordinator_lookup(CoordinationType.GROUP, self._group)
        response = await self._client.send(node, request, group=connection)
        if getattr(response, "error_code", 0) in _ELSEWHERE:
            raise for_code(response.error_code)()
        return response

    def _checked(self, response: Any) -> Any:
        """The answer, unless it is a refusal."""
        code, group, worker = response.error_code, self._group, self._worker
        if code == GroupAuthorizationFailedError.errno:
            raise _Refused(ConnectError(
                f"group.id: the worker's user may not join group {group}: allow READ on it, as on the "
                "internal topics"
            ))  # fmt: skip
        if code == InvalidSessionTimeoutError.errno:
            raise _Refused(ConfigError.invalid(
                "session.timeout.ms", worker.session_timeout_ms, "the brokers allow only what is between "
                "their group.min.session.timeout.ms and group.max.session.timeout.ms",
            ))  # fmt: skip
        if code == InvalidGroupIdError.errno:
            raise _Refused(ConfigError.invalid("group.id", group, "the brokers do not take this name"))
        if code:
            raise for_code(code)()
        return response

    async def _describe(self) -> Any:
        """(error, group, state, protocol type, protocol, members, …) of this worker's group."""
        response = await self._send(DescribeGroupsRequest([self._group]))
        return response.groups[0]

    async def _evict_predecessor(self) -> None:
        """Have a member leave that was at this worker's own address. It is dead, for the address is ours: it
        was killed, so it could not leave, and its tasks would wait for its session to time out."""
        own = self._events.introduce()
        try:
            *_, members = (await self._describe())[:6]
            for member_id, _, _, metadata, *_ in members:
                with contextlib.suppress(ValueError, KeyError, TypeError):  # of another kind of member
                    other = Introduction.decode(metadata)
                    if (other.url, other.machine) == (own.url, own.machine):
                        _LOG.info("taking the place of the worker that was at %s before", own.url)
                        await self._leave(member_id)
        except KafkaError as exc:
            _LOG.warning("a predecessor in group %s would have to time out: %r", self._group, exc)

    async def _leave(self, member_id: str) -> None:
        if member_id and self._client is not None:
            await self._send(LeaveGroupRequest(self._group, member_id))

    async def _explain_others(self) -> str:
        _, _, _, kind, protocol, members = (await self._describe())[:6]
        hosts = ", ".join(sorted({str(member[2]).lstrip("/") for member in members}))
        who = "Java workers" if kind == PROTOCOL_TYPE else f"members of type {kind or 'unknown'}"
        return (
            f"group.id: group {self._group} has {who} (protocol {protocol or 'unknown'}, at "
            f"{hosts or 'unknown'}), and one group cannot have both kinds: stop them first, or choose "
            "another group.id"
        )


_ELSEWHERE: Final = frozenset({14, 15, 16})  # the coordinator loads the group, is not there, or is another


class _Refused(Exception):
    """Joining was refused for a reason that another try does not change; unless it `may_pass`."""

    def __init__(self, refusal: ConnectError, *, may_pass: bool = False) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal
        self.may_pass = may_pass
