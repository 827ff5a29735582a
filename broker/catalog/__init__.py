"""The catalog: what the cluster knows beside its logs."""

from broker.catalog.catalog import Catalog, GroupChanges, OffsetRow
from broker.catalog.errors import CatalogError, CatalogWriteError
from broker.catalog.topics import Topic, TopicsImage, topic_name_problem

__all__ = [
    "Catalog",
    "CatalogError",
    "CatalogWriteError",
    "GroupChanges",
    "OffsetRow",
    "Topic",
    "TopicsImage",
    "topic_name_problem",
]
