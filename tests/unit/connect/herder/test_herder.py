"""The herder's decisions, driven as the worker drives it."""

from collections.abc import Sequence

import pytest

from connect.herder.actions import (
    Action,
    AskRestart,
    FenceTasks,
    KillTask,
    MakeTaskConfigs,
    PauseTask,
    Restarts,
    ResumeTask,
    ShowConnector,
    ShowTask,
    StartTask,
    Status,
    StopTask,
    WriteTaskConfigs,
)
from connect.herder.backoff import RestartPolicy
from connect.herder.herder import ALONE, NO_PART, Herder, Part
from connect.herder.states import State, TaskId

CONFIG = {"connector.class": "C"}
TASK = TaskId("a", 0)
POLICY = RestartPolicy(first_ms=100, longest_ms=400, attempts_max=4)
STOP_MS = 5_000


class Bench:
    """A herder with a clock and the config topic looped back."""

    def __init__(self, policy: RestartPolicy = POLICY, *, exactly_once: bool = False) -> None:
        self.herder = Herder(lambda _: policy, STOP_MS, lambda _: exactly_once)
        self.herder.on_part(ALONE)
        self.now = 0

    def deploy(self, config: dict[str, str] | None = None) -> list[Action]:
        self.herder.on_config_record("connector-a", {"properties": config or CONFIG})
        return self.decide()

    def target(self, state: str) -> list[Action]:
        self.herder.on_config_record("target-state-a", {"state.v2": state})
        return self.decide()

    def answer(
        self, tasks: Sequence[dict[str, str]], asked: Action, reload_at_ms: int | None = None
    ) -> list[Action]:
        """The connector's task configs; written, if the herder says so, and read back."""
        assert isinstance(asked, MakeTaskConfigs)
        self.herder.on_task_configs("a", asked.revision, tasks, reload_at_ms)
        actions = self.decide()
        for action in actions:
            if isinstance(action, WriteTaskConfigs):
                self.write(action.tasks)
        return actions + self.decide()

    def write(self, tasks: Sequence[object]) -> None:
        for number, task in enumerate(tasks):
            self.herder.on_config_record(f"task-a-{number}", {"properties": task})
        self.herder.on_config_record("commit-a", {"tasks": len(tasks)})

    def decide(self) -> list[Action]:
        return self.herder.decide(self.now)

    def running(self, tasks: Sequence[dict[str, str]] = ({"t": "0"},)) -> None:
        """A deployed connector with its tasks running."""
        (asked,) = self.deploy()
        self.answer(tasks, asked)
        for number in range(len(tasks)):
            self.herder.on_task_running(TaskId("a", number), self.now)
        self.decide()

    def fail(self, trace: str = "boom", task: TaskId = TASK) -> list[Action]:
        self.herder.on_task_exited(task, trace, self.now)
        return self.decide()

    def wake(self) -> list[Action]:
        """Let the time pass until the herder has something to do."""
        due = self.herder.next_wakeup_ms()
        assert due is not None
        self.now = due
        return self.decide()


def test_a_new_connector_gets_its_tasks() -> None:
    bench = Bench()
    (asked,) = bench.deploy()
    assert bench.decide() == []  # asked once
    actions = bench.answer([{"t": "0"}], asked)
    assert actions == [
        WriteTaskConfigs("a", [{"t": "0"}], 2),
        ShowConnector("a", Status(State.RUNNING)),
        StartTask(TASK, {"t": "0"}, paused=False),
    ]
    bench.herder.on_task_running(TASK, 0)
    assert bench.decide() == [ShowTask(TASK, Status(State.RUNNING))]
    assert bench.decide() == []
    assert bench.herder.next_wakeup_ms() is None


def test_the_same_task_configs_are_not_written_again() -> None:
    bench = Bench()
    bench.running()
    (asked,) = bench.deploy({**CONFIG, "other": "1"})
    assert bench.answer([{"t": "0"}], asked) == []


def test_a_changed_task_restarts_and_the_others_stay() -> None:
    bench = Bench()
    bench.running([{"t": "0"}, {"t": "1"}])
    (asked,) = bench.deploy()
    actions = bench.answer([{"t": "0"}, {"t": "new"}], asked)
    assert actions == [WriteTaskConfigs("a", [{"t": "0"}, {"t": "new"}], 3), StopTask(TaskId("a", 1))]
    bench.herder.on_task_exited(TaskId("a", 1), None, 0)
    assert bench.decide() == [StartTask(TaskId("a", 1), {"t": "new"}, paused=False)]


