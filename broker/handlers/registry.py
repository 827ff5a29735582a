"""What an API is to the server: its key, the versions it serves, and what handles it.

A handler module has a class that is built from the parts it needs (catalog, logs, settings, …) and
whose `apis()` returns its `Api`s; `broker/app.py` puts them together in an `ApiRegistry`, from which
ApiVersions answers and the server dispatches. Nothing else knows which APIs there are.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from broker.wire.codec import Codec, KioCodec
from broker.wire.errors import KafkaError


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A listener as clients reach it: what Metadata and FindCoordinator answer on a connection to it."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class RequestContext:
    """Who asks, and how."""

    api_key: int
    api_version: int
    client_id: str
    client_host: str
    connection_id: int
    endpoint: Endpoint
    """The advertised address of the listener that the connection came in by."""


class Deferred:
    """A response that comes later, for handlers that are called too often to afford a task each."""

    __slots__ = ("_hurry", "_listener", "_response")

    def __init__(self, hurry: Callable[[], None] | None = None) -> None:
        """`hurry` is called when the client is leaving: whoever only waits for more answers now."""
        self._hurry = hurry
        self._listener: Callable[[Any], None] | None = None
        self._response: Any = None

    def resolve(self, response: Any) -> None:
        """Give the answer, once."""
        assert self._response is None, "answered twice"
        self._response = response
        listener, self._listener = self._listener, None
        if listener is not None:
            listener(response)

    def listen(self, listener: Callable[[Any], None]) -> None:
        """Call `listener` with the response, at once if it is there."""
        if self._response is None:
            self._listener = listener
        else:
            listener(self._response)

    def hurry(self) -> None:
        """Ask for the answer now, if there is a choice."""
        if self._hurry is not None and self._response is None:
            self._hurry()


@dataclass(frozen=True, slots=True)
class Api:
    """One Kafka API that this broker serves.

    `handle(context, request)` gets the domain request and returns the domain response, or an
    awaitable or a `Deferred` of it. None means that no answer is sent (acks=0). When it raises,
    `on_error(KafkaError)` makes the response: of the error raised, or of UNKNOWN_SERVER_ERROR for
    what nobody foresaw; without `on_error` the connection closes.
    """

    key: int
    name: str
    versions: range
    request: type
    handle: Callable[[RequestContext, Any], Any]
    advertised_minimum: int | None = None
    on_error: Callable[[KafkaError], Any] | None = None
    codec: Codec | None = None


class ApiRegistry:
    """The APIs by key, each with its codec."""

    def __init__(self) -> None:
        self._apis: dict[int, tuple[Api, Codec]] = {}

    def add(self, apis: Iterable[Api]) -> None:
        for api in apis:
            assert api.key not in self._apis, f"{api.name} registered twice"
            self._apis[api.key] = (api, api.codec or KioCodec(api.key, api.request))

    def find(self, key: int) -> tuple[Api, Codec] | None:
        return self._apis.get(key)

    def __iter__(self) -> Iterator[Api]:
        """By key, ascending."""
        return (self._apis[key][0] for key in sorted(self._apis))
