"""Changes of state in the log."""

from structlog.testing import capture_logs

from connect.herder.actions import Status
from connect.herder.states import State
from connect.runtime.state_changes import StateChanges

RUNNING, PAUSED = Status(State.RUNNING), Status(State.PAUSED)


def test_each_change_is_a_line_with_the_reason() -> None:
    changes = StateChanges()
    with capture_logs() as lines:
        changes.tell("c", None, RUNNING)
        changes.tell("c", 0, RUNNING)
        changes.tell("c", 0, RUNNING)
        changes.tell("c", 0, Status(State.FAILED, "it broke\nhere"))
        changes.tell("c", 0, Status(State.FAILED, "it broke\nthere"))
        changes.tell("c", 0, PAUSED)
        changes.tell("c", 0, None)
        changes.tell("c", 0, None)
    assert lines == [
        {"event": "state changed", "log_level": "info", "connector": "c", **change}
        for change in (
            {"from": None, "to": "RUNNING"},
            {"task": 0, "from": None, "to": "RUNNING"},
        )
    ] + [
        {
            "event": "state changed", "log_level": "error", "connector": "c", "task": 0, "from": before,
            "to": "FAILED", "reason": "it broke", "trace": f"it broke\n{where}",
        }
        for before, where in (("RUNNING", "here"), ("FAILED", "there"))
    ] + [
        {"event": "state changed", "log_level": "info", "connector": "c", "task": 0, **change}
        for change in ({"from": "FAILED", "to": "PAUSED"}, {"from": "PAUSED", "to": "GONE"})
    ]  # fmt: skip
