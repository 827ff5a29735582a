"""FindCoordinator 0 to 6, JoinGroup 0 to 9, SyncGroup 0 to 5, Heartbeat 0 to 4, LeaveGroup 0 to 5,
DescribeGroups 0 to 6, ListGroups 0 to 5, DeleteGroups 0 to 2.

Members of the classic protocol; `consumer_groups.py` has those of KIP-848. Known gap: share groups have no
coordinator here.
"""

import dataclasses
import uuid
from dataclasses import dataclass
from datetime import timedelta

from broker.catalog.placement import Placement
from broker.coordinator import messages
from broker.coordinator.messages import (
    DeleteGroupResult,
    DescribedMember,
    DescribeGroupResult,
    HeartbeatResult,
    JoinResult,
    LeaveResult,
    ListGroupsResult,
    SyncResult,
)
from broker.handlers.authorization import GROUP_OPERATIONS, NOT_ASKED
from broker.handlers.coordination import Groups
from broker.handlers.registry import Api, RequestContext
from broker.wire.errors import ErrorCode, KafkaError

GROUP_KEY, TRANSACTION_KEY = 0, 1
MEMBER_ID_REQUIRED_SINCE = 4
NULL_PROTOCOL_SINCE = 7
SKIP_ASSIGNMENT_SINCE = 9
PROTOCOL_REQUIRED_SINCE = 5
LEAVE_SEVERAL_SINCE = 3
FIND_SEVERAL_SINCE = 4
GROUP_NOT_FOUND_SINCE = 6
NO_TIMEOUT = timedelta(milliseconds=-1)


@dataclass(frozen=True, slots=True)
class FindCoordinatorRequest:
    """One `key` before version 4."""

    key: str = ""
    key_type: int = GROUP_KEY
    coordinator_keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FoundCoordinator:
    key: str
    node_id: int
    host: str
    port: int
    error_code: ErrorCode
    error_message: str | None


@dataclass(frozen=True, slots=True)
class FindCoordinatorResponse:
    """The first fields are for versions before 4."""

    error_code: ErrorCode = ErrorCode.none
    error_message: str | None = None
    node_id: int = -1
    host: str = ""
    port: int = -1
    coordinators: tuple[FoundCoordinator, ...] = ()


@dataclass(frozen=True, slots=True)
class JoinProtocol:
    name: str
    metadata: bytes


@dataclass(frozen=True, slots=True)
class JoinGroupRequest:
    group_id: str
    session_timeout: timedelta
    member_id: str
    protocol_type: str
    protocols: tuple[JoinProtocol, ...]
    rebalance_timeout: timedelta = NO_TIMEOUT
    group_instance_id: str | None = None


@dataclass(frozen=True, slots=True)
class SyncAssignment:
    member_id: str
    assignment: bytes


@dataclass(frozen=True, slots=True)
class SyncGroupRequest:
    group_id: str
    generation_id: int
    member_id: str
    assignments: tuple[SyncAssignment, ...]
    group_instance_id: str | None = None
    protocol_type: str | None = None
    protocol_name: str | None = None


@dataclass(frozen=True, slots=True)
class HeartbeatRequest:
    group_id: str
    generation_id: int
    member_id: str
    group_instance_id: str | None = None


@dataclass(frozen=True, slots=True)
class Leaving:
    member_id: str
    group_instance_id: str | None


@dataclass(frozen=True, slots=True)
class LeaveGroupRequest:
    """One `member_id` before version 3."""

    group_id: str
    member_id: str = ""
    members: tuple[Leaving, ...] = ()


@dataclass(frozen=True, slots=True)
class DescribeGroupsRequest:
    groups: tuple[str, ...]
    include_authorized_operations: bool = False


@dataclass(frozen=True, slots=True)
class DescribedGroup:
    error_code: ErrorCode
    error_message: str | None
    group_id: str
    group_state: str
    protocol_type: str
    protocol_data: str
    members: tuple[DescribedMember, ...]
    authorized_operations: int


