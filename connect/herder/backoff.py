"""When a failed task starts again."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """Exponential backoff: `first_ms`, then twice as long each time up to `longest_ms`, `attempts_max` times.

    A task that ran for `longest_ms` without failing counts as healthy: the next failure is a first one.
    """

    first_ms: int = 1_000
    longest_ms: int = 60_000
    attempts_max: int = 1_000

    def delay_ms(self, failures: int) -> int | None:
        """The pause after so many failures in a row (1 = the first); None when it is over."""
        if failures > self.attempts_max:
            return None
        # 2**40 ms is far above any longest_ms; the bound keeps the number small.
        return min(self.first_ms << min(failures - 1, 40), self.longest_ms)
