"""Commits with the offsets that they reach, in the summaries of snapshots.

Each snapshot of a connector says up to which offset of every Kafka partition the table has its records. It
and the data files become visible together, so where the next task goes on is never in doubt.
"""

import uuid
from collections.abc import Mapping, Sequence
from typing import Final

import orjson
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table, TableProperties
from pyiceberg.table.snapshots import Snapshot, ancestors_of

from connect.api import ConnectError, RetriableError, TopicPartition
from connectors.s3.iceberg.catalog import Tables
from connectors.s3.iceberg.errors import explained

COMMIT_ID: Final = "kafka.connect.commit-id"  # as Iceberg's own sink calls it
_OFFSETS_PREFIX: Final = "millstream.offsets."
_CONFLICTS_MAX: Final = 50

Offsets = Mapping[TopicPartition, int]


class OvertakenError(ConnectError):
    """Somebody else has committed records of the same Kafka partitions, or has changed the partitioning: what
    this task has is to be dropped and read again."""


def offsets_of(table: Table, connector: str) -> dict[TopicPartition, int]:
    """The next offset of each Kafka partition that the connector has not brought to the table."""
    for snapshot in ancestors_of(table.current_snapshot(), table.metadata):
        told = _property(snapshot, _OFFSETS_PREFIX + connector)
        if told is not None:
            found: dict[str, dict[str, int]] = orjson.loads(told)
            return {
                TopicPartition(topic, int(partition)): offset
                for topic, partitions in found.items()
                for partition, offset in partitions.items()
            }
    return {}


class Commit:
    """Data files of one table, with the offsets at which their records begin and end. May be tried again
    until it is known to have worked."""

    def __init__(
        self, name: str, connector: str, files: Sequence[DataFile], starts: Offsets, ends: Offsets
    ) -> None:
        self._name = name
        self._connector = connector
        self._files = files
        self._starts = starts
        self._ends = ends
        self._id = str(uuid.uuid4())

    def perform(self, tables: Tables) -> Table:
        """The table with the files in it. Raises `OvertakenError`, and `RetriableError` when it is not known
        whether they are."""
        for _ in range(_CONFLICTS_MAX):
            table = tables.load(self._name)
            if any(_property(s, COMMIT_ID) == self._id for s in table.metadata.snapshots):
                return table  # an earlier try, whose answer was lost
            known = offsets_of(table, self._connector)
            self._check(table, known)
            try:
                with explained(f"commit to the table {self._name}"):
                    self._append(table, known)
                return table
            except CommitFailedException:
                continue  # somebody was faster; whom the records belong to is looked at again
        raise RetriableError(f"cannot commit to the table {self._name}: others commit to it all the time")

    def _check(self, table: Table, known: Offsets) -> None:
        for partition, start in self._starts.items():
            found = known.get(partition, 0)
            if found != start:
                raise OvertakenError(
                    f"the table {self._name} has the records of {partition.topic}-{partition.partition} up to"
                    f" offset {found}, and not {start}: another task has committed them"
                )
        if any(file.spec_id != table.spec().spec_id for file in self._files):
            raise OvertakenError(f"the partitioning of the table {self._name} has changed")

    def _append(self, table: Table, known: Offsets) -> None:
        # pyiceberg would try again by itself, without a look at the offsets.
        metadata = table.metadata
        once = {**metadata.properties, TableProperties.COMMIT_NUM_RETRIES: "0"}
        table.metadata = metadata.model_copy(update={"properties": once})
        offsets = {**known, **self._ends}
        summary = {COMMIT_ID: self._id, _OFFSETS_PREFIX + self._connector: _as_json(offsets)}
        with table.transaction() as transaction:
            update = transaction.update_snapshot(snapshot_properties=summary)
            with update.merge_append() as append:
                for file in self._files:
                    append.append_data_file(file)


def _as_json(offsets: Offsets) -> str:
    nested: dict[str, dict[str, int]] = {}
    for (topic, partition), offset in sorted(offsets.items()):
        nested.setdefault(topic, {})[str(partition)] = offset
    return orjson.dumps(nested).decode()


def _property(snapshot: Snapshot, name: str) -> str | None:
    return snapshot.summary.get(name) if snapshot.summary is not None else None
