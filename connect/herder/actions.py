"""What the herder wants done; the worker does it, in order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from connect.herder.states import State, TaskId


@dataclass(frozen=True, slots=True)
class Restarts:
    """The budget of what fails: how often it failed in a row, how many restarts in a row there may be, and
    when the next is due on the herder's clock; None: no restart is pending."""

    failures: int
    attempts_max: int
    next_at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """A state to be shown, and why it failed; if it is RUNNING, why it makes no headway. `restarts` is there
    as long as it has not run well for a while."""

    state: State
    trace: str | None = None
    restarts: Restarts | None = None


@dataclass(frozen=True, slots=True)
class MakeTaskConfigs:
    """Ask the connector for its task configs; answer with `on_task_configs` or `on_connector_failed`."""

    name: str
    config: Mapping[str, str | None]
    revision: int


@dataclass(frozen=True, slots=True)
class WriteTaskConfigs:
    """Write these to the config topic, the commit record last; `on_connector_failed` if that fails."""

    name: str
    tasks: Sequence[Mapping[str, str | None]]
    revision: int


@dataclass(frozen=True, slots=True)
class FenceTasks:
    """Before a new set of exactly-once tasks starts (KIP-618): see to it that the producers of the first
    `former` tasks write no more; then write to the config topic that there are `tasks` now. The answer is
    `on_fencing_failed`, if that fails."""

    name: str
    config: Mapping[str, str | None]
    former: int
    tasks: int
    generation: int


@dataclass(frozen=True, slots=True)
class StartTask:
    task: TaskId
    config: Mapping[str, str | None]
    paused: bool


@dataclass(frozen=True, slots=True)
class PauseTask:
    task: TaskId


@dataclass(frozen=True, slots=True)
class ResumeTask:
    task: TaskId


@dataclass(frozen=True, slots=True)
class StopTask:
    """Ask it to finish what it has and to end."""

    task: TaskId


@dataclass(frozen=True, slots=True)
class KillTask:
    """It did not end in its time."""

    task: TaskId


@dataclass(frozen=True, slots=True)
class AskRestart:
    """Have every worker restart a connector's tasks, and the leader the connector (KIP-745)."""

    name: str


@dataclass(frozen=True, slots=True)
class ShowConnector:
    """Write the status of a connector; None: it is gone, and so are its active topics."""

    name: str
    status: Status | None


@dataclass(frozen=True, slots=True)
class ShowTask:
    """Write the status of a task; None: it is gone, from this worker and from the config topic."""

    task: TaskId
    status: Status | None


Action = (
    MakeTaskConfigs
    | WriteTaskConfigs
    | FenceTasks
    | StartTask
    | PauseTask
    | ResumeTask
    | StopTask
    | KillTask
    | AskRestart
    | ShowConnector
    | ShowTask
)
