"""TimestampRouter: puts the record's time into the topic's name."""

from collections.abc import Mapping

from connect.api import Config, DataError, Importance, Transform, setting
from connect.api.java_patterns import JavaPattern
from connect.transforms.base import R
from connect.version import __version__


def check_pattern(pattern: str) -> str | None:
    """What is wrong with a pattern of SimpleDateFormat."""
    try:
        JavaPattern.simple_date_format(pattern)
    except ValueError as exc:
        return str(exc)
    return None


class TimestampRouterConfig(Config):
    """Settings of TimestampRouter."""

    topic_format: str = setting(
        "topic.format", default="${topic}-${timestamp}", importance=Importance.HIGH,
        doc="Format string which can contain ${topic} and ${timestamp} as placeholders for the topic and "
            "timestamp, respectively.",
    )  # fmt: skip
    timestamp_format: str = setting(
        "timestamp.format", default="yyyyMMdd", importance=Importance.HIGH, check=check_pattern,
        doc="Format string for the timestamp that is compatible with java.text.SimpleDateFormat. In UTC.",
    )  # fmt: skip


class TimestampRouter(Transform[R]):
    """`orders` → `orders-20240229`."""

    version = __version__
    config_class = TimestampRouterConfig

    def configure(self, properties: Mapping[str, str]) -> None:
        config = TimestampRouterConfig.parse(properties)
        self._topic_format = config.topic_format
        self._pattern = JavaPattern.simple_date_format(config.timestamp_format)

    def apply(self, record: R) -> R:
        if record.timestamp_ms is None:
            raise DataError(
                f"Timestamp missing on record: topic {record.topic}, partition {record.partition}"
            )
        time = self._pattern.format(record.timestamp_ms)
        # The topic last: what it contains is not looked at again.
        parts = [part.replace("${timestamp}", time) for part in self._topic_format.split("${topic}")]
        return record.replace(topic=record.topic.join(parts))
