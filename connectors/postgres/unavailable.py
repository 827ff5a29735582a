"""TOAST values that the server did not send because an update left them as they were.

By default an event shows `unavailable.value.placeholder`. Debezium's ReselectColumnsPostProcessor reads such
columns again, and `unavailable.value.handling.mode=omit` leaves them out.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import psycopg
import structlog

from connect.api import ConnectError
from connectors.postgres import pgoutput
from connectors.postgres.connection import quote_name
from connectors.postgres.filters import Filters
from connectors.postgres.plan import UNAVAILABLE, TablePlan
from connectors.postgres.reselect_settings import ReselectSettings
from connectors.postgres.type_map import Encode, UnknownLabelError

_NULL: Final = "null"
log = structlog.get_logger(__name__)


class UnavailableValues:
    """Puts something into new rows where a value is missing."""

    def __init__(self, omit: bool, reselect: "Reselect | None") -> None:
        self._omit = omit
        self._reselect = reselect

    def resolve(self, plan: TablePlan, message: bytes, base: int, row: list[str]) -> TablePlan:
        """Complete the row of the insert or update that starts at `base`; the plan that it has now."""
        if self._reselect is not None:
            self._reselect.complete(plan, message, base, row)
        if UNAVAILABLE not in row:
            return plan
        places = frozenset(place for place, fragment in enumerate(row) if fragment == UNAVAILABLE)
        for place in places:
            row[place] = plan.placeholders[place]
        return plan.without(places) if self._omit else plan


class _Query(NamedTuple):
    """What can be read again of a table: the places of the wanted columns and of those that find the row."""

    plan: TablePlan
    wanted: frozenset[int]
    key: tuple[int, ...]


class Reselect:
    """Reads columns again by the key of their row: what the table has now, perhaps newer than the event."""

    def __init__(
        self, settings: ReselectSettings, connection: psycopg.Connection[Any], filters: Filters
    ) -> None:
        self._settings = settings
        self._connection = connection
        self._filters = filters
        self._queries: dict[int, _Query] = {}

    def complete(self, plan: TablePlan, message: bytes, base: int, row: list[str]) -> None:
        """Replace what is wanted in the row of the insert or update that starts at `base`."""
        settings = self._settings
        missing = [
            place
            for place, fragment in enumerate(row)
            if (fragment == UNAVAILABLE and settings.unavailable) or (fragment == _NULL and settings.null)
        ]
        if not missing:
            return
        query = self._query(plan)
        places = [place for place in missing if place in query.wanted]
        if not places or not query.key:
            return
        found = self._select(query, places, _key_texts(query, message, base))
        if found is None:
            return
        for place, text in zip(places, found, strict=True):
            row[place] = _NULL if text is None else _fragment(plan.encoders[place], text)

    def _query(self, plan: TablePlan) -> _Query:
        known = self._queries.get(plan.table.oid)
        if known is not None and known.plan is plan:
            return known
        table, names = plan.table, [column.name for column in plan.incoming]
        key = self._filters.key_columns(table) if self._settings.by_event_key else table.key
        query = self._queries[table.oid] = _Query(
            plan,
            frozenset(i for i, name in enumerate(names) if self._settings.wants(table.full_name, name)),
            tuple(names.index(name) for name in key) if all(name in names for name in key) else (),
        )
        return query

    def _select(
        self, query: _Query, places: Sequence[int], key: Sequence[str | None]
    ) -> list[str | None] | None:
        table, columns = query.plan.table, query.plan.incoming
        wanted = ", ".join(quote_name(columns[place].name) for place in places)
        where = " AND ".join(
            f"{quote_name(columns[place].name)} IS NOT DISTINCT FROM ${n}"
            for n, place in enumerate(query.key, 1)
        )
        source = f"{quote_name(table.schema)}.{quote_name(table.name)}"
        try:
            return self._execute(f"SELECT {wanted} FROM {source} WHERE {where}", len(places), key)
        except psycopg.OperationalError:
            raise  # the connection is gone: all of it is tried again
        except psycopg.Error as exc:
            self._failed(table.full_name, str(exc).strip())
            return None

    def _execute(self, sql: str, count: int, key: Sequence[str | None]) -> list[str | None] | None:
        # Not through a cursor: what is wanted is PostgreSQL's own text, as in the stream.
        result = self._connection.pgconn.exec_params(
            sql.encode(), [None if text is None else text.encode() for text in key]
        )
        if result.status != psycopg.pq.ExecStatus.TUPLES_OK:
            raise psycopg.errors.error_from_result(result)
        if result.ntuples != 1:
            self._failed(sql, f"{result.ntuples} rows are found")
            return None
        values = [result.get_value(0, column) for column in range(count)]
        return [None if value is None else value.decode() for value in values]

    def _failed(self, what: str, why: str) -> None:
        if self._settings.fail:
            raise ConnectError(f"{what}: columns cannot be read again: {why}")
        log.warning("columns cannot be read again", what=what, why=why)


def _fragment(encode: Encode | None, text: str) -> str:
    if encode is None:
        return text
    try:
        return encode(text)
    except UnknownLabelError:  # newer than the change whose row this is: it says so once
        return encode(text)


def _key_texts(query: _Query, message: bytes, base: int) -> list[str | None]:
    count = len(query.plan.incoming)
    _, _, texts = pgoutput.row(message, (None,) * count, (_NULL,) * count, base)
    assert texts is not None  # it is an insert or an update
    # NULL is the very constant; the text null would be another object.
    return [None if texts[place] is pgoutput.NULL else texts[place] for place in query.key]