def test_after_a_restart_of_the_worker_tasks_start_from_the_topic_at_once() -> None:
    bench = Bench()
    bench.herder.on_config_record("connector-a", {"properties": CONFIG})
    bench.write([{"t": "0"}])
    start, ask = bench.decide()
    assert start == StartTask(TASK, {"t": "0"}, paused=False)
    assert isinstance(ask, MakeTaskConfigs)


def test_pause_and_resume_keep_the_process() -> None:
    bench = Bench()
    bench.running()
    assert bench.target("PAUSED") == [PauseTask(TASK), ShowConnector("a", Status(State.PAUSED))]
    bench.herder.on_task_paused(TASK)
    assert bench.decide() == [ShowTask(TASK, Status(State.PAUSED))]
    resume, shown, asked = bench.target("STARTED")
    assert (resume, shown) == (ResumeTask(TASK), ShowConnector("a", Status(State.RUNNING)))
    bench.herder.on_task_running(TASK, 0)
    assert bench.answer([{"t": "0"}], asked) == [ShowTask(TASK, Status(State.RUNNING))]


def test_a_call_that_is_tried_again_shows_until_it_works() -> None:
    bench = Bench()
    bench.running()
    for trace in ("poll is tried again: no route", "poll is tried again: refused"):
        bench.herder.on_task_retrying(TASK, trace)
        assert bench.decide() == [ShowTask(TASK, Status(State.RUNNING, trace))]
    bench.herder.on_task_running(TASK, 0)
    assert bench.decide() == [ShowTask(TASK, Status(State.RUNNING))]
    bench.herder.on_task_exited(TASK, "broken", 0)
    bench.decide()
    bench.herder.on_task_retrying(TASK, "too late")
    assert bench.decide() == []


def test_a_paused_connector_starts_its_tasks_paused() -> None:
    bench = Bench()
    bench.herder.on_config_record("connector-a", {"properties": CONFIG})
    bench.write([{"t": "0"}])
    assert bench.target("PAUSED") == [
        StartTask(TASK, {"t": "0"}, paused=True), ShowConnector("a", Status(State.PAUSED)),
    ]  # fmt: skip


def test_a_stopped_connector_has_no_tasks() -> None:
    bench = Bench()
    bench.running()
    bench.write([])
    assert bench.target("STOPPED") == [StopTask(TASK), ShowConnector("a", Status(State.STOPPED))]
    bench.herder.on_task_exited(TASK, None, 0)
    assert bench.decide() == [ShowTask(TASK, None)]
    (asked,) = bench.target("STARTED")
    assert bench.answer([{"t": "0"}], asked)[-1] == StartTask(TASK, {"t": "0"}, paused=False)


def test_a_deleted_connector_goes_when_its_tasks_are_gone() -> None:
    bench = Bench()
    bench.running()
    bench.herder.on_config_record("connector-a", None)
    assert bench.decide() == [StopTask(TASK)]
    bench.herder.on_task_exited(TASK, None, 0)
    assert bench.decide() == [ShowTask(TASK, None), ShowConnector("a", None)]
    assert bench.herder.connector_status("a") is None


def test_a_task_that_does_not_stop_is_killed() -> None:
    bench = Bench()
    bench.running()
    bench.write([])
    assert bench.target("STOPPED")[0] == StopTask(TASK)
    assert bench.herder.next_wakeup_ms() == STOP_MS
    assert bench.wake() == [KillTask(TASK)]
    assert bench.decide() == []
    bench.herder.on_task_exited(TASK, "killed", bench.now)
    assert bench.decide() == [ShowTask(TASK, None)]  # it was meant to end: that is no failure


