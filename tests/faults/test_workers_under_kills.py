"""Workers of one cluster under kills; `python -m tests.soak.workers` does the same for longer."""

from pathlib import Path

import pytest
from support.worker_trials import WorkerSetup, WorkerTrial


@pytest.mark.parametrize(("workers", "seconds"), [(1, 10), (3, 20)])
def test_workers_and_tasks_are_killed_and_stopped(tmp_path: Path, workers: int, seconds: float) -> None:
    """No task runs twice at once, none is missing in the end, nothing outlives its worker or is lost."""
    setup = WorkerSetup(tmp_path, workers, connectors=8, seed=workers, trouble_every_s=1.5)
    report = WorkerTrial(setup).run(seconds)
    assert report.records > 0
    assert report.troubles.total() > 0
