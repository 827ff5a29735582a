"""AlterConfigs 0 to 2, IncrementalAlterConfigs 0 and 1, ListConfigResources 0 and 1.

Topics and groups have configs that change at run time. Known gaps: a broker's own do not, yet: all of
them are answered as Kafka answers for those that only a restart changes. There are no loggers and no
subscriptions to client metrics.

Errors and texts are those of Apache Kafka 4.3.1.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from broker.catalog import CatalogWriteError, Topic, topic_name_problem
from broker.catalog.config_types import ConfigDefinition, ConfigType, InvalidConfig
from broker.catalog.topic_config import DEFINITIONS
from broker.handlers.configs import ResourceType
from broker.handlers.registry import Api, RequestContext
from broker.handlers.topic_admin import TopicAdmin
from broker.wire.errors import ErrorCode, KafkaError


class Operation(IntEnum):
    """What IncrementalAlterConfigs does with a config (KIP-339)."""

    SET = 0
    DELETE = 1
    APPEND = 2
    SUBTRACT = 3


@dataclass(frozen=True, slots=True)
class Alteration:
    """AlterConfigs has no operation: it sets."""

    name: str
    value: str | None
    config_operation: int = Operation.SET


@dataclass(frozen=True, slots=True)
class AlteredResource:
    resource_type: int
    resource_name: str
    configs: tuple[Alteration, ...]


@dataclass(frozen=True, slots=True)
class AlterConfigsRequest:
    resources: tuple[AlteredResource, ...]
    validate_only: bool


@dataclass(frozen=True, slots=True)
class ResourceResult:
    error_code: ErrorCode
    error_message: str | None
    resource_type: int
    resource_name: str


@dataclass(frozen=True, slots=True)
class AlterConfigsResponse:
    responses: tuple[ResourceResult, ...]


@dataclass(frozen=True, slots=True)
class ListConfigResourcesRequest:
    """None, in version 0: the subscriptions to client metrics. Empty: all types."""

    resource_types: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class ListedResource:
    resource_name: str
    resource_type: int


@dataclass(frozen=True, slots=True)
class ListConfigResourcesResponse:
    error_code: ErrorCode
    config_resources: tuple[ListedResource, ...] = ()


@dataclass(slots=True)
class _Changes:
    """What a request leads to: all that is set from then on, for each topic and group that it changes."""

    topics: dict[Topic, Mapping[str, str]] = field(default_factory=dict)
    groups: dict[str, Mapping[str, str]] = field(default_factory=dict)


class AlterConfigsHandler:
    def __init__(self, admin: TopicAdmin) -> None:
        self._admin = admin
        self._catalog = admin.catalog

    def apis(self) -> list[Api]:
        return [
            Api(33, "AlterConfigs", range(3), AlterConfigsRequest, self.replace),
            Api(44, "IncrementalAlterConfigs", range(2), AlterConfigsRequest, self.alter),
            Api(74, "ListConfigResources", range(2), ListConfigResourcesRequest, self.list),
        ]

    async def replace(self, _context: RequestContext, request: AlterConfigsRequest) -> AlterConfigsResponse:
        """What the request names is all that is set afterwards."""
        return await self._change(request, keep=False)

    async def alter(self, _context: RequestContext, request: AlterConfigsRequest) -> AlterConfigsResponse:
        """What the request does not name stays."""
        return await self._change(request, keep=True)

    def list(
        self, _context: RequestContext, request: ListConfigResourcesRequest
    ) -> ListConfigResourcesResponse:
        types = request.resource_types
        if types is None:
            types = (ResourceType.CLIENT_METRICS,)
        elif not types:
            types = tuple(ResourceType)
        node_id = str(self._catalog.placement.node_id)
        found: list[ListedResource] = []
        for kind in dict.fromkeys(types):
            match kind:
                case ResourceType.TOPIC:
                    names = [topic.name for topic in self._catalog.topics]
                case ResourceType.BROKER | ResourceType.BROKER_LOGGER:
                    names = [node_id]
                case ResourceType.GROUP:
                    names = list(self._catalog.group_configs)
                case ResourceType.CLIENT_METRICS:
                    names = []
                case _:
                    return ListConfigResourcesResponse(ErrorCode.unsupported_version)
            found += [ListedResource(name, kind) for name in names]
        return ListConfigResourcesResponse(ErrorCode.none, tuple(found))

    async def _change(self, request: AlterConfigsRequest, *, keep: bool) -> AlterConfigsResponse:
        """Checks everything, then stores what is good as one change; the others fail alone."""
        async with self._catalog.topic_changes:
            changes = _Changes()
            errors: dict[int, KafkaError] = {}
            named = Counter((asked.resource_type, asked.resource_name) for asked in request.resources)
            for number, asked in enumerate(request.resources):
                try:
                    if named[asked.resource_type, asked.resource_name] > 1:
                        raise KafkaError(ErrorCode.invalid_request, "Each resource must appear at most once.")
                    self._check(asked, changes, keep=keep)
                except KafkaError as error:
                    errors[number] = error
                except InvalidConfig as exc:
                    errors[number] = KafkaError(ErrorCode.invalid_config, str(exc))
            if (changes.topics or changes.groups) and not request.validate_only:
                try:
                    await self._admin.set_configs(changes.topics, changes.groups)
                except CatalogWriteError as exc:
                    failed = KafkaError(ErrorCode.kafka_storage_error, str(exc))
                    errors = dict.fromkeys(range(len(request.resources)), failed) | errors
        return AlterConfigsResponse(
            tuple(_result(asked, errors.get(number)) for number, asked in enumerate(request.resources))
        )

    def _check(self, asked: AlteredResource, changes: _Changes, *, keep: bool) -> None:
        """Add what the resource's configs become to `changes`. Raises KafkaError or InvalidConfig."""
        _check_form(asked.configs)
        name = asked.resource_name
        match asked.resource_type:
            case ResourceType.TOPIC:
                if not name:
                    raise KafkaError(ErrorCode.invalid_request, "Default topic resources are not allowed.")
                if (problem := topic_name_problem(name)) is not None:
                    raise KafkaError(ErrorCode.invalid_topic_exception, problem)
                topic = self._catalog.topics.get(name)
                before = topic.configs if topic is not None else {}
                defaults = {key: self._admin.configs.text(key, before) for key in DEFINITIONS}
                after = _altered(before if keep else {}, asked.configs, DEFINITIONS, defaults)
                checked = self._admin.configs.validate(after)
                if topic is None:
                    raise KafkaError(
                        ErrorCode.unknown_topic_or_partition, f"The topic '{name}' does not exist."
                    )
                changes.topics[topic] = checked
            case ResourceType.GROUP:
                if not name:
                    raise KafkaError(ErrorCode.invalid_request, "Default group resources are not allowed.")
                before = self._catalog.group_configs.get(name, {})
                definitions = self._admin.group_configs.definitions
                after = _altered(before if keep else {}, asked.configs, definitions, {})
                self._admin.group_configs.validate(after)
                changes.groups[name] = after
            case ResourceType.BROKER:
                self._check_broker(asked)
            case ResourceType.BROKER_LOGGER if keep:
                self._check_loggers(asked)
            case ResourceType.CLIENT_METRICS:
                raise KafkaError(
                    ErrorCode.invalid_request, "This broker keeps no subscriptions to client metrics."
                )
            case kind:
                raise KafkaError(ErrorCode.invalid_request, f"Unknown resource type {kind}")

    def _check_broker(self, asked: AlteredResource) -> None:
        node_id, name = self._catalog.placement.node_id, asked.resource_name
        if name:
            if not name.lstrip("-").isdecimal():
                raise KafkaError(ErrorCode.invalid_request, f"Node id must be an integer, but it is: {name}")
            if int(name) != node_id:
                raise KafkaError(
                    ErrorCode.invalid_request,
                    f"Unexpected broker id, expected {node_id}, but received {name}",
                )
        changed = [config.name for config in asked.configs if config.config_operation != Operation.DELETE]
        if changed:  # none has a value that was set at run time, so there is nothing to delete
            raise KafkaError(
                ErrorCode.invalid_request, f"Cannot update these configs dynamically: [{','.join(changed)}]"
            )

    def _check_loggers(self, asked: AlteredResource) -> None:
        node_id, name = self._catalog.placement.node_id, asked.resource_name
        if name != str(node_id):
            raise KafkaError(
                ErrorCode.invalid_request, f"Unexpected node id. Expected {node_id}, but received {name}"
            )
        if asked.configs:
            raise InvalidConfig(f"Logger {asked.configs[0].name} does not exist!")


