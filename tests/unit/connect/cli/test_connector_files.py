"""Connector JSON files, and the directory whose files are kept applied."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from support.fake_connect_service import SOURCE, FakeConnectService

from connect.cli.connector_files import BadFile, read_connector
from connect.cli.connectors_dir import ConnectorsDirectory
from connect.runtime.service import BadRequest, ConnectorInfo, State, TargetState

CONFIG = {"connector.class": SOURCE, "topic": "t"}


def write(path: Path, document: Any) -> Path:
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


@pytest.mark.parametrize(
    ("document", "name"),
    [
        ({"name": "given", "config": CONFIG}, "given"),
        ({"config": {**CONFIG, "name": "inside"}}, "inside"),
        ({"config": CONFIG}, "file-name"),
        (CONFIG, "file-name"),
        ({**CONFIG, "name": "inside"}, "inside"),
    ],
)
def test_both_forms_of_a_file(tmp_path: Path, document: Any, name: str) -> None:
    connector = read_connector(write(tmp_path / "file-name.json", document))
    assert connector.name == name
    assert connector.config == {**CONFIG, "name": name}
    assert connector.initial_state is TargetState.STARTED


def test_a_file_may_give_an_initial_state(tmp_path: Path) -> None:
    document = {"name": "c", "config": CONFIG, "initial_state": "stopped"}
    assert read_connector(write(tmp_path / "c.json", document)).initial_state is TargetState.STOPPED


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ("{", "is not JSON: Expecting property name"),
        ("[]", "the document must be a JSON object"),
        ({"a": [1]}, "a must be a string, a number, true, false or null, not a list"),
        ({"name": "c", "config": {"a": {}}}, "config.a must be a string"),
        ({"name": "c", "config": {}, "stat": 1}, "stat is not a known field"),
    ],
)
def test_a_bad_file_says_what_is_wrong(tmp_path: Path, document: Any, why: str) -> None:
    path = write(tmp_path / "c.json", document)
    with pytest.raises(BadFile) as refused:
        read_connector(path)
    assert str(refused.value).startswith(str(path))
    assert why in str(refused.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="cannot be read: No such file or directory"):
        read_connector(tmp_path / "c.json")


class Kept:
    """A directory, and a clock that a test moves."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.service = FakeConnectService()
        self.now = 100.0
        self._directory = ConnectorsDirectory(path, self.service, self.service, lambda: self.now)

    def look(self) -> list[Any]:
        """One look at the directory; the log lines that it made."""
        with capture_logs() as lines:
            asyncio.run(self._directory.apply())
        return [{key: line[key] for key in line if key != "log_level"} for line in lines]


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path)


def test_new_and_changed_files_are_applied_once(kept: Kept) -> None:
    path = write(kept.path / "c.json", CONFIG)
    event = {"event": "connector applied", "file": str(path), "connector": "c"}
    assert kept.look() == [{**event, "created": True}]
    assert kept.look() == []
    write(path, {**CONFIG, "topic": "changed"})
    assert kept.look() == [{**event, "created": False}]
    assert kept.service.configs["c"]["topic"] == "changed"


def test_what_others_change_is_put_back(kept: Kept) -> None:
    write(kept.path / "c.json", CONFIG)
    kept.look()
    kept.service.configs["c"]["topic"] = "meddled"
    kept.look()
    assert kept.service.configs["c"] == {**CONFIG, "name": "c"}
    asyncio.run(kept.service.delete("c"))
    kept.look()
    assert kept.service.configs["c"] == {**CONFIG, "name": "c"}


def test_start_and_stop_are_left_to_the_user(kept: Kept) -> None:
    write(kept.path / "c.json", {"name": "c", "config": CONFIG, "initial_state": "PAUSED"})
    kept.look()
    assert kept.service.status("c").connector.state is State.PAUSED
    asyncio.run(kept.service.set_target_state("c", TargetState.STARTED))
    kept.look()
    assert kept.service.status("c").connector.state is State.RUNNING


def test_a_bad_file_is_one_log_line_and_stops_no_other(kept: Kept) -> None:
    bad = write(kept.path / "a.json", "{")
    write(kept.path / "b.json", CONFIG)
    first = kept.look()
    assert [line["event"] for line in first] == ["connector file not applied", "connector applied"]
    assert first[0]["error"].startswith(f"{bad} is not JSON")
    assert kept.look() == []
    write(bad, {**CONFIG, "name": "a"})
    assert [line["connector"] for line in kept.look()] == ["a"]


def test_a_removed_file_leaves_its_connector(kept: Kept) -> None:
    path = write(kept.path / "c.json", CONFIG)
    kept.look()
    path.unlink()
    assert [line["event"] for line in kept.look()] == ["connector file removed, its connector stays"]
    assert kept.look() == []
    assert kept.service.connectors() == ["c"]


def test_two_files_for_one_connector(kept: Kept) -> None:
    first = write(kept.path / "1.json", {"name": "c", "config": CONFIG})
    write(kept.path / "2.json", {"name": "c", "config": {**CONFIG, "topic": "other"}})
    assert kept.look()[1]["error"] == f"{first} is for connector c too, and comes first"
    assert kept.look() == []
    assert kept.service.configs["c"]["topic"] == "t"


def test_a_second_file_does_not_step_in_for_one_that_waits(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: Any) -> ConnectorInfo:
        raise RuntimeError("a bug of the worker")

    write(kept.path / "1.json", {"name": "c", "config": CONFIG})
    write(kept.path / "2.json", {"name": "c", "config": {**CONFIG, "topic": "other"}})
    with monkeypatch.context() as patched:
        patched.setattr(kept.service, "create", refuse)
        assert kept.look()[0]["error"] == "a bug of the worker"
    assert kept.look() == []
    assert kept.service.connectors() == []


def test_a_hidden_secret_in_a_file_means_the_stored_one(kept: Kept) -> None:
    path = write(kept.path / "c.json", {**CONFIG, "door.code": "1234"})
    kept.look()
    write(path, {**CONFIG, "door.code": "[hidden]"})
    assert kept.look() == []
    assert kept.service.configs["c"]["door.code"] == "1234"


def test_a_refused_config_is_tried_again_later(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    tries = 0

    async def refuse(*_: Any) -> ConnectorInfo:
        nonlocal tries
        tries += 1
        raise BadRequest("the database is away")

    write(kept.path / "c.json", CONFIG)
    with monkeypatch.context() as patched:
        patched.setattr(kept.service, "create", refuse)
        assert [line["error"] for line in kept.look()] == ["the database is away"]
        assert kept.look() == []
        kept.now += 2
        assert kept.look() == []
    assert tries == 2
    kept.now += 4
    assert [line["event"] for line in kept.look()] == ["connector applied"]
