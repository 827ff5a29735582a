"""Workers of one group in a made-up world: the real herder and assignor, a model of the broker's group, of
processes and of the config topic; delays, lost messages, pauses, kills, and workers that come back.

What is between the herder and the group in the real worker (`runtime/cluster.py`, `runtime/membership.py`) is
done here by `SimWorker`, step by step as there.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from support.simulation import Agenda, Dice, Violation

from connect.herder.actions import KillTask, MakeTaskConfigs, StartTask, StopTask
from connect.herder.assignment import Assignor, Member, Plan
from connect.herder.backoff import RestartPolicy
from connect.herder.herder import Herder, Part
from connect.herder.states import TaskId

SESSION_MS = 10_000
HEARTBEAT_MS = 3_000
REBALANCE_MS = 60_000
STOP_MS = 5_000
RETRY_MS = 12_000  # a connection breaks: how long until a worker asks again
TROUBLE_MS = 60_000
QUIET_MS = 60_000
UNKNOWN, ILLEGAL, REBALANCING, OK = "unknown", "illegal", "rebalancing", "ok"

Reply = Callable[..., None]


@dataclass(slots=True)
class Introduced:
    worker: str
    configs: int
    claims: frozenset[TaskId]
    ending: frozenset[TaskId]


@dataclass(slots=True)
class Assigned:
    """`tasks` None: all there are."""

    configs: int
    tasks: frozenset[TaskId] | None


@dataclass(slots=True)
class GroupMember:
    heard_ms: int
    joined: tuple[Introduced, Reply] | None = None
    synced: Reply | None = None


class Group:
    """The broker's classic group, as far as its members can tell."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.members: dict[str, GroupMember] = {}
        self.generation = 0
        self.state = "stable"  # joining, syncing
        self._leader = ""
        self._assignments: Mapping[str, Assigned] = {}
        self._began_ms = 0
        self._count = 0

    def join(self, member_id: str, introduced: Introduced, reply: Reply) -> None:
        if member_id and member_id not in self.members:
            reply(UNKNOWN)
            return
        if not member_id:
            self._count += 1
            member_id = f"m{self._count:04}"
            self.members[member_id] = GroupMember(self._world.now)
        self.members[member_id].joined = introduced, lambda *answer: reply(*answer)
        self._begin()
        self._complete_join()

    def sync(
        self, member_id: str, generation: int, plan: Mapping[str, Assigned] | None, reply: Reply
    ) -> None:
        error = self._error(member_id, generation)
        if error is not None or self.state == "joining":
            reply(error or REBALANCING)
            return
        member = self.members[member_id]
        member.heard_ms, member.synced = self._world.now, reply
        if plan is not None:
            self._assignments, self.state = plan, "stable"
        if self.state == "stable":
            for each_id, each in self.members.items():
                if each.synced is not None:
                    each.synced(OK, self._assignments[each_id])
                    each.synced = None

    def heartbeat(self, member_id: str, generation: int) -> str:
        error = self._error(member_id, generation)
        if error is not None:
            return error
        self.members[member_id].heard_ms = self._world.now
        return REBALANCING if self.state == "joining" else OK

    def leave(self, member_id: str) -> None:
        if self.members.pop(member_id, None) is not None:
            self._begin()
            self._complete_join()

    def expire(self) -> None:
        """Called now and then."""
        now = self._world.now
        for member_id, member in list(self.members.items()):
            waits = self.state == "joining" and member.joined is not None
            is_silent = now - member.heard_ms >= SESSION_MS and not waits
            is_late = self.state == "joining" and not waits and now - self._began_ms >= REBALANCE_MS
            if is_silent or is_late:
                self.leave(member_id)

    def _error(self, member_id: str, generation: int) -> str | None:
        if member_id not in self.members:
            return UNKNOWN
        return None if generation == self.generation else ILLEGAL

    def _begin(self) -> None:
        if self.state != "joining":
            self.state, self._began_ms = "joining", self._world.now
            for member in self.members.values():
                if member.synced is not None:
                    member.synced(REBALANCING)
                    member.synced = None

    def _complete_join(self) -> None:
        if not self.members or any(member.joined is None for member in self.members.values()):
            return
        self.generation += 1
        self.state = "syncing"
        if self._leader not in self.members:
            self._leader = next(iter(self.members))
        everybody = {id_: member.joined[0] for id_, member in self.members.items() if member.joined}
        for member_id, member in self.members.items():
            assert member.joined is not None
            member.heard_ms = self._world.now
            reply, member.joined = member.joined[1], None
            reply(OK, member_id, self.generation, everybody if member_id == self._leader else None)


