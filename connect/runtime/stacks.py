"""Where a process hangs: the Python stacks of its threads, as seen from another process.

The process offers them (`offer_stacks`): on SIGUSR2 faulthandler writes all stacks to a file in memory, also
while C code holds Python's lock. Who watches it sends the signal and reads that file through /proc
(`read_stacks`).
"""

import asyncio
import faulthandler
import os
import re
import signal
import threading
import time
import traceback
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

_SIGNAL: Final = signal.SIGUSR2
_LOOK_S: Final = 0.02
_DUMP_BYTES_MAX: Final = 1 << 20
_THREAD: Final = re.compile(
    r"(?:Current thread|Thread) 0x([0-9a-f]+)(?: \[(.*)\])? \(most recent call first\):"
)
_FRAME: Final = re.compile(r'  File "(.*)", line (\d+|\?\?\?) in (.*)')


@dataclass(frozen=True, slots=True)
class StackOffer:
    """How to get the stacks: the file's descriptor in that process, and which thread is which (by their
    idents): the one that does the work, and those that are of no interest."""

    fd: int
    main: int
    hidden: Collection[int] = ()

    @classmethod
    def of(cls, message: Mapping[str, Any]) -> "StackOffer":
        return cls(message["fd"], message["main"], message["hidden"])


def offer_stacks(hidden: Collection[int] = ()) -> StackOffer:
    """Called once, in the process that is to be watched."""
    fd = os.memfd_create("stacks")
    faulthandler.register(_SIGNAL, file=fd, all_threads=True)
    ident = threading.main_thread().ident
    assert ident is not None
    return StackOffer(fd, ident, tuple(hidden))


async def read_stacks(pid: int, offer: StackOffer, seconds: float) -> str:
    """The stacks of a process, in Python's own format, the main thread first; or why there are none, after
    `seconds` at the latest."""
    if (why := _cannot_answer(pid)) is not None:
        return why
    file = Path(f"/proc/{pid}/fd/{offer.fd}")
    deadline = time.monotonic() + seconds
    try:
        known = len(_read(file))
        os.kill(pid, _SIGNAL)
        dump, before = b"", b""
        # It has no end mark: it is complete once it has stopped growing.
        while (not dump or dump != before) and time.monotonic() < deadline:
            await asyncio.sleep(_LOOK_S)
            dump, before = _read(file)[known:], dump
    except (FileNotFoundError, ProcessLookupError):
        return "There is no Python stack: the process has ended."
    if not dump:
        return _cannot_answer(pid) or "There is no Python stack: the process did not answer in time."
    return show_stacks(dump.decode(errors="replace"), offer)


def _read(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(_DUMP_BYTES_MAX)


def _cannot_answer(pid: int) -> str | None:
    """A process that the kernel does not let run handles no signal."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        if state in "Tt":
            return "There is no Python stack: the process is stopped, as by SIGSTOP or a debugger."
        if state == "D":
            where = Path(f"/proc/{pid}/wchan").read_text().strip("0 \n") or "the kernel"
            return f"There is no Python stack: the process waits for a device or a file system ({where})."
    except OSError:
        return "There is no Python stack: the process has ended."
    return None


def show_stacks(dump: str, offer: StackOffer) -> str:
    """faulthandler's output with source lines, the most recent call last."""
    threads: dict[int, tuple[str, list[traceback.FrameSummary]]] = {}
    frames: list[traceback.FrameSummary] = []
    for line in dump.splitlines():
        if (thread := _THREAD.match(line)) is not None:
            ident = int(thread[1], 16)
            frames = []
            threads[ident] = thread[2] or f"0x{ident:x}", frames
        elif (frame := _FRAME.match(line)) is not None:
            number = int(frame[2]) if frame[2].isdecimal() else 0
            frames.insert(0, traceback.FrameSummary(frame[1], number, frame[3]))
    shown = []
    for ident in sorted(threads, key=lambda ident: ident != offer.main):
        if ident not in offer.hidden:
            name, stack = threads[ident]
            what = "Main thread" if ident == offer.main else f"Thread {name}"
            shown.append(f"{what} (most recent call last):\n{''.join(traceback.format_list(stack))}")
    return "".join(shown).rstrip()
