"""Topics as handlers see them: an image in memory that has what is durable, and nothing else."""

import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain

TOPIC_NAME_MAX = 249
"""A partition's directory is `<topic>-<partition>`, and file names end at 255 bytes."""

INTERNAL_TOPICS = frozenset({"__consumer_offsets", "__transaction_state", "__share_group_state"})
"""Names that Kafka keeps for itself. This broker has no such topics: their content is in the catalog."""

_LEGAL_NAME = re.compile(r"[a-zA-Z0-9._-]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as created: `configs` holds what was set for it, as text, without any defaults."""

    name: str
    topic_id: uuid.UUID
    partitions: int
    configs: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def is_internal(self) -> bool:
        return self.name in INTERNAL_TOPICS


class TopicsImage:
    """All topics, by name and by id.

    `listeners` hear of each change: the topic, and whether it is there now.
    """

    def __init__(self, topics: Iterable[Topic] = ()) -> None:
        self.listeners: list[Callable[[Topic, bool], None]] = []
        self._by_name: dict[str, Topic] = {}
        self._by_id: dict[uuid.UUID, Topic] = {}
        for topic in topics:
            self.put(topic)

    def get(self, name: str) -> Topic | None:
        return self._by_name.get(name)

    def by_id(self, topic_id: uuid.UUID | None) -> Topic | None:
        return None if topic_id is None else self._by_id.get(topic_id)

    def name_of(self, name: str | None, topic_id: uuid.UUID | None) -> str | None:
        """The name of a topic that a client names or gives the id of; None for an id that is not known."""
        if name is not None:
            return name
        topic = self.by_id(topic_id)
        return None if topic is None else topic.name

    def has_partition(self, name: str, partition: int) -> bool:
        topic = self._by_name.get(name)
        return topic is not None and 0 <= partition < topic.partitions

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    def __iter__(self) -> Iterator[Topic]:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)

    def put(self, topic: Topic) -> None:
        self._by_name[topic.name] = topic
        self._by_id[topic.topic_id] = topic
        for listener in self.listeners:
            listener(topic, True)

    def remove(self, topic: Topic) -> None:
        """Take out the topic that has this id. It is fine if another one with its name is there by now."""
        if (current := self._by_id.pop(topic.topic_id, None)) and self._by_name.get(topic.name) is current:
            del self._by_name[topic.name]
        for listener in self.listeners:
            listener(topic, False)

    def colliding(self, name: str, others: Iterable[str] = ()) -> str | None:
        """A topic, here or among `others`, that differs from `name` only in '.' and '_'.

        Kafka refuses those, for its metrics cannot tell them apart.
        """
        if "." not in name and "_" not in name:
            return None
        plain = name.replace(".", "_")
        return next(
            (o for o in chain(self._by_name, others) if o != name and o.replace(".", "_") == plain), None
        )


def topic_name_problem(name: str) -> str | None:
    """Why `name` is no topic name, in Kafka's words; None when it is one."""
    if not name:
        return "Topic name is invalid: the empty string is not allowed"
    if name in (".", ".."):
        return f"Topic name is invalid: '{name}' is not allowed"
    if len(name) > TOPIC_NAME_MAX:
        return (
            f"Topic name is invalid: the length of '{name}' is longer "
            f"than the max allowed length {TOPIC_NAME_MAX}"
        )
    if not _LEGAL_NAME.fullmatch(name):
        return (
            f"Topic name is invalid: '{name}' contains one or more characters other than ASCII "
            "alphanumerics, '.', '_' and '-'"
        )
    return None
