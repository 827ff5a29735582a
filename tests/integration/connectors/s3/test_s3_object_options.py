"""Keys and headers beside values, tags, encryption, ACLs, roles and proxies, over HTTP."""

import io
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import fastavro
import pytest
from pyarrow import parquet
from support.forward_proxy import ForwardProxy
from support.s3_sink import SinkDriver, json_record, objects

from connect.api import ConnectError, DataError, Header, SinkRecord, TopicPartition
from connect.api.schemas import STRING
from connectors.s3.config import S3SinkConfig

TP = TopicPartition("t", 0)
NAME = "topics/t/partition=0/t+0+0000000000"


@pytest.fixture
def bucket(s3: Any) -> str:
    name: str = s3.create_bucket()
    return name


def driver(s3: Any, bucket: str, records: Sequence[SinkRecord], **settings: str) -> SinkDriver:
    given = {name.replace("_", "."): value for name, value in settings.items()}
    return SinkDriver({"store.url": s3.endpoint, "s3.bucket.name": bucket, **given}, {TP: records})


def keyed(offset: int) -> SinkRecord:
    headers = [Header("n", None, offset), Header("t", STRING, "x")] if offset else []
    return json_record(offset).replace(key=f"k{offset}", key_schema=STRING, headers=headers)


BOTH = {"store_kafka_keys": "true", "store_kafka_headers": "true"}


def test_keys_and_headers_beside_values(s3: Any, bucket: str) -> None:
    run = driver(s3, bucket, [keyed(n) for n in range(3)], **BOTH)
    run.run()
    found = objects(s3, bucket)
    assert set(found) == {f"{NAME}.json", f"{NAME}.keys.avro", f"{NAME}.headers.avro"}
    assert found[f"{NAME}.json"] == b'{"o":0}\n{"o":1}\n{"o":2}\n'
    assert list(fastavro.reader(io.BytesIO(found[f"{NAME}.keys.avro"]))) == ["k0", "k1", "k2"]
    assert list(fastavro.reader(io.BytesIO(found[f"{NAME}.headers.avro"]))) == [
        [],
        [{"key": "n", "value": "1"}, {"key": "t", "value": "x"}],
        [{"key": "n", "value": "2"}, {"key": "t", "value": "x"}],
    ]
    assert run.committed == {TP: 3}


def test_keys_and_headers_in_parquet_and_json(s3: Any, bucket: str) -> None:
    formats = {"keys_format_class": "parquet", "headers_format_class": "json"}
    driver(s3, bucket, [keyed(n) for n in range(3)], **BOTH, **formats).run()
    found = objects(s3, bucket)
    keys = parquet.read_table(io.BytesIO(found[f"{NAME}.keys.snappy.parquet"])).to_pylist()
    assert keys == [{"key": "k0"}, {"key": "k1"}, {"key": "k2"}]
    assert found[f"{NAME}.headers.json"].splitlines()[1] == (
        b'[{"key":"n","value":"1"},{"key":"t","value":"x"}]'
    )


def test_a_record_without_the_key_that_avro_needs_is_refused(s3: Any, bucket: str) -> None:
    run = driver(s3, bucket, [json_record(0), *(keyed(n) for n in range(1, 4))], **BOTH)
    run.run()
    [(record, error)] = run.context.errant
    assert record.offset == 0
    assert isinstance(error, DataError)
    assert "t-0@0" in str(error)
    assert objects(s3, bucket)[f"{NAME[:-1]}1.json"] == b'{"o":1}\n{"o":2}\n{"o":3}\n'


def test_with_a_schedule_an_object_that_is_there_keeps_its_keys(s3: Any, bucket: str) -> None:
    """The second task would write other keys beside the value's object of the first."""
    schedule = {"rotate_schedule_interval_ms": "3600000", "timezone": "UTC", "flush_size": "2"}
    records = [keyed(n) for n in range(4)]
    first = driver(s3, bucket, records, **BOTH, **schedule)
    first.deliver(2)
    before = objects(s3, bucket)
    assert len(before) == 3
    again = driver(s3, bucket, records, **BOTH, **{**schedule, "flush_size": "3"})
    again.run()
    after = objects(s3, bucket)
    assert {key: after[key] for key in before} == before
    values = [line for key in sorted(after) if key.endswith(".json") for line in after[key].splitlines()]
    assert values == [b'{"o":%d}' % n for n in range(len(values))]


