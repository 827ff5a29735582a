"""The composition root: builds the broker from its parts, runs it, and takes it down in order.

    python -m broker.app --data-dir DIR --kafka-port PORT [--config FILE.properties] [--port-file FILE]

One line per listener on stdout when it serves, structured logs on stderr. SIGTERM and SIGINT stop it:
what is pending is answered, everything is synced, exit code 0. A setting, a port or a data directory
that cannot be used: one sentence, exit code 2.
"""

import argparse
import asyncio
import fcntl
import gc
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

if __name__ == "__main__":
    # kio and structlog import these if they are installed, for things nobody does here: 16 MB, 0.2 s.
    sys.modules.update({"hypothesis": None, "rich": None})  # type: ignore[dict-item]  # None: not importable

import structlog
import uvloop

from broker.catalog import Catalog, CatalogError
from broker.catalog.config_types import InvalidConfig
from broker.catalog.topic_config import TopicConfigs
from broker.config import BrokerSettings, Listener, SettingsError, load_settings
from broker.handlers.api_versions import ApiVersionsHandler
from broker.handlers.broker_configs import explicit_properties
from broker.handlers.cluster import ClusterHandler
from broker.handlers.configs import ConfigsHandler
from broker.handlers.fetch import FetchHandler
from broker.handlers.groups import GroupsHandler
from broker.handlers.init_producer_id import InitProducerIdHandler
from broker.handlers.list_offsets import ListOffsetsHandler
from broker.handlers.metadata import MetadataHandler
from broker.handlers.offset_for_leader_epoch import OffsetForLeaderEpochHandler
from broker.handlers.offsets import OffsetsHandler
from broker.handlers.produce import ProduceHandler
from broker.handlers.registry import ApiRegistry
from broker.handlers.topic_admin import TopicAdmin
from broker.handlers.topics import TopicsHandler
from broker.log.manager import LogManager
from broker.log.sync import GroupCommit
from broker.logs import configure_logging
from broker.properties import PropertiesError, read_properties
from broker.server.coordinators import GroupShell
from broker.server.housekeeping import Housekeeping
from broker.server.server import ListenError, Server

logger = structlog.get_logger(__name__)

USAGE_ERROR = 2
ANSWER_PENDING_S = 2.0
"""How long a stop waits for clients to take their last answers."""

GC_THRESHOLD = 50_000

Ready = Callable[[list[Listener]], None]


class DataDirInUse(Exception):
    """Another process has the data directory; the message names it and its process."""


async def serve(settings: BrokerSettings, *, ready: Ready) -> None:
    """Run a broker until SIGTERM or SIGINT. `ready` gets the listeners with their real ports.

    Raises DataDirInUse, CatalogError or ListenError when it cannot start.
    """
    lock = _lock(settings.data_dir)
    try:
        broker = _Broker(settings)
        try:
            await broker.run(ready)
        finally:
            await broker.stop()
    finally:
        os.close(lock)


