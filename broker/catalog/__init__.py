"""The catalog: what the cluster knows beside its logs."""

from broker.catalog.catalog import Catalog
from broker.catalog.errors import CatalogError, CatalogWriteError
from broker.catalog.groups import GroupChanges, GroupRows, OffsetRow, PendingOffsetRow
from broker.catalog.topics import Topic, TopicsImage, topic_name_problem

__all__ = [
    "Catalog",
    "CatalogError",
    "CatalogWriteError",
    "GroupChanges",
    "GroupRows",
    "OffsetRow",
    "PendingOffsetRow",
    "Topic",
    "TopicsImage",
    "topic_name_problem",
]
