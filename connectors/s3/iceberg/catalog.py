"""The catalog: finds tables, makes and changes them."""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import structlog
from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.exceptions import (
    CommitFailedException,
    NamespaceAlreadyExistsError,
    NoSuchNamespaceError,
    NoSuchTableError,
    TableAlreadyExistsError,
)
from pyiceberg.schema import Schema as IcebergSchema
from pyiceberg.table import Table

from connect.api import ConnectError, RetriableError
from connectors.s3.access import Access
from connectors.s3.iceberg.errors import explained
from connectors.s3.iceberg.partitions import spec_for
from connectors.s3.iceberg.settings import IcebergSettings
from connectors.s3.iceberg.terms import parse_terms
from connectors.s3.iceberg.types import Change

log = structlog.get_logger(__name__)

_CONFLICTS_MAX: Final = 20


class Tables:
    """The tables of a sink. Every method raises `RetriableError` when trying again later may help."""

    def __init__(self, settings: IcebergSettings, properties: Mapping[str, str]) -> None:
        self._settings = settings
        self._properties = properties
        self._catalog: Catalog | None = None

    @property
    def catalog(self) -> Catalog:
        """Connected when it is first asked for."""
        if self._catalog is None:
            if "s3.endpoint" in self._properties:
                # Not every store that speaks S3 knows AWS's checksums; Arrow has no setting for them.
                os.environ.setdefault("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
            with explained(f"open the catalog {self._settings.iceberg_catalog}"):
                self._catalog = load_catalog(self._settings.iceberg_catalog, **self._properties)
        return self._catalog

    def find(self, name: str) -> Table | None:
        """The table as it is now; None if there is none."""
        with explained(f"load the table {name}"):
            try:
                return self.catalog.load_table(name)
            except (NoSuchTableError, NoSuchNamespaceError):
                return None

    def load(self, name: str) -> Table:
        """The table as it is now; raises `ConnectError` if it is gone."""
        table = self.find(name)
        if table is None:
            raise ConnectError(f"the table {name} is there no more")
        return table

    def create(self, name: str, schema: IcebergSchema) -> Table:
        """A new table, or the one that somebody else has just made."""
        settings = self._settings
        if not settings.iceberg_auto_create:
            raise ConnectError(
                f"there is no table {name}: make it, or set iceberg.tables.auto-create-enabled=true"
            )
        spec = spec_for(parse_terms(settings.partition_by(name)), schema)
        with explained(f"make the table {name}"):
            with suppress(NamespaceAlreadyExistsError):
                self.catalog.create_namespace(name.rpartition(".")[0])
            try:
                table = self.catalog.create_table(
                    name, schema, partition_spec=spec, properties=dict(settings.new_table_properties)
                )
            except TableAlreadyExistsError:
                return self.catalog.load_table(name)
        log.info("made a table", table=name, location=table.location())
        return table

    def change(self, name: str, wanted: Callable[[Table], Sequence[Change]]) -> Table:
        """The table with all changes made that are still wanted; several tasks may do so at once."""
        for _ in range(_CONFLICTS_MAX):
            table = self.load(name)
            found = wanted(table)
            if not found:
                return table
            try:
                with explained(f"change the columns of {name}"), table.update_schema() as update:
                    for change in found:
                        _apply(update, change)
            except CommitFailedException:
                continue
            log.info("changed a table", table=name, changes=[str(change) for change in found])
            return table
        raise RetriableError(f"cannot change the columns of {name}: others change it all the time")


def _apply(update: Any, change: Change) -> None:
    if change.is_new:
        update.add_column(change.path, change.type)
    elif change.type is not None:
        update.update_column(change.path, field_type=change.type)
    else:
        update.make_column_optional(change.path)


def catalog_properties(settings: IcebergSettings, access: Access, warehouse: str) -> Mapping[str, str]:
    """All that pyiceberg is told: how the sink reaches its bucket, unless `iceberg.catalog.…` says otherwise.
    `warehouse` is the location where the settings name none."""
    told = {
        "s3.endpoint": access.endpoint,
        "s3.region": access.region,
        "s3.access-key-id": access.key_id,
        "s3.secret-access-key": access.secret,
        "s3.session-token": access.session_token,
        "s3.anonymous": "true" if access.anonymous else None,
        "s3.proxy-uri": str(access.proxy) if access.proxy else None,
        "s3.force-virtual-addressing": "false" if access.path_style else "true",
        "s3.connect-timeout": "5",
        "s3.request-timeout": "60",
        "s3.role-arn": access.role.arn if access.role else None,
        "s3.role-session-name": access.role.session_name if access.role else None,
    }
    if settings.catalog_type == "sql":
        told["warehouse"] = warehouse
    return {name: value for name, value in told.items() if value} | dict(settings.catalog_properties)
