"""Where the transactions of a source task end (KIP-618): at each poll, by time, where the connector says."""

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Final, Protocol

from connect.api import ConnectError, SourceRecord


class Ending(StrEnum):
    COMMIT = "commit"
    ABORT = "abort"


Cut = tuple[int, Ending]  # the transaction ends behind that many records of the batch


class Boundaries(Protocol):
    """Decides for one task."""

    @property
    def ends_anywhere(self) -> bool:
        """Whether what was sent before the task stops or pauses may be committed there and then."""
        ...

    def cuts(self, records: Sequence[SourceRecord]) -> Sequence[Cut]:
        """Where transactions end in the batch that was just polled, in order; it may be empty."""
        ...

    def due_s(self) -> float | None:
        """When what is open is to be committed, on the clock given; None: not by time."""
        ...

    def ended(self) -> None:
        """A transaction was committed just now, or there was nothing to commit."""
        ...


class PollBoundaries:
    """Each batch is a transaction."""

    ends_anywhere: Final = True

    def cuts(self, records: Sequence[SourceRecord]) -> Sequence[Cut]:
        return [(len(records), Ending.COMMIT)] if records else []

    def due_s(self) -> float | None:
        return None

    def ended(self) -> None:
        return None


class IntervalBoundaries:
    """A transaction goes on until a time has passed since the one before."""

    ends_anywhere: Final = True

    def __init__(self, interval_s: float, clock: Callable[[], float]) -> None:
        self._interval_s = interval_s
        self._clock = clock
        self._due_s = clock() + interval_s

    def cuts(self, records: Sequence[SourceRecord]) -> Sequence[Cut]:
        return []

    def due_s(self) -> float | None:
        return self._due_s

    def ended(self) -> None:
        self._due_s = self._clock() + self._interval_s


class ConnectorBoundaries:
    """The task says it, through `connect.api.TransactionContext`, which this is."""

    ends_anywhere: Final = False

    def __init__(self) -> None:
        self._batch: Ending | None = None
        # By identity; the record is kept so that its id stays its own.
        self._records: dict[int, tuple[SourceRecord, Ending]] = {}

    def commit(self, record: SourceRecord | None = None) -> None:
        self._ask(record, Ending.COMMIT)

    def abort(self, record: SourceRecord | None = None) -> None:
        self._ask(record, Ending.ABORT)

    def _ask(self, record: SourceRecord | None, ending: Ending) -> None:
        before = self._batch if record is None else self._records.get(id(record), (record, None))[1]
        if before not in (None, ending):
            what = "batch" if record is None else "record"
            raise ConnectError(f"the connector asked to both commit and abort the transaction at one {what}")
        if record is None:
            self._batch = ending
        else:
            self._records[id(record)] = (record, ending)

    def cuts(self, records: Sequence[SourceRecord]) -> Sequence[Cut]:
        asked, self._records = self._records, {}
        batch, self._batch = self._batch, None
        cuts: list[Cut] = []
        if asked:
            cuts = [(n, asked[id(record)][1]) for n, record in enumerate(records, 1) if id(record) in asked]
            if len(cuts) < len(asked):
                raise ConnectError("a transaction is to end at a record that poll did not return")
        if batch is not None and (not cuts or cuts[-1][0] < len(records)):
            cuts.append((len(records), batch))
        return cuts

    def due_s(self) -> float | None:
        return None

    def ended(self) -> None:
        return None
