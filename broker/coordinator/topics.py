"""What the group coordinator knows of topics: it is told of every change, and asks nobody."""

import uuid
from collections.abc import Collection, Iterator
from dataclasses import dataclass

TopicIdPartition = tuple[uuid.UUID, int]
"""A partition by its topic's id: a topic that is deleted and made again has new partitions."""


@dataclass(frozen=True, slots=True)
class TopicMetadata:
    name: str
    topic_id: uuid.UUID
    partitions: int


class KnownTopics:
    """All topics, by name and by id. `version` rises with each change."""

    def __init__(self) -> None:
        self.version = 0
        self._by_name: dict[str, TopicMetadata] = {}
        self._by_id: dict[uuid.UUID, TopicMetadata] = {}

    def __iter__(self) -> Iterator[TopicMetadata]:
        return iter(self._by_name.values())

    def get(self, name: str) -> TopicMetadata | None:
        return self._by_name.get(name)

    def by_id(self, topic_id: uuid.UUID) -> TopicMetadata | None:
        return self._by_id.get(topic_id)

    def change(self, put: Collection[TopicMetadata], removed: Collection[uuid.UUID]) -> None:
        """Take out topics by id, then add or replace others by name. What is known already is no change."""
        if not removed and all(self._by_name.get(topic.name) == topic for topic in put):
            return
        for topic_id in removed:
            gone = self._by_id.pop(topic_id, None)
            if gone is not None and self._by_name.get(gone.name) == gone:
                del self._by_name[gone.name]
        for topic in put:
            before = self._by_name.get(topic.name)
            if before is not None:
                self._by_id.pop(before.topic_id, None)
            self._by_name[topic.name] = self._by_id[topic.topic_id] = topic
        self.version += 1
