"""An offset of each partition, by topic id and partition: up to where it was synced, or is clean.

One file in the data directory for each kind, which appears whole or not at all.
"""

import os
from collections.abc import Mapping
from pathlib import Path

import structlog

logger = structlog.get_logger(__name__)

RECOVERY_POINTS = "recovery-points"
CLEAN_SHUTDOWN = ".kafka_cleanshutdown"
"""Of the files in a data directory."""

RECOVERY_POINTS_KIND = "recovery points"

PartitionId = tuple[str, int]
"""A topic's id, as Kafka writes it, and the partition."""


def write_checkpoint(path: Path, points: Mapping[PartitionId, int], kind: str = RECOVERY_POINTS_KIND) -> None:
    """Make the offsets durable, but for the name of the file. May be called in a thread."""
    lines = [f"{topic_id} {partition} {point}" for (topic_id, partition), point in points.items()]
    partial = path.with_suffix(".tmp")
    with partial.open("w", encoding="ascii") as file:
        file.write("\n".join([_head(kind), str(len(lines)), *lines, ""]))
        file.flush()
        os.fdatasync(file.fileno())
    partial.replace(path)


def read_checkpoint(path: Path, kind: str = RECOVERY_POINTS_KIND) -> dict[PartitionId, int]:
    """Empty when there is none or it is no good: then everything is read, which is safe."""
    points = {}
    try:
        head, count, *lines = path.read_text(encoding="ascii").splitlines()
        if head != _head(kind) or int(count) != len(lines):
            raise ValueError(f"{head!r} with {len(lines)} of {count} entries")
        for line in lines:
            topic_id, partition, offset = line.split(" ")
            points[topic_id, int(partition)] = int(offset)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as exc:
        logger.warning(f"{kind} not usable", path=str(path), error=str(exc))
        return {}
    return points


def _head(kind: str) -> str:
    return f"millstream {kind} 1"
