"""The format that the settings ask for."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from connectors.s3.aiven.config import AivenS3SinkConfig
from connectors.s3.aiven.rows import CsvRows, JsonRows
from connectors.s3.compression import Compressor, Gzip, NoCompression, Snappy, Zstandard
from connectors.s3.formats import Format

_COMPRESSORS: Final[Mapping[str, Callable[[], Compressor]]] = {
    "none": NoCompression, "gzip": partial(Gzip, -1), "snappy": Snappy, "zstd": Zstandard,
}  # fmt: skip


def format_for(config: AivenS3SinkConfig) -> Format:
    compressor = _COMPRESSORS[config.compression]
    match config.format:
        case "csv":
            plain_values = config.value_encoding.lower() == "none"
            return CsvRows(compressor, config.fields, plain_values=plain_values)
        case "json" | "jsonl":
            as_array = config.format == "json"
            return JsonRows(compressor, config.fields, envelope=config.envelope, as_array=as_array)
        case _:
            return _table(config, compressor)


def _table(config: AivenS3SinkConfig, compressor: Callable[[], Compressor]) -> Format:
    from connectors.s3.aiven.tables import TableRows  # importing these costs memory
    from connectors.s3.avro_schema import Dialect
    from connectors.s3.schema_formats import SchemaFormat

    name = f"io.aiven.{config.format}.output.schema.connector_records"
    dialect = Dialect(tells_connect=config.connect_meta_data, bare=name)
    format: SchemaFormat[Any]
    outer: Callable[[], Compressor] | None = None
    if config.format == "parquet":
        from connectors.s3.parquet import Parquet

        format = Parquet(config.compression, dialect)
    else:
        from connectors.s3.avro import Avro

        format = Avro(config.avro_codec.lower(), dialect)
        outer = compressor if config.compression != "none" else None
    return TableRows(format, outer, config.fields, envelope=config.envelope, name=name)
