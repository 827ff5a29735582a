"""docs/plugins.md does what it says: every block is written or run, in the order of the page."""

import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from connect.testing.millstream import Millstream

PAGE = Path(__file__).parents[4] / "docs" / "plugins.md"
BLOCK = re.compile(r"^```(?P<language>\w+)(?: (?P<file>\S+))?\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass
class Reader:
    """Follows the page in a terminal: a directory that `cd` changes, and commands on the PATH."""

    directory: Path
    programs: Path
    packages: Path
    servers: ExitStack

    def follow(self, language: str, file: str | None, text: str) -> str:
        if file is not None:
            path = self.directory / file
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
            return ""
        assert language == "sh", f"a block that is neither a file nor commands: {text}"
        if text.strip() == "millstream up":
            # The commands that follow find it by the data directory, as they do for a reader.
            self.servers.enter_context(Millstream(self.directory / "millstream-data"))
            return ""
        return self.run(text)

    def run(self, commands: str) -> str:
        told = self.programs / "pwd"
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", f"{commands}\npwd > {told}"],
            cwd=self.directory, capture_output=True, text=True, check=False, timeout=170,
            env={**os.environ, "PATH": f"{self.programs}{os.pathsep}{os.environ['PATH']}"},
        )  # fmt: skip
        assert done.returncode == 0, f"{commands}\n{done.stdout}{done.stderr}"
        self.directory = Path(told.read_text().strip())
        return done.stdout


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    programs, packages = tmp_path / "bin", tmp_path / "packages"
    programs.mkdir()
    commands = {
        "python": f'exec {sys.executable} "$@"',
        "millstream": f'exec {sys.executable} -m connect.cli.main "$@"',
        # Into a directory of this test's own, with what is installed already.
        "pip": f'exec {sys.executable} -m pip -q --disable-pip-version-check "$@" '
        f"--no-deps --no-build-isolation --target {packages}",
    }
    for name, command in commands.items():
        program = programs / name
        program.write_text(f"#!/bin/sh\n{command}\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PYTHONPATH", str(packages))
    for name in [name for name in os.environ if name.startswith("MILLSTREAM_")]:
        monkeypatch.delenv(name)
    with ExitStack() as servers:
        yield Reader(tmp_path, programs, packages, servers)


def test_the_tutorial_works_block_by_block(reader: Reader) -> None:
    blocks = [match.group("language", "file", "text") for match in BLOCK.finditer(PAGE.read_text())]
    assert len(blocks) == PAGE.read_text().count("```") / 2, "a fence that is not understood"
    told = [reader.follow(*block) for block in blocks]
    (tests,) = (text for text in told if " passed" in text)
    assert "failed" not in tests
    assert "skipped" not in tests
    assert '"fahrenheit":68.0' in told[-1]


def test_the_tutorials_code_is_typed_and_tidy(tmp_path: Path) -> None:
    """As strictly as `millstream plugin new` sets projects up; but shown without docstrings."""
    for match in BLOCK.finditer(PAGE.read_text()):
        if match["language"] == "python":
            file = tmp_path / match["file"]
            file.parent.mkdir(exist_ok=True)
            file.write_text(match["text"])
    path = os.pathsep.join([str(PAGE.parents[1]), str(tmp_path)])
    for command in (
        ["mypy", "--strict", "--follow-imports", "silent", "--explicit-package-bases", "readings", "tests"],
        [
            "ruff",
            "check",
            "--no-cache",
            "--isolated",
            "--select",
            "E,F,W,I,B,UP,RUF",
            "--line-length",
            "110",
            ".",
        ],
    ):
        done = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=tmp_path, env={**os.environ, "MYPYPATH": path}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
