"""`--connectors DIR`: the connectors of a directory's JSON files, kept as the files say."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import structlog

from connect.cli.connector_files import BadFile, ConnectorFile, read_connector
from connect.rest.masking import Masking
from connect.runtime.service import ConnectService, NotFound, ServiceError, TargetState

POLL_SECONDS = 1.0
RETRY_SECONDS_MAX = 60.0

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Seen:
    """What is known of one file: its last stamp, what was in it, and when to try again."""

    stamp: tuple[int, int]
    connector: ConnectorFile | None
    failures: int = 0
    retry_at: float = 0.0


class Changes(Protocol):
    """Who makes changes: the service, or what has the leader make them."""

    async def put_config(self, name: str, config: Mapping[str, str]) -> Any: ...

    async def create(self, name: str, config: Mapping[str, str], initial_state: TargetState) -> Any: ...


class ConnectorsDirectory:
    """Applies new and changed files, and again what somebody changed or deleted behind their back.

    A bad file is one log line and stops no other. A connector whose file goes stays as it is: ending a
    connector is said by name (`millstream connectors delete`). Start and stop are not touched.
    """

    def __init__(
        self, directory: Path, service: ConnectService, changes: Changes, clock: Callable[[], float]
    ) -> None:
        self._directory = directory
        self._service = service
        self._changes = changes
        self._masking = Masking(service)
        self._clock = clock
        self._files: dict[Path, _Seen] = {}

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            if self._service.health[0] == 200:
                await self.apply()
            await asyncio.sleep(POLL_SECONDS)

    async def apply(self) -> None:
        """One look at the directory."""
        present = self._read()
        for path in self._files.keys() - present:
            gone = self._files.pop(path).connector
            if gone is not None:
                log.warning(
                    "connector file removed, its connector stays", file=str(path), connector=gone.name
                )
        owners: dict[str, Path] = {}
        for path in sorted(present):
            seen = self._files[path]
            if seen.connector is None:
                continue
            owner = owners.setdefault(seen.connector.name, path)
            if owner is path:
                if self._clock() >= seen.retry_at:
                    await self._keep(path, seen, seen.connector)
            elif seen.failures == 0:
                seen.failures = 1
                why = f"{owner} is for connector {seen.connector.name} too, and comes first"
                log.error("connector file not applied", file=str(path), error=why)

    def _read(self) -> set[Path]:
        """Take up what is new or changed; the files that are there."""
        present = set()
        for path in self._directory.glob("*.json"):
            try:
                status = path.stat()
            except OSError:
                continue  # removed since it was listed; reading says what else there is
            present.add(path)
            stamp = (status.st_mtime_ns, status.st_size)
            if path in self._files and self._files[path].stamp == stamp:
                continue
            try:
                self._files[path] = _Seen(stamp, read_connector(path))
            except BadFile as exc:
                self._files[path] = _Seen(stamp, None)
                log.error("connector file not applied", file=str(path), error=str(exc))
        return present

    async def _keep(self, path: Path, seen: _Seen, wanted: ConnectorFile) -> None:
        try:
            created = False
            config = self._masking.restore(wanted.name, wanted.config)
            try:
                if dict(self._service.info(wanted.name).config) == config:
                    return
                await self._changes.put_config(wanted.name, config)
            except NotFound:
                created = True
                await self._changes.create(wanted.name, config, wanted.initial_state)
        except Exception as exc:  # whatever is wrong with one file must not end the worker
            seen.failures += 1
            seen.retry_at = self._clock() + min(2.0**seen.failures, RETRY_SECONDS_MAX)
            if seen.failures == 1:
                trace = None if isinstance(exc, ServiceError) else exc
                log.error("connector file not applied", file=str(path), error=str(exc), exc_info=trace)
            return
        seen.failures = 0
        log.info("connector applied", file=str(path), connector=wanted.name, created=created)