def test_failures_back_off_and_end() -> None:
    bench = Bench()
    bench.running()
    delays = []
    for _ in range(4):
        (shown,) = bench.fail()
        assert isinstance(shown, ShowTask)
        assert shown.status is not None
        assert (shown.status.state, (shown.status.trace or "").splitlines()[0]) == (State.FAILED, "boom")
        before = bench.now
        assert bench.wake() == [StartTask(TASK, {"t": "0"}, paused=False)]
        delays.append(bench.now - before)
    assert delays == [100, 200, 400, 400]
    (shown,) = bench.fail()
    assert "not restarted any more" in str(shown)
    assert bench.herder.next_wakeup_ms() is None
    bench.now += 1_000_000
    assert bench.decide() == []


def test_a_task_that_ran_long_enough_starts_afresh() -> None:
    bench = Bench()
    bench.running()
    bench.fail()
    bench.wake()
    bench.herder.on_task_running(TASK, bench.now)
    bench.decide()
    bench.now += 400
    (shown,) = bench.fail()
    assert "Restart 1 of at most 4 in 0.1 s." in str(shown)


def test_a_failed_task_shows_failed_until_it_runs_again() -> None:
    bench = Bench()
    bench.running()
    bench.fail()
    assert bench.wake() == [StartTask(TASK, {"t": "0"}, paused=False)]
    status = bench.herder.task_status(TASK)
    assert status is not None
    assert status.state is State.FAILED
    bench.herder.on_task_running(TASK, bench.now)
    assert bench.decide() == [ShowTask(TASK, Status(State.RUNNING, restarts=Restarts(1, 4)))]


def test_the_budget_is_shown_until_the_task_has_run_for_long_enough() -> None:
    bench = Bench()
    bench.running()
    for failures, due in ((1, 100), (2, 200)):
        (shown,) = bench.fail()
        assert isinstance(shown, ShowTask)
        assert shown.status is not None
        assert shown.status.restarts == Restarts(failures, 4, bench.now + due)
        bench.wake()
    bench.herder.on_task_running(TASK, bench.now)
    assert bench.decide() == [ShowTask(TASK, Status(State.RUNNING, restarts=Restarts(2, 4)))]
    began = bench.now
    assert bench.wake() == [ShowTask(TASK, Status(State.RUNNING))]
    assert bench.now == began + POLICY.longest_ms
    assert bench.herder.next_wakeup_ms() is None


def test_a_budget_that_is_used_up_has_no_next_restart() -> None:
    bench = Bench(RestartPolicy(attempts_max=0))
    bench.running()
    (shown,) = bench.fail()
    assert isinstance(shown, ShowTask)
    assert shown.status is not None
    assert shown.status.restarts == Restarts(1, 0, None)


def test_a_restart_that_is_asked_for() -> None:
    bench = Bench()
    bench.running()
    bench.herder.restart_task(TASK)
    assert bench.decide() == [ShowTask(TASK, Status(State.RESTARTING)), StopTask(TASK)]
    bench.herder.on_task_exited(TASK, None, 0)
    assert bench.decide() == [StartTask(TASK, {"t": "0"}, paused=False)]


@pytest.mark.parametrize("only_failed", [True, False])
def test_restart_requests_of_the_topic(only_failed: bool) -> None:
    bench = Bench()
    bench.running([{"t": "0"}, {"t": "1"}])
    bench.fail()
    bench.herder.on_config_record("restart-connector-a", {"include-tasks": True, "only-failed": only_failed})
    restarted = {action.task for action in bench.decide() if isinstance(action, ShowTask)}
    assert restarted == ({TASK} if only_failed else {TASK, TaskId("a", 1)})


def test_a_connector_that_fails_is_asked_again() -> None:
    bench = Bench()
    (asked,) = bench.deploy()
    assert isinstance(asked, MakeTaskConfigs)
    bench.herder.on_connector_failed("a", asked.revision, "no", bench.now)
    (shown,) = bench.decide()
    assert "FAILED" in str(shown)
    (again,) = bench.wake()
    assert bench.now == 100
    assert bench.answer([], again) == [ShowConnector("a", Status(State.RUNNING))]


def test_an_answer_to_an_older_config_is_dropped() -> None:
    bench = Bench()
    (asked,) = bench.deploy()
    assert isinstance(asked, MakeTaskConfigs)
    (newer,) = bench.deploy({**CONFIG, "x": "1"})
    bench.herder.on_task_configs("a", asked.revision, [{"t": "old"}])
    bench.herder.on_connector_failed("a", asked.revision, "old", 0)
    assert bench.decide() == []
    assert bench.answer([{"t": "new"}], newer)[0] == WriteTaskConfigs("a", [{"t": "new"}], 3)


