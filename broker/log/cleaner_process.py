"""The process in which compaction runs, so that it takes no time from the event loop.

A job is a line of JSON on stdin (CompactionJob). Answers are lines on stdout: `{"cleaned": …}` for each
segment as soon as it is there, at last `{"done": …}`, or `{"error": …, "kind": …}`. It ends with its stdin,
and with the process that started it.
"""

import ctypes
import fcntl
import json
import os
import signal
import sys
from dataclasses import asdict
from typing import Any

from broker.log.compaction import CannotCompact, CompactionJob, SourceSegment, Totals, compact
from broker.log.transactions import AbortedTransaction
from broker.wire.batch import InvalidBatch

LOCK_NAME = ".cleaner.lock"
NICENESS = 10
"""The broker goes first."""

DAMAGED, SETTING, STORAGE = "damaged", "setting", "storage"

_PR_SET_PDEATHSIG = 1


def encode_job(job: CompactionJob) -> bytes:
    return json.dumps(asdict(job)).encode() + b"\n"


def _decode_job(line: bytes) -> CompactionJob:
    fields: dict[str, Any] = json.loads(line)
    fields["segments"] = [SourceSegment(**segment) for segment in fields["segments"]]
    fields["aborted"] = [AbortedTransaction(**aborted) for aborted in fields["aborted"]]
    fields["producers"] = {int(key): (last, epoch) for key, (last, epoch) in fields["producers"].items()}
    return CompactionJob(**fields)


def _answer(answer: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def _run(job: CompactionJob) -> None:
    totals = Totals()
    try:
        for cleaned in compact(job, totals):
            _answer({"cleaned": asdict(cleaned)})
    except InvalidBatch as exc:
        _answer({"error": str(exc), "kind": DAMAGED})
    except CannotCompact as exc:
        _answer({"error": str(exc), "kind": SETTING})
    except OSError as exc:
        _answer({"error": str(exc), "kind": STORAGE})
    else:
        _answer({"done": asdict(totals)})


def main() -> None:
    data_dir, parent = sys.argv[1], int(sys.argv[2])
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the broker, which ends this one
    os.nice(NICENESS)
    # One that outlives its broker for a moment must not write what the next one writes.
    lock = os.open(os.path.join(data_dir, LOCK_NAME), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    fcntl.flock(lock, fcntl.LOCK_EX)
    for line in sys.stdin.buffer:
        _run(_decode_job(line))


if __name__ == "__main__":
    main()
