"""The main job, end to end, on real parts: `make demo`.

A PostgreSQL shop is captured into topics, and the topics go to S3 and to a file, while a writer keeps
the shop busy. Meanwhile one task is killed with SIGKILL, then everything. In the end every change is
accounted for.
"""

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import check
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from shop import SCHEMA, TABLES, Writer

from connect.testing.kafka import ApacheKafka
from connect.testing.millstream import Millstream, Worker, kill_quietly
from connect.testing.postgres import PostgresServer
from connect.testing.s3 import S3Server

Platform = Millstream | Worker
HERE = Path(__file__).parent
TOPICS = [f"shop.public.{table}" for table in TABLES]
SINKS = ("shop-to-s3", "shop-to-file")
WORKER = {"offset.flush.interval.ms": "1000"}
# When, as a part of the writer's time.
KILL_TASK_AT, KILL_ALL_AT = 0.33, 0.66
PATIENCE_SECONDS = 60
EXPLANATION = """\
rows     in PostgreSQL (lines of till.log)         events   in the topic, tombstones apart
rebuilt  rows of the state rebuilt from the topic  same     is it what PostgreSQL has?
S3       lines in the objects                      file     lines of events.jsonl
doubled  delivered again after a kill: at-least-once, by at most one commit interval

Look further:
  less {folder}/events.jsonl                     what the file sink wrote
  find {folder}/s3                               a copy of the objects in S3
"""
THE_TOPICS = """\
  .venv/bin/millstream broker --data-dir {folder}/millstream-data/broker     and, elsewhere,
  .venv/bin/millstream consume shop.public.orders --from-beginning --max-messages 3
"""


