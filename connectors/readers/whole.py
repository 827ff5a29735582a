"""A whole file as one record of BYTES."""

from collections.abc import Iterator
from typing import BinaryIO, Final

from connect.api import DataError
from connect.api.schemas import BYTES
from connectors.readers.rows import Row

WHOLE_BYTES_MAX: Final = 256 << 20


class WholeReader:
    """The file's bytes are the one row."""

    def rows(self, stream: BinaryIO, after: int = 0) -> Iterator[Row]:
        if after:
            return
        data = stream.read(WHOLE_BYTES_MAX + 1)
        if len(data) > WHOLE_BYTES_MAX:
            raise DataError(
                f"the file has more than {WHOLE_BYTES_MAX} bytes, the most that one record may be"
            )
        yield Row(1, data, BYTES)