def test_shutting_down_stops_all_and_starts_nothing() -> None:
    bench = Bench()
    bench.running([{"t": "0"}, {"t": "1"}])
    bench.fail()
    bench.herder.shut_down()
    assert bench.decide() == [StopTask(TaskId("a", 1))]
    bench.herder.on_task_exited(TaskId("a", 1), None, bench.now)
    assert bench.decide() == [ShowTask(TaskId("a", 1), Status(State.UNASSIGNED))]
    bench.now += 1_000_000
    assert bench.decide() == []


def test_a_task_that_ends_unasked_without_a_failure_starts_again() -> None:
    bench = Bench()
    bench.running()
    bench.herder.on_task_exited(TASK, None, 0)
    assert bench.decide() == [StartTask(TASK, {"t": "0"}, paused=False)]


@pytest.mark.parametrize(("failures", "delay"), [(1, 1_000), (2, 2_000), (7, 60_000), (500, 60_000)])
def test_backoff_doubles_up_to_a_bound(failures: int, delay: int) -> None:
    assert RestartPolicy().delay_ms(failures) == delay


def test_no_attempts_at_all() -> None:
    assert RestartPolicy(attempts_max=0).delay_ms(1) is None


@pytest.mark.parametrize("state", ["STOPPED", "PAUSED"])
def test_task_configs_made_before_a_stop_are_not_wanted_after_it(state: str) -> None:
    bench = Bench()
    (asked,) = [action for action in bench.deploy() if isinstance(action, MakeTaskConfigs)]
    bench.herder.on_task_configs("a", asked.revision, [CONFIG])
    assert bench.herder.wants_tasks("a", asked.revision)
    bench.target(state)
    assert not bench.herder.wants_tasks("a", asked.revision)


def test_task_configs_made_for_an_older_config_or_a_deleted_connector_are_not_wanted() -> None:
    bench = Bench()
    (asked,) = [action for action in bench.deploy() if isinstance(action, MakeTaskConfigs)]
    bench.deploy({"connector.class": "D"})
    assert not bench.herder.wants_tasks("a", asked.revision)
    assert bench.herder.wants_tasks("a", asked.revision + 1)
    bench.herder.on_config_record("connector-a", None)
    assert not bench.herder.wants_tasks("a", asked.revision + 1)


def test_values_that_run_out_restart_the_connector_and_its_tasks() -> None:
    bench = Bench()
    (asked,) = bench.deploy()
    bench.answer([{"t": "0"}], asked, reload_at_ms=1_000)
    bench.herder.on_task_running(TASK, 0)
    bench.decide()
    assert bench.herder.next_wakeup_ms() == 1_000
    assert bench.wake() == [AskRestart("a")]
    bench.herder.on_config_record("restart-connector-a", {"include-tasks": True, "only-failed": False})
    restarting, stop, asked = bench.decide()
    assert (restarting, stop) == (ShowTask(TASK, Status(State.RESTARTING)), StopTask(TASK))
    bench.herder.on_task_exited(TASK, None, bench.now)
    assert bench.decide() == [StartTask(TASK, {"t": "0"}, paused=False)]
    bench.answer([{"t": "0"}], asked, reload_at_ms=2_000)
    assert bench.herder.next_wakeup_ms() == 2_000


def test_values_of_tasks_that_run_on_keep_their_time() -> None:
    bench = Bench()
    (asked,) = bench.deploy()
    bench.answer([{"t": "0"}], asked, reload_at_ms=1_000)
    (asked,) = bench.deploy()
    bench.answer([{"t": "0"}], asked, reload_at_ms=5_000)
    assert bench.herder.next_wakeup_ms() == 1_000
    (asked,) = bench.deploy()  # nothing is looked up any more
    bench.answer([{"t": "0"}], asked)
    assert bench.herder.next_wakeup_ms() is None


