"""What a consumer of the classic protocol sends when it joins, and reads when it has synced."""

import struct
from collections.abc import Iterable

from broker.coordinator.subscription import NamedPartition, parse_assignment


def pack_subscription(
    topics: Iterable[str], owned: Iterable[NamedPartition] = (), *, version: int = 1
) -> bytes:
    """A ConsumerProtocolSubscription without user data, of generation -1 and without a rack."""
    names = sorted(topics)
    parts = [struct.pack(">hi", version, len(names)), *map(_text, names), struct.pack(">i", -1)]
    if version >= 1:
        by_topic: dict[str, list[int]] = {}
        for name, partition in sorted(owned):
            by_topic.setdefault(name, []).append(partition)
        parts.append(struct.pack(">i", len(by_topic)))
        for name, partitions in by_topic.items():
            parts += [_text(name), struct.pack(f">i{len(partitions)}i", len(partitions), *partitions)]
    if version >= 2:
        parts.append(struct.pack(">i", -1))
    if version >= 3:
        parts.append(struct.pack(">h", -1))
    return b"".join(parts)


def assigned(assignment: bytes) -> frozenset[NamedPartition]:
    """The partitions in an assignment."""
    return parse_assignment(assignment)[0]


def _text(text: str) -> bytes:
    encoded = text.encode()
    return struct.pack(">h", len(encoded)) + encoded
