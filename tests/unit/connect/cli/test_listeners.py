"""The worker's `listeners`."""

import socket

import pytest

from connect.api import ConfigError
from connect.cli.listeners import bind


def test_port_0_is_any_free_port() -> None:
    (bound,) = bind(["http://127.0.0.1:0"])
    with bound.socket:
        assert bound.url == f"http://127.0.0.1:{bound.socket.getsockname()[1]}"


def test_https_is_told_apart() -> None:
    plain, secure = bind(["http://127.0.0.1:0", "HTTPS://127.0.0.1:0"])
    with plain.socket, secure.socket:
        assert (plain.secure, secure.secure) == (False, True)
        assert secure.url == f"https://127.0.0.1:{secure.port}"


def test_the_setting_is_named() -> None:
    with pytest.raises(ConfigError, match=r"^admin\.listeners: x is no listener"):
        bind(["x"], "admin.listeners")


def test_an_empty_host_is_every_interface() -> None:
    (bound,) = bind(["http://:0"])
    with bound.socket:
        assert bound.socket.getsockname()[0] == "0.0.0.0"


@pytest.mark.parametrize(
    ("listener", "why"),
    [
        ("127.0.0.1:8083", "is no listener: write http://host:port"),
        ("ftp://127.0.0.1:0", "is no listener"),
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
    with bound.socket:
        assert bound.socket.proto == socket.IPPROTO_TCP
