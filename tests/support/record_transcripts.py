"""Record sessions with Kafka's tools anew: `python -m tests.support.record_transcripts HOST:PORT FILE…`.

Runs the commands of each file against the cluster, an Apache Kafka, and writes what they print below them.
"""

import sys
import tempfile
import uuid
from pathlib import Path

from .java import JavaTools
from .transcript import Session, parse

SETTLED_S = 8  # longer than the delay before a new group's first assignment


def record(tools: JavaTools, bootstrap: str, file: Path) -> None:
    steps = parse(file.read_text())
    with tempfile.TemporaryDirectory() as directory:
        session = Session(tools, bootstrap, f"r{uuid.uuid4().hex[:8]}-", Path(directory))
        try:
            for step in steps:
                step.expected = session.perform(step, SETTLED_S)
        finally:
            session.close()
    file.write_text("\n\n".join(step.text() for step in steps) + "\n")


def main(bootstrap: str, *files: str) -> None:
    with JavaTools() as tools:
        for file in files:
            record(tools, bootstrap, Path(file))
            print(f"{file} recorded")


if __name__ == "__main__":
    main(*sys.argv[1:])