class _Broker:
    """All parts, and the housekeeping that belongs to no single one of them."""

    def __init__(self, settings: BrokerSettings) -> None:
        self._settings = settings
        self._catalog = Catalog.open(settings.data_dir / "catalog.sqlite", node_id=settings.node_id)
        self._logs = LogManager(settings.data_dir)
        self._commits = GroupCommit()
        self._groups = GroupShell(self._catalog, settings)
        configs = TopicConfigs(explicit_properties(settings))
        self._admin = TopicAdmin(self._catalog, self._logs, self._groups, configs)
        self._registry = ApiRegistry()
        self._add_apis()
        self._server = Server(settings, self._registry)
        self._housekeeping = Housekeeping()

    def _add_apis(self) -> None:
        settings, catalog, logs = self._settings, self._catalog, self._logs
        for part in (
            ApiVersionsHandler(self._registry),
            ProduceHandler(catalog, logs, self._commits),
            FetchHandler(
                catalog,
                logs,
                max_bytes=settings.fetch_max_bytes,
                session_slots=settings.max_incremental_fetch_session_cache_slots,
            ),
            ListOffsetsHandler(catalog, logs),
            OffsetForLeaderEpochHandler(logs),
            InitProducerIdHandler(catalog),
            MetadataHandler(self._admin, settings),
            TopicsHandler(self._admin, settings),
            ConfigsHandler(self._admin, settings),
            ClusterHandler(catalog),
            GroupsHandler(self._groups, catalog.placement),
            OffsetsHandler(self._groups, catalog.topics, settings),
        ):
            self._registry.add(part.apis())

    async def run(self, ready: Ready) -> None:
        stopped = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopped.set)
        listeners = [listener for listener, _ in self._server.listen()]
        self._admin.open_logs()
        self._logs.finish_start()
        self._groups.start()
        settings = self._settings
        self._housekeeping.every(settings.log_retention_check_interval_ms, self._enforce_retention)
        self._housekeeping.every(settings.log_flush_offset_checkpoint_interval_ms, self._checkpoint)
        self._housekeeping.start()
        # What is there now stays: the collector need not look at it again and again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(GC_THRESHOLD)
        self._server.start()
        ready(listeners)
        await stopped.wait()
        logger.info("stopping")

    async def stop(self) -> None:
        """Answer, sync, and leave everything so that the next start is quick."""
        await self._server.close(ANSWER_PENDING_S)
        self._housekeeping.stop()
        self._groups.close()
        await self._commits.sync(list(self._logs))
        self._commits.close()
        self._logs.close()
        self._catalog.close()

    async def _enforce_retention(self) -> None:
        self._logs.enforce_retention(time.time_ns() // 1_000_000, self._settings.producer_id_expiration_ms)

    async def _checkpoint(self) -> None:
        """Sync what acks=1 has left unsynced, so that a start after a kill has little to read."""
        await self._commits.sync([log for log in self._logs if not log.is_synced])
        await asyncio.to_thread(self._logs.write_checkpoint, self._logs.recovery_points())


def _lock(data_dir: Path) -> int:
    """Take the data directory for this process, for as long as the returned descriptor is open."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        lock = os.open(data_dir / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as exc:
        raise DataDirInUse(f"cannot use the data directory {data_dir}: {exc.strerror}") from exc
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        holder = os.read(lock, 20).decode("ascii", "replace").strip() or "another process"
        os.close(lock)
        raise DataDirInUse(
            f"the data directory {data_dir} is in use by process {holder}: stop that one or choose another"
        ) from exc
    os.ftruncate(lock, 0)
    os.write(lock, f"{os.getpid()}\n".encode())
    return lock


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="millstream broker", description="Run the Millstream broker.")
    parser.add_argument("--data-dir", type=Path, help="where the topics are kept (log.dirs)")
    parser.add_argument(
        "--kafka-port", type=int, help="listen on this port of 127.0.0.1; 0 takes any free one"
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="a Kafka server.properties file")
    parser.add_argument("--port-file", type=Path, metavar="FILE", help="write the port in use to this file")
    return parser.parse_args(argv)


def _settings(arguments: argparse.Namespace) -> BrokerSettings:
    properties = read_properties(arguments.config) if arguments.config else {}
    if arguments.data_dir is not None:
        properties["log.dirs"] = str(arguments.data_dir)
    if arguments.kafka_port is not None:
        properties["listeners"] = f"PLAINTEXT://127.0.0.1:{arguments.kafka_port}"
    settings, warnings = load_settings(properties)
    for warning in warnings:
        logger.warning(warning)
    return settings


def _raise_file_limit() -> None:
    """A partition has a file open, and so has a connection."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main(argv: list[str] | None = None) -> int:
    """The exit code."""
    configure_logging()
    arguments = _arguments(argv)

    def ready(listeners: list[Listener]) -> None:
        for listener in listeners:
            sys.stdout.write(f"Kafka  {listener}\n")
        sys.stdout.flush()
        if arguments.port_file is not None:
            partial = arguments.port_file.with_name(arguments.port_file.name + ".tmp")
            partial.write_text(f"{listeners[0].port}\n")
            partial.replace(arguments.port_file)

    try:
        settings = _settings(arguments)
        _raise_file_limit()
        uvloop.run(serve(settings, ready=ready))
    except (SettingsError, InvalidConfig, PropertiesError, DataDirInUse, CatalogError, ListenError) as exc:
        sys.stderr.write(f"millstream broker: {exc}\n")
        return USAGE_ERROR
    return 0


if __name__ == "__main__":
    sys.exit(main())
