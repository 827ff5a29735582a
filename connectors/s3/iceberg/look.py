"""A look at the catalog before a connector is deployed."""

from collections.abc import Iterable

from connect.api import ConnectError, FieldError
from connectors.s3.config import S3SinkConfig

INSTALL: str = "IcebergFormat needs pyiceberg, which is not installed: pip install 'millstream[iceberg]'"


def problems_of_catalog(config: S3SinkConfig) -> Iterable[FieldError]:
    """Whether pyiceberg is there and the catalog answers."""
    try:
        import pyiceberg  # noqa: F401
    except ImportError:
        yield FieldError("format.class", INSTALL)
        return
    from connectors.s3.iceberg.catalog import Tables, catalog_properties
    from connectors.s3.iceberg.errors import explained

    tables = Tables(config, catalog_properties(config, config.access, config.iceberg_location))
    try:
        with explained(f"look into the catalog {config.iceberg_catalog}"):
            tables.catalog.list_namespaces()
    except ConnectError as exc:
        yield FieldError("iceberg.catalog.uri", str(exc))
