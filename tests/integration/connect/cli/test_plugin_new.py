"""`millstream plugin new`: what it makes can be installed, passes its own tests, ruff and mypy as it is."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.cli import millstream

from connect.cli.plugins import Kind
from connect.testing.pytest_plugin import MillstreamServers

REPOSITORY = Path(__file__).parents[4]
# A short name and the longest that is taken: no line may be broken otherwise.
NAMES = ("a", "n123456789-0123456789-01234567")


def new(directory: Path, name: str, kind: str) -> Any:
    return millstream("plugin", "new", name, "--kind", kind, "--directory", str(directory))


def run(*arguments: str, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=cwd, env=os.environ | environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def projects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a project of each kind."""
    directory = tmp_path_factory.mktemp("projects")
    for kind in Kind:
        ran = new(directory, f"my-{kind}", kind)
        assert ran.code == 0, ran.err
    return directory


def test_all_kinds_pass_their_own_tests(projects: Path, tmp_path: Path) -> None:
    """In one session, as they share a broker and a worker; each test's file has a name of its own."""
    sources = [str(directory) for directory in projects.iterdir()]
    told = run(
        "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(projects), *sources,
        cwd=projects, PYTHONPATH=os.pathsep.join(sources),
    )  # fmt: skip
    assert " passed" in told
    assert "failed" not in told
    assert "skipped" not in told


def test_all_kinds_pass_mypy_and_ruff(projects: Path) -> None:
    sources = sorted(projects.iterdir())
    # From an editable install mypy does not find Millstream by itself; it is not what is checked here.
    path = os.pathsep.join(map(str, [REPOSITORY, *sources]))
    files = [str(file) for source in sources for file in source.rglob("*.py")]
    run(
        "mypy",
        "--strict",
        "--follow-imports",
        "silent",
        "--explicit-package-bases",
        *files,
        cwd=projects,
        MYPYPATH=path,
    )
    for source in sources:
        run("ruff", "check", "--no-cache", ".", cwd=source)
        run("ruff", "format", "--check", "--no-cache", ".", cwd=source)


@pytest.mark.parametrize("name", NAMES)
def test_the_format_is_right_whatever_the_name(name: str, tmp_path: Path) -> None:
    for kind in Kind:
        directory = tmp_path / kind
        directory.mkdir()
        assert new(directory, name, kind).code == 0
        run("ruff", "check", "--no-cache", ".", cwd=directory / name)
        run("ruff", "format", "--check", "--no-cache", ".", cwd=directory / name)


def test_a_plugin_in_the_plugin_path_is_found_with_its_version(
    projects: Path, tmp_path: Path, millstream_servers: MillstreamServers, millstream_broker: Any
) -> None:
    """As Kafka Connect has it: a directory per plugin in a directory of `plugin.path`."""
    own, *others = Kind
    for directory, kinds in (("own", [own]), ("others", others)):
        run(
            "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--disable-pip-version-check",
            "--target", str(tmp_path / directory), *(str(projects / f"my-{kind}") for kind in kinds),
            cwd=tmp_path,
        )  # fmt: skip
    topics = {f"{store}.storage.topic": f"plugins-{store}" for store in ("config", "offset", "status")}
    worker = millstream_servers.worker(
        millstream_broker.bootstrap, {**topics, "group.id": "plugins", "plugin.path": str(tmp_path)}
    )
    listed = worker.request("GET", "/connector-plugins?connectorsOnly=false").json()
    ours = {(p["class"], p["type"], p["version"]) for p in listed if p["class"].startswith("my_")}
    assert ours == {
        ("my_source.MySourceConnector", "source", "0.1.0"),
        ("my_sink.MySinkConnector", "sink", "0.1.0"),
        ("my_transform.MyTransform", "transformation", "0.1.0"),
        ("my_predicate.MyPredicate", "predicate", "0.1.0"),
        ("my_converter.MyConverter", "converter", "0.1.0"),
    }
    config = {
        "connector.class": "MySource", "name": "n", "topic": "plugins", "limit": "0",
        "transforms": "t", "transforms.t.type": "MyTransform", "transforms.t.header": "h",
        "value.converter": "My",
    }  # fmt: skip
    answer = worker.request("PUT", "/connector-plugins/MySource/config/validate", config).json()
    wrong = {c["value"]["name"]: c["value"]["errors"] for c in answer["configs"] if c["value"]["errors"]}
    assert wrong == {"limit": ["Invalid value 0 for configuration limit: Value must be at least 1"]}


def test_the_classes_are_named_without_saying_the_kind_twice(tmp_path: Path) -> None:
    assert new(tmp_path, "orders-sink", "sink").code == 0
    assert "class OrdersSinkConnector(" in (tmp_path / "orders-sink/orders_sink/__init__.py").read_text()


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    assert new(tmp_path, "mine", "sink").code == 0
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    ran = new(tmp_path, "mine", "source")
    assert ran.code == 2
    assert "mine exists already, and nothing is overwritten" in ran.err
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before


@pytest.mark.parametrize(
    "name",
    ["", "My-Plugin", "my plugin", "../up", "my.plugin", "1st", "-x", "a--b", "a-", "x" * 31, "json", "class",
     "connect", "connectors", "broker", "ünicode"],
)  # fmt: skip
def test_a_name_that_will_not_do_is_refused_in_one_sentence(name: str, tmp_path: Path) -> None:
    ran = millstream("plugin", "new", "--directory", str(tmp_path), "--", name)
    assert ran.code == 2
    assert f"plugin name {name!r} will not do: " in ran.err
    assert ran.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_kind_names_those_there_are(tmp_path: Path) -> None:
    ran = new(tmp_path, "mine", "sauce")
    assert ran.code == 2
    assert "sauce" in ran.err
    assert "transform" in ran.err
