"""Taking the place of a sink task that was killed.

A consumer that dies without a word keeps its partitions until its session times out: 45 s of standing
still. But a task has one process at a time, which is told by its client id; so before a new one starts,
every member of the group with that client id is a leftover, and is made to leave. Should it live after
all (on a worker that was cut off), it is fenced: its next heartbeat or commit is refused.
"""

import logging
from collections.abc import Mapping
from typing import Any, Final

from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.errors import KafkaError
from aiokafka.protocol.admin import DescribeGroupsRequest
from aiokafka.protocol.group import LeaveGroupRequest

_LOG = logging.getLogger(__name__)
_MEMBER_ID: Final = 0
_CLIENT_ID: Final = 1


class GroupMembers:
    """Belongs to one event loop. `client` is aiokafka's settings."""

    def __init__(self, client: Mapping[str, Any]) -> None:
        self._settings = client
        self._client: AIOKafkaClient | None = None

    async def evict(self, group: str, client_id: str) -> None:
        """Have the members of the group with that client id leave. Kafka's refusal is only logged: then the
        session timeout does it."""
        try:
            client = await self._connected()
            node = await client.coordinator_lookup(CoordinationType.GROUP, group)
            described = await client.send(node, DescribeGroupsRequest([group]))
            for member in described.groups[0][5]:
                if member[_CLIENT_ID] == client_id:
                    _LOG.info("%s takes the place of %s in group %s", client_id, member[_MEMBER_ID], group)
                    await client.send(node, LeaveGroupRequest(group, member[_MEMBER_ID]))
        except KafkaError as exc:
            _LOG.warning("leftovers of %s in group %s have to time out: %s", client_id, group, exc)

    async def _connected(self) -> AIOKafkaClient:
        if self._client is None:
            client = AIOKafkaClient(**self._settings)
            await client.bootstrap()
            self._client = client
        return self._client

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()
