"""What a coordinator wants done. It does nothing itself: the shell performs its effects in order.

A coordinator is a machine: `on_request` and `on_timer` take what happened and return effects. Time,
ids and randomness arrive as arguments, so a seeded simulator can drive it.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from broker.coordinator.records import AnyGroupRecord, CommittedOffset, PendingOffsets, TopicPartition


@dataclass(frozen=True, slots=True)
class Reply:
    """Answer a request. Held back until every Store of the same group before it is durable."""

    reply_to: Any
    """Whatever came with the request."""
    owner: str
    """The group id or the transactional id that was asked about; empty when it was about none."""
    response: Any


@dataclass(frozen=True, slots=True)
class Store:
    """Make changes to one group durable, all or none. When that fails, the shell reloads the group."""

    group_id: str
    record: AnyGroupRecord | None = None
    """The group's new record; None leaves what is stored."""
    deleted: bool = False
    """Remove the group and all its offsets, pending ones too."""
    put_offsets: Mapping[TopicPartition, CommittedOffset] = field(default_factory=dict)
    delete_offsets: Collection[TopicPartition] = ()
    put_pending: PendingOffsets | None = None
    """Offsets of one producer's transaction, which has none of another epoch."""
    delete_pending: Collection[tuple[int, TopicPartition]] = ()
    """As (producer id, partition)."""


@dataclass(frozen=True, slots=True)
class TimerKey:
    """Names a timer. Setting one that is set moves it."""

    kind: str
    owner: str = ""
    """A group id or a transactional id."""
    member_id: str = ""


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Call `on_timer(key)` after `delay_ms` of a clock that never jumps."""

    key: TimerKey
    delay_ms: int


@dataclass(frozen=True, slots=True)
class CancelTimer:
    """Forget the timer, if it is set."""

    key: TimerKey


Effect = Reply | Store | SetTimer | CancelTimer
