"""Settings of Kafka Connect's worker that tune what does not exist here: checked as Kafka checks them, named
at the start, and without effect otherwise."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Final

from connect.api import Config, Kind, setting
from connect.runtime.connector_config import one_of

_GROUP_PROTOCOL: Final = "Millstream's workers have a group protocol of their own"
_SESSION_KEYS: Final = "Millstream's workers do not sign their requests to each other"
_CLIENT: Final = "the worker's own Kafka client has no such setting"
_METRICS: Final = "metrics are served over REST, counters and gauges as they are when asked for"


def _idle(name: str, why: str, kind: Kind = Kind.STRING, **details: Any) -> Any:
    return setting(name, default=None, kind=kind, doc=why, **details)


class IdleSettings(Config):
    """Each with why it does nothing; the names and types are those of `DistributedConfig` and
    `StandaloneConfig` of Apache Kafka 4.3."""

    # The JVM's own: any class may read settings of its own there.
    patterns: ClassVar[tuple[re.Pattern[str], ...]] = (re.compile(r"metrics\.(context|jmx)\..+"),)

    connect_protocol: str | None = _idle(
        "connect.protocol", _GROUP_PROTOCOL, check=one_of("eager", "compatible", "sessioned")
    )
    key_algorithm: str | None = _idle("inter.worker.key.generation.algorithm", _SESSION_KEYS)
    key_size: int | None = _idle("inter.worker.key.size", _SESSION_KEYS, Kind.INT)
    key_ttl_ms: int | None = _idle("inter.worker.key.ttl.ms", _SESSION_KEYS, Kind.INT, at_least=0)
    signature_algorithm: str | None = _idle("inter.worker.signature.algorithm", _SESSION_KEYS)
    verification: list[str] | None = _idle("inter.worker.verification.algorithms", _SESSION_KEYS, Kind.LIST)
    plugin_discovery: str | None = _idle(
        "plugin.discovery",
        "plugins are found by entry points, which needs no scan",
        check=one_of("ONLY_SCAN", "SERVICE_LOAD", "HYBRID_WARN", "HYBRID_FAIL", ignore_case=True),
    )
    metric_reporters: list[str] | None = _idle("metric.reporters", _METRICS, Kind.LIST)
    metrics_num_samples: int | None = _idle("metrics.num.samples", _METRICS, Kind.INT, at_least=1)
    metrics_recording_level: str | None = _idle(
        "metrics.recording.level", _METRICS, check=one_of("INFO", "DEBUG")
    )
    metrics_sample_window_ms: int | None = _idle("metrics.sample.window.ms", _METRICS, Kind.LONG, at_least=0)
    jmx_reporter: bool | None = _idle("auto.include.jmx.reporter", _METRICS, Kind.BOOLEAN)
    recovery_strategy: str | None = _idle(
        "metadata.recovery.strategy", _CLIENT, check=one_of("REBOOTSTRAP", "NONE", ignore_case=True)
    )
    recovery_trigger_ms: int | None = _idle(
        "metadata.recovery.rebootstrap.trigger.ms", _CLIENT, Kind.LONG, at_least=0
    )
    receive_buffer_bytes: int | None = _idle("receive.buffer.bytes", _CLIENT, Kind.INT, at_least=-1)
    send_buffer_bytes: int | None = _idle("send.buffer.bytes", _CLIENT, Kind.INT, at_least=-1)
    reconnect_backoff_ms: int | None = _idle("reconnect.backoff.ms", _CLIENT, Kind.LONG, at_least=0)
    reconnect_backoff_max_ms: int | None = _idle("reconnect.backoff.max.ms", _CLIENT, Kind.LONG, at_least=0)
    retry_backoff_max_ms: int | None = _idle("retry.backoff.max.ms", _CLIENT, Kind.LONG, at_least=0)
    connection_setup_ms: int | None = _idle(
        "socket.connection.setup.timeout.ms", _CLIENT, Kind.LONG, at_least=0
    )
    connection_setup_max_ms: int | None = _idle(
        "socket.connection.setup.timeout.max.ms", _CLIENT, Kind.LONG, at_least=0
    )

    @classmethod
    def given(cls, properties: Mapping[str, str]) -> Iterable[tuple[str, str]]:
        """(name, why it has no effect) of those that are set."""
        for name in properties:
            if definition := cls.definitions().get(name):
                yield name, definition.doc
            elif not cls.unknown([name]):
                yield name, _METRICS
