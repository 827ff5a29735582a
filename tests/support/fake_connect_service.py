"""A `ConnectService` in memory, without tasks: enough to see what REST makes of requests and answers."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import SecretStr

from connect.api import Config, Definition, setting
from connect.runtime.loggers import Loggers
from connect.runtime.service import (
    BadRequest,
    ConfigValue,
    Conflict,
    ConnectorInfo,
    ConnectorStatus,
    InstanceStatus,
    NotFound,
    Offsets,
    PluginInfo,
    Sample,
    State,
    TargetState,
    Validation,
)

SOURCE = "org.example.ExampleSourceConnector"
_STATES = {
    TargetState.STARTED: State.RUNNING,
    TargetState.PAUSED: State.PAUSED,
    TargetState.STOPPED: State.STOPPED,
}


class ExampleConfig(Config):
    topic: str = setting("topic", doc="Where to write.")
    door_code: SecretStr | None = setting("door.code", default=None, doc="Not named like a secret.")
    pass_token: str = setting("pass.token", default="", doc="Named like a secret, but none.")


class FakeConnectService:
    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.loggers = Loggers()
        self.cluster_levels: dict[str, str] = {}
        self.kafka_cluster_id: str | None = "cluster-1"
        self.health = (200, "Worker has completed startup and is ready to handle requests.")
        self.configs: dict[str, dict[str, str]] = {}
        self.states: dict[str, TargetState] = {}
        self.stored_offsets: dict[str, list[tuple[dict[str, Any], dict[str, Any]]]] = {}
        self.restarts: list[tuple[str, bool, bool]] = []
        self.failed: dict[str, str] = {}
        self.samples: list[Sample] = []
        self.task_metrics_shown: dict[str, float] | None = None

    def _config(self, name: str) -> dict[str, str]:
        if name not in self.configs:
            raise NotFound(f"Connector {name} not found")
        return self.configs[name]

    async def leader_url(self) -> str | None:
        return None

    def owner_url(self, name: str, task_id: int) -> str | None:
        return None

    async def ask_peer(self, worker_id: str, path: str) -> Any:
        raise NotFound(f"There is no worker {worker_id} in group g")

    async def set_cluster_log_level(self, namespace: str, level: str) -> None:
        self.cluster_levels[namespace] = level

    def connectors(self) -> list[str]:
        return list(self.configs)

    def info(self, name: str) -> ConnectorInfo:
        return ConnectorInfo(name, self._config(name), [0], "source")

    def status(self, name: str) -> ConnectorStatus:
        if name not in self.configs:
            raise NotFound(f"No status found for connector {name}")
        state = _STATES[self.states[name]]
        task = InstanceStatus(state, "127.0.0.1:8083", "1.0", metrics=self.task_metrics_shown)
        if name in self.failed:
            task = InstanceStatus(State.FAILED, "127.0.0.1:8083", "1.0", self.failed[name])
        return ConnectorStatus(name, InstanceStatus(state, "127.0.0.1:8083", "1.0"), {0: task}, "source")

    def metrics(self) -> list[Sample]:
        return self.samples

    def task_metrics(self) -> dict[str, dict[str, dict[str, float]]]:
        return {name: {"0": self.task_metrics_shown} for name in self.configs if self.task_metrics_shown}

    async def complete(self, statuses: Sequence[ConnectorStatus]) -> Sequence[ConnectorStatus]:
        return statuses

    def task_configs(self, name: str) -> Mapping[int, Mapping[str, str]]:
        return {0: {**self._config(name), "task.class": "org.example.Task"}}

    def active_topics(self, name: str) -> list[str]:
        return ["t1"] if name in self.configs else []

    async def reset_active_topics(self, name: str) -> None:
        return

    async def create(
        self, name: str, config: Mapping[str, str], initial_state: TargetState = TargetState.STARTED
    ) -> ConnectorInfo:
        if name in self.configs:
            raise Conflict(f"Connector {name} already exists")
        if "connector.class" not in config:
            raise BadRequest("Connector config contains no connector type")
        self.configs[name] = dict(config)
        self.states[name] = initial_state
        return replace(self.info(name), warnings=self.warnings)

    async def put_config(self, name: str, config: Mapping[str, str]) -> tuple[bool, ConnectorInfo]:
        created = name not in self.configs
        self.configs[name] = dict(config)
        self.states.setdefault(name, TargetState.STARTED)
        return created, self.info(name)

    async def patch_config(self, name: str, patch: Mapping[str, str | None]) -> ConnectorInfo:
        merged = {**self._config(name), **patch}
        self.configs[name] = {key: value for key, value in merged.items() if value is not None}
        return self.info(name)

    async def delete(self, name: str) -> None:
        self._config(name)
        del self.configs[name]

    async def set_target_state(self, name: str, state: TargetState) -> None:
        if name not in self.configs:
            raise NotFound(f"Unknown connector {name}")
        self.states[name] = state

    async def restart(self, name: str, include_tasks: bool, only_failed: bool) -> ConnectorStatus:
        if name not in self.configs:
            raise NotFound(f"Unknown connector: {name}")
        self.restarts.append((name, include_tasks, only_failed))
        return self.status(name)

    async def restart_task(self, name: str, task_id: int) -> None:
        if task_id != 0:
            raise NotFound(f"Unknown task: {name}-{task_id}")

    async def offsets(self, name: str) -> Offsets:
        self._config(name)
        return self.stored_offsets.get(name, [])

    async def alter_offsets(self, name: str, offsets: Offsets) -> str:
        self._config(name)
        self.stored_offsets[name] = [(dict(key), dict(value)) for key, value in offsets if value is not None]
        return "The offsets for this connector have been altered successfully"

    async def reset_offsets(self, name: str) -> str:
        self._config(name)
        self.stored_offsets.pop(name, None)
        return "The offsets for this connector have been reset successfully"

    async def plugins(self, connectors_only: bool) -> list[PluginInfo]:
        found = [PluginInfo(SOURCE, "source", "1.0")]
        return found if connectors_only else [*found, PluginInfo("org.example.Cast", "transformation", None)]

    async def plugin_definitions(self, plugin: str, version: str | None = None) -> list[Definition]:
        if version not in (None, "1.0"):
            raise BadRequest(f"no version {version}")
        if plugin != SOURCE:
            raise NotFound(f"Unknown plugin {plugin}.")
        return list(ExampleConfig.definitions().values())

    async def validate(self, plugin: str, config: Mapping[str, str]) -> Validation:
        _, errors = ExampleConfig.examine(config)
        unknown = [name for name in ExampleConfig.unknown(config) if name != "connector.class"]
        known = list(ExampleConfig.definitions().values())
        values = [
            ConfigValue(
                one.name,
                one.show(config.get(one.name)),
                [error.message for error in errors if error.name == one.name],
            )
            for one in known
        ]
        return Validation(
            name=plugin,
            error_count=len(errors),
            groups=["Common"],
            definitions=[*known, *(None for _ in unknown)],
            values=[*values, *(ConfigValue(name, config[name]) for name in unknown)],
            warnings=[f"{name} is not a setting of {plugin}" for name in unknown],
        )