def test_a_paused_connector_reloads_when_it_goes_on() -> None:
    bench = Bench()
    (asked,) = bench.deploy()
    bench.answer([{"t": "0"}], asked, reload_at_ms=1_000)
    bench.herder.on_task_running(TASK, 0)
    bench.target("PAUSED")
    bench.now = 1_000
    assert bench.herder.next_wakeup_ms() is None
    assert bench.decide() == []
    assert AskRestart("a") in bench.target("STARTED")


def test_a_worker_runs_what_it_was_assigned_and_gives_up_what_it_was_not() -> None:
    bench = Bench()
    bench.running([{"t": "0"}, {"t": "1"}])
    other = TaskId("a", 1)
    bench.herder.on_part(Part(leads=False, tasks=frozenset({TASK})))
    assert bench.decide() == [StopTask(other)]
    assert (bench.herder.claims, bench.herder.ending) == ({TASK}, {other})
    bench.herder.on_task_exited(other, None, bench.now)
    assert bench.decide() == [ShowTask(other, Status(State.UNASSIGNED))]
    assert bench.herder.ending == frozenset()


def test_what_was_not_claimed_is_not_started_before_the_round_is_over() -> None:
    bench = Bench()
    bench.running()
    assert bench.herder.introduce() == ({TASK}, frozenset())
    bench.write([{"t": "0"}, {"t": "1"}])
    assert bench.decide() == []
    bench.herder.on_part(ALONE)
    assert bench.decide() == [StartTask(TaskId("a", 1), {"t": "1"}, paused=False)]


def test_a_fenced_worker_kills_its_tasks_and_says_nothing_of_them() -> None:
    bench = Bench()
    bench.running()
    bench.herder.on_fenced()
    assert bench.decide() == [KillTask(TASK)]
    bench.herder.on_task_exited(TASK, "killed", bench.now)
    assert bench.decide() == []
    assert bench.herder.next_wakeup_ms() is None
    bench.herder.on_part(ALONE)
    assert StartTask(TASK, {"t": "0"}, paused=False) in bench.decide()


def test_only_the_leader_makes_task_configs() -> None:
    bench = Bench()
    bench.herder.on_part(NO_PART)
    assert bench.deploy() == []
    bench.herder.on_part(Part(leads=True, tasks=frozenset()))
    assert [type(action) for action in bench.decide()] == [MakeTaskConfigs]


def test_a_connector_is_gone_when_its_tasks_are_gone_everywhere() -> None:
    bench = Bench()
    bench.herder.on_config_record("connector-a", {"properties": CONFIG})
    bench.herder.on_part(Part(leads=True, tasks=frozenset(), elsewhere=frozenset({TASK})))
    bench.decide()
    bench.herder.on_config_record("connector-a", None)
    assert bench.decide() == []
    bench.herder.on_part(Part(leads=True, tasks=frozenset()))
    assert bench.decide() == [ShowConnector("a", None)]


def test_late_news_of_another_worker_is_corrected_by_whoever_runs_the_task() -> None:
    bench = Bench()
    bench.running()
    bench.herder.show_task_again(TASK)
    bench.herder.show_task_again(TaskId("a", 7))
    assert bench.decide() == [ShowTask(TASK, Status(State.RUNNING))]


def fencings(actions: Sequence[Action]) -> list[FenceTasks]:
    return [action for action in actions if isinstance(action, FenceTasks)]


def test_exactly_once_tasks_start_once_their_predecessors_are_fenced() -> None:
    bench = Bench(exactly_once=True)
    (asked,) = bench.deploy()
    actions = bench.answer([{"t": "0"}, {"t": "1"}], asked)
    assert fencings(actions) == [FenceTasks("a", CONFIG, 0, 2, 1)]
    assert not [action for action in actions if isinstance(action, StartTask)]
    assert bench.decide() == []
    assert bench.herder.wants_fencing("a", 1)
    bench.herder.on_config_record("tasks-fencing-a", {"task-count": 2})
    assert bench.decide() == [
        StartTask(TaskId("a", 0), {"t": "0"}, False), StartTask(TaskId("a", 1), {"t": "1"}, False),
    ]  # fmt: skip
    assert bench.herder.wants(TASK)
    assert not bench.herder.wants_fencing("a", 1)


