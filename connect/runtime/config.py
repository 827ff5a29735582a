"""The worker's settings: Kafka Connect's names and defaults."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Final

from connect.api import FieldError, Importance, Kind, setting
from connect.runtime.connector_config import one_of
from connect.runtime.task_config import TaskConfig

_PASSED_ON: Final = re.compile(
    r"(producer|consumer|admin|sasl|ssl|config\.providers|key\.converter|value\.converter|header\.converter"
    r"|(config|offset|status)\.storage|(admin\.)?listeners\.https)\..+"
)
# Kafka's class names of the override policies, and their aliases.
_POLICIES: Final = ("All", "None", "Principal", "Allowlist")
_POLICY_CLASS: Final = re.compile(
    r"(?:org\.apache\.kafka\.connect\.connector\.policy\.)?(\w+)ConnectorClientConfigOverridePolicy"
)
# Of the worker's own Kafka clients; those of tasks have theirs behind `producer.` and so on.
_OWN_CLIENT: Final[tuple[str, ...]] = (
    "connections.max.idle.ms", "metadata.max.age.ms", "request.timeout.ms", "retry.backoff.ms",
)  # fmt: skip
OFFSETS_FILE: Final = "offset.storage.file.filename"
_CONVERTER: Final = "org.apache.kafka.connect.json.JsonConverter"
_HEADER_CONVERTER: Final = "org.apache.kafka.connect.storage.SimpleHeaderConverter"


def _policy(text: str) -> str:
    """Its alias, as far as it is one of Kafka's."""
    match = _POLICY_CLASS.fullmatch(text)
    return match[1] if match else text


def _check_policy(text: Any) -> str | None:
    if _policy(text) in _POLICIES:
        return None
    return f"only Kafka's own policies are there: {', '.join(_POLICIES)}"


def _positive_or_default(value: Any) -> str | None:
    if value is None or value > 0 or value == -1:
        return None
    return "Value must be a positive number, or -1 to use the broker's default"


