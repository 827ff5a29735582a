"""The envelope of a change event: before, after, source, transaction, op and three timestamps."""

from json.encoder import encode_basestring as quote
from typing import Final

from connect.api import Schema, SchemaType
from connect.api import schemas as connect
from connect.api.schemas import struct
from connect.version import __version__
from connectors.postgres.config import PostgresSourceConfig
from connectors.postgres.joiner import as_template

_SNAPSHOT_MARKERS: Final = (
    "true,first,first_in_data_collection,last_in_data_collection,last,false,incremental"
)
_SNAPSHOT: Final = Schema(
    SchemaType.STRING, True, "io.debezium.data.Enum", 1, None, {"allowed": _SNAPSHOT_MARKERS}, default="false"
)
SOURCE: Final = struct(
    {
        "version": connect.STRING, "connector": connect.STRING, "name": connect.STRING,
        "ts_ms": connect.INT64,
        "snapshot": _SNAPSHOT, "db": connect.STRING, "sequence": connect.OPTIONAL_STRING,
        "ts_us": connect.OPTIONAL_INT64, "ts_ns": connect.OPTIONAL_INT64, "schema": connect.STRING,
        "table": connect.STRING, "txId": connect.OPTIONAL_INT64, "lsn": connect.OPTIONAL_INT64,
        "xmin": connect.OPTIONAL_INT64, "origin": connect.OPTIONAL_STRING,
        "origin_lsn": connect.OPTIONAL_INT64,
    },
    name="io.debezium.connector.postgresql.Source", version=1,
)  # fmt: skip
TRANSACTION: Final = struct(
    {"id": connect.STRING, "total_order": connect.INT64, "data_collection_order": connect.INT64},
    name="event.block", version=1, optional=True,
)  # fmt: skip


def envelope_schema(name: str, value: Schema) -> Schema:
    """The schema `name` of events whose rows have the (optional) schema `value`."""
    fields = {
        "before": value, "after": value, "source": SOURCE, "transaction": TRANSACTION, "op": connect.STRING,
        "ts_ms": connect.OPTIONAL_INT64, "ts_us": connect.OPTIONAL_INT64, "ts_ns": connect.OPTIONAL_INT64,
    }  # fmt: skip
    return struct(fields, name=name, version=2)


def event(op: str, before: str, after: str, source: str, transaction: str, tail: str) -> str:
    """The JSON of an event; `source` and `transaction` are its blocks, `tail` comes from `timestamps`."""
    rows = f'{{"before":{before},"after":{after}'
    return f'{rows},"source":{source},"transaction":{transaction},"op":"{op}",{tail}'


def timestamps(now_ns: int) -> str:
    """The end of an event that is processed now."""
    return f'"ts_ms":{now_ns // 1_000_000},"ts_us":{now_ns // 1000},"ts_ns":{now_ns}}}'


class SourceBlocks:
    """Makes `TransactionSource`s for one connector. `xmin` is the slot's, if it is known."""

    def __init__(self, config: PostgresSourceConfig) -> None:
        self.xmin: int | None = None
        version, name = quote(__version__), quote(config.topic_prefix)
        self._head = f'{{"version":{version},"connector":"postgresql","name":{name},"ts_ms":'
        self._db = f'"db":{quote(config.dbname)},'

    def transaction(
        self,
        ts_us: int,
        tx_id: int | None,
        commit_lsn: int,
        marker: str = "false",
        origin: tuple[str, int] | None = None,
    ) -> "TransactionSource":
        """The source block of a transaction; `commit_lsn` is the end of the one before it, 0 if unknown;
        `tx_id` None stands for what belongs to no transaction."""
        before = f'\\"{commit_lsn}\\"' if commit_lsn else "null"
        name, lsn = (quote(origin[0]), origin[1]) if origin else ("null", "null")
        return TransactionSource(
            f'{self._head}{ts_us // 1000},"snapshot":"{marker}",{self._db}"sequence":"[{before},\\"',
            f'\\"]","ts_us":{ts_us},"ts_ns":{ts_us}000,',
            f'"txId":{"null" if tx_id is None else tx_id},"lsn":',
            f',"xmin":{"null" if self.xmin is None else self.xmin},"origin":{name},"origin_lsn":{lsn}}}',
        )

    def incremental(self, source_table: str, ts_us: int, commit_lsn: int, lsn: int) -> str:
        """The source block of rows that an incremental snapshot writes at `lsn`, which it calls nobody's."""
        before = f'\\"{commit_lsn}\\"' if commit_lsn else "null"
        return (
            f'{self._head}{ts_us // 1000},"snapshot":"incremental",{self._db}'
            f'"sequence":"[{before},\\"{lsn}\\"]","ts_us":{ts_us},"ts_ns":{ts_us}000,{source_table}'
            '"txId":null,"lsn":null,"xmin":null,"origin":null,"origin_lsn":null}'
        )


class TransactionSource:
    """The parts of a source block that are the same for all changes of a transaction."""

    __slots__ = ("_end", "_head", "_times", "_transaction")

    def __init__(self, head: str, times: str, transaction: str, end: str) -> None:
        self._head, self._times, self._transaction, self._end = head, times, transaction, end

    def template(self, source_table: str) -> str:
        """The block of any change of the transaction: for `%`, with its position twice."""
        head, times, source_table, transaction, end = map(
            as_template, (self._head, self._times, source_table, self._transaction, self._end)
        )
        return f"{head}%s{times}{source_table}{transaction}%s{end}"

    def block(self, source_table: str, lsn: int) -> str:
        """The JSON of the block; `source_table` is `TablePlan.source_table`."""
        return f"{self._head}{lsn}{self._times}{source_table}{self._transaction}{lsn}{self._end}"
