"""The worker's side of the plugin host: one forked process per question, killed when it takes too long."""

import asyncio
import json
import socket
from collections.abc import Mapping
from typing import Any, Final

from connect.api import ConfigError, ConnectError
from connect.runtime.forks import ForkServer
from connect.runtime.stacks import StackOffer, read_stacks

_ANSWER_BYTES_MAX: Final = 64 << 20
_AT_ONCE: Final = 16
_STACKS_S: Final = 0.5


class PluginFailed(ConnectError):
    """A connector's own code raised; `trace` reads like Connect's."""

    def __init__(self, message: str, trace: str) -> None:
        super().__init__(message)
        self.trace = trace


class PluginHosts:
    """Asks plugins. A bounded number of processes at once, so that many connectors do not make as many; but
    more than one, so that a plugin that hangs does not hold up the others."""

    def __init__(self, forks: ForkServer, worker_settings: Mapping[str, str], timeout_s: float) -> None:
        self._forks = forks
        self._worker_settings = worker_settings
        self._timeout_s = timeout_s
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def ask(self, op: str, *, timeout_s: float | None = None, **fields: Any) -> Any:
        """The answer of `plugin_host` to this operation, in the usual time unless another is given.

        Raises `ConfigError` for a refused setting, `PluginFailed` for all else, a hanging plugin too.
        """
        request = {"op": op, "worker": self._worker_settings, **fields}
        async with self._slots:
            answer = await self._exchange(request, timeout_s or self._timeout_s)
        if "error" not in answer:
            return answer["ok"]
        if answer["kind"] == ConfigError.__name__:
            raise ConfigError(answer["error"])
        raise PluginFailed(answer["error"], answer["trace"])

    async def _exchange(self, request: Mapping[str, Any], timeout_s: float) -> Mapping[str, Any]:
        ours, theirs = socket.socketpair()
        child = self._forks.fork("plugin_host", theirs)
        reader, writer = await asyncio.open_connection(sock=ours, limit=_ANSWER_BYTES_MAX)
        stacks: StackOffer | None = None
        try:
            async with asyncio.timeout(timeout_s):
                writer.write(json.dumps(request).encode() + b"\n")
                await writer.drain()
                if line := await reader.readline():
                    stacks = StackOffer.of(json.loads(line))
                if line := await reader.readline():
                    answer: Mapping[str, Any] = json.loads(line)
                    return answer
                how = await child.exited
        except TimeoutError:
            text = f"the connector's code did not answer ({request['op']}) in {timeout_s:g} s"
            trace = f"{ConnectError.java_class}: {text}"
            if stacks is not None:
                trace += f"\n{await read_stacks(await child.pid, stacks, _STACKS_S)}"
            raise PluginFailed(text, trace) from None
        except ConnectionError:
            how = await child.exited
        finally:
            self._forks.kill(child)
            writer.close()
        text = f"the process with the connector's code {how} ({request['op']})"
        raise PluginFailed(text, f"{ConnectError.java_class}: {text}")
