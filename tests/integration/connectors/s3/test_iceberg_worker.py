"""IcebergFormat in a whole Millstream: deployed over REST, with a dead letter topic, and what is refused."""

from pathlib import Path

import pytest
from support.eventually import eventually
from support.iceberg import Warehouse

from connect.testing.deployments import Deployments
from connect.testing.millstream import Millstream
from connect.testing.s3 import S3Server
from connect.testing.topics import Topics

JSON = "org.apache.kafka.connect.json.JsonConverter"


@pytest.fixture
def warehouse(s3: S3Server, tmp_path: Path) -> Warehouse:
    return Warehouse(s3, tmp_path)


@pytest.fixture
def config(warehouse: Warehouse, kafka_topic: str) -> dict[str, str]:
    return {
        **warehouse.settings, "connector.class": "io.confluent.connect.s3.S3SinkConnector",
        "topics": kafka_topic, "flush.size": "2", "iceberg.tables": "shop.orders",
        "iceberg.control.commit.interval-ms": "300",
        "key.converter": "org.apache.kafka.connect.storage.StringConverter",
        "value.converter": JSON, "value.converter.schemas.enable": "false",
    }  # fmt: skip


def test_rows_and_the_dead_letter_topic(
    millstream: Millstream, warehouse: Warehouse, config: dict[str, str], kafka_topic: str
) -> None:
    topics, dead = Topics(millstream.bootstrap), f"{kafka_topic}-dead"
    config |= {
        "errors.tolerance": "all", "errors.deadletterqueue.topic.name": dead,
        "errors.deadletterqueue.topic.replication.factor": "1",
        "errors.deadletterqueue.context.headers.enable": "true",
    }  # fmt: skip
    topics.produce(kafka_topic, ['{"o":0,"at":"2024-02-29"}', '{"o":1}'])
    with Deployments(millstream) as deployments:
        deployments.deploy(config)
        eventually(lambda: warehouse.offsets("shop.orders") == [0, 1], "there are no rows")
        topics.produce(kafka_topic, ['{"o":"two"}', '{"o":3,"more":1}', None, '{"o":5}'], key="k")
        refused = topics.read(dead, 3)
        eventually(lambda: warehouse.offsets("shop.orders") == [0, 1, 5], "rows are missing")
    whys = b"; ".join(dict(record.headers)["__connect.errors.exception.message"] or b"" for record in refused)
    assert b"the value.o is no int64" in whys
    assert b"has not the column more of type long" in whys
    assert b"has no value; set behavior.on.null.values to ignore" in whys


@pytest.mark.parametrize(
    ("settings", "name", "why"),
    [
        ({"iceberg.catalog.uri": "sqlite:////no/such/folder/c.db"}, "iceberg.catalog.uri", "unable to open"),
        ({"iceberg.catalog.type": "rest", "iceberg.catalog.uri": "http://127.0.0.1:9"}, "iceberg.catalog.uri",
         "cannot open the catalog iceberg"),
        ({"s3.bucket.name": "nowhere-to-be-found"}, "s3.bucket.name", "the bucket does not exist"),
        ({"format.class": "iceburg"}, "format.class", "IcebergFormat"),
    ],
)  # fmt: skip
def test_what_validate_says(
    millstream: Millstream, config: dict[str, str], settings: dict[str, str], name: str, why: str
) -> None:
    config |= {"name": "iceberg-refused", **settings}
    answer = millstream.request("PUT", "/connector-plugins/S3SinkConnector/config/validate", config)
    assert answer.status_code == 200, answer.text
    values = {entry["value"]["name"]: entry["value"] for entry in answer.json()["configs"]}
    assert why in " ".join(values[name]["errors"])
    assert all("millstream-secret" not in str(value["value"]) for value in values.values())
