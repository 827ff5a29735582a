"""The composition root: builds the broker from its parts, runs it, and takes it down in order.

    python -m broker.app --data-dir DIR --kafka-port PORT [--config FILE.properties] [--port-file FILE]

One line per listener on stdout when it serves, structured logs on stderr. SIGTERM and SIGINT stop it:
what is pending is answered, everything is synced, exit code 0. A setting, a port or a data directory
that cannot be used: one sentence, exit code 2.
"""

import argparse
import asyncio
import gc
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

if __name__ == "__main__":
    gc.disable()  # while importing: all of it stays, and looking through it again and again takes a quarter
    # kio and structlog import these if they are installed, for things nobody does here: 16 MB, 0.2 s.
    sys.modules.update({"hypothesis": None, "rich": None})  # type: ignore[dict-item]  # None: not importable

import structlog
import uvloop

from broker.catalog import Catalog, CatalogError
from broker.catalog.config_types import InvalidConfig
from broker.catalog.producer_ids import ProducerIds
from broker.catalog.topic_config import TopicConfigs
from broker.config import BrokerSettings, Listener, SettingsError, load_settings
from broker.data_dir import DataDirInUse, lock_data_dir
from broker.handlers.alter_configs import AlterConfigsHandler
from broker.handlers.api_versions import ApiVersionsHandler
from broker.handlers.broker_configs import explicit_properties
from broker.handlers.cluster import ClusterHandler
from broker.handlers.configs import ConfigsHandler
from broker.handlers.consumer_groups import ConsumerGroupsHandler
from broker.handlers.delete_records import DeleteRecordsHandler
from broker.handlers.fetch import FetchHandler
from broker.handlers.group_configs import GroupConfigs
from broker.handlers.groups import GroupsHandler
from broker.handlers.init_producer_id import InitProducerIdHandler
from broker.handlers.list_offsets import ListOffsetsHandler
from broker.handlers.metadata import MetadataHandler
from broker.handlers.offset_for_leader_epoch import OffsetForLeaderEpochHandler
from broker.handlers.offsets import OffsetsHandler
from broker.handlers.produce import ProduceHandler
from broker.handlers.producers import ProducersHandler
from broker.handlers.registry import ApiRegistry
from broker.handlers.topic_admin import TopicAdmin
from broker.handlers.topic_partitions import TopicPartitionsHandler
from broker.handlers.topics import TopicsHandler
from broker.handlers.transaction_admin import TransactionAdminHandler
from broker.handlers.transactions import TransactionsHandler
from broker.handlers.txn_offset_commit import TxnOffsetCommitHandler
from broker.log.cleaner import Cleaner, CleanerSettings
from broker.log.manager import LogManager
from broker.log.sync import GroupCommit
from broker.logs import configure_logging
from broker.properties import PropertiesError, read_properties
from broker.server.coordinators import GroupShell
from broker.server.housekeeping import Housekeeping
from broker.server.server import ListenError, Server
from broker.server.transactions import TransactionShell

logger = structlog.get_logger(__name__)

USAGE_ERROR = 2
ANSWER_PENDING_S = 2.0
"""How long a stop waits for clients to take their last answers."""

REMOVE_FILES_INTERVAL_MS = 1000

GC_THRESHOLD = 50_000

Ready = Callable[[list[Listener]], None]


async def serve(settings: BrokerSettings, *, ready: Ready) -> None:
    """Run a broker until SIGTERM or SIGINT. `ready` gets the listeners with their real ports.

    Raises DataDirInUse, CatalogError or ListenError when it cannot start.
    """
    lock = lock_data_dir(settings.data_dir)
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
        self._transactions = TransactionShell(
            self._catalog, self._logs, self._commits, self._groups, settings
        )
        configs = TopicConfigs(explicit_properties(settings))
        self._admin = TopicAdmin(self._catalog, self._logs, self._groups, configs, GroupConfigs(settings))
        self._registry = ApiRegistry()
        self._add_apis()
        self._server = Server(settings, self._registry)
        self._housekeeping = Housekeeping()
        self._cleaner = Cleaner(
            self._logs,
            settings.data_dir,
            CleanerSettings(
                dedupe_buffer_bytes=settings.log_cleaner_dedupe_buffer_size,
                io_bytes_per_second=settings.log_cleaner_io_max_bytes_per_second,
            ),
        )

    def _add_apis(self) -> None:
        settings, catalog, logs = self._settings, self._catalog, self._logs
        producer_ids = ProducerIds(catalog)
        for part in (
            ApiVersionsHandler(self._registry),
            ProduceHandler(catalog, logs, self._commits, self._transactions),
            ProducersHandler(catalog, logs, self._commits),
            FetchHandler(
                catalog,
                logs,
                max_bytes=settings.fetch_max_bytes,
                session_slots=settings.max_incremental_fetch_session_cache_slots,
            ),
            ListOffsetsHandler(catalog, logs),
            DeleteRecordsHandler(catalog, logs, self._commits),
            OffsetForLeaderEpochHandler(logs),
            InitProducerIdHandler(producer_ids, self._transactions),
            TransactionsHandler(self._transactions, catalog.topics, producer_ids),
            TransactionAdminHandler(self._transactions),
            TxnOffsetCommitHandler(self._groups, self._transactions, catalog.topics, settings),
            MetadataHandler(self._admin, settings),
            TopicsHandler(self._admin, settings),
            TopicPartitionsHandler(catalog),
            ConfigsHandler(self._admin, settings),
            AlterConfigsHandler(self._admin),
            ClusterHandler(catalog),
            GroupsHandler(self._groups, catalog.placement),
            ConsumerGroupsHandler(self._groups, catalog.topics, settings),
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
        self._admin.load_group_configs()
        self._logs.finish_start()
        self._groups.start()
        self._transactions.start()
        settings = self._settings
        self._housekeeping.every(settings.log_retention_check_interval_ms, self._enforce_retention)
        self._housekeeping.every(settings.producer_id_expiration_check_interval_ms, self._expire_producers)
        self._housekeeping.every(REMOVE_FILES_INTERVAL_MS, self._logs.remove_deleted_files)
        if settings.log_cleaner_enable and settings.log_cleaner_threads:
            self._housekeeping.every(settings.log_cleaner_backoff_ms, self._cleaner.run)
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
        self._transactions.close()
        self._groups.close()
        await self._commits.sync(list(self._logs))
        self._commits.close()
        self._logs.close()
        self._catalog.close()

    async def _enforce_retention(self) -> None:
        await self._logs.enforce_retention(time.time_ns() // 1_000_000)

    async def _expire_producers(self) -> None:
        now_ms = time.time_ns() // 1_000_000
        await self._logs.expire_producers(now_ms - self._settings.producer_id_expiration_ms)

    async def _checkpoint(self) -> None:
        """Sync what acks=1 has left unsynced, so that a start after a kill has little to read."""
        await self._commits.sync([log for log in self._logs if not log.is_synced])
        await asyncio.to_thread(self._logs.write_checkpoint, self._logs.recovery_points())


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
    gc.enable()
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
