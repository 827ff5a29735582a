"""StringConverter: text in any character set; what is not text is written as Java's `toString` shows it."""

import codecs
from collections.abc import Mapping
from typing import Any

from connect.api import (
    Config,
    ConfigError,
    Converter,
    Header,
    HeaderConverter,
    Importance,
    JsonPayload,
    Schema,
    SchemaAndValue,
    Width,
    setting,
)
from connect.api.java_text import java_text
from connect.api.schemas import OPTIONAL_STRING
from connect.version import __version__


class StringConverterConfig(Config):
    """Settings of StringConverter."""

    encoding: str = setting(
        "converter.encoding", default="UTF-8", importance=Importance.HIGH, width=Width.MEDIUM,
        display_name="Encoding",
        doc="The name of the Java character set to use for encoding strings as byte arrays.",
    )  # fmt: skip


class StringConverter(Converter, HeaderConverter):
    """Text ↔ bytes. Read values have the schema of an optional string."""

    version = __version__
    config_class = StringConverterConfig

    def configure(self, properties: Mapping[str, str], is_key: bool = False) -> None:
        encoding = StringConverterConfig.parse(properties).encoding
        try:
            self._encoding = codecs.lookup(encoding).name
        except LookupError:
            raise ConfigError(
                f"Unsupported encoding {encoding} for configuration converter.encoding: "
                "use the name of a character set, such as UTF-8 or ISO-8859-1"
            ) from None

    def from_connect(self, topic: str, schema: Schema | None, raw: Any) -> bytes | None:
        value = raw.value() if type(raw) is JsonPayload else raw
        if value is None:
            return None
        text = value if type(value) is str else java_text(schema, value)
        # Java writes a question mark for what the character set does not have.
        return text.encode(self._encoding, "replace")

    def to_connect(self, topic: str, data: bytes | None) -> SchemaAndValue[str | None]:
        if data is None:
            return SchemaAndValue(OPTIONAL_STRING, None)
        return SchemaAndValue(OPTIONAL_STRING, data.decode(self._encoding, "replace"))

    def from_connect_header(self, topic: str, header: Header) -> bytes | None:
        return self.from_connect(topic, header.schema, header.value)

    def to_connect_header(self, topic: str, name: str, data: bytes | None) -> Header:
        return Header(name, *self.to_connect(topic, data))
