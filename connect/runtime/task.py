"""The task process: what the forkserver runs for each task of a connector."""

import gc
import logging
import signal
import socket
import threading
import time
from collections.abc import Mapping
from typing import Any, TypeVar, cast

import confluent_kafka

from connect.api import (
    ConfigError,
    Connector,
    Converter,
    HeaderConverter,
    SinkConnector,
    SinkTask,
    SourceTask,
)
from connect.api.java_regex import compile_java
from connect.runtime.client_overrides import client_settings, sink_client_id, task_client
from connect.runtime.config import WorkerConfig
from connect.runtime.config_providers import ConfigResolver
from connect.runtime.connector_config import ConnectorConfig, SinkConnectorConfig, SourceConnectorConfig
from connect.runtime.dead_letters import DeadLetters
from connect.runtime.errant import MessageReader, Originals
from connect.runtime.errors import ErrorHandler, Stopping, log_reporter, trace_of
from connect.runtime.forkserver import name_process
from connect.runtime.logs import configure_logging
from connect.runtime.metrics import TaskMeter, Traffic
from connect.runtime.metrics_about import describe
from connect.runtime.plugins import PluginKind, Plugins
from connect.runtime.sink_runner import SinkContext, SinkRunner, SinkSettings
from connect.runtime.source_parts import SourceParts
from connect.runtime.source_runner import SourceContext, SourceRunner
from connect.runtime.task_channel import TaskChannel
from connect.runtime.task_config import TaskConfig
from connect.runtime.topic_creation import TopicCreator, topic_groups
from connect.transforms.chain import build_chain

_LOG = logging.getLogger(__name__)
_QUEUED_KBYTES_MAX = 16_384
_BATCH_RECORDS_MAX = 500

C = TypeVar("C", bound=ConnectorConfig)


def main(control: socket.socket) -> int:
    """Run one task over its control channel; the exit code."""
    channel = TaskChannel(control)
    order = channel.receive()
    name_process(f"task {order['connector']}-{order['task']}")
    configure_logging(logging.getLogger().level, connector=order["connector"], task=order["task"])
    # A service manager may send SIGTERM to all processes at once: every task stops as if told to.
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=channel.stop).start())
    channel.listen(paused=order["paused"], heartbeat_s=order["heartbeat_s"], lease_ms=order["lease_ms"])
    # Records live for one batch: looking for cycles among them every 700 objects is wasted.
    gc.set_threshold(20_000, 20, 20)
    try:
        _run(channel, order)
    except Stopping as exc:
        _LOG.info("stopped while a record was to be tried again: %s", exc.__cause__)
    except Exception as exc:  # noqa: BLE001 - whatever a plugin raises becomes the task's trace
        _LOG.error("the task failed", exc_info=exc)
        channel.send("failed", trace=trace_of(exc))
        return 1
    channel.send("stopped")
    return 0


def _run(channel: TaskChannel, order: Mapping[str, Any]) -> None:
    worker = WorkerConfig.parse(order["worker"])
    plugins = Plugins.discover()
    config = ConfigResolver(worker.originals, plugins).resolve(order["config"])
    if share := TaskConfig.of(worker.originals, config).cpu_limit:
        channel.limit_cpu(share)
    connector = plugins.get(PluginKind.CONNECTOR, config.get("connector.class") or "").load()
    builder = _Builder(channel, order, worker, plugins, config)
    if issubclass(connector, SinkConnector):
        builder.run_sink(connector)
    else:
        builder.run_source(cast(type[Connector[Any]], connector))


