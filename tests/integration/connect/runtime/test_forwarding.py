"""Every changing call on a worker that does not lead, over mutual TLS with basic auth."""

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.certificates import identity
from support.clusters import cluster_settings
from support.eventually import eventually

from connect.testing.millstream import Broker, Worker

AUTHORITY = identity("authority")
SOURCE = "fault_connectors:CountingSource"


@pytest.fixture(scope="module")
def workers(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Worker]]:
    """The leader, and another; the second keeps a directory of connectors applied."""
    directory = tmp_path_factory.mktemp("forwarding")
    for name in ("server", "client"):
        (directory / f"{name}.pem").write_bytes(identity(name, AUTHORITY).pem())
    (directory / "authority.pem").write_bytes(AUTHORITY.certificate_pem)
    (directory / "users").write_text("worker=own\nalice=secret\n")
    (directory / "connectors").mkdir()
    settings = cluster_settings(broker.bootstrap) | {
        "listeners.https.ssl.keystore.location": str(directory / "server.pem"),
        "listeners.https.ssl.truststore.location": str(directory / "authority.pem"),
        "listeners.https.ssl.client.auth": "required",
        "millstream.rest.basic.auth.file": str(directory / "users"),
    }
    arguments = ["--connectors", str(directory / "connectors")]
    with (
        Worker(directory / "first", broker.bootstrap, settings, scheme="https") as first,
        Worker(directory / "other", broker.bootstrap, settings, scheme="https", arguments=arguments) as other,
    ):
        yield [first, other]


@pytest.fixture
def clients(workers: list[Worker]) -> Iterator[list[httpx.Client]]:
    files = workers[0].data_dir.parent
    context = ssl.create_default_context(cafile=files / "authority.pem")
    context.load_cert_chain(files / "client.pem")
    clients = [
        httpx.Client(base_url=worker.url, verify=context, auth=("alice", "secret"), timeout=60)
        for worker in workers
    ]
    yield clients
    for client in clients:
        client.close()


def states(client: httpx.Client, name: str) -> list[str]:
    told = client.get(f"/connectors/{name}/status").json()
    return [told["connector"]["state"], *(task["state"] for task in told["tasks"])]


def until_states(clients: list[httpx.Client], name: str, *wanted: str) -> None:
    for client in clients:
        eventually(lambda asked=client: states(asked, name) == list(wanted), f"{name} is not {wanted}")  # type: ignore[misc]


def test_every_change_works_on_every_worker(clients: list[httpx.Client], kafka_topic: str) -> None:
    _, other = clients
    config = {"connector.class": SOURCE, "topic": kafka_topic, "limit": "10", "nmae": "typo"}
    created = other.post("/connectors", json={"name": "n/1", "config": config, "initial_state": "PAUSED"})
    assert created.status_code == 201
    assert created.headers["location"] == f"{other.base_url}/connectors/n%2F1".replace("//c", "/c")
    assert 'Unknown configuration "nmae"' in created.json()["warnings"][0]
    until_states(clients, "n%2F1", "PAUSED")
    assert other.put("/connectors/n%2F1/resume").status_code == 202
    until_states(clients, "n%2F1", "RUNNING", "RUNNING")
    del config["nmae"]
    assert other.put("/connectors/n%2F1/config", json=config).status_code == 200
    assert other.patch("/connectors/n%2F1/config", json={"limit": "20"}).json()["config"]["limit"] == "20"
    assert other.post("/connectors/n%2F1/restart").status_code == 204
    assert other.post("/connectors/n%2F1/restart?includeTasks=true&onlyFailed=true").status_code == 202
    assert other.post("/connectors/n%2F1/tasks/0/restart").status_code == 204
    until_states(clients, "n%2F1", "RUNNING", "RUNNING")
    topics = {"n/1": {"topics": [kafka_topic]}}
    eventually(lambda: all(c.get("/connectors/n%2F1/topics").json() == topics for c in clients), "no topics")
    assert other.put("/connectors/n%2F1/topics/reset").status_code == 202
    assert other.put("/connectors/n%2F1/pause").status_code == 202
    until_states(clients, "n%2F1", "PAUSED", "PAUSED")
    assert other.put("/connectors/n%2F1/stop").status_code == 204
    offset = {"partition": {"counter": 0}, "offset": {"next": 5}}
    assert other.patch("/connectors/n%2F1/offsets", json={"offsets": [offset]}).status_code == 200
    assert [client.get("/connectors/n%2F1/offsets").json() for client in clients] == 2 * [
        {"offsets": [offset]}
    ]
    assert other.delete("/connectors/n%2F1/offsets").status_code == 200
    assert other.delete("/connectors/n%2F1").status_code == 204
    eventually(lambda: all(c.get("/connectors/n%2F1").status_code == 404 for c in clients), "it is not gone")


REFUSALS: list[Callable[[httpx.Client], httpx.Response]] = [
    lambda client: client.put("/connectors/absent/pause"),
    lambda client: client.delete("/connectors/absent"),
    lambda client: client.post("/connectors/absent/tasks/0/restart"),
    lambda client: client.post("/connectors", json={"name": "bad", "config": {"connector.class": "No"}}),
    lambda client: client.post("/connectors", content=b"{", headers={"content-type": "application/json"}),
    lambda client: client.post("/connectors", content=b"name=n"),
    lambda client: client.put("/connectors/n/nothing"),
    lambda client: client.post("/connectors/n/config", json={}),
    lambda client: client.put("/connectors/n/config", json={"a": "b" * (9 << 20)}),
]


@pytest.mark.parametrize("call", REFUSALS)
def test_a_refusal_is_the_leaders_word_for_word(
    clients: list[httpx.Client], call: Callable[[httpx.Client], httpx.Response]
) -> None:
    answers: list[Any] = [(got.status_code, got.json()) for got in map(call, clients)]
    assert answers[0] == answers[1]
    assert answers[0][0] >= 400


def test_who_may_not_ask_is_refused_where_he_asks(clients: list[httpx.Client], workers: list[Worker]) -> None:
    for client in clients:
        assert client.delete("/connectors/n", auth=("alice", "wrong")).status_code == 401
    log = (workers[0].data_dir / "worker.log").read_text()
    assert "secret" not in log


def test_a_directory_of_connectors_is_applied_through_the_leader(
    clients: list[httpx.Client], workers: list[Worker], kafka_topic: str
) -> None:
    directory: Path = workers[0].data_dir.parent / "connectors"
    config = {"connector.class": SOURCE, "topic": kafka_topic}
    (directory / "kept.json").write_text(f'{{"name": "kept", "config": {config}}}'.replace("'", '"'))
    eventually(lambda: clients[0].get("/connectors/kept").status_code == 200, "it is not applied")
    until_states(clients, "kept", "RUNNING", "RUNNING")
