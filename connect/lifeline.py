"""Processes that end with the one that started them."""

import ctypes
import os
import signal

_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def end_with_parent(parent_pid: int, how: signal.Signals = signal.SIGKILL) -> None:
    """Have the kernel signal this process when its parent ends; at once if that happened already.

    Called in the child: before it becomes its program (`preexec_fn`), or after a fork. See prctl(2).
    """
    _LIBC.prctl(_PR_SET_PDEATHSIG, how)
    if os.getppid() != parent_pid:
        os._exit(1)


def tell_parents_end(how: signal.Signals) -> None:
    """Have the kernel send this process another signal than before when its parent ends."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, how)


def adopt_orphans() -> None:
    """When a process below this one ends, what it started becomes a child of this one. See prctl(2)."""
    _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1)


def children() -> list[int]:
    """The process ids of this process's children, zombies too."""
    found = []
    for task in os.listdir("/proc/self/task"):
        with open(f"/proc/self/task/{task}/children", encoding="ascii") as file:
            found += [int(pid) for pid in file.read().split()]
    return found
