"""The Kafka clients that the tests try, what each of them can do, and how its agent is built."""

import fcntl
import functools
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

AGENTS = Path(__file__).parents[1] / "integration" / "clients" / "agents"
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "millstream" / "clients"
# Another cluster to try the scenarios against: an Apache Kafka, to check the scenarios themselves.
BOOTSTRAP = "MILLSTREAM_CLIENTS_BOOTSTRAP"
# Set, also agents that take a minute to build are built.
BUILD_ALL = "MILLSTREAM_CLIENTS_BUILD_ALL"
# A broker for these tests: it tells members of KIP-848 soon of a rebalance (their heartbeats go by its
# interval) and looks often for transactions that took too long. A first member waits a little for others:
# kafka-python, when it is assigned at once, has not yet learnt of the topic's partitions, and stays without.
QUICK_BROKER = {
    "group.consumer.heartbeat.interval.ms": "300",
    "group.consumer.min.heartbeat.interval.ms": "300",
    "group.initial.rebalance.delay.ms": "200",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "500",
}
ALL_CODECS = ("none", "gzip", "snappy", "lz4", "zstd")

_RECORDS = frozenset({"produce", "consume", "list_offset", "create_topic"})
_TOPICS = frozenset({"delete_topic", "list_topics", "describe_topic", "delete_records"})
_ADMIN = _TOPICS | {
    "create_partitions", "describe_configs", "alter_configs", "create_configs", "broker_configs",
    "list_groups", "describe_group", "group_offsets", "describe_cluster",
}  # fmt: skip
_GROUP_ADMIN = frozenset({"delete_group", "alter_group_offsets", "validate_only"})
_TRANSACTION_ADMIN = frozenset({"list_transactions", "describe_transaction", "describe_producers"})
_USUAL = (
    _RECORDS
    | _ADMIN
    | {"acks0", "idempotent", "groups"}
    | {"transactions", "fencing", "flush_without_commit", "follows_partitions", "commits_or_says"}
)


@dataclass(frozen=True)
class KafkaClient:
    """`features` are operations of the agent, and what else only some clients can."""

    name: str
    build: Callable[[], list[str]]
    features: frozenset[str]
    codecs: tuple[str, ...] = ALL_CODECS
    tools: tuple[str, ...] = ()
    slow_build: str = ""  # the folder of an agent that takes a minute to build

    @property
    def why_not(self) -> str:
        """What is missing to try this client; empty if nothing is."""
        missing = [tool for tool in self.tools if shutil.which(tool) is None]
        if missing:
            return f"not installed: {', '.join(missing)}"
        if "go" in self.tools and not _go_fetches_toolchains():
            return "go is older than 1.21, which first could fetch the version that a go.mod asks for"
        if self.slow_build and not _cached(self.slow_build).exists() and not os.environ.get(BUILD_ALL):
            return f"{self.name}'s agent is not built: tests/integration/clients/run_all.py builds it"
        return ""


def clients_with(*features: str) -> pytest.MarkDecorator:
    """Run a test once with an agent of each client that has the features, as fixture `client`."""
    return pytest.mark.parametrize(
        "client",
        [
            pytest.param(
                client,
                id=client.name,
                marks=pytest.mark.skipif(bool(client.why_not), reason=client.why_not),
            )
            for client in CLIENTS
            if client.features.issuperset(features)
        ],
        indirect=True,
    )


@functools.cache
def _go_fetches_toolchains() -> bool:
    asked = subprocess.run(["go", "env", "GOTOOLCHAIN"], capture_output=True, text=True, check=False)
    return bool(asked.stdout.strip())  # unknown to older versions, and therefore empty


def _python(script: str) -> Callable[[], list[str]]:
    return lambda: [sys.executable, str(AGENTS / "python" / script)]


def _go(program: str) -> Callable[[], list[str]]:
    return lambda: [str(_built("go", ["go", "build", "-o", "bin/", "./..."]) / "bin" / program)]


