"""The worker's standard input, which the tasks of a standalone worker have too."""

import os
import select
from typing import Final

from connect.api import ConnectError

_FD: Final = 0
_BLOCK_BYTES: Final = 64 << 10
_LINE_BYTES_MAX: Final = 64 << 20


def has_standard_input() -> bool:
    """False in a task of a worker of a cluster: its standard input is the null device."""
    try:
        return os.fstat(_FD).st_rdev != os.stat(os.devnull).st_rdev
    except OSError:  # it is closed
        return False


class StandardInput:
    """Lines as they come. What has been read cannot be read again, and has no position."""

    def __init__(self) -> None:
        self._rest = b""  # a line whose end has not been seen
        self._is_at_end = False

    def read_lines(self) -> tuple[int, list[bytes]]:
        """0, and the next lines with their ends; none if there are none now. At the end of the input the last
        line needs none."""
        if self._is_at_end or not select.select([_FD], [], [], 0)[0]:
            return 0, []
        block = os.read(_FD, _BLOCK_BYTES)
        lines = (self._rest + block).splitlines(keepends=True)
        self._is_at_end = not block
        # A CR at the very end may be half of CR LF.
        whole = self._is_at_end or not lines or lines[-1].endswith(b"\n")
        self._rest = b"" if whole else lines.pop()
        if len(self._rest) > _LINE_BYTES_MAX:
            raise ConnectError(
                f"a line of the standard input is longer than {_LINE_BYTES_MAX} bytes, the most that is read "
                "as one line"
            )
        return 0, lines

    def close(self) -> None:
        """It is not ours to close."""
