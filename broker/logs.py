"""Structured logs on stderr, in the form that the worker's have too: text on a terminal, JSON elsewhere."""

import os
import sys
from contextlib import suppress
from typing import TextIO, cast

import structlog
from structlog.typing import Processor


def configure_logging() -> None:
    """Before the first line. MILLSTREAM_LOG_FORMAT=json or text overrides what stderr is."""
    chosen = os.environ.get("MILLSTREAM_LOG_FORMAT") or ("text" if sys.stderr.isatty() else "json")
    # No local variables in traces: records and credentials may be among them.
    rendering: list[Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if chosen == "json"
        else [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *rendering,
        ],
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, _Stderr())),
    )


class _Stderr:
    """What cannot be written is lost, and nobody fails for it: the log may be on the disk that is full, and
    whoever says so has something more important to do."""

    def write(self, text: str) -> None:
        with suppress(OSError):
            sys.stderr.write(text)

    def flush(self) -> None:
        with suppress(OSError):
            sys.stderr.flush()
