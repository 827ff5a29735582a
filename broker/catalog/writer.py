"""The one writer of the catalog: a thread that commits what has gathered, in order, as one transaction.

A commit costs a sync of the disk, whatever it holds; so while one is under way the next ones queue up
and then share theirs. The event loop never waits for the disk.
"""

import asyncio
import queue
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import structlog
from sqlalchemy import Connection, Engine, Executable
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from broker.catalog.errors import CatalogWriteError

logger = structlog.get_logger(__name__)

WRITES_PER_COMMIT_MAX = 1000

Statement = tuple[Executable, Sequence[Mapping[str, Any]]]
"""A statement and the rows to execute it with. Statements that are one object run as one batch."""


@dataclass(frozen=True, slots=True)
class _Write:
    statements: Sequence[Statement]
    done: "asyncio.Future[None]"


class CatalogWriter:
    """Takes writes from the event loop, and resolves their futures there once they are durable."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._queue: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="catalog-writer", daemon=True)
        self._thread.start()

    def write(self, statements: Sequence[Statement]) -> "asyncio.Future[None]":
        """Queue statements that take effect together, after all that was queued before.

        The future resolves when they are durable, or raises CatalogWriteError when they are undone.
        """
        done = asyncio.get_running_loop().create_future()
        self._queue.put(_Write(statements, done))
        return done

    def close(self) -> None:
        """Write all that is queued, then stop."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        with self._engine.connect() as connection:
            self._write_all(connection)

    def _write_all(self, connection: Connection) -> None:
        while (write := self._queue.get()) is not None:
            writes = [write]
            stop = False
            while len(writes) < WRITES_PER_COMMIT_MAX:
                try:
                    following = self._queue.get_nowait()
                except queue.Empty:
                    break
                if following is None:
                    stop = True
                    break
                writes.append(following)
            self._commit(connection, writes)
            if stop:
                return

    def _commit(self, connection: Connection, writes: list[_Write]) -> None:
        try:
            with connection.begin():
                _execute(connection, [statement for write in writes for statement in write.statements])
        except SQLAlchemyError as exc:
            if len(writes) > 1:  # one bad write must not undo the others
                for write in writes:
                    self._commit(connection, [write])
                return
            cause = exc.orig if isinstance(exc, DBAPIError) else exc  # without the statement and its values
            logger.error("catalog write failed", error=str(cause))
            _resolve(writes, CatalogWriteError(f"the catalog could not be written: {cause}"))
        else:
            _resolve(writes, None)


def _execute(connection: Connection, statements: list[Statement]) -> None:
    for _, same in groupby(statements, key=lambda statement: id(statement[0])):
        batch = list(same)
        rows = [row for _, rows in batch for row in rows]
        if rows:
            connection.execute(batch[0][0], rows)


def _resolve(writes: list[_Write], error: CatalogWriteError | None) -> None:
    def resolve() -> None:
        for write in writes:
            if write.done.cancelled():
                continue
            if error is None:
                write.done.set_result(None)
            else:
                write.done.set_exception(error)

    loop = writes[0].done.get_loop()
    if not loop.is_closed():  # at shutdown nobody may be left to hear it
        loop.call_soon_threadsafe(resolve)
