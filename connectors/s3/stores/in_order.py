"""Uploads for stores that want the parts of an object one after the other.

Parts come from several threads; each waits for those before it. They are sent in the order of their numbers
by a pool that is a queue, so the first of those that are under way never waits.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Generic, TypeVar

from connectors.s3.store import UploadLostError

T = TypeVar("T")


@dataclass(slots=True)
class _Upload(Generic[T]):
    target: T
    next_number: int = 1
    is_lost: bool = False
    moved: threading.Condition = field(default_factory=threading.Condition)


class Uploads(Generic[T]):
    """Those under way, each with what it writes to."""

    def __init__(self) -> None:
        self._uploads: dict[str, _Upload[T]] = {}
        self._ids = count(1)

    def add(self, target: T) -> str:
        """A new one; its id."""
        upload_id = str(next(self._ids))
        self._uploads[upload_id] = _Upload(target)
        return upload_id

    def get(self, upload_id: str, what: str) -> T:
        """What it writes to; raises `UploadLostError`."""
        return self._find(upload_id, what).target

    def forget(self, upload_id: str) -> T | None:
        """It has ended."""
        upload = self._uploads.pop(upload_id, None)
        if upload is None:
            return None
        with upload.moved:
            upload.is_lost = True
            upload.moved.notify_all()
        return upload.target

    @contextmanager
    def turn(self, upload_id: str, number: int, what: str) -> Iterator[T]:
        """Write this part. Where that fails, nobody knows how much of it is there: all parts are lost."""
        upload = self._find(upload_id, what)
        with upload.moved:
            upload.moved.wait_for(lambda: upload.is_lost or upload.next_number == number)
            if upload.is_lost:
                raise UploadLostError(f"cannot write {what}: an earlier part of it could not be written")
            try:
                yield upload.target
                upload.next_number += 1
            except BaseException:
                upload.is_lost = True
                raise
            finally:
                upload.moved.notify_all()

    def _find(self, upload_id: str, what: str) -> _Upload[T]:
        upload = self._uploads.get(upload_id)
        if upload is None or upload.is_lost:
            raise UploadLostError(f"cannot write {what}: its upload has been given up")
        return upload
