"""Readers of file formats, for every connector that reads files or objects: from a stream of bytes to rows.

They know nothing of where the bytes come from, and import `connect.api` only.
"""

from connectors.readers.avro_files import AvroReader
from connectors.readers.compression import COMPRESSED_SUFFIXES, decompressed
from connectors.readers.csv_rows import CsvDialect, CsvReader, NullIndicator
from connectors.readers.json_documents import JsonReader
from connectors.readers.parquet_files import ParquetReader
from connectors.readers.parsing import TextParser, fitted
from connectors.readers.rows import DAMAGE, Reader, Row
from connectors.readers.text import LineReader, TextSettings
from connectors.readers.whole import WholeReader

__all__ = [
    "COMPRESSED_SUFFIXES",
    "DAMAGE",
    "AvroReader",
    "CsvDialect",
    "CsvReader",
    "JsonReader",
    "LineReader",
    "NullIndicator",
    "ParquetReader",
    "Reader",
    "Row",
    "TextParser",
    "TextSettings",
    "WholeReader",
    "decompressed",
    "fitted",
]
