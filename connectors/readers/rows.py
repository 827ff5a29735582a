"""What a reader makes of a stream."""

import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO, Final, NamedTuple, Protocol

from connect.api import DataError, Schema


class Row(NamedTuple):
    """One record of a file, or, where `error` says so, what should have been one.

    `position` is where to go on behind it: the lines read so far in a text, else the records. `error` names
    the line or record and what is wrong with it; then `value` is what stands there, as text or bytes. `line`
    is the first line of a record of a text, where it is known.
    """

    position: int
    value: Any
    schema: Schema | None = None
    error: str | None = None
    line: int = 0


class Reader(Protocol):
    """Reads one format. An object of it holds settings only and reads any number of files."""

    def rows(self, stream: BinaryIO, after: int = 0) -> Iterator[Row]:
        """The rows behind position `after`. Raises `DataError` (or one of `DAMAGE`, from the stream) where
        the rest of the file cannot be read."""
        ...


# What streams and decoders raise for bytes that are damaged or cut short. An OSError with an `errno` is none
# of that: there the file could not be read.
DAMAGE: Final = (DataError, OSError, EOFError, ValueError, zlib.error)
