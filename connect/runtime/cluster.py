"""This worker's place among the workers of its group: what it claims, what it is assigned, who leads.

Between the group protocol (`Membership`) and the herder: gives the herder its part after each round, asks for
a round when the tasks have changed or something was given up, and as leader makes the plan.
"""

import asyncio
import logging
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from connect.api import ConnectError
from connect.herder.actions import Status
from connect.herder.assignment import Assignor, Member, Plan
from connect.herder.herder import Herder, Part
from connect.herder.states import State, TaskId
from connect.runtime.config import WorkerConfig
from connect.runtime.leader_producer import LeaderProducer
from connect.runtime.lease import Lease
from connect.runtime.membership import Membership, OutOfSync
from connect.runtime.membership_protocol import Assignment, Introduction
from connect.runtime.metrics_rebalance import RebalanceMeter
from connect.runtime.stores import ConfigStore, Shown, StatusStore
from connect.runtime.supervisor import Supervisor, now_ms

_LOG = logging.getLogger(__name__)
_KILLED_S: Final = 30.0  # for the kernel to end what was killed; a process may hang in the kernel


@dataclass(frozen=True, slots=True)
class View:
    """The group as of the last round; `leader_id` None while this worker is no member. `urls` by worker
    id."""

    leader_id: str | None = None
    leads: bool = False
    urls: Mapping[str, str] = field(default_factory=dict)


