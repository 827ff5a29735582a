"""DropHeaders: takes headers away by name."""

from collections.abc import Mapping

from connect.api import Config, Importance, Transform, setting
from connect.transforms.base import R
from connect.version import __version__


class DropHeadersConfig(Config):
    """Settings of DropHeaders."""

    headers: list[str] = setting(
        "headers", importance=Importance.HIGH, doc="The name of the headers to be removed."
    )


class DropHeaders(Transform[R]):
    """Removes all headers of the given names."""

    version = __version__
    config_class = DropHeadersConfig

    def configure(self, properties: Mapping[str, str]) -> None:
        self._names = frozenset(DropHeadersConfig.parse(properties).headers)

    def apply(self, record: R) -> R:
        kept = [header for header in record.headers if header.name not in self._names]
        return record if len(kept) == len(record.headers) else record.replace(headers=kept)