class Demo:
    """One run; everything that it makes is under `folder`."""

    def __init__(self, folder: Path, seconds: float, kafka: bool) -> None:
        self.folder = folder
        self.seconds = seconds
        self.kafka = kafka
        self.console = Console()
        self.progress = Progress(
            SpinnerColumn(), TextColumn("{task.description:<46}"), BarColumn(20), TimeElapsedColumn(),
            console=self.console,
        )  # fmt: skip
        self.servers = ExitStack()

    def run(self) -> bool:
        """True when nothing was lost and the state rebuilt from the topics is the database's."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        with self.progress, self.servers:
            with self.step("start PostgreSQL and S3"):
                postgres = self.servers.enter_context(PostgresServer())
                s3 = self.servers.enter_context(S3Server())
                self.open_shop(postgres, s3)
            with self.step("start Millstream" if not self.kafka else "start Apache Kafka and the worker"):
                platform = self.start_platform()
            with self.step("deploy the connectors by REST"):
                self.deploy(platform)
            writer = self.write_and_kill(postgres, platform)
            with self.step("wait for the sinks"):
                self.wait_for_sinks(platform, writer)
            with self.step("account for every change"):
                verdicts = self.account(postgres, s3, platform, writer)
        self.show(verdicts)
        return all(verdict.same and not verdict.lost for verdict in verdicts)

    @contextmanager
    def step(self, what: str) -> Iterator[TaskID]:
        """A line of the progress display."""
        task = self.progress.add_task(what, total=None)
        yield task
        self.progress.update(task, total=1, completed=1)

    def open_shop(self, postgres: PostgresServer, s3: S3Server) -> None:
        postgres.create_database("shop")
        with postgres.connect("shop") as connection:
            connection.execute(SCHEMA)
        s3.create_bucket(check.BUCKET)
        (self.folder / "till.log").touch()
        # The connectors' configs name these as ${env::NAME}.
        os.environ |= {
            "DEMO_PG_HOST": postgres.host,
            "DEMO_PG_PORT": str(postgres.port),
            "DEMO_PG_USER": postgres.user,
            "DEMO_PG_PASSWORD": postgres.password,
            "DEMO_S3_URL": s3.endpoint,
            "DEMO_S3_KEY": s3.access_key,
            "DEMO_S3_SECRET": s3.secret_key,
            "DEMO_FOLDER": str(self.folder),
        }

    def start_platform(self) -> Platform:
        data_dir = self.folder / "millstream-data"
        if not self.kafka:
            return self.servers.enter_context(Millstream(data_dir, worker=WORKER))
        kafka = self.servers.enter_context(ApacheKafka(self.folder / "kafka"))
        return self.servers.enter_context(Worker(data_dir, kafka.bootstrap, WORKER))

    def deploy(self, platform: Platform) -> None:
        """Apply the configs beside this file, in their order, and wait until all tasks run."""
        names = []
        for path in sorted(HERE.glob("*.json")):
            connector = json.loads(path.read_text())
            names.append(connector["name"])
            answer = platform.request("PUT", f"/connectors/{connector['name']}/config", connector["config"])
            answer.raise_for_status()
        self.wait(lambda: all(running(platform, name) for name in names), "all connectors RUNNING", platform)

    def write_and_kill(self, postgres: PostgresServer, platform: Platform) -> Writer:
        writer = Writer(postgres.conninfo("shop"), self.seconds, self.folder / "till.log")
        task = self.progress.add_task(f"write to the shop for {self.seconds:.0f} s", total=self.seconds)
        begin = time.monotonic()
        writer.start()
        kills = [(KILL_TASK_AT, self.kill_task), (KILL_ALL_AT, self.kill_all)]
        while writer.is_alive():
            passed = time.monotonic() - begin
            self.progress.update(task, completed=min(passed, self.seconds))
            if kills and passed >= kills[0][0] * self.seconds:
                kills.pop(0)[1](platform)
            writer.join(0.1)
        if writer.error is not None:
            raise writer.error
        self.progress.update(task, completed=self.seconds)
        return writer

    def kill_task(self, platform: Platform) -> None:
        with self.step("  kill -9 the task shop-source-0"):
            victims = [pid for pid, command in platform.processes() if "shop-source" in command]
            if not victims:
                raise RuntimeError(f"no process of shop-source among {platform.processes()}")
            for pid in victims:
                kill_quietly(pid)

    def kill_all(self, platform: Platform) -> None:
        with self.step(
            "  kill -9 " + ("the worker" if self.kafka else "broker and worker") + ", start again"
        ):
            platform.kill()
            platform.start()

    def wait_for_sinks(self, platform: Platform, writer: Writer) -> None:
        """Until the source has written every change and both sinks have committed all of it."""

        def captured() -> bool:
            topics = check.read_topics(platform.bootstrap, TOPICS)
            return sum(check.missing(topics[f"shop.public.{table}"], table, writer) for table in TABLES) == 0

        self.wait(captured, "the source to write the last change", platform)

        def sunk() -> bool:
            ends = check.end_offsets(platform.bootstrap, TOPICS)
            return all(check.committed(platform.bootstrap, f"connect-{sink}", ends) == ends for sink in SINKS)

        self.wait(sunk, "the sinks to commit the last record", platform)

        def till_read() -> bool:
            return len(check.read_lines(platform.bootstrap, "till-log")) == writer.till_lines

        self.wait(till_read, "the last line of till.log", platform)

    def wait(self, done, what: str, platform: Platform) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not done():
            if time.monotonic() > deadline:
                states = platform.request("GET", "/connectors?expand=status").text
                raise TimeoutError(f"waited {PATIENCE_SECONDS} s for {what}: {states}")
            time.sleep(0.1)

    def account(
        self, postgres: PostgresServer, s3: S3Server, platform: Platform, writer: Writer
    ) -> list[check.Verdict]:
        topics = check.read_topics(platform.bootstrap, TOPICS)
        in_s3 = check.read_objects(s3.client(), self.folder / "s3")
        in_file = check.read_file(self.folder / "events.jsonl")
        verdicts = check.judge(postgres.conninfo("shop"), topics, writer, in_s3, in_file)
        return [*verdicts, check.judge_till(platform.bootstrap, self.folder / "till.log")]

    def show(self, verdicts: list[check.Verdict]) -> None:
        table = Table(title="What became of the shop", title_justify="left")
        for name in ("table", "rows", "events", "rebuilt", "same", "S3", "file", "lost", "doubled"):
            table.add_column(name, justify="left" if name == "table" else "right", no_wrap=True)
        for v in verdicts:
            same = "yes" if v.same else "NO"
            cells = (v.table, v.rows, v.events, v.rebuilt, same, v.in_s3, v.in_file, v.lost, v.duplicated)
            table.add_row(*("" if cell is None else str(cell) for cell in cells))
        self.console.print(table)
        folder = os.path.relpath(self.folder)
        self.console.print(EXPLANATION.format(folder=folder), soft_wrap=True, end="")
        if not self.kafka:
            self.console.print(THE_TOPICS.format(folder=folder), soft_wrap=True, end="")


def running(platform: Platform, name: str) -> bool:
    answer = platform.request("GET", f"/connectors/{name}/status")
    if answer.status_code != 200:
        return False
    status = answer.json()
    states = [status["connector"]["state"], *(task["state"] for task in status["tasks"])]
    return bool(status["tasks"]) and set(states) == {"RUNNING"}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kafka", action="store_true", help="on Apache Kafka instead of the bundled broker")
    parser.add_argument("--seconds", type=float, default=15, help="how long the writer writes")
    parser.add_argument("--folder", type=Path, default=Path("demo-data"), help="emptied first")
    arguments = parser.parse_args()
    demo = Demo(arguments.folder.resolve(), arguments.seconds, arguments.kafka)
    return 0 if demo.run() else 1


if __name__ == "__main__":
    sys.exit(main())
