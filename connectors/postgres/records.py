"""Makes the records of changes: keys, values, headers, tombstones."""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final

from connect.api import Header, JsonPayload, SourceRecord
from connect.api import schemas as connect
from connectors.postgres.config import PostgresSourceConfig
from connectors.postgres.envelope import event
from connectors.postgres.plan import TablePlan

CREATE, UPDATE, DELETE, READ, TRUNCATE = "c", "u", "d", "r", "t"
_NULL: Final = "null"


class RecordMaker:
    """Makes records for one task. All records share the source partition and the context headers."""

    def __init__(self, config: PostgresSourceConfig, task_id: int) -> None:
        self.source_partition = {"server": config.topic_prefix}
        self._tombstones = config.tombstones_on_delete
        context = {
            "connectorLogicalName": config.topic_prefix, "taskId": str(task_id), "connectorName": "postgresql",
            "runId": str(uuid.uuid4()),
        } if config.extended_headers else {}  # fmt: skip
        self._headers = tuple(
            Header(f"__debezium.context.{name}", connect.STRING, value) for name, value in context.items()
        )

    def present(
        self, op: str, plan: TablePlan, row: Sequence[str], source: str, tail: str, offset: Mapping[str, Any]
    ) -> SourceRecord:  # fmt: skip
        """A row that is there now: READ in a snapshot, CREATE by an insert. Nearly all records are made here."""
        text = event(op, _NULL, plan.row(row), source, tail)
        return SourceRecord(
            self.source_partition, offset, plan.topic,
            plan.value_payload(text, None, row) if plan.has_defaults else JsonPayload(text.encode(), plan.decode_value),
            value_schema=plan.value_schema, key=plan.key_payload(plan.key(row)) if plan.key is not None else None,
            key_schema=plan.key_schema, headers=self._headers,
        )  # fmt: skip

    def update(
        self, plan: TablePlan, old: Sequence[str] | None, key_only: bool, new: Sequence[str], source: str, tail: str,
        offset: Mapping[str, Any], unfinished: Mapping[str, Any],
    ) -> list[SourceRecord]:  # fmt: skip
        """An update, or delete and insert where the key has changed.

        `offset` goes to the last record, `unfinished` to those before it: a restart must not skip the rest.
        """
        key = plan.key(new) if plan.key else None
        old_key = plan.key(old) if plan.key and old is not None else key
        if old is not None and key is not None and old_key is not None and old_key != key:
            return self._moved(plan, old, key_only, new, source, tail, offset, unfinished, old_key, key)
        before = None if key_only else old
        shown = _NULL if before is None else plan.row(before)
        value = plan.value_payload(event(UPDATE, shown, plan.row(new), source, tail), before, new)
        return [self._record(plan, key, value, offset)]

    def _moved(
        self, plan: TablePlan, old: Sequence[str], key_only: bool, new: Sequence[str], source: str, tail: str,
        offset: Mapping[str, Any], unfinished: Mapping[str, Any], old_key: str, key: str,
    ) -> list[SourceRecord]:  # fmt: skip
        newkey = (Header("__debezium.newkey", plan.key_schema, plan.key_payload(key).value()),)
        oldkey = (Header("__debezium.oldkey", plan.key_schema, plan.key_payload(old_key).value()),)
        records = self.delete(plan, old, key_only, source, tail, unfinished, unfinished, newkey)
        value = plan.value_payload(event(CREATE, _NULL, plan.row(new), source, tail), None, new)
        records.append(self._record(plan, key, value, offset, oldkey))
        return records

    def delete(
        self, plan: TablePlan, old: Sequence[str], key_only: bool, source: str, tail: str, offset: Mapping[str, Any],
        unfinished: Mapping[str, Any], headers: tuple[Header, ...] = (),
    ) -> list[SourceRecord]:  # fmt: skip
        """A delete and its tombstone; `offset` goes to the last record, `unfinished` to one before it."""
        before = plan.fill_absent(old) if key_only else old
        value = plan.value_payload(event(DELETE, plan.row(before), _NULL, source, tail), before, None)
        key = plan.key(old) if plan.key else None
        if not self._tombstones:
            return [self._record(plan, key, value, offset, headers)]
        return [
            self._record(plan, key, value, unfinished, headers),
            SourceRecord(
                self.source_partition, offset, plan.topic, None, key=plan.key_payload(key) if key else None,
                key_schema=plan.key_schema, headers=headers + self._headers,
            ),
        ]  # fmt: skip

    def truncate(self, plan: TablePlan, source: str, tail: str, offset: Mapping[str, Any]) -> SourceRecord:
        value = plan.value_payload(event(TRUNCATE, _NULL, _NULL, source, tail), None, None)
        return SourceRecord(
            self.source_partition,
            offset,
            plan.topic,
            value,
            value_schema=plan.value_schema,
            headers=self._headers,
        )

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
