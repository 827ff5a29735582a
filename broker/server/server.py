"""The listeners and all connections, on raw non-blocking sockets.

Not asyncio's transports: requests are received straight into the buffer they are handled in, and
records leave by sendfile.
"""

import asyncio
import contextlib
import errno
import mmap
import socket
from collections.abc import Sequence

import structlog

from broker.config import BrokerSettings, Listener
from broker.handlers.registry import ApiRegistry, Endpoint
from broker.server.connection import Connection
from broker.wire.frames import FrameBuffers, FrameReader

logger = structlog.get_logger(__name__)

SCRATCH_BYTES = 64 * 1024
BACKLOG = 1024
ACCEPTS_PER_TURN = 64
ACCEPT_PAUSE_S = 0.2
HOUSEKEEPING_S_MAX = 10.0

OUT_OF_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class ListenError(Exception):
    """A listener cannot be opened: one sentence with its address and the reason."""


class Server:
    """Open the listeners with `listen`, begin to accept with `start`."""

    def __init__(self, settings: BrokerSettings, registry: ApiRegistry) -> None:
        self._settings = settings
        self._registry = registry
        self._loop = asyncio.get_running_loop()
        self._scratch = memoryview(mmap.mmap(-1, SCRATCH_BYTES))
        self._buffers = FrameBuffers()
        self._listeners: list[tuple[socket.socket, Endpoint]] = []
        self._connections: dict[Connection, None] = {}
        self._all_closed = asyncio.Event()
        self._next_id = 0
        self._housekeeping: asyncio.TimerHandle | None = None

    @property
    def connection_count(self) -> int:
        return len(self._connections)

    def listen(self) -> list[tuple[Listener, Endpoint]]:
        """Open all listeners; each with the address that clients are told. Raises ListenError."""
        advertised = {listener.name: listener for listener in self._settings.advertised_listeners}
        opened = []
        for listener in self._settings.listeners:
            sock = _open(listener)
            bound = listener.model_copy(update={"port": sock.getsockname()[1]})
            told = advertised.get(listener.name, bound)
            host = told.host if told.host not in ("", "0.0.0.0", "::") else socket.gethostname()
            endpoint = Endpoint(host, told.port or bound.port)
            self._listeners.append((sock, endpoint))
            opened.append((bound, endpoint))
        return opened

    def start(self) -> None:
        for sock, endpoint in self._listeners:
            self._loop.add_reader(sock, self._accept, sock, endpoint)
        self._keep_house()

    async def close(self, timeout_s: float) -> None:
        """Accept and read nothing more, answer what is pending, close; after `timeout_s` at once."""
        self.close_listeners()
        if self._housekeeping is not None:
            self._housekeeping.cancel()
        for connection in tuple(self._connections):
            connection.finish()
        if self._connections:
            self._all_closed.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._all_closed.wait(), timeout_s)
        for connection in tuple(self._connections):
            connection.close()

    def close_listeners(self) -> None:
        for sock, _ in self._listeners:
            self._loop.remove_reader(sock)
            sock.close()
        self._listeners.clear()

    def _accept(self, listening: socket.socket, endpoint: Endpoint) -> None:
        for _ in range(ACCEPTS_PER_TURN):
            try:
                sock, address = listening.accept()
            except BlockingIOError:
                return
            except OSError as exc:
                if exc.errno in OUT_OF_RESOURCES:
                    self._pause_accepting(listening, endpoint, exc)
                    return
                continue  # that client has gone already
            if len(self._connections) >= self._settings.max_connections:
                logger.warning("connection refused", client=address[0], reason="max.connections is reached")
                sock.close()
                continue
            self._add(sock, address[0], endpoint)

    def _pause_accepting(self, listening: socket.socket, endpoint: Endpoint, exc: OSError) -> None:
        """The clients stay in the backlog. Without the pause the loop would ask again and again."""
        logger.warning("cannot accept connections for the moment", error=exc.strerror)
        self._loop.remove_reader(listening)
        self._loop.call_later(ACCEPT_PAUSE_S, self._resume_accepting, listening, endpoint)

    def _resume_accepting(self, listening: socket.socket, endpoint: Endpoint) -> None:
        if any(sock is listening for sock, _ in self._listeners):
            self._loop.add_reader(listening, self._accept, listening, endpoint)

    def _add(self, sock: socket.socket, host: str, endpoint: Endpoint) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._next_id += 1
        reader = FrameReader(self._scratch, self._buffers, self._settings.socket_request_max_bytes)
        connection = Connection(
            sock,
            reader,
            self._registry,
            connection_id=self._next_id,
            client_host=host,
            endpoint=endpoint,
            on_closed=self._forget,
        )
        self._connections[connection] = None

    def _forget(self, connection: Connection) -> None:
        self._connections.pop(connection, None)
        if not self._connections:
            self._all_closed.set()

    def _keep_house(self) -> None:
        """Close idle connections, and give memory back that a burst has left."""
        self._buffers.trim()
        interval = HOUSEKEEPING_S_MAX
        idle_ms = self._settings.connections_max_idle_ms
        if idle_ms >= 0:
            interval = min(interval, idle_ms / 2000 + 0.01)
            oldest = self._loop.time() - idle_ms / 1000
            for connection in tuple(self._connections):
                if connection.active_at < oldest and connection.is_waiting_for_client:
                    connection.close()
        self._housekeeping = self._loop.call_later(interval, self._keep_house)


def _open(listener: Listener) -> socket.socket:
    try:
        addresses: Sequence[tuple[int, int, int, str, object]] = socket.getaddrinfo(
            listener.host or None, listener.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, kind, protocol, _, address = addresses[0]
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(address)  # type: ignore[arg-type]  # what getaddrinfo gives is what bind takes
            sock.listen(BACKLOG)
            sock.setblocking(False)
        except OSError:
            sock.close()
            raise
    except OSError as exc:
        raise ListenError(f"cannot listen on {listener}: {exc.strerror or exc}") from exc
    return sock
