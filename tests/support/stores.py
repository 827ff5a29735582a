"""Stores other than S3 for tests: a folder, and Google Cloud Storage as `support.google_store` has it."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from connectors.s3.store import Bucket, open_bucket


@dataclass(frozen=True)
class Place:
    """`url` is the value of store.url, with a bucket that is empty at first."""

    url: str
    bucket: str

    @property
    def settings(self) -> Mapping[str, str]:
        return {"store.url": self.url, "s3.bucket.name": self.bucket}

    @property
    def as_s3(self) -> Any:
        """For what takes the S3 server of the tests."""
        return SimpleNamespace(endpoint=self.url, region="us-west-2", access_key="", secret_key="")


def objects_of(config: Any) -> dict[str, bytes]:
    """All objects of the bucket that a connector's config names, by key."""
    bucket = open_bucket(config.access, "read")
    found: dict[str, bytes] = {}
    after = ""
    while page := bucket.page("", after):
        found.update((entry.key, b"".join(bucket.chunks(entry))) for entry in page)
        after = page[-1].key
    return found


class Killed(BaseException):
    """The end of the process, which nobody catches."""


def assassin(kind: type[Bucket]) -> Any:
    """A class of buckets that kill the task before (even steps) or after (odd steps) a request is done."""

    class Assassin(kind):  # type: ignore[valid-type,misc] # a class made for the one that is given
        steps_left: int | None = None
        steps = 0

        def _perform(self, key: str, request: Any) -> Any:
            self._step()
            answer = super()._perform(key, request)
            self._step()
            return answer

        @classmethod
        def _step(cls) -> None:
            cls.steps += 1
            if cls.steps_left is not None:
                cls.steps_left -= 1
                if cls.steps_left < 0:
                    raise Killed

    return Assassin
