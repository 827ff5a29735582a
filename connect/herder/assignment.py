"""The leader's decision: which worker runs which task. Pure; the leader asks it once in each round of the
group protocol (KIP-415).

A task is given away only in a round in which nobody claims it: a worker that shall give one up is told so in
one round, stops it, and claims it no more in the next, where it goes to another. Tasks stay where they are as
far as the work is even, so what stays is never stopped.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from connect.herder.states import TaskId


@dataclass(frozen=True, slots=True)
class Member:
    """A worker in one round. `claims` are the tasks that it was assigned; `ending` those that were taken from
    it, or deleted, and that it may still be running."""

    id: str
    claims: frozenset[TaskId]
    ending: frozenset[TaskId] = frozenset()


@dataclass(frozen=True, slots=True)
class Plan:
    """`tasks` by member id. `held` are kept for workers that may come back, until `held_until_ms`."""

    tasks: Mapping[str, frozenset[TaskId]]
    held: frozenset[TaskId] = frozenset()
    held_until_ms: int | None = None


class Assignor:
    """Belongs to one leader; what it knows of former rounds serves `scheduled.rebalance.max.delay.ms` only,
    so a new leader needs nothing from the one before."""

    def __init__(self, delay_ms: int) -> None:
        self._delay_ms = delay_ms
        self._former: Mapping[str, frozenset[TaskId]] = {}
        self._held: frozenset[TaskId] = frozenset()
        self._held_until_ms: int | None = None

    def plan(self, members: Sequence[Member], wanted: Collection[TaskId], now_ms: int) -> Plan:
        """Who gets what of the tasks there are; `members` are not empty."""
        unclaimed = frozenset(wanted).difference(*(member.claims | member.ending for member in members))
        self._hold(members, unclaimed, now_ms)
        newcomers = [member for member in members if member.id not in self._former]
        kept = _kept(members, frozenset(wanted))
        # Somebody who comes while tasks are held is taken for the one who went.
        _hand_out(kept, self._held, newcomers, limit=-(-len(wanted) // len(members)))
        given = frozenset[TaskId]().union(*kept.values())
        self._held -= given
        _hand_out(kept, unclaimed - self._held - given, members)
        tasks = {member_id: frozenset(mine) for member_id, mine in kept.items()}
        self._former = tasks
        if not self._held:
            self._held_until_ms = None
        return Plan(tasks, self._held, self._held_until_ms)

    def _hold(self, members: Sequence[Member], unclaimed: frozenset[TaskId], now_ms: int) -> None:
        """Which tasks wait for a worker that went, and until when."""
        present = {member.id for member in members}
        lost = frozenset().union(*(tasks for id_, tasks in self._former.items() if id_ not in present))
        self._held = (self._held | lost) & unclaimed if self._delay_ms else frozenset()
        if self._held and self._held_until_ms is None:
            self._held_until_ms = now_ms + self._delay_ms
        if self._held_until_ms is not None and now_ms >= self._held_until_ms:
            self._held = frozenset()


def _kept(members: Sequence[Member], wanted: frozenset[TaskId]) -> dict[str, set[TaskId]]:
    """What each keeps of what it claims: no more than its share, and nothing that another keeps."""
    claims: dict[str, list[TaskId]] = {}
    taken = set[TaskId]().union(*(member.ending for member in members))
    for member in sorted(members, key=lambda member: member.id):
        claims[member.id] = sorted((member.claims & wanted) - taken)
        taken |= member.claims
    share, larger_shares = divmod(len(wanted), len(members))
    # The larger shares go to those that have most already: so the fewest tasks move.
    by_load = sorted(claims, key=lambda id_: (-len(claims[id_]), id_))
    return {id_: _chosen(claims[id_], share + (place < larger_shares)) for place, id_ in enumerate(by_load)}


def _chosen(claims: list[TaskId], count: int) -> set[TaskId]:
    """Those that stay; of the connectors with most tasks here the last go."""
    of_connector = Counter(task.connector for task in claims)
    chosen = list(claims)
    while len(chosen) > count:
        goes = max(chosen, key=lambda task: (of_connector[task.connector], task))
        of_connector[goes.connector] -= 1
        chosen.remove(goes)
    return set(chosen)


def _hand_out(
    kept: dict[str, set[TaskId]],
    tasks: Collection[TaskId],
    members: Sequence[Member],
    limit: int | None = None,
) -> None:
    """Each task to whoever has least, of this connector if several have; up to `limit` tasks each."""
    of_connector = Counter((id_, task.connector) for id_, mine in kept.items() for task in mine)
    for task in sorted(tasks):
        with_room = [member.id for member in members if limit is None or len(kept[member.id]) < limit]
        if with_room:
            least = min(with_room, key=lambda id_: (len(kept[id_]), of_connector[id_, task.connector], id_))
            kept[least].add(task)
            of_connector[least, task.connector] += 1
