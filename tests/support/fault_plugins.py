"""Converters and transforms that refuse one record, and a source of one; as `fault_plugins:ClassName`.

They fail on `bad`, or on what holds it: with `times` only so many times and so that it may be tried again.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from connect.api import (
    Config,
    ConnectRecord,
    Converter,
    DataError,
    Header,
    HeaderConverter,
    RetriableError,
    Schema,
    SchemaAndValue,
    SourceConnector,
    SourceRecord,
    SourceTask,
    SourceTaskContext,
    Transform,
    setting,
)

BAD = b"bad"


class _Refusing:
    def configure(self, properties: Mapping[str, str], is_key: bool = False) -> None:
        self._left = int(properties["times"]) if "times" in properties else None

    def _look_at(self, data: Any) -> None:
        if data != BAD:
            return
        if self._left is None:
            raise DataError("it is bad")
        if self._left > 0:
            self._left -= 1
            raise RetriableError("not yet")


class RefusingConverter(_Refusing, Converter):
    version = "1"

    def from_connect(self, topic: str, schema: Schema | None, raw: Any) -> bytes | None:
        self._look_at(raw)
        found: bytes | None = raw
        return found

    def to_connect(self, topic: str, data: bytes | None) -> SchemaAndValue[Any]:
        self._look_at(data)
        return SchemaAndValue(None, data)


class RefusingHeaderConverter(_Refusing, HeaderConverter):
    version = "1"

    def from_connect_header(self, topic: str, header: Header) -> bytes | None:
        self._look_at(header.value)
        found: bytes | None = header.value
        return found

    def to_connect_header(self, topic: str, name: str, data: bytes | None) -> Header:
        self._look_at(data)
        return Header(name, None, data)


class RefusingTransform(_Refusing, Transform[ConnectRecord]):
    version = "1"

    def apply(self, record: ConnectRecord) -> ConnectRecord | None:
        self._look_at(record.value)
        return record


class ThreeConfig(Config):
    topic: str = setting("topic", doc="Where the records go.")
    large_bytes: int = setting("large.bytes", default=0, doc="Pad the value in the middle to so many bytes.")


class ThreeSource(SourceConnector[ThreeConfig]):
    """Three records; key, value and header of the one in the middle are bad."""

    version = "1"
    config_class = ThreeConfig

    def task_configs(self, config: ThreeConfig, max_tasks: int) -> Sequence[Mapping[str, str]]:
        return [{"topic": config.topic, "large.bytes": str(config.large_bytes)}]  # the rest: the connector's


class ThreeTask(SourceTask[ThreeConfig]):
    def start(self, context: SourceTaskContext, config: ThreeConfig) -> None:
        self._context = context
        self._config = config
        self._done = context.offset({}) is not None

    def poll(self) -> Sequence[SourceRecord]:
        if self._done:
            self._context.wait(0.2)
            return ()
        self._done = True
        return [
            SourceRecord(
                {}, {"at": number}, self._config.topic,
                text.rjust(self._config.large_bytes) if text == BAD else text,
                key=text, headers=[Header("h", None, text)],
            )
            for number, text in enumerate((b"a", BAD, b"c"))
        ]  # fmt: skip


ThreeSource.task_class = ThreeTask
