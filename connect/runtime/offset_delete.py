"""OffsetDelete (KIP-496): a group forgets the offsets of some partitions and keeps the others.

Neither librdkafka's Python client nor aiokafka has the request; the latter's types make it.
"""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, Final

import aiokafka.errors
from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Int16, Int32, Schema, String
from confluent_kafka import KafkaError

from connect.api import ConnectError

_DEADLINE_S: Final = 30.0
_RETRY_S: Final = 0.2
# Done, or there is nothing to forget.
_AS_GOOD: Final = (KafkaError.NO_ERROR, KafkaError.GROUP_ID_NOT_FOUND, KafkaError.UNKNOWN_TOPIC_OR_PART)
_LATER: Final = (
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS, KafkaError.COORDINATOR_NOT_AVAILABLE, KafkaError.NOT_COORDINATOR,
)  # fmt: skip
_TEXT: Final = String("utf-8")


class OffsetDeleteResponseV0(Response):
    API_KEY = 47
    API_VERSION = 0
    SCHEMA = Schema(
        ("error_code", Int16),
        ("throttle_time_ms", Int32),
        ("topics", Array(
            ("name", _TEXT), ("partitions", Array(("partition_index", Int32), ("error_code", Int16))),
        )),
    )  # fmt: skip


class OffsetDeleteRequestV0(RequestStruct):
    API_KEY = 47
    API_VERSION = 0
    RESPONSE_TYPE = OffsetDeleteResponseV0
    SCHEMA = Schema(
        ("group_id", _TEXT),
        ("topics", Array(("name", _TEXT), ("partitions", Array(Int32)))),
    )


class OffsetDeleteRequest(Request[OffsetDeleteRequestV0]):
    API_KEY = 47

    def __init__(self, group: str, partitions: Mapping[str, list[int]]) -> None:
        self._fields = group, list(partitions.items())

    def build(self, request_struct_class: type[OffsetDeleteRequestV0]) -> OffsetDeleteRequestV0:
        return request_struct_class(*self._fields)


async def delete_offsets(
    client: Mapping[str, Any], group: str, partitions: Iterable[tuple[str, int]]
) -> None:
    """Have the group forget these partitions' offsets; raises `ConnectError` with the broker's reason.
    `client` is aiokafka's settings."""
    topics: dict[str, list[int]] = {}
    for topic, number in partitions:
        topics.setdefault(topic, []).append(number)
    asking = AIOKafkaClient(**client)
    try:
        async with asyncio.timeout(_DEADLINE_S):
            await asking.bootstrap()
            while (code := await _delete(asking, group, topics)) in _LATER:  # noqa: ASYNC110 - no event tells
                await asyncio.sleep(_RETRY_S)
    except TimeoutError:
        raise ConnectError(f"offsets of group {group} could not be deleted in {_DEADLINE_S:g} s") from None
    except aiokafka.errors.KafkaError as exc:
        raise ConnectError(f"offsets of group {group} could not be deleted: {exc}") from exc
    finally:
        await asking.close()
    if code is not None:
        raise ConnectError(f"offsets of group {group} could not be deleted: {KafkaError(code).str()}")


async def _delete(client: AIOKafkaClient, group: str, topics: Mapping[str, list[int]]) -> int | None:
    """The code of what the broker refused, if anything."""
    try:
        node = await client.coordinator_lookup(CoordinationType.GROUP, group)
        answer: Any = await client.send(node, OffsetDeleteRequest(group, topics))
    except aiokafka.errors.KafkaError as exc:
        if exc.retriable:
            return KafkaError.COORDINATOR_NOT_AVAILABLE
        raise
    codes = [answer.error_code]
    codes += [code for _, partitions in answer.topics for _, code in partitions]
    return next((code for code in codes if code not in _AS_GOOD), None)
