"""However a file grows and however the reader is cut: every line once, with the right position."""

import re
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from support.task_contexts import SourceContext

from connectors.files.config import FileStreamSourceConfig
from connectors.files.source import FileStreamSourceTask

PIECES = [b"\n", b"\r", b"\r\n", b"a", b"bc", "é€".encode(), b"\xff"]
CONTENT = st.lists(st.sampled_from(PIECES)).map(b"".join)


def expected_lines(content: bytes) -> list[tuple[str, int]]:
    """Kafka's rule, spelled out: value and position behind the line's end."""
    found, start = [], 0
    for end in re.finditer(rb"\n|\r\n|\r(?=[^\n])", content):
        found.append((content[start : end.start()].decode("utf-8", "backslashreplace"), end.end()))
        start = end.end()
    return found


@given(CONTENT, st.lists(st.integers(0, 40), max_size=4), st.integers(1, 5), st.data())
def test_every_line_once_across_growth_and_restarts(
    content: bytes, growth: list[int], batch_size: int, data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "in.txt"
        stored: dict[str, int] | None = None
        found: list[tuple[str, int]] = []
        written = 0
        for length in [*growth, len(content)]:
            with path.open("ab") as out:
                out.write(content[written : written + length])
            written += length
            task = FileStreamSourceTask()
            settings = {"file": str(path), "topic": "t", "batch.size": str(batch_size)}
            task.start(SourceContext(stored), FileStreamSourceConfig.parse(settings))
            while records := task.poll():
                found += [(record.value, record.source_offset["position"]) for record in records]
                stored = dict(records[-1].source_offset)
                if data.draw(st.booleans()):
                    break
            task.stop()
        task.start(SourceContext(stored), FileStreamSourceConfig.parse(settings))
        while records := task.poll():
            found += [(record.value, record.source_offset["position"]) for record in records]
        task.stop()
        assert found == expected_lines(content)