class Cluster:
    """`url` is where other workers reach this one's REST."""

    def __init__(
        self,
        worker: WorkerConfig,
        worker_id: str,
        url: str,
        client: Mapping[str, Any],
        herder: Herder,
        configs: ConfigStore,
        statuses: StatusStore,
        supervisor: Supervisor,
        lease: Lease,
    ) -> None:
        self.view = View()
        self._worker = worker
        self._worker_id = worker_id
        self._url = url
        self._herder = herder
        self._configs = configs
        self._statuses = statuses
        self._supervisor = supervisor
        self._assignor = Assignor(worker.rebalance_delay_ms)
        self._membership = Membership(worker, client, self, lease)
        if configs.leader is not None:
            configs.leader.on_fenced = self._membership.rejoin
        self._elsewhere: frozenset[TaskId] = frozenset()  # what others run or will run, by this one's plan
        self._owners: Mapping[TaskId, str] = {}  # worker ids, by this one's plan
        self._look_again: asyncio.TimerHandle | None = None
        self._changed_at = -1  # the offset of the last record that changed which tasks there are
        self._covers: int | None = None  # the position that the assignment was made at; None: all that comes
        self._rebalances = RebalanceMeter()
        supervisor.metrics.rebalance = self._rebalances.group
        self._told: frozenset[TaskId] = frozenset()  # what may run here, as of the last introduction
        self._giving_up = False  # some of it: another round is due when it has ended

    async def join(self) -> None:
        """Until this worker is a member. Raises `ConnectError` for a group that it cannot be in."""
        await self._membership.start()

    async def leave(self) -> None:
        """After the last task has ended, so that others take over at once."""
        if self._look_again is not None:
            self._look_again.cancel()
        await self._membership.stop()
        self.view = View()

    @property
    def failure(self) -> Exception | None:
        return self._membership.failure

    def owner_url(self, task: TaskId) -> str | None:
        """Where this leader has a task run; None: here, or nowhere."""
        worker_id = self._owners.get(task)
        return None if worker_id == self._worker_id else self.view.urls.get(str(worker_id))

    # What happens here

    def check_lease(self) -> None:
        """To be called before anything is decided: this process may have been stopped for long."""
        self._membership.check_lease()

    def on_tasks_changed(self, offset: int) -> None:
        """A record of the config topic changed which tasks there are."""
        self._changed_at = offset
        self._share_out_changes()

    def on_foreign_status(self, name: str, task: TaskId | None, shown: Shown | None) -> None:
        """Another worker wrote a status. Of what is this worker's to show, it is old news that came late."""
        if task is None:
            self._herder.show_connector_again(name)
        else:
            self._herder.show_task_again(task)
            given_up = shown is not None and shown.state is State.UNASSIGNED
            if given_up and self._herder.config.wants(task) and len(self.view.urls) > 1:
                self._membership.expect_round()
        self._supervisor.wake()

    def on_decided(self) -> None:
        """What the herder decided was done; a task that was given up may have ended."""
        if self._giving_up and not self._herder.ending:
            self._giving_up = False
            self._membership.rejoin()

    def _share_out_changes(self) -> None:
        if self._covers is not None and self._changed_at >= self._covers:
            self._membership.rejoin()

    # What the membership asks and tells

    def introduce(self) -> Introduction:
        self._rebalances.began()
        configs = self._configs.map.position
        claims, ending = self._herder.introduce()
        self._told = claims | ending
        return Introduction(self._worker_id, self._url, platform.node(), configs, claims, ending)

    async def plan(self, members: Mapping[str, Introduction]) -> Mapping[str, Assignment]:
        await self._catch_up(max(member.configs for member in members.values()))
        wanted = [task for task, _ in self._herder.config.wanted()]
        configs = self._configs.map.position
        claims = [Member(id_, each.claims, each.ending) for id_, each in members.items()]
        plan = self._assignor.plan(claims, wanted, now_ms())
        self._look_again_at(plan)
        self._elsewhere = frozenset().union(
            *(each.may_run | plan.tasks[id_] for id_, each in members.items() if not self._is_self(each))
        )
        self._owners = {task: members[id_].worker_id for id_, tasks in plan.tasks.items() for task in tasks}
        is_alone = len(members) == 1 and not plan.held
        urls = {each.worker_id: each.url for each in members.values()}
        moving = any(each.may_run - plan.tasks[id_] for id_, each in members.items())
        return {
            id_: Assignment(self._worker_id, configs, None if is_alone else tasks, urls, moving)
            for id_, tasks in plan.tasks.items()
        }

    async def take(self, assignment: Assignment, leads: bool, generation_id: int) -> None:
        await self._catch_up(assignment.configs)
        self._rebalances.ended(generation_id, assignment.leader_id)
        self._statuses.generation_id = generation_id
        former, self.view = self.view, View(assignment.leader_id, leads, assignment.urls)
        self._covers = None if assignment.tasks is None else assignment.configs
        if (writer := self._configs.leader) is not None:
            if not leads:
                writer.release()
            elif not writer.leads:
                await self._claim(writer)
        self._herder.on_part(Part(leads, assignment.tasks, self._elsewhere if leads else frozenset()))
        if former != self.view:
            _LOG.info(
                "generation %d of group %s: %s leads %d workers",
                generation_id, self._worker.group_id, assignment.leader_id, len(assignment.urls),
            )  # fmt: skip
        if leads:
            self._tidy_up()
        # The leader counts with what was told: it must hear of what runs no more.
        self._giving_up = bool((self._told | self._herder.ending) - self._herder.claims)
        self._share_out_changes()
        self._supervisor.wake()

    def fence(self) -> None:
        self.view = View()
        self._covers = None
        if self._configs.leader is not None:
            self._configs.leader.release()
        self._herder.on_fenced()
        self._statuses.withdraw()
        self._supervisor.wake()

    async def fenced(self) -> None:
        await self._supervisor.wait_until(lambda: not self._herder.processes, _KILLED_S)

    def on_lease(self) -> None:
        self._supervisor.extend_lease()

    # The leader

    async def _claim(self, writer: LeaderProducer) -> None:
        """What a former leader had begun to write is decided now, and must be known."""
        await writer.claim()
        try:
            async with asyncio.timeout(self._worker.worker_sync_timeout_ms / 1000):
                await self._configs.map.barrier()
        except (ConnectError, TimeoutError) as exc:
            writer.release()
            raise OutOfSync(f"topic {self._worker.config_topic} could not be read to its end: {exc}") from exc

    def _is_self(self, member: Introduction) -> bool:
        return member.worker_id == self._worker_id

    def _look_again_at(self, plan: Plan) -> None:
        """When what was held for a worker goes to others after all."""
        if self._look_again is not None:
            self._look_again.cancel()
            self._look_again = None
        if plan.held_until_ms is not None:
            delay_s = max(0, plan.held_until_ms - now_ms()) / 1000
            _LOG.info("%d tasks wait for %.1f s for their worker to come back", len(plan.held), delay_s)
            loop = asyncio.get_running_loop()
            self._look_again = loop.call_later(delay_s, self._membership.rejoin)

    def _tidy_up(self) -> None:
        """Statuses that nobody else will change: of what was deleted, and of tasks whose worker is gone."""
        config = self._herder.config
        running_here = set(self._herder.processes)
        for task, shown in self._statuses.tasks.items():
            if config.wants(task):
                if shown.worker_id not in self.view.urls and shown.state is not State.UNASSIGNED:
                    self._statuses.show_task(task, Status(State.UNASSIGNED), shown.version)
            elif task not in running_here and task not in self._elsewhere:
                self._statuses.show_task(task, None, None)
        for name in self._statuses.connectors - config.connectors.keys():
            self._herder.on_leftover(name)

    async def _catch_up(self, position: int) -> None:
        """What others act upon, this worker must have read."""
        seconds = self._worker.worker_sync_timeout_ms / 1000
        try:
            async with asyncio.timeout(seconds):
                await self._configs.map.reach(position)
        except TimeoutError:
            raise OutOfSync(
                f"topic {self._worker.config_topic} could not be read up to offset {position}, as other "
                f"workers have, in worker.sync.timeout.ms={self._worker.worker_sync_timeout_ms}"
            ) from None
