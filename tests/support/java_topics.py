"""The internal topics that a Java Connect worker left, from `golden/takeover`."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_FOLDER = Path(__file__).parent.parent / "golden" / "takeover"


@dataclass(frozen=True)
class Recorded:
    """One record; `topic` is the topic's default name."""

    topic: str
    partition: int
    key: str
    value: str | None


def recorded(story: str) -> Iterator[Recorded]:
    """A story's records without its clean-up: what takes connectors away for good."""
    records = [Recorded(**each) for each in json.loads((_FOLDER / f"{story}.json").read_text())]
    return (each for each in records if each.value is not None or each.topic != "connect-configs")
