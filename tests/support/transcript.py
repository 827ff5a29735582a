"""Sessions with Kafka's command-line tools, recorded as text and replayed.

A session is a file of commands and of what Apache Kafka made the tools print:

    # a comment, up to the next blank line or command
    $ topics --create --topic {}orders --partitions 3
    Created topic {}orders.

    $ console-producer --topic {}orders
    < a line for its standard input

`{}` stands for a prefix that no other session has, `{dir}` for a folder of the session's own.

- `$` runs a tool, `$~` runs it again until it prints what is expected, for what takes its time.
- `$|` and `$~|` sort the lines, for what comes in the order of a hash; `$*` does so with those lines that
  name something of the session's, of a list of all that the cluster has.
- `$& NAME tool …` leaves a tool running, `$stop NAME` ends it as SIGTERM would and prints what it wrote.
- `$file NAME` writes a file of the lines below.

What differs from run to run (times, ids) is replaced, see `Normaliser`; blanks are squeezed.
"""

import re
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .java import JavaTools, Ran, Tool

DEADLINE_S = 60
_TOOLS = "org.apache.kafka.tools."
CLASSES = {
    "topics": f"{_TOOLS}TopicCommand",
    "configs": "kafka.admin.ConfigCommand",
    "consumer-groups": f"{_TOOLS}consumer.group.ConsumerGroupCommand",
    "groups": f"{_TOOLS}GroupsCommand",
    "get-offsets": f"{_TOOLS}GetOffsetShell",
    "delete-records": f"{_TOOLS}DeleteRecordsCommand",
    "transactions": f"{_TOOLS}TransactionsCommand",
    "console-producer": f"{_TOOLS}ConsoleProducer",
    "console-consumer": f"{_TOOLS}consumer.ConsoleConsumer",
    "verifiable-producer": f"{_TOOLS}VerifiableProducer",
    "verifiable-consumer": f"{_TOOLS}VerifiableConsumer",
    "producer-perf-test": f"{_TOOLS}ProducerPerformance",
    "streams-application-reset": f"{_TOOLS}StreamsResetter",
    "open-transaction": "OpenTransaction",
    "admin-calls": "AdminCalls",
    "transaction-calls": "TransactionCalls",
    "consumer-calls": "ConsumerCalls",
}


@dataclass(slots=True)
class Step:
    """One command, the lines for its standard input and those that it must print."""

    command: str
    stdin: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)
    comment: list[str] = field(default_factory=list)

    @property
    def kind(self) -> str:
        """`$`, `$~`, `$|`, `$~|`, `$*`, `$&`, `$stop` or `$file`."""
        return self.command.split(maxsplit=1)[0]

    @property
    def words(self) -> list[str]:
        return shlex.split(self.command.split(maxsplit=1)[1])

    def text(self) -> str:
        lines = [*self.comment, self.command, *(f"< {line}".rstrip() for line in self.stdin), *self.expected]
        return "\n".join(lines)


def parse(text: str) -> list[Step]:
    steps: list[Step] = []
    comment: list[str] = []
    for line in text.splitlines():
        if line.startswith("#"):
            comment.append(line)
        elif line.startswith("$"):
            steps.append(Step(line, comment=comment))
            comment = []
        elif not line:
            continue
        elif line.startswith("<"):
            steps[-1].stdin.append(line[2:])
        else:
            steps[-1].expected.append(line)
    return steps


