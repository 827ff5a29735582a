"""The schema-driven encoder, on CreateTopics: texts and arrays of all lengths, nulls and tagged fields."""

import uuid
from dataclasses import dataclass

import pytest
from support.batches import decode_response

from broker.wire.codec import KioCodec
from broker.wire.errors import ErrorCode

CREATE_TOPICS = 19
VERSIONS = range(2, 8)


@dataclass(frozen=True, slots=True)
class Request:
    topics: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Config:
    name: str
    value: str | None
    read_only: bool = False
    config_source: int = 5
    is_sensitive: bool = True


@dataclass(frozen=True, slots=True)
class Topic:
    name: str | None
    error_code: ErrorCode = ErrorCode.invalid_config
    error_message: str | None = None
    topic_config_error_code: int = 0
    num_partitions: int = 7
    configs: tuple[Config, ...] | None = ()
    topic_id: uuid.UUID | None = None


@dataclass(frozen=True, slots=True)
class Response:
    topics: tuple[Topic, ...]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("length", [0, 1, 126, 127, 128, 300, 16_384])
def test_texts_and_arrays_of_all_lengths(version: int, length: int) -> None:
    text = "ü" * (length // 2) + "x" * (length % 2)
    configs = tuple(Config(str(n), text if n % 2 else None) for n in range(min(length, 300)))
    topics = tuple(Topic(f"t{n}", error_message=text, configs=configs) for n in range(2))
    (body,) = KioCodec(CREATE_TOPICS, Request).encode(version, Response(topics))
    decoded = decode_response(CREATE_TOPICS, version, body).topics
    assert [(t.name, t.error_code, t.error_message) for t in decoded] == [
        (t.name, t.error_code, text) for t in topics
    ]
    if version >= 5:
        assert [
            (c.name, c.value, c.read_only, c.config_source, c.is_sensitive) for c in decoded[1].configs
        ] == [(c.name, c.value, False, 5, True) for c in configs]
        assert (decoded[0].num_partitions, decoded[0].replication_factor) == (7, -1)


@pytest.mark.parametrize("version", [5, 6, 7])
@pytest.mark.parametrize("error", [0, 29])
def test_nulls_and_tagged_fields(version: int, error: int) -> None:
    topic = Topic("t", topic_config_error_code=error, configs=None)
    (body,) = KioCodec(CREATE_TOPICS, Request).encode(version, Response((topic,)))
    (decoded,) = decode_response(CREATE_TOPICS, version, body).topics
    assert (decoded.topic_config_error_code, decoded.configs) == (error, None)
    assert decoded.error_message is None


@pytest.mark.parametrize("version", VERSIONS)
def test_null_where_none_is_allowed_is_a_bug_that_is_found_at_once(version: int) -> None:
    with pytest.raises(ValueError, match=r"CreatableTopicResult\.name of version \d must not be null"):
        KioCodec(CREATE_TOPICS, Request).encode(version, Response((Topic(None),)))
