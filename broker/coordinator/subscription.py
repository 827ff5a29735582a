"""What consumers of the classic protocol put into their group's metadata (protocol type "consumer").

ConsumerProtocolSubscription is what a member tells of itself, ConsumerProtocolAssignment what it is told.
All versions start alike, so a newer one than is known here can be read as far as it is known.
"""

import struct
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

CONSUMER_PROTOCOL_TYPE = "consumer"
VERSION_MAX = 3

NamedPartition = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Protocol:
    """A way to assign partitions that a member knows, with the member's metadata for it."""

    name: str
    metadata: bytes


class MalformedMetadata(Exception):
    """Bytes that are no subscription, or no assignment."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """`owned` is what the member has not given up before it joined (KIP-429); eager members own nothing."""

    version: int
    topics: frozenset[str]
    owned: frozenset[NamedPartition] = frozenset()
    rack_id: str | None = None


def subscribed_topics(metadata: bytes) -> frozenset[str] | None:
    """Topic names; None when the bytes are no subscription."""
    try:
        return parse_subscription(metadata).topics
    except MalformedMetadata:
        return None


def parse_subscription(metadata: bytes) -> Subscription:
    """Raises MalformedMetadata."""
    reader = _Reader(metadata)
    version = reader.number(">h")
    topics = frozenset(reader.text() for _ in range(reader.number(">i")))
    owned: frozenset[NamedPartition] = frozenset()
    rack_id = None
    if version >= 1:
        reader.skip_bytes()
        owned = reader.partitions()
    if version >= 2:
        reader.number(">i")  # the generation that it owned them in
    if version >= 3:
        rack_id = reader.optional_text()
    return Subscription(version, topics, owned, rack_id)


def parse_assignment(assignment: bytes) -> tuple[frozenset[NamedPartition], bool]:
    """The partitions, and whether there is more in it, for a custom assignor. Raises MalformedMetadata."""
    if not assignment:
        return frozenset(), False
    reader = _Reader(assignment)
    reader.number(">h")
    return reader.partitions(), reader.skip_bytes() > 0


def pack_assignment(partitions: Iterable[NamedPartition], version: int) -> bytes:
    """An assignment in the version of a member's subscription."""
    topics: defaultdict[str, list[int]] = defaultdict(list)
    for name, partition in sorted(partitions):
        topics[name].append(partition)
    parts = [struct.pack(">hi", max(0, min(version, VERSION_MAX)), len(topics))]
    for name, numbers in topics.items():
        encoded = name.encode()
        parts.append(
            struct.pack(f">h{len(encoded)}si{len(numbers)}i", len(encoded), encoded, len(numbers), *numbers)
        )
    return b"".join([*parts, struct.pack(">i", -1)])


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def number(self, layout: str) -> int:
        try:
            (number,) = struct.unpack_from(layout, self._data, self._position)
        except struct.error as exc:
            raise MalformedMetadata("it ends too early") from exc
        self._position += struct.calcsize(layout)
        return int(number)

    def text(self) -> str:
        text = self.optional_text()
        if text is None:
            raise MalformedMetadata("a name is null")
        return text

    def optional_text(self) -> str | None:
        size = self.number(">h")
        if size < 0:
            return None
        try:
            return self._take(size).decode()
        except UnicodeDecodeError as exc:
            raise MalformedMetadata("a name is no UTF-8") from exc

    def skip_bytes(self) -> int:
        """How many there were; null is none."""
        return len(self._take(max(0, self.number(">i"))))

    def partitions(self) -> frozenset[NamedPartition]:
        return frozenset(
            (name, self.number(">i"))
            for _ in range(self.number(">i"))
            for name in [self.text()]
            for _ in range(self.number(">i"))
        )

    def _take(self, size: int) -> bytes:
        taken = self._data[self._position : self._position + size]
        if len(taken) < size:
            raise MalformedMetadata("it ends too early")
        self._position += size
        return taken
