"""`millstream worker --standalone` as a child process."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from connect.testing.child import Child, Stoppable


class Standalone(Stoppable):
    """Ready when this returns, with its connectors created."""

    def __init__(
        self,
        directory: Path,
        properties: Path,
        connectors: Sequence[Path],
        stdin: int = subprocess.DEVNULL,
    ) -> None:
        told = directory / "port"
        told.unlink(missing_ok=True)
        command = [sys.executable, "-m", "connect.cli.main", "worker", "--standalone", str(properties)]
        command += [*map(str, connectors), "--rest-port", "0", "--port-file", str(told)]
        self.child = Child(command, directory / "standalone.log", stdin=stdin)
        self.child.wait_until(told.exists, 60, "standalone worker")
        self.url = f"http://127.0.0.1:{told.read_text().strip()}"

    def stop(self) -> int:
        return self.child.stop()
