"""InsertHeader: adds the same header to every record."""

from collections.abc import Mapping

from connect.api import Config, Header, Importance, Transform, setting
from connect.api.values import value_of
from connect.transforms.base import R
from connect.version import __version__


class InsertHeaderConfig(Config):
    """Settings of InsertHeader."""

    header: str = setting("header", importance=Importance.HIGH, doc="The name of the header.")
    literal: str = setting(
        "value.literal", importance=Importance.HIGH,
        doc="The literal value that is to be set as the header value on all records.",
    )  # fmt: skip


class InsertHeader(Transform[R]):
    """Adds a header whose type is read from the literal's looks."""

    version = __version__
    config_class = InsertHeaderConfig

    def configure(self, properties: Mapping[str, str]) -> None:
        config = InsertHeaderConfig.parse(properties)
        self._header = Header(config.header, *value_of(config.literal))

    def apply(self, record: R) -> R:
        return record.replace(headers=[*record.headers, self._header])