def _check_form(configs: Sequence[Alteration]) -> None:
    nulls = [c.name for c in configs if c.value is None and c.config_operation != Operation.DELETE]
    if nulls:
        raise KafkaError(ErrorCode.invalid_request, f"Null value not supported for : {', '.join(nulls)}")
    if len({config.name for config in configs}) < len(configs):
        raise KafkaError(ErrorCode.invalid_request, "Error due to duplicate config keys")


def _altered(
    before: Mapping[str, str],
    alterations: Sequence[Alteration],
    definitions: Mapping[str, ConfigDefinition],
    in_force: Mapping[str, str],
) -> dict[str, str]:
    """What is set after the alterations. `in_force` has the lists that are appended to, as text."""
    after = dict(before)
    for change in alterations:
        name, value = change.name, change.value or ""
        match change.config_operation:
            case Operation.SET:
                after[name] = value
            case Operation.DELETE:
                after.pop(name, None)
            case Operation.APPEND | Operation.SUBTRACT:
                operation = Operation(change.config_operation)
                definition = definitions.get(name)
                if definition is None or definition.type is not ConfigType.LIST:
                    raise InvalidConfig(f"Can't {operation.name} to key {name} because its type is not LIST.")
                items = in_force[name].split(",") if in_force[name] else []
                given = value.split(",")
                if operation is Operation.APPEND:
                    items += [item for item in given if item not in items]
                else:
                    items = [item for item in items if item not in given]
                after[name] = ",".join(items)
            case unknown:
                raise KafkaError(ErrorCode.invalid_request, f"Unknown config operation {unknown}")
    return after


def _result(asked: AlteredResource, error: KafkaError | None) -> ResourceResult:
    code, message = (ErrorCode.none, None) if error is None else (error.code, error.message or None)
    return ResourceResult(code, message, asked.resource_type, asked.resource_name)