def _kafkajs() -> list[str]:
    return ["node", str(_built("kafkajs", ["npm", "ci", "--no-audit", "--no-fund"]) / "agent.js")]


def _rust() -> list[str]:
    # What the crates became is kept apart, so that a change of the agent takes a second.
    build = ["cargo", "install", "--debug", "--locked", "--quiet", "--path=.", "--root=."]
    return [str(_built("rust", [*build, f"--target-dir={CACHE / 'rust-target'}"]) / "bin" / "agent")]


def _cached(folder: str) -> Path:
    """Where the agent of a folder is built, for what its files say now."""
    source = AGENTS / folder
    digest = hashlib.sha256()
    for path in sorted(path for path in source.rglob("*") if path.is_file()):
        digest.update(str(path.relative_to(source)).encode() + b"\0" + path.read_bytes())
    return CACHE / f"{folder}-{digest.hexdigest()[:16]}"


def _built(folder: str, *commands: list[str]) -> Path:
    """A copy of an agent's folder in the cache, built there once."""
    source, built = AGENTS / folder, _cached(folder)
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{folder}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not built.exists():
            making = built.with_suffix(".making")
            shutil.rmtree(making, ignore_errors=True)
            shutil.copytree(source, making)
            for command in commands:
                done = subprocess.run(command, cwd=making, capture_output=True, text=True, check=False)
                assert done.returncode == 0, f"{command} in {folder}:\n{done.stdout}\n{done.stderr}"
            making.rename(built)
            _forget_old(folder, built)
    return built


def _forget_old(folder: str, built: Path) -> None:
    """Another checkout may need what is not a day old."""
    for other in CACHE.glob(f"{folder}-????????????????"):
        if other != built and time.time() - other.stat().st_mtime > 86_400:
            shutil.rmtree(other, ignore_errors=True)


CLIENTS = [
    KafkaClient(
        "librdkafka",
        _python("confluent_agent.py"),
        _USUAL | _GROUP_ADMIN | {"header_lists", "many_partitions", "roundrobin", "cooperative", "kip848"}
        | {"static", "fenced_instance", "regex", "max_poll_interval", "send_offsets"}
        | {"resets", "group_metadata", "kip848_static"},
    ),
    KafkaClient(
        "aiokafka",
        _python("aiokafka_agent.py"),
        _USUAL | {"header_lists", "many_partitions", "roundrobin", "static"}
        | {"max_poll_interval", "send_offsets", "resets"},
    ),
    KafkaClient(
        "kafka-python",
        _python("kafka_python_agent.py"),
        _USUAL - {"follows_partitions"} | _GROUP_ADMIN | _TRANSACTION_ADMIN
        | {"many_partitions", "roundrobin", "cooperative", "static", "poll_all"}
        | {"max_poll_interval", "send_offsets", "delete_group_offsets", "resets"},
    ),
    KafkaClient(
        "franz-go",
        _go("franz"),
        _USUAL | _GROUP_ADMIN | _TRANSACTION_ADMIN | {"header_lists", "many_partitions", "roundrobin"}
        | {"cooperative", "kip848", "static", "fenced_instance", "regex", "session"}
        | {"delete_group_offsets", "resets"},
        tools=("go",),
    ),
    KafkaClient(
        "sarama",
        _go("sarama"),
        _USUAL | _GROUP_ADMIN | {"header_lists", "many_partitions", "roundrobin", "static"}
        | {"fenced_instance", "send_offsets", "delete_group_offsets"},
        tools=("go",),
    ),
    KafkaClient(
        "kafkajs",
        _kafkajs,
        # While it starts its consumer again, a commit is left out without a word (runner.js, `running`).
        _USUAL - {"commits_or_says"} | _GROUP_ADMIN | {"send_offsets"},
        tools=("node", "npm"),
    ),
    KafkaClient("rskafka", _rust, _RECORDS | _TOPICS, tools=("cargo",), slow_build="rust"),
]  # fmt: skip
