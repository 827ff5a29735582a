"""The bundled broker on a disk and a clock that a test controls: what no real disk does when it is asked to.

Run as a script it is the broker's process: it wraps the calls of `os` that change files, and the wall clock,
and looks into a control file before each of them. `BrokerWithFaults` is the test's side.
"""

import errno
import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from connect.testing.millstream import Broker

OPERATIONS = ("pwrite", "fdatasync", "fsync", "open", "rename", "replace", "unlink", "ftruncate")
"""Those that change what is on the disk (an open only when it creates)."""


class Control:
    """The test's side of the control file."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.path = directory / "faults.json"
        self.counted = directory / "operations"
        """The broker keeps the number of its operations there."""
        self.set()

    def set(self, **faults: Any) -> None:
        """From now on these faults, and no others; see `_Faults` for what there is."""
        partial = self.path.with_suffix(".new")
        partial.write_text(json.dumps(faults))
        partial.replace(self.path)


class BrokerWithFaults(Broker):
    """A broker whose faults are `faults.set`."""

    def __init__(self, data_dir: Path, settings: dict[str, str] | None = None) -> None:
        self.faults = Control(data_dir.with_name(data_dir.name + "-faults"))
        super().__init__(data_dir, settings)

    def _command(self) -> list[str]:
        _, module, *arguments = super()._command()
        assert module == "broker.app"
        return [str(Path(__file__)), str(self.faults.path), str(self.faults.counted), *arguments]


class _Faults:
    """What the control file says, as a JSON object:

    * `fail`: {operation: name of an errno}, for files whose path contains `path` (all, if not given);
    * `delay_ms`: {operation: how long it takes};
    * `kill_at`: SIGKILL at the operation of that number, or the next one, counted from the start of the
      process; `kill_on`: [operation, part of a path], at the first such one; `kill_after` says whether after
      it is done;
    * `clock_skew_ms`: added to the wall clock.
    """

    def __init__(self, control: Path, counted: Path) -> None:
        self._control = control
        self._counted = os.open(counted, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        self._seen: tuple[int, int] = (0, 0)
        self._faults: Mapping[str, Any] = {}
        self._count = 0
        self._stat, self._pwrite = os.stat, os.pwrite
        for name in OPERATIONS:
            setattr(os, name, self._wrapped(name, getattr(os, name)))
        real_time, real_time_ns = time.time, time.time_ns
        time.time = lambda: real_time() + self.current().get("clock_skew_ms", 0) / 1000
        time.time_ns = lambda: real_time_ns() + self.current().get("clock_skew_ms", 0) * 1_000_000

    def current(self) -> Mapping[str, Any]:
        stat = self._stat(self._control)
        seen = (stat.st_mtime_ns, stat.st_ino)
        if seen != self._seen:
            self._faults, self._seen = json.loads(self._control.read_text()), seen
        return self._faults

    def _wrapped(self, name: str, real: Any) -> Any:
        def operation(target: Any, *arguments: Any, **more: Any) -> Any:
            if name == "open" and not (arguments and arguments[0] & os.O_CREAT):
                return real(target, *arguments, **more)
            path = os.readlink(f"/proc/self/fd/{target}") if isinstance(target, int) else os.fspath(target)
            faults = self.current()
            if str(faults.get("path", "")) in str(path):
                if name in faults.get("delay_ms", {}):
                    time.sleep(faults["delay_ms"][name] / 1000)
                if name in faults.get("fail", {}):
                    number = getattr(errno, faults["fail"][name])
                    raise OSError(number, os.strerror(number), str(path))
            self._count += 1
            self._pwrite(self._counted, b"%d" % self._count, 0)
            operation_name, path_part = faults.get("kill_on", ("", ""))
            # More than `kill_at` when the count went on while the test was writing it down.
            is_last = 0 < faults.get("kill_at", 0) <= self._count or (
                name == operation_name and path_part in str(path)
            )
            if is_last and not faults.get("kill_after"):
                os.kill(os.getpid(), signal.SIGKILL)
            done = real(target, *arguments, **more)
            if is_last:
                os.kill(os.getpid(), signal.SIGKILL)
            return done

        return operation


if __name__ == "__main__":
    control_file, counted_file, *broker_arguments = sys.argv[1:]
    faults = _Faults(Path(control_file), Path(counted_file))
    from broker.app import main

    sys.exit(main(broker_arguments))
