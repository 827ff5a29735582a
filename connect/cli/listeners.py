"""Where REST listens: the worker's `listeners` as bound sockets."""

import errno
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass

from connect.api import ConfigError

_LISTENER = re.compile(r"(?P<scheme>[hH][tT][tT][pP][sS]?)://(?P<host>\[[^\]]*\]|[^:/]*):(?P<port>\d+)/?")


@dataclass(frozen=True, slots=True)
class Listener:
    """A bound socket, and whether it speaks TLS."""

    socket: socket.socket
    secure: bool

    @property
    def port(self) -> int:
        return int(self.socket.getsockname()[1])

    @property
    def url(self) -> str:
        """As others reach it on this machine."""
        host = self.socket.getsockname()[0]
        shown = f"[{host}]" if ":" in host else host
        return f"{'https' if self.secure else 'http'}://{shown}:{self.port}"


def bind(listeners: Sequence[str], setting: str = "listeners") -> list[Listener]:
    """A listener per `http://host:port` or `https://host:port`; an empty host is every interface, port 0 any
    free one.

    Raises `ConfigError`, which names the setting, for what is no such listener, and for a port that somebody
    else has.
    """
    return [_bind(listener, setting) for listener in listeners]


def _bind(listener: str, setting: str) -> Listener:
    parts = _LISTENER.fullmatch(listener.strip())
    if parts is None:
        raise ConfigError(
            f"{setting}: {listener} is no listener: write http://host:port or https://host:port"
        )
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
                f"{setting}: {listener} is in use: end what listens there, or choose another port "
                "with --rest-port (0 takes any free one)"
            ) from None
        raise ConfigError(f"{setting}: cannot listen on {listener}: {exc}") from None
    return Listener(bound, parts["scheme"].lower() == "https")
