"""Whatever happens in whatever order, a task has at most one process and the herder settles."""

from hypothesis import given
from hypothesis import strategies as st

from connect.herder.actions import KillTask, MakeTaskConfigs, StartTask, StopTask, WriteTaskConfigs
from connect.herder.backoff import RestartPolicy
from connect.herder.herder import Herder
from connect.herder.states import TaskId

NAMES = ("a", "b")
events = st.lists(
    st.tuples(
        st.sampled_from(
            ["config", "delete", "STARTED", "PAUSED", "STOPPED", "restart", "runs", "fails", "ends", "later"]
        ),
        st.sampled_from(NAMES),
        st.integers(0, 2),
    ),
    max_size=60,
)


class World:
    """Processes, the config topic, and a connector that answers at once."""

    def __init__(self) -> None:
        self.herder = Herder(lambda _: RestartPolicy(10, 40, 3), 100)
        self.alive: dict[TaskId, str] = {}
        self.now = 0

    def settle(self) -> None:
        for _ in range(50):
            actions = self.herder.decide(self.now)
            if not actions:
                return
            for action in actions:
                self.perform(action)
        raise AssertionError("the herder does not settle")

    def perform(self, action: object) -> None:
        if isinstance(action, StartTask):
            assert action.task not in self.alive, "two processes of one task"
            self.alive[action.task] = "runs"
        elif isinstance(action, StopTask):
            assert action.task in self.alive
            self.alive[action.task] = "stopping"
        elif isinstance(action, KillTask):
            self.exit(action.task, "killed")
        elif isinstance(action, MakeTaskConfigs):
            count = int(action.config["tasks"] or 0)
            self.herder.on_task_configs(action.name, action.revision, [{"n": str(n)} for n in range(count)])
        elif isinstance(action, WriteTaskConfigs):
            self.write(action.name, len(action.tasks))

    def write(self, name: str, count: int) -> None:
        for number in range(count):
            self.herder.on_config_record(f"task-{name}-{number}", {"properties": {"n": str(number)}})
        self.herder.on_config_record(f"commit-{name}", {"tasks": count})

    def exit(self, task: TaskId, trace: str | None) -> None:
        if self.alive.pop(task, None) is not None:
            self.herder.on_task_exited(task, trace, self.now)

    def happens(self, event: str, name: str, number: int) -> None:
        task = TaskId(name, number)
        if event == "config":
            self.herder.on_config_record(f"connector-{name}", {"properties": {"tasks": str(number)}})
        elif event == "delete":
            self.herder.on_config_record(f"connector-{name}", None)
        elif event == "restart":
            self.herder.restart_connector(name, include_tasks=True, only_failed=bool(number))
        elif event == "runs" and task in self.alive:
            self.herder.on_task_running(task, self.now)
        elif event in ("fails", "ends"):
            self.exit(task, "boom" if event == "fails" else None)
        elif event == "later":
            self.now += 15
        elif event in ("STARTED", "PAUSED", "STOPPED"):
            self.herder.on_config_record(f"target-state-{name}", {"state.v2": event})


@given(events)
def test_one_process_a_task_and_a_settled_end(history: list[tuple[str, str, int]]) -> None:
    world = World()
    for event in history:
        world.happens(*event)
        world.settle()
    # Let every stop and every backoff run out.
    for _ in range(20):
        for task in [task for task, state in world.alive.items() if state == "stopping"]:
            world.exit(task, None)
        world.now += 1_000
        world.settle()
    assert set(world.alive) == set(world.herder.processes)
    for name in NAMES:
        config = world.herder.config
        wanted = len(config.tasks.get(name, ())) if config.target(name).value != "STOPPED" else 0
        expected = {TaskId(name, n) for n in range(wanted)} if name in config.connectors else set()
        given_up = {
            task for task in expected
            if (status := world.herder.task_status(task)) and "not restarted" in (status.trace or "")
        }  # fmt: skip
        assert {task for task in world.alive if task.connector == name} == expected - given_up
