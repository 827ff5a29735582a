"""Changes of state, one structured line of the log each, for whoever watches it."""

from typing import Final

import structlog

from connect.herder.actions import Status
from connect.herder.states import State

_LOG: Final = structlog.get_logger(__name__)
_GONE: Final = "GONE"  # in a line only: there is no such connector or task any more


class StateChanges:
    """Tells each change once: connector, task (where it is one's), from, to, and the reason."""

    def __init__(self) -> None:
        self._states: dict[tuple[str, int | None], State] = {}

    def tell(self, connector: str, task: int | None, status: Status | None) -> None:
        """What is now true of a connector, or of one of its tasks; None: it is gone."""
        former = self._states.pop((connector, task), None)
        if status is not None:
            self._states[connector, task] = status.state
        elif former is None:
            return
        change: dict[str, object] = {"connector": connector}
        if task is not None:
            change["task"] = task
        if status is not None and status.trace is not None:
            change |= {"reason": status.trace.partition("\n")[0], "trace": status.trace}
        state = _GONE if status is None else status.state.value
        if former != state or state == State.FAILED:  # each failure is told, not only the first one in a row
            log = _LOG.error if state == State.FAILED else _LOG.info
            log("state changed", **change, **{"from": former and former.value, "to": state})
        elif "trace" in change:
            _LOG.warning("makes no headway", **change)
