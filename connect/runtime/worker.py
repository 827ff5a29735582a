"""The worker: everything put together, from its settings. Serves `ConnectService` while it runs."""

import asyncio
import logging
from collections.abc import Mapping
from functools import partial
from typing import Any

from connect.api import ConnectError
from connect.herder.config_state import CONNECTOR_PREFIX, LOGGER_PREFIX
from connect.herder.herder import Herder
from connect.runtime.addresses import advertised_url
from connect.runtime.backing import backing_of
from connect.runtime.catalog import PluginCatalog
from connect.runtime.config import WorkerConfig
from connect.runtime.forks import ForkServer
from connect.runtime.group_members import GroupMembers
from connect.runtime.kafka_clients import aiokafka_settings
from connect.runtime.leader_producer import LeaderProducer
from connect.runtime.loggers import LEVELS
from connect.runtime.operations import Operations
from connect.runtime.peers import Peers
from connect.runtime.plugin_hosts import PluginHosts
from connect.runtime.plugins import Plugins, plugin_directories
from connect.runtime.stores import ConfigStore, OffsetStore, StatusStore
from connect.runtime.supervisor import Supervisor, task_config

_LOG = logging.getLogger(__name__)


class Worker(Operations):
    """One worker, of a cluster or standalone. `settings` are Kafka Connect's worker properties; a bad one
    raises `ConfigError`. `start` and `stop` once each, in the event loop that then serves the calls. `forks`
    may have been forked off already."""

    def __init__(
        self, settings: Mapping[str, str], peers: Peers | None = None, forks: ForkServer | None = None
    ) -> None:
        worker = WorkerConfig.parse(settings)
        client = aiokafka_settings(worker.own_client())
        directories = plugin_directories(worker.plugin_path)
        self._forks = forks or ForkServer()
        self._forks.python_path, self._forks.log_level = directories, worker.log_level
        plugins = Plugins.discover(directories)
        hosts = PluginHosts(self._forks, worker.originals, worker.plugin_timeout_ms / 1000)
        catalog = PluginCatalog(plugins, hosts)
        herder = Herder(
            lambda config: task_config(worker, config).restart_policy,
            worker.task_shutdown_timeout_ms,
            lambda config: worker.exactly_once and catalog.type_of(config.get("connector.class")) != "sink",
        )
        url = advertised_url(worker)
        worker_id = url.partition("://")[2]  # host:port, as Connect names its workers in statuses
        self._backing = backing = backing_of(worker, client)
        self._members = GroupMembers(client)
        self._learning: set[asyncio.Task[None]] = set()
        self._state = "starting"
        self._cluster_id: str | None = None
        leader = None
        if worker.transactional_leader:
            leader = LeaderProducer(client, worker, lambda: backing.lease.holds)
        configs = ConfigStore(partial(backing.make_map, worker.config_topic), self._on_config_record, leader)
        offsets = OffsetStore(partial(backing.make_map, worker.offset_topic))
        statuses = StatusStore(partial(backing.make_map, worker.status_topic), worker_id)
        supervisor = Supervisor(
            worker, herder, configs, offsets, statuses, self._forks, hosts, catalog, self._members,
            backing.lease,
        )  # fmt: skip
        cluster = backing.make_group(worker_id, url, herder, configs, statuses, supervisor)
        supervisor.guard = cluster
        statuses.on_foreign = cluster.on_foreign_status
        statuses.on_topics_reset = supervisor.forget_topics
        super().__init__(
            worker,
            worker_id,
            herder,
            configs,
            offsets,
            statuses,
            supervisor,
            hosts,
            catalog,
            cluster,
            peers or Peers(),
        )

    @property
    def kafka_cluster_id(self) -> str | None:
        return self._cluster_id

    @property
    def health(self) -> tuple[int, str]:
        if self._state == "starting":
            return 503, "Worker is still starting up."
        if self._state == "stopping":
            return 503, "Worker is stopping."
        failures = [store.map.failure for store in (self._configs, self._offsets, self._statuses)]
        for failure in (*failures, self._cluster.failure, self._supervisor.failure):
            if failure is not None:
                return 500, f"Worker is unhealthy: {failure}"
        return 200, "Worker has completed startup and is ready to handle requests."

    async def start(self) -> None:
        """Read what is stored and take up the work where it was left. Raises `ConnectError` when Kafka cannot
        be reached in a minute."""
        self._forks.start()
        self._catalog.start()
        self._cluster_id = await self._backing.open()
        await self._learn_connectors()
        self._supervisor.start()
        await asyncio.gather(self._cluster.join(), self._catalog.loaded())
        self._state = "running"

    async def stop(self) -> None:
        """Stop all tasks, each within `task.shutdown.graceful.timeout.ms`, and close everything."""
        self._state = "stopping"
        for task in self._learning:
            task.cancel()
        await self._supervisor.stop(self._worker.task_shutdown_timeout_ms / 1000)
        await self._statuses.map.stop()
        await self._cluster.leave()
        for store in (self._configs, self._offsets):
            await store.map.stop()
        if self._configs.leader is not None:
            await self._configs.leader.stop()
        await self._members.close()
        await self._peers.close()
        await self._backing.close()
        await self._catalog.stop()
        await self._forks.stop()
        self._state = "stopped"

    def _on_config_record(self, key: str, value: Any) -> None:
        if key.startswith(LOGGER_PREFIX):
            self._on_log_level(key.removeprefix(LOGGER_PREFIX), value)
            return
        if self._herder.on_config_record(key, value):
            self._cluster.on_tasks_changed(self._configs.map.record_offset)
        if key.startswith(CONNECTOR_PREFIX) and self._state == "running":
            task = asyncio.create_task(self._learn_connectors())  # it may have come from another worker
            self._learning.add(task)
            task.add_done_callback(self._learning.discard)
        self._supervisor.wake()

    def _on_log_level(self, namespace: str, value: Any) -> None:
        """Levels hold until a worker ends: what was set before this one started is not for it."""
        if self._state != "running":
            return
        level = value.get("level") if isinstance(value, Mapping) else None
        if level in LEVELS:
            self.loggers.set_level(namespace, level)
        else:
            _LOG.warning("the level %r for the loggers %s is not known and is ignored", level, namespace)

    async def _learn_connectors(self) -> None:
        """Types and versions of deployed connectors that are not installed plugins."""
        classes = {config.get("connector.class") for config in self._herder.config.connectors.values()}
        for class_name in classes - {None}:
            try:
                await self._catalog.know(str(class_name))
            except ConnectError as exc:
                _LOG.warning("connector class %s cannot be used: %s", class_name, exc)