class _Builder:
    """Puts a runner together from a task's config."""

    def __init__(
        self,
        channel: TaskChannel,
        order: Mapping[str, Any],
        worker: WorkerConfig,
        plugins: Plugins,
        config: dict[str, str | None],
    ) -> None:
        self._channel = channel
        self._connector: str = order["connector"]
        self._task_id: int = order["task"]
        self._offsets = order["offsets"]
        self._worker = worker
        self._plugins = plugins
        self._config = config

    def run_source(self, connector: type[Connector[Any]]) -> None:
        common = self._parse(SourceConnectorConfig)
        task = cast(SourceTask[Any], connector.task_class())
        traffic = Traffic()
        parts = SourceParts(
            self._channel, self._worker, self._connector, self._task_id, self._config, traffic.settings
        )
        made = parts.make(common, self._offsets)
        if made is None:
            return  # told to stop
        context = SourceContext(
            self._connector, self._task_id, self._channel, made.offsets, made.transactions
        )
        conversion = self._conversion(common)
        runner = SourceRunner(
            task, context, self._channel, made.producer, made.delivery,
            **conversion, topic_creator=self._topic_creator(),
        )  # fmt: skip
        self._publish(connector, conversion, runner.meter, traffic)
        config = connector.config_class.parse(self._config)
        self._channel.progress.enter("start")
        runner.run(lambda: task.start(context, config))

    def run_sink(self, connector: type[Connector[Any]]) -> None:
        common = self._parse(SinkConnectorConfig)
        task = cast(SinkTask[Any], connector.task_class())
        context = SinkContext(self._connector, self._task_id)
        conversion = self._conversion(common)
        errors: ErrorHandler = conversion["errors"]
        letters: DeadLetters | None = None
        if common.errors_deadletterqueue_topic_name:
            letters = DeadLetters(
                common, self._task_id, self._client("producer", "dlq-producer"), self._client("admin"),
                errors.counts,
            )  # fmt: skip
            errors.add_reporter(letters.report)
        traffic = Traffic()
        values, batch = self._consumer_settings()
        consumer = confluent_kafka.Consumer({**values, **traffic.settings}, logger=_LOG)
        reader = MessageReader(values)
        settings = SinkSettings(
            common.topics,
            compile_java(common.topics_regex) if common.topics_regex else None,
            batch,
            self._worker.offset_flush_interval_ms / 1000,
            incremental="cooperative" in values.get("partition.assignment.strategy", "")
            or values.get("group.protocol") == "consumer",
        )
        runner = SinkRunner(
            task, context, self._channel, consumer, settings, **conversion,
            before_commit=letters.flush if letters else _nothing, originals=Originals(reader.read),
        )  # fmt: skip
        self._publish(connector, conversion, runner.meter, traffic)
        config = connector.config_class.parse(self._config)
        try:
            runner.run(lambda: task.start(context, config))
        finally:
            reader.close()
            if letters is not None:
                letters.close()

    def _parse(self, config_class: type[C]) -> C:
        return config_class.parse({**self._config, "name": self._connector})

    def _client(self, kind: str, role: str | None = None) -> dict[str, Any]:
        return task_client(self._worker, kind, self._connector, self._task_id, self._config, role)

    def _publish(
        self,
        connector: type[Connector[Any]],
        conversion: Mapping[str, Any],
        meter: TaskMeter,
        traffic: Traffic,
    ) -> None:
        """Tell the worker what the task is made of, and have the control thread tell what the meter shows."""
        converters = {role: conversion[f"{role}_converter"] for role in ("key", "value", "header")}
        task_class = self._config.get("task.class") or "undefined"
        about = describe(connector, task_class, converters, conversion["transforms"], self._plugins)
        self._channel.send("metrics", about=about)
        meter.traffic = traffic
        self._channel.metrics = meter.snapshot

    def _consumer_settings(self) -> tuple[dict[str, Any], int]:
        settings = client_settings(self._worker, "consumer", self._config)
        values = {
            "group.id": f"connect-{self._connector}",
            "client.id": sink_client_id(self._connector, self._task_id),
            "auto.offset.reset": "earliest",
            "isolation.level": "read_uncommitted",
            "topic.metadata.refresh.interval.ms": 10_000,
            # Bounded by bytes alone; and looked at often: by default a full queue makes librdkafka pause
            # fetching for a whole second.
            "queued.max.messages.kbytes": _QUEUED_KBYTES_MAX,
            "queued.min.messages": 1_000_000,
            "fetch.queue.backoff.ms": 2,
            **settings.values,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
        }
        return values, settings.max_poll_records or _BATCH_RECORDS_MAX

    def _topic_creator(self) -> TopicCreator | None:
        groups = topic_groups(self._config)
        if not groups:
            return None
        if not self._worker.topic_creation_enable:
            _LOG.warning("topic.creation settings have no effect: the worker has topic.creation.enable=false")
            return None
        return TopicCreator(groups, self._client("admin"))

    def _conversion(self, common: ConnectorConfig) -> dict[str, Any]:
        errors = ErrorHandler(common, self._wait_to_retry, time.monotonic)
        reporter = log_reporter(common, f"{self._connector}-{self._task_id}", errors.counts)
        if reporter is not None:
            errors.add_reporter(reporter)
        find = self._plugins.finder
        return {
            "key_converter": self._converter("key", common.key_converter),
            "value_converter": self._converter("value", common.value_converter),
            "header_converter": self._header_converter(common.header_converter),
            "transforms": build_chain(self._config, find(PluginKind.TRANSFORM), find(PluginKind.PREDICATE)),
            "errors": errors,
        }

    def _wait_to_retry(self, seconds: float) -> bool:
        """True if the task should stop. It may take as long as `errors.retry.*` say: that is no hang."""
        progress = self._channel.progress
        stage = progress.stage
        progress.rest(f"{stage} retry")
        stops = self._channel.wait(seconds)
        progress.enter(stage)
        return stops

    def _converter(self, role: str, class_name: str | None) -> Converter:
        converter, settings = self._load(f"{role}.converter", class_name)
        if not isinstance(converter, Converter):
            raise ConfigError(f"Class {class_name} does not implement the Converter interface")
        converter.configure(settings, role == "key")
        return converter

    def _header_converter(self, class_name: str | None) -> HeaderConverter:
        converter, settings = self._load("header.converter", class_name)
        if not isinstance(converter, HeaderConverter):
            raise ConfigError(f"Class {class_name} does not implement the HeaderConverter interface")
        converter.configure(settings)
        return converter

    def _load(self, prefix: str, class_name: str | None) -> tuple[Any, dict[str, str]]:
        """A converter and its settings: the connector's own, or else all from the worker."""
        source: Mapping[str, str | None] = self._config
        if class_name is None:
            source = self._worker.originals
            class_name = getattr(self._worker, prefix.replace(".", "_"))
        settings = {
            name.removeprefix(f"{prefix}."): value
            for name, value in source.items()
            if name.startswith(f"{prefix}.") and value is not None
        }
        return self._plugins.get(PluginKind.CONVERTER, class_name).load()(), settings


def _nothing() -> None:
    return None
