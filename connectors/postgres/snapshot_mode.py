"""snapshot.mode: when the tables are read, and whether the stream follows."""

from dataclasses import dataclass
from typing import Final

from connectors.postgres.config import PostgresSourceConfig


@dataclass(frozen=True, slots=True)
class SnapshotMode:
    """`without_offset`: read the tables where no offset is stored, or that of an unfinished snapshot.
    `at_each_start`: whatever is stored. `when_changes_are_lost`: when the slot cannot go on at the offset.
    """

    without_offset: bool
    at_each_start: bool
    when_changes_are_lost: bool
    streams: bool


_MODES: Final = {
    "initial": SnapshotMode(True, False, False, True),
    "always": SnapshotMode(True, True, False, True),
    "initial_only": SnapshotMode(True, False, False, False),
    "no_data": SnapshotMode(False, False, False, True),
    "never": SnapshotMode(False, False, False, True),
    "when_needed": SnapshotMode(True, False, True, True),
}


def snapshot_mode(config: PostgresSourceConfig) -> SnapshotMode:
    """What the config says, `configuration_based` with its own settings taken apart."""
    if config.snapshot_mode == "configuration_based":
        return SnapshotMode(
            config.configured_snapshot_data, config.configured_snapshot_data,
            config.configured_on_data_error, config.configured_start_stream,
        )  # fmt: skip
    return _MODES[config.snapshot_mode]
