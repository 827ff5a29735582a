"""What the worker does for whoever operates it: the REST layer speaks to this and to nothing else.

Every call may be made at any time; a call that must wait for tasks to settle waits without holding up
others. Refusals are `ServiceError`s, which carry the HTTP status that Kafka Connect answers with.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, NamedTuple, Protocol

from connect.api import Definition
from connect.herder.actions import Restarts
from connect.herder.states import State as State
from connect.herder.states import TargetState as TargetState
from connect.runtime.loggers import Loggers

REQUEST_TIMEOUT_S: Final = 90.0


class ServiceError(Exception):
    """A request that was refused; the text is for the user."""

    status: ClassVar[int] = 500


class BadRequest(ServiceError):
    status = 400


class Forbidden(ServiceError):
    """Switched off by a setting of the worker."""

    status = 403


class NotFound(ServiceError):
    status = 404


class Conflict(ServiceError):
    """Already there, or not possible in the connector's present state."""

    status = 409


class NotMine(Conflict):
    """Another worker's to do: this one does not lead any more, or does not run the task. Nothing was done."""


@dataclass(frozen=True, slots=True)
class ConnectorInfo:
    """`config` holds what the user wrote, `${…}` unresolved; secrets are not masked here."""

    name: str
    config: Mapping[str, str]
    task_ids: Sequence[int]
    type: str  # "source", "sink" or "unknown"
    warnings: Sequence[str] = ()  # of the config that was just written


@dataclass(frozen=True, slots=True)
class InstanceStatus:
    """The state of a connector or of a task. `trace` is why it failed; `restarts`, on the wall clock, is
    there while its restart budget is in use."""

    state: State
    worker_id: str
    version: str | None = None
    trace: str | None = None
    restarts: Restarts | None = None
    metrics: Mapping[str, float] | None = None  # of a task that runs in this worker: rates, lag, errors


@dataclass(frozen=True, slots=True)
class ConnectorStatus:
    name: str
    connector: InstanceStatus
    tasks: Mapping[int, InstanceStatus]
    type: str


@dataclass(frozen=True, slots=True)
class PluginInfo:
    """`type` is source, sink, converter, header_converter, transformation or predicate."""

    class_name: str
    type: str
    version: str | None


@dataclass(frozen=True, slots=True)
class ConfigValue:
    """One setting as validated; `value` is as text, secrets hidden."""

    name: str
    value: str | None
    errors: Sequence[str] = ()
    recommended: Sequence[str] = ()
    visible: bool = True


@dataclass(frozen=True, slots=True)
class Validation:
    """The answer to a validate call; `definitions[i]` belongs to `values[i]` and is None for unknown keys."""

    name: str
    error_count: int
    groups: Sequence[str]
    definitions: Sequence[Definition | None]
    values: Sequence[ConfigValue]
    warnings: Sequence[str] = field(default_factory=tuple)


Labels = Mapping[str, str]


class Sample(NamedTuple):
    """One metric; `name` and labels as Prometheus has them, `kind` is gauge or counter."""

    name: str
    kind: str
    labels: Labels
    value: float


Offsets = Sequence[tuple[Mapping[str, Any], Mapping[str, Any] | None]]


class ConnectService(Protocol):
    """The worker, as REST sees it. Unknown connectors and tasks raise `NotFound`."""

    @property
    def kafka_cluster_id(self) -> str | None: ...

    @property
    def health(self) -> tuple[int, str]:
        """(200, …) healthy, (503, …) starting, (500, …) unhealthy, with one sentence why (KIP-1017)."""
        ...

    @property
    def loggers(self) -> Loggers:
        """Those of this worker's own process."""
        ...

    async def set_cluster_log_level(self, namespace: str, level: str) -> None:
        """Set the level of these loggers in every worker that runs now (KIP-976)."""
        ...

    async def leader_url(self) -> str | None:
        """Where the worker's REST is that makes changes; None: here. Waits while there is no leader."""
        ...

    def owner_url(self, name: str, task_id: int) -> str | None:
        """Where the task runs, as the leader knows; None: here, or nowhere."""
        ...

    async def ask_peer(self, worker_id: str, path: str) -> Any:
        """What another worker answers to a GET (JSON); `NotFound` for a worker that is not in the group."""
        ...

    def connectors(self) -> Sequence[str]: ...

    def info(self, name: str) -> ConnectorInfo: ...

    def status(self, name: str) -> ConnectorStatus: ...

    def metrics(self) -> Iterable[Sample]:
        """Those of this worker and its tasks."""
        ...

    def task_metrics(self) -> Mapping[str, Mapping[str, Mapping[str, float]]]:
        """What statuses show of the tasks that run here: connector → task → fields."""
        ...

    async def complete(self, statuses: Sequence[ConnectorStatus]) -> Sequence[ConnectorStatus]:
        """The same with the metrics of tasks in other workers, of those that answer at once."""
        ...

    def task_configs(self, name: str) -> Mapping[int, Mapping[str, str]]: ...

    def active_topics(self, name: str) -> Sequence[str]: ...

    async def reset_active_topics(self, name: str) -> None: ...

    async def create(
        self, name: str, config: Mapping[str, str], initial_state: TargetState = TargetState.STARTED
    ) -> ConnectorInfo:
        """Deploy a new connector; `BadRequest` for a bad config, `Conflict` if the name is taken."""
        ...

    async def put_config(self, name: str, config: Mapping[str, str]) -> tuple[bool, ConnectorInfo]:
        """Create or change; (True, …) if created."""
        ...

    async def patch_config(self, name: str, patch: Mapping[str, str | None]) -> ConnectorInfo: ...

    async def delete(self, name: str) -> None: ...

    async def set_target_state(self, name: str, state: TargetState) -> None: ...

    async def restart(self, name: str, include_tasks: bool, only_failed: bool) -> ConnectorStatus: ...

    async def restart_task(self, name: str, task_id: int) -> None: ...

    async def offsets(self, name: str) -> Offsets: ...

    async def alter_offsets(self, name: str, offsets: Offsets) -> str:
        """Set offsets of a STOPPED connector; the sentence that Connect answers with."""
        ...

    async def reset_offsets(self, name: str) -> str: ...

    async def plugins(self, connectors_only: bool) -> Sequence[PluginInfo]: ...

    async def plugin_definitions(self, plugin: str, version: str | None = None) -> Sequence[Definition]:
        """`version` is a version or a range (KIP-891); `BadRequest` if the one there is does not match."""
        ...

    async def validate(self, plugin: str, config: Mapping[str, str]) -> Validation: ...
