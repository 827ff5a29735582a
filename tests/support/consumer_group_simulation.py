"""A seeded simulation of one group whose members speak both protocols, and of all that can go wrong.

Delays and lost connections, crashes of the coordinator, stores that fail, a clock that jumps, clients that
pause, die, leave, come back under the same instance id or with the other protocol, take too long to give
partitions up, and topics that come, go and grow. `ConsumerGroupSimulation(seed).run()` raises `Violation`
when something that must hold does not, and when the group does not settle after the trouble has ended.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from typing import Any
from uuid import UUID

from support.consumer_group_clients import GROUP, SESSION_MS, ClassicClient, Client, ConsumerClient
from support.consumer_group_oracle import ConsumerOracle
from support.group_world import NOT_STORED, GroupWorld
from support.simulation import Agenda, Dice, Violation
from support.subscriptions import assigned

from broker.coordinator.classic_group import GroupLimits
from broker.coordinator.consumer_group import ConsumerLimits
from broker.coordinator.consumer_messages import (
    ConsumerHeartbeat,
    DescribeConsumerGroup,
    DescribeConsumerGroupResult,
    TopicsChanged,
)
from broker.coordinator.effects import TimerKey
from broker.coordinator.group_coordinator import CoordinatorSettings
from broker.coordinator.messages import (
    Commit,
    DescribeGroup,
    DescribeGroupResult,
    FetchOffsets,
    ForgetTopics,
    Heartbeat,
    Join,
    Leave,
    LeavingMember,
    Request,
    Sync,
)
from broker.coordinator.records import TopicPartition
from broker.coordinator.subscription import parse_subscription
from broker.coordinator.topics import TopicIdPartition, TopicMetadata
from broker.wire.errors import ErrorCode

TROUBLE_MS = 30_000
CALM_MS = 120_000
HOUR_MS = 3_600_000

Answer = Callable[[Any], None]


@dataclass(slots=True)
class Waiting:
    """A request that the broker has not answered yet."""

    request: Request
    answer: Answer
    at_ms: int
    is_stale: bool = False
    """A commit of a partition that is somebody else's by now."""


