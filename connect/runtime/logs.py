"""Structured logs of a process, on stderr: those of structlog and those of the standard library alike."""

import logging
import sys
from typing import Any

import structlog

from connect.runtime.logformat import wants_json

# Libraries that tell at INFO what only their authors need.
_QUIET = ("aiokafka", "boto3", "botocore", "httpx", "urllib3")
# While Kafka is away it says so many times a second.
_REPETITIVE = "aiokafka"
_REPEAT_S = 30.0


def configure_logging(level: int | str = logging.INFO, **context: Any) -> None:
    """Before a process writes its first line; again where more is known of it.

    `context` is added to every line, such as the connector and the task that a process runs. Levels belong
    to the standard library's loggers, so that `/admin/loggers` rules both kinds.
    """

    def add_context(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        return {**context, **event}

    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        add_context,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_rendering()],
        )
    )
    handler.addFilter(_Seldom())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


class _Seldom(logging.Filter):
    """Lets what a library says again and again while Kafka is away pass once in a while."""

    def __init__(self) -> None:
        super().__init__()
        self._said_at: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if not record.name.startswith(_REPETITIVE):
            return True
        what = record.name, str(record.msg)
        if record.created - self._said_at.get(what, 0.0) < _REPEAT_S:
            return False
        self._said_at[what] = record.created
        return True


def _rendering() -> list[structlog.typing.Processor]:
    # Traces without the values of local variables: they may hold secrets.
    if wants_json():
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    console = structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
    )
    return [console]