def test_tags(s3: Any, bucket: str) -> None:
    tagging = {"s3_object_tagging": "true", "s3_object_tagging_key_value_pairs": "team:data,env:test"}
    driver(s3, bucket, [json_record(n) for n in range(3)], **tagging).run()
    tags = s3.client().get_object_tagging(Bucket=bucket, Key=f"{NAME}.json")["TagSet"]
    assert {tag["Key"]: tag["Value"] for tag in tags} == {
        "startOffset": "0", "endOffset": "2", "recordCount": "3", "team": "data", "env": "test",
    }  # fmt: skip


@pytest.mark.parametrize("behavior", ["ignore", "fail"])
def test_tags_that_cannot_be_set(s3: Any, bucket: str, behavior: str) -> None:
    pairs = ",".join(f"k{n}:v" for n in range(20))  # S3 allows ten
    tagging = {
        "s3.object.tagging": "true", "s3.object.tagging.key.value.pairs": pairs,
        "s3.object.behavior.on.tagging.error": behavior,
    }  # fmt: skip
    run = driver(s3, bucket, [json_record(n) for n in range(3)], **tagging)
    if behavior == "ignore":
        run.run()
        assert run.committed == {TP: 3}
    else:
        with pytest.raises(ConnectError, match=r"s3://.*t\+0\+0000000000.json"):
            run.run()
        assert run.committed == {}


def test_encryption_and_acl(s3: Any, bucket: str) -> None:
    options = {"s3_ssea_name": "aws:kms", "s3_sse_kms_key_id": "some-key", "s3_acl_canned": "public-read"}
    driver(s3, bucket, [json_record(n) for n in range(3)], **options).run()
    head = s3.client().head_object(Bucket=bucket, Key=f"{NAME}.json")
    assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", "some-key")
    grants = s3.client().get_object_acl(Bucket=bucket, Key=f"{NAME}.json")["Grants"]
    assert any(grant["Grantee"].get("URI", "").endswith("AllUsers") for grant in grants)


def test_a_role_is_assumed(s3: Any, bucket: str) -> None:
    role = {
        "s3.credentials.provider.class": "io.confluent.connect.s3.auth.AwsAssumeRoleCredentialsProvider",
        "s3.credentials.provider.sts.role.arn": "arn:aws:iam::123456789012:role/writer",
        "s3.credentials.provider.sts.role.external.id": "outside",
        "s3.credentials.provider.sts.endpoint": s3.endpoint,
    }  # fmt: skip
    driver(s3, bucket, [json_record(n) for n in range(3)], **role).run()
    assert list(objects(s3, bucket)) == [f"{NAME}.json"]


def test_through_a_proxy(s3: Any, bucket: str) -> None:
    """The endpoint is a name that only the proxy knows."""
    with ForwardProxy(s3.endpoint) as proxy:
        proxied = {"store.url": "http://s3.nowhere.invalid", "s3.proxy.url": proxy.url}
        driver(s3, bucket, [json_record(n) for n in range(3)], **proxied).run()
    assert proxy.asked == [f"http://s3.nowhere.invalid/{bucket}/{quote(NAME)}.json"]
    assert list(objects(s3, bucket)) == [f"{NAME}.json"]


def errors(**changes: str) -> dict[str, str]:
    required = {"s3.bucket.name": "b", "format.class": "json", "flush.size": "1"}
    _, found = S3SinkConfig.examine({**required, **changes})
    return {error.name: error.message for error in found}


@pytest.mark.parametrize(
    ("changes", "name", "why"),
    [
        ({"s3.ssea.name": "ROT13"}, "s3.ssea.name", "Value must be one of"),
        ({"s3.sse.customer.key": "short"}, "s3.sse.customer.key", "base64 of 32 bytes"),
        ({"s3.sse.kms.key.id": "k"}, "s3.sse.kms.key.id", "It needs s3.ssea.name=aws:kms"),
        ({"s3.acl.canned": "everybody"}, "s3.acl.canned", "Value must be one of: , private"),
        ({"s3.proxy.url": "proxy:3128"}, "s3.proxy.url", "must begin with http"),
        ({"s3.proxy.user": "u"}, "s3.proxy.url", "needs the proxy's URL"),
        ({"s3.object.tagging.key.value.pairs": "a:b,c"}, "s3.object.tagging.key.value.pairs", "unlike c"),
        ({"s3.credentials.provider.class": "org.example.P"}, "s3.credentials.provider.class", "Java classes"),
        ({"s3.credentials.provider.class": "x.AwsAssumeRoleCredentialsProvider"},
         "s3.credentials.provider.sts.role.arn", "needs the role's ARN"),
        ({"keys.format.class": "xml"}, "keys.format.class", "Format must be one of"),
    ],
)  # fmt: skip
def test_bad_options_are_told(changes: dict[str, str], name: str, why: str) -> None:
    assert why in errors(**changes)[name]
