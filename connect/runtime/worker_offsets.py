"""Where the offsets of a standalone worker's source tasks go: to the worker, which has them in a file."""

from typing import Any

import orjson

from connect.runtime.task_channel import TaskChannel


class WorkerOffsets:
    """In the place of a producer for the offsets topic."""

    def __init__(self, channel: TaskChannel) -> None:
        self._channel = channel
        self._offsets: dict[bytes, tuple[Any, Any]] = {}

    @property
    def queued(self) -> int:
        return len(self._offsets)

    def produce(self, topic: str, value: bytes, key: bytes, partition: int = -1, *more: Any) -> None:
        """Queue one offset, key and value as they would stand in the topic."""
        _, source_partition = orjson.loads(key)
        self._offsets[key] = source_partition, orjson.loads(value)

    def make_room(self) -> None:
        """There is always room."""

    def check(self) -> None:
        """What goes wrong is raised by `flush`."""

    def flush(self, seconds: float) -> bool:
        """Wait until they are durable; those that are not in time are sent again with later ones."""
        if self._offsets and self._channel.store(list(self._offsets.values()), seconds):
            self._offsets.clear()
        return not self._offsets
