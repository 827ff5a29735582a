"""Every recorded answer of a Java worker's REST API, asked again of ours."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import httpx
import pytest
from confluent_kafka import Producer
from support.rest_differences import DIFFERENCES
from support.rest_replay import replay, story

from connect.testing.millstream import Millstream


class Place:
    """A running worker, and the files and topics that the recorded configs name."""

    def __init__(self, directory: Path, millstream: Millstream) -> None:
        self._directory = directory
        self._millstream = millstream
        self.client = httpx.Client(base_url=millstream.url, timeout=60)

    def lines(self, file: str, count: int) -> Callable[[], None]:
        text = "".join(f"line {number}\n" for number in range(1, count + 1))

        def write() -> None:
            (self._directory / file).write_text(text)

        return write

    def records(self, *records: tuple[str, str]) -> Callable[[], None]:
        def produce() -> None:
            producer = Producer({"bootstrap.servers": self._millstream.bootstrap})
            for topic, value in records:
                producer.produce(topic, value)
            assert producer.flush(30) == 0

        return produce

    def delete_connectors(self) -> None:
        for name in self.client.get("/connectors").json():
            self.client.delete(f"/connectors/{name}").raise_for_status()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    directory = tmp_path_factory.mktemp("rest")
    worker = {"offset.flush.interval.ms": "300"}
    # The configs name files in the worker's working directory.
    with contextlib.chdir(directory):
        millstream = Millstream(directory / "data", worker=worker)
    with millstream:
        yield Place(directory, millstream)


def preparations(name: str, place: Place) -> Mapping[int, Callable[[], None]]:
    """What has to be there before a call: the recordings do not hold it."""
    return {
        "life_cycle": {0: place.lines("lc.txt", 5)},
        "offsets_source": {0: place.lines("os.txt", 10)},
        "topics": {0: place.records(("tp-a", "1"), ("tp-b", "1")), 5: place.records(("tp-a", "2"))},
        "failed_tasks": {0: place.records(("ft-topic", '{"a": 1}'), ("ft-topic", "not json"))},
    }.get(name, {})


@pytest.mark.parametrize(
    "name",
    [
        "config_patch",
        "create_bad",
        "create_good",
        "exactly_once_disabled",
        "failed_tasks",
        "life_cycle",
        "loggers",
        "offsets_source",
        "plugin_configs_transforms",
        "plugins",
        "restart_flags",
        "root",
        "session_key",
        "topics",
        "validate_file",
    ],
)
def test_the_answers_of_a_story(place: Place, name: str) -> None:
    place.delete_connectors()
    intended = DIFFERENCES.get(name, {})
    found = replay(story(name), place.client, preparations(name, place), intended)
    unexpected = [str(found[number]) for number in sorted(found.keys() - intended.keys())]
    assert not unexpected, "\n".join(unexpected)
    assert intended.keys() == found.keys(), "listed as different, but the same"
