"""A log on disk under hypothesis' hands: opened, synced, stopped and killed; machines add what is written."""

import shutil
import tempfile
import uuid
from abc import abstractmethod
from pathlib import Path

from hypothesis.stateful import RuleBasedStateMachine, rule

from broker.log.config import LogConfig
from broker.log.manager import LogManager
from broker.log.partition_log import PartitionLog

TOPIC_ID = uuid.UUID(int=1)


class LogMachine(RuleBasedStateMachine):
    """`log` is there once an initializing rule has called `begin_with`."""

    def begin_with(self, config: LogConfig) -> None:
        self.directory = Path(tempfile.mkdtemp())
        self.config = config
        self.synced = 0
        """All before it was synced."""
        self.open()

    def teardown(self) -> None:
        if hasattr(self, "directory"):
            shutil.rmtree(self.directory)

    @property
    @abstractmethod
    def end(self) -> int:
        """Where the log ends, says the model."""

    def open(self) -> None:
        self.manager = LogManager(self.directory)
        self.log: PartitionLog = self.manager.create("t", TOPIC_ID, 0, self.config)
        self.manager.finish_start()
        assert self.log.failure is None

    @rule()
    def sync(self) -> None:
        job = self.log.begin_sync()
        job.run(set())
        self.log.finish_sync(job)
        self.manager.write_checkpoint(self.manager.recovery_points())
        self.synced = self.end

    def stop(self) -> None:
        self.manager.close()
        self.synced = self.end

    @rule()
    def restart(self) -> None:
        self.stop()
        self.open()

    @rule()
    def kill(self) -> None:
        self.open()
