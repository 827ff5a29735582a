"""Processes that end with the one that started them."""

import ctypes
import os
import signal

_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


def end_with_parent(parent_pid: int, how: signal.Signals = signal.SIGKILL) -> None:
    """Have the kernel signal this process when its parent ends; at once if that happened already.

    Called in the child: before it becomes its program (`preexec_fn`), or after a fork. See prctl(2).
    """
    _LIBC.prctl(_PR_SET_PDEATHSIG, how)
    if os.getppid() != parent_pid:
        os._exit(1)
