"""SimpleHeaderConverter: header values as readable text, their type found again by its looks."""

from collections.abc import Mapping

from connect.api import Header, HeaderConverter
from connect.api.values import text_of, value_of
from connect.version import __version__


class SimpleHeaderConverter(HeaderConverter):
    """Kafka Connect's default for headers."""

    version = __version__

    def configure(self, properties: Mapping[str, str]) -> None:
        """There is nothing to set."""

    def from_connect_header(self, topic: str, header: Header) -> bytes | None:
        text = text_of(header.schema, header.value)
        return None if text is None else text.encode("utf-8", "replace")

    def to_connect_header(self, topic: str, name: str, data: bytes | None) -> Header:
        if data is None:
            return Header(name, None, None)
        return Header(name, *value_of(data.decode("utf-8", "replace")))
