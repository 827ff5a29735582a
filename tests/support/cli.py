"""Running the `millstream` command as a user does."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COMMAND = [sys.executable, "-m", "connect.cli.main"]


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def millstream(
    *arguments: str,
    stdin: str = "",
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
) -> Ran:
    """Run it to its end, without the servers that the caller's environment may name."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MILLSTREAM_")}
    done = subprocess.run(
        [*COMMAND, *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        env={**clean, **(environment or {})},
        cwd=directory,
        timeout=60,
        check=False,
    )
    return Ran(done.returncode, done.stdout, done.stderr)
