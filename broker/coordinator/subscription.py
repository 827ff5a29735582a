"""The topics in a consumer's group metadata (ConsumerProtocolSubscription, protocol type "consumer")."""

import struct

CONSUMER_PROTOCOL_TYPE = "consumer"


def subscribed_topics(metadata: bytes) -> frozenset[str] | None:
    """Topic names; None when the bytes are no subscription. All versions start alike."""
    try:
        _version, count = struct.unpack_from(">hi", metadata)
        position = 6
        topics = set()
        for _ in range(count):
            (size,) = struct.unpack_from(">h", metadata, position)
            position += 2
            name = metadata[position : position + size]
            if size < 0 or len(name) < size:
                return None
            topics.add(name.decode())
            position += size
    except (struct.error, UnicodeDecodeError):
        return None
    return frozenset(topics)
