"""Statements on the table of transactional ids. Documents are the transaction coordinator's own."""

from sqlalchemy import Connection, bindparam, delete, select
from sqlalchemy.dialects.sqlite import insert

from broker.catalog import schema
from broker.catalog.writer import Statement

_put = insert(schema.transactions)
_put = _put.on_conflict_do_update(
    index_elements=["transactional_id"], set_={"document": _put.excluded.document}
)
_delete = delete(schema.transactions).where(schema.transactions.c.transactional_id == bindparam("deleted_id"))


def change_transaction(transactional_id: str, document: bytes | None) -> list[Statement]:
    """Replace a transactional id's document; None removes it."""
    if document is None:
        return [(_delete, [{"deleted_id": transactional_id}])]
    return [(_put, [{"transactional_id": transactional_id, "document": document}])]


def read_transactions(connection: Connection, transactional_id: str | None = None) -> dict[str, bytes]:
    """Documents by transactional id: all, or the one if it is there."""
    query = select(schema.transactions)
    if transactional_id is not None:
        query = query.where(schema.transactions.c.transactional_id == transactional_id)
    return {row.transactional_id: row.document for row in connection.execute(query)}
