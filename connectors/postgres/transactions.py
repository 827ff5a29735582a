"""provide.transaction.metadata: which transaction an event belongs to, and the records of its BEGIN and END.

What a restart in the middle of a transaction has to know is kept in the offsets as Debezium keeps it:
`transaction_id`, and `transaction_data_collection_order_<table>` for each table with events so far.
"""

from collections.abc import Mapping, Sequence
from json.encoder import encode_basestring as quote
from typing import Any, Final

from connect.api import JsonPayload, Schema, SchemaType, SourceRecord
from connect.api import schemas as connect
from connect.api.schemas import struct
from connectors.postgres.config import PostgresSourceConfig
from connectors.postgres.naming import Names
from connectors.postgres.values import decoder

_ID: Final = "transaction_id"
_COUNT: Final = "transaction_data_collection_order_"
MESSAGES: Final = "message"
"""What stands for logical messages where events are counted by table."""
_KEY: Final = struct(
    {"id": connect.STRING}, name="io.debezium.connector.common.TransactionMetadataKey", version=1
)
_COLLECTION: Final = struct(
    {"data_collection": connect.STRING, "event_count": connect.INT64},
    name="event.collection", version=1, optional=True,
)  # fmt: skip
_VALUE: Final = struct(
    {"status": connect.STRING, "id": connect.STRING, "event_count": connect.OPTIONAL_INT64,
     "data_collections": Schema(SchemaType.ARRAY, True, value_schema=_COLLECTION),
     "ts_ms": connect.INT64},
    name="io.debezium.connector.common.TransactionMetadataValue", version=1,
)  # fmt: skip
_DECODE_KEY: Final = decoder(_KEY)
_DECODE_VALUE: Final = decoder(_VALUE)


class Transaction:
    """Numbers the events of one transaction."""

    __slots__ = ("_counts", "_lsn", "_marked", "total", "xid")

    def __init__(self, xid: int, counts: dict[str, int]) -> None:
        self.xid = xid
        self.total = sum(counts.values())
        self._counts = counts
        self._marked = self.offset()
        self._lsn = 0

    def at(self, lsn: int) -> None:
        """What comes next stands at `lsn`, and all before it is finished."""
        self._lsn = lsn
        self._marked = self.offset()

    def block(self, collection: str) -> str:
        """The JSON of the next event's transaction block."""
        self.total += 1
        order = self._counts[collection] = self._counts.get(collection, 0) + 1
        return f'{{"id":"{self.xid}:{self._lsn}","total_order":{self.total},"data_collection_order":{order}}}'

    def offset(self) -> dict[str, Any]:
        """What goes into the offset of a record after all that was numbered so far."""
        return {_ID: str(self.xid)} | {_COUNT + name: count for name, count in self._counts.items()}

    def unfinished(self, offset: Mapping[str, Any]) -> dict[str, Any]:
        """The offset of a record whose change, or another at the same position, has to come again."""
        plain = {name: value for name, value in offset.items() if name != _ID and not name.startswith(_COUNT)}
        return plain | self._marked

    def counts(self) -> Sequence[tuple[str, int]]:
        """(table, its events so far)."""
        return sorted(self._counts.items(), key=lambda item: (item[0] == MESSAGES, item[0]))


class TransactionRecords:
    """Makes the records of transactions. `resume` is the offset to go on at: of the transaction that it names
    the BEGIN has been written."""

    def __init__(
        self, config: PostgresSourceConfig, source_partition: Mapping[str, Any], resume: Mapping[str, Any]
    ) -> None:
        self._topic = Names(config).transaction_topic
        self._source_partition = source_partition
        self._resume = resume

    def begin(self, xid: int) -> tuple[Transaction, bool]:
        """The transaction, and whether its BEGIN is still to be written."""
        if self._resume.get(_ID) != str(xid):
            return Transaction(xid, {}), True
        counts = {
            name.removeprefix(_COUNT): count
            for name, count in self._resume.items()
            if name.startswith(_COUNT)
        }
        return Transaction(xid, counts), False

    def began(
        self, transaction: Transaction, lsn: int, ts_us: int, offset: Mapping[str, Any]
    ) -> SourceRecord:
        """The record of a BEGIN; `offset` is that of what came before."""
        return self._record(
            f"{transaction.xid}:{lsn}", "BEGIN", "null", "null", ts_us, {**offset, **transaction.offset()}
        )

    def ended(
        self, transaction: Transaction, lsn: int, ts_us: int, offset: Mapping[str, Any]
    ) -> SourceRecord:
        """The record of an END."""
        counts = ",".join(
            f'{{"data_collection":{quote(name)},"event_count":{count}}}'
            for name, count in transaction.counts()
        )
        return self._record(
            f"{transaction.xid}:{lsn}", "END", str(transaction.total), f"[{counts}]", ts_us,
            {**offset, **transaction.offset()},
        )  # fmt: skip

    def _record(
        self, name: str, status: str, count: str, collections: str, ts_us: int, offset: Mapping[str, Any]
    ) -> SourceRecord:
        value = (
            f'{{"status":"{status}","id":"{name}","event_count":{count},"data_collections":{collections},'
            f'"ts_ms":{ts_us // 1000}}}'
        )
        return SourceRecord(
            self._source_partition, offset, self._topic, JsonPayload(value.encode(), _DECODE_VALUE),
            value_schema=_VALUE, key=JsonPayload(f'{{"id":"{name}"}}'.encode(), _DECODE_KEY), key_schema=_KEY,
        )  # fmt: skip
