"""Filter: drops records; with a predicate, those that it says."""

from collections.abc import Mapping

from connect.api import Transform
from connect.transforms.base import R
from connect.version import __version__


class Filter(Transform[R]):
    """Drops every record that it is given."""

    version = __version__

    def configure(self, properties: Mapping[str, str]) -> None:
        """There is nothing to set."""

    def apply(self, record: R) -> R | None:
        return None
