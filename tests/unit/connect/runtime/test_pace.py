"""The share of a core that a task may use."""

from itertools import count

from connect.runtime.pace import Pace


class Clocks:
    """A process with its CPU time, and the time of day."""

    def __init__(self) -> None:
        self.used_s = 3.0
        self.now_s = 100.0

    def work(self, cpu_s: float, wall_s: float) -> None:
        self.used_s += cpu_s
        self.now_s += wall_s

    def pace(self, share: float) -> Pace:
        return Pace(share, lambda: self.used_s, lambda: self.now_s)


def test_work_beyond_the_share_is_made_good_by_rest() -> None:
    clocks = Clocks()
    pace = clocks.pace(0.25)
    begin_s, begin_used_s = clocks.now_s, clocks.used_s
    for _ in range(100):
        clocks.work(0.1, 0.1)
        clocks.now_s += pace.rest_s()
    share = (clocks.used_s - begin_used_s) / (clocks.now_s - begin_s)
    assert 0.25 <= share < 0.26


def test_within_the_share_there_is_no_rest() -> None:
    clocks = Clocks()
    pace = clocks.pace(0.5)
    for _ in range(100):
        clocks.work(0.05, 0.11)
        assert pace.rest_s() == 0


def test_what_was_not_used_is_saved_for_a_moment_only() -> None:
    clocks = Clocks()
    pace = clocks.pace(0.5)
    clocks.work(0, 3600)
    assert pace.rest_s() == 0
    clocks.work(2, 2)
    assert pace.rest_s() == 1.5  # 2 s of work are worth 4 s; 2 s have passed, 0.5 s were saved


def test_a_rest_that_was_cut_short_is_still_owed() -> None:
    clocks = Clocks()
    pace = clocks.pace(0.5)
    clocks.work(10, 10)
    owed = pace.rest_s()
    for seconds in count(1):
        clocks.now_s += 1
        left = pace.rest_s()
        assert left == max(0, owed - seconds)
        if not left:
            break


def test_more_than_one_core() -> None:
    clocks = Clocks()
    pace = clocks.pace(2)
    clocks.work(3, 1)
    assert pace.rest_s() == 0
    clocks.work(9, 3)
    assert pace.rest_s() == 1.5
