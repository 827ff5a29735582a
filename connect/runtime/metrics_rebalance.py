"""The group connect-worker-rebalance-metrics: rounds of the group that this worker has been in."""

import time
from collections.abc import Mapping

from connect.runtime.membership_protocol import PROTOCOL
from connect.runtime.metrics_window import Sampled


class RebalanceMeter:
    """A round begins when this worker introduces itself, and is over when it has its assignment."""

    def __init__(self) -> None:
        self._completed = 0
        self._began: float | None = None
        self._ended: float | None = None
        self._took_ms = Sampled()
        self._generation_id = -1
        self._leader = ""

    def began(self) -> None:
        """Also when a round that did not come to its end is begun again."""
        if self._began is None:
            self._began = time.monotonic()

    def ended(self, generation_id: int, leader: str) -> None:
        """`leader` is the leader's worker id."""
        now = time.monotonic()
        if self._began is not None:
            self._took_ms.add((now - self._began) * 1000, now)
        self._began, self._ended = None, now
        self._completed += 1
        self._generation_id, self._leader = generation_id, leader

    def group(self) -> Mapping[str, float | str]:
        """By Connect's names."""
        now = time.monotonic()
        since_ms = float("nan") if self._ended is None else (now - self._ended) * 1000
        return {
            "completed-rebalances-total": self._completed,
            "epoch": self._generation_id,
            "rebalancing": float(self._began is not None),
            "rebalance-avg-time-ms": self._took_ms.average(now),
            "rebalance-max-time-ms": self._took_ms.maximum(now),
            "time-since-last-rebalance-ms": since_ms,
            "leader-name": self._leader,
            "connect-protocol": PROTOCOL,
        }
