"""Where REST listens: the worker's `listeners` as bound sockets."""

import errno
import re
import socket
from collections.abc import Sequence

from connect.api import ConfigError

_LISTENER = re.compile(r"(?P<scheme>[a-zA-Z]+)://(?P<host>\[[^\]]*\]|[^:/]*):(?P<port>\d+)/?")


def bind(listeners: Sequence[str]) -> list[socket.socket]:
    """A bound socket per `http://host:port`; an empty host is every interface, port 0 any free one.

    Raises `ConfigError` for what is no such listener, and for a port that somebody else has.
    """
    return [_bind(listener) for listener in listeners]


def address(bound: socket.socket) -> str:
    """host:port as others reach it on this machine."""
    host, port = bound.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _bind(listener: str) -> socket.socket:
    parts = _LISTENER.fullmatch(listener.strip())
    if parts is None:
        raise ConfigError(f"listeners: {listener} is no listener: write http://host:port")
    if parts["scheme"].lower() != "http":
        raise ConfigError(f"listeners: {listener} is not served by this version: write http://host:port")
    host, port = parts["host"].strip("[]"), int(parts["port"])
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sets TCP_NODELAY only on sockets that say that they are TCP; without it an answer whose head
    # and body are written one after the other waits 40 ms for the client's delayed acknowledgement.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except (OSError, OverflowError) as exc:
        bound.close()
        if isinstance(exc, OSError) and exc.errno == errno.EADDRINUSE:
            raise ConfigError(
                f"listeners: {listener} is in use: end what listens there, or choose another port "
                "with --rest-port (0 takes any free one)"
            ) from None
        raise ConfigError(f"listeners: cannot listen on {listener}: {exc}") from None
    return bound
