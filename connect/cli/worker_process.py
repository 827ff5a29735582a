"""`millstream worker`: the runtime and its REST API in one process and one event loop."""

import argparse
import asyncio
import contextlib
import gc
import os
import signal
import ssl
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

if __name__ == "__main__":
    gc.disable()  # while importing: all of it stays
    # structlog imports it if it is installed, for colours that nobody sees here: 4 MB.
    sys.modules["rich"] = None  # type: ignore[assignment]  # None: not importable

import structlog
import uvicorn
from fastapi import FastAPI

from connect.api import ConfigError, ConnectError
from connect.cli.connector_files import BadFile, ConnectorFile, read_connector
from connect.cli.connectors_dir import ConnectorsDirectory
from connect.cli.failure import FAILED, OK, USAGE
from connect.cli.listeners import Listener, bind
from connect.rest.app import create_admin_app, create_app
from connect.rest.basic_auth import authorization, credentials
from connect.rest.forwarding import LeaderChanges
from connect.rest.settings import RestSettings
from connect.runtime.config import OFFSETS_FILE, WorkerConfig
from connect.runtime.idle_settings import IdleSettings
from connect.runtime.logs import configure_logging
from connect.runtime.peers import Peers
from connect.runtime.secret_names import hide
from connect.runtime.service import ServiceError
from connect.runtime.worker import Worker
from connect.runtime.worker_settings import doubts, read_properties, resolved

# How long open requests may take once the worker is told to stop.
REST_STOP_SECONDS = 1
BROKER_WAIT_SECONDS = 10
BROKER_QUIET_SECONDS = 2

log = structlog.get_logger("connect.cli.worker_process")  # __name__ is __main__ here


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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="millstream worker", description="Run a Kafka Connect worker.")
    parser.add_argument(
        "properties", nargs="?", type=Path, help="settings, as in connect-distributed.properties"
    )
    parser.add_argument(
        "connector_files", nargs="*", type=Path, metavar="connector",
        help="with --standalone: connectors to start, .properties or JSON",
    )  # fmt: skip
    parser.add_argument(
        "--standalone", action="store_true",
        help="one worker without a group, as connect-standalone: connectors end with it, source offsets are "
        "in the file that offset.storage.file.filename names",
    )  # fmt: skip
    parser.add_argument("--bootstrap", metavar="HOST:PORT", help="Kafka brokers, before bootstrap.servers")
    parser.add_argument("--rest-port", type=int, metavar="N", help="REST on 127.0.0.1:N, before listeners")
    parser.add_argument("--connectors", type=Path, metavar="DIR", help="connector JSON files to keep applied")
    parser.add_argument("--port-file", type=Path, metavar="FILE", help="write the REST port there when ready")
    parser.add_argument(
        "--ready-fd", type=int, metavar="FD", help="write REST's URL to this descriptor when ready"
    )
    return parser


def _written(options: argparse.Namespace) -> dict[str, str]:
    """The properties of the file under those of the options."""
    properties = {} if options.properties is None else read_properties(options.properties)
    given: dict[str, str] = {}
    if options.bootstrap is not None:
        given["bootstrap.servers"] = options.bootstrap
    if options.rest_port is not None:
        given["listeners"] = f"http://127.0.0.1:{options.rest_port}"
    for name, value in given.items():
        if properties.get(name, value) != value:
            log.warning("an option overrides the file", setting=name, file=properties[name], option=value)
    return properties | given


def _by_mode(options: argparse.Namespace, properties: dict[str, str]) -> dict[str, str]:
    """The settings of a standalone worker are those with a file for the offsets."""
    if options.standalone and not properties.get(OFFSETS_FILE):
        raise ConfigError(
            f'Missing required configuration "{OFFSETS_FILE}" which has no default value: --standalone keeps '
            "the source offsets there"
        )
    if not options.standalone:
        if options.connector_files:
            raise ConfigError("connector files are for --standalone; else deploy over REST or --connectors")
        if properties.pop(OFFSETS_FILE, None) is not None:
            log.warning("worker setting", setting=OFFSETS_FILE, why="has no effect without --standalone")
    return properties


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


class _Process:
    """The worker with its REST API, from start to stop."""

    def __init__(self, properties: dict[str, str], options: argparse.Namespace) -> None:
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
        self._worker = Worker({**properties, "listeners": listeners}, self._peers)
        self._admin = bind(rest.admin_listeners or (), "admin.listeners")
        app = create_app(self._worker, rest, self._peers)
        self._servers = _servers(app, self._listeners, properties, "listeners")
        if self._admin:
            admin_app = create_admin_app(self._worker, rest)
            self._servers += _servers(admin_app, self._admin, properties, "admin.listeners")
        for name, why in doubts(properties, RestSettings.definitions()):
            log.warning("worker setting", setting=name, why=why)

    async def run(self) -> int:
        """Until SIGTERM or SIGINT; the exit code."""
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


def main(arguments: Sequence[str]) -> int:
    gc.freeze()
    gc.enable()
    options = _parser().parse_intermixed_args(arguments)  # options may stand between files
    configure_logging()
    secrets: set[str] = set()
    try:
        settings = resolved(_by_mode(options, _written(options)))
        if settings.errors:
            raise ConfigError("; ".join(f"{error.name}: {error.message}" for error in settings.errors))
        secrets = settings.secrets
        process = _Process(settings.values, options)
    except (BadFile, ConfigError) as exc:
        sys.stderr.write(f"millstream worker: {hide(str(exc), secrets)}\n")
        return USAGE
    return asyncio.run(process.run())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
