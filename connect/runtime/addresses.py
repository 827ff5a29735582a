"""Where other workers and users reach this worker's REST."""

import socket
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from connect.api import ConfigError
from connect.runtime.config import WorkerConfig

_ANY: Final = frozenset({"", "0.0.0.0", "::"})
_PORTS: Final = {"http": 8083, "https": 8443}


def advertised_url(worker: WorkerConfig) -> str:
    """`scheme://host:port`, by `rest.advertised.*` or else the first http listener (https if there is none).

    A listener on every interface is reached at the address by which this machine reaches Kafka.
    """
    scheme = (worker.rest_advertised_listener or "").lower() or _scheme(worker.listeners)
    listener = next((each for each in worker.listeners if each.lower().startswith(f"{scheme}:")), None)
    if listener is None:
        raise ConfigError.invalid(
            "rest.advertised.listener", scheme, f"there is no such listener in {','.join(worker.listeners)}"
        )
    parts = urlsplit(listener)
    host = worker.rest_advertised_host or parts.hostname or ""
    if host in _ANY:
        host = _address_towards(worker.bootstrap_servers)
    port = worker.rest_advertised_port or parts.port or _PORTS[scheme]
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def _scheme(listeners: Sequence[str]) -> str:
    return "http" if any(each.lower().startswith("http:") for each in listeners) else "https"


def _address_towards(servers: Sequence[str]) -> str:
    """Nothing is sent: connecting a UDP socket only asks the routing table."""
    for server in servers:
        host, _, port = server.rpartition(":")
        try:
            family, kind, *_, address = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_DGRAM)[0]
            with socket.socket(family, kind) as probe:
                probe.connect(address)
                return str(probe.getsockname()[0])
        except OSError:
            continue
    return socket.gethostname()
