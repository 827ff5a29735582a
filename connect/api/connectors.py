"""Source and sink connectors and their tasks: what the author of a connector writes.

A *connector* splits the work: it turns its config into the configs of up to `tasks.max` tasks. A *task*
moves records; each runs in a process of its own, calls come from one thread, and blocking is fine.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from connect.api.config import Config, FieldError
from connect.api.metrics import TaskMetrics
from connect.api.plugins import Plugin
from connect.api.records import SinkRecord, SourceRecord, TopicPartition

C = TypeVar("C", bound=Config)


class Connector(Plugin, ABC, Generic[C]):
    """Splits the work of one configured connector among tasks. Holds no connection.

    Made without arguments for every call, in a short-lived process of its own.
    """

    task_class: ClassVar[type]
    # What Java calls the task, where it is not the connector's name with Task for Connector: it stands in
    # the task configs of the config topic.
    java_task_class: ClassVar[str | None] = None

    @abstractmethod
    def task_configs(self, config: C, max_tasks: int) -> Sequence[Mapping[str, str]]:
        """The settings of each task, at most `max_tasks`: its share of the work, alone or with
        `config.originals`. What they leave out is as in the connector's config. The same config must give the
        same tasks. Raises `ConnectError` if the work cannot be split now."""

    def check_connection(self, config: C) -> Iterable[FieldError]:
        """What only a look outside can tell: server reachable, credentials right, bucket there.

        Called by `validate` and before a deployment, in a process of its own and with bounded time. One clear
        sentence for each setting that is wrong, a `FieldWarning` for what only deserves a word; nothing if
        all is well.
        """
        return ()


class SourceConnector(Connector[C]):
    """A connector whose tasks read from outside."""

    def alter_offsets(
        self, config: C, offsets: Sequence[tuple[Mapping[str, Any], Mapping[str, Any] | None]]
    ) -> bool:
        """Check offsets that a user sets (KIP-875): raise `ConnectError` for those that make no sense.

        `offsets` are (source partition, source offset), None to forget that offset. True says that they were
        looked at.
        """
        return False

    def exactly_once_support(self, config: C) -> bool | None:
        """Whether each record comes exactly once with this config, given that records and their offsets are
        written in one transaction (KIP-618): the source goes on behind the stored offset, and nothing else is
        remembered outside. None: it does not say, and `exactly.once.support=required` is refused."""
        return None

    def can_define_transaction_boundaries(self, config: C) -> bool:
        """Whether the tasks end their transactions themselves where `transaction.boundary=connector`."""
        return False


class SinkConnector(Connector[C]):
    """A connector whose tasks write to the outside."""


class TransactionContext(Protocol):
    """Where a source task's transactions end (KIP-618). Asked for in `poll`, about the records that this call
    returns; raises `ConnectError` for a record, or a batch, that is to be both committed and aborted."""

    def commit(self, record: SourceRecord | None = None) -> None:
        """End the transaction behind this record, or, without one, behind the last one of the batch."""
        ...

    def abort(self, record: SourceRecord | None = None) -> None:
        """The same, but nobody who reads `read_committed` sees the records of this transaction. Their offsets
        are stored all the same, so that they are not handed out again."""
        ...


class SourceTaskContext(Protocol):
    """What the runtime offers a source task."""

    @property
    def connector_name(self) -> str:
        """The name that the connector is deployed under."""
        ...

    @property
    def task_id(self) -> int:
        """The task's number, from 0: its place in what `task_configs` returned."""
        ...

    @property
    def metrics(self) -> TaskMetrics:
        """The task's own metrics, for whoever watches it."""
        ...

    @property
    def stopping(self) -> bool:
        """True once the task should return from `poll`."""
        ...

    def offset(self, source_partition: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The stored offset of a source partition, as of the start of the task."""
        ...

    @property
    def transactions(self) -> TransactionContext | None:
        """Only where the connector's config has `transaction.boundary=connector`, and the worker delivers
        exactly once."""
        ...

    def advance(self, source_partition: Mapping[str, Any], source_offset: Mapping[str, Any]) -> None:
        """Called in `poll`: all before this offset has been handed out, so it may be stored, although no
        record carries it (KIP-910). It comes back in `commit` once it is durable."""
        ...

    def report_errant(self, record: SourceRecord, error: Exception) -> None:
        """Called in `poll`, instead of returning the record: a piece of the source that cannot be read, with
        its place as the source offset and what is there as the value. It is counted and logged, and left out
        if `errors.tolerance` is all; else this raises `ConnectError`."""
        ...

    def wait(self, seconds: float) -> bool:
        """Sleep until the time is over or the task should stop; True if it should stop."""
        ...


class SourceTask(ABC, Generic[C]):
    """Reads from outside: `start`, then `poll` again and again with `commit` in between, then `stop`."""

    @abstractmethod
    def start(self, context: SourceTaskContext, config: C) -> None:
        """Open what is needed and go to the stored offset."""

    @abstractmethod
    def poll(self) -> Sequence[SourceRecord]:
        """The next records; an empty sequence when there are none after waiting a while (at most about a
        second). Return early when `context.stopping`. Must not hand out a record twice."""

    def commit(self, offsets: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> None:
        """These (source partition, source offset) are durable now: the source may forget what is before."""

    def stop(self) -> None:
        """Close everything. Called once, from the task's thread, after the last `poll` or an error, also one
        of `start`."""


class SinkTaskContext(Protocol):
    """What the runtime offers a sink task. What is asked for here happens once the present call returns."""

    @property
    def connector_name(self) -> str:
        """The name that the connector is deployed under."""
        ...

    @property
    def task_id(self) -> int:
        """The task's number, from 0: its place in what `task_configs` returned."""
        ...

    @property
    def metrics(self) -> TaskMetrics:
        """The task's own metrics, for whoever watches it."""
        ...

    @property
    def assignment(self) -> frozenset[TopicPartition]:
        """The partitions this task has."""
        ...

    def rewind(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Deliver again from these offsets on."""
        ...

    def timeout(self, milliseconds: int) -> None:
        """After `RetriableError` from `put`: call again in this time instead of the default backoff."""
        ...

    def request_commit(self) -> None:
        """Ask for `pre_commit` soon instead of at the next interval."""
        ...

    def pause(self, *partitions: TopicPartition) -> None:
        """Deliver nothing more of these partitions until `resume`."""
        ...

    def resume(self, *partitions: TopicPartition) -> None:
        """Deliver these partitions again, from where they were paused."""
        ...

    def report_errant(self, record: SinkRecord, error: Exception) -> None:
        """Hand a record that cannot be written to the error handling of the connector (KIP-610): the dead
        letter topic where there is one; raises if `errors.tolerance` is none. The record counts as done."""
        ...


class SinkTask(ABC, Generic[C]):
    """Writes to the outside: `start`, `open`, then `put` with `pre_commit` in between, then `close`, `stop`.

    Delivery is at least once: after a crash records come again from the last committed offset.
    """

    @abstractmethod
    def start(self, context: SinkTaskContext, config: C) -> None:
        """Open what is needed. No partition is assigned yet."""

    def open(self, partitions: Iterable[TopicPartition]) -> None:
        """These partitions are assigned now; their records will come."""

    @abstractmethod
    def put(self, records: Sequence[SinkRecord]) -> None:
        """Take records, in offset order within each partition. Also called with an empty sequence, about
        once a second when there is nothing, so that time-based rotation goes on."""

    def flush(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Make everything taken so far durable. `offsets` are the next offsets to consume."""

    def pre_commit(self, offsets: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, int]:
        """The next offsets that are safe to commit; override it to commit less than all. Default: `flush`,
        then all of `offsets`."""
        self.flush(offsets)
        return offsets

    def close(self, partitions: Iterable[TopicPartition]) -> None:
        """These partitions are taken away (or the task stops): drop or finish what is open for them."""

    def stop(self) -> None:
        """Close everything. Called once, from the task's thread, after the last `close` or an error, also one
        of `start`."""