@dataclass(slots=True)
class Process:
    """A task's process. It looks at its lease by itself, unless it is paused."""

    task: TaskId
    lease_ms: int
    alive: bool = False  # forked
    ended: bool = False
    paused: bool = False


class SimWorker:
    """One life of one worker, from its start to its kill."""

    def __init__(self, world: "World", name: str) -> None:
        self.world = world
        self.name = name
        self.alive = True
        self.paused = False
        self.cut_off = False
        self.herder = Herder(lambda _: RestartPolicy(), STOP_MS)
        self.processes: dict[TaskId, Process] = {}
        self.leads = False
        self._assignor = Assignor(world.delay_ms)
        self._elsewhere: frozenset[TaskId] = frozenset()
        self._backlog: list[Callable[[], None]] = []
        self._position = 0
        self._changed_at = -1
        self._covers: int | None = 0
        self._told: frozenset[TaskId] = frozenset()
        self._giving_up = False
        self._member_id = ""
        self._generation = -1
        self._in_round = False  # until it is synced
        self._busy = False  # until its result is taken
        self._again = False
        self._round_number = 0
        self._lease_ms = 0
        self._stable_ms = 0
        self._holds = False
        self._lost = False
        self._read()
        self._beat()
        self.after(world.dice.between(0, 500), self._round)

    # Time

    def after(self, delay_ms: int, action: Callable[[], None]) -> None:
        def happen() -> None:
            if not self.alive:
                return
            if self.paused:
                self._backlog.append(happen)
                return
            self._check_lease()
            action()
            self._decide()

        self.world.after(delay_ms, happen)

    def pause(self, with_tasks: bool) -> None:
        self.paused = True
        for process in self.processes.values():
            process.paused = with_tasks

    def resume(self) -> None:
        self.paused = False
        self.world.began_to_run = True
        for process in self.processes.values():
            process.paused = False
            self._look_at_lease(process)
        backlog, self._backlog = self._backlog, []
        for happen in backlog:
            happen()

    def kill(self) -> None:
        self.alive = False
        for process in self.processes.values():
            process.alive, process.ended = False, True

    # The config topic

    def _read(self) -> None:
        while self._position < len(self.world.log):
            offset = self._position
            self._position += 1
            if self.herder.on_config_record(*self.world.log[offset]):
                self._changed_at = offset
        self._share_out_changes()

    def on_written(self) -> None:
        self.after(self.world.dice.between(1, 300), self._read)

    def _share_out_changes(self) -> None:
        if self._covers is not None and self._changed_at >= self._covers:
            self._want_round()

    def _when_read(self, position: int, action: Callable[[], None]) -> None:
        if self._position >= position:
            action()
        else:
            self.after(20, lambda: self._when_read(position, action))

    # The group

    def _send(self, action: Callable[[], None]) -> None:
        if not self.cut_off and not self.world.is_lost():
            self.world.after(self.world.latency_ms(), action)

    def _receive(self, action: Callable[..., None]) -> Reply:
        def arrive(*answer: Any) -> None:
            if not self.cut_off and not self.world.is_lost():
                self.after(self.world.latency_ms(), lambda: action(*answer))

        return arrive

    def _want_round(self) -> None:
        if self._busy:
            self._again = True
        elif self._generation >= 0 or self._lost:
            self._round()

    def _round(self) -> None:
        self._in_round, self._busy, self._again = True, True, False
        self._round_number += 1
        number = self._round_number
        if self._lost:
            self._be_nobody()
            return
        claims, ending = self.herder.introduce()
        self._told = claims | ending
        introduced = Introduced(self.name, self._position, claims, ending)
        member_id = self._member_id
        reply = self._receive(lambda *answer: self._joined(number, *answer))
        self._send(lambda: self.world.group.join(member_id, introduced, reply))
        self._retry_later(number)

    def _retry_later(self, number: int) -> None:
        """An answer was lost, or takes too long."""

        def retry() -> None:
            if self._busy and self._round_number == number:
                self._round()

        self.after(self.world.dice.between(RETRY_MS // 2, RETRY_MS), retry)

    def _be_nobody(self) -> None:
        self._holds, self._lease_ms = False, 0
        self._fence()
        if self.herder.processes:
            self.after(20, self._round)
            return
        self._member_id, self._generation, self._lost = "", -1, False
        self._round()

    def _joined(self, number: int, result: str, *answer: Any) -> None:
        if number != self._round_number:
            return
        if result != OK:
            self._lost = True
            self._round()
            return
        self._member_id, self._generation, members = answer
        if members is None:
            self._sync(number, None, leads=False)
        else:
            furthest = max(each.configs for each in members.values())
            self._when_read(furthest, lambda: self._sync(number, self._plan(members), leads=True))

    def _plan(self, members: Mapping[str, Introduced]) -> Mapping[str, Assigned]:
        wanted = [task for task, _ in self.herder.config.wanted()]
        claims = [Member(id_, each.claims, each.ending) for id_, each in members.items()]
        plan = self._assignor.plan(claims, wanted, self.world.now)
        check_plan(claims, frozenset(wanted), plan)
        self._elsewhere = frozenset().union(
            *(
                each.claims | each.ending | plan.tasks[id_]
                for id_, each in members.items()
                if each.worker != self.name
            )
        )
        if plan.held_until_ms is not None:
            self.after(max(0, plan.held_until_ms - self.world.now), self._want_round)
        alone = len(members) == 1 and not plan.held
        return {id_: Assigned(self._position, None if alone else tasks) for id_, tasks in plan.tasks.items()}

    def _sync(self, number: int, plan: Mapping[str, Assigned] | None, *, leads: bool) -> None:
        if number != self._round_number:
            return
        sent_ms, member_id, generation = self.world.now, self._member_id, self._generation
        reply = self._receive(lambda *answer: self._synced(number, sent_ms, leads, *answer))
        self._send(lambda: self.world.group.sync(member_id, generation, plan, reply))

    def _synced(self, number: int, sent_ms: int, leads: bool, result: str, *answer: Any) -> None:
        if number != self._round_number:
            return
        if result == UNKNOWN:
            self._lost = True
        if result != OK:
            self._round()
            return
        self._extend(sent_ms, stable=True)
        self._in_round = False
        assigned: Assigned = answer[0]
        self._when_read(assigned.configs, lambda: self._take(number, assigned, leads))

    def _take(self, number: int, assigned: Assigned, leads: bool) -> None:
        if number != self._round_number:
            return
        self._busy = False
        self.leads = leads
        self._covers = None if assigned.tasks is None else assigned.configs
        self.herder.on_part(Part(leads, assigned.tasks, self._elsewhere if leads else frozenset()))
        self._giving_up = bool((self._told | self.herder.ending) - self.herder.claims)
        if self._again:
            self._round()
        else:
            self._share_out_changes()

    def _beat(self) -> None:
        if self._generation >= 0 and not self._lost:
            sent_ms, member_id, generation = self.world.now, self._member_id, self._generation

            def answer(code: str) -> None:
                if member_id == self._member_id:
                    self._on_heartbeat(code, sent_ms, generation)

            reply = self._receive(answer)
            self._send(lambda: reply(self.world.group.heartbeat(member_id, generation)))
        self.after(HEARTBEAT_MS, self._beat)

    def _on_heartbeat(self, code: str, sent_ms: int, generation: int) -> None:
        if code == OK:
            self._extend(sent_ms, stable=not self._in_round)
        elif code == REBALANCING:
            self._extend(sent_ms, stable=False)
            if not self._in_round:
                self._want_round()
        elif code == UNKNOWN:
            self._lost = True
            self._round()
        elif generation == self._generation:
            self._want_round()

    # The lease

    def _extend(self, sent_ms: int, *, stable: bool) -> None:
        if stable:
            self._stable_ms = sent_ms
        until_ms = min(sent_ms + SESSION_MS, self._stable_ms + REBALANCE_MS)
        if until_ms <= max(self._lease_ms, self.world.now):
            return
        self._lease_ms = until_ms
        if not self._holds:
            self._holds = True
            if not self._in_round:
                self._want_round()
        for process in self.processes.values():
            self._lend(process)

    def _check_lease(self) -> None:
        if self._holds and self.world.now >= self._lease_ms:
            self._holds = False
            self._fence()
            self._want_round()

    def _fence(self) -> None:
        self.leads = False
        self._covers = None
        self.herder.on_fenced()
        self._decide()

    def _lend(self, process: Process) -> None:
        process.lease_ms = self._lease_ms
        self.world.after(self._lease_ms - self.world.now, lambda: self._look_at_lease(process))

    def _look_at_lease(self, process: Process) -> None:
        if process.alive and not process.paused and self.world.now >= process.lease_ms:
            self._end(process, "its lease was over")

    # Tasks

    def _decide(self) -> None:
        for action in self.herder.decide(self.world.now):
            if isinstance(action, StartTask):
                self._start(action.task)
            elif isinstance(action, StopTask | KillTask):
                self._stop(self.processes[action.task], kill=isinstance(action, KillTask))
            elif isinstance(action, MakeTaskConfigs):
                tasks = self.herder.config.tasks.get(action.name, [])
                self.herder.on_task_configs(action.name, action.revision, tasks)
        if self._giving_up and not self.herder.ending:
            self._giving_up = False
            self._want_round()

    def _start(self, task: TaskId) -> None:
        process = self.processes[task] = Process(task, self._lease_ms)

        def fork() -> None:
            if process.ended:
                return
            process.alive = self.world.began_to_run = True
            self._lend(process)
            self._look_at_lease(process)
            if process.alive:
                self.herder.on_task_running(task, self.world.now)

        self.after(self.world.dice.between(1, 100), fork)

    def _stop(self, process: Process, *, kill: bool) -> None:
        longest = 20 if kill else self.world.dice.choice([50, 2_000, STOP_MS * 2])
        self.world.after(self.world.dice.between(1, longest), lambda: self._end_if_it_can(process, kill))

    def _end_if_it_can(self, process: Process, kill: bool) -> None:
        if process.paused and not kill:
            self.world.after(100, lambda: self._end_if_it_can(process, kill))
        elif not process.ended:
            self._end(process, None)

    def _end(self, process: Process, trace: str | None) -> None:
        process.alive, process.ended = False, True

        def notice() -> None:
            if self.processes.get(process.task) is process:
                del self.processes[process.task]
                self.herder.on_task_exited(process.task, trace, self.world.now)

        self.after(1, notice)


@dataclass(slots=True)
class World:
    seed: int
    now: int = 0
    log: list[tuple[str, Any]] = field(default_factory=list)
    workers: list[SimWorker] = field(default_factory=list)
    calm: bool = False
    began_to_run: bool = False  # some process, since the last look
    dice: Dice = field(init=False)
    agenda: Agenda = field(init=False)
    group: Group = field(init=False)
    delay_ms: int = field(init=False)

    def __post_init__(self) -> None:
        self.dice = Dice(self.seed)
        self.agenda = Agenda()
        self.group = Group(self)
        self.delay_ms = self.dice.choice([0, 0, 20_000])

    def after(self, delay_ms: int, action: Callable[[], None]) -> None:
        self.agenda.plan(self.now + max(0, delay_ms), action)

    def latency_ms(self) -> int:
        is_slow = not self.calm and self.dice.chance(0.1)
        return self.dice.between(1, 4_000 if is_slow else 50)

    def is_lost(self) -> bool:
        return not self.calm and self.dice.chance(0.03)

    def run(self) -> None:
        """Trouble, then quiet; raises `Violation`."""
        for number in range(self.dice.between(1, 4)):
            self.workers.append(SimWorker(self, f"w{number}"))
        for _ in range(self.dice.between(1, 3)):
            self._scale()
        self._expire()
        self._trouble()
        self._until(TROUBLE_MS)
        self.calm = True
        for worker in self.workers:
            worker.cut_off = False
            if worker.alive and worker.paused:
                worker.resume()
        self._until(TROUBLE_MS + QUIET_MS)
        self._check_quiet()

    def _until(self, end_ms: int) -> None:
        while (at := self.agenda.next_ms()) is not None and at <= end_ms:
            action = self.agenda.take()
            self.now = max(self.now, at)
            action()
            if self.began_to_run:
                self.began_to_run = False
                self._check_once()
        self.now = end_ms

    def _expire(self) -> None:
        self.group.expire()
        self.after(500, self._expire)

    def _trouble(self) -> None:
        if self.calm:
            return
        self.dice.choice(
            [self._scale, self._scale, self._kill, self._pause, self._cut_off, self._begin, self._leave]
        )()
        self.after(self.dice.between(100, 15_000), self._trouble)

    def _scale(self) -> None:
        name = self.dice.choice("abc")
        if self.dice.chance(0.2):
            self._write((f"connector-{name}", None))
            return
        count = self.dice.between(0, 5)
        tasks = [(f"task-{name}-{n}", {"properties": {"n": str(n)}}) for n in range(count)]
        self._write((f"connector-{name}", {"properties": {}}), *tasks, (f"commit-{name}", {"tasks": count}))

    def _write(self, *records: tuple[str, Any]) -> None:
        self.log += records
        for worker in self.workers:
            if worker.alive:
                worker.on_written()

    def _living(self) -> list[SimWorker]:
        return [worker for worker in self.workers if worker.alive]

    def _kill(self) -> None:
        if living := self._living():
            worker = self.dice.choice(living)
            worker.kill()
            if self.dice.chance(0.7):
                self.after(
                    self.dice.between(500, 20_000), lambda: self.workers.append(SimWorker(self, worker.name))
                )

    def _pause(self) -> None:
        if living := [worker for worker in self._living() if not worker.paused]:
            worker = self.dice.choice(living)
            worker.pause(with_tasks=self.dice.chance(0.5))
            self.after(self.dice.between(100, 30_000), lambda: worker.resume() if worker.paused else None)

    def _cut_off(self) -> None:
        if living := self._living():
            worker = self.dice.choice(living)
            worker.cut_off = True

            def mend() -> None:
                worker.cut_off = False

            self.after(self.dice.between(2_000, 30_000), mend)

    def _begin(self) -> None:
        if len(self._living()) < 5:
            self.workers.append(SimWorker(self, f"w{len(self.workers)}"))
            self.after(self.dice.between(1, 3_000), self._scale)

    def _leave(self) -> None:
        """One that is stopped: its tasks have ended before it leaves."""
        living = [worker for worker in self._living() if not worker.paused]
        if len(living) > 1:
            worker = self.dice.choice(living)
            worker.kill()
            self.group.leave(worker._member_id)

    # What must hold

    def _check_once(self) -> None:
        running: set[TaskId] = set()
        for worker in self.workers:
            for process in worker.processes.values():
                if process.alive and not process.paused:
                    if process.task in running:
                        raise Violation(f"{process.task} runs twice at {self.now}")
                    running.add(process.task)

    def _check_quiet(self) -> None:
        if not (living := self._living()):
            return
        wanted = {task for task, _ in living[0].herder.config.wanted()}
        loads = [sorted(p.task for p in worker.processes.values() if p.alive) for worker in living]
        if sorted(wanted) != sorted(task for load in loads for task in load):
            raise Violation(f"wanted {sorted(wanted)}, running {loads}")
        if max(map(len, loads)) - min(map(len, loads)) > 1:
            raise Violation(f"uneven: {loads}")
        leaders = [worker for worker in living if worker.leads]
        if len(leaders) != 1:
            raise Violation(f"{len(leaders)} leaders")
        if leaders[0]._elsewhere != wanted - leaders[0].herder.claims:
            raise Violation("the leader does not know what runs elsewhere")


def check_plan(members: list[Member], wanted: frozenset[TaskId], plan: Plan) -> None:
    """Of one round: nothing is given away that somebody may run, and no more is taken than evenness asks."""
    share = len(wanted) // len(members)
    for member in members:
        mine = plan.tasks[member.id]
        for other in members:
            if other is not member and mine & (other.claims | other.ending):
                raise Violation(f"{member.id} gets what {other.id} may run")
        claimed = member.claims & wanted
        if len(claimed & mine) < min(len(claimed), share):
            raise Violation(f"{member.id} loses more than it must")
    given = [task for tasks in plan.tasks.values() for task in tasks]
    if len(given) != len(set(given)):
        raise Violation("a task is given twice")
