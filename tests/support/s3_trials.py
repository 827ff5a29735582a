"""S3 sinks whose task processes are killed with SIGKILL: at any time, and at each step of their uploads.

What must hold: every record of the topic is in the bucket, once; and where the connector promises it, the
objects are those of a run that nobody disturbed, byte for byte.
"""

import random
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import confluent_kafka
from confluent_kafka import ConsumerGroupTopicPartitions
from confluent_kafka.admin import AdminClient

from connect.testing.deployments import Deployments
from connect.testing.millstream import Worker, kill_quietly
from connect.testing.s3 import S3Endpoint
from connect.testing.topics import Topics

from .s3_proxy import Asked, Cut, Fault, Moment, S3Proxy, Step
from .s3_scenarios import FLUSH_SIZE, Promise, Scenario, closing_records, records
from .trials import Wrong

PARTITIONS: Final = 3
WORKER: Final = {
    "offset.flush.interval.ms": "300",
    "millstream.task.restart.backoff.ms": "50",
    "millstream.task.restart.backoff.max.ms": "200",
    "millstream.task.restart.max.attempts": "100000",
}
_STUCK_S: Final = 180
_STEP_S: Final = 10  # to come to an agreed step
_LOOK_S: Final = 0.05
_FEED_S: Final = 0.3
_FEED_LARGE_S: Final = 1.5
_BETWEEN_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Aim:
    """At which moment of a request for such a step a task is killed."""

    step: Step
    moment: Moment


# Of what is fed to a connector at once.
_REQUESTS_EXPECTED: Final = {Step.PUT: PARTITIONS, Step.CREATE: 1, Step.PART: 2, Step.COMPLETE: 1}
_AIMS_SMALL: Final = tuple(Aim(Step.PUT, moment) for moment in Moment)
_AIMS_LARGE: Final = tuple(
    Aim(step, moment)
    for step, moment in (
        (Step.CREATE, Moment.BEFORE), (Step.CREATE, Moment.AFTER), (Step.PART, Moment.BEFORE),
        (Step.PART, Moment.MIDWAY), (Step.PART, Moment.AFTER), (Step.COMPLETE, Moment.BEFORE),
        (Step.COMPLETE, Moment.AFTER),
    )
)  # fmt: skip


@dataclass(slots=True)
class Report:
    kills: Counter[str] = field(default_factory=Counter)
    by_scenario: Counter[str] = field(default_factory=Counter)
    records: int = 0
    objects: int = 0
    doubled: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        parts = [f"{self.kills.total()} kills, {self.records} records, {self.objects} objects"]
        for what in (self.kills, self.by_scenario, self.doubled):
            if what:
                parts.append(", ".join(f"{name} {count}" for name, count in sorted(what.items())))
        return "\n".join(parts)


@dataclass(slots=True)
class _Target:
    """A connector under kills. The request that fits `aim`, after `countdown` others, takes it away."""

    scenario: Scenario
    topic: str
    bucket: str
    connector: str = ""
    aim: Aim | None = None
    countdown: int = 0


