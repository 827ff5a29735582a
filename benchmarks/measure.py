"""What a group of processes costs: CPU seconds and memory, read from /proc."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from connect.testing.millstream import descendants

_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pids: Sequence[int]) -> float:
    """User and system time of the processes and of the children that they have waited for."""
    total = 0
    for pid in pids:
        try:
            # The command's name may hold spaces: what follows starts behind its closing parenthesis.
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        total += sum(int(ticks) for ticks in fields[11:15])
    return total / _TICKS


def pss_bytes(pids: Sequence[int]) -> int:
    """Proportional set size: shared pages count for each process by its share."""
    total = 0
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        total += next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")) * 1024
    return total


@dataclass(frozen=True, slots=True)
class Usage:
    """Seconds of wall clock and CPU."""

    wall: float
    cpu: float


def tree(pid: int) -> list[int]:
    """A process and all below it."""
    return [each for each, _ in descendants(pid)]
