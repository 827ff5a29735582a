"""Structured logs of a process, on stderr: those of structlog and those of the standard library alike."""

import logging
import sys
from typing import Any

import structlog

from connect.runtime.logformat import wants_json

# Libraries that tell at INFO what only their authors need.
_QUIET = ("aiokafka", "boto3", "botocore", "urllib3")


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
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


def _rendering() -> list[structlog.typing.Processor]:
    # Traces without the values of local variables: they may hold secrets.
    if wants_json():
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    console = structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
    )
    return [console]
