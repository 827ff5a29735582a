"""Programs that promise exactly once, while they and the broker are killed with SIGKILL.

A trial feeds records in rounds, keeps its programs running, kills, and after each round reads what the
programs wrote, as read_committed: nothing may be missing, doubled or out of order.
"""

import random
import signal
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum, auto
from pathlib import Path

from connect.testing.child import Child
from connect.testing.millstream import Broker

STUCK_S = 120
TRANSACTION_TIMEOUT_MS = 10_000  # of every program


class Wrong(AssertionError):
    """What was written is not what must be there."""


class Program:
    """A process that is started again whenever it has ended, by itself or by force."""

    def __init__(self, name: str, command: Sequence[str], log: Path) -> None:
        self.name = name
        self._command = command
        self._log = log
        self._child: Child | None = None

    def keep_running(self) -> None:
        if self._child is None or self._child.process.poll() is not None:
            self._child = Child(self._command, self._log)

    def kill(self) -> None:
        if self._child is not None:
            self._child.stop(signal.SIGKILL)

    def freeze(self, frozen: bool) -> None:
        """SIGSTOP or SIGCONT: what a long pause of its machine would be."""
        if self._child is not None and self._child.process.poll() is None:
            self._child.process.send_signal(signal.SIGSTOP if frozen else signal.SIGCONT)

    def tail(self) -> str:
        return f"--- {self.name}\n" + (self._child.tail(15) if self._child else "")


class Kill(StrEnum):
    """SIGKILL of a program, of the broker or of both at once; or SIGSTOP of a program for longer than its
    transactions last, and mostly than its session."""

    PROGRAM = auto()
    BROKER = auto()
    BOTH = auto()
    FREEZE = auto()


@dataclass(slots=True)
class Report:
    rounds: int = 0
    records: int = 0
    kills: Counter[Kill] = field(default_factory=Counter)

    def __str__(self) -> str:
        kills = ", ".join(f"{victim} {count}" for victim, count in sorted(self.kills.items()))
        return f"{self.rounds} rounds, {self.records} records, kills: {kills or 'none'}"


@dataclass(frozen=True, slots=True)
class Setup:
    """What every trial needs. `broker` is killed, too; None if the cluster is somebody else's."""

    bootstrap: str
    directory: Path
    name: str  # nobody else's topics, groups and transactional ids begin with it
    seed: int  # of the moments of the kills and their victims
    broker: Broker | None = None
    records_per_round: int = 2000
    kill_every_s: float = 2.0  # on average
    freezes: bool = True

    def kills(self) -> Iterator[Kill]:
        """Those that come in turns, in an order of chance."""
        yield from (Kill.PROGRAM, Kill.PROGRAM)
        if self.broker is not None:
            yield from (Kill.BROKER, Kill.BROKER, Kill.BOTH)
        if self.freezes:
            yield Kill.FREEZE


class Trial(ABC):
    """One kind of programs under kills."""

    programs: list[Program]

    def __init__(self, setup: Setup) -> None:
        setup.directory.mkdir(parents=True, exist_ok=True)
        self.report = Report()
        self._setup = setup
        self._dice = random.Random(setup.seed)
        self._frozen: dict[Program, float] = {}
        self._bag: list[Kill] = []
        self._next_kill = 0.0

    @abstractmethod
    def feed(self, count: int) -> None:
        """Write `count` records for the programs to work on."""

    @abstractmethod
    def is_done(self) -> bool:
        """Whether the programs have worked on all records, as far as can be seen from outside."""

    @abstractmethod
    def verify(self) -> None:
        """Raises `Wrong`."""

    def run(self, seconds: float, *, kills_at_least: int = 0) -> Report:
        """Rounds under kills for so long, the last of them to its end without."""
        end = time.monotonic() + seconds
        try:
            while time.monotonic() < end or self.report.kills.total() < kills_at_least:
                self.feed(self._setup.records_per_round)
                self._work_until_done(end, kills_at_least)
                self.verify()
                self.report.rounds += 1
                self.report.records += self._setup.records_per_round
        finally:
            for program in self.programs:
                program.kill()
            self.close()
        return self.report

    @abstractmethod
    def close(self) -> None:
        """Close its own clients."""

    def _work_until_done(self, end: float, kills_at_least: int) -> None:
        now = time.monotonic()
        stuck, next_look = now + STUCK_S, now + 0.5
        while True:
            for program in self.programs:
                if program not in self._frozen:
                    program.keep_running()
            now = time.monotonic()
            self._thaw(now)
            calm = now > end and self.report.kills.total() >= kills_at_least
            if not calm and now > self._next_kill:
                self._disturb(now)
                self._plan_next_kill()
                stuck = time.monotonic() + STUCK_S
            elif now > next_look:
                if self.is_done() and not self._frozen:
                    return
                next_look = time.monotonic() + 0.5
            if now > stuck:
                tails = "\n".join(program.tail() for program in self.programs)
                raise Wrong(f"not done {STUCK_S} s after the last kill; {self.report}\n{tails}")
            time.sleep(0.02)

    def _plan_next_kill(self) -> None:
        self._next_kill = time.monotonic() + self._dice.uniform(0.2, 2 * self._setup.kill_every_s - 0.2)

    def _disturb(self, now: float) -> None:
        if not self._bag:
            self._bag = list(self._setup.kills())
            self._dice.shuffle(self._bag)
        kill = self._bag.pop()
        if kill is Kill.FREEZE and self._frozen:
            kill = Kill.PROGRAM  # frozen are one at a time, else nobody works
        program = self._dice.choice([each for each in self.programs if each not in self._frozen])
        if kill is Kill.FREEZE:
            program.freeze(True)
            self._frozen[program] = now + self._dice.uniform(1, 1.5 * TRANSACTION_TIMEOUT_MS / 1000)
        if kill in (Kill.PROGRAM, Kill.BOTH):
            program.kill()
        if kill in (Kill.BROKER, Kill.BOTH):
            assert self._setup.broker is not None
            self._setup.broker.kill()
            self._setup.broker.start()
        self.report.kills[kill] += 1

    def _thaw(self, now: float) -> None:
        for program, until in list(self._frozen.items()):
            if now > until:
                program.freeze(False)
                del self._frozen[program]
