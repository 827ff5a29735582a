"""Fixtures for whoever tests against Kafka or Kafka Connect: a broker and worker of their own on free ports.

Installed with Millstream (entry point `pytest11`); every name begins with `millstream_`. Nothing is imported
or started before a test asks for it.

| fixture | |
|---|---|
| `millstream_broker` | a broker, one for the session |
| `millstream_worker` | a worker for that broker, one for the session |
| `millstream_pair` | these two, started side by side, where a test of the session uses the worker |
| `millstream_servers` | starts more of both, with settings of their own; stopped after the test |
| `millstream_session_servers` | the same, stopped at the end of the session |
| `millstream_topic` | a topic name that nobody else has |
| `millstream_topics` | writes and reads records on `millstream_broker` |
| `millstream_connectors` | deploys connectors on `millstream_worker`, deleted after the test |
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from connect.testing.deployments import Deployments
    from connect.testing.millstream import Broker, Millstream, Worker
    from connect.testing.topics import Topics


class MillstreamServers:
    """Starts servers on free ports, each with a directory of its own; stops them in the end."""

    def __init__(self, make_directory: Callable[[str], Path], rootpath: Path) -> None:
        self._make_directory = make_directory
        self._rootpath = rootpath
        self._started = ExitStack()

    def broker(self, settings: Mapping[str, str] | None = None) -> "Broker":
        """A broker; `settings` as in a server.properties. Ready when this returns."""
        from connect.testing.millstream import Broker

        return self._started.enter_context(Broker(self._make_directory("broker"), settings))

    def worker(self, bootstrap: str, settings: Mapping[str, str] | None = None) -> "Worker":
        """A worker for any Kafka cluster; `settings` as in a connect-distributed.properties.

        It commits offsets every half second, and finds the plugins that the tests can import.
        """
        from connect.testing.millstream import Worker

        directory = self._make_directory("worker")
        return self._started.enter_context(Worker(directory, bootstrap, self._worker_settings(settings)))

    def broker_and_worker(self) -> "tuple[Broker, Worker]":
        """Both on free ports, started side by side: in little more than the time of one."""
        from connect.cli.supervisor import HOST, hold_port
        from connect.testing.millstream import Broker, Worker

        with hold_port(0, "port") as held:
            port = held.getsockname()[1]
            broker = Broker(self._make_directory("broker"), port=port, wait=False)
            self._started.enter_context(broker)
            directory, settings = self._make_directory("worker"), self._worker_settings(None)
            worker = Worker(directory, f"{HOST}:{port}", settings, wait=False)
            self._started.enter_context(worker)
            for server in (broker, worker):
                server.wait_until_ready()
        return broker, worker

    def up(
        self, *, broker: Mapping[str, str] | None = None, worker: Mapping[str, str] | None = None
    ) -> "Millstream":
        """A broker and its worker, as `millstream up` runs them."""
        from connect.testing.millstream import Millstream

        directory = self._make_directory("millstream")
        return self._started.enter_context(
            Millstream(directory, broker=broker, worker=self._worker_settings(worker))
        )

    def stop(self) -> None:
        """Stop all, the last first."""
        self._started.close()

    def _worker_settings(self, more: Mapping[str, str] | None) -> dict[str, str]:
        plugin_path = ",".join(_directories_of_tests(self._rootpath))
        return {"offset.flush.interval.ms": "500", "plugin.path": plugin_path, **(more or {})}


def _directories_of_tests(rootpath: Path) -> list[str]:
    """Where the tests import from beside what is installed, so that a plugin need not be installed to be
    deployed as `module:Class`."""
    import sysconfig

    installed = sysconfig.get_paths()
    roots = [installed[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    beside = [
        Path(entry)
        for entry in sys.path
        if Path(entry).is_dir() and not any(Path(entry).is_relative_to(root) for root in roots)
    ]
    # The setting is a list with commas between its parts.
    return [str(entry) for entry in dict.fromkeys([rootpath, *beside]) if "," not in str(entry)]


def _servers(factory: pytest.TempPathFactory, config: pytest.Config) -> Iterator[MillstreamServers]:
    servers = MillstreamServers(factory.mktemp, config.rootpath)
    yield servers
    servers.stop()


@pytest.fixture(scope="session")
def millstream_session_servers(
    tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[MillstreamServers]:
    """Starts brokers and workers that live until the end of the session."""
    yield from _servers(tmp_path_factory, pytestconfig)


@pytest.fixture
def millstream_servers(
    tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[MillstreamServers]:
    """Starts brokers and workers that live until the end of the test."""
    yield from _servers(tmp_path_factory, pytestconfig)


@pytest.fixture(scope="session")
def millstream_pair(
    request: pytest.FixtureRequest, millstream_session_servers: MillstreamServers
) -> "tuple[Broker, Worker] | None":
    """The session's broker and worker, side by side, if one of its tests uses the worker."""
    if any("millstream_worker" in getattr(item, "fixturenames", ()) for item in request.session.items):
        return millstream_session_servers.broker_and_worker()
    return None


@pytest.fixture(scope="session")
def millstream_broker(
    millstream_session_servers: MillstreamServers, millstream_pair: "tuple[Broker, Worker] | None"
) -> "Broker":
    """A broker for the whole session; use topics and groups of your own."""
    return millstream_pair[0] if millstream_pair else millstream_session_servers.broker()


@pytest.fixture(scope="session")
def millstream_worker(
    millstream_session_servers: MillstreamServers,
    millstream_broker: "Broker",
    millstream_pair: "tuple[Broker, Worker] | None",
) -> "Worker":
    """A worker on `millstream_broker` for the whole session; use connector names of your own."""
    if millstream_pair:
        return millstream_pair[1]
    return millstream_session_servers.worker(millstream_broker.bootstrap)


@pytest.fixture
def millstream_topic() -> str:
    """A topic name that nobody else has."""
    import uuid

    return f"t-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def millstream_topics(millstream_broker: "Broker") -> "Topics":
    """Writes and reads records on `millstream_broker`."""
    from connect.testing.topics import Topics

    return Topics(millstream_broker.bootstrap)


@pytest.fixture
def millstream_connectors(millstream_worker: "Worker") -> Iterator["Deployments"]:
    """Deploys connectors on `millstream_worker`; they are deleted after the test."""
    from connect.testing.deployments import Deployments

    with Deployments(millstream_worker) as deployments:
        yield deployments