class S3Trial:
    """All scenarios at once, each with a connector, a bucket, and a topic that those of its size share."""

    def __init__(
        self,
        worker: Worker,
        bootstrap: str,
        s3: S3Endpoint,
        scenarios: Iterable[Scenario],
        name: str,
        seed: int,
    ) -> None:
        self.report = Report()
        self._worker = worker
        self._s3 = s3
        self._dice = random.Random(seed)
        self._name = name
        self._topics = Topics(bootstrap)
        self._admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
        self._producer = confluent_kafka.Producer(
            {"bootstrap.servers": bootstrap, "compression.type": "zstd", "log_level": 0}
        )
        self._deployments = Deployments(worker)
        self._lock = threading.Lock()
        scenarios = list(scenarios)
        self._ends: dict[str, list[int]] = {}
        self._targets = [
            _Target(scenario, self._topic(scenario), s3.create_bucket()) for scenario in scenarios
        ]
        self._by_bucket = {target.bucket: target for target in self._targets}

    def run(self, kills: int) -> Report:
        """Raises `Wrong`."""
        with S3Proxy(self._s3.endpoint, self._judge) as proxy, self._deployments:
            for target in self._targets:
                config = self._config(target, target.bucket, proxy.endpoint)
                target.connector = self._deployments.deploy(config, f"{self._name}-{target.scenario.name}")
            while (left := kills - self.report.kills.total()) > 0:
                self._kill_some(self._dice.sample(self._targets, min(left, len(self._targets))))
            for topic in self._ends:
                self._close(topic)
            for target in self._targets:
                self._verify(target)
            self._look_for_leftovers()
        return self.report

    # Records

    def _topic(self, scenario: Scenario) -> str:
        topic = f"{self._name}-{'large' if scenario.is_large else 'small'}"
        if topic not in self._ends:
            partitions = 1 if scenario.is_large else PARTITIONS
            self._topics.create(topic, partitions)
            self._ends[topic] = [0] * partitions
        return topic

    def _feed(self, targets: Iterable[_Target]) -> None:
        """Some records for what these connectors read, no whole files, so that offsets are committed while
        files are open."""
        for topic in sorted({target.topic for target in targets}):
            # Aiven's sink makes parts of what comes between two commits.
            most = 2 * FLUSH_SIZE if topic.endswith("large") else FLUSH_SIZE - 2
            if topic.endswith("large") and self._dice.random() > _FEED_S / _FEED_LARGE_S:
                continue
            for partition, end in enumerate(self._ends[topic]):
                self._produce(topic, partition, end, self._dice.randint(1, most))

    def _produce(self, topic: str, partition: int, first: int, count: int) -> None:
        is_large = topic.endswith("large")
        for record in records(partition, first, count, is_large=is_large):
            self._producer.produce(topic, **record)
        self._ends[topic][partition] += count
        self._producer.flush(60)

    def _close(self, topic: str) -> None:
        """Records that complete whatever is open, however it is rotated."""
        for partition, end in enumerate(self._ends[topic]):
            self._produce(topic, partition, end, -end % FLUSH_SIZE)
            for record in closing_records(partition, self._ends[topic][partition]):
                self._producer.produce(topic, **record)
            self._ends[topic][partition] += FLUSH_SIZE
        self._producer.flush(60)

    # Kills

    def _kill_some(self, targets: list[_Target]) -> None:
        """Each of them once, at a step or at a time of chance."""
        by_time: dict[float, _Target] = {}
        begin = time.monotonic()
        for target in targets:
            if self._dice.random() < 0.3:
                by_time[begin + self._dice.uniform(0, 1)] = target
                continue
            with self._lock:
                target.aim = self._dice.choice(_AIMS_LARGE if target.scenario.is_large else _AIMS_SMALL)
                target.countdown = self._dice.randint(0, _REQUESTS_EXPECTED[target.aim.step] - 1)
        deadline = begin + _STEP_S
        next_feed = begin
        while left := [target for target in targets if target.aim or target in by_time.values()]:
            now = time.monotonic()
            if now >= next_feed:
                self._feed(left)
                next_feed = now + _FEED_S
            for due in [when for when in by_time if when <= now]:
                self._kill(by_time.pop(due), "at any time")
            if now > deadline:
                for target in targets:
                    if self._take_aim(target):
                        self._kill(target, "at any time")
            time.sleep(_LOOK_S)
        time.sleep(self._dice.uniform(0, _BETWEEN_S))

    def _judge(self, asked: Asked, moment: Moment) -> Fault | None:
        target = self._by_bucket.get(asked.bucket)
        if target is None:
            return None
        with self._lock:
            aim = target.aim
            if aim is None or (aim.step, aim.moment) != (asked.step, moment):
                return None
            if target.countdown:
                target.countdown -= 1
                return None
            target.aim = None
        self._kill(target, f"{aim.moment} {aim.step}")
        return Cut.RESET

    def _take_aim(self, target: _Target) -> bool:
        with self._lock:
            had, target.aim = target.aim is not None, None
            return had

    def _kill(self, target: _Target, why: str) -> None:
        title = f"millstream task {target.connector}-"
        deadline = time.monotonic() + _STUCK_S
        while not (found := [pid for pid, name in self._worker.processes() if name.startswith(title)]):
            if time.monotonic() > deadline:
                raise Wrong(f"{target.connector} has no task: {self._deployments.status(target.connector)}")
            time.sleep(_LOOK_S)
        kill_quietly(self._dice.choice(found))
        with self._lock:
            self.report.kills[why] += 1
            self.report.by_scenario[target.scenario.name] += 1

    # The end

    def _config(self, target: _Target, bucket: str, endpoint: str) -> Mapping[str, str]:
        return {"topics": target.topic, **target.scenario.config(bucket, endpoint, self._s3)}

    def _verify(self, target: _Target) -> None:
        self._wait(target, target.connector)
        found = self._objects(target.bucket)
        counts = Counter(target.scenario.read_all(found))
        expected = self._expected(target)
        if missing := expected - counts.keys():
            raise Wrong(f"{target.connector}: {sorted(missing)[:20]} are missing in {target.bucket}")
        doubled = {record: count for record, count in counts.items() if count > 1}
        self.report.records += len(expected)
        self.report.objects += len(found)
        if doubled and target.scenario.promise is not Promise.AT_LEAST_ONCE:
            keys = [key for key, data in found.items() if set(doubled) & set(target.scenario.read(key, data))]
            raise Wrong(f"{target.connector}: {sorted(doubled)[:20]} are there twice, in {keys[:20]}")
        if doubled:
            self.report.doubled[f"twice in {target.scenario.name}"] += len(doubled)
        if target.scenario.promise is Promise.SAME_OBJECTS:
            self._compare(target, found)

    def _compare(self, target: _Target, found: Mapping[str, bytes]) -> None:
        """With the objects of a connector that works undisturbed."""
        bucket = self._s3.create_bucket()
        name = self._deployments.deploy(
            self._config(target, bucket, self._s3.endpoint), f"{target.connector}-undisturbed"
        )
        self._wait(target, name)
        undisturbed = self._objects(bucket)
        self._deployments.delete(name)
        if found.keys() != undisturbed.keys():
            more, less = sorted(found.keys() - undisturbed.keys()), sorted(undisturbed.keys() - found.keys())
            raise Wrong(f"{target.connector}: objects {more[:9]} beside, {less[:9]} missing")
        if different := [key for key in sorted(found) if found[key] != undisturbed[key]]:
            raise Wrong(f"{target.connector}: {different[:9]} have other bytes than undisturbed")

    def _expected(self, target: _Target) -> set[tuple[int, int]]:
        left_open = target.scenario.left_open
        ends = self._ends[target.topic]
        return {(p, offset) for p, end in enumerate(ends) for offset in range(end - left_open)}

    def _wait(self, target: _Target, connector: str) -> None:
        """Until it has committed all that there is."""
        wanted = [end - target.scenario.left_open for end in self._ends[target.topic]]
        deadline = time.monotonic() + _STUCK_S
        while (committed := self._committed(connector, target.topic)) != wanted:
            if time.monotonic() > deadline:
                status = self._deployments.status(connector)
                raise Wrong(f"{connector} has committed {committed} of {wanted}: {status}")
            time.sleep(_LOOK_S)

    def _committed(self, connector: str, topic: str) -> list[int]:
        group = ConsumerGroupTopicPartitions(f"connect-{connector}")
        future = self._admin.list_consumer_group_offsets([group])[group.group_id]
        told = {p.partition: p.offset for p in future.result(60).topic_partitions if p.topic == topic}
        return [told.get(partition, -1) for partition in range(len(self._ends[topic]))]

    def _objects(self, bucket: str) -> dict[str, bytes]:
        client: Any = self._s3.client()
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        keys = [each["Key"] for page in pages for each in page.get("Contents", ())]
        return {key: client.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}

    def _look_for_leftovers(self) -> None:
        client: Any = self._s3.client()
        for target in self._targets:
            left = client.list_multipart_uploads(Bucket=target.bucket).get("Uploads", ())
            if left and target.scenario.promise is Promise.SAME_OBJECTS:
                raise Wrong(f"{target.connector} left uploads of {[upload['Key'] for upload in left]}")
