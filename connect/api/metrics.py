"""A task's own metrics: what its connector knows and the runtime cannot, such as lag at the source."""

import logging
import re
from typing import Final

_LOG = logging.getLogger(__name__)
_NAME: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL: Final = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*")
_RESERVED_PREFIX: Final = "kafka_connect_"
_RESERVED_LABELS: Final = frozenset(("connector", "task"))
SERIES_MAX: Final = 1_000

Labels = tuple[tuple[str, str], ...]
Sample = tuple[str, str, Labels, float]  # name, "gauge" or "counter", labels, value


class TaskMetrics:
    """The present value of each metric; the runtime reads them once a second and serves them at `/metrics`
    with the labels `connector` and `task`.

    `name` is the full name in Prometheus' form, with the unit last and a counter ending in `_total`:
    `millstream_file_position_bytes`. `labels` are few and have few values: at most `SERIES_MAX` metrics are
    kept of a task. Setting one costs less than a microsecond; set it once a batch or rarer, not per record.
    May be called from any thread. Raises `ValueError` for names and labels that Prometheus would not take.

    `lag_ms` says how far a source is behind what it reads from, in milliseconds, where that is known; a
    connector's status shows it.
    """

    def __init__(self) -> None:
        self._values: dict[tuple[str, Labels], float] = {}
        self._kinds: dict[str, str] = {}
        self._full = False
        self.lag_ms: float | None = None

    def gauge(self, name: str, value: float | None, /, **labels: str) -> None:
        """Something that goes up and down; None forgets it."""
        self._set("gauge", name, value, labels)

    def counter(self, name: str, value: float, /, **labels: str) -> None:
        """The total since the task started."""
        self._set("counter", name, value, labels)

    def samples(self) -> list[Sample]:
        """All that are set now."""
        return [
            (name, self._kinds[name], labels, value) for (name, labels), value in list(self._values.items())
        ]

    def _set(self, kind: str, name: str, value: float | None, labels: dict[str, str]) -> None:
        key = name, tuple(labels.items())
        if key not in self._values:
            if value is None:
                return
            self._check(kind, name, labels)
            if len(self._values) >= SERIES_MAX:
                if not self._full:
                    self._full = True
                    _LOG.warning("a task keeps at most %d metrics: %s is left out", SERIES_MAX, name)
                return
        if value is None:
            self._values.pop(key, None)
        else:
            self._values[key] = float(value)

    def _check(self, kind: str, name: str, labels: dict[str, str]) -> None:
        if not _NAME.fullmatch(name) or name.startswith(_RESERVED_PREFIX):
            raise ValueError(
                f"{name!r} cannot be a metric's name: letters, digits and _, not beginning with a digit or "
                f"with {_RESERVED_PREFIX}"
            )
        if self._kinds.setdefault(name, kind) != kind:
            raise ValueError(f"{name} is a {self._kinds[name]} already and cannot be a {kind}")
        for label in labels:
            if not _LABEL.fullmatch(label) or label in _RESERVED_LABELS:
                raise ValueError(
                    f"{label!r} cannot be a label of {name}: letters, digits and _, not beginning with a "
                    "digit or two underscores, and neither connector nor task"
                )
