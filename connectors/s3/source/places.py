"""What the key of an object says: where its records come from, and where they go.

A layout tells it for the objects of one connector, and which of them belong together.
"""

import re
import zlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from connect.api.java_regex import compile_java

KEYS, HEADERS = ".keys", ".headers"


@dataclass(frozen=True, slots=True)
class Place:
    """Where an object's records go. `partition` None: by their keys. `start_offset` is the first record's."""

    topic: str
    partition: int | None = None
    start_offset: int = 0

    def order(self, key: str) -> tuple[str, int, int, str]:
        """In which order objects are read."""
        return self.topic, -1 if self.partition is None else self.partition, self.start_offset, key


class Layout(ABC):
    """`prefix` begins the keys of all objects that are looked at. `by_partition`: the objects of one
    partition are all one task's, so that their order is kept. `has_siblings`: objects may have others beside
    them that belong to them."""

    prefix: str
    by_partition: bool = False
    has_siblings: bool = False

    @abstractmethod
    def place(self, key: str) -> Place | None:
        """None: this object is not to be read."""

    def stem(self, key: str) -> str:
        """Objects of one stem belong together. A stem begins the keys of all its objects."""
        return key

    def task(self, key: str, place: Place, tasks: int) -> int:
        """Which of so many tasks reads this object."""
        if self.by_partition:
            return zlib.crc32(f"{place.topic}-{place.partition}".encode()) % tasks
        return zlib.crc32(key.encode()) % tasks


class SinkLayout(Layout):
    """`{topics.dir}/{topic}/{encoded partition}/{topic}+{partition}+{start offset}{extension}`, as
    Confluent's sink writes them. `extensions` are those of the format that is read, compressed or not."""

    by_partition = True
    has_siblings = True

    def __init__(self, topics_dir: str, directory: str, delimiter: str, extensions: Sequence[str]) -> None:
        self.prefix = topics_dir + directory if topics_dir.strip() else ""
        folder, file = re.escape(directory), re.escape(delimiter)
        name = rf"{file}(?P<partition>\d+){file}(?P<offset>\d+)(?P<extension>(?:\.[^./]+)*)"
        start = re.escape(self.prefix)
        # The topic may have the delimiters in it: first a folder that is named as the file is.
        self._patterns: Final = (
            re.compile(rf"{start}(?P<topic>.+){folder}(?:.*{folder})?(?P=topic){name}", re.DOTALL),
            re.compile(rf"{start}(?P<topic>.+?){folder}(?:.*{folder})?.+{name}", re.DOTALL),
        )
        self._extensions = tuple(extensions)

    def place(self, key: str) -> Place | None:
        found = self._match(key)
        if found is None or KEYS in found["extension"] or HEADERS in found["extension"]:
            return None
        if not found["extension"].endswith(self._extensions):
            return None
        return Place(found["topic"], int(found["partition"]), int(found["offset"]))

    def stem(self, key: str) -> str:
        found = self._match(key)
        return key if found is None else key[: found.end("offset")]

    def _match(self, key: str) -> re.Match[str] | None:
        for pattern in self._patterns:
            if found := pattern.fullmatch(key):
                return found
        return None


class PatternLayout(Layout):
    """Any objects: the first pattern that matches a whole key names the topic."""

    def __init__(self, prefix: str, patterns: Sequence[tuple[str, str]]) -> None:
        self.prefix = prefix
        self._patterns = [(topic, compile_java(pattern)) for topic, pattern in patterns]

    def place(self, key: str) -> Place | None:
        if key.endswith("/"):  # what consoles make for a folder
            return None
        for topic, pattern in self._patterns:
            if pattern.fullmatch(key):
                return Place(topic)
        return None


_VARIABLE: Final = re.compile(r"\{\{\s*(\w+)\s*(?::[^}]*)?\}\}")
_MEANT: Final = {
    "topic": r"[a-zA-Z0-9\-_.]+", "partition": r"\d+", "start_offset": r"\d+", "timestamp": r"\d+",
    "key": r".*",
}  # fmt: skip


class TemplateLayout(Layout):
    """Keys as Aiven's sink makes them. What is no variable in the template is a pattern itself; more may
    stand before and behind. `topic`, where it is set, is that of all objects."""

    def __init__(self, prefix: str, template: str, topic: str | None, *, by_partition: bool) -> None:
        self.prefix = prefix
        self.by_partition = by_partition
        self._topic = topic
        pattern = template_pattern(template)
        # A template that fits a whole name is meant, before one that fits somewhere inside it.
        self._patterns = (compile_java(rf"(?:^|/)(?:{pattern})"), compile_java(pattern))

    def place(self, key: str) -> Place | None:
        if key.endswith("/"):
            return None
        rest = key.removeprefix(self.prefix)
        for text, pattern in ((rest, self._patterns[0]), (key, self._patterns[0]), (key, self._patterns[1])):
            if found := pattern.search(text):
                named = found.groupdict()
                topic = self._topic or named.get("topic")
                if not topic:
                    return None
                partition = named.get("partition")
                offset = int(named.get("startoffset") or 0)
                return Place(topic, int(partition) if partition else None, offset)
        return None

    def task(self, key: str, place: Place, tasks: int) -> int:
        if self.by_partition and place.partition is not None:
            return place.partition % tasks
        return super().task(key, place, tasks)


def template_pattern(template: str) -> str:
    """The regular expression that a template stands for; raises `ValueError` for a variable that nobody
    knows."""
    seen: set[str] = set()

    def meant(found: re.Match[str]) -> str:
        name = found[1]
        if name not in _MEANT:
            raise ValueError(f"there is no variable {name}; known are {', '.join(_MEANT)}")
        if name in seen:
            return f"(?:{_MEANT[name]})"
        seen.add(name)
        return f"(?<{name.replace('_', '')}>{_MEANT[name]})"

    return _VARIABLE.sub(meant, template)


def template_variables(template: str) -> set[str]:
    """The names of the variables in it."""
    return {found[1] for found in _VARIABLE.finditer(template)}
