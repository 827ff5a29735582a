"""The fold over the config topic."""

import pytest

from connect.herder.config_state import (
    ConfigChanged,
    ConfigState,
    ConnectorRemoved,
    RestartRequested,
    TargetChanged,
    TasksChanged,
    TasksFenced,
)
from connect.herder.states import TargetState


def folded(*records: tuple[str, object]) -> ConfigState:
    state = ConfigState()
    for key, value in records:
        state.apply(key, value)
    return state


CONNECTOR = ("connector-a", {"properties": {"x": "1"}})


def test_task_configs_count_from_their_commit_on() -> None:
    state = folded(
        CONNECTOR, ("task-a-0", {"properties": {"n": "0"}}), ("task-a-1", {"properties": {"n": "1"}})
    )
    assert state.tasks == {}
    assert state.apply("commit-a", {"tasks": 2}) == TasksChanged("a")
    assert state.tasks == {"a": [{"n": "0"}, {"n": "1"}]}


def test_a_commit_of_fewer_tasks_drops_the_rest() -> None:
    state = folded(
        CONNECTOR,
        ("task-a-1", {"properties": {"n": "old"}}),  # what compaction leaves of an older, larger set
        ("task-a-0", {"properties": {"n": "0"}}),
        ("commit-a", {"tasks": 1}),
    )
    assert state.tasks == {"a": [{"n": "0"}]}


def test_an_incomplete_set_counts_as_none() -> None:
    assert folded(CONNECTOR, ("task-a-1", {"properties": {}}), ("commit-a", {"tasks": 2})).tasks == {"a": []}


def test_a_deleted_connector_leaves_nothing() -> None:
    state = folded(CONNECTOR, ("task-a-0", {"properties": {}}), ("commit-a", {"tasks": 1}))
    assert state.apply("connector-a", None) == ConnectorRemoved("a")
    assert (state.connectors, state.tasks) == ({}, {})
    assert state.apply("connector-a", None) is None


@pytest.mark.parametrize(
    ("value", "target"),
    [
        ({"state": "PAUSED", "state.v2": "STOPPED"}, TargetState.STOPPED),
        ({"state": "PAUSED", "state.v2": "PAUSED"}, TargetState.PAUSED),
        ({"state": "PAUSED"}, TargetState.PAUSED),  # by a worker before KIP-875
        ({"state": "STARTED", "state.v2": "STARTED"}, TargetState.STARTED),
    ],
)
def test_target_states(value: object, target: TargetState) -> None:
    state = folded(CONNECTOR)
    assert state.target("a") is TargetState.STARTED
    assert state.apply("target-state-a", value) == TargetChanged("a")
    assert state.target("a") is target
    assert state.apply("target-state-a", None) is None
    assert state.target("a") is TargetState.STARTED


def test_restart_requests_for_known_connectors() -> None:
    request = ("restart-connector-a", {"include-tasks": True, "only-failed": False})
    assert folded().apply(*request) is None
    assert folded(CONNECTOR).apply(*request) == RestartRequested("a", include_tasks=True, only_failed=False)


def test_names_with_dashes_and_prefixes() -> None:
    state = folded(
        ("connector-task-a-0", {"properties": {}}),
        ("task-task-a-0-0", {"properties": {"n": "0"}}),
        ("commit-task-a-0", {"tasks": 1}),
    )
    assert state.tasks == {"task-a-0": [{"n": "0"}]}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("connector-a", {"no": "properties"}),
        ("connector-a", 5),
        ("commit-a", {"tasks": "two"}),
        ("commit-a", None),
        ("task-a-x", {"properties": {}}),
        ("target-state-a", {"state": "DANCING"}),
        ("target-state-a", {"state": ["PAUSED"]}),
        ("session-key", {"key": "x"}),
        ("tasks-fencing-a", {"tasks": 1}),
        ("restart-connector-a", None),
    ],
)
def test_what_is_not_understood_changes_nothing(key: str, value: object) -> None:
    state = folded(CONNECTOR)
    before = (dict(state.connectors), dict(state.tasks), dict(state.targets))
    assert state.apply(key, value) is None
    assert (state.connectors, state.tasks, state.targets) == before


def test_a_config_that_is_written_again_is_a_change() -> None:
    assert folded(CONNECTOR).apply(*CONNECTOR) == ConfigChanged("a")


def test_a_fencing_counts_until_there_are_other_task_configs() -> None:
    state = folded(CONNECTOR)
    state.apply("task-a-0", {"properties": {}})
    state.apply("commit-a", {"tasks": 1})
    assert state.to_fence == {"a"}
    assert state.apply("tasks-fencing-a", {"task-count": 1}) == TasksFenced("a")
    assert (state.to_fence, state.fenced_tasks) == (set(), {"a": 1})
    state.apply("connector-a", None)
    # One of the same name has the same transactional ids.
    assert state.fenced_tasks == {"a": 1}