def exactly_once_running(tasks: int) -> Bench:
    bench = Bench(exactly_once=True)
    (asked,) = bench.deploy()
    bench.answer([{"t": str(number)} for number in range(tasks)], asked)
    bench.herder.on_config_record("tasks-fencing-a", {"task-count": tasks})
    bench.decide()
    for number in range(tasks):
        bench.herder.on_task_running(TaskId("a", number), bench.now)
    bench.decide()
    return bench


def test_a_new_set_of_exactly_once_tasks_replaces_all_of_the_former() -> None:
    bench = exactly_once_running(2)
    bench.write([{"t": "0"}, {"t": "new"}, {"t": "2"}])
    # Also the first, whose config is the same: its producer will be fenced.
    assert bench.decide() == [StopTask(TASK), StopTask(TaskId("a", 1))]
    assert not bench.herder.wants(TASK)
    bench.herder.on_task_exited(TASK, None, bench.now)
    assert fencings(bench.decide()) == []  # the other one is still about to commit
    bench.herder.on_task_exited(TaskId("a", 1), None, bench.now)
    assert fencings(bench.decide()) == [FenceTasks("a", CONFIG, 2, 3, 2)]
    bench.herder.on_config_record("tasks-fencing-a", {"task-count": 3})
    assert [type(action) for action in bench.decide()] == [StartTask] * 3


def test_one_task_fences_its_one_predecessor_itself() -> None:
    bench = exactly_once_running(1)
    bench.write([{"t": "new"}])
    bench.decide()
    bench.herder.on_task_exited(TASK, None, bench.now)
    assert fencings(bench.decide()) == [FenceTasks("a", CONFIG, 0, 1, 2)]


def test_a_generation_that_was_fenced_unseen_still_replaces_the_former() -> None:
    bench = exactly_once_running(1)
    bench.write([{"t": "0"}])
    bench.herder.on_config_record("tasks-fencing-a", {"task-count": 1})
    assert not bench.herder.wants(TASK)
    assert bench.decide() == [StopTask(TASK)]


def test_fencing_that_fails_shows_and_is_tried_again() -> None:
    bench = Bench(exactly_once=True)
    (asked,) = bench.deploy()
    bench.answer([{"t": "0"}], asked)
    bench.herder.on_fencing_failed("a", 1, "no answer", bench.now)
    bench.decide()
    status = bench.herder.connector_status("a")
    assert status is not None
    assert status.state is State.FAILED
    assert status.trace is not None
    assert status.trace.startswith("no answer")
    assert fencings(bench.wake()) == [FenceTasks("a", CONFIG, 0, 1, 1)]
    bench.herder.on_config_record("tasks-fencing-a", {"task-count": 1})
    assert [type(action) for action in bench.decide()] == [ShowConnector, StartTask]
    assert bench.herder.connector_status("a") == Status(State.RUNNING)


def test_fencing_that_failed_is_forgotten_while_the_connector_is_stopped() -> None:
    bench = Bench(exactly_once=True)
    (asked,) = bench.deploy()
    bench.answer([{"t": "0"}], asked)
    bench.herder.on_fencing_failed("a", 1, "no answer", bench.now)
    bench.target("STOPPED")
    assert bench.herder.next_wakeup_ms() is None


def test_a_restart_does_not_fence_twice() -> None:
    bench = Bench(exactly_once=True)
    (asked,) = bench.deploy()
    assert len(fencings(bench.answer([{"t": "0"}], asked))) == 1
    bench.herder.restart_connector("a", include_tasks=True, only_failed=False)
    assert fencings(bench.decide()) == []


def test_fencing_that_is_given_up_is_tried_again_by_a_restart() -> None:
    bench = Bench(RestartPolicy(first_ms=100, longest_ms=400, attempts_max=0), exactly_once=True)
    (asked,) = bench.deploy()
    bench.answer([{"t": "0"}], asked)
    bench.herder.on_fencing_failed("a", 1, "no answer", bench.now)
    assert fencings(bench.decide()) == []
    bench.herder.restart_connector("a", include_tasks=False, only_failed=True)
    assert len(fencings(bench.decide())) == 1


def test_at_least_once_tasks_need_no_fencing() -> None:
    bench = Bench()
    bench.running([{"t": "0"}, {"t": "1"}])
    bench.write([{"t": "0"}, {"t": "new"}])
    assert bench.decide() == [StopTask(TaskId("a", 1))]