class ConsumerGroupSimulation:
    """Without `holds_replies`, the broker answers before what it stored is durable: a planted bug."""

    def __init__(self, seed: int, *, holds_replies: bool = True) -> None:
        self.dice = Dice(seed)
        self.oracle = ConsumerOracle()
        self.is_calm = False
        self.is_cooperative = self.dice.chance(0.5)
        self.topics_version = 0
        self._agenda = Agenda()
        self._numbers = count(1)
        self._waiting: dict[int, Waiting] = {}
        self._connection_epoch = 0
        self._arrivals: dict[str, int] = {}
        self._sync_is_planned = False
        self._ids = [UUID(int=seed * 16 + n) for n in range(4)]
        self._names: dict[UUID, str] = {}
        settings = CoordinatorSettings(
            limits=GroupLimits(initial_rebalance_delay_ms=0),
            consumer_limits=ConsumerLimits(
                session_timeout_ms=SESSION_MS,
                heartbeat_interval_ms=2_500,
                assignment_interval_ms=self.dice.choice([0, 1_000]),
                assignors=self.dice.choice([("uniform",), ("range",)]),
            ),
            offsets_check_interval_ms=HOUR_MS,
        )
        self.world = GroupWorld(settings, self._replied, holds_replies=holds_replies)
        self._put_topic("t1", self.dice.between(1, 4))
        if self.dice.chance(0.5):
            self._put_topic("t2", self.dice.between(1, 2))
        self.clients: list[Client] = [self._new_client(n) for n in range(self.dice.between(1, 4))]

    def run(self) -> None:
        """30 s of trouble, then up to 2 min to settle. Raises Violation."""
        for client in self.clients:
            self.after(self.dice.between(0, 4_000), partial(self._start, client))
        self._plan_trouble()
        self._run_until(TROUBLE_MS)
        self.is_calm = True
        for client in self.clients:
            client.paused_until_ms = 0
        while self.world.clock_ms < TROUBLE_MS + CALM_MS:
            self._run_until(self.world.clock_ms + 4_000)
            if self._problem() is None:
                self._check_memory()
                self.oracle.stored_offsets(self.world.offsets.get(GROUP, {}))
                return
        raise Violation(f"not settled after {CALM_MS} ms: {self._problem()}")

    def _start(self, client: Client) -> None:
        if client in self.clients and client.life == 0:  # nothing has happened to it yet
            client.start()

    # For clients.

    def after(self, delay_ms: int, action: Callable[[], None]) -> None:
        self._agenda.plan(self.world.clock_ms + delay_ms, action)

    def by_id(self, partition: TopicPartition) -> TopicIdPartition:
        topic = self.world.topics.get(partition[0])
        return (topic.topic_id if topic else self._ids[-1], partition[1])

    def by_name(self, partition: TopicIdPartition) -> TopicPartition:
        return self._names[partition[0]], partition[1]

    def send(self, client: Client, request: Request, answer: Answer) -> None:
        """Requests arrive in their order, but for commits on a connection that the client has given up."""
        epoch = self._connection_epoch
        at_ms = self.world.clock_ms + self._network_ms()
        if not self.is_calm and self.dice.chance(0.02):
            if isinstance(request, Commit):
                at_ms += self.dice.between(1_000, 12_000)
            elif not isinstance(request, Leave):
                client.later(self.dice.between(500, 3_000), client.lost_connection)
                if self.dice.chance(0.5):
                    return  # it never came
                answer = _nobody
        else:
            at_ms = max(at_ms, self._arrivals.get(client.name, 0))
            self._arrivals[client.name] = at_ms

        def arrive() -> None:
            if epoch == self._connection_epoch:
                self._arrived(request, answer)

        self._agenda.plan(at_ms, arrive)

    # The broker's side.

    def _arrived(self, request: Request, answer: Answer) -> None:
        token = next(self._numbers)
        waiting = self._waiting[token] = Waiting(request, answer, self.world.clock_ms)
        match request:
            case ConsumerHeartbeat(member_id=member_id, owned=owned):
                if request.member_epoch < 0:
                    self.oracle.out(member_id)
                elif owned is not None:
                    if request.member_epoch == 0:
                        self.oracle.joins(member_id)
                    self.oracle.said(member_id, {self._named(partition) for partition in owned})
            case Join(member_id=member_id):
                self.oracle.joins(member_id)
                self.oracle.said(member_id, parse_subscription(request.protocols[0].metadata).owned)
            case Leave(members=members):
                for member in members:
                    self.oracle.out(member.member_id or self.oracle.holder(member.group_instance_id))
            case Commit(member_id=member_id):
                # Commits are numbered as they come in: none that was acked may be replaced by an older one.
                ((partition, committed),) = request.offsets.items()
                numbered = replace(committed, metadata=str(token), commit_time_ms=self.world.wall_clock_ms)
                request = waiting.request = replace(request, offsets={partition: numbered})
                waiting.is_stale = not self.oracle.may_commit(member_id, partition)
        self.world.ask(request, token)

    def _replied(self, token: int, response: Any) -> None:
        if token == 0:  # the world's own
            return
        waiting = self._waiting.pop(token, None)
        if waiting is None:
            raise Violation(f"request {token} was answered twice: {response}")
        if response is not NOT_STORED and response.error_code is ErrorCode.none:
            self._granted(waiting, response)
        self.after(self._network_ms(), lambda: waiting.answer(response))

    def _granted(self, waiting: Waiting, response: Any) -> None:
        """Look at an answer as it leaves the broker."""
        oracle, request, at_ms = self.oracle, waiting.request, waiting.at_ms
        match request:
            case ConsumerHeartbeat(member_id=member_id) if request.member_epoch >= 0:
                if request.instance_id is not None:
                    oracle.is_instance(request.instance_id, member_id)
                oracle.heard(member_id, at_ms)
                oracle.in_epoch(member_id, response.member_epoch)
                if response.assigned is not None:
                    oracle.told(member_id, {self.by_name(partition) for partition in response.assigned})
            case Join():
                if request.group_instance_id is not None:
                    oracle.is_instance(request.group_instance_id, response.member_id)
                oracle.heard(response.member_id, at_ms)
                if response.members:
                    oracle.led([member.member_id for member in response.members])
            case Sync(member_id=member_id):
                oracle.heard(member_id, at_ms)
                oracle.in_epoch(member_id, request.generation_id)
                oracle.told(member_id, assigned(response.assignment))
            case Heartbeat(member_id=member_id):
                oracle.heard(member_id, at_ms)
            case Commit(member_id=member_id):
                ((partition, committed),) = request.offsets.items()
                if waiting.is_stale:
                    raise Violation(f"{member_id} committed {partition}, which is somebody else's by now")
                if partition[0] in self.world.topics:
                    oracle.committed(partition, int(committed.metadata))

    def _run_until(self, end_ms: int) -> None:
        while True:
            timer_ms = self.world.next_timer_ms()
            event_ms = self._agenda.next_ms()
            at_ms = min((ms for ms in (timer_ms, event_ms) if ms is not None), default=end_ms)
            if at_ms >= end_ms:
                self.world.clock_ms = end_ms
                return
            self.world.clock_ms = at_ms
            if at_ms == event_ms:
                self._agenda.take()()
            else:
                self._timer_fired(self.world.fire_next())
            if self.world.unsynced and not self._sync_is_planned:
                self._sync_is_planned = True
                self.after(self.dice.between(1, 40), self._sync)

    def _timer_fired(self, key: TimerKey) -> None:
        if key.kind not in ("session", "rebalance", "join", "sync"):
            return
        members = {member.member_id for member in self._describe().members}
        if key.kind == "session" and key.member_id not in members:
            self.oracle.session_ended(key.member_id, self.world.clock_ms, SESSION_MS)
        for member_id in self.oracle.holds.keys() - members:
            self.oracle.out(member_id)

    def _sync(self) -> None:
        self._sync_is_planned = False
        while self.world.unsynced:
            record = self.world.unsynced[0].store.record
            if not self.is_calm and self.dice.chance(0.03):
                self.world.fail()
                continue
            if record is not None:
                self.oracle.stored_epoch(getattr(record, "group_epoch", None) or record.generation_id)
            self.world.sync(1)

    def _crash(self) -> None:
        if self.world.is_settled():
            self._check_memory()
        self._connection_epoch += 1
        self._waiting.clear()
        self.world.crash(durable=self.dice.between(0, len(self.world.unsynced)))
        self.oracle.stored_offsets(self.world.offsets.get(GROUP, {}))
        for client in self.clients:
            if client.is_alive:
                client.lost_connection()

    # Trouble.

    def _plan_trouble(self) -> None:
        kinds: list[Callable[[], None]] = [self._crash, self._jump_clock, self._change_topics]
        kinds += [self._trouble_client] * 5
        for _ in range(self.dice.between(2, 10)):
            self.after(self.dice.between(0, TROUBLE_MS), self.dice.choice(kinds))

    def _trouble_client(self) -> None:
        client = self.dice.choice(self.clients)
        if not client.is_alive:
            self._start_again(client)
            return
        match self.dice.choice(["pause", "kill", "leave", "move", "remove", "twin"]):
            case "pause":
                client.pause(self.dice.between(1_000, 15_000))
            case "kill":
                client.stop()
                if self.dice.chance(0.7):
                    self.after(self.dice.between(0, 5_000), lambda: self._start_again(client))
            case "leave":
                client.leave()
                if self.dice.chance(0.7):
                    self.after(self.dice.between(0, 5_000), lambda: self._start_again(client))
            case "move":  # to the other protocol, as in a rolling upgrade or its undoing
                client.leave()
                self._start_again(client, changes_protocol=True)
            case "remove" if client.instance_id is not None and client.member_id:  # by an administrator
                leave = Leave(GROUP, (LeavingMember(client.member_id, client.instance_id),))
                self.send(client, leave, _nobody)
            case "twin" if client.instance_id is not None:
                # The old process goes on until it hears that another one has its name.
                twin = self._start_again(client, changes_protocol=self.dice.chance(0.5), keeps=True)
                self.after(8_000, lambda: None if twin.is_settled else twin.stop())

    def _start_again(self, client: Client, *, changes_protocol: bool = False, keeps: bool = False) -> Client:
        """A new process in place of the client, or beside it."""
        if client not in self.clients or (client.is_alive and not keeps):
            return client
        is_classic = isinstance(client, ClassicClient) != (changes_protocol or self.dice.chance(0.3))
        name = f"{client.name.partition('#')[0]}#{next(self._numbers)}"
        new = self._client(name, client.instance_id, is_classic)
        if client.instance_id is not None:  # KIP-345: a stable generation goes on with what it knew of it
            new.topics = client.topics
        if keeps:
            self.clients.append(new)
        else:
            self.clients[self.clients.index(client)] = new
        new.start()
        return new

    def _jump_clock(self) -> None:
        self.world.wall_clock_skew_ms = self.dice.between(-HOUR_MS, HOUR_MS)

    def _change_topics(self) -> None:
        topics = self.world.topics
        match self.dice.choice(["grow", "grow", "create", "delete"]):
            case "grow":
                self._put_topic("t1", min(8, topics["t1"].partitions + self.dice.between(1, 2)))
            case "create" if "t2" not in topics and UUID(int=0) not in self._names:
                self._put_topic("t2", self.dice.between(1, 2))
            case "delete" if "t2" in topics:
                self._names[UUID(int=0)] = ""  # it does not come back
                gone = topics.pop("t2")
                self.topics_version += 1
                self.oracle.topic_deleted("t2")
                self.world.ask(TopicsChanged(removed=[gone.topic_id]), 0)
                self.world.ask(ForgetTopics(frozenset(["t2"])), 0)

    def _put_topic(self, name: str, partitions: int) -> None:
        topic = TopicMetadata(name, self._ids[int(name[1:])], partitions)
        self.world.topics[name] = topic
        self._names[topic.topic_id] = name
        self.topics_version += 1
        self.world.ask(TopicsChanged(put=[topic]), 0)

    def _network_ms(self) -> int:
        if not self.is_calm and self.dice.chance(0.01):
            return self.dice.between(300, 5_000)
        return self.dice.between(1, 30)

    def _new_client(self, number: int) -> Client:
        instance_id = f"i{number}" if self.dice.chance(0.35) else None
        return self._client(f"c{number}", instance_id, self.dice.chance(0.4))

    def _client(self, name: str, instance_id: str | None, is_classic: bool) -> Client:
        topics = self.dice.choice([frozenset(["t1"]), frozenset(["t1", "t2"])])
        if is_classic:
            return ClassicClient(self, name, instance_id, topics)
        return ConsumerClient(self, name, instance_id, topics, uses_regex=self.dice.chance(0.3))

    def _named(self, partition: TopicIdPartition) -> TopicPartition:
        return self._names.get(partition[0], "gone"), partition[1]

    # What must hold in the end.

    def _problem(self) -> str | None:
        """Why the group is not settled; None when it is."""
        alive = [client for client in self.clients if client.is_alive]
        described = self._describe()
        if len(described.members) != len(alive):
            return f"{len(described.members)} members, and {len(alive)} clients live"
        if not alive:
            return None if self.world.is_settled() else "there is something left to store"
        if described.group_state != "Stable" or not all(client.is_settled for client in alive):
            return f"{described} and {[(c.name, c.member_id, c.epoch, c.is_settled, c.owned) for c in alive]}"
        has_consumers = any(isinstance(client, ConsumerClient) for client in alive)
        if isinstance(described, DescribeConsumerGroupResult) != has_consumers:
            return f"{described} of {[type(client).__name__ for client in alive]}"
        wanted = sorted(
            (topic.name, partition)
            for topic in self.world.topics.values()
            if any(client.uses_regex or topic.name in client.topics for client in alive)
            for partition in range(topic.partitions)
        )
        owned = sorted(partition for client in alive for partition in client.owned)
        if owned != wanted:
            return f"clients own {owned}, and there are {wanted}"
        return None if self.world.is_settled() else "there is something left to store"

    def _describe(self) -> DescribeConsumerGroupResult | DescribeGroupResult:
        described: DescribeConsumerGroupResult = self.world.peek(DescribeConsumerGroup(GROUP))
        if described.error_code is ErrorCode.none:
            return described
        classic: DescribeGroupResult = self.world.peek(DescribeGroup(GROUP))
        return classic

    def _check_memory(self) -> None:
        found = self.world.peek(FetchOffsets(GROUP, None)).offsets
        if found != self.world.offsets.get(GROUP, {}):
            raise Violation("what is in memory is not what is stored")


def _nobody(_: Any) -> None:
    """The client has given the connection up."""