class WorkerConfig(TaskConfig):
    """A distributed worker."""

    patterns: ClassVar[tuple[re.Pattern[str], ...]] = (_PASSED_ON,)

    bootstrap_servers: list[str] = setting(
        "bootstrap.servers", default=["127.0.0.1:9092"], importance=Importance.HIGH,
        doc="Kafka brokers to start from, as host:port, separated by commas.",
    )  # fmt: skip
    config_providers: list[str] = setting(
        "config.providers", default=[], importance=Importance.LOW,
        doc="Names of config providers, each with config.providers.NAME.class; file, env and dir are there "
        "without it.",
    )  # fmt: skip
    group_id: str = setting(
        "group.id", default="connect-cluster", importance=Importance.HIGH,
        doc="Workers with the same group.id, config, offset and status topics form one cluster.",
    )  # fmt: skip
    session_timeout_ms: int = setting(
        "session.timeout.ms", default=10_000, at_least=1, importance=Importance.HIGH,
        doc="How long a worker may be silent before others run its tasks; and how long it runs them without "
        "word from the brokers.",
    )  # fmt: skip
    heartbeat_interval_ms: int = setting(
        "heartbeat.interval.ms", default=3_000, at_least=1, importance=Importance.HIGH,
        doc="How often a worker tells the brokers that it is there; less than session.timeout.ms, by a third "
        "or more.",
    )  # fmt: skip
    rebalance_timeout_ms: int = setting(
        "rebalance.timeout.ms", default=60_000, at_least=1, importance=Importance.HIGH,
        doc="How long the brokers wait for every worker when tasks are shared out anew.",
    )  # fmt: skip
    worker_sync_timeout_ms: int = setting(
        "worker.sync.timeout.ms", default=3_000, at_least=0, importance=Importance.MEDIUM,
        doc="How long a worker may take to read what the others have read of the config topic before it "
        "leaves the group.",
    )  # fmt: skip
    worker_unsync_backoff_ms: int = setting(
        "worker.unsync.backoff.ms", default=300_000, at_least=0, importance=Importance.MEDIUM,
        doc="How long a worker stays away that could not read the config topic in time.",
    )  # fmt: skip
    rebalance_delay_ms: int = setting(
        "scheduled.rebalance.max.delay.ms", default=0, at_least=0, importance=Importance.LOW,
        doc="How long the tasks of a worker that went wait for it to come back before others run them; in "
        "Kafka Connect 300000 unless it is set.",
    )  # fmt: skip
    client_id: str = setting("client.id", default="", importance=Importance.LOW,
                             doc="The name under which brokers know this worker.")  # fmt: skip
    security_protocol: str = setting(
        "security.protocol", default="PLAINTEXT", importance=Importance.MEDIUM,
        check=one_of("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL", ignore_case=True),
        doc="How to speak to the brokers.",
    )  # fmt: skip
    client_dns_lookup: str = setting(
        "client.dns.lookup", default="use_all_dns_ips", importance=Importance.MEDIUM,
        check=one_of("use_all_dns_ips", "resolve_canonical_bootstrap_servers_only"),
        doc="Which addresses of a broker's name the clients of tasks try.",
    )  # fmt: skip
    connections_max_idle_ms: int = setting(
        "connections.max.idle.ms", default=540_000, kind=Kind.LONG, importance=Importance.MEDIUM,
        doc="How long a connection of the worker's own clients is kept without use.",
    )  # fmt: skip
    metadata_max_age_ms: int = setting(
        "metadata.max.age.ms", default=300_000, kind=Kind.LONG, at_least=0, importance=Importance.LOW,
        doc="How often the worker's own clients ask for the cluster's metadata, at least.",
    )  # fmt: skip
    request_timeout_ms: int = setting(
        "request.timeout.ms", default=40_000, at_least=0, importance=Importance.MEDIUM,
        doc="How long the worker's own clients wait for an answer.",
    )  # fmt: skip
    retry_backoff_ms: int = setting(
        "retry.backoff.ms", default=100, kind=Kind.LONG, at_least=0, importance=Importance.LOW,
        doc="How long the worker's own clients wait before they try again.",
    )  # fmt: skip
    key_converter: str = setting(
        "key.converter", default=_CONVERTER, kind=Kind.CLASS, importance=Importance.HIGH,
        doc="Converter for keys of connectors that name none.",
    )  # fmt: skip
    value_converter: str = setting(
        "value.converter", default=_CONVERTER, kind=Kind.CLASS, importance=Importance.HIGH,
        doc="Converter for values of connectors that name none.",
    )  # fmt: skip
    header_converter: str = setting(
        "header.converter", default=_HEADER_CONVERTER, kind=Kind.CLASS, importance=Importance.LOW,
        doc="Converter for header values of connectors that name none.",
    )  # fmt: skip
    listeners: list[str] = setting(
        "listeners", default=["http://127.0.0.1:8083"], importance=Importance.LOW,
        doc="Where REST listens, as http://host:port or https://host:port, separated by commas.",
    )  # fmt: skip
    rest_advertised_host: str | None = setting(
        "rest.advertised.host.name", default=None, importance=Importance.LOW,
        doc="The host that other workers and users reach this worker's REST at.",
    )  # fmt: skip
    rest_advertised_listener: str | None = setting(
        "rest.advertised.listener", default=None, importance=Importance.LOW,
        check=one_of("http", "https", ignore_case=True),
        doc="http or https: by which of its listeners others reach this worker; unset: http if there is one.",
    )  # fmt: skip
    rest_advertised_port: int | None = setting(
        "rest.advertised.port", default=None, importance=Importance.LOW,
        doc="The port that other workers and users reach this worker's REST at.",
    )  # fmt: skip
    config_topic: str = setting(
        "config.storage.topic", default="connect-configs", importance=Importance.HIGH,
        doc="Compacted topic of one partition that holds the connectors' configs.",
    )  # fmt: skip
    config_replication: int | None = setting(
        "config.storage.replication.factor", default=None, kind=Kind.SHORT, check=_positive_or_default,
        importance=Importance.LOW,
        doc="Replicas of the config topic when it is created; unset: 3, or as many as there are brokers.",
    )  # fmt: skip
    offset_topic: str = setting(
        "offset.storage.topic", default="connect-offsets", importance=Importance.HIGH,
        doc="Compacted topic that holds the source offsets.",
    )  # fmt: skip
    offsets_file: str | None = setting(
        OFFSETS_FILE, default=None, importance=Importance.HIGH,
        doc="Of a standalone worker: the file with the source offsets, in Kafka Connect's format.",
    )  # fmt: skip
    offset_partitions: int = setting(
        "offset.storage.partitions", default=25, check=_positive_or_default, importance=Importance.LOW,
        doc="Partitions of the offset topic when it is created.",
    )  # fmt: skip
    offset_replication: int | None = setting(
        "offset.storage.replication.factor", default=None, kind=Kind.SHORT, check=_positive_or_default,
        importance=Importance.LOW,
        doc="Replicas of the offset topic when it is created; unset: 3, or as many as there are brokers.",
    )  # fmt: skip
    status_topic: str = setting(
        "status.storage.topic", default="connect-status", importance=Importance.HIGH,
        doc="Compacted topic that holds the states of connectors and tasks.",
    )  # fmt: skip
    status_partitions: int = setting(
        "status.storage.partitions", default=5, check=_positive_or_default, importance=Importance.LOW,
        doc="Partitions of the status topic when it is created.",
    )  # fmt: skip
    status_replication: int | None = setting(
        "status.storage.replication.factor", default=None, kind=Kind.SHORT, check=_positive_or_default,
        importance=Importance.LOW,
        doc="Replicas of the status topic when it is created; unset: 3, or as many as there are brokers.",
    )  # fmt: skip
    offset_flush_interval_ms: int = setting(
        "offset.flush.interval.ms", default=60_000, kind=Kind.LONG, at_least=1, importance=Importance.LOW,
        doc="How often tasks commit offsets.",
    )  # fmt: skip
    offset_flush_timeout_ms: int = setting(
        "offset.flush.timeout.ms", default=5_000, kind=Kind.LONG, at_least=1, importance=Importance.LOW,
        doc="How long a commit of source offsets waits for acknowledgements before it is put off.",
    )  # fmt: skip
    task_shutdown_timeout_ms: int = setting(
        "task.shutdown.graceful.timeout.ms", default=5_000, kind=Kind.LONG, at_least=0,
        importance=Importance.LOW,
        doc="How long a task may take to stop before its process is killed.",
    )  # fmt: skip
    plugin_path: list[str] = setting(
        "plugin.path", default=[], importance=Importance.LOW,
        doc=(
            "Directories with plugins that are not installed: packages, in the directory itself or one in a "
            "directory of its own each, and modules, whose classes go by `module:Class`."
        ),
    )  # fmt: skip
    override_policy: str = setting(
        "connector.client.config.override.policy", default="All", importance=Importance.LOW,
        check=_check_policy,
        doc="Which client settings a connector may override: All, None, Principal or Allowlist.",
    )  # fmt: skip
    override_allowlist: list[str] = setting(
        "connector.client.config.override.allowlist", default=[], importance=Importance.MEDIUM,
        doc="The client settings that a connector may override under the policy Allowlist.",
    )  # fmt: skip
    topic_creation_enable: bool = setting(
        "topic.creation.enable", default=True, importance=Importance.LOW,
        doc="Whether source connectors may create their topics by `topic.creation.` settings.",
    )  # fmt: skip
    topic_tracking_enable: bool = setting(
        "topic.tracking.enable", default=True, importance=Importance.LOW,
        doc="Whether the topics that each connector uses are kept track of.",
    )  # fmt: skip
    topic_tracking_allow_reset: bool = setting(
        "topic.tracking.allow.reset", default=True, importance=Importance.LOW,
        doc="Whether users may reset the set of topics that a connector uses.",
    )  # fmt: skip
    exactly_once_source_support: str = setting(
        "exactly.once.source.support", default="disabled", importance=Importance.HIGH,
        check=one_of("disabled", "preparing", "enabled", ignore_case=True),
        doc="Whether source tasks write records and offsets in one transaction: disabled, preparing or "
        "enabled. In a running cluster, set all workers to preparing first, one by one, then to enabled.",
    )  # fmt: skip
    plugin_timeout_ms: int = setting(
        "millstream.plugin.timeout.ms", default=30_000, kind=Kind.LONG, at_least=1, importance=Importance.LOW,
        doc="How long a connector may take to check a config or to say its task configs.",
    )  # fmt: skip
    log_level: str = setting(
        "millstream.log.level", default="INFO", importance=Importance.LOW,
        check=one_of("DEBUG", "INFO", "WARNING", "ERROR"),
        doc="The level at which tasks log.",
    )  # fmt: skip

    def check(self) -> Iterable[FieldError]:
        topics = {"config": self.config_topic, "offset": self.offset_topic, "status": self.status_topic}
        for store, topic in topics.items():
            if not topic:
                yield FieldError(f"{store}.storage.topic", f"{store}.storage.topic must not be empty")
        if self.heartbeat_interval_ms >= self.session_timeout_ms:
            yield FieldError(
                "heartbeat.interval.ms",
                f"Invalid value {self.heartbeat_interval_ms} for configuration heartbeat.interval.ms: must "
                f"be less than session.timeout.ms ({self.session_timeout_ms}), best a third of it",
            )

    @property
    def standalone(self) -> bool:
        """Whether it has no group and no topics of its own."""
        return self.offsets_file is not None

    @property
    def exactly_once(self) -> bool:
        """Source tasks write in transactions."""
        return self.transactional_leader and self.exactly_once_source_support.lower() == "enabled"

    @property
    def transactional_leader(self) -> bool:
        """The leader writes the config topic in transactions; already while workers are prepared."""
        return not self.standalone and self.exactly_once_source_support.lower() != "disabled"

    @property
    def leader_transactional_id(self) -> str:
        """Of the producer for the config topic (KIP-618)."""
        return f"connect-cluster-{self.group_id}"

    @property
    def policy(self) -> str:
        """The override policy by its alias."""
        return _policy(self.override_policy)

    def own_client(self) -> dict[str, str]:
        """The Java-style settings of the worker's own clients, for the group and the internal topics."""
        named = {name: self.originals[name] for name in _OWN_CLIENT if name in self.originals}
        base = "-".join(filter(None, (self.group_id, self.client_id)))
        return {**self._shared(), **named, "client.id": base}

    def _shared(self) -> dict[str, str]:
        """What all Kafka clients have in common."""
        shared = {
            name: value
            for name, value in self.originals.items()
            if name.startswith(("sasl.", "ssl.")) or name in ("security.protocol", "client.dns.lookup")
        }
        return {"bootstrap.servers": ",".join(self.bootstrap_servers), **shared}

    def client(self, kind: str) -> dict[str, str]:
        """The Java-style settings of a `producer`, `consumer` or `admin` client: what all clients share, then
        the worker's own for that kind."""
        prefix = f"{kind}."
        own = {
            name.removeprefix(prefix): value
            for name, value in self.originals.items()
            if name.startswith(prefix) and not name.startswith("admin.listeners")
        }
        return {**self._shared(), **own}

    def topic_settings(self, store: str) -> Mapping[str, str]:
        """Topic configs for an internal topic: `{config,offset,status}.storage.<topic config>`."""
        prefix = f"{store}.storage."
        own = {"topic", "partitions", "replication.factor"}
        return {
            name.removeprefix(prefix): value
            for name, value in self.originals.items()
            if name.startswith(prefix) and name.removeprefix(prefix) not in own
        }
