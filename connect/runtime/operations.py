"""What the worker does for whoever operates it: the implementation of `service.ConnectService`."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final

import orjson

from connect.api import ConfigError, ConnectError, Definition
from connect.herder.herder import Herder
from connect.herder.states import State, TargetState, TaskId
from connect.runtime.catalog import PluginCatalog
from connect.runtime.client_overrides import FENCING_S
from connect.runtime.cluster import Cluster
from connect.runtime.config import WorkerConfig
from connect.runtime.definitions import definition_from_json
from connect.runtime.loggers import Loggers
from connect.runtime.offset_format import merged
from connect.runtime.peer_metrics import PeerMetrics
from connect.runtime.peers import Interrupted, Peers, Unreachable
from connect.runtime.plugin_hosts import PluginFailed, PluginHosts
from connect.runtime.service import (
    REQUEST_TIMEOUT_S,
    BadRequest,
    ConfigValue,
    Conflict,
    ConnectorInfo,
    ConnectorStatus,
    Forbidden,
    InstanceStatus,
    NotFound,
    NotMine,
    Offsets,
    PluginInfo,
    Sample,
    ServiceError,
    Validation,
)
from connect.runtime.sink_offsets import sink_offset_changes
from connect.runtime.stores import ConfigStore, OffsetStore, Shown, StatusStore
from connect.runtime.supervisor import Supervisor

_PEER_S: Final = 5.0
_INVALID_HEAD: Final = "Connector configuration is invalid and contains the following {} error(s):"
_INVALID_TAIL: Final = (
    "You can also find the above list of errors at the endpoint "
    "`/connector-plugins/{connectorType}/config/validate`"
)
_EXTERNAL_OFFSETS: Final = (
    "The Connect framework-managed offsets for this connector have been {} successfully. However, if this "
    "connector manages offsets externally, they will need to be manually {} in the system that the connector "
    "uses."
)


class Operations:
    """One worker's operations. Changes of one connector are made one after the other."""

    def __init__(
        self,
        worker: WorkerConfig,
        worker_id: str,
        herder: Herder,
        configs: ConfigStore,
        offsets: OffsetStore,
        statuses: StatusStore,
        supervisor: Supervisor,
        hosts: PluginHosts,
        catalog: PluginCatalog,
        cluster: Cluster,
        peers: Peers,
    ) -> None:
        self._worker = worker
        self._worker_id = worker_id
        self._herder = herder
        self._configs = configs
        self._offsets = offsets
        self._statuses = statuses
        self._supervisor = supervisor
        self._hosts = hosts
        self._catalog = catalog
        self._cluster = cluster
        self._peers = peers
        self._peer_metrics = PeerMetrics(worker_id, self.ask_peer)
        self._locks: dict[str, asyncio.Lock] = {}
        self.loggers = Loggers()

    # Other workers

    async def leader_url(self) -> str | None:
        view = self._cluster.view
        if view.leader_id is None:
            async with _in_time():
                await self._supervisor.wait_until(
                    lambda: self._cluster.view.leader_id is not None, REQUEST_TIMEOUT_S
                )
            view = self._cluster.view
        return None if view.leads else view.urls[str(view.leader_id)]

    def owner_url(self, name: str, task_id: int) -> str | None:
        return self._cluster.owner_url(TaskId(name, task_id))

    async def ask_peer(self, worker_id: str, path: str) -> Any:
        url = self._cluster.view.urls.get(worker_id)
        if url is None:
            raise NotFound(f"There is no worker {worker_id} in group {self._worker.group_id}")
        try:
            answer = await self._peers.send("GET", f"{url}{path}", headers={}, seconds=_PEER_S)
            found = orjson.loads(answer.body)
        except (Unreachable, Interrupted, ValueError) as exc:
            raise ServiceError(f"Worker {worker_id} cannot be asked: {exc}") from None
        if answer.status >= 400:
            raise ServiceError(f"Worker {worker_id} answered {answer.status}: {found}")
        return found

    # Reading

    def connectors(self) -> Sequence[str]:
        return list(self._herder.config.connectors)

    def info(self, name: str) -> ConnectorInfo:
        config = self._config(name)
        type_ = self._catalog.type_of(config.get("connector.class"))
        return ConnectorInfo(name, config, range(len(self._herder.config.tasks.get(name, ()))), type_)

    def status(self, name: str) -> ConnectorStatus:
        config = self._herder.config.connectors.get(name)
        if config is None:
            raise NotFound(f"No status found for connector {name}")
        version = self._catalog.version(config.get("connector.class"))
        shown = self._statuses.tasks_of(name)
        numbers = shown.keys() | set(range(self._herder.config.task_count(name)))
        tasks = {
            number: replace(
                self._instance(shown.get(number), version),
                metrics=self._supervisor.metrics.shown(TaskId(name, number)),
            )
            for number in sorted(numbers)
        }
        connector = self._instance(self._statuses.connector(name), version)
        type_ = self._catalog.type_of(config.get("connector.class"))
        return ConnectorStatus(name, connector, tasks, type_)

    def metrics(self) -> Iterable[Sample]:
        connectors = self._herder.config.connectors
        classes = {
            name: self._catalog.class_name(str(config.get("connector.class")))
            for name, config in connectors.items()
        }
        statuses = [self.status(name) for name in connectors]
        return self._supervisor.metrics.samples(statuses, classes, self._worker_id)

    def task_metrics(self) -> Mapping[str, Mapping[str, Mapping[str, float]]]:
        return self._supervisor.metrics.all_shown()

    async def complete(self, statuses: Sequence[ConnectorStatus]) -> Sequence[ConnectorStatus]:
        return await self._peer_metrics.complete(statuses)

    def task_configs(self, name: str) -> Mapping[int, Mapping[str, str]]:
        self._config(name)
        tasks: Sequence[Mapping[str, Any]] = self._herder.config.tasks.get(name, ())
        return dict(enumerate(tasks))

    def active_topics(self, name: str) -> Sequence[str]:
        if not self._worker.topic_tracking_enable:
            raise Forbidden("Topic tracking is disabled.")
        return self._statuses.topics(name)

    async def plugins(self, connectors_only: bool) -> Sequence[PluginInfo]:
        return await self._catalog.infos(connectors_only)

    async def plugin_definitions(self, plugin: str, version: str | None = None) -> Sequence[Definition]:
        definitions = await self._catalog.definitions(plugin)
        try:
            self._catalog.check_version(plugin, version)
        except ConfigError as exc:
            raise BadRequest(str(exc)) from exc
        return definitions

    def _config(self, name: str) -> Mapping[str, Any]:
        try:
            return self._herder.config.connectors[name]
        except KeyError:
            raise NotFound(f"Connector {name} not found") from None

    def _instance(self, shown: Shown | None, version: str | None) -> InstanceStatus:
        if shown is None:  # known, and not taken up yet
            return InstanceStatus(State.UNASSIGNED, self._worker_id, version)
        return InstanceStatus(
            shown.state, shown.worker_id, shown.version or version, shown.trace, shown.restarts
        )

    # Changing

    async def set_cluster_log_level(self, namespace: str, level: str) -> None:
        async with _in_time():
            await self._configs.put_log_level(namespace, level)  # in force once it has been read back

    async def reset_active_topics(self, name: str) -> None:
        if not self._worker.topic_tracking_enable:
            raise Forbidden("Topic tracking is disabled.")
        if not self._worker.topic_tracking_allow_reset:
            raise Forbidden("Topic tracking reset is disabled.")
        self._statuses.forget_topics(name)
        self._supervisor.forget_topics(name)

    async def create(
        self, name: str, config: Mapping[str, str], initial_state: TargetState = TargetState.STARTED
    ) -> ConnectorInfo:
        async with self._changing(name):
            checked, warnings = await self._checked(name, config)
            if name in self._herder.config.connectors:
                raise Conflict(f"Connector {name} already exists")
            # Also over what a deletion that was cut short left of an older connector.
            if initial_state is not self._herder.config.target(name):
                await self._configs.put_target(name, initial_state)
            await self._configs.put_connector(name, checked)
            type_ = self._catalog.type_of(checked.get("connector.class"))
            info = ConnectorInfo(name, checked, (), type_, warnings)
        self._supervisor.wake()
        return info

    async def put_config(self, name: str, config: Mapping[str, str]) -> tuple[bool, ConnectorInfo]:
        async with self._changing(name):
            created = name not in self._herder.config.connectors
            checked, warnings = await self._checked(name, config)
            await self._configs.put_connector(name, checked)
        self._supervisor.wake()
        return created, replace(self.info(name), warnings=warnings)

    async def patch_config(self, name: str, patch: Mapping[str, str | None]) -> ConnectorInfo:
        async with self._changing(name):
            config = {**self._config(name), **patch}
            for key, value in patch.items():
                if value is None:
                    del config[key]
            checked, warnings = await self._checked(name, config)
            await self._configs.put_connector(name, checked)
        self._supervisor.wake()
        return replace(self.info(name), warnings=warnings)

    async def delete(self, name: str) -> None:
        async with self._changing(name):
            self._config(name)
            await self._configs.remove_connector(name)
            self._supervisor.wake()
            await self._supervisor.wait_until(
                lambda: self._herder.connector_status(name) is None, REQUEST_TIMEOUT_S
            )

    async def set_target_state(self, name: str, state: TargetState) -> None:
        if name not in self._herder.config.connectors:
            raise NotFound(f"Unknown connector {name}")
        async with self._changing(name):
            if state is TargetState.STOPPED:
                await self._configs.put_stopped(name)
            else:
                await self._configs.put_target(name, state)
        self._supervisor.wake()

    async def restart(self, name: str, include_tasks: bool, only_failed: bool) -> ConnectorStatus:
        if name not in self._herder.config.connectors:
            raise NotFound(f"Unknown connector: {name}")
        async with self._changing(name):
            now = self.status(name)
            if include_tasks or only_failed:
                await self._configs.put_restart(name, include_tasks, only_failed)
            else:
                self._herder.restart_connector(name, include_tasks=False, only_failed=False)
        self._supervisor.wake()

        def after(status: InstanceStatus, included: bool) -> InstanceStatus:
            is_due = included and (not only_failed or status.state is State.FAILED)
            return replace(status, state=State.RESTARTING) if is_due else status

        tasks = {number: after(status, include_tasks) for number, status in now.tasks.items()}
        return ConnectorStatus(name, after(now.connector, True), tasks, now.type)

    async def restart_task(self, name: str, task_id: int) -> None:
        if name not in self._herder.config.connectors:
            raise NotFound(f"Unknown connector: {name}")
        task = TaskId(name, task_id)
        if task not in self._herder.tasks_of(name):
            if self._herder.config.wants(task):
                raise NotMine(f"Task {task} does not run on worker {self._worker_id}")
            raise NotFound(f"Unknown task: {task}")
        self._herder.restart_task(task)
        self._supervisor.wake()

    # Offsets

    async def offsets(self, name: str) -> Offsets:
        config = self._config(name)
        async with _in_time():
            if self._catalog.type_of(config.get("connector.class")) == "sink":
                found = await self._ask("group_offsets", name, config)
                return [
                    ({"kafka_topic": topic, "kafka_partition": partition}, {"kafka_offset": offset})
                    for topic, partition, offset in found
                ]
            return await self._source_offsets(name, config)

    async def alter_offsets(self, name: str, offsets: Offsets) -> str:
        async with self._changing(name):
            config = await self._stopped_config(name)
            if not offsets:
                raise BadRequest("Partitions / offsets need to be provided for an alter offsets request")
            if self._catalog.type_of(config.get("connector.class")) == "sink":
                changes = sink_offset_changes(offsets)
                await self._ask("alter_group_offsets", name, config, offsets=changes)
                return "The offsets for this connector have been altered successfully"
            return await self._alter_source_offsets(name, config, offsets, "altered")

    async def reset_offsets(self, name: str) -> str:
        async with self._changing(name):
            config = await self._stopped_config(name)
            if self._catalog.type_of(config.get("connector.class")) == "sink":
                await self._ask("reset_group_offsets", name, config)
                return "The offsets for this connector have been reset successfully"
            stored = await self._source_offsets(name, config)
            nothing: Offsets = [(partition, None) for partition, _ in stored]
            return await self._alter_source_offsets(name, config, nothing, "reset")

    async def _alter_source_offsets(
        self, name: str, config: Mapping[str, Any], offsets: Offsets, what: str
    ) -> str:
        if any(partition is None for partition, _ in offsets):
            raise ServiceError("Partition objects cannot be null")
        answer = await self._ask("alter_offsets", name, config, offsets=list(offsets))
        await self._write_source_offsets(name, config, offsets)
        if answer["done"]:
            return f"The offsets for this connector have been {what} successfully"
        return _EXTERNAL_OFFSETS.format(what, what)

    def _has_own_topic(self, config: Mapping[str, Any]) -> bool:
        """Whether a source's offsets may be elsewhere than in the worker's topic (KIP-618)."""
        if self._worker.standalone:
            return False
        elsewhere = "producer.override.bootstrap.servers" in config or (
            "producer.bootstrap.servers" in self._worker.originals
        )
        return bool(config.get("offsets.storage.topic")) or (self._worker.exactly_once and elsewhere)

    async def _source_offsets(self, name: str, config: Mapping[str, Any]) -> Offsets:
        await self._offsets.map.barrier()
        own = await self._ask("source_offsets", name, config) if self._has_own_topic(config) else ()
        return merged(self._offsets.offsets(name), own)

    async def _write_source_offsets(self, name: str, config: Mapping[str, Any], offsets: Offsets) -> None:
        """To the topic that counts, and to the worker's, where readers look for what is not in the other: so
        what is to be forgotten is forgotten there first."""
        has_own = self._has_own_topic(config)
        if not has_own and not self._worker.exactly_once:
            await self._offsets.put(name, offsets)
            return
        if self._worker.exactly_once and (tasks := self._herder.config.fenced_tasks.get(name)):
            await self._ask("fence", name, config, tasks=tasks, timeout_s=FENCING_S)
        if has_own:
            await self._offsets.put(name, [pair for pair in offsets if pair[1] is None])
        answer = await self._ask("write_source_offsets", name, config, offsets=list(offsets))
        if answer["own"]:
            await self._offsets.put(name, [pair for pair in offsets if pair[1] is not None])

    async def _stopped_config(self, name: str) -> Mapping[str, Any]:
        """The config of a connector that is STOPPED, its tasks too."""
        config = self._config(name)
        if self._herder.config.target(name) is not TargetState.STOPPED:
            raise BadRequest(
                "Connectors must be in the STOPPED state before their offsets can be modified. This can be "
                "done for the specified connector by issuing a 'PUT' request to the "
                f"'/connectors/{name}/stop' endpoint"
            )
        await self._supervisor.wait_until(lambda: not self._herder.may_run(name), REQUEST_TIMEOUT_S)
        return config

    # Validating

    async def validate(self, plugin: str, config: Mapping[str, str]) -> Validation:
        asked = self._catalog.plugins.find_connector(plugin)
        given = self._catalog.plugins.find_connector(config.get("connector.class") or "")
        if asked is None or given != asked:
            included = config.get("connector.class")
            raise BadRequest(f"Included connector type {included} does not match request type {plugin}")
        await self._known(plugin)
        async with _in_time():
            return await self._validation(config, look_outside=True)

    async def _checked(self, name: str, config: Mapping[str, Any]) -> tuple[dict[str, Any], Sequence[str]]:
        """The config to be stored, and what to warn of; raises `BadRequest` with all that is wrong with it.
        The warnings are told then too: an unknown setting may be the missing one, misspelled."""
        named = {**config, "name": config.get("name", name)}
        if named.get("connector.class") is None:
            # Names only: a value may be a secret.
            raise BadRequest(f"Connector config {{{', '.join(named)}}} contains no connector type")
        class_name = named["connector.class"]
        if not await self._known(class_name):
            installed = await self._catalog.infos(connectors_only=True)
            known = ", ".join(info.class_name for info in installed)
            raise BadRequest(
                "Failed to find any class that implements Connector and which name matches "
                f"{class_name}, available connectors are: {known}"
            )
        validation = await self._validation(named, look_outside=True)
        errors = [error for value in validation.values for error in value.errors]
        if errors:
            lines = [_INVALID_HEAD.format(len(errors)), *errors, *validation.warnings, _INVALID_TAIL]
            raise BadRequest("\n".join(lines))
        return named, validation.warnings

    async def _known(self, class_name: str) -> bool:
        try:
            return await self._catalog.know(class_name)
        except ConfigError as exc:
            raise BadRequest(str(exc)) from exc

    async def _validation(self, config: Mapping[str, Any], *, look_outside: bool) -> Validation:
        answer = await self._ask("validate", config.get("name") or "", config, look_outside=look_outside)
        told = answer["validation"]
        values = [ConfigValue(**value) for value in told["values"]]
        definitions = [d and definition_from_json(d) for d in answer["definitions"]]
        return Validation(
            told["name"], told["error_count"], told["groups"], definitions, values, told["warnings"]
        )

    # Helpers

    async def _ask(self, op: str, name: str, config: Mapping[str, Any], **fields: Any) -> Any:
        try:
            return await self._hosts.ask(op, connector=name, config=config, **fields)
        except ConfigError as exc:
            raise BadRequest(str(exc)) from exc
        except PluginFailed as exc:
            raise ServiceError(str(exc)) from exc

    @asynccontextmanager
    async def _changing(self, name: str) -> AsyncIterator[None]:
        """One change of a connector at a time, within the time that a request may take."""
        lock = self._locks.setdefault(name, asyncio.Lock())
        async with _in_time(), lock:
            self._cluster.check_lease()
            if not self._herder.leads:
                raise NotMine(f"Worker {self._worker_id} does not lead its group")
            yield


@asynccontextmanager
async def _in_time() -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(REQUEST_TIMEOUT_S):
            yield
    except TimeoutError:
        raise ServiceError(
            f"Request timed out: the worker could not settle it in {REQUEST_TIMEOUT_S:g} s; "
            "see GET /health and the worker's log"
        ) from None
    except ConnectError as exc:
        raise ServiceError(str(exc)) from exc