@dataclass(frozen=True, slots=True)
class DescribeGroupsResponse:
    groups: tuple[DescribedGroup, ...]


@dataclass(frozen=True, slots=True)
class ListGroupsRequest:
    states_filter: tuple[str, ...] = ()
    types_filter: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DeleteGroupsRequest:
    groups_names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DeletedGroup:
    group_id: str
    error_code: ErrorCode


@dataclass(frozen=True, slots=True)
class DeleteGroupsResponse:
    results: tuple[DeletedGroup, ...]


class GroupsHandler:
    def __init__(self, groups: Groups, placement: Placement) -> None:
        self._groups = groups
        self._placement = placement

    def apis(self) -> list[Api]:
        return [
            Api(10, "FindCoordinator", range(7), FindCoordinatorRequest, self.find_coordinator),
            Api(11, "JoinGroup", range(10), JoinGroupRequest, self.join, on_error=_join_failed),
            Api(
                12, "Heartbeat", range(5), HeartbeatRequest, self.heartbeat,
                on_error=lambda error: HeartbeatResult(error.code),
            ),
            Api(
                13, "LeaveGroup", range(6), LeaveGroupRequest, self.leave,
                on_error=lambda error: LeaveResult(error.code),
            ),
            Api(
                14, "SyncGroup", range(6), SyncGroupRequest, self.sync,
                on_error=lambda error: SyncResult(error.code),
            ),
            Api(15, "DescribeGroups", range(7), DescribeGroupsRequest, self.describe),
            Api(
                16, "ListGroups", range(6), ListGroupsRequest, self.list,
                on_error=lambda error: ListGroupsResult(error.code, ()),
            ),
            Api(42, "DeleteGroups", range(3), DeleteGroupsRequest, self.delete),
        ]  # fmt: skip

    def find_coordinator(
        self, context: RequestContext, request: FindCoordinatorRequest
    ) -> FindCoordinatorResponse:
        if context.api_version >= FIND_SEVERAL_SINCE:
            return FindCoordinatorResponse(
                coordinators=tuple(
                    self._find(context, key, request.key_type) for key in request.coordinator_keys
                )
            )
        found = self._find(context, request.key, request.key_type)
        return FindCoordinatorResponse(
            error_code=found.error_code,
            error_message=found.error_message,
            node_id=found.node_id,
            host=found.host,
            port=found.port,
        )

    def _find(self, context: RequestContext, key: str, key_type: int) -> FoundCoordinator:
        if key_type not in (GROUP_KEY, TRANSACTION_KEY):
            message = f"There is no coordinator for keys of type {key_type}."
            return FoundCoordinator(key, -1, "", -1, ErrorCode.invalid_request, message)
        endpoint = context.endpoint
        node_id = self._placement.coordinator(key)
        return FoundCoordinator(key, node_id, endpoint.host, endpoint.port, ErrorCode.none, None)

    async def join(self, context: RequestContext, request: JoinGroupRequest) -> JoinResult:
        rebalance_timeout = request.rebalance_timeout
        if rebalance_timeout == NO_TIMEOUT:  # version 0 has one timeout for both
            rebalance_timeout = request.session_timeout
        result: JoinResult = await self._groups.ask(
            messages.Join(
                group_id=request.group_id,
                member_id=request.member_id,
                group_instance_id=request.group_instance_id,
                client_id=context.client_id,
                client_host=f"/{context.client_host}",
                session_timeout_ms=_ms(request.session_timeout),
                rebalance_timeout_ms=_ms(rebalance_timeout),
                protocol_type=request.protocol_type,
                protocols=tuple(messages.Protocol(p.name, p.metadata) for p in request.protocols),
                new_member_id=f"{request.group_instance_id or context.client_id}-{uuid.uuid4()}",
                require_known_member_id=context.api_version >= MEMBER_ID_REQUIRED_SINCE,
                supports_skip_assignment=context.api_version >= SKIP_ASSIGNMENT_SINCE,
            )
        )
        if context.api_version < NULL_PROTOCOL_SINCE and result.protocol_name is None:
            return dataclasses.replace(result, protocol_name="")
        return result

    async def sync(self, context: RequestContext, request: SyncGroupRequest) -> SyncResult:
        if context.api_version >= PROTOCOL_REQUIRED_SINCE and None in (
            request.protocol_type,
            request.protocol_name,
        ):
            return SyncResult(ErrorCode.inconsistent_group_protocol)
        result: SyncResult = await self._groups.ask(
            messages.Sync(
                group_id=request.group_id,
                member_id=request.member_id,
                group_instance_id=request.group_instance_id,
                generation_id=request.generation_id,
                protocol_type=request.protocol_type,
                protocol_name=request.protocol_name,
                assignments={a.member_id: a.assignment for a in request.assignments},
            )
        )
        return result

    async def heartbeat(self, _context: RequestContext, request: HeartbeatRequest) -> HeartbeatResult:
        result: HeartbeatResult = await self._groups.ask(
            messages.Heartbeat(
                group_id=request.group_id,
                member_id=request.member_id,
                group_instance_id=request.group_instance_id,
                generation_id=request.generation_id,
            )
        )
        return result

    async def leave(self, context: RequestContext, request: LeaveGroupRequest) -> LeaveResult:
        is_single = context.api_version < LEAVE_SEVERAL_SINCE
        leaving = (Leaving(request.member_id, None),) if is_single else request.members
        result: LeaveResult = await self._groups.ask(
            messages.Leave(
                request.group_id,
                tuple(messages.LeavingMember(m.member_id, m.group_instance_id) for m in leaving),
            )
        )
        if is_single and result.members:
            return LeaveResult(result.members[0].error_code)
        return result

    async def describe(
        self, context: RequestContext, request: DescribeGroupsRequest
    ) -> DescribeGroupsResponse:
        described = []
        for group_id in dict.fromkeys(request.groups):
            try:
                result: DescribeGroupResult = await self._groups.ask(messages.DescribeGroup(group_id))
            except KafkaError as failure:
                result = DescribeGroupResult(failure.code, failure.message, group_id, "")
            error = result.error_code
            if error is ErrorCode.group_id_not_found and context.api_version < GROUP_NOT_FOUND_SINCE:
                error = ErrorCode.none  # it is "Dead"
            asks_operations = request.include_authorized_operations and error is ErrorCode.none
            described.append(
                DescribedGroup(
                    error_code=error,
                    error_message=result.error_message,
                    group_id=group_id,
                    group_state=result.group_state,
                    protocol_type=result.protocol_type,
                    protocol_data=result.protocol_data,
                    members=result.members,
                    authorized_operations=GROUP_OPERATIONS if asks_operations else NOT_ASKED,
                )
            )
        return DescribeGroupsResponse(tuple(described))

    async def list(self, _context: RequestContext, request: ListGroupsRequest) -> ListGroupsResult:
        result: ListGroupsResult = await self._groups.ask(
            messages.ListGroups(request.states_filter, request.types_filter)
        )
        return result

    async def delete(self, _context: RequestContext, request: DeleteGroupsRequest) -> DeleteGroupsResponse:
        deleted = []
        for group_id in dict.fromkeys(request.groups_names):
            try:
                result: DeleteGroupResult = await self._groups.ask(messages.DeleteGroup(group_id))
            except KafkaError as error:
                result = DeleteGroupResult(error.code)
            deleted.append(DeletedGroup(group_id, result.error_code))
        return DeleteGroupsResponse(tuple(deleted))


def _ms(time: timedelta) -> int:
    return time // timedelta(milliseconds=1)


def _join_failed(error: KafkaError) -> JoinResult:
    return JoinResult(error.code, member_id="", protocol_name="")
