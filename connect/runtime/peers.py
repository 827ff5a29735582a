"""HTTP requests to the other workers of the group."""

import asyncio
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import httpx

_CONNECT_S: Final = 5.0


class Unreachable(Exception):
    """Nobody answers there: the request was not received."""


class Interrupted(Exception):
    """No answer came, or only a part of it: the request may have been carried out."""


@dataclass(frozen=True, slots=True)
class Answer:
    """`headers` have names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True)
class Peers:
    """`tls` makes what https needs, at the first use of it; `authorization` is shown where a request has none
    of a client's. The HTTP client is loaded when it is needed: a worker alone never does."""

    tls: Callable[[], ssl.SSLContext] | None = None
    authorization: str | None = None
    _plain: "httpx.AsyncClient | None" = field(default=None, init=False)
    _secure: "httpx.AsyncClient | None" = field(default=None, init=False)

    async def send(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes = b"", seconds: float
    ) -> Answer:
        """One request; raises `Unreachable` or `Interrupted`."""
        import httpx

        shown = dict(headers)
        if self.authorization is not None and not any(name.lower() == "authorization" for name in shown):
            shown["authorization"] = self.authorization
        timeout = httpx.Timeout(seconds, connect=min(seconds, _CONNECT_S))
        client = self._client(secure=url.startswith("https:"))
        try:
            got = await client.request(method, url, headers=shown, content=body, timeout=timeout)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as exc:
            raise Unreachable(f"{type(exc).__name__}: {exc}") from exc
        except httpx.TransportError as exc:
            raise Interrupted(f"{type(exc).__name__}: {exc}") from exc
        return Answer(
            got.status_code, {name.lower(): value for name, value in got.headers.items()}, got.content
        )

    async def close(self) -> None:
        await asyncio.gather(*(each.aclose() for each in (self._plain, self._secure) if each is not None))

    def _client(self, *, secure: bool) -> "httpx.AsyncClient":
        import httpx

        # A connection that is kept may be closed by the other side while a request is on its way: whether
        # that was carried out could not be known.
        limits = httpx.Limits(max_keepalive_connections=0)
        if not secure:
            if self._plain is None:
                self._plain = httpx.AsyncClient(verify=False, limits=limits, trust_env=False)
            return self._plain
        if self._secure is None:
            context = ssl.create_default_context() if self.tls is None else self.tls()
            self._secure = httpx.AsyncClient(verify=context, limits=limits, trust_env=False)
        return self._secure
