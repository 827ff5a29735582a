"""The worker's `listeners`."""

import socket

import pytest

from connect.api import ConfigError
from connect.cli.listeners import address, bind


def test_port_0_is_any_free_port() -> None:
    (bound,) = bind(["http://127.0.0.1:0"])
    with bound:
        assert address(bound) == f"127.0.0.1:{bound.getsockname()[1]}"


def test_an_empty_host_is_every_interface() -> None:
    (bound,) = bind(["http://:0"])
    with bound:
        assert bound.getsockname()[0] == "0.0.0.0"


@pytest.mark.parametrize(
    ("listener", "why"),
    [
        ("127.0.0.1:8083", "is no listener: write http://host:port"),
        ("https://127.0.0.1:0", "is not served by this version"),
        ("http://127.0.0.1:99999", "cannot listen on"),
        ("http://192.0.2.1:0", "cannot listen on"),
    ],
)
def test_a_bad_listener_says_why(listener: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        bind([listener])


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listener = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ConfigError, match=f"{listener} is in use"):
            bind([listener])


def test_what_asyncio_needs_to_see_that_it_is_tcp() -> None:
    """Without this protocol number answers take 40 ms: see `connect/cli/listeners.py`."""
    (bound,) = bind(["http://127.0.0.1:0"])
    with bound:
        assert bound.proto == socket.IPPROTO_TCP
