"""Makes the records of changes: keys, values, headers, tombstones."""

import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from connect.api import Header, JsonPayload, JsonRecords, SourceRecord
from connect.api import schemas as connect
from connectors.postgres.config import PostgresSourceConfig
from connectors.postgres.envelope import event
from connectors.postgres.joiner import Column
from connectors.postgres.plan import TablePlan
from connectors.postgres.transactions import Transaction

CREATE, UPDATE, DELETE, READ, TRUNCATE = "c", "u", "d", "r", "t"
RECORD_OVERHEAD_BYTES: Final = 600
"""What a record takes beside its row: envelope, key, offset and the objects that hold them."""

_NULL: Final = "null"


class Change(NamedTuple):
    """What the records of one change share. `offset` goes to the last of them, `unfinished` to those before
    it: a restart must not skip the rest."""

    plan: TablePlan
    source: str
    tail: str
    offset: Mapping[str, Any]
    unfinished: Mapping[str, Any]


class RecordMaker:
    """Makes records for one task. All records share the source partition and the context headers.

    `transaction` numbers the events while it is set; it is the stream's.
    """

    def __init__(self, config: PostgresSourceConfig, task_id: int) -> None:
        self.source_partition = {"server": config.topic_prefix}
        self.transaction: Transaction | None = None
        self._tombstones = config.tombstones_on_delete
        self._skipped = frozenset(config.skipped_operations)
        context = {
            "connectorLogicalName": config.topic_prefix, "taskId": str(task_id),
            "connectorName": "postgresql", "runId": str(uuid.uuid4()),
        } if config.extended_headers else {}  # fmt: skip
        self._headers = tuple(
            Header(f"__debezium.context.{name}", connect.STRING, value) for name, value in context.items()
        )

    def present(
        self, op: str, plan: TablePlan, row: Sequence[str], source: str, tail: str, offset: Mapping[str, Any]
    ) -> SourceRecord:
        """A row that is there now: READ in a snapshot, CREATE by an insert. Most records are made here."""
        transaction = _NULL if self.transaction is None or op == READ else self._numbered(plan)
        text = event(op, _NULL, plan.row(row), source, transaction, tail)
        if plan.has_defaults:
            value = plan.value_payload(text, None, row)
        else:
            value = JsonPayload(text.encode(), plan.decode_value)
        return SourceRecord(
            self.source_partition, offset, plan.topic, value, value_schema=plan.value_schema,
            key=plan.key_payload(plan.key(row)) if plan.key is not None else None,
            key_schema=plan.key_schema, headers=self._headers,
        )  # fmt: skip

    def many(
        self,
        op: str,
        plan: TablePlan,
        columns: Sequence[Column],
        count: int,
        source: str,
        tail: str,
        offset_of: Callable[[int], Mapping[str, Any]],
        positions: Sequence[Column] = (),
    ) -> JsonRecords | None:
        """Rows that are there now, in no transaction that is told of: as `present` makes them one by one, but
        given by column. `source` is the template of their source blocks, for `positions`. None where they
        cannot be made like that, see `TablePlan.values`."""
        values = plan.values(columns, count, op, source, tail, positions)
        if values is None:
            return None
        return JsonRecords(
            self.source_partition, offset_of, plan.topic, values, plan.value_schema, plan.decode_value,
            keys=plan.key.many(columns, count) if plan.key is not None else None,
            key_schema=plan.key_schema, decode_key=plan.decode_key, headers=self._headers,
        )  # fmt: skip

    def update(
        self, change: Change, old: Sequence[str] | None, key_only: bool, new: Sequence[str]
    ) -> list[SourceRecord]:
        """An update, or delete and insert where the key has changed, those that are not skipped."""
        plan = change.plan
        key = plan.key(new) if plan.key else None
        # An old row of the replica identity alone does not tell a key that has other columns.
        old_key = plan.key(old) if plan.key and old and (plan.key_known or not key_only) else key
        if old is not None and key is not None and old_key is not None and old_key != key:
            return self._moved(change, old, old_key, key_only, new, key)
        # Of a primary key that is not the event's key, the replica identity tells what it was.
        before = plan.fill_absent(old) if key_only and old is not None else old
        shown = _NULL if before is None else plan.row(before)
        text = self._event(change, UPDATE, shown, plan.row(new))
        return [self._record(plan, key, plan.value_payload(text, before, new), change.offset)]

    def _moved(
        self, change: Change, old: Sequence[str], old_key: str, key_only: bool, new: Sequence[str], key: str
    ) -> list[SourceRecord]:
        plan = change.plan
        newkey = (Header("__debezium.newkey", plan.key_schema, plan.key_payload(key).value()),)
        oldkey = (Header("__debezium.oldkey", plan.key_schema, plan.key_payload(old_key).value()),)
        records: list[SourceRecord] = []
        last = CREATE not in self._skipped
        if DELETE not in self._skipped:
            first = change._replace(offset=change.unfinished) if last else change
            records += self.delete(first, old, key_only, newkey)
        if not last:
            return records
        text = self._event(change, CREATE, _NULL, plan.row(new))
        records.append(self._record(plan, key, plan.value_payload(text, None, new), change.offset, oldkey))
        return records

    def delete(
        self, change: Change, old: Sequence[str], key_only: bool, headers: tuple[Header, ...] = ()
    ) -> list[SourceRecord]:
        """A delete and its tombstone."""
        plan = change.plan
        before = plan.fill_absent(old) if key_only else old
        text = self._event(change, DELETE, plan.row(before), _NULL)
        value = plan.value_payload(text, before, None)
        key = plan.key(before) if plan.key else None
        if not self._tombstones:
            return [self._record(plan, key, value, change.offset, headers)]
        tombstone = self._record(plan, key, None, change.offset, headers)
        tombstone.value_schema = None
        return [self._record(plan, key, value, change.unfinished, headers), tombstone]

    def truncate(self, plan: TablePlan, source: str, tail: str, offset: Mapping[str, Any]) -> SourceRecord:
        transaction = _NULL if self.transaction is None else self._numbered(plan)
        text = event(TRUNCATE, _NULL, _NULL, source, transaction, tail)
        value = plan.value_payload(text, None, None)
        return SourceRecord(
            self.source_partition,
            offset,
            plan.topic,
            value,
            value_schema=plan.value_schema,
            headers=self._headers,
        )

    def _event(self, change: Change, op: str, before: str, after: str) -> str:
        transaction = _NULL if self.transaction is None else self._numbered(change.plan)
        return event(op, before, after, change.source, transaction, change.tail)

    def _numbered(self, plan: TablePlan) -> str:
        assert self.transaction is not None
        return self.transaction.block(plan.table.full_name)

    def _record(
        self,
        plan: TablePlan,
        key: str | None,
        value: Any,
        offset: Mapping[str, Any],
        headers: tuple[Header, ...] = (),
    ) -> SourceRecord:
        return SourceRecord(
            self.source_partition, offset, plan.topic, value, value_schema=plan.value_schema,
            key=plan.key_payload(key) if key is not None else None, key_schema=plan.key_schema,
            headers=headers + self._headers if headers else self._headers,
        )  # fmt: skip
