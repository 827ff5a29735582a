"""DescribeConfigs, versions 1 to 4, of topics, groups and this broker.

Known gaps: the broker's configs do not change at run time yet, so all of them are read-only, and it has
no loggers and no subscriptions to client metrics.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum

from broker.catalog import topic_name_problem
from broker.catalog.config_types import ConfigDefinition, ConfigSource
from broker.catalog.topic_config import DEFINITIONS, TopicConfigs
from broker.config import BrokerSettings
from broker.handlers.broker_configs import broker_configs
from broker.handlers.group_configs import GroupConfigs
from broker.handlers.registry import Api, RequestContext
from broker.handlers.topic_admin import TopicAdmin
from broker.wire.errors import ErrorCode, KafkaError


class ResourceType(IntEnum):
    """What has configs."""

    TOPIC = 2
    BROKER = 4
    BROKER_LOGGER = 8
    CLIENT_METRICS = 16
    GROUP = 32


@dataclass(frozen=True, slots=True)
class Resource:
    """`configuration_keys` None or empty asks for all."""

    resource_type: int
    resource_name: str
    configuration_keys: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class DescribeConfigsRequest:
    resources: tuple[Resource, ...]
    include_synonyms: bool
    include_documentation: bool = False


@dataclass(frozen=True, slots=True)
class ConfigSynonym:
    name: str
    value: str | None
    source: int


@dataclass(frozen=True, slots=True)
class DescribedConfig:
    name: str
    value: str | None
    read_only: bool
    config_source: int
    is_sensitive: bool
    synonyms: tuple[ConfigSynonym, ...]
    config_type: int
    documentation: str | None


@dataclass(frozen=True, slots=True)
class DescribedResource:
    error_code: ErrorCode
    error_message: str | None
    resource_type: int
    resource_name: str
    configs: tuple[DescribedConfig, ...] = ()


@dataclass(frozen=True, slots=True)
class DescribeConfigsResponse:
    results: tuple[DescribedResource, ...]


class ConfigsHandler:
    def __init__(self, admin: TopicAdmin, settings: BrokerSettings) -> None:
        self._admin = admin
        self._settings = settings

    def apis(self) -> list[Api]:
        return [Api(32, "DescribeConfigs", range(1, 5), DescribeConfigsRequest, self.describe)]

    def describe(self, _context: RequestContext, request: DescribeConfigsRequest) -> DescribeConfigsResponse:
        return DescribeConfigsResponse(
            tuple(self._describe(resource, request) for resource in request.resources)
        )

    def _describe(self, resource: Resource, request: DescribeConfigsRequest) -> DescribedResource:
        try:
            configs = self._configs(resource, request)
            asked = resource.configuration_keys
            return DescribedResource(
                ErrorCode.none,
                "",
                resource.resource_type,
                resource.resource_name,
                tuple(config for config in configs if not asked or config.name in asked),
            )
        except KafkaError as error:
            return DescribedResource(
                error.code, error.message, resource.resource_type, resource.resource_name
            )

    def _configs(self, resource: Resource, request: DescribeConfigsRequest) -> Iterable[DescribedConfig]:
        name, catalog = resource.resource_name, self._admin.catalog
        match resource.resource_type:
            case ResourceType.TOPIC:
                if (problem := topic_name_problem(name)) is not None:
                    raise KafkaError(ErrorCode.invalid_topic_exception, problem)
                topic = catalog.topics.get(name)
                if topic is None:
                    raise KafkaError(ErrorCode.unknown_topic_or_partition, f"Topic '{name}' does not exist.")
                return _described(self._admin.configs, DEFINITIONS, topic.configs, request)
            case ResourceType.GROUP:
                if not name:
                    raise KafkaError(ErrorCode.invalid_request, "Group name must not be empty")
                configs = self._admin.group_configs
                explicit = catalog.group_configs.get(name, {})
                return _described(configs, configs.definitions, explicit, request)
            case ResourceType.BROKER:
                return self._broker_configs(name, request)
            case ResourceType.BROKER_LOGGER:
                if not name:
                    raise KafkaError(ErrorCode.invalid_request, "Broker id must not be empty")
                if name != str(catalog.placement.node_id):
                    raise KafkaError(
                        ErrorCode.invalid_request,
                        f"Unexpected broker id, expected {catalog.placement.node_id} but received {name}",
                    )
                return []
            case ResourceType.CLIENT_METRICS:
                raise KafkaError(
                    ErrorCode.invalid_request, "This broker keeps no subscriptions to client metrics."
                )
            case kind:
                raise KafkaError(ErrorCode.invalid_request, f"Unsupported resource type: {kind}")

    def _broker_configs(self, name: str, request: DescribeConfigsRequest) -> list[DescribedConfig]:
        node_id = self._admin.catalog.placement.node_id
        if not name:
            return []  # only what was changed at run time for all brokers
        if not name.lstrip("-").isdecimal():
            raise KafkaError(ErrorCode.invalid_request, f"Broker id must be an integer, but it is: {name}")
        if int(name) != node_id:
            raise KafkaError(
                ErrorCode.invalid_request,
                f"Unexpected broker id, expected {node_id} or empty string, but received {name}",
            )
        return list(self._described_settings(request.include_synonyms))

    def _described_settings(self, include_synonyms: bool) -> Iterator[DescribedConfig]:
        for config in broker_configs(self._settings):
            synonyms = []
            if config.source is ConfigSource.STATIC_BROKER:
                synonyms.append(ConfigSynonym(config.name, config.value, ConfigSource.STATIC_BROKER))
            if config.default is not None:
                synonyms.append(ConfigSynonym(config.name, config.default, ConfigSource.DEFAULT))
            yield DescribedConfig(
                name=config.name,
                value=config.value,
                read_only=True,
                config_source=config.source,
                is_sensitive=False,
                synonyms=tuple(synonyms) if include_synonyms else (),
                config_type=config.type,
                documentation=None,
            )


def _described(
    configs: TopicConfigs | GroupConfigs,
    definitions: Mapping[str, ConfigDefinition],
    explicit: Mapping[str, str],
    request: DescribeConfigsRequest,
) -> Iterator[DescribedConfig]:
    """Configs of a resource for which `explicit` is set."""
    for name, definition in definitions.items():
        sources = configs.sources(name, explicit)
        yield DescribedConfig(
            name=name,
            value=configs.text(name, explicit),
            read_only=False,
            config_source=sources[0].source if sources else ConfigSource.DEFAULT,
            is_sensitive=False,
            synonyms=tuple(ConfigSynonym(s.name, s.text, s.source) for s in sources)
            if request.include_synonyms
            else (),
            config_type=definition.type,
            documentation=definition.doc if request.include_documentation else None,
        )
