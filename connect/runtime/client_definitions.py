"""The settings of Kafka's own clients, as `ProducerConfig`, `ConsumerConfig` and `AdminClientConfig` of
Apache Kafka 4.3.1 define them: what forms show for `producer.override.` and so on."""

import csv
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Final

from connect.api import Definition, Importance, Kind
from connect.api.config import REQUIRED

CLIENTS: Final = ("producer", "consumer", "admin")
_TABLE: Final = "kafka_client_settings.csv"
_ANCHOR: Final = {"producer": "producerconfigs", "consumer": "consumerconfigs", "admin": "adminclientconfigs"}


@cache
def client_definitions(client: str) -> Mapping[str, Definition]:
    """Those of one of `CLIENTS`, by name."""
    table = files(__package__).joinpath(_TABLE).read_text()
    return {
        row["name"]: Definition(
            row["name"],
            Kind(row["kind"]),
            default={"REQUIRED": REQUIRED, "null": None}.get(row["default"], row["default"]),
            importance=Importance(row["importance"]),
            doc=f"https://kafka.apache.org/documentation/#{_ANCHOR[client]}_{row['name']}",
            display_name=row["name"],
        )
        for row in csv.DictReader(table.splitlines())
        if client in row["clients"].split()
    }
