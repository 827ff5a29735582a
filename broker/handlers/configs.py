"""DescribeConfigs, versions 1 to 4, of topics and of this broker.

Known gaps: other kinds of resource (loggers, groups, client metrics) are answered with INVALID_REQUEST.
Configs do not change at run time yet, so all of the broker's are read-only.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from broker.catalog import topic_name_problem
from broker.catalog.config_types import ConfigSource
from broker.catalog.topic_config import DEFINITIONS
from broker.config import BrokerSettings
from broker.handlers.broker_configs import broker_configs
from broker.handlers.registry import Api, RequestContext
from broker.handlers.topic_admin import TopicAdmin
from broker.wire.errors import ErrorCode, KafkaError

TOPIC_RESOURCE = 2
BROKER_RESOURCE = 4


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
            match resource.resource_type:
                case kind if kind == TOPIC_RESOURCE:
                    configs = self._topic_configs(resource.resource_name, request)
                case kind if kind == BROKER_RESOURCE:
                    configs = self._broker_configs(resource.resource_name, request)
                case kind:
                    raise KafkaError(ErrorCode.invalid_request, f"Unsupported resource type: {kind}")
            asked = resource.configuration_keys
            return DescribedResource(
                ErrorCode.none,
                None,
                resource.resource_type,
                resource.resource_name,
                tuple(config for config in configs if not asked or config.name in asked),
            )
        except KafkaError as error:
            return DescribedResource(
                error.code, error.message, resource.resource_type, resource.resource_name
            )

    def _topic_configs(self, name: str, request: DescribeConfigsRequest) -> list[DescribedConfig]:
        if (problem := topic_name_problem(name)) is not None:
            raise KafkaError(ErrorCode.invalid_topic_exception, problem)
        topic = self._admin.catalog.topics.get(name)
        if topic is None:
            raise KafkaError(ErrorCode.unknown_topic_or_partition, f"Topic '{name}' does not exist.")
        described = []
        for definition in DEFINITIONS.values():
            sources = self._admin.configs.sources(definition.name, topic.configs)
            described.append(
                DescribedConfig(
                    name=definition.name,
                    value=self._admin.configs.text(definition.name, topic.configs),
                    read_only=False,
                    config_source=self._admin.configs.source(definition.name, topic.configs),
                    is_sensitive=False,
                    synonyms=tuple(ConfigSynonym(s.name, s.text, s.source) for s in sources)
                    if request.include_synonyms
                    else (),
                    config_type=definition.type,
                    documentation=definition.doc if request.include_documentation else None,
                )
            )
        return described

    def _broker_configs(self, name: str, request: DescribeConfigsRequest) -> list[DescribedConfig]:
        node_id = self._admin.catalog.placement.node_id
        if not name:
            return []  # the defaults of the cluster that were changed at run time
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
