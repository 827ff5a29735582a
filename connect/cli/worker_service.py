"""The worker and its REST API in one event loop, from start to stop."""

import argparse
import asyncio
import contextlib
import os
import signal
import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import structlog
import uvicorn
from fastapi import FastAPI

from connect.api import ConnectError
from connect.cli.connector_files import ConnectorFile, read_connector
from connect.cli.connectors_dir import ConnectorsDirectory
from connect.cli.failure import FAILED, OK
from connect.cli.listeners import Listener, bind
from connect.rest.app import create_admin_app, create_app
from connect.rest.basic_auth import authorization, credentials
from connect.rest.forwarding import LeaderChanges
from connect.rest.settings import RestSettings
from connect.runtime.config import WorkerConfig
from connect.runtime.forks import ForkServer
from connect.runtime.idle_settings import IdleSettings
from connect.runtime.logs import configure_logging
from connect.runtime.peers import Peers
from connect.runtime.service import ServiceError
from connect.runtime.worker import Worker
from connect.runtime.worker_settings import doubts

log = structlog.get_logger(__name__)

# How long open requests may take once the worker is told to stop.
REST_STOP_SECONDS = 1
BROKER_WAIT_SECONDS = 10
BROKER_QUIET_SECONDS = 2


class _Config(uvicorn.Config):
    """One app; `context` where it is served over TLS."""

    def __init__(self, app: FastAPI, context: ssl.SSLContext | None) -> None:
        super().__init__(
            app,
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=REST_STOP_SECONDS,
        )
        self._context = context

    def load(self) -> None:
        super().load()
        self.ssl = self._context


class _Server(uvicorn.Server):
    """Some listeners of one kind. Leaves signals to us: they stop REST and the worker together."""

    def __init__(self, app: FastAPI, listeners: Sequence[Listener], context: ssl.SSLContext | None) -> None:
        super().__init__(_Config(app, context))
        self._sockets = [listener.socket for listener in listeners]

    async def run_until_told(self) -> None:
        await self.serve(self._sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _broker_listens(servers: Sequence[str]) -> None:
    """Wait until one of the brokers takes connections, looking often: `millstream up` starts it beside us.

    After a while anybody's first request says better what is wrong.
    """
    began = time.monotonic()
    told = False
    while (waited := time.monotonic() - began) < BROKER_WAIT_SECONDS:
        if waited > BROKER_QUIET_SECONDS and not told:
            told = True
            log.warning("waiting for Kafka", bootstrap_servers=",".join(servers))
        for server in servers:
            host, _, port = server.rpartition(":")
            try:
                _, writer = await asyncio.open_connection(host.strip("[]"), port)
            except OSError:
                continue
            writer.close()
            return
        await asyncio.sleep(0.01)


class WorkerService:
    """`options` are those of `worker_process`. Raises `ConfigError` and `BadFile`."""

    def __init__(self, properties: dict[str, str], options: argparse.Namespace, forks: ForkServer) -> None:
        settings = WorkerConfig.parse(properties)
        IdleSettings.parse(properties)
        configure_logging(settings.log_level)
        self._options = options
        self._bootstrap = settings.bootstrap_servers
        self._connectors = [read_connector(file) for file in options.connector_files]
        rest = RestSettings.parse(properties)
        self._listeners = bind(settings.listeners)
        # The worker names itself by its listener: with the port that it really has.
        listeners = ",".join(each.url for each in self._listeners)
        self._peers = Peers(lambda: _client_context(properties), authorization(credentials(rest)))
        self._worker = Worker({**properties, "listeners": listeners}, self._peers, forks)
        self._admin = bind(rest.admin_listeners or (), "admin.listeners")
        app = create_app(self._worker, rest, self._peers)
        self._servers = _servers(app, self._listeners, properties, "listeners")
        if self._admin:
            admin_app = create_admin_app(self._worker, rest)
            self._servers += _servers(admin_app, self._admin, properties, "admin.listeners")
        for name, why in doubts(properties, RestSettings.definitions()):
            log.warning("worker setting", setting=name, why=why)

    def run_until_told(self) -> int:
        """Until SIGTERM or SIGINT; the exit code."""
        return asyncio.run(self._run())

    async def _run(self) -> int:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        rest = asyncio.create_task(self._serve(), name="rest")
        work = asyncio.create_task(self._work(), name="work")
        told_to_stop = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({rest, work, told_to_stop}, return_when=asyncio.FIRST_COMPLETED)
            failure = next((t.exception() for t in (work, rest) if t.done() and t.exception()), None)
        finally:
            work.cancel()
            for server in self._servers:
                server.should_exit = True
            await asyncio.gather(self._worker.stop(), rest, work, return_exceptions=True)
        if failure is None:
            log.info("worker stopped")
            return OK
        log.error(
            "worker failed",
            exc_info=None if isinstance(failure, ConnectError) else failure,
            error=str(failure),
        )
        return FAILED

    async def _serve(self) -> None:
        await asyncio.gather(*(server.run_until_told() for server in self._servers))

    async def _work(self) -> None:
        await _broker_listens(self._bootstrap)
        await self._worker.start()
        for each in self._listeners:
            log.info("REST listens", url=each.url)
        for each in self._admin:
            log.info("REST for /admin listens", url=each.url)
        for connector in self._connectors:
            await self._start_connector(connector)
        self._tell_ready()
        if self._options.connectors is not None:
            changes = LeaderChanges(self._worker, self._peers)
            directory = self._options.connectors
            await ConnectorsDirectory(directory, self._worker, changes, time.monotonic).run()
        await asyncio.Event().wait()

    async def _start_connector(self, connector: ConnectorFile) -> None:
        try:
            await self._worker.create(connector.name, connector.config, connector.initial_state)
        except ServiceError as exc:
            raise ConnectError(f"connector {connector.name} could not be created: {exc}") from None
        log.info("connector created", connector=connector.name)

    def _tell_ready(self) -> None:
        if self._options.port_file is not None:
            file: Path = self._options.port_file
            draft = file.with_name(file.name + ".new")
            draft.write_text(f"{self._listeners[0].port}\n")
            draft.replace(file)
        if self._options.ready_fd is not None:
            os.write(self._options.ready_fd, f"{self._listeners[0].url}\n".encode())


def _servers(
    app: FastAPI, listeners: Sequence[Listener], properties: Mapping[str, str], setting: str
) -> list[_Server]:
    """One for those without TLS, one for those with it."""
    plain = [listener for listener in listeners if not listener.secure]
    secure = [listener for listener in listeners if listener.secure]
    servers = [_Server(app, plain, None)] if plain else []
    if secure:
        from connect.rest.tls import server_context  # what it imports costs memory

        servers.append(_Server(app, secure, server_context(properties, setting)))
    return servers


def _client_context(properties: Mapping[str, str]) -> ssl.SSLContext:
    from connect.rest.tls import client_context  # what it imports costs memory

    return client_context(properties, "listeners")
