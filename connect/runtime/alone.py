"""The group of a standalone worker: there is no other, so it leads and runs everything, without a lease."""

from connect.herder.herder import Herder, Part
from connect.herder.states import TaskId
from connect.runtime.cluster import Cluster, View
from connect.runtime.stores import Shown


class Alone(Cluster):
    """Answers as a `Cluster` does whose worker never meets another."""

    def __init__(self, worker_id: str, url: str, herder: Herder) -> None:
        self.view = View(worker_id, leads=True, urls={worker_id: url})
        self._herder = herder

    async def join(self) -> None:
        self._herder.on_part(Part(leads=True, tasks=None, elsewhere=frozenset()))

    async def leave(self) -> None:
        """There is nobody to tell."""

    @property
    def failure(self) -> Exception | None:
        return None

    def check_lease(self) -> None:
        """Nobody else may ever run its tasks."""

    def on_tasks_changed(self, offset: int) -> None:
        """They are this worker's."""

    def on_foreign_status(self, name: str, task: TaskId | None, shown: Shown | None) -> None:
        """There is nobody else."""

    def on_decided(self) -> None:
        """Nobody waits for what was given up."""
