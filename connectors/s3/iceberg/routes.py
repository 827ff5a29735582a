"""Which tables a record goes to: by its topic, or as Iceberg's Kafka Connect sink decides it."""

import re
from collections.abc import Callable, Sequence
from typing import Any, Final

from connect.api import DataError, SinkRecord
from connectors.s3.fields import find_field, where
from connectors.s3.iceberg.settings import IcebergSettings

_NOT_IN_A_NAME: Final = re.compile(r"[^A-Za-z0-9_]")

Report = Callable[[SinkRecord, Exception], None]


class Routes:
    """Names of tables. A record that no rule sends anywhere is left out, as in Iceberg's sink."""

    def __init__(self, settings: IcebergSettings) -> None:
        self._namespace = settings.iceberg_namespace
        self._tables = list(dict.fromkeys(settings.iceberg_tables))
        self._field = settings.iceberg_route_field
        self._is_dynamic = settings.iceberg_dynamic
        patterns = {table: settings.route_regex(table) for table in self._tables}
        self._patterns = {table: re.compile(text) for table, text in patterns.items() if text is not None}

    def split(self, records: Sequence[SinkRecord], report: Report) -> dict[str, list[SinkRecord]]:
        """The records of each table."""
        found: dict[str, list[SinkRecord]] = {}
        for record in records:
            try:
                for table in self._tables_of(record):
                    found.setdefault(table, []).append(record)
            except DataError as exc:
                report(record, exc)
        return found

    def _tables_of(self, record: SinkRecord) -> Sequence[str]:
        if self._field is None:
            return self._tables or [f"{self._namespace}.{_NOT_IN_A_NAME.sub('_', record.topic)}"]
        route = self._route(record, self._field)
        if not self._is_dynamic:
            return [t for t, pattern in self._patterns.items() if route and pattern.fullmatch(route)]
        if route is None:
            return []
        if "." not in route.strip("."):
            raise DataError(f"{where(record)} is for the table {route}, which has no namespace")
        return [route.lower()]

    @staticmethod
    def _route(record: SinkRecord, path: str) -> str | None:
        try:
            value: Any = find_field(record, path).value
        except DataError:
            return None
        return None if value is None else str(value)
