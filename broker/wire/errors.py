"""The protocol's errors: kio's code table, the exception a handler answers with, and the one that closes."""

from kio.schema.errors import ErrorCode

__all__ = ["ErrorCode", "KafkaError", "ProtocolViolation"]


class KafkaError(Exception):
    """An error that the protocol has a code for; the handler or the server turns it into an answer.

    `message` is the text that goes into the `error_message` fields of the versions that have one.
    """

    def __init__(self, code: ErrorCode, message: str = "") -> None:
        super().__init__(message or code.name)
        self.code = code
        self.message = message


class ProtocolViolation(Exception):
    """Bytes that are no request this broker serves. Nothing can answer them: the connection is closed."""