class Normaliser:
    """Takes out of a tool's output what no two runs have in common."""

    RULES = (
        (re.compile(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"), "UUID"),
        (re.compile(r"(?<=TopicId: )\S{22}"), "TOPIC_ID"),
        (re.compile(r"\b1[6-9]\d{11}\b"), "TIME_MS"),
        (re.compile(r"\b\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d[.:,]\d{3}\b"), "TIME"),
        (
            re.compile(r"(?<!\S)\S{22}(?= +/127\.0\.0\.1)"),
            "MEMBER",
        ),  # ids of KIP-848 consumers: UUIDs in base64
        (re.compile(r"(?<= consumer-)(\S+?)-\d+\b"), r"\1-N"),  # counted in each JVM
        (re.compile(r'(?<="avg_throughput":)[\d.]+'), "N"),
        (re.compile(r"[\d.]+(?= (records/sec|MB/sec|ms) ?)"), "N"),
        # The recorded cluster has this default set dynamically, as all have since eligible leader replicas.
        (re.compile(r"DYNAMIC_DEFAULT_BROKER_CONFIG:min\.insync\.replicas=1, "), ""),
        (re.compile(r"(?<=Configs: )min\.insync\.replicas=1,?"), ""),
        (re.compile(r"(?<=,)min\.insync\.replicas=1,"), ""),
        # They are told by DescribeTopicPartitions only, which is not there yet.
        (re.compile(r"Elr: (N/A)?\s*LastKnownElr: (N/A)?"), ""),
    )
    STACK = re.compile(r"at [\w.$/]+\(.*\)$|\.\.\. \d+ more$")  # frames of the JVM
    # Of tables that the tools print: the values below these words.
    VOLATILE_COLUMNS = frozenset({"ProducerId", "LastTimestamp", "TransactionDurationMs", "StartTimeMs",
                                  "TransactionStartTimeMs"})  # fmt: skip

    def __init__(self, bootstrap: str, prefix: str, directory: Path) -> None:
        self._replaced = ((str(directory), "{dir}"), (prefix, "{}"), (bootstrap, "HOST:PORT"))

    def __call__(self, output: str) -> list[str]:
        for found, name in self._replaced:
            output = output.replace(found, name)
        for pattern, name in self.RULES:
            output = pattern.sub(name, output)
        lines = [" ".join(line.split()) for line in output.splitlines()]
        return self._without_columns([line for line in lines if line and not self.STACK.match(line)])

    def _without_columns(self, lines: Sequence[str]) -> list[str]:
        volatile: list[int] = []
        width = 0
        result = []
        for line in lines:
            words = line.split()
            if self.VOLATILE_COLUMNS & set(words):
                volatile = [n for n, word in enumerate(words) if word in self.VOLATILE_COLUMNS]
                width = len(words)
            elif len(words) in (width, width - 1):  # the last column may be empty
                words = ["*" if n in volatile and word != "None" else word for n, word in enumerate(words)]
            result.append(" ".join(words))
        return result


class Session:
    """Replays steps against one cluster."""

    def __init__(self, tools: JavaTools, bootstrap: str, prefix: str, directory: Path) -> None:
        self._tools = tools
        self._bootstrap = bootstrap
        self._names = {"{}": prefix, "{dir}": str(directory)}
        self._directory = directory
        self._normalise = Normaliser(bootstrap, prefix, directory)
        self._background: dict[str, Tool] = {}

    def perform(self, step: Step, patience_s: float = DEADLINE_S) -> list[str]:
        """What the step prints now; for `$~` what it prints when that is expected, or when time is over."""
        words = [self._real(word) for word in step.words]
        stdin = "".join(self._real(line) + "\n" for line in step.stdin)
        match step.kind:
            case "$file":
                (self._directory / words[0]).write_text(stdin)
                return []
            case "$&":
                self._background[words[0]] = self._start(words[1:], stdin)
                return []
            case "$stop":
                tool = self._background.pop(words[0])
                tool.stop()
                return self._lines(tool.ended.result(DEADLINE_S))
            case "$" | "$|" | "$*":
                return self._run(step, words, stdin)
            case "$~" | "$~|":
                return self._until(step, words, stdin, patience_s)
            case other:
                raise ValueError(f"{other} is no kind of step")

    def close(self) -> None:
        """End what still runs, after a step that failed."""
        for tool in self._background.values():
            tool.stop()

    def _real(self, text: str) -> str:
        for name, value in self._names.items():
            text = text.replace(name, value)
        return text

    def _until(self, step: Step, words: list[str], stdin: str, patience_s: float) -> list[str]:
        deadline = time.monotonic() + patience_s
        while True:
            lines = self._run(step, words, stdin)
            if lines == step.expected or time.monotonic() > deadline:
                return lines
            time.sleep(0.1)

    def _run(self, step: Step, words: list[str], stdin: str) -> list[str]:
        tool = self._start(words, stdin)
        try:
            lines = self._lines(tool.ended.result(DEADLINE_S))
        except TimeoutError:
            lines = [*self._normalise(tool.written()), f"still running after {DEADLINE_S} s"]
            tool.stop()
        if step.kind == "$*":
            lines = [line for line in lines if "{}" in line]
        return lines if step.kind in ("$", "$~") else sorted(lines)

    def _start(self, words: list[str], stdin: str) -> Tool:
        name, *arguments = words
        return self._tools.start(CLASSES[name], ["--bootstrap-server", self._bootstrap, *arguments], stdin)

    def _lines(self, ran: Ran) -> list[str]:
        lines = self._normalise(ran.out) + [f"! {line}" for line in self._normalise(ran.err)]
        return lines if ran.exit_code == 0 else [*lines, f"exit {ran.exit_code}"]
